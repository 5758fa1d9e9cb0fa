//! Backends that write 500 events a second: most in commits of one, some in commits of ten, some in transactions that stay open for a
//! while. Each has channels of its own, so that the order of a channel is that of its commits.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::support::Connection;

/// Events of a transaction, how often there is one, and for how long it stays open. Each writes 100 a second.
const HABITS: [(usize, Duration, Duration); 5] = [
    (1, Duration::from_millis(10), Duration::ZERO),
    (1, Duration::from_millis(10), Duration::ZERO),
    (1, Duration::from_millis(10), Duration::ZERO),
    (10, Duration::from_millis(100), Duration::ZERO),
    (60, Duration::from_millis(600), Duration::from_millis(500)),
];

pub struct Writers {
    stop: Arc<AtomicBool>,
    writing: Vec<JoinHandle<BTreeMap<String, u64>>>,
}

pub fn channel(number: usize) -> String {
    format!("fleet:{number}")
}

impl Writers {
    pub async fn start(database_url: &str, channels: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let mut writing = Vec::new();
        for (writer, habit) in HABITS.into_iter().enumerate() {
            let own = (writer..channels).step_by(HABITS.len()).map(channel);
            let database = Connection::open(database_url).await;
            let stop = Arc::clone(&stop);
            writing.push(tokio::spawn(write(database, own.collect(), habit, stop)));
        }
        Self { stop, writing }
    }

    /// Gives how many events each channel has had.
    pub async fn stop(self) -> BTreeMap<String, u64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut counts = BTreeMap::new();
        for writing in self.writing {
            counts.extend(writing.await.expect("a writer does not panic"));
        }
        counts
    }
}

async fn write(
    mut database: Connection,
    channels: Vec<String>,
    (events, pause, open): (usize, Duration, Duration),
    stop: Arc<AtomicBool>,
) -> BTreeMap<String, u64> {
    let mut counts: Vec<u64> = vec![0; channels.len()];
    let mut turn = 0;
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let mut insert = "INSERT INTO events (channel, type, payload) VALUES ".to_owned();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let at = now.expect("after 1970").as_millis();
        for event in 0..events {
            let index = turn % channels.len();
            turn += 1;
            counts[index] += 1;
            let comma = if event > 0 { ", " } else { "" };
            let (channel, n) = (&channels[index], counts[index]);
            let pad = "x".repeat(200);
            let _ = write!(
                insert,
                r#"{comma}('{channel}', 'fleet.event', '{{"n": {n}, "at": {at}, "pad": "{pad}"}}')"#
            );
        }
        if open.is_zero() {
            database.run(&insert).await;
        } else {
            database.run(&format!("BEGIN; {insert}")).await;
            sleep(open).await;
            database.run("COMMIT").await;
        }
    }
    channels.into_iter().zip(counts).collect()
}
