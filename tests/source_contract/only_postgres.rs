//! What only Postgres can be asked: transactions that overlap, plans, standbys, restarts, schemas and roles.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt as _;
use rowcast::{Broadcaster, DatabaseConfig, Migrate, PollInterval};

use crate::support::{Connection, Database, Postgres, until, within};
use crate::{edge, numbers, patterns, read_on, window, woken_only};

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_delays_only_itself() {
    let database = Database::postgres().await;
    let source = database.open().await;
    let mut slow = database.connect().await;
    let mut quick = database.connect().await;
    let mut last = edge(&source).await;
    slow.run("BEGIN").await;
    slow.insert(0).await;
    for number in 1..=20 {
        quick.insert(number).await;
        let next = edge(&source).await;
        assert_eq!(numbers(&source, &last, &next).await, [number]);
        // A client may take any of these positions away and come back with it.
        last = next.to_string().parse().expect("a cursor's text is one");
    }
    slow.run("COMMIT").await;
    let next = edge(&source).await;
    assert_eq!(numbers(&source, &last, &next).await, [0]);
    let end = edge(&source).await;
    assert_eq!(numbers(&source, &next, &end).await, [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_one_window_are_in_order_of_their_ids_and_not_of_their_commits() {
    let database = Database::postgres().await;
    let source = database.open().await;
    let (mut first, mut second) = (database.connect().await, database.connect().await);
    let start = edge(&source).await;
    // The transaction that begins first inserts last, and commits last.
    first.run("BEGIN; SELECT pg_current_xact_id()").await;
    second.run("BEGIN").await;
    second.insert(1).await;
    first.insert(2).await;
    second.insert(3).await;
    second.run("COMMIT").await;
    let between = edge(&source).await;
    first.run("COMMIT").await;
    let end = edge(&source).await;
    assert_eq!(numbers(&source, &start, &end).await, [1, 2, 3]);
    assert_eq!(numbers(&source, &start, &between).await, [1, 3]);
    assert_eq!(numbers(&source, &between, &end).await, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_arrives_once_when_it_is_committed() {
    let database = Database::postgres().await;
    let source = database.open().await;
    let mut writer = database.connect().await;
    // As if nobody had set it. The feed sleeps, so a writer might have to wake it, and must not be harmed by it.
    writer.run("SET rowcast.wake = auto").await;
    let start = edge(&source).await;
    for (number, name) in [(1, "kept"), (2, "dropped")] {
        writer.run("BEGIN").await;
        writer.insert(number).await;
        let command = "INSERT INTO rowcast_commands (kind, subject, expires_at) VALUES ('disconnect_user', 'ann', now())";
        writer.run(command).await;
        writer
            .run(&format!("PREPARE TRANSACTION '{name} {}'", database.url))
            .await;
    }
    let prepared = edge(&source).await;
    assert_eq!(numbers(&source, &start, &prepared).await, [0; 0]);
    writer.insert(3).await;
    let before = edge(&source).await;
    assert_eq!(numbers(&source, &prepared, &before).await, [3]);
    writer
        .run(&format!("COMMIT PREPARED 'kept {}'", database.url))
        .await;
    writer
        .run(&format!("ROLLBACK PREPARED 'dropped {}'", database.url))
        .await;
    let after = edge(&source).await;
    assert_eq!(numbers(&source, &before, &after).await, [1]);
    let end = edge(&source).await;
    assert_eq!(numbers(&source, &after, &end).await, [0; 0]);
}

/// However the rows came to be in the table, and whether or not Postgres has looked at them yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_a_large_table_is_read_by_its_index() {
    // Of its own, so that nothing else comes between the lines of a plan in its log.
    let server = Postgres::start();
    let many_transactions = "
        DO $$ BEGIN
            FOR n IN 1..2000 LOOP
                INSERT INTO events (channel, type) SELECT 'tasks', 't' FROM generate_series(1, 100);
                COMMIT;
            END LOOP;
        END $$";
    let one_transaction =
        "INSERT INTO events (channel, type) SELECT 'tasks', 't' FROM generate_series(1, 200000)";
    for fill in [many_transactions, one_transaction] {
        for statistics in ["", "ANALYZE events"] {
            let database = Database::on(&server).await;
            database.open().await;
            let mut writer = database.connect().await;
            writer
                .run("ALTER TABLE events SET (autovacuum_enabled = false)")
                .await;
            writer.run("SET synchronous_commit = off").await;
            writer.run(fill).await;
            writer.run(statistics).await;
            let name = log_plans(&database, &mut writer).await;
            let source = database.open().await;
            // The window has rows in both of its parts: of a transaction that was in flight, and of a later one.
            let mut slow = database.connect().await;
            slow.run("BEGIN").await;
            slow.insert(1).await;
            writer.insert(0).await;
            let start = edge(&source).await;
            writer.insert(2).await;
            slow.run("COMMIT").await;
            let end = edge(&source).await;
            assert_eq!(numbers(&source, &start, &end).await, [1, 2]);
            // The plan is whole when something else follows it.
            edge(&source).await;
            let plan = until("the plan in the log", async || {
                let log = server.log();
                // Not the one of the empty window that is read at start.
                let mut plans = window_plans(&log, &name);
                plans.retain(|plan| plan.contains("rows=2 loops=1"));
                plans.pop()
            })
            .await;
            assert!(
                ["events_one_channel", "events_several_channels"]
                    .iter()
                    .all(|index| plan.contains(index))
                    && !plan.contains("Seq Scan on events"),
                "{fill}\n{statistics}\n{plan}"
            );
            // Whatever the index was used for, the table's other rows were not read.
            for line in plan.lines().filter(|line| line.contains("on events")) {
                assert!(rows_of(line) < 100.0, "{fill}\n{statistics}\n{plan}");
            }
            assert!(!plan.contains("Rows Removed by"), "{plan}");
            assert!(!plan.contains("JIT"), "{plan}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_on_channels_of_a_large_table_are_found_by_their_index() {
    // Of its own, so that nothing else comes between the lines of a plan in its log.
    let server = Postgres::start();
    for statistics in ["", "ANALYZE events"] {
        let database = Database::on(&server).await;
        let source = database.open().await;
        let mut writer = database.connect().await;
        writer
            .run("ALTER TABLE events SET (autovacuum_enabled = false)")
            .await;
        writer.run("SET synchronous_commit = off").await;
        let fill = |transactions: u32| {
            format!(
                "DO $$ BEGIN
                     FOR n IN 1..{transactions} LOOP
                         INSERT INTO events (channel, type)
                         SELECT CASE i WHEN 1 THEN 'a b:c' WHEN 2 THEN 'b:d' ELSE 'c:' || i END, 't'
                           FROM generate_series(1, 100) i;
                         COMMIT;
                     END LOOP;
                 END $$"
            )
        };
        writer.run(&fill(1900)).await;
        // Too large a window to be looked through, and small beside the table.
        let mut slow = database.connect().await;
        slow.run("BEGIN").await;
        slow.run("INSERT INTO events (channel, type) VALUES ('c:7', 't')")
            .await;
        let start = edge(&source).await;
        writer.run(&fill(100)).await;
        slow.run("COMMIT").await;
        writer.run(statistics).await;
        let name = log_plans(&database, &mut writer).await;
        let source = database.open().await;
        let end = edge(&source).await;
        for (names, rows) in [
            (&["c:7"][..], 101),
            (&["b:*"], 200),
            (&["a"], 100),
            (&["c:7", "b"], 301),
        ] {
            let found = read_on(&source, window(&start, &end), &patterns(names)).await;
            assert_eq!(found.len(), rows, "{names:?}");
            // The plan is whole when something else follows it.
            edge(&source).await;
            let plan = until("the plan in the log", async || {
                let mut plans = window_plans(&server.log(), &name);
                plans.retain(|plan| {
                    let sorted = plan.find("Sort ").map_or("", |at| &plan[at..]);
                    let first = sorted.lines().next().unwrap_or_default();
                    plan.contains("unnest n") && first.contains(&format!("rows={rows} loops=1"))
                });
                plans.pop()
            })
            .await;
            for index in [
                "events_channel_xid_id",
                "events_several_channels",
                "events_one_channel",
            ] {
                assert!(plan.contains(index), "{index}\n{plan}");
            }
            assert!(!plan.contains("Seq Scan on events"), "{plan}");
            assert!(!plan.contains("JIT"), "{plan}");
            for line in plan.lines().filter(|line| line.contains("on events")) {
                assert!(rows_of(line) <= 300.0, "{names:?}\n{plan}");
            }
        }
    }
}

/// Has every new connection to a database log how its statements were really run; gives the database's name.
async fn log_plans(database: &Database, writer: &mut Connection) -> String {
    let name = database.url.rsplit('/').next();
    let name = name.expect("a URL has slashes").to_owned();
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        // As if the table had millions of rows.
        "jit_above_cost = 0",
    ] {
        writer
            .run(&format!("ALTER DATABASE {name} SET {setting}"))
            .await;
    }
    name
}

/// How many rows a line of a plan has given, each time that it was run.
fn rows_of(line: &str) -> f64 {
    if line.contains("never executed") {
        return 0.0;
    }
    let rows = line
        .split("rows=")
        .last()
        .and_then(|rest| rest.split(' ').next());
    rows.and_then(|rows| rows.parse().ok()).expect("it was run")
}

/// The plans of window queries of this database that are whole in the log: followed by a line of something else.
fn window_plans(log: &str, database: &str) -> Vec<String> {
    let mut plans = Vec::new();
    let mut plan: Option<String> = None;
    for line in log.lines() {
        if let Some(continued) = line.strip_prefix('\t') {
            if let Some(plan) = &mut plan {
                plan.push_str(continued);
                plan.push('\n');
            }
            continue;
        }
        plans.extend(plan.take());
        if line.contains(&format!("rowcast {database} LOG:")) && line.ends_with("plan:") {
            plan = Some(String::new());
        }
    }
    plans.retain(|plan| plan.contains("pg_visible_in_snapshot"));
    plans
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_refused() {
    let primary = Postgres::start();
    let database = Database::on(&primary).await;
    database.open().await;
    let standby = primary.standby();
    let name = database.url.rsplit('/').next().expect("a URL has slashes");
    let config = DatabaseConfig::new(&standby.url(name)).expect("a URL");
    for migrate in [Migrate::Auto, Migrate::Check, Migrate::Off] {
        let Err(error) = rowcast::source::open(&config, migrate).await else {
            panic!("a standby was taken for a primary");
        };
        let text = error.to_string();
        assert!(
            text.contains("standby") && text.contains("give the URL of the primary"),
            "{text}"
        );
    }
    let mut reader = Connection::open(&standby.url(name)).await;
    // It does stream, and the tables are there: it was refused for what it is.
    database.connect().await.insert(1).await;
    until("a row on the standby", async || {
        (reader.numbers("SELECT count(*) FROM events").await == [1]).then_some(())
    })
    .await;
}

/// A primary that was demoted, or an address that came to mean a standby.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_became_a_standby_is_refused() {
    let server = Postgres::start();
    let database = Database::on(&server).await;
    let source = database.open().await;
    let before = edge(&source).await;
    database.connect().await.insert(1).await;
    server.restart_as_standby();
    let error = until("an answer", async || match source.edge().await {
        Err(rowcast::Error::Unusable(text)) => Some(text),
        // The connection that was lost with the old server.
        Err(_) => None,
        Ok(cursor) => panic!("{cursor} was taken from a standby"),
    })
    .await;
    assert!(error.contains("standby"), "{error}");
    // As a primary again it goes on.
    server.restart();
    let broadcaster = Broadcaster::start(Arc::clone(&source), PollInterval::default())
        .await
        .expect("the feed starts");
    let place = source
        .rebase(&before)
        .await
        .expect("the database answers")
        .expect("nothing was lost");
    assert_eq!(numbers(&source, &place, &broadcaster.cursor()).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_exact_place() {
    let server = Postgres::start();
    let database = Database::on(&server).await;
    let source = database.open().await;
    let mut writer = database.connect().await;
    writer.insert(1).await;
    // In flight when the position is taken: one is rolled back by the restart, one is there after it.
    let mut lost = database.connect().await;
    lost.run("BEGIN").await;
    lost.insert(2).await;
    // A transaction that has woken the feed, which sleeps by now on a slow machine, cannot be prepared.
    writer.run("SET rowcast.wake = off; BEGIN").await;
    writer.insert(3).await;
    writer.run("PREPARE TRANSACTION 'kept'").await;
    let before = edge(&source).await;
    writer.insert(4).await;
    server.restart();
    let mut writer = database.connect().await;
    writer.insert(5).await;
    writer.run("COMMIT PREPARED 'kept'").await;

    let place = until("the database again", async || {
        source.rebase(&before).await.ok()
    })
    .await
    .expect("the database is the same");
    let after = edge(&source).await;
    assert_eq!(numbers(&source, &place, &after).await, [3, 4, 5]);
    // Another server finds the same place.
    let other = database.open().await;
    let same = other.rebase(&before).await.expect("the database answers");
    assert_eq!(same, Some(place));
    assert_eq!(
        numbers(&other, &same.expect("as above"), &after).await,
        [3, 4, 5]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_another_database_has_no_place() {
    let here = Database::postgres().await;
    let there = Database::postgres().await;
    let (source, other) = (here.open().await, there.open().await);
    let foreign = edge(&other).await;
    let place = source.rebase(&foreign).await.expect("the database answers");
    assert_eq!(place, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_nothing_and_doubles_nothing() {
    let server = Postgres::start();
    let database = Database::on(&server).await;
    let source = database.open().await;
    let broadcaster = Broadcaster::start(source, PollInterval::default())
        .await
        .expect("the feed starts");
    let mut events = Box::pin(broadcaster.listen());
    let mut heard = Vec::new();
    for round in 0..3 {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..3 {
            let mut connection = database.connect().await;
            // Until the crash ends it.
            writers.spawn(async move {
                let insert = format!(
                    "INSERT INTO events (channel, type, payload) VALUES ('tasks', 't', '{writer}')"
                );
                while connection.try_run(&insert).await.is_ok() {}
            });
        }
        for _ in 0..200 {
            let event = within("an event", events.next()).await;
            heard.push(event.expect("the feed goes on").id.0);
        }
        server.kill_9();
        writers.join_all().await;
        server.restart();
        let mut connection = database.connect().await;
        connection.insert(100 + round).await;
        let table: BTreeSet<_> = connection
            .numbers("SELECT id FROM events")
            .await
            .into_iter()
            .collect();
        while heard.len() < table.len() {
            let event = within("the rest of the events", events.next()).await;
            heard.push(event.expect("the feed goes on").id.0);
        }
        let known: BTreeSet<_> = heard.iter().copied().collect();
        assert_eq!(known.len(), heard.len(), "an event came twice");
        assert!(known == table, "what came is what is in the table");
    }
    assert_eq!(broadcaster.stats().resets, 0);
}

/// Transaction ids that a crash forgot are given out again. A position that saw them the first time must not pass for
/// one that knows who has them now.
#[tokio::test(flavor = "multi_thread")]
async fn ids_used_again_after_a_crash_hide_nothing() {
    for checkpoint in [false, true] {
        let server = Postgres::start();
        let database = Database::on(&server).await;
        let mut owner = database.connect().await;
        // What no commit flushes stays in memory.
        for setting in ["wal_writer_delay = '10s'", "wal_writer_flush_after = '1GB'"] {
            owner.run(&format!("ALTER SYSTEM SET {setting}")).await;
        }
        server.restart();
        let source = database.open().await;
        let mut writer = database.connect().await;
        writer.insert(1).await;
        // Nobody waits for a rollback to be on the disk.
        for _ in 0..5 {
            writer.run("BEGIN").await;
            writer.insert(0).await;
            writer.run("ROLLBACK").await;
        }
        let before = edge(&source).await;
        server.kill_9();
        server.restart();
        let mut writer = database.connect().await;
        for number in 2..=4 {
            writer.insert(number).await;
        }
        if checkpoint {
            // It hides where the new life began.
            writer.run("CHECKPOINT").await;
        }
        let place = until("the database again", async || {
            source.rebase(&before).await.ok()
        })
        .await
        .expect("what was on the disk is known");
        let after = edge(&source).await;
        // The one before may come again.
        let numbers_after = numbers(&source, &place, &after).await;
        assert!(numbers_after.ends_with(&[2, 3, 4]), "{numbers_after:?}");
        // A clean restart undoes nothing, whoever looks when.
        server.restart();
        let mut writer = database.connect().await;
        writer.insert(5).await;
        writer.run("CHECKPOINT").await;
        let place = until("the database again", async || {
            source.rebase(&after).await.ok()
        })
        .await
        .expect("nothing was undone");
        assert_eq!(numbers(&source, &place, &edge(&source).await).await, [5]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_its_own_has_everything() {
    for schema in ["my feed", "we\"ird \\ n'ame", "Größe,$user"] {
        let database = Database::postgres().await;
        let mut config = database.config();
        config.schema = Some(schema.to_owned());
        let source = rowcast::source::open(&config, Migrate::Auto)
            .await
            .unwrap_or_else(|error| panic!("{schema}: failed to {error}"));
        let mut writer = database.connect().await;
        let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
        assert_eq!(
            writer
                .texts(
                    "SELECT DISTINCT nspname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
                      WHERE nspname NOT LIKE 'pg_%' AND nspname <> 'information_schema'"
                )
                .await,
            [schema],
            "nothing is anywhere else"
        );
        let broadcaster = Broadcaster::start(source, woken_only())
            .await
            .expect("the feed starts");
        let mut events = Box::pin(broadcaster.listen());
        // The writer's own search_path does not matter, as long as it finds the table.
        writer
            .run(&format!(
                "INSERT INTO {quoted}.events (channel, type, payload) VALUES ('t', 't', '1')"
            ))
            .await;
        let event = within(
            "an event that nothing but a wake-up can show",
            events.next(),
        )
        .await;
        assert_eq!(event.expect("the feed goes on").payload.get(), "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_only_insert_is_enough_for_writers() {
    let database = Database::postgres().await;
    let source = database.open().await;
    let mut owner = database.connect().await;
    owner
        .run(
            "CREATE ROLE only_inserts LOGIN;
             GRANT INSERT (channel, type, payload) ON events TO only_inserts",
        )
        .await;
    let broadcaster = Broadcaster::start(source, woken_only())
        .await
        .expect("the feed starts");
    let mut events = Box::pin(broadcaster.listen());
    let url = database.url.replace("//rowcast@", "//only_inserts@");
    let mut writer = Connection::open(&url).await;
    for refused in [
        "INSERT INTO events (channel, type, xid) VALUES ('t', 't', '1')",
        "INSERT INTO events (id, channel, type) OVERRIDING SYSTEM VALUE VALUES (1, 't', 't')",
        "UPDATE events SET payload = '{}'",
        "SELECT * FROM events",
        "SELECT setval('rowcast_lease', 1)",
        "INSERT INTO rowcast_epochs (system_id, timeline, boot, crash, start_xid) VALUES (1, '', 1, 1, '1')",
    ] {
        let error = writer.try_run(refused).await.expect_err(refused);
        assert!(
            error.to_string().contains("permission denied"),
            "{refused}: {error}"
        );
    }
    // The trigger reads the lease and sets it, which the writer itself may not.
    writer.insert(1).await;
    let event = within(
        "an event that nothing but a wake-up can show",
        events.next(),
    )
    .await;
    assert_eq!(event.expect("the feed goes on").payload.get(), "1");
}

/// What fails with a connection may have been committed, and is not tried again. What comes after it is.
#[tokio::test(flavor = "multi_thread")]
async fn inserts_go_on_after_the_database_was_restarted() {
    let postgres = Arc::new(Postgres::start());
    let database = Database::on(&postgres).await;
    let insert = rowcast::source::open_insert(&database.config(), Migrate::Auto)
        .await
        .expect("an empty database");
    let row = |number: u32| {
        [rowcast::NewEvent::new(
            rowcast::Channels::parse("tasks").expect("a channel"),
            "task.created",
            serde_json::value::to_raw_value(&number).expect("JSON"),
        )]
    };
    insert.insert(&row(1)).await.expect("it is there");
    let server = Arc::clone(&postgres);
    tokio::task::spawn_blocking(move || server.restart())
        .await
        .expect("it does");
    // The connection was idle for so long that it is asked first, or it fails.
    let first = insert.insert(&row(2)).await;
    insert.insert(&row(3)).await.expect("a new connection");
    let mut expected = vec![1, 2, 3];
    expected.retain(|&number| number != 2 || first.is_ok());
    let mut reader = database.connect().await;
    let rows = reader.numbers("SELECT payload::bigint FROM events ORDER BY id");
    assert_eq!(rows.await, expected);
}
