//! Who is on which channel: users with a subscription to exactly that channel, on any server of the database. What is
//! connected here (`own.rs`), what is known of all (`view.rs`), and the task that keeps the two and the tables in step
//! (`keeper.rs`). Whom it is told is not decided here.

mod keeper;
mod own;
mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::event::ChannelPattern;
use crate::source::Place;

pub(crate) use keeper::Keeper;
use own::Own;
use view::View;
pub(crate) use view::{ChannelNews, News};

/// On which channels it is known who is there, and how much of it.
#[derive(Debug, Clone)]
pub struct PresenceOptions {
    /// The channels, none unless told.
    pub channels: Vec<ChannelPattern>,
    /// How long the members of a server that is not heard of stay.
    pub ttl: Duration,
    /// Most members of a channel that are kept and told.
    pub members_max: usize,
}

impl Default for PresenceOptions {
    fn default() -> Self {
        Self {
            channels: Vec::new(),
            // Three renewals of 5 s each may get lost but for the last.
            ttl: Duration::from_secs(15),
            // More than anybody reads. A list of them is about 80 KB.
            members_max: 1000,
        }
    }
}

/// Who is on which channel. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Presence(Arc<Inner>);

struct Inner {
    options: PresenceOptions,
    own: Mutex<Own>,
    view: Mutex<View>,
    /// Something has changed here that is to be written.
    changed: Notify,
}

/// One who is on a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Member {
    pub user: Arc<str>,
    /// Since when, by the clock of the database: `2026-01-01T00:00:00.000Z`.
    pub since: Box<str>,
}

/// What is told of a channel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Those who are there, who came first first.
    pub members: Vec<Member>,
    /// Whether there are more than are kept.
    pub more: bool,
}

impl Told {
    /// The first members, as many as there is room for in so many bytes of JSON.
    pub fn within(&self, bytes: &mut usize) -> &[Member] {
        /// What JSON takes beside the name of the user.
        const BYTES_EACH: usize = 48;
        let fits = |member: &&Member| {
            let left = bytes.checked_sub(member.user.len() + BYTES_EACH);
            left.is_some_and(|left| {
                *bytes = left;
                true
            })
        };
        &self.members[..self.members.iter().take_while(fits).count()]
    }
}

impl Presence {
    fn new(options: PresenceOptions) -> Self {
        Self(Arc::new(Inner {
            own: Mutex::new(Own::new(options.members_max)),
            view: Mutex::new(View::new(options.members_max)),
            options,
            changed: Notify::new(),
        }))
    }

    /// Whether it is known who is on a channel. On a pattern nobody is.
    pub fn covers(&self, channel: &str) -> bool {
        !channel.ends_with('*') && {
            let mut patterns = self.0.options.channels.iter();
            patterns.any(|pattern| pattern.matches(channel))
        }
    }

    /// A connection of a user has subscribed to a channel.
    pub fn enter(&self, place: &Place) {
        if self.own().enter(place) {
            self.0.changed.notify_one();
        }
    }

    /// A connection that had entered is gone, or subscribes to the channel no more.
    pub fn leave(&self, place: &Place) {
        self.own().leave(place, Instant::now());
    }

    /// Who is on a channel, and the number of the last news that are in it.
    pub fn told(&self, channel: &str) -> (Arc<Told>, u64) {
        self.view().told(channel)
    }

    /// One without tables.
    #[cfg(test)]
    pub fn without_tables(options: PresenceOptions) -> Self {
        Self::new(options)
    }

    /// Takes in what the tables have of a server.
    #[cfg(test)]
    pub fn learn(&self, server: &str, rows: Vec<crate::source::MemberRow>) -> Option<News> {
        let mut touched = std::collections::BTreeSet::new();
        let mut view = self.view();
        view.apply(&server.into(), rows, &mut touched);
        view.publish(touched)
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.0.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.0.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
