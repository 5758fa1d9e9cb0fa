//! How often to look: seldom when quiet, often while events flow.

use std::time::Duration;

use tokio::time::Instant;

use super::BATCH_EVENTS_MAX;

/// How long the table is still looked at often after an event: transactions under way commit within it.
const HOT: Duration = Duration::from_millis(250);

/// How long writers may leave it to us to look. Extended at half of it while events flow.
pub(super) const LEASE: Duration = Duration::from_secs(1);

/// How often to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollInterval {
    /// When nothing happens: the longest an event can go unseen.
    pub max: Duration,
    /// While events flow.
    pub min: Duration,
}

impl Default for PollInterval {
    fn default() -> Self {
        Self {
            max: Duration::from_millis(500),
            min: Duration::from_millis(20),
        }
    }
}

/// Decides when to look again.
pub(super) struct Pace {
    interval: PollInterval,
    wait: Duration,
    hot_until: Option<Instant>,
    lease_until: Option<Instant>,
}

impl Pace {
    pub(super) fn new(interval: PollInterval) -> Self {
        Self {
            interval,
            wait: interval.max,
            hot_until: None,
            lease_until: None,
        }
    }

    /// How long to wait after a look that found this many events: not at all after a full batch, the minimum while
    /// events flow, twice as long as before when quiet, up to the maximum.
    pub(super) fn after(&mut self, found: usize, now: Instant) -> Duration {
        let PollInterval { min, max } = self.interval;
        if found > 0 {
            self.hot_until = Some(now + HOT);
        }
        self.wait = if found >= BATCH_EVENTS_MAX {
            Duration::ZERO
        } else if self.is_hot(now) || self.lease_until.is_some_and(|until| now < until + HOT) {
            // While the lease holds nobody wakes us, and then whoever skipped the wake is to have committed.
            min
        } else {
            (self.wait * 2).clamp(min, max)
        };
        self.wait
    }

    fn is_hot(&self, now: Instant) -> bool {
        self.hot_until.is_some_and(|until| now < until)
    }

    /// Whether to extend the lease now. While hot only, or we would never sleep.
    pub(super) fn lease_is_due(&mut self, now: Instant) -> bool {
        let due = self.is_hot(now)
            && self
                .lease_until
                .is_none_or(|until| now + LEASE / 2 >= until);
        if due {
            self.lease_until = Some(now + LEASE);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pace_hurries_while_events_flow_and_slows_down_when_quiet() {
        let interval = PollInterval::default();
        let mut pace = Pace::new(interval);
        let start = Instant::now();
        assert_eq!(
            pace.after(0, start),
            interval.max,
            "an idle feed waits the whole interval"
        );
        assert_eq!(
            pace.after(BATCH_EVENTS_MAX, start),
            Duration::ZERO,
            "there may be more"
        );
        assert_eq!(pace.after(1, start), interval.min);
        assert_eq!(pace.after(0, start + HOT / 2), interval.min, "still hot");
        let quiet: Vec<_> = (0..6)
            .map(|_| pace.after(0, start + HOT).as_millis())
            .collect();
        assert_eq!(quiet, [40, 80, 160, 320, 500, 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_lease_is_extended_while_hot_and_then_runs_out() {
        let mut pace = Pace::new(PollInterval::default());
        let start = Instant::now();
        pace.after(0, start);
        assert!(!pace.lease_is_due(start), "never while idle");
        pace.after(1, start);
        assert!(pace.lease_is_due(start));
        assert!(!pace.lease_is_due(start + LEASE / 4));
        pace.after(1, start + LEASE * 3 / 4);
        assert!(pace.lease_is_due(start + LEASE * 3 / 4));
        let quiet = start + LEASE * 3 / 4 + HOT;
        assert!(!pace.lease_is_due(quiet), "quiet again");
        let shortest = PollInterval::default().min;
        assert_eq!(
            pace.after(0, quiet),
            shortest,
            "the lease still keeps writers from waking us"
        );
        assert!(pace.after(0, quiet + LEASE) > shortest, "it has run out");
    }
}
