//! Who is on which channel by a connection to this server, and what of it the tables have yet to be told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::source::{Place, PresenceChanges};

/// How long a user stays without a connection: the time to load a page anew, or to come back to another server.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// Who is connected here.
pub(super) struct Own {
    rooms: BTreeMap<Arc<str>, Room>,
    /// Channels whose members may be others than the tables have.
    dirty: BTreeSet<Arc<str>>,
    /// Who may be about to leave, in the order of time.
    leaving: VecDeque<(Instant, Place)>,
    members_max: usize,
}

#[derive(Default)]
struct Room {
    guests: BTreeMap<Arc<str>, Guest>,
    /// How many of them the tables have.
    written: usize,
}

#[derive(Default)]
struct Guest {
    connections: u32,
    /// Whether the tables have it.
    is_written: bool,
    /// When its last connection has been gone for long enough.
    leaves_at: Option<Instant>,
}

impl Guest {
    fn has_left(&self, now: Instant) -> bool {
        self.connections == 0 && self.leaves_at.is_some_and(|at| at <= now)
    }
}

impl Own {
    pub fn new(members_max: usize) -> Self {
        Self {
            rooms: BTreeMap::new(),
            dirty: BTreeSet::new(),
            leaving: VecDeque::new(),
            members_max,
        }
    }

    /// One more connection. Gives whether that is to be written.
    pub fn enter(&mut self, place: &Place) -> bool {
        let room = self.rooms.entry(Arc::clone(&place.channel)).or_default();
        let guest = room.guests.entry(Arc::clone(&place.user)).or_default();
        guest.connections += 1;
        guest.leaves_at = None;
        let is_new = !guest.is_written;
        if is_new {
            self.dirty.insert(Arc::clone(&place.channel));
        }
        is_new
    }

    /// One connection less.
    pub fn leave(&mut self, place: &Place, now: Instant) {
        let room = self.rooms.get_mut(&place.channel);
        let Some(guest) = room.and_then(|room| room.guests.get_mut(&place.user)) else {
            return;
        };
        guest.connections = guest.connections.saturating_sub(1);
        if guest.connections == 0 {
            let at = now + LINGER;
            guest.leaves_at = Some(at);
            self.leaving.push_back((at, place.clone()));
        }
    }

    /// When somebody may leave.
    pub fn next_leave(&self) -> Option<Instant> {
        self.leaving.front().map(|(at, _)| *at)
    }

    /// What is to be written: about `limit` changes, more of them the next time. What is not written, be it for an error,
    /// is to be handed to [`Self::retry`]. O(guests of the channels in question).
    pub fn changes(&mut self, now: Instant, limit: usize) -> PresenceChanges {
        while let Some((_, place)) = self.leaving.pop_front_if(|(at, _)| *at <= now) {
            self.dirty.insert(place.channel);
        }
        let mut changes = PresenceChanges::default();
        let dirty = std::mem::take(&mut self.dirty);
        for channel in dirty {
            let room_left = limit.saturating_sub(changes.entered.len() + changes.left.len());
            let Some(room) = self.rooms.get_mut(&channel) else {
                continue;
            };
            if room_left == 0 {
                self.dirty.insert(channel);
                continue;
            }
            room.guests
                .retain(|_, guest| guest.is_written || !guest.has_left(now));
            let place = |user: &Arc<str>| Place {
                channel: Arc::clone(&channel),
                user: Arc::clone(user),
            };
            let guests = room.guests.iter();
            let leave = guests.filter(|(_, guest)| guest.is_written && guest.has_left(now));
            let before = changes.left.len();
            changes
                .left
                .extend(leave.take(room_left).map(|(user, _)| place(user)));
            let left = changes.left.len() - before;
            // One more than are told: that there are more is told.
            let free = (self.members_max + 1 + left).saturating_sub(room.written);
            let is_new = |guest: &Guest| !guest.is_written && guest.connections > 0;
            let guests = room.guests.iter();
            let enter = guests.filter(|(_, guest)| is_new(guest)).take(free);
            let before = changes.entered.len();
            changes
                .entered
                .extend(enter.take(room_left - left).map(|(user, _)| place(user)));
            if left + changes.entered.len() - before == room_left {
                self.dirty.insert(channel);
            } else if room.guests.is_empty() {
                self.rooms.remove(&channel);
            }
        }
        changes
    }

    /// The changes are written.
    pub fn confirm(&mut self, changes: &PresenceChanges) {
        for place in &changes.entered {
            let Some(room) = self.rooms.get_mut(&place.channel) else {
                continue;
            };
            if let Some(guest) = room.guests.get_mut(&place.user)
                && !guest.is_written
            {
                guest.is_written = true;
                room.written += 1;
            }
        }
        for place in &changes.left {
            let Some(room) = self.rooms.get_mut(&place.channel) else {
                continue;
            };
            if let Some(guest) = room.guests.get_mut(&place.user)
                && guest.is_written
            {
                guest.is_written = false;
                room.written -= 1;
                if guest.connections > 0 {
                    // Back while it was being written.
                    self.dirty.insert(Arc::clone(&place.channel));
                } else {
                    room.guests.remove(&place.user);
                }
            }
            if room.guests.is_empty() {
                self.rooms.remove(&place.channel);
            }
        }
    }

    /// The changes may have been written or not: they are to be written again.
    pub fn retry(&mut self, changes: &PresenceChanges) {
        let places = changes.entered.iter().chain(&changes.left);
        self.dirty
            .extend(places.map(|place| Arc::clone(&place.channel)));
    }

    /// The tables have nothing of it any more.
    pub fn begin_anew(&mut self) {
        for (channel, room) in &mut self.rooms {
            room.written = 0;
            for guest in room.guests.values_mut() {
                guest.is_written = false;
            }
            self.dirty.insert(Arc::clone(channel));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(channel: &str, user: &str) -> Place {
        Place {
            channel: channel.into(),
            user: user.into(),
        }
    }

    fn users(places: &[Place]) -> Vec<&str> {
        let mut users: Vec<_> = places.iter().map(|place| &*place.user).collect();
        users.sort_unstable();
        users
    }

    #[test]
    fn tabs_count_once_and_a_reload_is_no_change() {
        let mut own = Own::new(10);
        let ann = place("room:1", "ann");
        let now = Instant::now();
        assert!(own.enter(&ann));
        own.enter(&ann);
        let changes = own.changes(now, 100);
        assert_eq!(users(&changes.entered), ["ann"]);
        own.confirm(&changes);
        own.leave(&ann, now);
        assert!(own.changes(now + LINGER, 100).is_empty(), "the other tab");
        own.leave(&ann, now);
        assert!(
            own.changes(now, 100).is_empty(),
            "the page may be loading anew"
        );
        assert!(!own.enter(&ann), "it is");
        assert!(own.changes(now + LINGER, 100).is_empty(), "it was");
        own.leave(&ann, now);
        let changes = own.changes(now + LINGER, 100);
        assert_eq!(users(&changes.left), ["ann"]);
        own.confirm(&changes);
        assert!(own.rooms.is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn what_was_not_written_is_written_later() {
        let mut own = Own::new(10);
        let now = Instant::now();
        own.enter(&place("room:1", "ann"));
        let lost = own.changes(now, 100);
        assert!(own.changes(now, 100).is_empty(), "it is under way");
        own.retry(&lost);
        let changes = own.changes(now, 100);
        assert_eq!(users(&changes.entered), ["ann"]);
        own.confirm(&changes);
        own.begin_anew();
        assert_eq!(users(&own.changes(now, 100).entered), ["ann"]);
    }

    #[test]
    fn who_comes_back_while_the_leave_is_written_is_entered_again() {
        let mut own = Own::new(10);
        let ann = place("room:1", "ann");
        let now = Instant::now();
        own.enter(&ann);
        let changes = own.changes(now, 100);
        own.confirm(&changes);
        own.leave(&ann, now);
        let left = own.changes(now + LINGER, 100);
        own.enter(&ann);
        own.confirm(&left);
        let changes = own.changes(now + LINGER, 100);
        assert_eq!(users(&changes.entered), ["ann"]);
    }

    #[test]
    fn a_room_takes_one_more_than_are_told_and_the_next_when_one_goes() {
        let mut own = Own::new(2);
        let now = Instant::now();
        let all: Vec<_> = ["a", "b", "c", "d", "e"]
            .map(|user| place("room:1", user))
            .into();
        for place in &all {
            own.enter(place);
        }
        let changes = own.changes(now, 100);
        assert_eq!(changes.entered.len(), 3);
        own.confirm(&changes);
        let gone = changes.entered[0].clone();
        own.leave(&gone, now);
        let changes = own.changes(now + LINGER, 100);
        assert_eq!((changes.left.len(), changes.entered.len()), (1, 1));
        assert_eq!(changes.left[0], gone);
    }

    #[test]
    fn many_changes_are_written_a_part_at_a_time() {
        let mut own = Own::new(1000);
        let now = Instant::now();
        for room in 0..10 {
            for user in 0..10 {
                own.enter(&place(&format!("room:{room}"), &user.to_string()));
            }
        }
        let mut written = 0;
        loop {
            let changes = own.changes(now, 7);
            if changes.is_empty() {
                break;
            }
            assert!(changes.entered.len() <= 7);
            written += changes.entered.len();
            own.confirm(&changes);
        }
        assert_eq!(written, 100);
    }
}
