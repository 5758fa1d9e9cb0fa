//! nginx and `HAProxy` with the files of docs/ops, in which nothing is changed but addresses and paths.

use std::env;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::authority::Authority;
use crate::support::postgres::signal;
use crate::support::process::free_port;
use crate::support::token::tells_a_secret;
use crate::support::{temp_dir, until};

/// Where the files have the servers.
pub const SERVERS: [&str; 2] = ["10.77.0.11:3001", "10.77.0.12:3001"];

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    HaProxy,
}

impl Kind {
    pub const BOTH: [Self; 2] = [Self::Nginx, Self::HaProxy];

    /// What docs/ops has for it.
    pub fn file(self) -> &'static str {
        match self {
            Self::Nginx => "docs/ops/nginx.conf",
            Self::HaProxy => "docs/ops/haproxy.cfg",
        }
    }

    pub fn text(self) -> String {
        fs::read_to_string(self.file()).expect("it is there")
    }
}

/// A running proxy, gone when it is dropped. No test is passed in which it wrote a secret.
pub struct Front {
    kind: Kind,
    child: Child,
    /// Where it speaks TLS.
    pub address: SocketAddr,
    /// Where it sends clients on to TLS.
    pub plain: SocketAddr,
    folder: tempfile::TempDir,
}

impl Front {
    /// Starts it before servers on these ports. Returns when it accepts connections.
    pub async fn start(kind: Kind, authority: &Authority, servers: [u16; 2]) -> Self {
        let folder = temp_dir();
        let path = |name: &str| folder.path().join(name);
        let (certificate, key) = authority.sign();
        for (name, text) in [
            ("fullchain.pem", &certificate),
            ("privkey.pem", &key),
            ("feed.pem", &format!("{certificate}{key}")),
        ] {
            fs::write(path(name), text).expect("the folder is ours");
        }
        let [plain, address] =
            [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut text = kind.text();
        for (there, here) in SERVERS.iter().zip(servers) {
            swap(&mut text, there, &format!("127.0.0.1:{here}"));
        }
        match kind {
            Kind::Nginx => for_nginx(&mut text, folder.path(), plain, address),
            Kind::HaProxy => for_haproxy(&mut text, folder.path(), plain, address),
        }
        let config = path("config");
        fs::write(&config, text).expect("the folder is ours");
        // Whatever becomes of this process, the proxy ends with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]);
        match kind {
            Kind::Nginx => command
                .arg(program("nginx", "nginx-light"))
                .arg("-c")
                .arg(&config)
                .arg("-e")
                .arg(path("error.log"))
                .args(["-g", "daemon off;"]),
            Kind::HaProxy => command
                .arg(program("haproxy", "haproxy"))
                .args(["-W", "-db", "-f"])
                .arg(&config),
        };
        let log = File::create(path("output.log")).expect("the folder is ours");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("setpriv, of util-linux, is here");
        let mut front = Self {
            kind,
            child,
            address,
            plain,
            folder,
        };
        until("the proxy to accept connections", async || {
            if let Ok(Some(status)) = front.child.try_wait() {
                panic!("{kind:?} ended, {status}:\n{}", front.logs());
            }
            TcpStream::connect(address).ok()
        })
        .await;
        front
    }

    /// Reads its files again, as an operator has it do after a change. Returns when new processes take connections.
    pub async fn reload(&self) {
        let before = self.workers();
        let name = match self.kind {
            Kind::Nginx => "HUP",
            Kind::HaProxy => "USR2",
        };
        signal(name, &[self.child.id()]);
        until("a new worker", async || {
            let now = self.workers();
            now.iter().any(|id| !before.contains(id)).then_some(())
        })
        .await;
    }

    fn workers(&self) -> Vec<String> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.expect("a Linux system, on which it runs");
        children.split_whitespace().map(str::to_owned).collect()
    }

    /// All that it has written.
    pub fn logs(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        ["output.log", "error.log", "access.log"].map(read).concat()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        signal("TERM", &[self.child.id()]);
        let _ = self.child.wait();
        let logs = self.logs();
        if std::thread::panicking() {
            let lines: Vec<_> = logs.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        } else {
            let told = logs.lines().find(|line| tells_a_secret(line));
            assert_eq!(told, None, "a proxy wrote a secret");
        }
    }
}

fn for_nginx(text: &mut String, folder: &Path, plain: SocketAddr, address: SocketAddr) {
    let folder = folder.display();
    // It needs the folder, which is of whoever runs the tests. Where that is not root there is nothing to change to.
    text.insert_str(0, "user root;\n");
    swap(text, "/run/nginx.pid", &format!("{folder}/nginx.pid"));
    swap(text, "/var/log/nginx/", &format!("{folder}/"));
    swap(text, "/etc/nginx/tls/", &format!("{folder}/"));
    swap(text, "listen 80;", &format!("listen {plain};"));
    swap(text, "listen 443 ", &format!("listen {address} "));
    for what in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let path = format!(
            "http {{
{what}_temp_path {folder}/{what};
"
        );
        swap(
            text, "http {
", &path,
        );
    }
}

fn for_haproxy(text: &mut String, folder: &Path, plain: SocketAddr, address: SocketAddr) {
    let folder = folder.display();
    // It does not start where the system allows fewer files than that takes.
    swap(text, "maxconn 30000\n", "maxconn 1000\n");
    swap(text, "/run/haproxy/", &format!("{folder}/"));
    swap(text, "/etc/haproxy/tls/", &format!("{folder}/"));
    swap(text, "bind :80\n", &format!("bind {plain}\n"));
    swap(text, "bind :443 ", &format!("bind {address} "));
}

/// Replaces what must be there.
fn swap(text: &mut String, there: &str, here: &str) {
    assert!(text.contains(there), "no {there} in:\n{text}");
    *text = text.replace(there, here);
}

/// Where a program is that Debian keeps out of the PATH of users.
fn program(name: &str, package: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("there is no {name} here: apt-get install {package}"))
}
