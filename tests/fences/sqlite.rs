//! A SQLite file that is emptied, vacuumed, has its memory of ids deleted, or a backup restored into it.

use std::path::Path;
use std::process::Command;

use rowcast::{Cursor, DatabaseConfig, Migrate};

use super::expect;
use super::scene::{Scene, keys};
use super::support::{Connection, Database, until};

async fn insert(writer: &mut Connection, keys: &[String]) {
    for key in keys {
        writer
            .run(&format!(
                "INSERT INTO events (channel, type, payload) VALUES ('fences', 't', '{{\"key\": \"{key}\"}}')"
            ))
            .await;
    }
}

/// The place of a client that is away, in the present: none means that it is told to refetch.
async fn place_of(url: &str, cursor: &Cursor) -> Option<Cursor> {
    let config = DatabaseConfig::new(url).expect("a URL");
    let source = rowcast::source::open(&config, Migrate::Auto)
        .await
        .unwrap_or_else(|error| panic!("failed to {error}"));
    let present = source.edge().await.expect("it answers");
    // What a server does first: within an epoch a place is where it was.
    let epoch = |cursor: &Cursor| {
        format!("{cursor:?}")
            .split("position")
            .next()
            .map(str::to_owned)
    };
    if epoch(&present) == epoch(cursor) && present.id() >= cursor.id() {
        return Some(cursor.clone());
    }
    source.rebase(cursor).await.expect("it answers")
}

/// As an operator would, with SQLite's own program.
fn sqlite3(file: &Path, command: &str) {
    let output = Command::new("sqlite3")
        .arg(file)
        .arg(command)
        .output()
        .expect("cannot run sqlite3");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{command}: {output:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_emptied_and_the_file_vacuumed() {
    let database = Database::sqlite().await;
    let scene = Scene::start(&database.url).await;
    let mut writer = database.connect().await;
    let mut all = Vec::new();
    for (round, statement) in [
        "DELETE FROM events",
        "VACUUM",
        "DELETE FROM events WHERE id > 50",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "DELETE FROM events; VACUUM",
    ]
    .into_iter()
    .enumerate()
    {
        let some = keys(&format!("round-{round}"), 20);
        insert(&mut writer, &some).await;
        scene.wait(some.last().expect("there are some")).await;
        all.extend(some);
        writer.run(statement).await;
    }
    let last = keys("last", 20);
    insert(&mut writer, &last).await;
    all.extend(last);
    scene.heard_exactly(&all, 0).await;
}

/// Ids are given out again. Clients that are away have places that those will pass.
#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_ids_is_deleted() {
    let database = Database::sqlite().await;
    let scene = Scene::start(&database.url).await;
    let mut writer = database.connect().await;
    let mut all = keys("before", 20);
    insert(&mut writer, &all).await;
    scene.wait("before-19").await;
    let away = scene.broadcaster.cursor();
    writer
        .run("DELETE FROM events; DELETE FROM sqlite_sequence")
        .await;
    until("a reset", async || {
        (scene.broadcaster.stats().resets == 1).then_some(())
    })
    .await;
    scene.server.wait_logged("told to refetch", 1).await;
    let after = keys("after", 30);
    insert(&mut writer, &after).await;
    all.extend(after);
    scene.heard_exactly(&all, 1).await;
    assert_eq!(
        scene.broadcaster.cursor().id(),
        Some(30),
        "its place was passed"
    );
    assert_eq!(
        place_of(&database.url, &away).await,
        None,
        "it is told to refetch"
    );
    // Its rows are there, the memory is not: nothing is given out again yet.
    writer
        .run("DELETE FROM sqlite_sequence WHERE name = 'events'")
        .await;
    expect(
        &["doctor"],
        &database.url,
        1,
        &["sqlite_sequence is at 0, behind the highest id, 30"],
    );
    expect(
        &["doctor", "--repair"],
        &database.url,
        0,
        &["sqlite_sequence from 0 to 30"],
    );
    insert(&mut writer, &keys("last", 1)).await;
    all.extend(keys("last", 1));
    scene.heard_exactly(&all, 1).await;
}

/// Emptied, and filled beyond the old ids, all between two looks: in one transaction.
#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_filled_anew_with_the_same_ids() {
    let database = Database::sqlite().await;
    let scene = Scene::start(&database.url).await;
    let mut writer = database.connect().await;
    let mut all = keys("before", 20);
    insert(&mut writer, &all).await;
    scene.wait("before-19").await;
    let away = scene.broadcaster.cursor();
    writer
        .run(
            "BEGIN IMMEDIATE; DELETE FROM events; DELETE FROM sqlite_sequence;
             INSERT INTO events (channel, type)
             WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 40)
             SELECT 'elsewhere', 't' FROM n; COMMIT",
        )
        .await;
    // The state that clients refetch has them.
    until("a reset", async || {
        (scene.broadcaster.stats().resets == 1).then_some(())
    })
    .await;
    scene.server.wait_logged("told to refetch", 1).await;
    let after = keys("after", 10);
    insert(&mut writer, &after).await;
    all.extend(after);
    scene.heard_exactly(&all, 1).await;
    assert_eq!(
        place_of(&database.url, &away).await,
        None,
        "it is told to refetch"
    );
}

/// Into the file that is open: neither its path nor its inode tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_into_the_open_file() {
    let database = Database::sqlite().await;
    let scene = Scene::start(&database.url).await;
    let mut writer = database.connect().await;
    let mut all = keys("before", 20);
    insert(&mut writer, &all[..10]).await;
    let backup = database.file().with_extension("backup");
    sqlite3(&database.file(), &format!(".backup '{}'", backup.display()));
    insert(&mut writer, &all[10..]).await;
    scene.wait("before-19").await;
    let away = scene.broadcaster.cursor();
    drop(writer);
    sqlite3(
        &database.file(),
        &format!(".restore '{}'", backup.display()),
    );
    until("a reset", async || {
        (scene.broadcaster.stats().resets == 1).then_some(())
    })
    .await;
    scene.server.wait_logged("told to refetch", 1).await;
    let mut writer = database.connect().await;
    let after = keys("after", 20);
    insert(&mut writer, &after).await;
    all.extend(after);
    scene.heard_exactly(&all, 1).await;
    assert_eq!(
        place_of(&database.url, &away).await,
        None,
        "it is told to refetch"
    );
}

/// While no feed was running, nothing tells; the operator does.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_resets_whoever_comes_back() {
    let database = Database::sqlite().await;
    let scene = Scene::start(&database.url).await;
    let mut writer = database.connect().await;
    let mut all = keys("before", 20);
    insert(&mut writer, &all).await;
    scene.wait("before-19").await;
    let away = scene.broadcaster.cursor();
    assert_eq!(place_of(&database.url, &away).await.as_ref(), Some(&away));
    expect(
        &["doctor", "--new-epoch"],
        &database.url,
        0,
        &["began an epoch", "get a reset"],
    );
    assert_eq!(place_of(&database.url, &away).await, None);
    // A server that runs notices.
    until("a reset", async || {
        (scene.broadcaster.stats().resets == 1).then_some(())
    })
    .await;
    scene.server.wait_logged("told to refetch", 1).await;
    insert(&mut writer, &keys("after", 10)).await;
    all.extend(keys("after", 10));
    scene.heard_exactly(&all, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_each_fault_with_what_to_do() {
    let database = Database::sqlite().await;
    let url = &database.url;
    let mut writer = database.connect().await;
    expect(&["doctor"], url, 1, &["no table events", "rowcast migrate"]);
    writer
        .run("CREATE TABLE events (id INTEGER PRIMARY KEY, name TEXT)")
        .await;
    expect(
        &["doctor", "--repair"],
        url,
        1,
        &["lacks columns: channel, type"],
    );
    writer.run("DROP TABLE events").await;
    drop(writer);
    expect(&["migrate"], url, 0, &[]);
    let found = expect(
        &["doctor"],
        url,
        0,
        &["SQLite 3", "write-ahead log", "all is well"],
    );
    for word in ["problem", "hint", "repaired"] {
        assert!(!found.contains(word), "{found}");
    }
    sqlite3(
        &database.file(),
        "PRAGMA journal_mode = DELETE; DELETE FROM rowcast_epochs",
    );
    expect(
        &["doctor"],
        url,
        1,
        &[
            "journal mode is delete",
            "rowcast_epochs is empty",
            "2 problems",
        ],
    );
    expect(
        &["doctor", "--repair"],
        url,
        0,
        &["switched the file", "began an epoch", "all is well now"],
    );
    sqlite3(
        &database.file(),
        "INSERT INTO events (channel, type, created_at) VALUES ('t', 't', '2150-01-01')",
    );
    expect(
        &["doctor"],
        url,
        0,
        &["hint", "1 row of the last 1,000 created in the future"],
    );
    std::fs::write(
        database.file(),
        "this is no database, and long enough to tell",
    )
    .expect("a file of ours");
    let _ = std::fs::remove_file(database.file().with_extension("db-wal"));
    expect(&["doctor"], url, 1, &["is not a SQLite database"]);
}
