//! Says once when something stops working and once when it works again, and how long to wait in between.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

/// First and longest wait after an error; between them it doubles, with full jitter. Servers that read the stream wait for
/// it, so the longest is short.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Reasons that are said until it works again.
const REASONS_MAX: usize = 4;

/// Whether something works.
pub(super) struct Health {
    /// What is said when it works again.
    back: &'static str,
    failing_since: Option<Instant>,
    /// The reasons that have been said.
    told: Vec<String>,
    failures: u32,
}

impl Health {
    pub fn new(back: &'static str) -> Self {
        Self {
            back,
            failing_since: None,
            told: Vec::new(),
            failures: 0,
        }
    }

    /// It works.
    pub fn good(&mut self) {
        if let Some(since) = self.failing_since.take() {
            let away = since.elapsed();
            tracing::info!(attempts = self.failures, ?away, "{}", self.back);
            self.failures = 0;
            self.told.clear();
        }
    }

    /// It does not. Gives how long to wait before it is tried again.
    pub fn failed(&mut self, error: &Error) -> Duration {
        // The reason may change: gone, and then there and loading, or another's replica.
        let text = error.to_string();
        // What to do about it tells reasons apart: a connection ends in many ways.
        let reason = text.rsplit("; ").next().unwrap_or(&text).to_owned();
        if !self.told.contains(&reason) && self.told.len() < REASONS_MAX {
            tracing::error!(
                "failed to {text}; trying again until it works, nothing is lost meanwhile"
            );
            self.failing_since.get_or_insert_with(Instant::now);
            self.told.push(reason);
        } else {
            tracing::debug!("failed to {text}");
        }
        let longest = RETRY_FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(RETRY_MAX);
        self.failures += 1;
        longest.mul_f64(fastrand::f64())
    }
}
