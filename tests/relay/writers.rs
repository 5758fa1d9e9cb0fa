//! Those who insert events: several at a time, in transactions that overlap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::support::{Connection, until};

/// Connections.
const WRITERS: u32 = 8;

/// Events a second, all together.
const RATE: u32 = 500;

/// Events of a transaction on average.
const EVENTS: u32 = 2;

/// Writers at work.
pub struct Writers {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Writers {
    /// Writes until it is stopped. A database that is away is waited for.
    pub fn start(database_url: &str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let written = Arc::<AtomicU64>::default();
        let mut tasks = JoinSet::new();
        for _ in 0..WRITERS {
            let (stop, written, url) = (
                Arc::clone(&stop),
                Arc::clone(&written),
                database_url.to_owned(),
            );
            tasks.spawn(async move { write(&url, &stop, &written).await });
        }
        Self {
            stop,
            written,
            tasks,
        }
    }

    /// Waits until so many more are written.
    pub async fn write(&self, more: u64) {
        let target = self.written.load(Ordering::Relaxed) + more;
        until("events to be written", async || {
            (self.written.load(Ordering::Relaxed) >= target).then_some(())
        })
        .await;
    }

    /// Lets them end what they have begun.
    pub async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("writers do not panic");
        }
    }
}

async fn write(url: &str, stop: &AtomicBool, written: &AtomicU64) {
    let mut connection = Connection::open(url).await;
    let mut ticks = interval(Duration::from_secs((WRITERS * EVENTS).into()) / RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let events = fastrand::u32(1..EVENTS * 2);
        // Ids are given out in one order, and commits come in another.
        let hold = fastrand::u32(0..20);
        let sql = format!(
            "BEGIN; INSERT INTO events (channel, type) SELECT 'tasks', 'task.created' FROM generate_series(1, {events}); \
             SELECT pg_sleep({hold} / 1000.0); COMMIT"
        );
        match connection.try_run(&sql).await {
            Ok(()) => {
                written.fetch_add(events.into(), Ordering::Relaxed);
            }
            Err(_away) => {
                connection = loop {
                    match Connection::try_open(url).await {
                        Ok(connection) => break connection,
                        Err(_away) => sleep(Duration::from_millis(50)).await,
                    }
                };
            }
        }
    }
}
