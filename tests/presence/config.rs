//! Flags, environment and file.

use std::process::{Command, Output};

use serde_json::json;

use crate::connect;
use crate::support::process::Process;
use crate::support::temp_dir;
use crate::support::token::{SECRET, token_for};

fn serve(flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    let command = command.args(["serve", "--database-url", "sqlite:///nowhere/feed.db"]);
    command.args(flags).output().expect("it runs")
}

#[test]
fn flags_out_of_rule_are_refused_before_anything_is_opened() {
    for (flags, part) in [
        (&["--presence", "room:**"][..], "room:*"),
        (&["--presence", ""], "--presence"),
        (&["--presence", "größe"], "'ö'"),
        (
            &["--presence", "room:*", "--presence-ttl", "500ms"],
            "1s at least",
        ),
        (
            &["--presence", "room:*", "--presence-ttl", "2h"],
            "1h at most",
        ),
        (
            &["--presence", "room:*", "--presence-ttl", "soon"],
            "--presence-ttl",
        ),
        (
            &["--presence", "room:*", "--max-presence", "0"],
            "1..=100000",
        ),
    ] {
        let output = serve(flags);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{flags:?}: {text}");
        assert!(text.contains(part), "{flags:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_patterns_by_flags_environment_and_file() {
    let folder = temp_dir();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("key"), SECRET).expect("written");
    let file = "presence = [\"room:*\", \"tasks\"]\npresence_ttl = \"5s\"\nmax_presence = 7\n";
    std::fs::write(path("rowcast.toml"), file).expect("written");
    let url = format!("sqlite://{}", path("feed.db"));
    let by_flags = ["--presence", "room:*", "--presence", "tasks"];
    let (config, key) = (path("rowcast.toml"), path("key"));
    let by_file = ["--config", &config];
    for (flags, environment) in [
        (&by_flags[..], None),
        (&[], Some("room:* tasks")),
        (&by_file[..], None),
    ] {
        let mut command = Process::command(&url);
        command.args(["--jwt-secret-file", &key]).args(flags);
        if let Some(patterns) = environment {
            command.env("ROWCAST_PRESENCE", patterns);
        }
        let server = Process::spawn(command).expect("it starts");
        let mut client = connect(&server.url, &token_for("ann", &["*"])).await;
        let channels = ["room:1", "tasks", "tasks:1", "room", "other"];
        let asked = json!({"type": "subscribe", "channels": channels, "presence": true});
        client.say(&asked).await;
        let told = client.hear_a("subscribed").await["presence"].take();
        for channel in &channels[..3] {
            assert_eq!(told[channel]["count"], 0, "{flags:?}: {told}");
        }
        for channel in &channels[3..] {
            assert_eq!(told[channel]["code"], "NO_PRESENCE", "{flags:?}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_users_says_so() {
    let folder = temp_dir();
    let url = format!("sqlite://{}", folder.path().join("feed.db").display());
    let mut server = Process::start(&url, &["--presence", "room:*"]);
    let told = server.output();
    assert!(told.contains("presence is of users"), "{told}");
}
