//! The table is emptied, its sequence set back or forward, its last rows deleted: positions are of transactions, so none
//! of it matters to the feed.

use super::scene::{Scene, keys};
use super::support::Postgres;
use super::writer::{connect, insert, number, run};

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_emptied() {
    let server = Postgres::start();
    let url = server.create_database().await;
    let scene = Scene::start(&url).await;
    let mut writer = connect(&url).await;
    let mut all = Vec::new();
    for (round, statement) in [
        "TRUNCATE events",
        "TRUNCATE events RESTART IDENTITY",
        "DELETE FROM events",
        // With rows in the same transaction.
        "BEGIN; TRUNCATE events RESTART IDENTITY;
         INSERT INTO events (channel, type, payload) VALUES ('fences', 't', '{\"key\": \"with-it\"}'); COMMIT",
    ]
    .into_iter()
    .enumerate()
    {
        let some = keys(&format!("round-{round}"), 30);
        insert(&mut writer, &some).await;
        scene.wait(some.last().expect("there are some")).await;
        all.extend(some);
        run(&mut writer, statement).await;
    }
    all.push("with-it".to_owned());
    let last = keys("last", 30);
    insert(&mut writer, &last).await;
    assert!(
        number(&mut writer, "SELECT max(id) FROM events").await < 60,
        "ids were used again"
    );
    all.extend(last);
    scene.heard_exactly(&all, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_jump_forward_and_back() {
    let server = Postgres::start();
    let url = server.create_database().await;
    let scene = Scene::start(&url).await;
    let mut writer = connect(&url).await;
    let mut all = Vec::new();
    for (round, statement) in [
        "ALTER SEQUENCE events_id_seq RESTART WITH 1000000",
        "ALTER SEQUENCE events_id_seq RESTART WITH 500",
        "DELETE FROM events WHERE id >= 1000000",
        "ALTER SEQUENCE events_id_seq RESTART WITH 1000000",
        "ALTER SEQUENCE events_id_seq MINVALUE -1000 RESTART WITH -1000",
    ]
    .into_iter()
    .enumerate()
    {
        let some = keys(&format!("round-{round}"), 20);
        insert(&mut writer, &some).await;
        // Not waited for: the window may have ids of both sides.
        all.extend(some);
        if statement.starts_with("DELETE") {
            scene.wait(all.last().expect("there are some")).await;
        }
        run(&mut writer, statement).await;
    }
    let last = keys("last", 20);
    insert(&mut writer, &last).await;
    all.extend(last);
    scene.heard_exactly(&all, 0).await;
}
