//! Whether the database answers, and how long to wait when it does not.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::Error;
use crate::stats::Counters;

/// First and longest wait after an error; between them it doubles, with full jitter.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Whether the database answers. Says so once when it stops and once when it is back, and waits in between.
pub(super) struct Health {
    stats: Arc<Counters>,
    failing_since: Option<Instant>,
    /// What somebody has to do something about, as it was logged last.
    told: Option<String>,
    failures: u32,
}

impl Health {
    pub(super) fn new(stats: Arc<Counters>) -> Self {
        Self {
            stats,
            failing_since: None,
            told: None,
            failures: 0,
        }
    }

    /// A whole round went well. Half of one proves nothing: a table may be gone while the database answers.
    pub(super) fn round_completed(&mut self) {
        self.stats.looked.beat();
        if let Some(since) = self.failing_since.take() {
            let away = since.elapsed();
            tracing::info!(
                attempts = self.failures,
                ?away,
                "the database is back; the feed goes on where it was"
            );
            self.failures = 0;
            self.told = None;
        }
    }

    /// Passes on what was read. After an error it waits, and the caller starts over.
    pub(super) async fn check<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.stats.poll_errors.add(1);
                // The reason may change: a lost connection, and then a standby in the place of the primary.
                let asks = matches!(error, Error::Unusable(_)).then(|| error.to_string());
                let is_news = asks.is_some() && asks != self.told;
                if self.failing_since.is_none() || is_news {
                    tracing::error!(
                        "failed to {error}; trying again until it works, nothing is lost meanwhile"
                    );
                    self.failing_since.get_or_insert_with(Instant::now);
                    self.told = asks;
                } else {
                    tracing::debug!("failed to {error}");
                }
                let longest = RETRY_FIRST
                    .saturating_mul(1 << self.failures.min(16))
                    .min(RETRY_MAX);
                self.failures += 1;
                sleep(longest.mul_f64(fastrand::f64())).await;
                None
            }
        }
    }
}
