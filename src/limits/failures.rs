//! Failed authentications of each address within a minute, in bounded memory.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::counted_as;

/// What the limit is for.
pub(super) const WINDOW: Duration = Duration::from_mins(1);

/// Addresses that are remembered, 100 bytes each. Beyond them the oldest is forgotten: whoever has more addresses than
/// that to guess from is not stopped by counting them.
const ADDRESSES_MAX: usize = 100_000;

/// Counts failures. The minute begins with an address's first failure.
pub(crate) struct AuthFailures {
    /// Failures in a minute that are answered as such. 0: all.
    max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    windows: HashMap<IpAddr, Window>,
    /// In the order in which they began. Windows are of one length, so it is also that of their ends.
    order: VecDeque<(IpAddr, Instant)>,
}

struct Window {
    began: Instant,
    failures: usize,
}

impl AuthFailures {
    pub fn new(max: usize) -> Self {
        Self {
            max,
            state: Mutex::default(),
        }
    }

    /// How many there may be.
    pub fn max(&self) -> usize {
        self.max
    }

    /// One more.
    pub fn note(&self, ip: IpAddr) {
        if self.max == 0 {
            return;
        }
        let ip = counted_as(ip);
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget(now, ADDRESSES_MAX);
        if let Some(window) = state.windows.get_mut(&ip) {
            window.failures += 1;
            return;
        }
        state.forget(now, ADDRESSES_MAX - 1);
        state.order.push_back((ip, now));
        let window = Window {
            began: now,
            failures: 1,
        };
        state.windows.insert(ip, window);
    }

    /// How long until an address that has failed too often may fail again; None for all others.
    pub fn is_over(&self, ip: IpAddr) -> Option<Duration> {
        if self.max == 0 {
            return None;
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let window = state.windows.get(&counted_as(ip))?;
        let left = (window.began + WINDOW).checked_duration_since(Instant::now())?;
        (window.failures > self.max && !left.is_zero()).then_some(left)
    }
}

impl State {
    /// Forgets what is over, and the oldest of what is too much.
    fn forget(&mut self, now: Instant, most: usize) {
        while let Some((ip, began)) = self.order.front()
            && (self.order.len() > most || *began + WINDOW <= now)
        {
            self.windows.remove(ip);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_has_so_many_in_a_minute() {
        let failures = AuthFailures::new(3);
        let (one, other) = ([1, 2, 3, 4].into(), [1, 2, 3, 5].into());
        for _ in 0..3 {
            failures.note(one);
            assert_eq!(failures.is_over(one), None);
        }
        tokio::time::advance(Duration::from_secs(20)).await;
        failures.note(one);
        assert_eq!(failures.is_over(one), Some(Duration::from_secs(40)));
        assert_eq!(failures.is_over(other), None);
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(failures.is_over(one), None);
        failures.note(one);
        assert_eq!(failures.is_over(one), None, "a new minute");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_its_whole_ipv6_network() {
        let failures = AuthFailures::new(1);
        for n in 1..=2 {
            failures.note(format!("2001:db8::{n}").parse().expect("an address"));
        }
        let third = "2001:db8::3".parse().expect("an address");
        assert!(failures.is_over(third).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_the_oldest_goes() {
        let failures = AuthFailures::new(1);
        let address = |n: usize| IpAddr::from(Ipv4Addr::from_bits(n as u32));
        for n in 0..=ADDRESSES_MAX {
            failures.note(address(n));
            failures.note(address(n));
        }
        assert_eq!(failures.is_over(address(0)), None);
        assert!(failures.is_over(address(1)).is_some());
        let size = |failures: &AuthFailures| {
            let state = failures.state.lock().expect("not poisoned");
            assert_eq!(state.windows.len(), state.order.len());
            state.order.len()
        };
        assert_eq!(size(&failures), ADDRESSES_MAX);
        tokio::time::advance(WINDOW).await;
        failures.note(address(1));
        assert_eq!(size(&failures), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_is_remembered() {
        let failures = AuthFailures::new(0);
        let one = [1, 2, 3, 4].into();
        failures.note(one);
        failures.note(one);
        assert_eq!(failures.is_over(one), None);
        assert!(
            failures
                .state
                .lock()
                .expect("not poisoned")
                .order
                .is_empty()
        );
    }
}
