//! What administrators order and clients tell: the leader brings it from the table to the servers that read the stream, and
//! what was given there to the table.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt as _, select};
use tokio::time::{Instant, sleep, timeout};

use super::health::Health;
use crate::error::Error;
use crate::source::redis::RedisCommands;
use crate::source::{Commands, DatabaseConfig, StreamConfig, open_commands};
use crate::tail::{LOOK_TIMEOUT, within};

/// How often all is written anew, though there is nothing new: Redis may have lost it, and lets it expire.
const REWRITE_INTERVAL: Duration = Duration::from_secs(10);

/// Between two looks, though there are wake-ups.
const PAUSE: Duration = Duration::from_millis(5);

/// Of an outage of the database or of Redis the feed tells. For so long it is not told here too.
const SAY_AFTER: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(1);

/// How often those that have expired are deleted.
const FORGET_INTERVAL: Duration = Duration::from_mins(10);

/// The orders of a table, and those of a stream.
pub(super) struct Orders {
    table: Arc<dyn Commands>,
    stream: RedisCommands,
    interval: Duration,
}

impl Orders {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When one of the two can be none of ours.
    pub fn new(
        database: &DatabaseConfig,
        stream: &StreamConfig,
        interval: Duration,
    ) -> Result<Self, Error> {
        Ok(Self {
            table: open_commands(None, Some(database))?,
            stream: RedisCommands::new(stream, None)?,
            interval,
        })
    }

    /// Brings orders to both sides for ever: once an interval, and whenever it is woken.
    pub async fn mirror(&self, wakes: BoxStream<'static, ()>) {
        let mut wakes = select(wakes, self.stream.wakes());
        let mut health = Health::new("orders are brought to the servers that read Redis again");
        let mut mark: Option<(String, Instant)> = None;
        let mut failing: Option<Instant> = None;
        let mut forget = Instant::now() + FORGET_INTERVAL;
        loop {
            match self.bring(&mut mark).await {
                Ok(()) => {
                    failing = None;
                    health.good();
                }
                Err(error) => {
                    let since = *failing.get_or_insert_with(Instant::now);
                    if since.elapsed() > SAY_AFTER {
                        sleep(health.failed(&error)).await;
                    } else {
                        tracing::debug!("failed to {error}");
                        sleep(RETRY).await;
                    }
                }
            }
            if Instant::now() >= forget {
                forget = Instant::now() + FORGET_INTERVAL;
                if let Err(error) = self.table.forget().await {
                    tracing::debug!("failed to {error}");
                }
            }
            // Ends only where nothing wakes.
            let _ = timeout(self.interval, wakes.next()).await;
            sleep(PAUSE).await;
        }
    }

    async fn bring(&self, last: &mut Option<(String, Instant)>) -> Result<(), Error> {
        let doing = "look for commands";
        let table = within(doing, LOOK_TIMEOUT, self.table.mark()).await?;
        let told = within(doing, LOOK_TIMEOUT, self.stream.told()).await?;
        let mark = format!("{table} {told}");
        let is_known =
            |(known, at): &(String, Instant)| *known == mark && at.elapsed() < REWRITE_INTERVAL;
        if last.as_ref().is_some_and(is_known) {
            return Ok(());
        }
        self.stream.mirror(self.table.as_ref()).await?;
        // The marks were taken first: what has come since shows in the next.
        *last = Some((mark, Instant::now()));
        Ok(())
    }
}
