//! What the program does when the system tells it something, and what it tells systemd.
#![cfg(unix)]

use std::cell::RefCell;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr};

use crate::authority::{Authority, shown};
use crate::support::feed::{soon, until};
use crate::support::raw::Raw;
use crate::support::temp_dir;

/// A server in a process of its own, whose signals and log are looked at.
struct Served {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    url: String,
    /// As which systemd listens.
    systemd: UnixDatagram,
    _folder: tempfile::TempDir,
}

impl Served {
    async fn start(flags: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let folder = temp_dir();
        let socket = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&socket).expect("a socket");
        systemd.set_nonblocking(true).expect("set");
        let database = format!("sqlite://{}", folder.path().join("feed.db").display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--database-url",
                &database,
            ])
            .args(flags)
            .env("NOTIFY_SOCKET", &socket)
            .stderr(Stdio::piped());
        change(&mut command);
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .expect("rowcast starts");
        let log = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut served = Self {
            child,
            log,
            url: String::new(),
            systemd,
            _folder: folder,
        };
        let ready = served.logged("ready").await;
        ready["websocket"]
            .as_str()
            .expect("a URL")
            .clone_into(&mut served.url);
        served
    }

    /// The next entry of the log with this in its message.
    async fn logged(&mut self, text: &str) -> Value {
        soon(text, async {
            loop {
                let line = self.log.next_line().await.expect("a log").expect("more");
                let entry: Value = serde_json::from_str(&line).unwrap_or_default();
                if entry["message"].as_str().is_some_and(|m| m.contains(text)) {
                    return entry;
                }
            }
        })
        .await
    }

    /// The next words for systemd.
    async fn told(&self) -> String {
        let words = RefCell::new(String::new());
        until("a word for systemd", async || {
            let mut buffer = [0; 4096];
            let Ok(read) = self.systemd.recv(&mut buffer) else {
                return false;
            };
            words.replace(String::from_utf8_lossy(&buffer[..read]).into_owned());
            true
        })
        .await;
        words.into_inner()
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = tokio::process::Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status()
            .await;
        assert!(sent.expect("kill").success());
    }

    async fn end(&mut self) -> ExitStatus {
        soon("the end", self.child.wait()).await.expect("waited")
    }

    fn address(&self) -> std::net::SocketAddr {
        let rest = self.url.split("://").nth(1).expect("a URL");
        rest.trim_end_matches("/ws").parse().expect("an address")
    }
}

#[tokio::test]
async fn systemd_is_told_what_happens() {
    let mut served = Served::start(&[], |_| {}).await;
    let ready = served.told().await;
    assert!(
        ready.starts_with("READY=1\nSTATUS=serving 127.0.0.1:"),
        "{ready}"
    );
    served.signal("HUP").await;
    let reloading = served.told().await;
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(served.told().await, "READY=1\n");
    served.logged("reloaded nothing").await;
    served.signal("TERM").await;
    assert!(served.told().await.starts_with("STOPPING=1\nSTATUS="));
    assert_eq!(served.end().await.code(), Some(0));
}

#[tokio::test]
async fn the_watchdog_hears_that_all_is_well() {
    let served = Served::start(&[], |command| {
        command.env("WATCHDOG_USEC", "100000");
    })
    .await;
    let mut beats = 0;
    while beats < 3 {
        beats += usize::from(served.told().await == "WATCHDOG=1\n");
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let mut served = Served::start(&["--grace-period", "1h"], |_| {}).await;
        // A client that takes its time.
        let _client = Raw::connect(served.address()).await;
        served.signal(name).await;
        served.logged("a second signal ends it at once").await;
        served.signal(name).await;
        assert_eq!(served.end().await.code(), Some(code), "{name}");
    }
}

#[tokio::test]
async fn a_hangup_reloads_certificate_and_origins() {
    let authority = Authority::new();
    let files = authority.write();
    let origins = authority.path("origins");
    std::fs::write(&origins, "https://one.example").expect("written");
    let paths = [&files.cert, &files.key, &origins].map(|path| path.display().to_string());
    let [cert, key, listed] = &paths;
    let flags = [
        "--tls-cert",
        cert,
        "--tls-key",
        key,
        "--allow-origin-file",
        listed,
    ];
    let mut served = Served::start(&flags, |_| {}).await;
    assert!(served.url.starts_with("wss://"), "{}", served.url);
    let first = shown(&authority.connect(served.address()).await);
    authority.write();
    served.signal("HUP").await;
    let entry = served.logged("reloaded").await;
    assert_eq!(entry["what"], "certificate, origins");
    let second = shown(&authority.connect(served.address()).await);
    assert_ne!(second, first);
    // One that is not good is told, and the other is read all the same.
    std::fs::write(&files.cert, "nothing").expect("written");
    served.signal("HUP").await;
    let entry = served.logged("cannot reload").await;
    let error = entry["error"].as_str().expect("a text");
    assert!(
        error.contains("--tls-cert") && error.contains("no certificate"),
        "{error}"
    );
    assert_eq!(served.logged("reloaded").await["what"], "origins");
    assert_eq!(shown(&authority.connect(served.address()).await), second);
    served.signal("TERM").await;
    assert_eq!(served.end().await.code(), Some(0));
}

/// A server that is told to stop ends although a client has not sent its request.
#[tokio::test]
async fn a_half_open_handshake_does_not_hold_up_the_end() {
    let mut served = Served::start(&["--grace-period", "1s"], |_| {}).await;
    let _silent = TcpStream::connect(served.address()).await.expect("up");
    served.signal("TERM").await;
    assert_eq!(served.end().await.code(), Some(0));
}
