//! The promises of `rowcast::source::Source`, kept by every implementation: each test of this file runs on Postgres and
//! on SQLite. What only one of them can be asked is in `source_contract/`.

#[macro_use]
mod support;

#[cfg(feature = "postgres")]
#[path = "source_contract/only_postgres.rs"]
mod only_postgres;
#[cfg(feature = "sqlite")]
#[path = "source_contract/only_sqlite.rs"]
mod only_sqlite;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use rowcast::source::{BadRow, InsertError, Inserted, Row, Window};
use rowcast::{
    Broadcaster, ChannelPattern, Channels, Cursor, Event, EventId, Migrate, NewEvent, PollInterval,
    Source,
};
use serde_json::value::RawValue;
use support::{Connection, Database, within};

#[path = "source_contract/commands.rs"]
mod commands;
#[path = "source_contract/presences.rs"]
mod presences;

on_both! {
    a_window_has_what_was_committed_between_its_edges
    adjacent_windows_neither_overlap_nor_skip
    a_window_read_again_has_the_same_rows
    reading_resumes_inside_a_window
    what_is_rolled_back_never_arrives
    concurrent_writers_lose_nothing_and_double_nothing
    a_large_window_is_streamed
    rows_on_channels_are_those_that_patterns_match
    more_rows_on_channels_than_are_found_at_once
    bad_rows_are_reported_and_stop_nothing
    rows_without_a_value_are_reported_and_stop_nothing
    bad_rows_are_refused_at_insert
    every_row_that_is_accepted_arrives
    every_column_arrives
    times_are_utc_with_milliseconds
    payloads_are_the_text_of_the_database
    a_dedup_key_is_taken_once
    our_own_inserts_are_whole_and_in_order
    of_a_key_there_is_one_event
    another_process_wakes_the_feed
    with_wakes_off_nothing_wakes_the_feed
}

async fn a_window_has_what_was_committed_between_its_edges(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    writer.insert(1).await;
    let before = edge(&source).await;
    writer.insert(2).await;
    writer
        .run(
            "INSERT INTO events (channel, type, payload)
             VALUES ('tasks', 'task.created', '3'), ('tasks', 'task.created', '4')",
        )
        .await;
    let after = edge(&source).await;
    writer.insert(5).await;
    assert_eq!(numbers(&source, &before, &after).await, [2, 3, 4]);
    assert_eq!(numbers(&source, &before, &before).await, [0; 0], "empty");
    assert_eq!(
        edge(&source).await,
        edge(&source).await,
        "nothing was committed between the two"
    );
}

async fn adjacent_windows_neither_overlap_nor_skip(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    let start = edge(&source).await;
    let mut last = start.clone();
    let mut pieces = Vec::new();
    for number in 0..30 {
        writer.insert(number).await;
        // Some windows have several rows, and some have none.
        for _ in 0..number % 3 {
            let next = edge(&source).await;
            pieces.extend(numbers(&source, &last, &next).await);
            last = next;
        }
    }
    let end = edge(&source).await;
    pieces.extend(numbers(&source, &last, &end).await);
    let whole = numbers(&source, &start, &end).await;
    assert_eq!(whole, (0..30).collect::<Vec<_>>());
    assert_eq!(pieces, whole);
}

async fn a_window_read_again_has_the_same_rows(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    let start = edge(&source).await;
    for number in 0..10 {
        writer.insert(number).await;
    }
    let end = edge(&source).await;
    let ids = |rows: Vec<Row>| {
        rows.into_iter()
            .map(|row| row.expect("the rows are good").id)
            .collect::<Vec<_>>()
    };
    let first = ids(read(&source, window(&start, &end)).await);
    assert_eq!(first.len(), 10);
    assert!(first.is_sorted(), "by id: {first:?}");
    writer.insert(10).await;
    writer.run("UPDATE events SET payload = '0'").await;
    assert_eq!(
        ids(read(&source, window(&start, &end)).await),
        first,
        "later"
    );
    let elsewhere = database.open().await;
    assert_eq!(
        ids(read(&elsewhere, window(&start, &end)).await),
        first,
        "on another server"
    );
    // As a client would bring it.
    let token: Cursor = start.to_string().parse().expect("a cursor's text is one");
    assert_eq!(
        ids(read(&elsewhere, window(&token, &end)).await),
        first,
        "from a token"
    );
}

async fn reading_resumes_inside_a_window(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    let start = edge(&source).await;
    for number in 0..10 {
        writer.insert(number).await;
    }
    let end = edge(&source).await;
    writer.insert(10).await;
    // The reader breaks off, which must not harm whoever reads next.
    let mut rows = source.rows(window(&start, &end));
    let mut last = None;
    for _ in 0..4 {
        let row = within("a row", rows.next()).await.expect("there are ten");
        last = Some(row.expect("it can be read").expect("it is good").id);
    }
    drop(rows);
    let rest = Window {
        resume_after: last,
        ..window(&start, &end)
    };
    assert_eq!(payloads(read(&source, rest).await), [4, 5, 6, 7, 8, 9]);
}

async fn what_is_rolled_back_never_arrives(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    let start = edge(&source).await;
    writer.run("BEGIN").await;
    writer.insert(1).await;
    writer.run("ROLLBACK").await;
    writer.run("BEGIN").await;
    writer.insert(2).await;
    writer.run("SAVEPOINT one").await;
    writer.insert(3).await;
    writer.run("SAVEPOINT two").await;
    writer.insert(4).await;
    writer.run("RELEASE SAVEPOINT two").await;
    writer.run("ROLLBACK TO SAVEPOINT one").await;
    writer.insert(5).await;
    let during = edge(&source).await;
    assert_eq!(numbers(&source, &start, &during).await, [0; 0]);
    writer.run("COMMIT").await;
    let end = edge(&source).await;
    assert_eq!(numbers(&source, &during, &end).await, [2, 5]);
    assert_eq!(numbers(&source, &start, &end).await, [2, 5]);
}

async fn concurrent_writers_lose_nothing_and_double_nothing(database: Database) {
    const WRITERS: u64 = 8;
    const TRANSACTIONS: i64 = 40;
    let seed = fastrand::u64(..);
    let source = database.open().await;
    let mut last = edge(&source).await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let mut connection = database.connect().await;
        // SQLite's writers take turns; a transaction that became a writer late could only fail.
        let begin = if database.url.starts_with("sqlite") {
            "BEGIN IMMEDIATE"
        } else {
            "BEGIN"
        };
        let mut random = fastrand::Rng::with_seed(seed ^ writer);
        tasks.spawn(async move {
            let mut committed = Vec::new();
            for transaction in 0..TRANSACTIONS {
                let first = (writer as i64 * TRANSACTIONS + transaction) * 10;
                let mut kept = vec![first];
                connection.run(begin).await;
                connection.insert(first).await;
                if random.bool() {
                    connection.run("SAVEPOINT part").await;
                    connection.insert(first + 1).await;
                    if random.bool() {
                        connection.run("ROLLBACK TO SAVEPOINT part").await;
                    } else {
                        kept.push(first + 1);
                    }
                }
                // Not to wait for anything: ids are to be committed in another order than they were given out in.
                tokio::time::sleep(Duration::from_millis(random.u64(0..4))).await;
                if random.u8(0..10) == 0 {
                    connection.run("ROLLBACK").await;
                } else {
                    connection.run("COMMIT").await;
                    committed.extend(kept);
                }
            }
            committed
        });
    }
    let mut expected = Vec::new();
    let mut arrived = Vec::new();
    within("the writers", async {
        loop {
            let over = tasks.is_empty();
            let next = edge(&source).await;
            arrived.extend(numbers(&source, &last, &next).await);
            last = next;
            if over {
                break;
            }
            while let Some(result) = tasks.try_join_next() {
                expected.extend(result.expect("a writer panicked"));
            }
        }
    })
    .await;
    expected.sort_unstable();
    arrived.sort_unstable();
    assert!(arrived == expected, "seed {seed}: {}", {
        let gone = expected.iter().filter(|n| !arrived.contains(n)).count();
        format!(
            "{} committed, {} arrived, {gone} lost",
            expected.len(),
            arrived.len()
        )
    });
}

async fn a_large_window_is_streamed(database: Database) {
    const ROWS: i64 = 50_000;
    let source = database.open().await;
    let mut writer = database.connect().await;
    let start = edge(&source).await;
    writer
        .run(&format!(
            "INSERT INTO events (channel, type, payload)
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS} - 1)
             SELECT 'tasks', 'task.created', {} FROM n",
            if database.url.starts_with("sqlite") {
                "CAST(i AS TEXT)"
            } else {
                "to_jsonb(i)"
            }
        ))
        .await;
    let end = edge(&source).await;
    let mut expected = 0;
    let mut rows = source.rows(window(&start, &end));
    within("50,000 rows", async {
        while let Some(row) = rows.try_next().await.expect("the rows can be read") {
            let event = row.expect("the rows are good");
            assert_eq!(event.payload.get(), expected.to_string());
            expected += 1;
        }
    })
    .await;
    assert_eq!(expected, ROWS);
}

/// Sets of patterns: names, parents, what is below, everything, and such as overlap.
const PATTERNS: &[&[&str]] = &[
    &["a"],
    &["a:b"],
    &["a:b:c"],
    &["a:*"],
    &["a:b:*"],
    &["*"],
    &["a", "a:*"],
    &["a:*", "a:b", "a:b:*", "a:b:c"],
    &["a:b", "d", "a.b"],
    &["d", "d", "*", "a"],
    &["a-", "a.b:*", "nobody:*"],
    &["nobody"],
    &["d_", "a/b"],
    &[],
];

async fn rows_on_channels_are_those_that_patterns_match(database: Database) {
    const TRANSACTIONS: usize = 60;
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let source = database.open().await;
    let mut writer = database.connect().await;
    // On SQLite there is one at a time.
    let mut slow = Vec::new();
    if database.url.starts_with("postgres") {
        for _ in 0..4 {
            slow.push((database.connect().await, false));
        }
    }
    let mut edges = Vec::new();
    for transaction in 0..TRANSACTIONS {
        edges.push(edge(&source).await);
        for (writer, is_open) in &mut slow {
            if random.u8(0..8) == 0 {
                writer.run(if *is_open { "COMMIT" } else { "BEGIN" }).await;
                *is_open = !*is_open;
            }
            if *is_open {
                insert_on(writer, &mut random, 3).await;
            }
        }
        // One is large enough to be a large window by itself.
        let rows = if transaction == TRANSACTIONS / 2 {
            5500
        } else {
            random.usize(0..60)
        };
        insert_on(&mut writer, &mut random, rows).await;
    }
    for (writer, is_open) in &mut slow {
        if *is_open && random.bool() {
            writer.run("COMMIT").await;
        }
    }
    edges.push(edge(&source).await);
    let last = edges.len() - 1;
    let half = TRANSACTIONS / 2;
    let windows = [(0, last), (half, last), (half, half + 1), (half + 1, last)];
    let (from, upto) = (random.usize(..half), random.usize(half + 1..=last));
    for (from, upto) in windows.into_iter().chain([(from, upto)]) {
        let whole = window(&edges[from], &edges[upto]);
        let rows = events_of(read(&source, whole.clone()).await);
        for names in PATTERNS {
            let patterns = patterns(names);
            // All of it, and the rest of it after a row.
            let after = rows.get(random.usize(..=rows.len())).map(|row| row.id);
            for resume_after in [None, after] {
                let part = Window {
                    resume_after,
                    ..whole.clone()
                };
                let expected: Vec<_> = rows
                    .iter()
                    .filter(|row| Some(row.id) > resume_after)
                    .filter(|row| is_on(row, &patterns))
                    .map(|row| (row.id, row.channels.as_str()))
                    .collect();
                let found = events_of(read_on(&source, part, &patterns).await);
                let found: Vec<_> = found
                    .iter()
                    .map(|row| (row.id, row.channels.as_str()))
                    .collect();
                assert!(
                    found == expected,
                    "seed {seed}, window {from}..{upto} after {resume_after:?}, {names:?}: {} instead of {} rows",
                    found.len(),
                    expected.len()
                );
            }
        }
    }
}

async fn more_rows_on_channels_than_are_found_at_once(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    let start = edge(&source).await;
    for _ in 0..3 {
        let mut random = fastrand::Rng::with_seed(1);
        insert_on(&mut writer, &mut random, 10_000).await;
    }
    let end = edge(&source).await;
    let rows = events_of(read(&source, window(&start, &end)).await);
    for names in [&["a", "d"][..], &["a:b"]] {
        let patterns = patterns(names);
        let expected: Vec<_> = rows
            .iter()
            .filter(|row| is_on(row, &patterns))
            .map(|row| row.id)
            .collect();
        let found = events_of(read_on(&source, window(&start, &end), &patterns).await);
        let found: Vec<_> = found.iter().map(|row| row.id).collect();
        assert!(
            found == expected,
            "{names:?}: {} instead of {} rows",
            found.len(),
            expected.len()
        );
    }
}

/// Inserts rows on channels that are each other's parents and neighbours; some are on several.
async fn insert_on(writer: &mut Connection, random: &mut fastrand::Rng, rows: usize) {
    const CHANNELS: &[&str] = &[
        "a", "a:b", "a:b:c", "a:b:c:d", "a:bc", "ab", "a.b", "a-", "a/b", "d", "A", "d:e",
    ];
    let mut values = Vec::new();
    for _ in 0..rows {
        let count = if random.u8(0..10) == 0 { 3 } else { 1 };
        let channels: Vec<_> = (0..count)
            .map(|_| CHANNELS[random.usize(..CHANNELS.len())])
            .collect();
        values.push(format!("('{}', 't')", channels.join(" ")));
    }
    if !values.is_empty() {
        let values = values.join(", ");
        writer
            .run(&format!(
                "INSERT INTO events (channel, type) VALUES {values}"
            ))
            .await;
    }
}

fn patterns(names: &[&str]) -> Vec<ChannelPattern> {
    let patterns = names
        .iter()
        .filter_map(|name| ChannelPattern::parse(name).ok());
    patterns.collect()
}

fn is_on(event: &Event, patterns: &[ChannelPattern]) -> bool {
    let mut channels = event.channels.iter();
    channels.any(|channel| patterns.iter().any(|pattern| pattern.matches(channel)))
}

fn events_of(rows: Vec<Row>) -> Vec<Arc<Event>> {
    let good = |row: Row| row.unwrap_or_else(|bad| panic!("{bad:?}"));
    rows.into_iter().map(good).collect()
}

async fn read_on(
    source: &Arc<dyn Source>,
    window: Window,
    patterns: &[ChannelPattern],
) -> Vec<Row> {
    within(
        "the rows on channels",
        source.rows_on(window, patterns).try_collect(),
    )
    .await
    .unwrap_or_else(|error| panic!("failed to {error}"))
}

async fn bad_rows_are_reported_and_stop_nothing(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    let broadcaster = Broadcaster::start(Arc::clone(&source), PollInterval::default())
        .await
        .expect("the feed starts");
    let mut events = Box::pin(broadcaster.listen());
    let start = edge(&source).await;
    writer.insert(1).await;
    let planted = plant_bad_rows(&mut writer).await;
    writer.insert(2).await;
    let end = edge(&source).await;

    let rows = read(&source, window(&start, &end)).await;
    let mut bad: Vec<_> = rows.iter().filter_map(|row| row.as_ref().err()).collect();
    for (row, (sql, word)) in bad.drain(..).zip(&planted) {
        assert!(row.reason.contains(word), "{sql}: {row:?}");
    }
    let good = rows.into_iter().flatten().map(Ok);
    assert_eq!(payloads(good), [1, 2]);

    for number in ["1", "2"] {
        let event = within("a good event", events.next()).await;
        assert_eq!(event.expect("the feed goes on").payload.get(), number);
    }
    assert_eq!(broadcaster.stats().bad_rows, planted.len() as u64);
}

/// Inserts rows that the table's own checks would refuse; gives each with a word of what is said about it.
async fn plant_bad_rows(writer: &mut Connection) -> Vec<(String, &'static str)> {
    let row = |channel: &str, kind: &str, payload: &str, at: &str| {
        format!(
            "INSERT INTO events (channel, type, payload, created_at) VALUES ({channel}, {kind}, {payload}, {at})"
        )
    };
    let now = "'2026-01-01 00:00:00Z'";
    let mut planted = vec![
        (row("'no good!'", "'t'", "'{}'", now), "channel"),
        (row("''", "'t'", "'{}'", now), "channel"),
    ];
    match writer {
        #[cfg(feature = "postgres")]
        Connection::Postgres(_) => {
            writer
                .run(
                    "ALTER TABLE events DROP CONSTRAINT events_channel_names,
                     DROP CONSTRAINT events_created_at_finite",
                )
                .await;
            planted.push((row("'t'", "'t'", "'{}'", "'infinity'"), "created_at"));
        }
        #[cfg(feature = "sqlite")]
        Connection::Sqlite(_) => {
            writer.run("PRAGMA ignore_check_constraints = ON").await;
            let latin1 = "CAST(x'e4' AS TEXT)";
            planted.extend([
                (row(latin1, "'t'", "'{}'", now), "channel is not UTF-8"),
                (row("'t'", latin1, "'{}'", now), "type is not UTF-8"),
                (row("'t'", "'t'", "'{'", now), "payload is not JSON"),
                (row("'t'", "'t'", "''", now), "payload is not JSON"),
                (
                    row("'t'", "'t'", "CAST(x'22e422' AS TEXT)", now),
                    "payload is not UTF-8",
                ),
                (row("'t'", "'t'", "'{}'", "'yesterday'"), "created_at"),
            ]);
        }
    }
    for (sql, _) in &planted {
        writer.run(sql).await;
    }
    planted
}

/// As in a view of somebody else's table.
async fn rows_without_a_value_are_reported_and_stop_nothing(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    match &writer {
        #[cfg(feature = "postgres")]
        Connection::Postgres(_) => {
            writer
                .run(
                    "ALTER TABLE events RENAME TO kept;
                     CREATE TABLE loose (LIKE kept INCLUDING IDENTITY INCLUDING DEFAULTS);
                     CREATE TYPE channels AS ENUM ('t');
                     ALTER TABLE loose ALTER channel DROP NOT NULL, ALTER channel TYPE channels USING NULL,
                         ALTER type DROP NOT NULL,
                         ALTER payload DROP NOT NULL, ALTER created_at DROP NOT NULL;
                     CREATE VIEW events AS SELECT * FROM loose",
                )
                .await;
        }
        #[cfg(feature = "sqlite")]
        Connection::Sqlite(_) => {
            writer
                .run(
                    "CREATE TABLE loose (id INTEGER PRIMARY KEY AUTOINCREMENT, channel, type, entity_id, actor, payload,
                         previous, trace_id, origin, dedup_key, created_at DEFAULT '2026-01-01');
                     DROP TABLE events;
                     CREATE VIEW events AS SELECT * FROM loose",
                )
                .await;
        }
    }
    let start = edge(&source).await;
    let columns = ["channel", "type", "payload", "created_at"];
    for column in columns {
        let mut values = BTreeMap::from([
            ("channel", "'t'"),
            ("type", "'t'"),
            ("payload", "'{}'"),
            ("created_at", "'2026-01-01'"),
        ]);
        values.insert(column, "NULL");
        let names = values.keys().copied().collect::<Vec<_>>().join(", ");
        let values = values.values().copied().collect::<Vec<_>>().join(", ");
        writer
            .run(&format!("INSERT INTO loose ({names}) VALUES ({values})"))
            .await;
    }
    writer
        .run("INSERT INTO loose (channel, type, payload) VALUES ('t', 't', '7')")
        .await;
    let end = edge(&source).await;
    let mut rows = read(&source, window(&start, &end)).await;
    let good = rows.pop();
    assert_eq!(payloads(good), [7]);
    assert_eq!(rows.len(), columns.len());
    for (row, column) in rows.into_iter().zip(columns) {
        let BadRow { reason, .. } = row.expect_err("a value is missing");
        assert!(reason.contains(column), "{column}: {reason}");
    }
}

async fn bad_rows_are_refused_at_insert(database: Database) {
    database.open().await;
    let mut writer = database.connect().await;
    let long = "a".repeat(201);
    let many = vec!["a".repeat(199); 11].join(" ");
    let channels = [
        "",
        " ",
        "tasks ",
        " tasks",
        "a  b",
        ":",
        "a:",
        ":a",
        "a::b",
        "a: b",
        "größe",
        "a\tb",
        "a\nb",
        "tasks\n",
        "a,b",
        "*",
        "messages:*",
        "a'b",
        "a\u{a0}b",
        &long,
        &format!("tasks {long}"),
        &format!("tasks:{long} plans"),
        &many,
    ];
    let kinds = [
        "",
        " ",
        "task created",
        " task",
        "task ",
        "task\tcreated",
        "task.created\n",
        "a\r",
        "a\u{1b}[31m",
        "a\u{7f}",
        &long,
        // 202 bytes.
        &"ä".repeat(101),
    ];
    let jsons = [
        "", " ", "not json", "{", "{\"a\":}", "{'a': 1}", "{} {}", "NaN", "[1,]", "\"\n\"",
    ];
    let text = |value: &str| format!("'{}'", value.replace('\'', "''"));
    let mut refused = vec![
        "INSERT INTO events (channel, type, payload) VALUES (NULL, 't', '{}')".to_owned(),
        "INSERT INTO events (channel, type, payload) VALUES ('t', NULL, '{}')".to_owned(),
        "INSERT INTO events (channel, type, payload) VALUES ('t', 't', NULL)".to_owned(),
        "INSERT INTO events (channel, type, created_at) VALUES ('t', 't', 'yesterdayish')"
            .to_owned(),
        "INSERT INTO events (channel, type, created_at) VALUES ('t', 't', NULL)".to_owned(),
        "INSERT INTO events (type, payload) VALUES ('t', '{}')".to_owned(),
        "INSERT INTO events (channel, payload) VALUES ('t', '{}')".to_owned(),
    ];
    refused.extend(channels.map(|channel| {
        let channel = text(channel);
        format!("INSERT INTO events (channel, type) VALUES ({channel}, 't')")
    }));
    refused.extend(kinds.map(|kind| {
        let kind = text(kind);
        format!("INSERT INTO events (channel, type) VALUES ('t', {kind})")
    }));
    for column in ["payload", "previous"] {
        refused.extend(jsons.map(|json| {
            let json = text(json);
            format!("INSERT INTO events (channel, type, {column}) VALUES ('t', 't', {json})")
        }));
    }
    // Postgres has no NUL at all; SQLite's functions take it for the end of a text.
    let nul = if database.url.starts_with("sqlite") {
        "char(0)"
    } else {
        "chr(0)"
    };
    refused.extend([
        format!("INSERT INTO events (channel, type) VALUES ('t' || {nul} || ' :', 't')"),
        format!("INSERT INTO events (channel, type) VALUES ('t', 't' || {nul} || ' ')"),
        format!("INSERT INTO events (channel, type, payload) VALUES ('t', 't', '1' || {nul})"),
        format!("INSERT INTO events (channel, type, previous) VALUES ('t', 't', '1' || {nul})"),
    ]);
    let mut accepted = Vec::new();
    for sql in &refused {
        if writer.try_run(sql).await.is_ok() {
            accepted.push(sql);
        }
    }
    assert_eq!(accepted, [""; 0], "these were not refused");
    assert_eq!(
        writer.numbers("SELECT count(*) FROM events").await,
        [0],
        "a refused row leaves nothing behind"
    );
}

async fn every_row_that_is_accepted_arrives(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    let start = edge(&source).await;
    let longest = "a".repeat(200);
    let many = vec!["b".repeat(199); 10].join(" ");
    let rows = [
        ("t", "t", "{}"),
        ("tasks project:7 a/b-c_d.e@f", "task.created", "null"),
        ("0", "0", "0"),
        ("a:b:c:d", "Größe", "\"\\\\ud800 is no character\""),
        (&longest, &longest, "[]"),
        (&many, &"ä".repeat(100), "-1.5e3"),
    ];
    for (channel, kind, payload) in rows {
        writer
            .run(&format!(
                "INSERT INTO events (channel, type, payload) VALUES ('{channel}', '{kind}', '{payload}')"
            ))
            .await;
    }
    let end = edge(&source).await;
    let read = read(&source, window(&start, &end)).await;
    assert_eq!(read.len(), rows.len());
    for (row, (channel, kind, _)) in read.into_iter().zip(rows) {
        let event = row.expect("what the table accepts is an event");
        assert_eq!(event.channels.as_str(), channel);
        assert_eq!(event.kind, kind);
    }
}

async fn every_column_arrives(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    let start = edge(&source).await;
    writer
        .run(
            "INSERT INTO events (channel, type, entity_id, actor, payload, previous, trace_id, origin, dedup_key)
             VALUES ('tasks project:7', 'task.updated', 'task-1', 'Ann ☂', '{\"a\": 2}', '{\"a\": 1}', 'trace-1',
                     'mutation-1', 'key-1');
             INSERT INTO events (channel, type) VALUES ('tasks', 'task.deleted')",
        )
        .await;
    let ids = writer.numbers("SELECT id FROM events ORDER BY id").await;
    let end = edge(&source).await;
    let rows = read(&source, window(&start, &end)).await;
    let [Ok(full), Ok(bare)] = &rows[..] else {
        panic!("{rows:?}")
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    assert_eq!([full.id, bare.id], [EventId(ids[0]), EventId(ids[1])]);
    assert_eq!(
        full.channels.iter().collect::<Vec<_>>(),
        ["tasks", "project:7"]
    );
    assert_eq!(full.kind, "task.updated");
    assert_eq!(text(&full.entity_id), "task-1");
    assert_eq!(text(&full.actor), "Ann ☂");
    assert_eq!(full.payload.get(), "{\"a\": 2}");
    assert_eq!(
        full.previous.as_deref().map(RawValue::get),
        Some("{\"a\": 1}")
    );
    assert_eq!(text(&full.trace_id), "trace-1");
    assert_eq!(text(&full.origin), "mutation-1");

    assert_eq!(bare.payload.get(), "{}", "the default");
    let Event {
        entity_id: None,
        actor: None,
        previous: None,
        trace_id: None,
        origin: None,
        ..
    } = &**bare
    else {
        panic!("what was not given is not there: {bare:?}")
    };
}

async fn times_are_utc_with_milliseconds(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    // Whatever the writer's zone is.
    if database.url.starts_with("postgres") {
        writer.run("SET timezone = 'Asia/Tokyo'").await;
    }
    let start = edge(&source).await;
    let given = [
        ("2026-03-01 12:00:00+00:00", "2026-03-01T12:00:00.000Z"),
        ("2026-03-01T12:00:00.5+02:00", "2026-03-01T10:00:00.500Z"),
        ("2026-02-28T23:59:59.999-05:30", "2026-03-01T05:29:59.999Z"),
    ];
    for (time, _) in given {
        writer
            .run(&format!(
                "INSERT INTO events (channel, type, created_at) VALUES ('t', 't', '{time}')"
            ))
            .await;
    }
    writer.insert(0).await;
    let end = edge(&source).await;
    let rows = read(&source, window(&start, &end)).await;
    let mut times = rows
        .into_iter()
        .map(|row| row.expect("the rows are good").created_at.clone());
    for (time, expected) in given {
        assert_eq!(times.next().as_deref(), Some(expected), "{time}");
    }
    let now = times.next().expect("the time of insertion is the default");
    let shape: String = now
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{now}");
    let year: u32 = now[..4].parse().expect("four digits");
    assert!((2026..2126).contains(&year), "{now}");
}

async fn payloads_are_the_text_of_the_database(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    let start = edge(&source).await;
    let given =
        "{ \"b\":1.0,  \"a\" : \"\\u00fc\\n\", \"b\":2e0,\t\"big\": 12345678901234567890.10 }";
    writer
        .run(&format!(
            "INSERT INTO events (channel, type, payload, previous) VALUES ('t', 't', '{given}', '{given}')"
        ))
        .await;
    let end = edge(&source).await;
    let expected = if database.url.starts_with("sqlite") {
        given
    } else {
        // What jsonb keeps: no digit is lost, and of equal keys the last.
        "{\"a\": \"ü\\n\", \"b\": 2, \"big\": 12345678901234567890.10}"
    };
    let rows = read(&source, window(&start, &end)).await;
    let [Ok(event)] = &rows[..] else {
        panic!("{rows:?}")
    };
    assert_eq!(event.payload.get(), expected);
    assert_eq!(event.previous.as_deref().map(RawValue::get), Some(expected));
}

async fn a_dedup_key_is_taken_once(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    let start = edge(&source).await;
    let insert = |number: i64, key: &str| {
        format!(
            "INSERT INTO events (channel, type, payload, dedup_key) VALUES ('t', 't', '{number}', {key})"
        )
    };
    writer.run(&insert(1, "'once'")).await;
    let again = writer.try_run(&insert(2, "'once'")).await;
    assert!(again.is_err(), "a key that is taken");
    // The way of writers that retry.
    writer
        .run(&format!(
            "{} ON CONFLICT (dedup_key) WHERE dedup_key IS NOT NULL DO NOTHING",
            insert(3, "'once'")
        ))
        .await;
    writer.run(&insert(4, "'twice'")).await;
    writer.run(&insert(5, "NULL")).await;
    writer.run(&insert(6, "NULL")).await;
    let end = edge(&source).await;
    assert_eq!(numbers(&source, &start, &end).await, [1, 4, 5, 6]);
}

async fn our_own_inserts_are_whole_and_in_order(database: Database) {
    let source = database.open().await;
    let start = edge(&source).await;
    let inserter = rowcast::source::open_insert(&database.config(), Migrate::Off)
        .await
        .expect("the tables are there");
    let event = |number: i32, kind: &str| {
        NewEvent::new(
            Channels::parse("tasks").expect("a good name"),
            kind,
            RawValue::from_string(number.to_string()).expect("a number is JSON"),
        )
    };
    let ids = inserter
        .insert(&[event(1, "t"), event(2, "t"), event(3, "t")])
        .await
        .expect("good events are inserted");
    let ids: Vec<_> = ids.iter().map(|inserted| inserted.id).collect();
    assert!(ids.len() == 3 && ids.is_sorted(), "{ids:?}");
    let half_good = [event(4, "t"), event(5, "not a word")];
    assert!(inserter.insert(&half_good).await.is_err());
    assert_eq!(
        inserter.insert(&[]).await.expect("nothing to insert"),
        Vec::new()
    );
    inserter
        .insert(&[event(6, "t")])
        .await
        .expect("a refusal harms nobody else");
    let end = edge(&source).await;
    assert_eq!(numbers(&source, &start, &end).await, [1, 2, 3, 6]);
}

async fn of_a_key_there_is_one_event(database: Database) {
    let source = database.open().await;
    let start = edge(&source).await;
    let open = async || rowcast::source::open_insert(&database.config(), Migrate::Off).await;
    let (here, there) = (
        open().await.expect("a table"),
        open().await.expect("a table"),
    );
    let event = |number: i32, key: &str| {
        let payload = RawValue::from_string(number.to_string()).expect("a number is JSON");
        let channels = Channels::parse("tasks").expect("a good name");
        NewEvent::new(channels, "t", payload).dedup_key(key)
    };
    let keyless = |number| {
        let mut event = event(number, "");
        event.dedup_key = None;
        event
    };
    let events = [event(1, "a"), keyless(2), event(3, "b"), event(4, "a")];
    let first = here.insert(&events).await.expect("good events");
    let are_there = |rows: &[Inserted]| rows.iter().map(|row| row.is_duplicate).collect::<Vec<_>>();
    assert_eq!(are_there(&first), [false, false, false, true]);
    assert_eq!(first[3].id, first[0].id);
    let events = [event(5, "b"), event(6, "c"), keyless(7), event(8, "a")];
    let again = there.insert(&events).await.expect("good events");
    assert_eq!(are_there(&again), [true, false, false, true]);
    assert_eq!([again[0].id, again[3].id], [first[2].id, first[0].id]);
    let mut other = event(9, "c");
    other.kind = "another".into();
    let refused = here.insert(&[keyless(10), event(11, "d"), other]).await;
    assert!(
        matches!(refused, Err(InsertError::KeyReused(2))),
        "{refused:?}"
    );
    let end = edge(&source).await;
    assert_eq!(numbers(&source, &start, &end).await, [1, 2, 3, 6, 7]);
}

async fn another_process_wakes_the_feed(database: Database) {
    let source = database.open().await;
    let broadcaster = Broadcaster::start(source, woken_only())
        .await
        .expect("the feed starts");
    let mut events = Box::pin(broadcaster.listen());
    // More than one: the feed goes to sleep again in between.
    for number in 1..=3 {
        emit(&database, number).await;
        let event = within(
            "an event that nothing but a wake-up can show",
            events.next(),
        )
        .await;
        let event = event.expect("the feed goes on");
        assert_eq!(event.payload.get(), number.to_string());
    }
}

async fn with_wakes_off_nothing_wakes_the_feed(database: Database) {
    database.open().await;
    let mut config = database.config();
    config.wake = false;
    let source = rowcast::source::open(&config, Migrate::Off)
        .await
        .expect("the tables are there");
    let mut wakes = source.wakes();
    assert!(wakes.next().now_or_never().is_none());
    emit(&database, 1).await;
    assert!(wakes.next().now_or_never().is_none());
    if database.url.starts_with("postgres") {
        // Nor does it take the connection that would.
        let mut observer = database.connect().await;
        let listening = observer
            .numbers(
                "SELECT count(*) FROM pg_stat_activity
                  WHERE query ILIKE 'LISTEN%' AND datname = current_database()",
            )
            .await;
        assert_eq!(listening, [0]);
    }
    // Polling goes on.
    let interval = PollInterval {
        max: Duration::from_millis(20),
        min: Duration::from_millis(20),
    };
    let broadcaster = Broadcaster::start(source, interval)
        .await
        .expect("the feed starts");
    let mut events = Box::pin(broadcaster.listen());
    emit(&database, 2).await;
    let event = within("an event", events.next()).await;
    assert_eq!(event.expect("the feed goes on").payload.get(), "2");
}

/// So seldom that only a wake-up can make an event arrive before a test's deadline.
fn woken_only() -> PollInterval {
    PollInterval {
        max: Duration::from_hours(1),
        ..PollInterval::default()
    }
}

/// Has another process insert an event.
async fn emit(database: &Database, number: i64) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rowcast"));
    command
        .args(["emit", "tasks", "task.created", &number.to_string()])
        .args(["--database-url", &database.url])
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = within("rowcast emit", command.output()).await;
    let output = output.expect("rowcast can be run");
    assert!(output.status.success(), "{output:?}");
}

async fn edge(source: &Arc<dyn Source>) -> Cursor {
    within("the edge", source.edge())
        .await
        .unwrap_or_else(|error| panic!("failed to {error}"))
}

fn window(after: &Cursor, upto: &Cursor) -> Window {
    Window {
        after: after.clone(),
        upto: upto.clone(),
        resume_after: None,
    }
}

async fn read(source: &Arc<dyn Source>, window: Window) -> Vec<Row> {
    within("the rows of a window", source.rows(window).try_collect())
        .await
        .unwrap_or_else(|error| panic!("failed to {error}"))
}

/// The payloads of a window, all of them numbers.
async fn numbers(source: &Arc<dyn Source>, after: &Cursor, upto: &Cursor) -> Vec<i64> {
    payloads(read(source, window(after, upto)).await)
}

fn payloads(rows: impl IntoIterator<Item = Row>) -> Vec<i64> {
    let number = |row: Row| {
        let event = row.unwrap_or_else(|bad| panic!("{bad:?}"));
        let text = event.payload.get();
        text.parse()
            .unwrap_or_else(|_| panic!("not a number: {text}"))
    };
    rows.into_iter().map(number).collect()
}
