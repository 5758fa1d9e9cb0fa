//! The promises of `rowcast::source::Prune`, kept by every implementation, and what the server and the command make of
//! it: what is old goes and nothing else, writers and feeds go on meanwhile, and whoever missed something can tell.

#[macro_use]
mod support;

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _};
use rowcast::source::{Prune, PruneBatch, Pruned, Window, open_prune};
use rowcast::{
    Broadcaster, Config, Cursor, EventId, Migrate, PollInterval, Retention, Server, Source,
};
use support::{Connection, Database, until, within};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

on_both! {
    what_is_old_goes_and_nothing_else
    a_dry_run_only_counts
    what_the_position_does_not_know_stays
    the_watermark_tells_what_is_gone
    the_watermark_never_goes_down
    a_watermark_from_elsewhere_counts_for_nothing
    a_row_that_is_old_at_its_commit_is_delivered_first
    a_window_read_meanwhile_is_whole_or_known_not_to_be
    pruners_take_turns
    writers_go_on_meanwhile
    a_position_of_another_epoch_prunes_nothing
    nothing_is_deleted_through_a_view
    a_server_prunes_and_ends
    the_command_says_what_it_deleted
    a_kill_loses_nothing
}

const WEEK: Duration = Duration::from_hours(7 * 24);

async fn what_is_old_goes_and_nothing_else(database: Database) {
    let (source, prune) = open(&database).await;
    let mut writer = database.connect().await;
    // By age in hours: old ones among others, and both sides of a week.
    for age in [400, 169, 1, 200, 167, 0, 170] {
        insert_aged(&mut writer, age, age).await;
    }
    // The time counts, not the zone it is written in.
    for zone in ["+14:00", "-12:00"] {
        let time = aged(&database, 168);
        let sql = format!(
            "INSERT INTO events (channel, type, payload, created_at) VALUES ('t', 't', '{}', {})",
            if zone.starts_with('+') { 1 } else { 2 },
            match writer {
                #[cfg(feature = "postgres")]
                Connection::Postgres(_) => format!(
                    "(to_char({time} AT TIME ZONE '{}', 'YYYY-MM-DD HH24:MI:SS') || '{zone}')::timestamptz",
                    if zone.starts_with('+') {
                        "<X>-14"
                    } else {
                        "<X>+12"
                    }
                ),
                #[cfg(feature = "sqlite")]
                Connection::Sqlite(_) =>
                    format!("strftime('%Y-%m-%dT%H:%M:%f', {time}, '{zone}') || '{zone}'"),
            }
        );
        writer.run(&sql).await;
    }
    let known = settled(&database, &source).await;
    let pages = prune_all(prune.as_ref(), &known, WEEK, 2).await;
    assert_eq!(payloads(&mut writer).await, [1, 167, 0]);
    assert_eq!(pages.iter().map(|page| page.deleted).sum::<u64>(), 6);
    assert_eq!(pages.iter().map(|page| page.kept).sum::<u64>(), 0);
    let last_deleted = pages.iter().filter_map(|page| page.last_deleted).max();
    assert_eq!(last_deleted, Some(EventId(9)));

    let look = async |id, age| prune.look(EventId(id), age).await.expect("a look");
    assert_eq!(look(i64::MIN, WEEK).await, Some((EventId(3), false)));
    let hour = Duration::from_mins(30);
    assert_eq!(look(4, hour).await, Some((EventId(5), true)));
    assert_eq!(look(7, hour).await, None);
}

async fn a_dry_run_only_counts(database: Database) {
    let (source, prune) = open(&database).await;
    let mut writer = database.connect().await;
    for age in [200, 200, 1] {
        insert_aged(&mut writer, age, age).await;
    }
    let batch = PruneBatch {
        dry_run: true,
        ..batch(&settled(&database, &source).await, WEEK, 100)
    };
    let counted = prune.prune(&batch).await.expect("it can be counted");
    let expected = Pruned {
        looked: 3,
        old: 2,
        deleted: 2,
        kept: 0,
        last: Some(EventId(3)),
        last_deleted: Some(EventId(2)),
    };
    assert_eq!(counted, expected);
    assert_eq!(payloads(&mut writer).await, [200, 200, 1]);
    assert_eq!(noted(&mut writer).await, 0);
    assert_eq!(source.watermark().await.expect("a watermark"), None);
}

async fn what_the_position_does_not_know_stays(database: Database) {
    let (source, prune) = open(&database).await;
    let mut writer = database.connect().await;
    insert_aged(&mut writer, 1, 200).await;
    let known = settled(&database, &source).await;
    insert_aged(&mut writer, 2, 200).await;
    let pruned = prune
        .prune(&batch(&known, WEEK, 100))
        .await
        .expect("it goes");
    assert_eq!((pruned.deleted, pruned.kept), (1, 1));
    assert_eq!(payloads(&mut writer).await, [2]);
    let known = settled(&database, &source).await;
    let pruned = prune
        .prune(&batch(&known, WEEK, 100))
        .await
        .expect("it goes");
    assert_eq!((pruned.deleted, pruned.kept), (1, 0));
}

async fn the_watermark_tells_what_is_gone(database: Database) {
    let (source, prune) = open(&database).await;
    let mut writer = database.connect().await;
    for number in 0..6 {
        insert_aged(&mut writer, number, if number < 4 { 200 } else { 1 }).await;
    }
    assert_eq!(source.watermark().await.expect("a watermark"), None);
    let known = settled(&database, &source).await;
    let pages = prune_all(prune.as_ref(), &known, WEEK, 2).await;
    assert_eq!(pages.iter().map(|page| page.deleted).sum::<u64>(), 4);
    let watermark = source.watermark().await.expect("a watermark");
    let watermark = watermark.expect("something was pruned");
    // What is after it is all there, and what is there is all after it.
    let edge = settled(&database, &source).await;
    assert_eq!(read(&source, &watermark, &edge).await, [4, 5]);
    // Also on another server, and where nothing is left.
    let other = database.open().await;
    assert_eq!(
        other.watermark().await.expect("a watermark"),
        Some(watermark)
    );
    prune_all(prune.as_ref(), &edge, Duration::ZERO, 2).await;
    let watermark = source.watermark().await.expect("a watermark");
    let edge = source.edge().await.expect("a position");
    assert_eq!(read(&source, &watermark.expect("one"), &edge).await, [0; 0]);
}

async fn the_watermark_never_goes_down(database: Database) {
    let (source, prune) = open(&database).await;
    let mut writer = database.connect().await;
    for number in 0..4 {
        insert_aged(&mut writer, number, 200).await;
    }
    let known = settled(&database, &source).await;
    let later = PruneBatch {
        after: Some(EventId(2)),
        ..batch(&known, WEEK, 100)
    };
    assert_eq!(prune.prune(&later).await.expect("it goes").deleted, 2);
    let before = (
        noted(&mut writer).await,
        source.watermark().await.expect("a watermark"),
    );
    assert!(before.1.is_some());
    let earlier = batch(&known, WEEK, 100);
    assert_eq!(prune.prune(&earlier).await.expect("it goes").deleted, 2);
    let after = (
        noted(&mut writer).await,
        source.watermark().await.expect("a watermark"),
    );
    assert_eq!(after, before);
}

/// A table restored from a dump of another cluster.
async fn a_watermark_from_elsewhere_counts_for_nothing(database: Database) {
    let (source, prune) = open(&database).await;
    let mut writer = database.connect().await;
    insert_aged(&mut writer, 1, 200).await;
    insert_aged(&mut writer, 2, 1).await;
    let (column, value) = noted_in(&database);
    writer
        .run(&format!("UPDATE rowcast_retention SET {column} = {value}"))
        .await;
    assert_eq!(source.watermark().await.expect("a watermark"), None);
    let known = settled(&database, &source).await;
    prune_all(prune.as_ref(), &known, WEEK, 100).await;
    let watermark = source.watermark().await.expect("a watermark");
    let edge = source.edge().await.expect("a position");
    let watermark = watermark.expect("something was pruned here");
    assert_eq!(read(&source, &watermark, &edge).await, [2]);
}

async fn a_row_that_is_old_at_its_commit_is_delivered_first(database: Database) {
    let (source, prune) = open(&database).await;
    let broadcaster = Broadcaster::start(Arc::clone(&source), PollInterval::default())
        .await
        .expect("the feed starts");
    let mut events = Box::pin(broadcaster.listen());
    let mut slow = database.connect().await;
    slow.run("BEGIN").await;
    insert_aged(&mut slow, 1, 200).await;
    #[cfg(feature = "postgres")]
    if database.url.starts_with("postgres") {
        // While it is open, what was written since it began stays too: one number is to tell who knows all that is gone.
        let mut other = database.connect().await;
        insert_aged(&mut other, 2, 200).await;
        let event = within("the other's event", events.next()).await;
        assert_eq!(event.expect("the feed goes on").payload.get(), "2");
        let known = source.edge().await.expect("a position");
        let pruned = prune
            .prune(&batch(&known, WEEK, 10))
            .await
            .expect("it goes");
        assert_eq!((pruned.deleted, pruned.kept), (0, 1));
    }
    let known = source.edge().await.expect("a position");
    slow.run("COMMIT").await;
    // It was not there when the position was asked for, a while ago.
    let pruned = prune
        .prune(&batch(&known, WEEK, 10))
        .await
        .expect("it goes");
    assert_eq!(pruned.deleted, 0);
    let event = within("the event", events.next()).await;
    assert_eq!(event.expect("the feed goes on").payload.get(), "1");
    let known = settled(&database, &source).await;
    let pruned = prune
        .prune(&batch(&known, WEEK, 10))
        .await
        .expect("it goes");
    assert_eq!(pruned.kept, 0);
    assert_eq!(payloads(&mut slow).await, [0; 0]);
}

async fn a_window_read_meanwhile_is_whole_or_known_not_to_be(database: Database) {
    const ROWS: usize = 20_000;
    let (source, prune) = open(&database).await;
    let mut writer = database.connect().await;
    let start = source.edge().await.expect("a position");
    fill(&mut writer, ROWS, 200).await;
    let end = settled(&database, &source).await;
    let mut rows = source.rows(window(&start, &end));
    let mut count = 0;
    while let Some(row) = within("a row", rows.try_next()).await.expect("a row") {
        row.expect("it is good");
        count += 1;
        if count == 10 {
            prune_all(prune.as_ref(), &end, WEEK, 5000).await;
        }
    }
    drop(rows);
    assert_eq!(payloads(&mut writer).await, [0; 0], "all is gone");
    let watermark = source.watermark().await.expect("a watermark");
    let watermark = watermark.expect("something was pruned");
    if count < ROWS {
        // Whoever reads the watermark after the rows sees that it is beyond the place they began at.
        assert!(watermark.id() > start.id(), "{watermark:?} {start:?}");
        assert!(database.url.starts_with("sqlite"), "a statement is whole");
    }
}

async fn pruners_take_turns(database: Database) {
    const ROWS: usize = 20_000;
    let (source, _) = open(&database).await;
    let mut writer = database.connect().await;
    fill(&mut writer, ROWS, 200).await;
    insert_aged(&mut writer, 7, 1).await;
    let known = settled(&database, &source).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let prune = open_prune(&database.config(), Migrate::Check).await;
        let prune = prune.unwrap_or_else(|error| panic!("failed to {error}"));
        let known = known.clone();
        tasks.spawn(async move {
            let pages = prune_all(prune.as_ref(), &known, WEEK, 500).await;
            pages.iter().map(|page| page.deleted).sum::<u64>()
        });
    }
    let deleted = within("the pruners", tasks.join_all()).await;
    assert_eq!(deleted.iter().sum::<u64>(), ROWS as u64, "{deleted:?}");
    assert_eq!(payloads(&mut writer).await, [7]);
}

async fn writers_go_on_meanwhile(database: Database) {
    const ROWS: usize = 200_000;
    let (source, prune) = open(&database).await;
    let mut writer = database.connect().await;
    fill(&mut writer, ROWS, 200).await;
    let known = settled(&database, &source).await;
    let start = Instant::now();
    let pruning = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        let mut batch = batch(&known, WEEK, 1000);
        loop {
            let start = Instant::now();
            let pruned = prune.prune(&batch).await.expect("a batch");
            longest = longest.max(start.elapsed());
            if pruned.looked < 1000 {
                return longest;
            }
            batch.after = pruned.last;
            // As the server does, on a machine that does it in no time.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut waits = Vec::new();
    while !pruning.is_finished() {
        let start = Instant::now();
        within("an insert", writer.insert(1)).await;
        waits.push(start.elapsed());
    }
    let batch = pruning.await.expect("it does not panic");
    let count = format!(
        "SELECT count(*) FROM events WHERE created_at < {}",
        aged(&database, 168)
    );
    assert_eq!(writer.numbers(&count).await, [0]);
    // A writer that had to wait for all of it would have inserted once.
    assert!(waits.len() > 20, "{} inserts", waits.len());
    waits.sort_unstable();
    eprintln!(
        "{ROWS} rows in {:?}, longest batch {batch:?}; {} inserts meanwhile, median {:?}, p99 {:?}, longest {:?}",
        start.elapsed(),
        waits.len(),
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100],
        waits[waits.len() - 1],
    );
}

async fn a_position_of_another_epoch_prunes_nothing(database: Database) {
    let (_, prune) = open(&database).await;
    let mut writer = database.connect().await;
    insert_aged(&mut writer, 1, 200).await;
    let known = prune.edge().await.expect("a position");
    let elsewhere = if database.url.starts_with("sqlite") {
        writer
            .run("INSERT INTO rowcast_epochs DEFAULT VALUES")
            .await;
        known
    } else {
        // Of another kind, and so of another epoch.
        Cursor::after_id(1, 100)
    };
    let error = prune.prune(&batch(&elsewhere, WEEK, 10)).await;
    assert!(
        matches!(error, Err(rowcast::Error::EpochChanged)),
        "{error:?}"
    );
    assert_eq!(payloads(&mut writer).await, [1]);
}

async fn nothing_is_deleted_through_a_view(database: Database) {
    let source = database.open().await;
    let mut owner = database.connect().await;
    insert_aged(&mut owner, 1, 200).await;
    owner.run("ALTER TABLE events RENAME TO kept").await;
    owner.run("CREATE VIEW events AS SELECT * FROM kept").await;
    let error = open_prune(&database.config(), Migrate::Off).await;
    let error = error.err().expect("it is refused").to_string();
    assert!(
        error.contains("`events` is a view") && error.contains("rowcast_retention"),
        "{error}"
    );
    // The feed goes on.
    source.edge().await.expect("a position");
    assert_eq!(payloads(&mut owner).await, [1]);
}

async fn a_server_prunes_and_ends(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    fill(&mut writer, 3000, 200).await;
    settled(&database, &source).await;
    let mut config = Config::new(database.config());
    config.listen.set_port(0);
    config.retention = Some(Retention {
        keep: WEEK,
        grace: Duration::from_millis(200),
    });
    let server = Server::start(&config).await.expect("it starts");
    let broadcaster = server.broadcaster().clone();
    let mut events = Box::pin(broadcaster.listen());
    let (shutdown, asked) = tokio::sync::oneshot::channel();
    let running = tokio::spawn(server.run(async {
        let _ = asked.await;
    }));
    writer.insert(7).await;
    let event = within("the event", events.next()).await;
    assert_eq!(event.expect("the feed goes on").payload.get(), "7");
    until("the old events to be deleted", async || {
        (broadcaster.stats().events_pruned == 3000).then_some(())
    })
    .await;
    assert_eq!(payloads(&mut writer).await, [7]);
    shutdown.send(()).expect("it runs");
    within("the end", running).await.expect("it does not panic");
    // Nobody has it open any more.
    writer.run("DROP TABLE rowcast_retention").await;
}

async fn the_command_says_what_it_deleted(database: Database) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    fill(&mut writer, 2500, 200).await;
    insert_aged(&mut writer, 7, 1).await;
    settled(&database, &source).await;
    let url = database.config().url.to_string();
    let said = prune_command(&database, &["--older-than", "7d", "--dry-run"]).await;
    assert_eq!(
        said,
        format!("2,500 events in {url} are older than 7days, up to event 2500; none was deleted\n")
    );
    let said = prune_command(&database, &["--older-than", "7d"]).await;
    assert_eq!(
        said,
        format!("deleted 2,500 events older than 7days from {url}, up to event 2500\n")
    );
    assert_eq!(payloads(&mut writer).await, [7]);
    let said = prune_command(&database, &["--older-than", "7d"]).await;
    assert_eq!(
        said,
        format!("deleted 0 events older than 7days from {url}\n")
    );
}

/// The process that prunes is killed in the middle. What is gone is known to be gone, and what is young is there.
async fn a_kill_loses_nothing(database: Database) {
    const TRANSACTIONS: usize = 100;
    let source = database.open().await;
    let mut writer = database.connect().await;
    for _ in 0..TRANSACTIONS {
        fill(&mut writer, 1000, 200).await;
    }
    insert_aged(&mut writer, 7, 1).await;
    settled(&database, &source).await;
    writer
        .run("CREATE TABLE copy AS SELECT * FROM events")
        .await;
    let mut process = prune_process(&database, &["--older-than", "7d"])
        .spawn()
        .expect("it starts");
    let all = (TRANSACTIONS * 1000 + 1) as i64;
    until("some rows to be deleted", async || {
        let count = writer.numbers("SELECT count(*) FROM events").await[0];
        (count < all - 5000).then_some(())
    })
    .await;
    process.kill().await.expect("it can be killed");
    let left = writer.numbers("SELECT count(*) FROM events").await[0];
    assert!(left > 1, "it was killed in the middle");
    let silent = if database.url.starts_with("sqlite") {
        "id > (SELECT pruned_id FROM rowcast_retention)"
    } else {
        "xid > (SELECT pruned_xid FROM rowcast_retention)"
    };
    let silent =
        format!("SELECT count(*) FROM copy WHERE {silent} AND id NOT IN (SELECT id FROM events)");
    assert_eq!(writer.numbers(&silent).await, [0], "gone, and not noted");
    assert_eq!(
        writer
            .numbers("SELECT count(*) FROM events WHERE id = (SELECT max(id) FROM copy)")
            .await,
        [1]
    );
    // Whoever comes next goes on.
    let said = prune_command(&database, &["--older-than", "7d"]).await;
    assert!(said.starts_with("deleted "), "{said}");
    assert_eq!(payloads(&mut writer).await, [7]);
}

/// The feed goes on where its role may not delete, and prunes as soon as it may.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_delete_is_told_and_serves() {
    let database = Database::postgres().await;
    let source = database.open().await;
    let mut owner = database.connect().await;
    fill(&mut owner, 10, 200).await;
    settled(&database, &source).await;
    let name = database.url.rsplit_once('/').expect("it has a path").1;
    let role = format!("reader_of_{name}");
    owner
        .run(&format!(
            "CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT ON events, rowcast_commands, rowcast_epochs, rowcast_retention TO {role};
             GRANT ALL ON SEQUENCE rowcast_lease TO {role}"
        ))
        .await;
    let url = database.url.replace("rowcast@", &format!("{role}@"));
    let mut config = Config::new(rowcast::DatabaseConfig::new(&url).expect("a URL"));
    config.migrate = Migrate::Off;
    config.listen.set_port(0);
    let error = open_prune(
        config.database.as_ref().expect("it has a table"),
        Migrate::Off,
    )
    .await;
    let error = error.err().expect("it is refused").to_string();
    let grant = format!("the role {role} may not delete events; GRANT DELETE ON events TO {role}");
    assert!(error.contains(&grant), "{error}");

    config.retention = Some(Retention {
        keep: WEEK,
        grace: Duration::from_millis(100),
    });
    let server = Server::start(&config)
        .await
        .expect("it starts all the same");
    let broadcaster = server.broadcaster().clone();
    let mut events = Box::pin(broadcaster.listen());
    owner.insert(7).await;
    within("the event", events.next()).await;
    owner
        .run(&format!(
            "GRANT DELETE ON events TO {role}; GRANT UPDATE ON rowcast_retention TO {role}"
        ))
        .await;
    until("the old events to be deleted", async || {
        (broadcaster.stats().events_pruned == 10).then_some(())
    })
    .await;
    assert_eq!(payloads(&mut owner).await, [7]);
    drop(server);
}

/// As somebody may have made it who drops whole partitions later.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_is_pruned() {
    let database = Database::postgres().await;
    let source = database.open().await;
    let mut owner = database.connect().await;
    owner
        .run(
            "ALTER TABLE events RENAME TO plain;
             CREATE SEQUENCE ids;
             CREATE TABLE events (LIKE plain INCLUDING DEFAULTS) PARTITION BY RANGE (id);
             ALTER TABLE events ALTER id SET DEFAULT nextval('ids'), ADD PRIMARY KEY (id);
             CREATE INDEX ON events (xid, id);
             CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (101);
             CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (101) TO (1001)",
        )
        .await;
    fill(&mut owner, 150, 200).await;
    insert_aged(&mut owner, 7, 1).await;
    let known = settled(&database, &source).await;
    let prune = open_prune(&database.config(), Migrate::Off).await;
    let prune = prune.unwrap_or_else(|error| panic!("failed to {error}"));
    let pages = prune_all(prune.as_ref(), &known, WEEK, 40).await;
    assert_eq!(pages.iter().map(|page| page.deleted).sum::<u64>(), 150);
    assert_eq!(payloads(&mut owner).await, [7]);
}

/// Somebody has locked a row for a while. The batch gives up, deletes nothing, and the next one works.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_row_is_not_waited_for_long() {
    let database = Database::postgres().await;
    let (source, prune) = open(&database).await;
    let mut owner = database.connect().await;
    fill(&mut owner, 10, 200).await;
    let known = settled(&database, &source).await;
    owner
        .run("BEGIN; SELECT FROM events WHERE id = 5 FOR UPDATE")
        .await;
    let batch = batch(&known, WEEK, 100);
    let error = within("a time-out", prune.prune(&batch)).await;
    let error = error.expect_err("it is locked").to_string();
    assert!(error.contains("lock timeout"), "{error}");
    assert_eq!(payloads(&mut owner).await, [0; 10]);
    assert_eq!(source.watermark().await.expect("a watermark"), None);
    owner.run("COMMIT").await;
    let pruned = prune.prune(&batch).await.expect("it goes");
    assert_eq!(pruned.deleted, 10);
}

async fn open(database: &Database) -> (Arc<dyn Source>, Arc<dyn Prune>) {
    let source = database.open().await;
    let prune = open_prune(&database.config(), Migrate::Check)
        .await
        .unwrap_or_else(|error| panic!("failed to {error}"));
    (source, prune)
}

fn batch(known: &Cursor, older_than: Duration, rows: u32) -> PruneBatch {
    PruneBatch {
        older_than,
        known: known.clone(),
        after: None,
        rows,
        dry_run: false,
    }
}

/// A position that knows all there is in the table. On a server that tests share, others have transactions open that
/// began before it was written.
async fn settled(database: &Database, source: &Arc<dyn Source>) -> Cursor {
    if database.url.starts_with("postgres") {
        let mut reader = database.connect().await;
        until("older transactions to end", async || {
            let open =
                "SELECT count(*) FROM events WHERE xid >= pg_snapshot_xmin(pg_current_snapshot())";
            (reader.numbers(open).await == [0]).then_some(())
        })
        .await;
    }
    source.edge().await.expect("a position")
}

/// Every page of the table, without a pause.
async fn prune_all(
    prune: &dyn Prune,
    known: &Cursor,
    older_than: Duration,
    rows: u32,
) -> Vec<Pruned> {
    let mut batch = batch(known, older_than, rows);
    let mut pages = Vec::new();
    loop {
        let page = within("a batch", prune.prune(&batch))
            .await
            .unwrap_or_else(|error| panic!("failed to {error}"));
        pages.push(page);
        if page.looked < u64::from(rows) {
            return pages;
        }
        batch.after = page.last;
    }
}

/// So many hours ago, in SQL.
fn aged(database: &Database, hours: i64) -> String {
    if database.url.starts_with("sqlite") {
        format!("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-{hours} hours')")
    } else {
        format!("(clock_timestamp() - interval '{hours} hours')")
    }
}

/// Inserts an event with this payload that is so many hours old.
async fn insert_aged(writer: &mut Connection, number: i64, hours: i64) {
    fill_with(writer, 1, &number.to_string(), hours).await;
}

/// Inserts so many events of this age in hours, in one transaction.
async fn fill(writer: &mut Connection, rows: usize, hours: i64) {
    fill_with(writer, rows, "0", hours).await;
}

async fn fill_with(writer: &mut Connection, rows: usize, payload: &str, hours: i64) {
    let time = match writer {
        #[cfg(feature = "postgres")]
        Connection::Postgres(_) => format!("clock_timestamp() - interval '{hours} hours'"),
        #[cfg(feature = "sqlite")]
        Connection::Sqlite(_) => format!("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-{hours} hours')"),
    };
    let payload = match writer {
        #[cfg(feature = "postgres")]
        Connection::Postgres(_) => format!("'{payload}'::jsonb"),
        #[cfg(feature = "sqlite")]
        Connection::Sqlite(_) => format!("'{payload}'"),
    };
    writer
        .run(&format!(
            "INSERT INTO events (channel, type, payload, created_at)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             SELECT 'tasks', 'task.created', {payload}, {time} FROM n"
        ))
        .await;
}

/// The payloads of what is in the table.
async fn payloads(reader: &mut Connection) -> Vec<i64> {
    let texts = reader
        .texts("SELECT CAST(payload AS text) FROM events ORDER BY id")
        .await;
    texts
        .iter()
        .map(|text| text.parse().expect("payloads are numbers"))
        .collect()
}

/// What has been noted as pruned.
async fn noted(reader: &mut Connection) -> i64 {
    let sql = match reader {
        #[cfg(feature = "postgres")]
        Connection::Postgres(_) => "SELECT pruned_xid::text::bigint FROM rowcast_retention",
        #[cfg(feature = "sqlite")]
        Connection::Sqlite(_) => "SELECT pruned_id FROM rowcast_retention",
    };
    reader.numbers(sql).await[0]
}

/// Where that is noted, and a value that is of the future.
fn noted_in(database: &Database) -> (&'static str, &'static str) {
    if database.url.starts_with("sqlite") {
        ("pruned_id", "1000000")
    } else {
        ("pruned_xid", "'1000000000000'")
    }
}

fn window(after: &Cursor, upto: &Cursor) -> Window {
    Window {
        after: after.clone(),
        upto: upto.clone(),
        resume_after: None,
    }
}

/// The payloads of a window.
async fn read(source: &Arc<dyn Source>, after: &Cursor, upto: &Cursor) -> Vec<i64> {
    let rows = source.rows(window(after, upto)).try_collect::<Vec<_>>();
    let rows = within("the rows", rows).await.expect("they can be read");
    rows.into_iter()
        .map(|row| {
            let event = row.expect("they are good");
            event.payload.get().parse().expect("payloads are numbers")
        })
        .collect()
}

fn prune_process(database: &Database, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    command
        .arg("prune")
        .args(arguments)
        .args(["--database-url", &database.url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What `rowcast prune` says when it has done what it was asked to.
async fn prune_command(database: &Database, arguments: &[&str]) -> String {
    let mut process = prune_process(database, arguments)
        .spawn()
        .expect("it starts");
    let mut stdout = process.stdout.take().expect("piped");
    let mut said = String::new();
    within("what it says", stdout.read_to_string(&mut said))
        .await
        .expect("it is text");
    let status = within("its end", process.wait()).await.expect("it ends");
    assert!(status.success(), "{status}: {said}");
    said
}
