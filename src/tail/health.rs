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
    failures: u32,
}

impl Health {
    pub(super) fn new(stats: Arc<Counters>) -> Self {
        Self {
            stats,
            failing_since: None,
            failures: 0,
        }
    }

    /// A whole round went well. Half of one proves nothing: a table may be gone while the database answers.
    pub(super) fn round_completed(&mut self) {
        if let Some(since) = self.failing_since.take() {
            let away = since.elapsed();
            tracing::info!(
                attempts = self.failures,
                ?away,
                "the database is back; the feed goes on where it was"
            );
            self.failures = 0;
        }
    }

    /// Passes on what was read. After an error it waits, and the caller starts over.
    pub(super) async fn check<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.stats.poll_errors.add(1);
                if self.failing_since.is_none() {
                    tracing::error!(
                        "failed to {error}; trying again until it works, nothing is lost meanwhile"
                    );
                    self.failing_since = Some(Instant::now());
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
