//! A backend that writes to many channels, whatever happens to its database.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rowcast::source::open_insert;
use rowcast::{Channels, DatabaseConfig, Migrate, NewEvent};
use serde_json::value::to_raw_value;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Between two transactions.
const PAUSE: Duration = Duration::from_millis(20);

/// A database that does not answer is given up. What was written then is seen in the table.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Writer {
    stop: Arc<AtomicBool>,
    writing: JoinHandle<()>,
}

impl Writer {
    /// Writes to `channels` channels, with so many bytes of payload.
    pub async fn start(database_url: &str, channels: usize, bytes: Range<usize>) -> Self {
        let config = DatabaseConfig::new(database_url).expect("a URL");
        let insert = open_insert(&config, Migrate::Off)
            .await
            .expect("a database");
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let writing = tokio::spawn(async move {
            let channel = || format!("chaos:{}", fastrand::usize(..channels));
            while !stopped.load(Ordering::Relaxed) {
                let events: Vec<_> = (0..fastrand::usize(1..4))
                    .map(|_| {
                        let names = if fastrand::u8(..8) == 0 {
                            format!("{} {}", channel(), channel())
                        } else {
                            channel()
                        };
                        let text = "x".repeat(fastrand::usize(bytes.clone()));
                        NewEvent::new(
                            Channels::parse(&names).expect("names in rule"),
                            "chaos.row",
                            to_raw_value(&text).expect("JSON"),
                        )
                    })
                    .collect();
                let _ = timeout(ANSWER_TIMEOUT, insert.insert(&events)).await;
                sleep(PAUSE).await;
            }
        });
        Self { stop, writing }
    }

    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.await.expect("a writer does not panic");
    }
}
