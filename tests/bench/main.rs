//! `rowcast bench` as a user runs it: small, against servers of its own, running ones, and ones that do wrong.
#![cfg(feature = "sqlite")]

#[path = "../support/mod.rs"]
mod support;

mod fake;

use std::fs;
use std::process::{Output, Stdio};

use serde_json::Value;
use support::process::Process;
use support::{Database, temp_dir, within};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use fake::{Fake, Mischief};

const USAGE: i32 = 64;

/// Small, so that all of them together take seconds; and what says that it was measured.
const COMMANDS: [(&[&str], &[&str], &str); 6] = [
    (
        &[
            "fanout",
            "--clients",
            "50",
            "--rounds",
            "1",
            "--batch",
            "1,10",
        ],
        &["at a time", "CPU each", "each once and in order"],
        "/servers/0/batches/1/deliveriesPerCpuSecond/median",
    ),
    (
        &["latency", "--clients", "50", "--rate", "50", "--for", "1s"],
        &["committed", "p99.9", "each once and in order"],
        "/servers/0/sentMs/p50",
    ),
    (
        &[
            "latency",
            "--clients",
            "50",
            "--rate",
            "50",
            "--for",
            "1s",
            "--channels",
            "20",
            "--channels-per-client",
            "3",
            "--messages",
            "50",
        ],
        &["20 channels, 3 each", "messages of clients"],
        "/servers/0/answers",
    ),
    (
        &["connect", "--clients", "50", "--rounds", "1"],
        &["connects/s", "CPU each"],
        "/servers/0/cpuMicrosPerConnect/median",
    ),
    (
        &[
            "catchup",
            "--events",
            "2000",
            "--clients",
            "3",
            "--rounds",
            "1",
        ],
        &["events/s", "6,000 deliveries, each once and in order"],
        "/eventsPerCpuSecond/median",
    ),
    (
        &["idle", "--clients", "50", "--for", "300ms"],
        &["bytes of memory each"],
        "/servers/0/cpuMsPerSecond",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_command_measures_a_server_of_its_own() {
    let folder = temp_dir();
    for (flags, words, figure) in COMMANDS {
        let mut command = bench(flags);
        command.env("TMPDIR", folder.path());
        let output = output(command).await;
        let table = good(&output, flags);
        for word in words {
            assert!(table.contains(word), "{flags:?}: no {word:?} in: {table}");
        }
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(told.lines().count(), 2, "what is measured: {told}");
        assert!(told.contains("a temporary SQLite file"), "{told}");

        let mut command = bench(flags);
        command.arg("--json").env("TMPDIR", folder.path());
        let output = self::output(command).await;
        let json: Value = serde_json::from_str(good(&output, flags).trim()).expect("JSON");
        assert_eq!(json["command"], flags[0]);
        assert_eq!(json["stopped"], false);
        let server = &json["servers"][0];
        assert_eq!(server["name"], "rowcast");
        for fault in ["lost", "repeated", "outOfOrder", "strays", "cutOff"] {
            assert_eq!(server[fault], 0, "{fault}: {json}");
        }
        if cfg!(target_os = "linux") {
            assert!(server["rssBytes"].as_u64() > Some(1_000_000), "{json}");
            let number = json.pointer(figure).and_then(Value::as_f64);
            assert!(
                number.is_some_and(|number| number >= 0.0),
                "{figure}: {json}"
            );
        }
        assert!(output.stderr.is_empty(), "JSON only: {output:?}");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).expect("it is there").collect();
    assert!(left.is_empty(), "no file is left behind: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_command_it_is_fanout() {
    let output = output(bench(&["--clients", "20", "--rounds", "1", "--batch", "3"])).await;
    let table = good(&output, &[]);
    assert!(table.contains("20 clients, 1 channel"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_are_shared_out() {
    for (flags, each) in [
        (&["--channels", "each"][..], 20),
        (&["--channels", "7"], 20),
        (&["--channels", "9", "--channels-per-client", "4"], 80),
    ] {
        let mut command = bench(&["fanout", "--clients", "20", "--rounds", "1", "--json"]);
        command.args(flags);
        let output = output(command).await;
        let json: Value = serde_json::from_str(good(&output, flags).trim()).expect("JSON");
        let deliveries = json["servers"][0]["deliveries"].as_u64().expect("a number");
        assert!(deliveries > 0, "{json}");
        assert_eq!(deliveries % each, 0, "all of all channels: {json}");
    }
}

/// Postgres writes JSON in its own way.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_its_own_may_be_on_postgres() {
    let database = Database::postgres().await;
    let flags = [
        "--clients",
        "20",
        "--rounds",
        "1",
        "--batch",
        "5",
        "--database-url",
        &database.url,
    ];
    let table = good(&output(bench(&flags)).await, &flags);
    assert!(table.contains("each once and in order"), "{table}");
}

/// With its own keys, its own database, and its process.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_measured() {
    let folder = temp_dir();
    let secret = folder.path().join("secret");
    fs::write(&secret, support::token::SECRET).expect("a file");
    let secret = secret.display().to_string();
    let database = Database::sqlite().await;
    let flags = [
        "--jwt-secret-file",
        &secret,
        "--max-publishes-per-minute",
        "0",
        // Every client that is refused counts.
        "--max-auth-failures",
        "0",
    ];
    let server = Process::start(&database.url, &flags);
    let pid = server.id().to_string();
    let publish_url = format!(
        "http{}/events",
        server.url.trim_start_matches("ws").trim_end_matches("/ws")
    );
    let by_sql = ["--database-url", &database.url, "--pid", &pid];
    let by_post = ["--publish-url", &publish_url];
    let mut connection = database.connect().await;
    for way in [&by_sql[..], &by_post] {
        for (flags, _, _) in COMMANDS {
            let mut command = bench(flags);
            command.args(["--json", "--url", &server.url, "--jwt-secret-file", &secret]);
            command.args(way);
            let output = output(command).await;
            let json: Value = serde_json::from_str(good(&output, flags).trim()).expect("JSON");
            let rss = &json["servers"][0]["rssBytes"];
            assert_eq!(
                rss.is_u64(),
                way == by_sql && cfg!(target_os = "linux"),
                "{json}"
            );
        }
        let rows = connection.numbers("SELECT count(*) FROM events").await;
        // What was written by SQL is deleted; whoever publishes cannot.
        assert_eq!(rows == [0], way == by_sql, "{rows:?}");
    }

    // Everybody needs a token there.
    let output = output({
        let mut command = bench(&["fanout", "--clients", "5", "--url", &server.url]);
        command.args(["--database-url", &database.url]);
        command
    })
    .await;
    refused(&output, 1, &["measure rowcast", "--token-file"], "no token");
    let wrong = folder.path().join("wrong");
    fs::write(&wrong, "eyJhbGciOiJIUzI1NiJ9.e30.c2ln").expect("a file");
    let output = self::output({
        let mut command = bench(&["connect", "--clients", "5", "--url", &server.url]);
        command.arg("--token-file").arg(&wrong);
        command
    })
    .await;
    refused(
        &output,
        1,
        &["measure rowcast", "UNAUTHORIZED"],
        "a token that is none",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_beside_is_measured_in_turn() {
    let fake = Fake::start(Mischief::None).await;
    let folder = temp_dir();
    let file = fake.write_dialect(folder.path());
    for (flags, ratio) in [
        (&COMMANDS[0].0, "/servers/0/batches/0/rounds"),
        (&COMMANDS[1].0, "/servers/0/ratio/median"),
    ] {
        let mut command = bench(flags);
        command.args(["--json", "--beside", &file]);
        let output = output(command).await;
        let json: Value = serde_json::from_str(good(&output, flags).trim()).expect("JSON");
        assert_eq!(json["servers"][1]["name"], "fake");
        assert_eq!(json["servers"][1]["isBase"], true, "it is the limit");
        assert_eq!(
            json["servers"][0]["deliveries"],
            json["servers"][1]["deliveries"]
        );
        assert!(json.pointer(ratio).is_some_and(Value::is_number), "{json}");
    }
    let mut command = bench(COMMANDS[0].0);
    command.args(["--beside", &file]);
    let output = output(command).await;
    let table = good(&output, COMMANDS[0].0);
    assert!(table.contains("× fake"), "{table}");
    assert!(table.contains("fake: no processor time"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_wrong_is_found_out() {
    for (mischief, words) in [
        (Mischief::Lose, "1 events lost"),
        (Mischief::Repeat, "1 repeated"),
        (Mischief::Reorder, "1 out of order"),
        (
            Mischief::Cut,
            "cut off: the server closed the connection: 1012 bye",
        ),
    ] {
        let fake = Fake::start(mischief).await;
        let folder = temp_dir();
        let file = fake.write_dialect(folder.path());
        let mut command = bench(&["fanout", "--clients", "1", "--batch", "10", "--rounds", "1"]);
        command.args(["--beside", &file, "--patience", "1s"]);
        let output = output(command).await;
        let told = String::from_utf8_lossy(&output.stderr);
        let last = told.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(1), "{mischief:?}: {output:?}");
        assert!(
            last.contains("fake") && last.contains(words),
            "{mischief:?}: {told}"
        );
        let table = String::from_utf8_lossy(&output.stdout);
        assert!(table.contains("rowcast"), "what is known is said: {table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_that_is_wrong_is_one_line() {
    let folder = temp_dir();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let mistyped = write(
        "mistyped.toml",
        "[[server]]\nname = \"a\"\nurl = \"ws://127.0.0.1:1/\"\nsubscribd = \"x\"\n",
    );
    let setting = write("setting.toml", "listen = 1\n");
    let hex = write(
        "hex.toml",
        "[[server]]\nname = \"a\"\nurl = \"ws://127.0.0.1:1/\"\nsubscribe = [\n\"hex: 1\"]\n",
    );
    let silent = write(
        "silent.toml",
        "[[server]]\nname = \"a\"\nurl = \"ws://127.0.0.1:1/\"\n",
    );
    let plot = folder.path().join("absent/plot.svg").display().to_string();
    let database = format!("sqlite://{}", folder.path().join("absent.db").display());
    for (flags, code, words) in [
        (&["--channels", "0"][..], USAGE, &["'0'", "or each"][..]),
        (&["--batch", "1,0"], USAGE, &["--batch", "1..=10000"]),
        (&["--clients", "0"], USAGE, &["--clients"]),
        (&["latency", "--rate", "0"], USAGE, &["--rate"]),
        (&["latency", "--for", "30"], USAGE, &["'30'", "30s"]),
        (
            &["--channels-per-client", "2"],
            USAGE,
            &["--channels-per-client 2", "--channels 2"],
        ),
        (
            &["--url", "ws://127.0.0.1:1/ws"],
            USAGE,
            &["--url", "--database-url", "--publish-url"],
        ),
        (
            &["connect", "--url", "wss://127.0.0.1/ws"],
            USAGE,
            &["wss://", "TLS", "ws://"],
        ),
        (
            &["connect", "--url", "http://127.0.0.1/"],
            USAGE,
            &["begins with ws://"],
        ),
        (
            &["connect", "--url", "ws://127.0.0.1:1/ws"],
            1,
            &["connect to ws://127.0.0.1:1/ws", "refused"],
        ),
        (
            &[
                "connect",
                "--url",
                "ws://127.0.0.1:1/ws",
                "--pid",
                "2147483647",
            ],
            USAGE,
            &["--pid 2147483647", "no such process"],
        ),
        (
            &["--jwt-secret-file", "/absent/key"],
            USAGE,
            &["/absent/key"],
        ),
        (
            &["--token-file", "/absent/token"],
            USAGE,
            &["--token-file /absent/token"],
        ),
        (
            &["--beside", "/absent/file.toml"],
            USAGE,
            &["--beside /absent/file.toml", "no such file"],
        ),
        (
            &["--beside", &mistyped],
            USAGE,
            &["mistyped.toml:4", "subscribd", "did you mean subscribe"],
        ),
        (
            &["--beside", &setting],
            USAGE,
            &["setting.toml:1", "listen", "[[server]]"],
        ),
        (
            &["--beside", &hex],
            USAGE,
            &["hex.toml:4", "subscribe", "two digits"],
        ),
        (
            &["--beside", &silent],
            USAGE,
            &["--beside", "a has no publish"],
        ),
        (
            &["catchup", "--beside", &silent],
            USAGE,
            &["--beside", "catchup"],
        ),
        (
            &["--batch", "10000", "--channels", "1000"],
            USAGE,
            &["--batch 10000 on 1000 channels", "1000000"],
        ),
        (&["--plot", &plot], USAGE, &["--plot", "no such folder"]),
        (
            &["--database-url", "mysql://root@localhost/db"],
            USAGE,
            &["mysql", "SQLite"],
        ),
        (
            &["connect", "--serve-arg=--poll-interval=soon"],
            1,
            &["start rowcast", "it ended", "'soon'"],
        ),
        (
            &["--url", "ws://127.0.0.1:1/ws", "--database-url", &database],
            1,
            &["connect to ws://127.0.0.1:1/ws"],
        ),
    ] {
        let output = output(bench(flags)).await;
        refused(&output, code, words, &format!("{flags:?}"));
    }
}

/// Fewer files may be open than clients are asked for.
#[cfg(unix)]
#[tokio::test]
async fn the_limit_of_open_files_is_respected() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 300; exec \"$0\" bench --clients 1000"]);
    command.arg(env!("CARGO_BIN_EXE_rowcast"));
    let words = ["--clients 1000", "1100 open files", "allows 300", "ulimit"];
    refused(&output(command).await, USAGE, &words, "1,000 of 300");
}

/// A token of a URL is not shown, and settings of other servers are not taken.
#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_left_alone() {
    let url = "ws://user:pass-word@127.0.0.1:1/ws?token=eyJhbGciOiJIUzI1NiJ9.e30.c2ln";
    let output = output(bench(&["connect", "--url", url])).await;
    refused(
        &output,
        1,
        &["connect to ws://127.0.0.1:1/ws"],
        "a dead server",
    );
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        !told.contains("pass-word") && !told.contains("eyJ"),
        "{told}"
    );

    let folder = temp_dir();
    let elsewhere = folder.path().join("elsewhere.db");
    fs::write(
        folder.path().join("rowcast.toml"),
        "poll_interval = \"1h\"\n",
    )
    .expect("a file");
    let mut command = bench(&["connect", "--clients", "5", "--rounds", "1"]);
    command
        .current_dir(folder.path())
        .env("ROWCAST_URL", "ws://127.0.0.1:1/ws")
        .env("ROWCAST_JWT_AUDIENCE", "others")
        .env("DATABASE_URL", format!("sqlite://{}", elsewhere.display()));
    good(&self::output(command).await, &["connect"]);
    assert!(!elsewhere.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn plots_are_well_formed() {
    let fake = Fake::start(Mischief::None).await;
    let folder = temp_dir();
    let file = fake.write_dialect(folder.path());
    for (n, (flags, _, _)) in COMMANDS.iter().enumerate() {
        let path = folder.path().join(format!("{n}.svg"));
        let mut command = bench(flags);
        command.arg("--plot").arg(&path);
        if n < 2 {
            command.args(["--beside", &file]);
        }
        let output = output(command).await;
        good(&output, flags);
        let text = fs::read_to_string(&path).expect("it was drawn");
        let words = assert_well_formed(&text);
        assert!(words.contains("clients"), "{flags:?} has a title: {words}");
        assert_eq!(words.contains("fake"), n < 2, "{flags:?}: {words}");
    }
}

/// Ends where it is, says so, and leaves nothing behind.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_it() {
    let folder = temp_dir();
    let mut command = bench(&["fanout", "--clients", "20", "--rounds", "1000"]);
    let mut process = command
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut told = BufReader::new(process.stderr.take().expect("piped")).lines();
    within("it says what it does", told.next_line())
        .await
        .expect("it is text");
    let pid = process.id().expect("it runs").to_string();
    let killed = Command::new("kill").args(["-INT", &pid]).status().await;
    assert!(killed.expect("kill is there").success());
    let output = within("its end", process.wait_with_output())
        .await
        .expect("it was started");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("stopped early"), "{table}");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let left: Vec<_> = fs::read_dir(folder.path()).expect("it is there").collect();
    assert!(left.is_empty(), "no file is left behind: {left:?}");
}

/// The tags of a picture are closed in order. Gives its words.
fn assert_well_formed(text: &str) -> String {
    assert!(text.starts_with("<svg "), "{text}");
    let (mut open, mut words) = (Vec::new(), String::new());
    for part in text.split('<').skip(1) {
        let (tag, after) = part.split_once('>').expect("tags end");
        assert_eq!(
            tag.matches('"').count() % 2,
            0,
            "attributes are quoted: {tag}"
        );
        assert!(!after.contains('&') || after.contains(';'), "{after}");
        words.push_str(after);
        let name = tag
            .split(|c: char| c.is_whitespace() || c == '/')
            .find(|n| !n.is_empty());
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "in order");
        } else if !tag.ends_with('/') {
            open.push(name.expect("tags have names"));
        }
    }
    assert!(open.is_empty(), "{open:?}");
    words
}

/// Where its servers' settings are none of ours.
fn bench(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    command.arg("bench").args(flags).env_clear();
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn output(mut command: Command) -> Output {
    let output = within(&format!("the end of {command:?}"), command.output()).await;
    output.expect("the program can be run")
}

/// What it printed, and nothing was wrong.
fn good(output: &Output, what: &[&str]) -> String {
    assert_eq!(output.status.code(), Some(0), "{what:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One line says what is wrong; before it may be what would have been measured.
fn refused(output: &Output, code: i32, words: &[&str], what: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{what}: {told}");
    let lines = told.lines().filter(|line| line.starts_with("rowcast: "));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 1, "{what}: {told}");
    for word in words {
        assert!(lines[0].contains(word), "{what}: no {word:?} in: {told}");
    }
    assert!(output.stdout.is_empty(), "{what}: {output:?}");
}
