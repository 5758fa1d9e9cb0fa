//! The `rowcast` command as its users have it: arguments, environment and signals in; output and exit code out.
#![cfg(all(feature = "postgres", feature = "sqlite"))]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Connection, Database, temp_dir, until, within};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};

const USAGE: i32 = 64;

#[tokio::test(flavor = "multi_thread")]
async fn usage_that_is_wrong_is_one_line_and_64() {
    let folder = temp_dir();
    let url = format!("sqlite://{}", folder.path().join("events.db").display());
    let database = ["--database-url", &url];
    for (arguments, words) in [
        (
            &["--poll-interval", "0"][..],
            &["--poll-interval", "1ms"][..],
        ),
        (&["--poll-interval", "0s"], &["--poll-interval", "1ms"]),
        (
            &["serve", "--poll-interval", "2h"],
            &["--poll-interval", "1h"],
        ),
        (
            &["serve", "--poll-interval", "soon"],
            &["'soon'", "for example 500ms"],
        ),
        (
            &["serve", "--poll-interval", "500"],
            &["'500'", "for example 500ms"],
        ),
        (
            &["serve", "--poll-interval=-1s"],
            &["'-1s'", "for example 500ms"],
        ),
        (
            &[
                "serve",
                "--poll-interval",
                "10ms",
                "--poll-interval-min",
                "20ms",
            ],
            &[
                "--poll-interval-min 20ms",
                "--poll-interval 10ms",
                "shorter",
            ],
        ),
        (
            &["serve", "--listen", "0.0.0.0:0"],
            &["--listen 0.0.0.0:0", "--public"],
        ),
        (
            &["serve", "--listen", "[::]:0"],
            &["--listen [::]:0", "--public"],
        ),
        (&["serve", "--listen", "here"], &["'here'", "--listen"]),
        (
            &["serve", "--retain", "30s"],
            &["--retain", "1m at least", "refetch"],
        ),
        (
            &["serve", "--retain", "a week"],
            &["'a week'", "for example 7d"],
        ),
        (&["serve", "--retain", "101y"], &["--retain", "100 years"]),
        (
            &["prune", "--older-than", "7"],
            &["'7'", "--older-than", "for example 7d"],
        ),
        (
            &["prune", "--older-than", "7d", "--schema", "s"],
            &["--schema is for Postgres"],
        ),
        (
            &["demo", "--listen", "0.0.0.0:0"],
            &["--listen 0.0.0.0:0", "this machine"],
        ),
        (
            &["serve", "--max-message-bytes", "1"],
            &["--max-message-bytes", "1024"],
        ),
        (
            &["serve", "--log", "rowcast=loud"],
            &["--log", "rowcast=debug"],
        ),
        (
            &["emit", "tasks", "t", "{bad"],
            &["{bad", "not JSON", "single quotes"],
        ),
        (&["emit", "tasks", "t", ""], &["not JSON"]),
        (&["emit", "no,good", "t"], &["CHANNEL", "no,good", "','"]),
        (&["emit", "", "t"], &["CHANNEL", "at least one character"]),
        (&["emit", "tasks", "two words"], &["TYPE", "two words"]),
        (
            &["emit", "tasks", "t", "--schema", "s"],
            &["--schema is for Postgres"],
        ),
        (
            &["emit", "tasks", "t", "--schema", ""],
            &["--schema is empty"],
        ),
        (&["tail", "no,good"], &["no,good", "','"]),
        (&["verify", "--rate", "50/h"], &["'50/h'", "3000/m"]),
        (&["verify", "--for", "30"], &["'30'", "30s"]),
    ] {
        let mut command = rowcast(arguments);
        if !["tail", "demo"].contains(&arguments[0]) {
            command.args(database);
        }
        assert_refused(&output(command).await, USAGE, words, arguments);
    }
    for (url, words) in [
        (
            "mysql://root@localhost/db",
            &["\"mysql\"", "Postgres and SQLite"][..],
        ),
        ("rowcast.db", &["no scheme", "sqlite://"]),
        ("sqlite://", &["names no file"]),
        ("sqlite::memory:", &["memory", "name a file"]),
        ("postgres://host:port/db", &["malformed", "postgres://"]),
    ] {
        for command in [&["serve"][..], &["migrate"], &["emit", "tasks", "t"]] {
            let mut command = rowcast(command);
            command.args(["--database-url", url]);
            assert_refused(&output(command).await, USAGE, words, &[url]);
        }
    }
    assert_eq!(
        fs::read_dir(folder.path()).expect("it is there").count(),
        0,
        "nothing was made before all was checked"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let address = taken.local_addr().expect("it is bound").to_string();
    let folder = temp_dir();
    let file = folder.path().join("events.db");
    let mut command = rowcast(&["serve", "--listen", &address]);
    command.args(["--database-url", &format!("sqlite://{}", file.display())]);
    let words = [
        "failed to listen",
        &address,
        "another program has this port",
    ];
    assert_refused(&output(command).await, 1, &words, &[&address]);
    assert!(!file.exists(), "the database was not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_files_that_cannot_be_used_are_named() {
    let folder = temp_dir();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("text.db"), "no database ".repeat(1000)).expect("the folder is ours");
    let foreign = format!("sqlite://{}", path("foreign.db"));
    Connection::open(&foreign)
        .await
        .run("CREATE TABLE events (id INTEGER PRIMARY KEY, title TEXT)")
        .await;
    for (arguments, name, words) in [
        (
            &["serve"][..],
            "missing/events.db",
            &["missing", "does not exist; create it first"][..],
        ),
        (
            &["serve"],
            "text.db",
            &["text.db", "is not a SQLite database"],
        ),
        (
            &["serve"],
            "foreign.db",
            &["already has a table `events`", "another file"],
        ),
        (
            &["serve", "--migrate", "off"],
            "foreign.db",
            &["not of the shape", "rowcast migrate"],
        ),
        (
            &["serve", "--migrate", "check"],
            "foreign.db",
            &["12 of 12 migrations"],
        ),
        (
            &["serve", "--migrate", "check"],
            "none.db",
            &["none.db", "does not exist"],
        ),
        (
            &["migrate", "--check"],
            "none.db",
            &["none.db", "does not exist"],
        ),
        (
            &["emit", "tasks", "t"],
            "foreign.db",
            &["already has a table `events`"],
        ),
        (
            &["prune", "--older-than", "7d"],
            "none.db",
            &["none.db", "does not exist"],
        ),
        (
            &["prune", "--older-than", "7d"],
            "foreign.db",
            &["migrations are not applied", "rowcast migrate"],
        ),
    ] {
        let mut command = rowcast(arguments);
        command.args(["--database-url", &format!("sqlite://{}", path(name))]);
        if arguments[0] == "serve" {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        assert_refused(&output(command).await, 1, words, &[name]);
    }
}

/// In a file, and in a folder, that rowcast has no right to write.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_only_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = temp_dir();
    let file = folder.path().join("events.db");
    let url = format!("sqlite://{}", file.display());
    // Root may write everywhere unless it gives that up.
    let powerless = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--bounding-set", "-dac_override,-dac_read_search", "--"])
            .arg(env!("CARGO_BIN_EXE_rowcast"))
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if !is_root() {
            command = rowcast(arguments);
        }
        command
    };
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", &url];

    set_mode(folder.path(), 0o555);
    let refused = output(powerless(&serve)).await;
    assert_refused(&refused, 1, &["events.db", "permissions"], &serve);

    set_mode(folder.path(), 0o755);
    let mut owner = Connection::open(&url).await;
    owner
        .run("PRAGMA journal_mode = DELETE; CREATE TABLE theirs (id INTEGER)")
        .await;
    set_mode(&file, 0o444);
    let refused = output(powerless(&serve)).await;
    assert_refused(&refused, 1, &["events.db", "read-only"], &serve);
    let emit = ["emit", "tasks", "t", "--database-url", &url];
    let refused = output(powerless(&emit)).await;
    assert_refused(&refused, 1, &["events.db", "read-only"], &emit);

    // The same for tables that are there.
    set_mode(&file, 0o644);
    let done = output(powerless(&["migrate", "--database-url", &url])).await;
    assert!(done.status.success(), "{done:?}");
    set_mode(&file, 0o444);
    let refused = output(powerless(&emit)).await;
    assert_refused(&refused, 1, &["events.db", "read-only"], &emit);
    set_mode(&file, 0o644);
    set_mode(folder.path(), 0o755);
}
#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_cannot_be_used_is_named() {
    let nobody = {
        let free = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        free.local_addr().expect("it is bound")
    };
    let foreign = Database::postgres().await;
    foreign
        .connect()
        .await
        .run("CREATE TABLE events (id int, title text)")
        .await;
    let unreachable = format!("postgres://{nobody}/db");
    let missing = support::Postgres::shared().url("no_such_database");
    for (arguments, url, words) in [
        (
            &["serve"][..],
            &unreachable,
            &["connect to the database", "refused"][..],
        ),
        (
            &["emit", "tasks", "t"],
            &unreachable,
            &["connect to the database", "refused"],
        ),
        (
            &["serve"],
            &missing,
            &["\"no_such_database\" does not exist"],
        ),
        (
            &["serve"],
            &foreign.url,
            &["already has a table `events`", "--schema rowcast"],
        ),
        (
            &["serve", "--migrate", "off"],
            &foreign.url,
            &["not of the shape", "rowcast migrate"],
        ),
        (
            &["serve", "--migrate", "check"],
            &foreign.url,
            &["12 of 12 migrations", "rowcast migrate"],
        ),
        (
            &["migrate", "--check"],
            &foreign.url,
            &["12 of 12 migrations", "rowcast migrate"],
        ),
    ] {
        let mut command = rowcast(arguments);
        command.args(["--database-url", url]);
        if arguments[0] == "serve" {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        assert_refused(&output(command).await, 1, words, &[url]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn emit_inserts_and_says_so() {
    let folder = temp_dir();
    let url = format!("sqlite://{}", folder.path().join("events.db").display());
    let mut command = rowcast(&["emit", "tasks project:7", "task.created", "{\"a\": 1}"]);
    command.args(["--database-url", &url]);
    let done = output(command).await;
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(
        String::from_utf8_lossy(&done.stdout),
        format!("inserted event 1 into {url}\n")
    );
    assert!(done.stderr.is_empty(), "{done:?}");
    let mut reader = Connection::open(&url).await;
    assert_eq!(
        reader
            .texts("SELECT channel || ' ' || type || ' ' || payload FROM events")
            .await,
        ["tasks project:7 task.created {\"a\": 1}"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn emit_inserts_whole_events() {
    const ALL: &str = "SELECT concat_ws(' ', channel, type, entity_id, actor, CAST(payload AS text), \
                       CAST(previous AS text), trace_id, origin, dedup_key) FROM events ORDER BY id";
    for database in [Database::sqlite().await, Database::postgres().await] {
        let whole = [
            "emit",
            "tasks",
            "t",
            "1",
            "--entity-id",
            "e",
            "--actor",
            "ann",
            "--previous",
            "2",
            "--trace-id",
            "x",
            "--origin",
            "o",
            "--dedup-key",
            "k",
            "--database-url",
            &database.url,
        ];
        for said in ["inserted event 1 into", "event 1 with this key is in"] {
            let done = output(rowcast(&whole)).await;
            assert_eq!(done.status.code(), Some(0), "{done:?}");
            assert!(
                String::from_utf8_lossy(&done.stdout).contains(said),
                "{done:?}"
            );
        }
        let events = ["emit", "--events", "--database-url", &database.url];
        let input = "{\"channels\": [\"a\", \"b\"], \"type\": \"u\", \"dedupKey\": \"k2\"}\n\
                     {\"channel\": \"a b\", \"type\": \"u\", \"dedupKey\": \"k2\"}\n";
        let done = feed(rowcast(&events), input.as_bytes()).await;
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(said.starts_with("inserted 1 events"), "{said}");
        assert!(said.contains("1 were there already"), "{said}");
        let bad = feed(rowcast(&events), b"{\"chanel\": \"a\"}\n").await;
        assert_refused(
            &bad,
            USAGE,
            &["line 1", "\"chanel\"", "channel: it is missing"],
            &[],
        );
        let both = output(rowcast(&["emit", "tasks", "t", "--events"])).await;
        assert_eq!(both.status.code(), Some(USAGE), "{both:?}");
        let rows = database.connect().await.texts(ALL).await;
        assert_eq!(rows, ["tasks t e ann 1 2 x o k", "a b u {} k2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn emit_reads_thousands_of_lines() {
    for database in [Database::sqlite().await, Database::postgres().await] {
        // Empty lines are none, and the last one needs no end.
        let lines: Vec<_> = (0..5000).map(|number: i32| number.to_string()).collect();
        let input = lines.join("\n\n");
        let done = emit_lines(&database.url, &input).await;
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(said.starts_with("inserted 5000 events into "), "{said}");
        let text = "SELECT CAST(payload AS text) FROM events ORDER BY id";
        let rows = database.connect().await.texts(text).await;
        assert!(rows == lines, "in order, each once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn emit_names_the_bad_line_and_what_was_inserted_before() {
    let folder = temp_dir();
    let url = format!("sqlite://{}", folder.path().join("events.db").display());
    for (input, inserted, words) in [
        (
            "1\n2\nthree\n4\n",
            2,
            &[
                "line 3 of standard input is not JSON",
                "inserted before it: 2",
            ][..],
        ),
        (
            "{\"a\":\n",
            0,
            &[
                "line 1 of standard input is not JSON",
                "inserted before it: 0",
            ],
        ),
        (
            "1\n\n\n4 4\n",
            1,
            &[
                "line 4 of standard input is not JSON",
                "inserted before it: 1",
            ],
        ),
    ] {
        let mut owner = Connection::open(&url).await;
        let done = emit_lines(&url, input).await;
        assert_refused(&done, USAGE, words, &[input]);
        let count = "SELECT count(*) FROM events";
        assert_eq!(owner.numbers(count).await, [inserted], "{input}");
        owner.run("DELETE FROM events").await;
    }
    let (done, mut owner) = (
        emit_bytes(&url, b"1\n\"\xff\"\n").await,
        Connection::open(&url).await,
    );
    assert_refused(
        &done,
        1,
        &["line 2 of standard input", "inserted before it: 1"],
        &["not UTF-8"],
    );
    assert_eq!(owner.numbers("SELECT count(*) FROM events").await, [1]);
}

/// What is JSON to everybody but `jsonb`.
#[tokio::test(flavor = "multi_thread")]
async fn emit_says_what_postgres_refuses() {
    let database = Database::postgres().await;
    let done = emit_lines(&database.url, "\"\\u0000\"\n").await;
    let words = ["insert events", "inserted before it: 0", "Unicode"];
    assert_refused(&done, 1, &words, &["a NUL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_prints_as_many_events_as_asked_for() {
    let folder = temp_dir();
    let url = format!("sqlite://{}", folder.path().join("events.db").display());
    let server = Server::start(&["--database-url", &url], &[]).await;
    let socket = format!("ws://{}/ws", server.address);
    let tail = rowcast(&[
        "tail",
        "--count",
        "3",
        "tasks",
        "messages:*",
        "--url",
        &socket,
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("rowcast can be run");
    until("the subscriptions of tail", async || {
        let stats = server.get("/api/v1/ws/stats").await;
        (stats["subscriptions"] == 2).then_some(())
    })
    .await;
    for (channel, kind) in [
        ("tasks", "a"),
        ("plans", "b"),
        ("messages:1", "c"),
        ("tasks:9", "d"),
        ("tasks", "e"),
    ] {
        let mut command = rowcast(&["emit", channel, kind]);
        command.args(["--database-url", &url]);
        assert!(output(command).await.status.success());
    }
    let done = within("the end of tail", tail.wait_with_output()).await;
    let done = done.expect("it was started");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let frames: Vec<Value> = String::from_utf8_lossy(&done.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a frame on every line"))
        .collect();
    let kinds: Vec<_> = frames.iter().map(|frame| &frame["event"]["type"]).collect();
    assert_eq!(kinds, ["a", "c", "d"]);

    let refused = output(rowcast(&["tail", "--url", "ws://127.0.0.1:1/ws"])).await;
    let words = ["connect to ws://127.0.0.1:1/ws", "is the server running?"];
    assert_refused(&refused, 1, &words, &["tail"]);
    let wrong = format!("ws://{}/elsewhere", server.address);
    let refused = output(rowcast(&["tail", "--url", &wrong])).await;
    assert_refused(&refused, USAGE, &[&wrong, "404"], &["tail"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_begins_where_it_is_told_to() {
    let folder = temp_dir();
    let url = format!("sqlite://{}", folder.path().join("events.db").display());
    let server = Server::start(&["--database-url", &url], &[]).await;
    let socket = format!("ws://{}/ws", server.address);
    let emitted = emit_lines(&url, "1\n2\n3\n").await;
    assert!(emitted.status.success(), "{emitted:?}");
    let frames = async |since: &str, count: &str| {
        let tail = rowcast(&["tail", "--since", since, "--count", count, "--url", &socket]);
        let done = output(tail).await;
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a frame on every line"))
            .collect::<Vec<Value>>()
    };
    let all = frames("earliest", "3").await;
    let payloads: Vec<_> = all.iter().map(|frame| &frame["event"]["payload"]).collect();
    assert_eq!(payloads, [1, 2, 3]);
    let place = all[2]["cursor"].as_str().expect("the last has a cursor");
    let emitted = emit_lines(&url, "4\n").await;
    assert!(emitted.status.success(), "{emitted:?}");
    let missed = frames(place, "1").await;
    assert_eq!(missed[0]["event"]["payload"], 4);
    let refused = output(rowcast(&["tail", "--since", "long ago", "--url", &socket])).await;
    assert_refused(&refused, USAGE, &["CURSOR_INVALID"], &["tail"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_good_feed_good_and_leaves_nothing() {
    for database in [Database::sqlite().await, Database::postgres().await] {
        let server = Server::start(&["--database-url", &database.url], &[]).await;
        let verify = |flags: &[&str]| {
            let socket = format!("ws://{}/ws", server.address);
            let mut command = rowcast(&["verify", "--rate", "200/s", "--for", "2s"]);
            command.args(["--database-url", &database.url, "--url", &socket]);
            command.args(flags);
            output(command)
        };
        let mut owner = database.connect().await;
        let rows = "SELECT count(*) FROM events";
        let done = verify(&["--json", "--clients", "3", "--writers", "8"]).await;
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        let report: Value = serde_json::from_slice(&done.stdout).expect("it was asked for JSON");
        for (field, count) in [
            ("lost", 0),
            ("doubled", 0),
            ("neverCommitted", 0),
            ("outOfOrder", 0),
            ("clients", 3),
        ] {
            assert_eq!(report[field], count, "{report}");
        }
        assert!(report["rows"].as_i64() > Some(50), "{report}");
        assert!(report["rolledBack"].as_i64() > Some(0), "{report}");
        assert!(report["lateMs"]["p99"].as_f64() > Some(0.0), "{report}");
        assert_eq!(owner.numbers(rows).await, [0]);
        let done = verify(&["--keep"]).await;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        assert!(
            text.contains("0  lost") && text.contains("late by"),
            "{text}"
        );
        assert!(owner.numbers(rows).await[0] > 50);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_feed_that_loses_rows() {
    let folder = temp_dir();
    let url = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
    let server = Server::start(&["--database-url", &url("one.db")], &[]).await;
    let socket = format!("ws://{}/ws", server.address);
    let _other = Server::start(&["--database-url", &url("other.db")], &[]).await;
    let mut command = rowcast(&["verify", "--for", "1s", "--patience", "1s"]);
    command.args(["--database-url", &url("other.db"), "--url", &socket]);
    let done = output(command).await;
    let (out, err) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(out.contains("does the server read this database?"), "{out}");
    assert!(err.contains("rows lost, 0 doubled"), "{err}");
    // What makes it impossible to find out.
    let refused = |arguments: &[&str]| {
        let mut command = rowcast(&["verify"]);
        command.args(arguments);
        output(command)
    };
    let (one, none) = (url("one.db"), url("none.db"));
    let nobody = ["--database-url", &one, "--url", "ws://127.0.0.1:1/ws"];
    assert_refused(
        &refused(&nobody).await,
        1,
        &["is the server running?"],
        &nobody,
    );
    let missing = ["--database-url", &none, "--url", &socket];
    assert_refused(
        &refused(&missing).await,
        1,
        &["none.db", "does not exist"],
        &missing,
    );
    Connection::open(&none).await;
    assert_refused(&refused(&missing).await, 1, &["rowcast migrate"], &missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_server_cleanly() {
    let folder = temp_dir();
    let url = format!("sqlite://{}", folder.path().join("events.db").display());
    for name in ["TERM", "INT"] {
        let mut server = Server::start(&["--database-url", &url], &[]).await;
        // A client that is connected does not hold it up.
        let socket = format!("ws://{}/ws", server.address);
        let _tail = rowcast(&["tail", "--url", &socket])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("rowcast can be run");
        until("the client", async || {
            let stats = server.get("/api/v1/ws/stats").await;
            (stats["subscriptions"] == 1).then_some(())
        })
        .await;
        server.signal(name).await;
        let (code, rest) = server.end().await;
        assert_eq!(code, Some(0), "{name}: {rest}");
        assert!(rest.contains("\"stopped\""), "{name}: {rest}");
        assert!(
            TcpStream::connect(&server.address).await.is_err(),
            "{name}: the port is free again"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_as_good_as_flags() {
    let folder = temp_dir();
    let url = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
    let (first, second, third) = (url("first.db"), url("second.db"), url("third.db"));
    let server = Server::start(
        &[],
        &[("ROWCAST_DATABASE_URL", &first), ("DATABASE_URL", &second)],
    )
    .await;
    assert_eq!(server.ready["database"], first, "rowcast's own comes first");
    let server = Server::start(&[], &[("DATABASE_URL", &second)]).await;
    assert_eq!(server.ready["database"], second);
    let flag = ["--database-url", &third];
    let server = Server::start(&flag, &[("ROWCAST_DATABASE_URL", &first)]).await;
    assert_eq!(server.ready["database"], third, "a flag comes before all");
    drop(server);

    for (name, value, words) in [
        (
            "ROWCAST_POLL_INTERVAL",
            "0",
            &["1ms", "--poll-interval"][..],
        ),
        (
            "ROWCAST_POLL_INTERVAL_MIN",
            "1h",
            &["--poll-interval-min 1h", "--poll-interval 500ms"],
        ),
        (
            "ROWCAST_LISTEN",
            "0.0.0.0:0",
            &["--listen 0.0.0.0:0", "--public"],
        ),
        ("ROWCAST_SCHEMA", "x", &["--schema is for Postgres"]),
    ] {
        let mut command = rowcast(&["serve", "--database-url", &first]);
        command.env(name, value);
        assert_refused(&output(command).await, USAGE, words, &[name]);
    }
    let mut command = rowcast(&["serve", "--database-url", &url("none.db")]);
    command.env("ROWCAST_MIGRATE", "check");
    let refused = output(command).await;
    assert_refused(&refused, 1, &["does not exist"], &["ROWCAST_MIGRATE"]);
}

/// Whoever deletes events learns first what it means for clients.
#[tokio::test(flavor = "multi_thread")]
async fn help_tells_what_becomes_of_clients_that_were_away() {
    for (command, flag) in [("serve", "--retain"), ("prune", "--older-than")] {
        let help = output(rowcast(&[command, "--help"])).await;
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(help.contains(flag) && help.contains("`reset`"), "{help}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn help_names_the_variable_of_every_flag() {
    for arguments in [&["--help"][..], &["serve", "--help"]] {
        let help = output(rowcast(arguments)).await;
        assert_eq!(help.status.code(), Some(0));
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let flags: Vec<_> = help
            .lines()
            .filter_map(|line| {
                line.trim_start()
                    .split("--")
                    .nth(1)
                    .filter(|_| line.trim_start().starts_with('-'))
            })
            .map(|flag| {
                flag.split([' ', '<', '['])
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            })
            .filter(|flag| !["help", "version"].contains(&&**flag))
            .collect();
        assert!(
            flags.len() >= 12 && flags.contains(&"poll-interval".to_owned()),
            "{flags:?}"
        );
        for flag in flags {
            let variable = format!("[env: ROWCAST_{}=", flag.to_uppercase().replace('-', "_"));
            assert!(
                help.contains(variable.trim_end_matches('=')),
                "--{flag}:\n{help}"
            );
        }
        assert!(help.contains("DATABASE_URL"), "{help}");
    }
    let help = output(rowcast(&["--help"])).await;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for command in [
        "serve",
        "migrate",
        "emit",
        "tail",
        "demo",
        "verify",
        "completions",
    ] {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command}:\n{help}"
        );
    }
    let version = output(rowcast(&["--version"])).await;
    let expected = format!("rowcast {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&version.stdout), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_are_of_the_language_they_claim() {
    let script = output(rowcast(&["completions", "bash"])).await;
    assert_eq!(script.status.code(), Some(0));
    let text = String::from_utf8_lossy(&script.stdout);
    assert!(text.contains("--poll-interval-min") && text.contains("emit"));
    let mut bash = Command::new("bash");
    bash.arg("-n").stdin(Stdio::piped());
    let parsed = feed(bash, &script.stdout).await;
    assert!(
        parsed.status.success() && parsed.stderr.is_empty(),
        "{parsed:?}"
    );
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        let script = output(rowcast(&["completions", shell])).await;
        assert!(
            script.status.success() && script.stdout.len() > 1000,
            "{shell}"
        );
    }
}
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_events_in_no_time() {
    // A server is running already, as it will when somebody tries it out.
    let taken = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let address = taken.local_addr().expect("it is bound").to_string();
    let start = Instant::now();
    let done = output(rowcast(&["demo", "--count", "2", "--listen", &address])).await;
    let took = start.elapsed();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    let text = String::from_utf8_lossy(&done.stdout);
    let frames: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a frame on every line"))
        .collect();
    assert_eq!(frames.len(), 2, "{text}");
    for frame in frames {
        assert_eq!(frame["type"], "event");
        assert!(frame["event"]["payload"].is_object(), "{frame}");
    }
}
#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_never_shown() {
    // Real in every way: the server asks for it.
    let server = support::Postgres::start();
    let database = Database::on(&server).await;
    let mut owner = database.connect().await;
    owner
        .run("CREATE ROLE alice SUPERUSER LOGIN PASSWORD 'hun/ter?2'")
        .await;
    let file = owner.texts("SHOW hba_file").await;
    owner
        .run(&format!(
            "COPY (VALUES ('host all rowcast 127.0.0.1/32 trust'), ('host all all 127.0.0.1/32 scram-sha-256'))
             TO '{}'; SELECT pg_reload_conf()",
            file[0]
        ))
        .await;
    let place = database.url.split('@').nth(1).expect("a URL with a user");
    let good = format!("postgres://alice:hun%2Fter%3F2@{place}");
    let trace = ["--log", "trace", "--database-url"];
    // Until the server has read its new rules.
    let wrong = format!("postgres://alice:hun-wrong-ter@{place}");
    until("the question for a password", async || {
        let refused = output(rowcast(&["migrate", "--database-url", &wrong])).await;
        (!refused.status.success()).then_some(())
    })
    .await;

    let mut shown = Vec::new();
    for listen in ["--wake=auto", "--wake=off"] {
        let mut arguments = vec![listen];
        arguments.extend(trace);
        arguments.push(&good);
        let mut running = Server::start(&arguments, &[]).await;
        let emit = [&["emit", "tasks", "t"][..], &trace, &[&good]].concat();
        shown.push(output(rowcast(&emit)).await);
        assert!(shown[shown.len() - 1].status.success(), "{shown:?}");
        until("the event", async || {
            (running.get("/api/v1/ws/stats").await["events"] == 1).then_some(())
        })
        .await;
        running.signal("TERM").await;
        let (code, rest) = running.end().await;
        assert_eq!(code, Some(0), "{rest}");
        assert!(
            rest.contains("\"TRACE\"") || running.before.contains("\"TRACE\""),
            "it was to log everything"
        );
        assert_no_password(&running.before);
        assert_no_password(&rest);
        assert!(running.before.contains("alice:***@"), "{}", running.before);
    }
    let mut by_environment = rowcast(&["migrate", "--log", "trace"]);
    by_environment.env("DATABASE_URL", &good);
    shown.push(output(by_environment).await);
    assert!(
        shown.iter().all(|output| output.status.success()),
        "{shown:?}"
    );

    // Wrong in every way.
    for bad in [
        wrong,
        "postgres://alice:hun-ter@127.0.0.1:1/db".to_owned(),
        format!("{good}?sslmode=hun-ter"),
        format!("{good}?password=hun-ter&sslmode=nonsense"),
        "postgres://alice:hun-ter@[::1/db".to_owned(),
        "postgres://alice:hun-ter@127.0.0.1:port/db".to_owned(),
        // Characters that would have to be escaped: the URL means something else then.
        "postgres://alice:hun#ter@127.0.0.1:1/db".to_owned(),
        "postgres://alice:12#hun-ter@127.0.0.1:1/db".to_owned(),
        "postgres://alice:12/hun-ter@127.0.0.1:1/db".to_owned(),
        "postgres://alice:12?hun-ter@127.0.0.1:1/db".to_owned(),
        "postgres:alice:hun-ter@127.0.0.1:1/db".to_owned(),
        "postgres:/alice:hun-ter@127.0.0.1:1/db".to_owned(),
        "mysql://alice:hun-ter@127.0.0.1:1/db".to_owned(),
    ] {
        for command in [
            &["serve", "--listen", "127.0.0.1:0"][..],
            &["emit", "tasks", "t"],
            &["migrate"],
        ] {
            let refused = output(rowcast(&[command, &trace, &[&bad]].concat())).await;
            assert!(!refused.status.success(), "{bad}: {refused:?}");
            shown.push(refused);
        }
        // A flag that was forgotten or misspelt.
        for arguments in [
            &[&*bad][..],
            &["serve", &bad],
            &["--databse-url", &bad],
            &["serve", "--listen", &bad],
        ] {
            let refused = output(rowcast(arguments)).await;
            assert_eq!(refused.status.code(), Some(USAGE), "{refused:?}");
            shown.push(refused);
        }
    }
    for output in shown {
        assert_no_password(&String::from_utf8_lossy(&output.stdout));
        assert_no_password(&String::from_utf8_lossy(&output.stderr));
    }
}
fn assert_no_password(text: &str) {
    for part in ["hun", "ter@", "ter?2", "ter%3F2"] {
        assert!(!text.contains(part), "{part} is in:\n{text}");
    }
}

/// The command, with nothing in its environment.
fn rowcast(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn output(mut command: Command) -> Output {
    let output = within(&format!("the end of {command:?}"), command.output()).await;
    output.expect("the program can be run")
}

/// Runs the program with this as its standard input.
async fn feed(mut command: Command, input: &[u8]) -> Output {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program can be run");
    let mut stdin = process.stdin.take().expect("it was asked to be a pipe");
    // It may have seen enough before the end.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    within("the end of the program", process.wait_with_output())
        .await
        .expect("it was started")
}

async fn emit_lines(url: &str, input: &str) -> Output {
    emit_bytes(url, input.as_bytes()).await
}

async fn emit_bytes(url: &str, input: &[u8]) -> Output {
    let command = rowcast(&["emit", "tasks", "task.created", "-", "--database-url", url]);
    feed(command, input).await
}

/// One line says what is wrong and what to do.
#[track_caller]
fn assert_refused(output: &Output, code: i32, words: &[&str], what: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{what:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{what:?}: {text}");
    assert!(text.starts_with("rowcast: "), "{what:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{what:?}: no {word:?} in: {text}");
    }
    assert!(output.stdout.is_empty(), "{what:?}: {output:?}");
}

/// `rowcast serve` on a port of its own.
struct Server {
    process: Child,
    log: Lines<BufReader<ChildStderr>>,
    /// What it logged until it was ready.
    before: String,
    /// What it said when it was ready.
    ready: Value,
    address: String,
}

impl Server {
    async fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut process = rowcast(&["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rowcast can be run");
        let stderr = process.stderr.take().expect("it was asked to be a pipe");
        let mut log = BufReader::new(stderr).lines();
        let mut before = String::new();
        let ready = within("the server to be ready", async {
            loop {
                let line = log.next_line().await.expect("its log is UTF-8");
                let line = line.unwrap_or_else(|| panic!("it ended: {before}"));
                before.push_str(&line);
                before.push('\n');
                if let Ok(entry) = serde_json::from_str::<Value>(&line)
                    && entry["message"] == "ready"
                {
                    break entry;
                }
            }
        })
        .await;
        let address = ready["websocket"]
            .as_str()
            .and_then(|url| url.strip_prefix("ws://")?.strip_suffix("/ws"))
            .expect("its banner has the address")
            .to_owned();
        Self {
            process,
            log,
            before,
            ready,
            address,
        }
    }

    /// The JSON at this path.
    async fn get(&self, path: &str) -> Value {
        let answer = within("an answer", async {
            let mut socket = TcpStream::connect(&self.address).await?;
            let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
            socket.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        })
        .await
        .expect("the server answers");
        let body = answer.split("\r\n\r\n").nth(1).expect("headers end");
        serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {answer}"))
    }

    /// Sends a signal through the shell's own `kill`.
    async fn signal(&self, name: &str) {
        let id = self.process.id().expect("it runs").to_string();
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &id])
            .status()
            .await;
        assert!(status.expect("there is a shell").success());
    }

    /// Its exit code, and what else it logged.
    async fn end(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        within("the end of the server", async {
            while let Some(line) = self.log.next_line().await.expect("its log is UTF-8") {
                rest.push_str(&line);
                rest.push('\n');
            }
            let status = self.process.wait().await.expect("it was started");
            (status.code(), rest)
        })
        .await
    }
}

#[cfg(target_os = "linux")]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
