//! The program from one end to the other, as its README tells: a secret, a server that asks for tokens, a token, a client;
//! and why somebody did not get something.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::support::process::Process;
use crate::support::temp_dir;
use crate::support::within;

struct Scene {
    server: Process,
    folder: tempfile::TempDir,
    database: String,
}

impl Scene {
    async fn start() -> Self {
        let folder = temp_dir();
        let (code, secret, _) = run(&["token", "secret"]).await;
        assert_eq!(code, Some(0));
        std::fs::write(folder.path().join("key"), secret).expect("written");
        let database = format!("sqlite://{}", folder.path().join("feed.db").display());
        let key = path(folder.path(), "key");
        let server = Process::start(&database, &["--jwt-secret-file", &key]);
        Self {
            server,
            folder,
            database,
        }
    }

    /// A file with a token of this user.
    async fn token(&self, user: &str, channels: &str) -> String {
        let key = path(self.folder.path(), "key");
        let mint = ["token", "mint", "--jwt-secret-file", &key, "--user", user];
        let (code, token, error) = run(&[&mint[..], &["--channels", channels]].concat()).await;
        assert_eq!(code, Some(0), "{error}");
        let file = path(self.folder.path(), user);
        std::fs::write(&file, token).expect("written");
        file
    }

    async fn emit(&self, channel: &str) -> i64 {
        let emit = [
            "emit",
            "--database-url",
            &self.database,
            channel,
            "it.happened",
            "{}",
        ];
        let (code, out, error) = run(&emit).await;
        assert_eq!(code, Some(0), "{error}");
        let mut words = out.split(' ').chain(error.split(' '));
        let id = words.find_map(|word| word.parse().ok());
        id.unwrap_or_else(|| panic!("the id of the event: {out:?}"))
    }

    /// What `why` says of the only connection of this user.
    async fn why(&self, event: i64, user: &str) -> Value {
        let (id, url) = (event.to_string(), self.server.admin.as_str());
        let why = [
            "why",
            "--json",
            "--event",
            &id,
            "--user",
            user,
            "--admin-url",
            url,
        ];
        let (code, out, error) = run(&why).await;
        assert_eq!(code, Some(0), "{error}");
        serde_json::from_str(&out).expect("JSON")
    }
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn rowcast(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let ended = within("the end of the program", rowcast(arguments).output()).await;
    let ended = ended.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        ended.status.code(),
        text(&ended.stdout),
        text(&ended.stderr),
    )
}

#[tokio::test]
async fn a_terminal_says_who_it_is() {
    let scene = Scene::start().await;
    let url = scene.server.url.as_str();
    let token = scene.token("ann", "tasks").await;
    scene.emit("tasks").await;
    scene.emit("secret").await;
    scene.emit("inbox:ann").await;
    let tail = ["tail", "--url", url, "--since", "earliest", "--count", "2"];
    let (code, out, error) = run(&[&tail[..], &["--token-file", &token]].concat()).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(
        out.contains("\"tasks\"") && out.contains("\"inbox:ann\""),
        "{out}"
    );
    assert!(!out.contains("secret"), "{out}");

    let (code, _, error) = run(&tail).await;
    assert_eq!(code, Some(64), "{error}");
    assert!(
        error.contains("--token-file") && error.contains("UNAUTHORIZED"),
        "{error}"
    );
    let text = std::fs::read_to_string(&token).expect("a token");
    let broken = text.trim().replace('.', "");
    let (code, _, error) = run(&[&tail[..], &["--token", &broken]].concat()).await;
    assert_eq!(code, Some(64), "{error}");
    assert!(!error.contains(&broken), "{error}");
    let (code, _, error) = run(&[&tail[..], &["--token-file", "/no/such/file"]].concat()).await;
    assert_eq!(code, Some(64), "{error}");
    assert!(error.contains("/no/such/file"), "{error}");

    let verify = [
        "verify",
        "--database-url",
        &scene.database,
        "--url",
        url,
        "--for",
        "1s",
    ];
    let token = scene.token("verifier", "rowcast.verify").await;
    let (code, out, error) = run(&[&verify[..], &["--token-file", &token]].concat()).await;
    assert_eq!(code, Some(0), "{out} {error}");
}

#[tokio::test]
async fn why_says_how_far_an_event_has_come() {
    let scene = Scene::start().await;
    let before = scene.emit("tasks").await;
    let token = scene.token("ann", "tasks").await;
    let tail = [
        "tail",
        "--url",
        &scene.server.url,
        "--token-file",
        &token,
        "tasks",
        "inbox:ann",
    ];
    let mut tail = rowcast(&tail)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = {
        use tokio::io::{AsyncBufReadExt as _, BufReader};
        BufReader::new(tail.stdout.take().expect("piped")).lines()
    };
    // Until it is subscribed.
    let written = loop {
        let event = scene.emit("tasks").await;
        let line =
            tokio::time::timeout(std::time::Duration::from_millis(500), lines.next_line()).await;
        if line.is_ok() {
            break event;
        }
    };
    let answer = scene.why(written, "ann").await;
    assert_eq!(
        (&answer["committed"], &answer["read"]),
        (&true.into(), &true.into())
    );
    let told = &answer["connections"][0];
    assert_eq!(told["verdict"], "written", "{answer}");
    assert_eq!(told["matched"][0], "tasks");

    let denied = scene.emit("inbox:bob").await;
    let answer = scene.why(denied, "ann").await;
    let told = &answer["connections"][0];
    assert_eq!(told["verdict"], "denied", "{answer}");
    let message = told["message"].as_str().expect("a text");
    assert!(
        message.contains("inbox:ann") && message.contains("inbox:bob"),
        "{message}"
    );

    let unasked = scene.emit("user:ann").await;
    let answer = scene.why(unasked, "ann").await;
    assert_eq!(
        answer["connections"][0]["verdict"], "not_subscribed",
        "{answer}"
    );

    let answer = scene.why(before, "ann").await;
    assert_eq!(
        answer["connections"][0]["verdict"], "opened_later",
        "{answer}"
    );

    let answer = scene.why(unasked + 1000, "ann").await;
    assert_eq!(answer["committed"], false);
    assert!(
        answer["message"]
            .as_str()
            .is_some_and(|text| text.contains("committed")),
        "{answer}"
    );
    let answer = scene.why(unasked, "nobody").await;
    assert!(
        answer["connections"].as_array().is_some_and(Vec::is_empty),
        "{answer}"
    );

    // For people.
    let id = denied.to_string();
    let why = ["why", "--event", &id, "--admin-url", &scene.server.admin];
    let (code, out, _) = run(&why).await;
    assert_eq!(code, Some(0));
    assert!(
        out.contains("committed") && out.contains("denied: its token grants"),
        "{out}"
    );
    let why = ["why", "--event", &id, "--admin-url", "http://127.0.0.1:1"];
    let (code, _, error) = run(&why).await;
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("banner"), "{error}");
}
