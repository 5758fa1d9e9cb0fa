//! `Access`: what one connection may receive, and what it has asked for, where that is more.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::auth::{Grants, Identity, Permit};
use crate::event::ChannelPattern;

/// What a connection may receive. Nearly all that connect ask for what they may: those cost two words more than the grants.
pub(super) struct Access {
    /// None until the client has said who it is.
    identity: Option<Arc<Identity>>,
    /// What the token grants, and the permits.
    grants: Grants,
    more: Option<Box<More>>,
}

/// What few connections have.
#[derive(Default)]
struct More {
    /// Permissions for one channel each, beside the token's.
    permits: Vec<Permit>,
    /// All that was asked for, where some of it is wider than what is granted. Where this is empty, what the connection
    /// subscribes to is what it asked for.
    asked: BTreeSet<ChannelPattern>,
}

/// What became of a request to subscribe.
#[derive(Default)]
pub(super) struct Admitted {
    /// What of it is not wholly refused.
    pub channels: Vec<ChannelPattern>,
    /// What of that is received.
    pub parts: BTreeSet<ChannelPattern>,
    /// What is refused.
    pub rejected: Vec<ChannelPattern>,
    /// Whether some of it is wider than what is granted.
    pub is_narrowed: bool,
}

impl Access {
    pub fn new(identity: Option<Arc<Identity>>) -> Self {
        Self {
            grants: match &identity {
                Some(identity) => identity.grants.clone(),
                None => Grants::nothing(),
            },
            identity,
            more: None,
        }
    }

    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// All that it may receive.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// The client has a new token. What other permits it has stays.
    pub fn identify(&mut self, identity: Arc<Identity>) {
        self.identity = Some(identity);
        self.sum_up();
    }

    /// How many permissions for one channel each there would be with these.
    pub fn permits_with(&self, permits: &[Permit]) -> usize {
        let own = self.more.as_ref().map_or(&[][..], |more| &more.permits);
        let stay = |old: &&Permit| permits.iter().all(|new| new.pattern != old.pattern);
        own.iter().filter(stay).count() + permits.len()
    }

    /// Adds permissions for one channel each. The newer of two for the same counts.
    pub fn permit(&mut self, permits: Vec<Permit>) {
        if permits.is_empty() {
            return;
        }
        let own = &mut self.more.get_or_insert_default().permits;
        own.retain(|old| permits.iter().all(|new| new.pattern != old.pattern));
        own.extend(permits);
        self.sum_up();
    }

    /// Whether one of the permissions for one channel is such.
    pub fn has_permit(&self, is_such: impl Fn(&Permit) -> bool) -> bool {
        let permits = self.more.as_ref().map_or(&[][..], |more| &more.permits);
        permits.iter().any(is_such)
    }

    /// Ends permissions for one channel that are such.
    pub fn take_back(&mut self, is_such: impl Fn(&Permit) -> bool) {
        if let Some(more) = &mut self.more {
            more.permits.retain(|permit| !is_such(permit));
            self.sum_up();
        }
    }

    /// What of a request is granted.
    pub fn admit(&self, asked: &[ChannelPattern]) -> Admitted {
        let mut admitted = Admitted::default();
        for pattern in asked {
            let parts = self.grants.narrow(pattern);
            if parts.is_empty() {
                admitted.rejected.push(pattern.clone());
            } else {
                admitted.is_narrowed |= parts[0] != *pattern;
                admitted.channels.push(pattern.clone());
                admitted.parts.extend(parts);
            }
        }
        admitted
    }

    /// Notes what was asked for. `present` is what the connection subscribes to.
    pub fn asked(&mut self, admitted: &Admitted, present: impl FnOnce() -> Vec<ChannelPattern>) {
        let is_kept = self
            .more
            .as_ref()
            .is_some_and(|more| !more.asked.is_empty());
        if !admitted.is_narrowed && !is_kept {
            return;
        }
        let asked = &mut self.more.get_or_insert_default().asked;
        if !is_kept {
            asked.extend(present());
        }
        asked.extend(admitted.channels.iter().cloned());
    }

    /// Notes that something is no longer asked for; gives what the connection is to subscribe to instead of `present`.
    pub fn unasked(
        &mut self,
        channels: &[ChannelPattern],
        present: BTreeSet<ChannelPattern>,
    ) -> BTreeSet<ChannelPattern> {
        let kept = self.more.as_mut().map(|more| &mut more.asked);
        let Some(asked) = kept.filter(|asked| !asked.is_empty()) else {
            let mut rest = present;
            for channel in channels {
                rest.remove(channel);
            }
            return rest;
        };
        for channel in channels {
            asked.remove(channel);
        }
        self.wanted(present)
    }

    /// What the connection is to subscribe to, from what it asked for and what is granted now.
    pub fn wanted(&mut self, present: BTreeSet<ChannelPattern>) -> BTreeSet<ChannelPattern> {
        let asked = self.all_asked(present);
        let wanted: BTreeSet<_> = asked
            .iter()
            .flat_map(|pattern| self.grants.narrow(pattern))
            .collect();
        // What is refused now is not asked for any more: the client is told so.
        let asked: BTreeSet<_> = asked
            .into_iter()
            .filter(|pattern| !self.grants.narrow(pattern).is_empty())
            .collect();
        if asked == wanted {
            if let Some(more) = &mut self.more {
                more.asked.clear();
            }
        } else {
            self.more.get_or_insert_default().asked = asked;
        }
        if self.more.as_ref().is_some_and(|more| more.is_empty()) {
            self.more = None;
        }
        wanted
    }

    /// All that was asked for and is not wholly refused.
    pub fn all_asked(&self, present: BTreeSet<ChannelPattern>) -> BTreeSet<ChannelPattern> {
        match &self.more {
            Some(more) if !more.asked.is_empty() => more.asked.clone(),
            _ => present,
        }
    }

    fn sum_up(&mut self) {
        let own = self.identity.as_ref().map(|identity| &identity.grants);
        let own = own.map_or(&[][..], Grants::patterns);
        let permits = self.more.as_ref().map_or(&[][..], |more| &more.permits);
        self.grants = if permits.is_empty() {
            // The token's own, which all connections with it share.
            match &self.identity {
                Some(identity) => identity.grants.clone(),
                None => Grants::nothing(),
            }
        } else {
            let permits = permits.iter().map(|permit| &permit.pattern);
            Grants::new(own.iter().chain(permits).cloned())
        };
    }
}

impl More {
    fn is_empty(&self) -> bool {
        self.permits.is_empty() && self.asked.is_empty()
    }
}
