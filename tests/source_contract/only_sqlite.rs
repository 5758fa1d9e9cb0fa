//! What only SQLite can be asked: files that are replaced, shared with other processes, or not usable.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;

use futures_util::StreamExt as _;
use rowcast::source::open_insert;
use rowcast::{
    Broadcaster, ChannelPattern, Channels, DatabaseConfig, Error, EventId, Migrate, NewEvent,
    PollInterval,
};
use serde_json::value::RawValue;
use tokio::io::AsyncWriteExt as _;

use crate::support::{Database, temp_dir, until, within};
use crate::{edge, numbers, read, window, woken_only};

#[tokio::test(flavor = "multi_thread")]
async fn another_file_in_its_place_is_a_reset() {
    let database = Database::sqlite().await;
    let source = database.open().await;
    let broadcaster = Broadcaster::start(Arc::clone(&source), PollInterval::default())
        .await
        .expect("the feed starts");
    let mut events = Box::pin(broadcaster.listen());
    database.connect().await.insert(1).await;
    let event = within("an event", events.next()).await;
    assert_eq!(event.expect("the feed goes on").payload.get(), "1");
    let before = edge(&source).await;

    // It has more rows than the old one: their ids alone do not give it away.
    let other = Database::sqlite().await;
    drop(other.open().await);
    let mut writer = other.connect().await;
    for number in 10..20 {
        writer.insert(number).await;
    }
    writer.run("PRAGMA wal_checkpoint(TRUNCATE)").await;
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(format!("{}{suffix}", database.file().display())).expect("it is in use");
    }
    fs::rename(other.file(), database.file()).expect("both are in temporary folders");

    until("the reset", async || {
        (broadcaster.stats().resets == 1).then_some(())
    })
    .await;
    let after = edge(&source).await;
    assert_ne!(before, after);
    let place = source.rebase(&before).await.expect("the file can be read");
    assert_eq!(place, None, "only a reset is honest");
    // Nothing of what was there before the file came is told as new; what is inserted now is.
    database.connect().await.insert(20).await;
    let event = within("an event", events.next()).await;
    assert_eq!(event.expect("the feed goes on").payload.get(), "20");
}

/// `.restore` of the sqlite3 shell writes the content of a backup into the file: no other file, another database.
#[tokio::test(flavor = "multi_thread")]
async fn another_database_in_the_same_file_is_a_reset() {
    let database = Database::sqlite().await;
    let source = database.open().await;
    let mut writer = database.connect().await;
    writer.insert(1).await;
    let before = edge(&source).await;
    // What of a restored database tells it from the one before: its tag, and ids that may well be ahead.
    writer
        .run("UPDATE rowcast_epochs SET tag = (tag + 1) % 4294967296")
        .await;
    writer.insert(2).await;
    let after = edge(&source).await;
    let tokens = [&before, &after].map(ToString::to_string);
    assert_ne!(tokens[0].get(..8), tokens[1].get(..8), "another epoch");
    let broadcaster = Broadcaster::start(source, PollInterval::default())
        .await
        .expect("the feed starts");
    writer
        .run("UPDATE rowcast_epochs SET tag = (tag + 1) % 4294967296")
        .await;
    writer.insert(3).await;
    until("the reset", async || {
        (broadcaster.stats().resets == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_other_processes_write_and_nothing_is_lost() {
    const LINES: usize = 2000;
    let database = Database::sqlite().await;
    let source = database.open().await;
    let start = edge(&source).await;
    let broadcaster = Broadcaster::start(Arc::clone(&source), woken_only())
        .await
        .expect("the feed starts");
    let mut events = Box::pin(broadcaster.listen());
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rowcast"));
            command
                .args(["emit", "tasks", "task.created", "-"])
                .args(["--database-url", &database.url])
                .env_clear()
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .kill_on_drop(true);
            let mut process = command.spawn().expect("rowcast can be run");
            let mut stdin = process.stdin.take().expect("it was asked to be a pipe");
            tokio::spawn(async move {
                // Line by line, so that there are many transactions.
                for line in 0..LINES {
                    let number = writer * LINES + line;
                    stdin
                        .write_all(format!("{number}\n").as_bytes())
                        .await
                        .expect("rowcast reads its input");
                }
                drop(stdin);
                process.wait().await.expect("it was started")
            })
        })
        .collect();
    let mut heard = Vec::new();
    while heard.len() < 2 * LINES {
        let event = within("an event", events.next()).await;
        heard.push(event.expect("the feed goes on").id);
    }
    for writer in writers {
        let status = within("the end of a writer", writer).await;
        assert!(status.expect("it does not panic").success());
    }
    assert!(heard.is_sorted(), "in order, and none twice");
    assert_eq!(heard.iter().collect::<BTreeSet<_>>().len(), 2 * LINES);
    let mut table = numbers(&source, &start, &edge(&source).await).await;
    table.sort_unstable();
    assert_eq!(table, (0..2 * LINES as i64).collect::<Vec<_>>());
}

/// What is left of a window must not pass for nothing when another database is restored into the file while it is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_an_epoch_that_ends_is_refused() {
    let database = Database::sqlite().await;
    let source = database.open().await;
    let mut writer = database.connect().await;
    let start = edge(&source).await;
    // More than are read by one statement.
    writer
        .run(
            "INSERT INTO events (channel, type, payload)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
             SELECT 'tasks', 'task.created', i FROM n",
        )
        .await;
    let end = edge(&source).await;
    let mut rows = source.rows(window(&start, &end));
    let first = within("the first row", rows.next()).await;
    assert!(matches!(first, Some(Ok(Ok(_)))), "{first:?}");
    writer
        .run("UPDATE rowcast_epochs SET tag = (tag + 1) % 4294967296")
        .await;
    let (mut read, mut refused) = (1, false);
    while let Some(row) = within("another row, or an error", rows.next()).await {
        match row {
            Ok(row) => {
                row.expect("a good row");
                read += 1;
            }
            Err(error) => refused = matches!(error, Error::EpochChanged),
        }
    }
    assert!(refused, "{read} rows passed for all");
    assert!(
        read < 5000,
        "rows of another epoch passed for those asked for"
    );
    drop(rows);
    let mut again = source.rows(window(&start, &end));
    let first = within("an error", again.next()).await;
    assert!(matches!(first, Some(Err(Error::EpochChanged))), "{first:?}");
    let tasks = [ChannelPattern::parse("tasks").expect("a good pattern")];
    let mut some = source.rows_on(window(&start, &end), &tasks);
    let first = within("an error", some.next()).await;
    assert!(matches!(first, Some(Err(Error::EpochChanged))), "{first:?}");
}

/// A view may have values of any type where the table has texts.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_blobs_of_a_view_are_their_texts() {
    let database = Database::sqlite().await;
    let source = database.open().await;
    let mut writer = database.connect().await;
    writer
        .run(
            "CREATE TABLE loose (id INTEGER PRIMARY KEY AUTOINCREMENT, channel, type, entity_id, actor, payload,
                 previous, trace_id, origin, dedup_key, created_at DEFAULT '2026-01-01');
             DROP TABLE events;
             CREATE VIEW events AS SELECT * FROM loose",
        )
        .await;
    let start = edge(&source).await;
    writer
        .run(
            "INSERT INTO loose (channel, type, entity_id, actor, payload, previous, origin)
             VALUES (7, CAST('task.created' AS BLOB), 42, 1.5, 7, CAST('{\"a\":1}' AS BLOB), '')",
        )
        .await;
    let end = edge(&source).await;
    let row = read(&source, window(&start, &end)).await.remove(0);
    let event = row.expect("a good row");
    assert_eq!(event.channels.as_str(), "7");
    assert_eq!(event.kind, "task.created");
    assert_eq!(event.entity_id.as_deref(), Some("42"));
    assert_eq!(event.actor.as_deref(), Some("1.5"));
    assert_eq!(event.payload.get(), "7");
    assert_eq!(
        event.previous.as_deref().map(RawValue::get),
        Some("{\"a\":1}")
    );
    assert_eq!(event.origin.as_deref(), Some(""), "empty is a value");
    assert_eq!(event.trace_id, None);
}

/// What the table would refuse spoils its own row only, and is told as what it is.
#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_of_a_view_are_told_one_by_one() {
    let database = Database::sqlite().await;
    let source = database.open().await;
    let mut writer = database.connect().await;
    writer
        .run(
            "CREATE TABLE loose (id INTEGER PRIMARY KEY AUTOINCREMENT, channel DEFAULT 'tasks', type DEFAULT 't', entity_id,
                 actor, payload DEFAULT '{}', previous, trace_id, origin, dedup_key, created_at DEFAULT '2026-01-01');
             DROP TABLE events;
             CREATE VIEW events AS SELECT * FROM loose",
        )
        .await;
    let good = "2026-01-01T00:00:00.000Z";
    // A value in a column, and the time of the event or how the reason begins that it is none.
    let given = [
        ("channel", "NULL", Err("channel has no value")),
        (
            "channel",
            "'a::b'",
            Err("a channel name, and each part between its colons"),
        ),
        (
            "channel",
            "CAST(x'ff' AS TEXT)",
            Err("channel is not UTF-8"),
        ),
        ("type", "NULL", Err("type has no value")),
        ("type", "x'74ff'", Err("type is not UTF-8")),
        ("entity_id", "x'ff'", Err("entity_id is not UTF-8")),
        ("actor", "CAST(x'c3' AS TEXT)", Err("actor is not UTF-8")),
        ("payload", "NULL", Err("payload has no value")),
        ("payload", "'{'", Err("payload is not JSON: EOF while")),
        (
            "payload",
            "CAST(x'22ff22' AS TEXT)",
            Err("payload is not UTF-8"),
        ),
        ("previous", "'no'", Err("previous is not JSON: expected")),
        ("trace_id", "x'ff'", Err("trace_id is not UTF-8")),
        ("origin", "x'ff'", Err("origin is not UTF-8")),
        ("created_at", "NULL", Err("created_at is not a time")),
        ("created_at", "'yesterday'", Err("created_at is not a time")),
        ("created_at", "x'ff'", Err("created_at is not a time")),
        (
            "created_at",
            "'year-mo-dayTh:mi:se.milZ'",
            Err("created_at is not a time"),
        ),
        ("created_at", "'2026-01-01T00:00:00.0000'", Ok(good)),
        ("created_at", "'2026-01-01T00:00:00.000Z'", Ok(good)),
        ("created_at", "CAST('2026-01-01' AS BLOB)", Ok(good)),
        ("created_at", "julianday('2026-01-01')", Ok(good)),
        ("origin", "'fine'", Ok(good)),
    ];
    let start = edge(&source).await;
    for (column, value, _) in given {
        writer
            .run(&format!("INSERT INTO loose ({column}) VALUES ({value})"))
            .await;
    }
    let end = edge(&source).await;
    let rows = read(&source, window(&start, &end)).await;
    assert_eq!(rows.len(), given.len());
    for (n, (row, (column, value, expected))) in rows.iter().zip(given).enumerate() {
        let id = EventId(n as i64 + 1);
        match (row, expected) {
            (Ok(event), Ok(time)) => {
                assert_eq!((event.id, &*event.created_at), (id, time), "{value}");
            }
            (Err(bad), Err(reason)) => {
                assert_eq!(bad.id, id);
                assert!(bad.reason.starts_with(reason), "{value}: {}", bad.reason);
            }
            _ => panic!("{value} in {column}: {row:?}"),
        }
    }
}

/// Rows are read on a connection of their own: it has to be to the same file.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_any_name_are_read() {
    let folder = temp_dir();
    for name in [
        "plain.db",
        "with space.db",
        "a:b.db",
        "file:c.db",
        "50%25.db",
        "ü%3F%23.db",
        "shared.db?cache=shared",
        "vfs.db?vfs=unix",
        "^|[]\\.db",
    ] {
        let url = format!("sqlite://{}/{name}", folder.path().display());
        let config = DatabaseConfig::new(&url).expect(name);
        let source = rowcast::source::open(&config, Migrate::Auto).await;
        let source = source.unwrap_or_else(|error| panic!("{name}: failed to {error}"));
        let start = edge(&source).await;
        let insert = open_insert(&config, Migrate::Off).await.expect(name);
        let payload = RawValue::from_string("1".into()).expect("JSON");
        let event = NewEvent::new(Channels::parse("tasks").expect("a good name"), "t", payload);
        insert.insert(&[event]).await.expect(name);
        let end = edge(&source).await;
        let rows = read(&source, window(&start, &end)).await;
        assert!(matches!(&rows[..], [Ok(_)]), "{name}: {rows:?}");
    }
}

/// As sqlx tells it: that is what is looked for in errors.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_says_is_told() {
    let database = Database::sqlite().await;
    let source = database.open().await;
    let start = edge(&source).await;
    let mut writer = database.connect().await;
    writer.insert(1).await;
    let end = edge(&source).await;
    writer.run("ALTER TABLE events DROP COLUMN origin").await;
    let mut rows = source.rows(window(&start, &end));
    let Some(Err(error)) = within("an error", rows.next()).await else {
        panic!("a row without a column");
    };
    assert_eq!(
        error.to_string(),
        "read new rows: error returned from database: (code: 1) no such column: origin"
    );
    drop(rows);
    // A server that starts says what to do.
    let opened = rowcast::source::open(&database.config(), Migrate::Off).await;
    let error = opened
        .map(drop)
        .expect_err("it is not our table")
        .to_string();
    assert!(
        error.contains("(no such column: origin); create them"),
        "{error}"
    );
}

/// A deleted last row must not give its id to the next one, which the feed would take for known.
#[tokio::test(flavor = "multi_thread")]
async fn deleted_rows_hide_no_later_ones() {
    let database = Database::sqlite().await;
    let source = database.open().await;
    let mut writer = database.connect().await;
    writer.insert(1).await;
    let before = edge(&source).await;
    writer.run("DELETE FROM events").await;
    assert_eq!(edge(&source).await, before);
    writer.insert(2).await;
    let after = edge(&source).await;
    assert_eq!(numbers(&source, &before, &after).await, [2]);
    writer.run("VACUUM").await;
    assert_eq!(edge(&source).await, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_not_usable_are_refused_with_the_reason() {
    let folder = temp_dir();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let open = async |url: &str, migrate: Migrate| {
        let config = DatabaseConfig::new(url)?;
        rowcast::source::open(&config, migrate).await.map(drop)
    };
    fs::create_dir(path("folder")).expect("the folder is ours");
    fs::write(
        path("text.db"),
        "no database, but long enough to look for the header of one".repeat(100),
    )
    .expect("the folder is ours");
    let other = Database::sqlite().await;
    let mut owner = other.connect().await;
    owner
        .run("PRAGMA journal_mode = DELETE; CREATE TABLE theirs (id INTEGER)")
        .await;
    let read_only = other.url.clone() + "?mode=ro";

    for (url, migrate, words) in [
        (
            format!("sqlite://{}", path("missing/events.db")),
            Migrate::Auto,
            ["missing", "does not exist; create it first"],
        ),
        (
            format!("sqlite://{}", path("folder")),
            Migrate::Auto,
            ["folder", "is a folder; name a file in it"],
        ),
        (
            format!("sqlite://{}", path("text.db")),
            Migrate::Auto,
            ["text.db", "is not a SQLite database"],
        ),
        (
            format!("sqlite://{}", path("none.db")),
            Migrate::Check,
            ["none.db", "create it with `rowcast migrate`"],
        ),
        (
            format!("sqlite://{}", path("none.db")),
            Migrate::Off,
            ["none.db", "create it with `rowcast migrate`"],
        ),
        (read_only, Migrate::Auto, ["events.db", "is read-only"]),
    ] {
        let error = open(&url, migrate).await.expect_err(&url);
        let text = error.to_string();
        assert!(matches!(error, Error::Unusable(_)), "{url}: {text}");
        for word in words {
            assert!(text.contains(word), "{url}: {text}");
        }
        assert!(!text.contains('\n'), "one line: {text}");
    }
    for name in ["missing", "none.db"] {
        assert!(!folder.path().join(name).exists(), "{name} was made");
    }
    for url in [
        "sqlite::memory:",
        "sqlite://:memory:",
        "sqlite://events.db?mode=memory",
        "sqlite:",
        "sqlite://",
        "sqlite://?mode=rwc",
    ] {
        let error = open(url, Migrate::Auto).await.expect_err(url);
        assert!(matches!(error, Error::Config(_)), "{url}: {error}");
    }
    let mut config = Database::sqlite().await.config();
    config.schema = Some("feed".into());
    let Err(error) = rowcast::source::open(&config, Migrate::Auto).await else {
        panic!("SQLite has no schemas");
    };
    assert!(
        error.to_string().contains("--schema is for Postgres"),
        "{error}"
    );
}
