//! Failed authentications of each address within a minute.

use std::net::IpAddr;
use std::time::Duration;

use super::counted_as;
use super::windows::Windows;

/// Counts failures. The minute begins with an address's first failure.
pub(crate) struct AuthFailures(Windows<IpAddr>);

impl AuthFailures {
    /// With so many failures in a minute that are answered as such. 0: all.
    pub fn new(max: usize) -> Self {
        Self(Windows::new(max))
    }

    /// How many there may be.
    pub fn max(&self) -> usize {
        self.0.max
    }

    /// One more.
    pub fn note(&self, ip: IpAddr) {
        self.0.note(counted_as(ip), 1);
    }

    /// How long until an address that has failed too often may fail again; None for all others.
    pub fn is_over(&self, ip: IpAddr) -> Option<Duration> {
        self.0.is_over(&counted_as(ip))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::windows::{KEYS_MAX, WINDOW};
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
        for n in 0..=KEYS_MAX {
            failures.note(address(n));
            failures.note(address(n));
        }
        assert_eq!(failures.is_over(address(0)), None);
        assert!(failures.is_over(address(1)).is_some());
        let size = |failures: &AuthFailures| failures.0.len();
        assert_eq!(size(&failures), KEYS_MAX);
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
        assert_eq!(failures.0.len(), 0);
    }
}
