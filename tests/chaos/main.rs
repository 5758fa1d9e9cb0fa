//! Everything that can happen between a row and its clients, drawn from one seed: connections cut, stalled, slowed down
//! and turned to crumbs, peers that vanish, servers and databases killed. `rowcast verify` tells what came of it; raw
//! clients, which know no more than docs/PROTOCOL.md, tell too.
//!
//! `ROWCAST_SEED=…` has the same happen again, `ROWCAST_CHAOS_SECONDS=600` has it happen for longer.
#![cfg(all(feature = "postgres", feature = "sqlite"))]

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod raw;
mod scene;
mod sse;
mod verify;
mod writer;

use std::env;
use std::time::Duration;

use fastrand::Rng;
use faults::Wherever;
use raw::{Habits, Raw};
use scene::Scene;
use support::proxy::{Proxy, Weather};
use verify::Verify;
use writer::Writer;

/// How long things happen, both databases together.
const SECONDS: u64 = 60;

/// Channels that are written to beside that of `rowcast verify`.
const CHANNELS: usize = 400;

/// The chance of a test, and how to have it again.
fn chance(test: &str) -> Rng {
    let seed = env::var("ROWCAST_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("ROWCAST_SEED is a number"),
    );
    eprintln!("{test}: ROWCAST_SEED={seed}");
    Rng::with_seed(seed)
}

fn length() -> Duration {
    let seconds = env::var("ROWCAST_CHAOS_SECONDS").map_or(SECONDS, |seconds| {
        seconds.parse().expect("ROWCAST_CHAOS_SECONDS is a number")
    });
    Duration::from_secs(seconds) / 2
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_in_every_weather() {
    let mut random = chance("sqlite_in_every_weather");
    endure(Scene::sqlite(&[]).await, &mut random).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_in_every_weather() {
    let mut random = chance("postgres_in_every_weather");
    endure(Scene::postgres(&[]).await, &mut random).await;
}

/// Has everything happen for a while, and checks that nobody misses a thing.
async fn endure(mut scene: Scene, random: &mut Rng) {
    let many: Vec<_> = (0..CHANNELS / 2)
        .map(|n| format!("chaos:{n}"))
        .chain(["rowcast.verify".to_owned()])
        .collect();
    let raw = [
        Raw::start(scene.clients.address, Habits::new(many)),
        Raw::start(scene.clients.address, Habits::new(vec!["*".to_owned()])),
        Raw::start(scene.clients.address, Habits::events()),
    ];
    for raw in &raw {
        raw.subscribed().await;
    }
    let writer = Writer::start(&scene.database_url, CHANNELS, 0..2000).await;
    let verify = Verify::start(&scene, length(), &["--clients", "3", "--keep"]);
    scene.until_verified().await;
    scene.rage(random, length(), Wherever::Everywhere).await;
    scene.calm().await;
    let report = verify.end().await;
    writer.stop().await;
    let rows = scene.rows().await;
    for raw in raw {
        raw.check(&rows).await;
    }
    assert!(report.reconnects > 0, "it was not calm: {report:?}");
    report.check();
}

/// Frames that come byte by byte, and late, are frames, and no reason to give anybody up.
#[tokio::test(flavor = "multi_thread")]
async fn crumbs() {
    for scene in [Scene::sqlite(&[]).await, Scene::postgres(&[]).await] {
        let crumbs = Weather {
            chunk: 1,
            delay: Duration::from_millis(40),
            ..Weather::CALM
        };
        scene.clients.set(crumbs);
        scene.set_database_weather(crumbs);
        let raw = Raw::start(scene.clients.address, Habits::new(vec!["*".to_owned()]));
        raw.subscribed().await;
        let verify = Verify::start(&scene, Duration::from_secs(3), &["--keep"]);
        let report = verify.end().await;
        raw.check(&scene.rows().await).await;
        report.check();
        assert_eq!(report.reconnects, 0, "{report:?}");
    }
}

/// Connected clients wait for what is late, and know nothing of why it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_behind_a_bad_line() {
    let mut random = chance("a_database_behind_a_bad_line");
    let mut scene = Scene::postgres(&[]).await;
    let raw = Raw::start(scene.clients.address, Habits::new(vec!["*".to_owned()]));
    raw.subscribed().await;
    let length = length() / 2;
    let verify = Verify::start(&scene, length, &["--keep"]);
    scene.until_verified().await;
    scene
        .rage(&mut random, length, Wherever::AtTheDatabase)
        .await;
    scene.calm().await;
    let report = verify.end().await;
    raw.check(&scene.rows().await).await;
    report.check();
    assert_eq!(report.reconnects, 0, "{report:?}");
}

/// All clients come back at once when a server was killed, and again when it has barely begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_reconnects() {
    let mut random = chance("a_storm_of_reconnects");
    let mut scene = Scene::sqlite(&[]).await;
    let verify = Verify::start(&scene, Duration::from_secs(10), &["--clients", "300"]);
    scene.until_verified().await;
    for _ in 0..3 {
        scene.kill_server();
        faults::wait(&mut random, 0..500).await;
        scene.start_server().await;
        faults::wait(&mut random, 500..3000).await;
    }
    let report = verify.end().await;
    assert!(report.reconnects >= 300, "{report:?}");
    report.check();
}

/// They read less than there is, for a while not at all, and over a thin line. They get everything, late; others do
/// not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_slowly() {
    let mut random = chance("clients_that_read_slowly");
    let scene = Scene::sqlite(&["--max-outbox-bytes", "65536"]).await;
    let all = || Habits::new(vec!["*".to_owned()]);
    let slow = [
        all().reading_every(Duration::from_millis(15)),
        all().pausing(Duration::from_secs(4)),
    ];
    let slow = slow.map(|habits| Raw::start(scene.clients.address, habits));
    let thin = Proxy::start(scene.server_address()).await;
    thin.set(Weather {
        bytes_per_second: 800_000,
        ..Weather::CALM
    });
    let thin_client = Raw::start(thin.address, all());
    for raw in slow.iter().chain([&thin_client]) {
        raw.subscribed().await;
    }
    // More than 1 MB a second for each client.
    let writer = Writer::start(&scene.database_url, CHANNELS, 10_000..40_000).await;
    let verify = Verify::start(&scene, Duration::from_secs(8), &["--keep"]);
    scene.until_verified().await;
    faults::wait(&mut random, 5000..6000).await;
    let report = verify.end().await;
    writer.stop().await;
    let rows = scene.rows().await;
    for raw in slow.into_iter().chain([thin_client]) {
        raw.check(&rows).await;
    }
    report.check();
    let stats = scene.stats().await;
    assert!(stats["slowConnections"].as_u64() > Some(0), "{stats}");
    assert_eq!(report.reconnects, 0, "{report:?}");
    assert!(
        report.late_ms.p90 < 2000.0,
        "nobody waits for them: {report:?}"
    );
}
