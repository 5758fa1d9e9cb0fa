//! A standby takes over. It may lack the last of the primary's log; then it gives transaction ids out again that the
//! primary had used, and rows that were delivered are gone.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::time::{sleep, timeout};

use super::scene::{Scene, keys};
use super::support::forwarder::Forwarder;
use super::support::{DEADLINE, Postgres, until};
use super::writer::{connect, insert, next_xid, run, texts, use_up};

/// A primary and its standby, and an address that means the one that is in charge.
struct Pair {
    primary: Postgres,
    standby: Postgres,
    forwarder: Forwarder,
    name: String,
    /// Of the address.
    url: String,
    scene: Scene,
}

impl Pair {
    async fn start() -> Self {
        // The standby may be in need of the log some time after it was written.
        let primary = Postgres::start_with("wal_keep_size = '64MB'");
        let direct = primary.create_database().await;
        let name = direct.rsplit('/').next().expect("a path").to_owned();
        let forwarder = Forwarder::start(primary.port()).await;
        let url = forwarder.url(&direct, primary.port());
        let scene = Scene::start(&url).await;
        let standby = primary.standby();
        Self {
            primary,
            standby,
            forwarder,
            name,
            url,
            scene,
        }
    }

    /// Waits until the standby has all that the primary has written.
    async fn in_step(&self) {
        let mut primary = connect(&self.primary.url(&self.name)).await;
        let written = texts(&mut primary, "SELECT pg_current_wal_insert_lsn()::text").await;
        let mut standby = connect(&self.standby.url(&self.name)).await;
        until("a standby in step", async || {
            let sql = format!(
                "SELECT (pg_last_wal_replay_lsn() >= '{}')::text",
                written[0]
            );
            (texts(&mut standby, &sql).await == ["true"]).then_some(())
        })
        .await;
    }

    /// The primary is gone for good, and the standby, as it is, takes its place.
    async fn fail_over(&self) {
        self.primary.kill_9();
        // If it was stopped, it starts without a primary to stream from.
        self.standby.restart();
        self.standby.promote().await;
    }

    fn switch(&self) {
        self.forwarder.switch_to(self.standby.port());
    }
}

/// Waits until a row at the present end is with everybody: so is all that was written before it.
async fn settle(scene: &Scene, url: &str, key: &str, all: &mut Vec<String>) {
    let key = vec![key.to_owned()];
    insert(&mut connect(url).await, &key).await;
    scene.wait(&key[0]).await;
    all.extend(key);
}

/// The address may mean the standby before that is a primary: then the feed waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_in_step_takes_over() {
    for switched_first in [false, true] {
        let pair = Pair::start().await;
        let mut all = keys("before", 20);
        insert(&mut connect(&pair.url).await, &all).await;
        settle(&pair.scene, &pair.url, "settled", &mut all).await;
        pair.in_step().await;
        if switched_first {
            pair.primary.kill_9();
            pair.switch();
            sleep(Duration::from_secs(1)).await;
            pair.standby.promote().await;
        } else {
            pair.fail_over().await;
            pair.switch();
        }
        let after = keys("after", 20);
        insert(&mut connect(&pair.url).await, &after).await;
        all.extend(after);
        pair.scene.heard_exactly(&all, 0).await;
    }
}

/// The rows that are lost were delivered, so there are more transaction ids behind the feed than the new primary has.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_without_the_last_of_the_log_takes_over() {
    for checkpoint in [false, true] {
        let pair = Pair::start().await;
        let mut all = keys("before", 20);
        insert(&mut connect(&pair.url).await, &all).await;
        settle(&pair.scene, &pair.url, "settled", &mut all).await;
        pair.in_step().await;
        pair.standby.stop();
        // Delivered, and lost.
        let lost = keys("lost", 30);
        let mut writer = connect(&pair.url).await;
        insert(&mut writer, &lost).await;
        pair.scene.wait("lost-29").await;
        let used = next_xid(&mut writer).await;
        all.extend(lost);
        pair.fail_over().await;
        // These have ids of transactions that the feed knows as ended.
        let survivors = keys("survivor", 10);
        let mut writer = connect(&pair.standby.url(&pair.name)).await;
        insert(&mut writer, &survivors).await;
        assert!(next_xid(&mut writer).await < used, "ids are used again");
        if checkpoint {
            // It hides what was there at the promotion.
            run(&mut writer, "CHECKPOINT").await;
        }
        all.extend(survivors);
        pair.switch();
        settle(&pair.scene, &pair.url, "later", &mut all).await;
        pair.scene.heard_exactly(&all, 0).await;
    }
}

/// By the time that anybody looks, the new primary has passed the place of the feed, has been restarted, which leaves a
/// checkpoint that knows of it, and a second standby may have taken over from the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_noticed_late() {
    for twice in [false, true] {
        let pair = Pair::start().await;
        let mut all = keys("before", 5);
        insert(&mut connect(&pair.url).await, &all).await;
        settle(&pair.scene, &pair.url, "settled", &mut all).await;
        pair.in_step().await;
        pair.standby.stop();
        let lost = keys("lost", 30);
        let mut writer = connect(&pair.url).await;
        insert(&mut writer, &lost).await;
        pair.scene.wait("lost-29").await;
        let used = next_xid(&mut writer).await;
        all.extend(lost);
        pair.fail_over().await;
        let survivors = keys("survivor", 20);
        let mut writer = connect(&pair.standby.url(&pair.name)).await;
        insert(&mut writer, &survivors).await;
        all.extend(survivors);
        use_up(&mut writer, 50).await;
        assert!(next_xid(&mut writer).await > used);
        drop(writer);
        pair.standby.restart();
        let second = twice.then(|| pair.standby.standby());
        if let Some(second) = &second {
            pair.standby.stop();
            second.promote().await;
            pair.forwarder.switch_to(second.port());
        } else {
            pair.switch();
        }
        settle(&pair.scene, &pair.url, "later", &mut all).await;
        pair.scene.heard_exactly(&all, 0).await;
    }
}

/// The primary dies under writers, with whatever the standby has got of the log by then; twice in a row. A transaction
/// that was prepared outlives both.
#[tokio::test(flavor = "multi_thread")]
async fn standbys_take_over_under_writers() {
    let Pair {
        primary,
        mut standby,
        forwarder,
        name,
        url,
        scene,
    } = Pair::start().await;
    let stop = Arc::<AtomicBool>::default();
    let writers: Vec<_> = (0..4)
        .map(|writer| tokio::spawn(write(url.clone(), writer, Arc::clone(&stop))))
        .collect();
    let mut prepared = connect(&primary.url(&name)).await;
    let prepare = "SET rowcast.wake = off; BEGIN;
        INSERT INTO events (channel, type, payload) VALUES ('fences', 't', '{\"key\": \"prepared\"}');
        PREPARE TRANSACTION 'kept'";
    run(&mut prepared, prepare).await;
    let mut primary = primary;
    for _ in 0..2 {
        sleep(Duration::from_millis(900)).await;
        // It is behind when the end comes.
        standby.stop();
        sleep(Duration::from_millis(300)).await;
        primary.kill_9();
        standby.restart();
        standby.promote().await;
        sleep(Duration::from_millis(fastrand::u64(..1500))).await;
        forwarder.switch_to(standby.port());
        sleep(Duration::from_millis(500)).await;
        let next = standby.standby();
        primary = std::mem::replace(&mut standby, next);
    }
    let mut writer = connect(&primary.url(&name)).await;
    run(&mut writer, "COMMIT PREPARED 'kept'").await;
    sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let mut committed = HashSet::new();
    for writer in writers {
        committed.extend(writer.await.expect("writers do not panic"));
    }
    let kept: HashSet<_> = texts(&mut writer, "SELECT payload->>'key' FROM events")
        .await
        .into_iter()
        .collect();
    let lost = committed.difference(&kept).count();
    // What was delivered and lost was written, though its writer may not have been told so.
    let delivered_and_lost = scene.heard_once(&kept, |key| key.contains('-')).await;
    eprintln!(
        "two failovers under writers: {} rows kept, each once to everybody; {lost} commits lost with a primary, {delivered_and_lost} of \
         what was lost was delivered before",
        kept.len()
    );
    assert!(
        kept.contains("prepared") && kept.len() > 200,
        "{}",
        kept.len()
    );
}

/// Writes until it is told to stop, whatever happens to its connection, and gives what was committed for sure.
async fn write(url: String, writer: usize, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut committed = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let connected = timeout(Duration::from_secs(2), PgConnection::connect(&url)).await;
        let Ok(Ok(mut connection)) = connected else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let key = format!("{writer}-{number}");
            let insert = format!(
                "INSERT INTO events (channel, type, payload) VALUES ('fences', 't', '{{\"key\": \"{key}\"}}')"
            );
            if connection.execute(AssertSqlSafe(insert)).await.is_err() {
                break;
            }
            committed.push(key);
            sleep(Duration::from_micros(fastrand::u64(..4000))).await;
        }
    }
    committed
}

/// The standby was away since before the feed was there: nothing tells what it has. Clients are told so, once, and all
/// that comes after is delivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_never_heard_of_the_feed_takes_over() {
    let primary = Postgres::start_with("wal_keep_size = '64MB'");
    let direct = primary.create_database().await;
    let name = direct.rsplit('/').next().expect("a path").to_owned();
    let config = rowcast::DatabaseConfig::new(&direct).expect("a URL");
    // The tables alone: nobody has read yet.
    let mut writer = connect(&direct).await;
    drop(
        rowcast::source::open_insert(&config, rowcast::Migrate::Auto)
            .await
            .expect("the tables are made"),
    );
    let standby = primary.standby();
    standby.stop();
    let forwarder = Forwarder::start(primary.port()).await;
    let url = forwarder.url(&direct, primary.port());
    let scene = Scene::start(&url).await;
    let mut all = keys("lost", 10);
    insert(&mut writer, &all).await;
    scene.wait("lost-9").await;
    primary.kill_9();
    standby.restart();
    standby.promote().await;
    forwarder.switch_to(standby.port());
    let _ = tokio::time::timeout(DEADLINE, async {
        while scene.broadcaster.stats().resets == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    scene.server.wait_logged("told to refetch", 1).await;
    let later = keys("later", 10);
    insert(&mut connect(&standby.url(&name)).await, &later).await;
    all.extend(later);
    scene.heard_exactly(&all, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_listener_hears_nothing_twice_after_a_failover() {
    use futures_util::StreamExt as _;
    let pair = Pair::start().await;
    let mut slow = Box::pin(pair.scene.broadcaster.listen());
    let mut writer = connect(&pair.url).await;
    sleep(Duration::from_millis(1500)).await;
    // Leaves a mark.
    insert(&mut writer, keys("a", 1)).await;
    pair.scene.wait("a-0").await;
    sleep(Duration::from_millis(60)).await;
    // Kept, after the mark.
    insert(&mut writer, keys("b", 3)).await;
    pair.in_step().await;
    pair.standby.stop();
    insert(&mut writer, keys("lost", 5)).await;
    let mut had = Vec::new();
    for _ in 0..9 {
        let event = slow.next().await.expect("it goes on");
        had.push(event.payload.get().to_owned());
    }
    // Its queue of 64 overflows.
    for n in 0..120 {
        insert(&mut writer, keys(&format!("over-{n}"), 1)).await;
        sleep(Duration::from_millis(30)).await;
    }
    pair.scene.wait("over-119-0").await;
    pair.fail_over().await;
    let mut writer = connect(&pair.standby.url(&pair.name)).await;
    insert(&mut writer, keys("survivor", 10)).await;
    pair.switch();
    settle(&pair.scene, &pair.url, "later", &mut Vec::new()).await;
    while !had.last().expect("some").contains("later") {
        let event = slow.next().await.expect("it goes on");
        had.push(event.payload.get().to_owned());
    }
    let once: HashSet<_> = had.iter().collect();
    assert_eq!(once.len(), had.len(), "{had:?}");
}
