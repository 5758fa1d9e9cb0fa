//! A relay that is asked to stop lets another lead: it appends what it has, gives up its lock, and tells those who stand by.

use std::time::Duration;

use super::support::Database;
use super::support::postgres::signal;
use super::support::process::Process;
use super::support::redis::Redis;
use super::{client, edge, hear_events, insert, numbers};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_relays_and_is_asked_to_stop() {
    let database = Database::postgres().await;
    let redis = Redis::forgetful();
    let url = redis.url();
    let flags = ["--relay", url.as_str(), "--log-format", "json"];
    let mut leader = Process::start(&database.url, &flags);
    let reader = edge(&redis, None, &[]);
    let other = Process::start(&database.url, &flags);
    other
        .wait_logged("another relay leads; this one stands by", 1)
        .await;
    let mut listener = client(&reader, None).await;
    listener.hear_a("subscribed").await;
    let mut backend = database.connect().await;
    insert(&mut backend, 1..=3).await;
    assert_eq!(numbers(&hear_events(&mut listener, 3).await), [1, 2, 3]);

    let heard = redis.hear("{rowcast}:lead");
    signal("TERM", &[leader.id()]);
    heard
        .recv_timeout(Duration::from_secs(20))
        .expect("it says that it goes");
    // Before it says so: nobody has to wait for the end of its session.
    let locks = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' \
                 AND a.application_name = 'rowcast relay'";
    other.wait_logged("this relay leads", 1).await;
    assert_eq!(backend.numbers(locks).await, [1]);
    assert!(leader.wait().success());
    insert(&mut backend, 4..=6).await;
    assert_eq!(numbers(&hear_events(&mut listener, 3).await), [4, 5, 6]);
}
