//! Which events have come already: what was received after the last cursor comes again after a cut.

use std::collections::{HashSet, VecDeque};

/// Events remembered from before the last cursor. Without a crash of the database none of them comes again; after one
/// the feed goes on a little earlier, by what was committed in less than a second.
const BEFORE_CURSOR_MAX: usize = 100_000;

/// Events remembered in all, so that a transaction of millions of rows, which has no cursor within it, takes no more
/// than about 40 MB. If the connection is cut beyond that many, some come again.
const ALL_MAX: usize = 1_000_000;

/// What has come lately: everything since the last cursor, and a good deal before it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    known: HashSet<u64>,
    order: VecDeque<u64>,
    since_cursor: usize,
}

impl Seen {
    /// Notes an event, and says whether it had not come before.
    pub(super) fn is_new(&mut self, key: u64) -> bool {
        if !self.known.insert(key) {
            return false;
        }
        self.order.push_back(key);
        self.since_cursor += 1;
        self.forget();
        true
    }

    /// Notes a cursor: it is behind everything that came before it.
    pub(super) fn cursor(&mut self) {
        self.since_cursor = 0;
        self.forget();
    }

    fn forget(&mut self) {
        let kept = (self.since_cursor + BEFORE_CURSOR_MAX).min(ALL_MAX);
        while self.order.len() > kept {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_since_the_last_cursor_is_never_given_again() {
        let mut seen = Seen::default();
        for key in 0..300_000 {
            assert!(seen.is_new(key));
        }
        for key in 0..300_000 {
            assert!(!seen.is_new(key), "{key}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut seen = Seen::default();
        for key in 0..300_000 {
            seen.is_new(key);
            if key % 10 == 0 {
                seen.cursor();
            }
        }
        assert!(seen.order.len() < BEFORE_CURSOR_MAX + 10);
        assert!(
            !seen.is_new(250_000),
            "it remembers some of what is before the cursor"
        );
        for key in 300_000..300_001 + ALL_MAX as u64 {
            seen.is_new(key);
        }
        assert_eq!(seen.order.len(), ALL_MAX);
        assert_eq!(seen.known.len(), ALL_MAX);
    }
}
