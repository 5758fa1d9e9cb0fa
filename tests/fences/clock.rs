//! Clocks that jump. The order of events is that of their commits, whatever their time says; the one time that decides
//! something, the end of the lease on wake-ups, may come from a clock that has been set back since.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use rowcast::{Broadcaster, DatabaseConfig, Migrate, PollInterval};

use super::expect;
use super::scene::{Scene, keys};
use super::support::{Postgres, within};
use super::writer::{connect, insert, number, run};

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_any_time_arrive_once_and_in_the_order_of_their_commits() {
    let server = Postgres::start();
    let url = server.create_database().await;
    let scene = Scene::start(&url).await;
    let mut writer = connect(&url).await;
    let mut all = Vec::new();
    for (n, time) in [
        "'2150-01-01'",
        "'1970-01-01'",
        "clock_timestamp() - interval '1 hour'",
        "'0001-01-01'",
        "clock_timestamp() + interval '1 hour'",
        "'9999-12-31'",
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("jump-{n}");
        run(
            &mut writer,
            &format!(
                "INSERT INTO events (channel, type, payload, created_at) VALUES ('fences', 't', '{{\"key\": \"{key}\"}}', {time})"
            ),
        )
        .await;
        scene.wait(&key).await;
        all.push(key);
    }
    // What was sent lately is known by its time, too.
    server.restart();
    let mut writer = connect(&url).await;
    let after = keys("after", 10);
    insert(&mut writer, &after).await;
    all.extend(after);
    scene.heard_exactly(&all, 0).await;
    expect(
        &["doctor"],
        &url,
        0,
        &["hint", "3 rows of the last 1,000 created in the future"],
    );
}

/// A lease that ends an hour from now keeps writers from waking anybody. A feed that has found an event sets it right.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_a_clock_that_was_set_back_is_given_up() {
    let server = Postgres::start();
    let url = server.create_database().await;
    let config = DatabaseConfig::new(&url).expect("a URL");
    let source = rowcast::source::open(&config, Migrate::Auto)
        .await
        .unwrap_or_else(|error| panic!("failed to {error}"));
    let mut writer = connect(&url).await;
    let ahead = "SELECT setval('rowcast_lease', (extract(epoch FROM clock_timestamp()) * 1000)::bigint + 3600000)";
    run(&mut writer, ahead).await;
    let interval = PollInterval {
        max: Duration::from_secs(4),
        ..PollInterval::default()
    };
    let broadcaster = Broadcaster::start(source, interval)
        .await
        .unwrap_or_else(|error| panic!("failed to {error}"));
    let mut events = Box::pin(broadcaster.listen());
    // Found by a look.
    insert(&mut writer, &keys("looked-for", 1)).await;
    within("the first event", events.next()).await;
    // Asleep again: looks are seconds apart, and the lease has run out.
    let left = "SELECT last_value - (extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM rowcast_lease";
    super::support::until("the end of the lease", async || {
        (number(&mut writer, left).await < -3000).then_some(())
    })
    .await;
    let start = Instant::now();
    insert(&mut writer, &keys("woken-for", 1)).await;
    within("the second event", events.next()).await;
    eprintln!(
        "a wake-up after a clock was set back: {:?}",
        start.elapsed()
    );
}
