//! What may become of a leader, while events are written.

use super::scene::Scene;
use super::support::redis::Redis;
use super::writers::Writers;

const LEADS: &str = "this relay leads";

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_are_killed() {
    let scene = Scene::new(Redis::forgetful()).await;
    let [mut leader, mut other] = scene.relays().await;
    let writers = Writers::start(&scene.database.url);
    for _ in 0..3 {
        writers.write(400).await;
        leader.kill_9();
        let killed = tokio::time::Instant::now();
        let led = other.says(LEADS, 1).await;
        eprintln!("taken over {:?} after SIGKILL", led.duration_since(killed));
        writers.write(200).await;
        leader = std::mem::replace(&mut other, scene.relay());
    }
    writers.stop().await;
    let entries = scene.check().await;
    let mut joints = entries.iter().skip(1).map(|entry| &entry.joint);
    assert!(
        joints.all(String::is_empty),
        "nobody has to refetch anything"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_asked_to_stop() {
    let scene = Scene::new(Redis::forgetful()).await;
    let [mut leader, other] = scene.relays().await;
    let writers = Writers::start(&scene.database.url);
    writers.write(300).await;
    let asked = tokio::time::Instant::now();
    assert!(leader.terminate().success(), "{}", leader.text());
    let led = other.says(LEADS, 1).await;
    eprintln!("taken over {:?} after SIGTERM", led.duration_since(asked));
    writers.write(300).await;
    writers.stop().await;
    scene.check().await;
}

/// It holds the lock until Postgres ends its session, and goes on writing as soon as it can, not knowing that.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stood_still() {
    let scene = Scene::new(Redis::forgetful()).await;
    let [leader, other] = scene.relays().await;
    let writers = Writers::start(&scene.database.url);
    writers.write(300).await;
    leader.freeze();
    let frozen = tokio::time::Instant::now();
    let led = other.says(LEADS, 1).await;
    eprintln!("taken over {:?} after SIGSTOP", led.duration_since(frozen));
    writers.write(300).await;
    leader.thaw();
    leader.says("no longer leads", 1).await;
    writers.write(300).await;
    writers.stop().await;
    scene.check().await;
    assert_eq!(other.said(LEADS), 1, "it kept the lead: {}", other.text());
}

/// Two that lead at the same time, as nothing keeps them from it: each has a lock of its own.
#[tokio::test(flavor = "multi_thread")]
async fn two_leaders() {
    let scene = Scene::new(Redis::forgetful()).await;
    // It has its lock on another table of the same name.
    let mut connection = scene.connect().await;
    connection
        .run("CREATE SCHEMA aside; CREATE VIEW aside.events AS SELECT * FROM public.events")
        .await;
    let url = format!("{}?options[search_path]=aside,public", scene.database.url);
    let first = scene.relay();
    first.says(LEADS, 1).await;
    let second =
        super::support::relay::Relay::start(&url, &scene.redis.url(), &["--migrate", "off"]);
    second.says(LEADS, 1).await;
    let writers = Writers::start(&scene.database.url);
    writers.write(2000).await;
    writers.stop().await;
    scene.check().await;
}

/// Each would have the readers of the other refetch, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn two_databases_and_one_stream() {
    let scene = Scene::new(Redis::forgetful()).await;
    let other = super::support::Database::postgres().await;
    other.open().await;
    let mut writer = scene.connect().await;
    writer.insert(1).await;
    let first = scene.relay();
    first.says(LEADS, 1).await;
    scene.caught_up().await;
    let second = super::support::relay::Relay::start(&other.url, &scene.redis.url(), &[]);
    second.says(LEADS, 1).await;
    let said = "give each database a stream of its own with --stream";
    tokio::select! {
        _ = first.says(said, 1) => {}
        _ = second.says(said, 1) => {}
    }
    let entries = scene.entries();
    let resets = entries
        .iter()
        .filter(|entry| entry.joint == "reset")
        .count();
    assert!((1..=3).contains(&resets), "{entries:?}");
}

/// A server that relays beside serving leads as any other relay does, and is stood by for as any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_relays() {
    let scene = Scene::new(Redis::forgetful()).await;
    let url = scene.redis.url();
    let mut server =
        super::support::process::Process::start(&scene.database.url, &["--relay", &url]);
    let other = scene.relay();
    other.says("another relay leads", 1).await;
    let writers = Writers::start(&scene.database.url);
    writers.write(300).await;
    server.kill();
    other.says(LEADS, 1).await;
    writers.write(200).await;
    writers.stop().await;
    scene.check().await;
}
