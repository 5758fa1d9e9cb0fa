//! How much of something each of many has had within a minute, in bounded memory.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What limits are for.
pub(super) const WINDOW: Duration = Duration::from_mins(1);

/// Keys that are remembered, 100 bytes each and their own. Beyond them the oldest is forgotten: whoever has more addresses
/// than that to come from is not stopped by counting them.
pub(super) const KEYS_MAX: usize = 100_000;

/// Counts. The minute of a key begins with its first.
pub(super) struct Windows<K> {
    /// How much there may be in a minute. 0: as much as there is.
    pub max: usize,
    state: Mutex<State<K>>,
}

struct State<K> {
    windows: HashMap<K, Window>,
    /// In the order in which they began. Windows are of one length, so it is also that of their ends.
    order: VecDeque<(K, Instant)>,
}

struct Window {
    began: Instant,
    count: usize,
}

impl<K: Clone + Eq + Hash> Windows<K> {
    pub fn new(max: usize) -> Self {
        Self {
            max,
            state: Mutex::new(State {
                windows: HashMap::new(),
                order: VecDeque::new(),
            }),
        }
    }

    /// So much more, be it too much.
    pub fn note(&self, key: K, count: usize) {
        if self.max > 0 {
            self.lock().window(key).count += count;
        }
    }

    /// So much more, if there is room for it; else how long until there may be.
    pub fn take(&self, key: K, count: usize) -> Result<(), Duration> {
        if self.max == 0 {
            return Ok(());
        }
        let mut state = self.lock();
        let window = state.window(key);
        if window.count + count > self.max {
            return Err(window.left());
        }
        window.count += count;
        Ok(())
    }

    /// How long until the minute of a key that has had too much is over; None for all others.
    pub fn is_over(&self, key: &K) -> Option<Duration> {
        if self.max == 0 {
            return None;
        }
        let state = self.lock();
        let window = state.windows.get(key)?;
        let left = window.left();
        (window.count > self.max && !left.is_zero()).then_some(left)
    }

    /// How many are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        let state = self.lock();
        assert_eq!(state.windows.len(), state.order.len());
        state.order.len()
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn left(&self) -> Duration {
        (self.began + WINDOW).saturating_duration_since(Instant::now())
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// The minute of a key, which may begin now.
    fn window(&mut self, key: K) -> &mut Window {
        let now = Instant::now();
        self.forget(now, KEYS_MAX);
        if !self.windows.contains_key(&key) {
            self.forget(now, KEYS_MAX - 1);
            self.order.push_back((key.clone(), now));
        }
        self.windows.entry(key).or_insert(Window {
            began: now,
            count: 0,
        })
    }

    /// Forgets what is over, and the oldest of what is too much.
    fn forget(&mut self, now: Instant, most: usize) {
        while let Some((key, began)) = self.order.front()
            && (self.order.len() > most || *began + WINDOW <= now)
        {
            self.windows.remove(key);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_is_not_taken() {
        let windows = Windows::new(10);
        assert_eq!(windows.take("ann", 7), Ok(()));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(windows.take("ann", 4), Err(Duration::from_secs(40)));
        assert_eq!(windows.take("ann", 3), Ok(()), "there was room for it");
        assert_eq!(windows.take("ben", 10), Ok(()));
        assert_eq!(windows.take("ben", 11), Err(WINDOW));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(windows.take("ann", 10), Ok(()), "a new minute");
        assert_eq!(Windows::new(0).take("ann", 1_000_000), Ok(()));
    }
}
