//! A dump restored into another cluster. Its rows have the transaction ids of the cluster they come from, which the new
//! one is still to give out.

use std::fs;

use rowcast::{DatabaseConfig, Migrate};

use super::scene::{Scene, keys};
use super::support::forwarder::Forwarder;
use super::support::{Postgres, temp_dir, until};
use super::writer::{connect, insert, next_xid, number, run, use_up};
use super::{expect, rowcast};

/// Rows of the old cluster: more than the doctor mends at once.
const ROWS: i64 = 12_000;

/// A cluster with events, and another with a dump of it.
struct Moved {
    old: Postgres,
    new: Postgres,
    name: String,
    old_url: String,
    new_url: String,
}

impl Moved {
    /// Restores what `old_url` has into a new cluster.
    async fn from(old: Postgres, old_url: String) -> Self {
        let new = Postgres::start();
        let new_url = new.create_database().await;
        let name = old_url.rsplit('/').next().expect("a path").to_owned();
        assert!(
            new_url.ends_with(&name),
            "both are the first of their server"
        );
        let folder = temp_dir();
        let file = folder.path().join("dump.sql");
        fs::write(&file, old.run("pg_dump", &name, &["--no-owner"])).expect("a file of ours");
        let file = file.to_str().expect("text");
        let flags = [
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--file",
            file,
        ];
        new.run("psql", &name, &flags);
        Self {
            old,
            new,
            name,
            old_url,
            new_url,
        }
    }
}

/// A cluster that has come far, with a table full of events.
async fn old_cluster() -> (Postgres, String) {
    let old = Postgres::start();
    let url = old.create_database().await;
    expect(&["migrate"], &url, 0, &[]);
    let mut writer = connect(&url).await;
    run(&mut writer, "SET synchronous_commit = off").await;
    use_up(&mut writer, 3000).await;
    run(
        &mut writer,
        &format!(
            "INSERT INTO events (channel, type, payload)
             SELECT 'fences', 't', jsonb_build_object('key', 'old-' || n) FROM generate_series(1, {ROWS}) n"
        ),
    )
    .await;
    (old, url)
}

const FROM_THE_FUTURE: &str =
    "SELECT count(*) FROM events WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())";

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_dump_is_refused_until_it_is_repaired() {
    let (old, old_url) = old_cluster().await;
    let config = DatabaseConfig::new(&old_url).expect("a URL");
    let source = rowcast::source::open(&config, Migrate::Auto)
        .await
        .unwrap_or_else(|error| panic!("failed to {error}"));
    let old_place = source.edge().await.expect("it answers");
    drop(source);
    let moved = Moved::from(old, old_url).await;
    let url = &moved.new_url;
    let mut writer = connect(url).await;
    assert_eq!(number(&mut writer, FROM_THE_FUTURE).await, ROWS);

    expect(
        &["serve", "--listen", "127.0.0.1:0"],
        url,
        1,
        &["rowcast doctor --repair", "xid"],
    );
    // Nothing is written without being asked for.
    let rows = format!("{ROWS} rows");
    let found = expect(
        &["doctor"],
        url,
        1,
        &[
            "problem",
            &rows,
            "a dump of another cluster was restored",
            "1 epoch of another cluster",
        ],
    );
    assert!(!found.contains("repaired"), "{found}");
    assert_eq!(number(&mut writer, FROM_THE_FUTURE).await, ROWS);

    // A writer does not wait for it.
    let mut other = connect(url).await;
    let writing = tokio::spawn(async move { insert(&mut other, keys("meanwhile", 200)).await });
    let mended = format!("made {ROWS} rows");
    expect(
        &["doctor", "--repair"],
        url,
        0,
        &["repaired", &mended, "all is well now"],
    );
    writing.await.expect("it writes");
    assert_eq!(number(&mut writer, FROM_THE_FUTURE).await, 0);
    let made_history = "SELECT count(*) FROM events WHERE xid = '3'";
    assert_eq!(
        number(&mut writer, made_history).await,
        ROWS,
        "those, and no other"
    );
    let again = expect(&["doctor"], url, 0, &["all is well"]);
    assert!(!again.contains("problem"), "{again}");

    let scene = Scene::start(url).await;
    // Up to where the old cluster was, and beyond.
    use_up(&mut writer, 1000).await;
    let new = keys("new", 50);
    insert(&mut writer, &new).await;
    scene.heard_exactly(&new, 0).await;
    // Whoever was there comes with a position that means nothing here.
    let config = DatabaseConfig::new(url).expect("a URL");
    let source = rowcast::source::open(&config, Migrate::Auto)
        .await
        .unwrap_or_else(|error| panic!("failed to {error}"));
    let place = source.rebase(&old_place).await.expect("it answers");
    assert_eq!(place, None, "clients are told to refetch");
    assert!(moved.old_url.ends_with(&moved.name));
}

/// The address of a running feed comes to mean the new cluster before anybody has repaired it.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_feed_waits_for_the_repair() {
    let old = Postgres::start();
    let direct = old.create_database().await;
    let forwarder = Forwarder::start(old.port()).await;
    let scene = Scene::start(&forwarder.url(&direct, old.port())).await;
    let mut writer = connect(&direct).await;
    use_up(&mut writer, 1000).await;
    let mut all = keys("old", 20);
    insert(&mut writer, &all).await;
    scene.wait("old-19").await;
    drop(writer);
    let moved = Moved::from(old, direct).await;
    forwarder.switch_to(moved.new.port());
    let mut writer = connect(&moved.new_url).await;
    // Its own transactions pass the numbers of those rows one by one.
    insert(&mut writer, &keys("unseen", 5)).await;
    scene.server.wait_logged("trying again", 1).await;
    expect(
        &["doctor", "--repair"],
        &moved.new_url,
        0,
        &["made 20 rows"],
    );
    // What was committed before is part of the state that clients refetch.
    until("a reset", async || {
        (scene.broadcaster.stats().resets == 1).then_some(())
    })
    .await;
    scene.server.wait_logged("told to refetch", 1).await;
    let new = keys("new", 20);
    insert(&mut writer, &new).await;
    all.extend(new);
    scene.heard_exactly(&all, 1).await;
    moved.old.stop();
}

/// A dump that was restored into the cluster it comes from, or into one that is further, has nothing of the future.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_restored_into_a_cluster_that_is_further_needs_no_repair() {
    let old = Postgres::start();
    let old_url = old.create_database().await;
    expect(&["migrate"], &old_url, 0, &[]);
    insert(&mut connect(&old_url).await, &keys("old", 20)).await;
    let moved = Moved::from(old, old_url).await;
    let mut writer = connect(&moved.new_url).await;
    let mut behind = connect(&moved.old_url).await;
    let ahead = next_xid(&mut behind).await - next_xid(&mut writer).await;
    use_up(&mut writer, usize::try_from(ahead).unwrap_or(0) + 10).await;
    expect(
        &["doctor"],
        &moved.new_url,
        0,
        &["all is well", "of another cluster"],
    );
    expect(
        &["doctor", "--repair"],
        &moved.new_url,
        0,
        &["forgot 1 epoch"],
    );
    let scene = Scene::start(&moved.new_url).await;
    let new = keys("new", 20);
    insert(&mut writer, &new).await;
    scene.heard_exactly(&new, 0).await;
}

/// A backup of the same cluster and the same life, or of an application's own making, says nothing of itself: the operator
/// does.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_resets_whoever_comes_back() {
    let server = Postgres::start();
    let url = server.create_database().await;
    let config = DatabaseConfig::new(&url).expect("a URL");
    let source = rowcast::source::open(&config, Migrate::Auto)
        .await
        .unwrap_or_else(|error| panic!("failed to {error}"));
    let before = source.edge().await.expect("it answers");
    let place = source.rebase(&before).await.expect("it answers");
    assert_eq!(place.as_ref(), Some(&before));
    expect(
        &["doctor", "--new-epoch"],
        &url,
        0,
        &["forgot all epochs", "servers that start from now on"],
    );
    let source = rowcast::source::open(&config, Migrate::Auto)
        .await
        .unwrap_or_else(|error| panic!("failed to {error}"));
    let place = source.rebase(&before).await.expect("it answers");
    assert_eq!(place, None);
}

/// Numbers, not texts: the greatest is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_supplied_xid_is_told() {
    let server = Postgres::start();
    let url = server.create_database().await;
    expect(&["migrate"], &url, 0, &[]);
    let mut writer = connect(&url).await;
    for xid in [99_999, 100_000] {
        let insert = format!("INSERT INTO events (channel, type, xid) VALUES ('t', 't', '{xid}')");
        run(&mut writer, &insert).await;
    }
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["doctor"]] {
        expect(command, &url, 1, &["up to xid 100000, "]);
    }
}

/// A dump that leaves the sequence behind makes every insert fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_that_is_behind_is_set() {
    let server = Postgres::start();
    let url = server.create_database().await;
    expect(&["migrate"], &url, 0, &[]);
    let mut writer = connect(&url).await;
    insert(&mut writer, &keys("before", 20)).await;
    run(&mut writer, "ALTER SEQUENCE events_id_seq RESTART WITH 5").await;
    let (code, text) = rowcast(&["emit", "tasks", "t"], &url);
    assert!(code == Some(1) && text.contains("duplicate key"), "{text}");
    expect(
        &["doctor"],
        &url,
        1,
        &["events_id_seq is at", "behind the highest id, 20"],
    );
    expect(
        &["doctor", "--repair"],
        &url,
        0,
        &["events_id_seq from", "to 20"],
    );
    expect(&["emit", "tasks", "t"], &url, 0, &["inserted event 21"]);
}
