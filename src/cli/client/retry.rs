//! When to connect again.

use std::time::Duration;

use tokio::time::Instant;

/// First and longest wait before connecting again; between them it doubles. Of each a random part is waited ("full
/// jitter"), so that thousands of clients of a server that was restarted do not come back at once.
const FIRST: Duration = Duration::from_millis(500);
const MAX: Duration = Duration::from_secs(10);

/// When to connect, now and after each attempt.
#[derive(Debug)]
pub(super) struct Retry {
    due: Instant,
    longest: Duration,
}

impl Retry {
    /// The first attempt is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            due: now,
            longest: FIRST,
        }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Notes an attempt: if it comes to nothing, this is when to try again.
    pub(super) fn attempt(&mut self, now: Instant) {
        self.due = now + self.longest.mul_f64(fastrand::f64());
        self.longest = (self.longest * 2).min(MAX);
    }

    /// The attempt came to something. A server that takes a connection and ends it at once did not work.
    pub(super) fn worked(&mut self) {
        self.longest = FIRST;
    }

    /// The connection ended. If no time was given, the first wait begins.
    pub(super) fn ended(&mut self, now: Instant) {
        if self.due <= now {
            self.attempt(now);
        }
    }

    /// The server has given a time of our own.
    pub(super) fn at(&mut self, due: Instant) {
        self.due = due;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_are_random() {
        let now = Instant::now();
        let mut retry = Retry::new(now);
        assert_eq!(retry.due(), now, "the first attempt is due at once");
        let mut waits = Vec::new();
        for attempt in 0..10 {
            retry.attempt(now);
            let wait = retry.due() - now;
            assert!(wait <= (FIRST * (1 << attempt)).min(MAX), "{wait:?}");
            waits.push(wait);
        }
        waits.dedup();
        assert!(waits.len() > 5, "{waits:?}");
        retry.worked();
        retry.attempt(now);
        assert!(retry.due() - now <= FIRST);
        let later = now + Duration::from_mins(1);
        retry.ended(later);
        assert!(later <= retry.due() && retry.due() <= later + FIRST * 2);
        retry.at(later + MAX * 2);
        retry.ended(later);
        assert_eq!(retry.due() - later, MAX * 2, "the server's word counts");
    }
}
