//! Places for connections: so many of the server, of an address, of a user. And what somebody is told for whom there is
//! none.

mod allowance;
mod failures;
mod publishes;
mod windows;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::stats::Counters;

pub(crate) use allowance::Allowance;
pub(crate) use failures::AuthFailures;
pub(crate) use publishes::Publishes;

/// When to try again where all places are taken. Nobody knows when one gets free; soon, with many clients.
const PLACE_RETRY: Duration = Duration::from_secs(5);

/// How many connections there are of each key. A key without one takes no memory.
pub(crate) struct Occupancy<K: ?Sized> {
    /// Connections of one key. 0: no limit.
    max: usize,
    counts: Arc<Counts<K>>,
}

type Counts<K> = Mutex<HashMap<Arc<K>, usize>>;

/// One connection of a key; counted until it is dropped. 24 bytes, and none for a key that is shared already.
pub(crate) struct Occupied<K: Eq + Hash + ?Sized> {
    counts: Arc<Counts<K>>,
    key: Arc<K>,
}

impl<K: Eq + Hash + ?Sized> Occupancy<K> {
    pub fn new(max: usize) -> Self {
        Self {
            max,
            counts: Arc::default(),
        }
    }

    /// Takes a place, or gives how many there are when all are taken. None where there is no limit, and nothing is counted.
    pub fn enter(&self, key: impl Into<Arc<K>>) -> Result<Option<Occupied<K>>, usize> {
        if self.max == 0 {
            return Ok(None);
        }
        let mut counts = lock(&self.counts);
        let key = match counts.entry(key.into()) {
            Entry::Vacant(entry) => {
                let key = Arc::clone(entry.key());
                entry.insert(1);
                key
            }
            Entry::Occupied(mut entry) => {
                if *entry.get() >= self.max {
                    return Err(self.max);
                }
                *entry.get_mut() += 1;
                Arc::clone(entry.key())
            }
        };
        drop(counts);
        Ok(Some(Occupied {
            counts: Arc::clone(&self.counts),
            key,
        }))
    }
}

impl<K: Eq + Hash + ?Sized> Drop for Occupied<K> {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

fn lock<K: ?Sized>(counts: &Counts<K>) -> MutexGuard<'_, HashMap<Arc<K>, usize>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The places of a server, and of each address.
pub(crate) struct Places {
    /// 0: no limit.
    max: usize,
    taken: Arc<AtomicUsize>,
    addresses: Occupancy<IpAddr>,
}

/// A place of the server and of an address, until it is dropped.
pub(crate) struct Place {
    taken: Arc<AtomicUsize>,
    _address: Option<Occupied<IpAddr>>,
}

impl Places {
    pub fn new(max: usize, max_per_address: usize) -> Self {
        Self {
            max,
            taken: Arc::default(),
            addresses: Occupancy::new(max_per_address),
        }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes one, where there is one.
    pub fn enter(&self, ip: Option<IpAddr>) -> Result<Place, OverLimit> {
        let address = match ip {
            Some(ip) => self.addresses.enter(counted_as(ip)),
            None => Ok(None),
        }
        .map_err(|max| OverLimit::new(Limit::Address, max, PLACE_RETRY))?;
        let more = |taken| (self.max == 0 || taken < self.max).then_some(taken + 1);
        let order = Ordering::Relaxed;
        if self.taken.fetch_update(order, order, more).is_err() {
            return Err(OverLimit::new(Limit::Server, self.max, PLACE_RETRY));
        }
        Ok(Place {
            taken: Arc::clone(&self.taken),
            _address: address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The places of each user.
pub(crate) struct Users(Occupancy<str>);

/// A place of a user, until it is dropped.
pub(crate) type UserPlace = Occupied<str>;

impl Users {
    pub fn new(max: usize) -> Self {
        Self(Occupancy::new(max))
    }

    /// Takes one, where there is one. None where there is no limit.
    pub fn enter(&self, user: impl Into<Arc<str>>) -> Result<Option<UserPlace>, OverLimit> {
        let entered = self.0.enter(user);
        entered.map_err(|max| OverLimit::new(Limit::User, max, PLACE_RETRY))
    }
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Connections of the server.
    Server,
    /// Connections of an address.
    Address,
    /// Connections of a user.
    User,
    /// Failed authentications of an address.
    AuthFailures,
    /// Events that a user, or an address without one, has published.
    Publishes,
}

/// A limit is reached: which, how much it is, and when to try again. How that is said is the transport's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OverLimit {
    pub limit: Limit,
    pub max: usize,
    pub retry_after: Duration,
}

impl OverLimit {
    pub fn new(limit: Limit, max: usize, retry_after: Duration) -> Self {
        Self {
            limit,
            max,
            retry_after,
        }
    }

    /// Counts that a client met it.
    pub fn count(self, counters: &Counters) -> Self {
        match self.limit {
            Limit::Server => &counters.server_limit_refused,
            Limit::Address => &counters.ip_limit_refused,
            Limit::User => &counters.user_limit_refused,
            Limit::AuthFailures => &counters.auth_failures_limited,
            Limit::Publishes => &counters.publishes_limited,
        }
        .add(1);
        self
    }

    /// The word for programs.
    pub fn code(&self) -> &'static str {
        match self.limit {
            Limit::Server => "server_full",
            Limit::Address => "ip_connection_limit",
            Limit::User => "user_connection_limit",
            Limit::AuthFailures => "too_many_auth_failures",
            Limit::Publishes => "publish_rate_limit",
        }
    }

    /// The text for people. With its number it fits into a close frame, which has 123 bytes.
    pub fn message(&self) -> String {
        let max = self.max;
        match self.limit {
            Limit::Server => format!("all {max} connections of this server are taken; try again"),
            Limit::Address => {
                format!("at most {max} connections of one address; close others first")
            }
            Limit::User => format!("at most {max} connections of one user; close others first"),
            Limit::AuthFailures => format!(
                "more than {max} failed authentications in a minute; try again with a token that is good"
            ),
            Limit::Publishes => {
                format!("at most {max} events of one user or address in a minute; try again then")
            }
        }
    }

    /// Whole seconds, never too few.
    pub fn retry_after_seconds(&self) -> u64 {
        self.retry_after.as_millis().div_ceil(1000).max(1) as u64
    }
}

/// What the clients of a server share: places of each user, failed authentications of each address, events published.
pub(crate) struct Limits {
    pub users: Users,
    pub failures: AuthFailures,
    pub publishes: Publishes,
}

impl Limits {
    /// Takes a place of this user, to be held for as long as the connection lives. What is over the limit is counted.
    pub fn enter_user(
        &self,
        user: Option<&Arc<str>>,
        counters: &Counters,
    ) -> Result<Option<UserPlace>, OverLimit> {
        match user {
            Some(user) => self
                .users
                .enter(Arc::clone(user))
                .map_err(|over| over.count(counters)),
            None => Ok(None),
        }
    }

    /// Notes that a token of a client was not accepted. What it gives is said in place of that: there were too many.
    pub fn auth_failed(&self, ip: Option<IpAddr>, counters: &Counters) -> Option<OverLimit> {
        counters.auth_failures.add(1);
        let ip = ip?;
        self.failures.note(ip);
        let retry_after = self.failures.is_over(ip)?;
        let over = OverLimit::new(Limit::AuthFailures, self.failures.max(), retry_after);
        Some(over.count(counters))
    }
}

/// What counts as one client: an IPv6 host can take any address of its /64 network.
fn counted_as(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let places = Places::new(3, 2);
        let (one, other) = (Some([1, 2, 3, 4].into()), Some([1, 2, 3, 5].into()));
        let first = places.enter(one).ok();
        let second = places.enter(one).ok();
        assert!(first.is_some() && second.is_some());
        let refused = places.enter(one).err().expect("two of an address");
        assert_eq!((refused.limit, refused.max), (Limit::Address, 2));
        assert_eq!(places.taken(), 2, "nothing is left of the third");
        let third = places.enter(other).ok();
        let refused = places.enter(None).err().expect("three of the server");
        assert_eq!((refused.limit, refused.max), (Limit::Server, 3));
        drop(first);
        assert!(places.enter(one).is_ok());
        drop((second, third));
        assert_eq!(places.taken(), 0);
        assert!(lock(&places.addresses.counts).is_empty());
    }

    #[test]
    fn a_users_connections_are_counted_from_many_threads() {
        let users = Users::new(4);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        if let Ok(place) = users.enter("ann") {
                            assert!(lock(&users.0.counts)[&Arc::from("ann")] <= 4);
                            drop(place);
                        }
                    }
                });
            }
        });
        assert!(lock(&users.0.counts).is_empty());
        assert!(matches!(Users::new(0).enter("ann"), Ok(None)));
        assert!(size_of::<Option<UserPlace>>() <= 24);
    }

    #[test]
    fn texts_fit_into_a_close_frame() {
        for limit in [
            Limit::Server,
            Limit::Address,
            Limit::User,
            Limit::AuthFailures,
            Limit::Publishes,
        ] {
            let over = OverLimit::new(limit, 4_294_967_295, Duration::from_millis(1500));
            assert!(over.message().len() <= 123, "{}", over.message());
            assert_eq!(over.retry_after_seconds(), 2);
        }
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let counted = |text: &str| counted_as(text.parse().expect("an address")).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("1.2.3.4"), "1.2.3.4");
        assert_eq!(counted("::ffff:1.2.3.4"), "1.2.3.4");
    }
}
