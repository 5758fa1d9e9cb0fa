//! A crash of a server that answers before a commit is on the disk forgets commits, and gives their ids out again.

use super::scene::{Scene, keys};
use super::support::Postgres;
use super::writer::{connect, insert, next_xid, texts};

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_forgets_commits_that_were_delivered() {
    // What no commit flushes stays in memory.
    let server = Postgres::start_with(
        "synchronous_commit = off\nwal_writer_delay = '10s'\nwal_writer_flush_after = '1GB'",
    );
    let url = server.create_database().await;
    let scene = Scene::start(&url).await;
    let mut all = keys("before", 20);
    let mut writer = connect(&url).await;
    insert(&mut writer, &all).await;
    // On the disk.
    sqlx::query("CHECKPOINT")
        .execute(&mut writer)
        .await
        .expect("it is made");
    let delivered = keys("delivered", 40);
    insert(&mut writer, &delivered).await;
    all.extend(delivered);
    scene.wait("delivered-39").await;
    let used = next_xid(&mut writer).await;
    server.kill_9();
    server.restart();
    let mut writer = connect(&url).await;
    let there = "SELECT count(*)::text FROM events WHERE payload->>'key' LIKE 'delivered%'";
    let there = texts(&mut writer, there).await;
    let next = next_xid(&mut writer).await;
    let after = keys("after", 40);
    insert(&mut writer, &after).await;
    all.extend(after);
    assert!(
        next < used,
        "ids are used again ({next} of {used}, {there:?} kept)"
    );
    scene.heard_exactly(&all, 0).await;
}
