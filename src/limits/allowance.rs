//! What one client may send within a minute. What becomes of one that sends more is decided elsewhere.

use std::time::Duration;

use tokio::time::Instant;

/// What the limit is for.
const MINUTE: Duration = Duration::from_mins(1);

/// A client that goes on so many times beyond the limit floods.
const FLOOD_FACTOR: u32 = 10;

/// Pongs in a minute that are no flood. A server pings every 40 ms at the most often.
const PONGS_MAX: u32 = 10_000;

/// Counts what a client sends. The minute begins with the first that comes after the last one.
pub(crate) struct Allowance {
    /// Messages in a minute. None: no limit.
    max: Option<u32>,
    began: Instant,
    /// Messages and pings.
    messages: u32,
    pongs: u32,
}

impl Allowance {
    pub fn new(max: Option<u32>) -> Self {
        Self {
            max,
            began: Instant::now(),
            messages: 0,
            pongs: 0,
        }
    }

    /// How many messages there may be.
    pub fn max(&self) -> Option<u32> {
        self.max
    }

    /// One more message. Gives when the next may come, where this one is too many.
    pub fn message(&mut self) -> Option<Duration> {
        self.begin();
        self.messages = self.messages.saturating_add(1);
        let is_over = self.max.is_some_and(|max| self.messages > max);
        is_over.then(|| MINUTE.saturating_sub(self.began.elapsed()))
    }

    /// One more ping: it counts as a message does.
    pub fn ping(&mut self) {
        self.begin();
        self.messages = self.messages.saturating_add(1);
    }

    /// One more pong. Those that answer pings of ours take nothing of what the client may say.
    pub fn pong(&mut self) {
        self.begin();
        self.pongs = self.pongs.saturating_add(1);
    }

    /// Whether there were so many that the client does not heed the limit.
    pub fn is_flood(&self) -> bool {
        self.max
            .is_some_and(|max| self.messages > max.saturating_mul(FLOOD_FACTOR))
            || self.max.is_some() && self.pongs > PONGS_MAX
    }

    fn begin(&mut self) {
        if self.began.elapsed() >= MINUTE {
            *self = Self::new(self.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_messages_a_minute_and_ten_times_as_many_are_a_flood() {
        let mut allowance = Allowance::new(Some(3));
        advance(Duration::from_secs(20)).await;
        for _ in 0..3 {
            assert_eq!(allowance.message(), None);
        }
        assert_eq!(allowance.message(), Some(Duration::from_secs(40)));
        for _ in 4..30 {
            allowance.ping();
        }
        assert!(!allowance.is_flood());
        allowance.ping();
        assert!(allowance.is_flood());
        advance(Duration::from_secs(40)).await;
        assert_eq!(allowance.message(), None);
        assert!(!allowance.is_flood());
    }

    /// Libraries ping every 20 s by themselves, and may say nothing else for days.
    #[tokio::test(start_paused = true)]
    async fn pings_of_long_ago_do_not_count() {
        let mut allowance = Allowance::new(Some(3));
        for _ in 0..1000 {
            advance(Duration::from_secs(20)).await;
            allowance.ping();
            allowance.pong();
            assert!(!allowance.is_flood());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pongs_take_nothing_away_but_too_many_are_a_flood() {
        let mut allowance = Allowance::new(Some(3));
        for _ in 0..PONGS_MAX {
            allowance.pong();
        }
        assert_eq!(allowance.message(), None);
        assert!(!allowance.is_flood());
        allowance.pong();
        assert!(allowance.is_flood());
        let mut unlimited = Allowance::new(None);
        for _ in 0..2 * PONGS_MAX {
            unlimited.pong();
            assert_eq!(unlimited.message(), None);
        }
        assert!(!unlimited.is_flood());
    }
}
