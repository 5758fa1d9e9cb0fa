//! The flag, as the program has it.

use crate::support::process::Process;
use crate::support::{temp_dir, within};

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_says_where_its_console_is() {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rowcast"));
    command.args(["demo", "--listen", "127.0.0.1:0", "--count", "1"]);
    let output = within("the end of the demo", command.kill_on_drop(true).output()).await;
    let output = output.expect("it runs");
    let log = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(log.contains("console\":\"http://127.0.0.1:"), "{log}");
}

/// A status and the body of what a browser gets at `/`.
async fn page_of(process: &Process) -> (u16, String) {
    let url = process.url.replace("ws://", "http://").replace("/ws", "/");
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.expect("a client");
    let answer = client.get(url).header("accept", "text/html").send().await;
    let answer = answer.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_a_console_unless_it_is_turned_off() {
    for (flags, status) in [
        (&[][..], 200),
        (&["--console", "on"], 200),
        (&["--console", "off"], 404),
    ] {
        let folder = temp_dir();
        let url = format!("sqlite://{}", folder.path().join("feed.db").display());
        let process = Process::start(&url, flags);
        let (found, text) = page_of(&process).await;
        assert_eq!(found, status, "{flags:?}: {text}");
        assert_eq!(text.contains("<!doctype html>"), status == 200, "{text}");
    }
}
