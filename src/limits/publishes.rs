//! Events that each user, or each address without one, has published within a minute.

use std::net::IpAddr;
use std::sync::Arc;

use super::windows::Windows;
use super::{Limit, OverLimit, counted_as};

/// Counts events.
pub(crate) struct Publishes(Windows<Who>);

/// Whose events are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    User(Arc<str>),
    Address(IpAddr),
}

impl Publishes {
    /// With so many in a minute. 0: no limit.
    pub fn new(max: usize) -> Self {
        Self(Windows::new(max))
    }

    /// So many more, of a user, or of an address. Neither is known in an application that mounts our routes on a server
    /// that does not say.
    pub fn take(
        &self,
        user: Option<&Arc<str>>,
        ip: Option<IpAddr>,
        events: usize,
    ) -> Result<(), OverLimit> {
        let who = match (user, ip) {
            (Some(user), _) => Who::User(Arc::clone(user)),
            (None, Some(ip)) => Who::Address(counted_as(ip)),
            (None, None) => return Ok(()),
        };
        let taken = self.0.take(who, events);
        taken.map_err(|wait| OverLimit::new(Limit::Publishes, self.0.max, wait))
    }
}
