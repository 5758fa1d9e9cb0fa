//! What a connection subscribes to: asked for, granted, and taken away again.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::super::catch_up::Change;
use super::super::index::{SlotId, SubscriptionsOf as _};
use super::Shard;
use super::lifetime::expires_at;
use super::presence::answers;
use crate::auth::{Grants, Identity, Permit};
use crate::cursor::Cursor;
use crate::event::ChannelPattern;
use crate::protocol::{ErrorCode, PresenceAnswers, Rejected, RequestId, ServerFrame, Since};

/// Tells a client about channels that its token does not cover.
const NOT_GRANTED: &str = "your token does not grant this channel";

/// Tells a client about channels that its fresh token covers no more.
const NO_LONGER_GRANTED: &str = "your token no longer grants this";

/// Tells a client about channels that it had a token of their own for.
const PERMIT_EXPIRED: &str = "the token for this channel has expired; subscribe with a fresh one";

/// The same, where somebody took the token back.
const PERMIT_REVOKED: &str = "the token for this channel has been revoked";

/// What a connection asks to be subscribed to.
pub(super) struct Asked<'a> {
    pub channels: &'a [ChannelPattern],
    pub since: &'a Since,
    pub permits: Vec<Permit>,
    /// Whether it is to be told who is on the channels.
    pub presence: bool,
}

impl Shard {
    pub(super) fn subscribe(&mut self, connection: u64, id: Option<&RequestId>, asked: Asked<'_>) {
        let Asked {
            channels,
            since,
            permits,
            presence,
        } = asked;
        let Some(slot_id) = self.slots.find(connection) else {
            return;
        };
        let limit = self.options.subscriptions_max;
        let slot = self.slots.get_mut(slot_id);
        // What is asked for and what permits it is looked at name by name, while others wait. The same name may stand in
        // one request twice.
        let mut known = HashSet::new();
        let channels: Vec<_> = channels
            .iter()
            .filter(|channel| known.insert(*channel))
            .cloned()
            .collect();
        let excess = if channels.len() > limit {
            Some((channels.len(), "channels in one request"))
        } else {
            let all = slot.access.permits_with(&permits);
            (all > limit).then_some((all, "tokens for single channels in one connection"))
        };
        if let Some((found, what)) = excess {
            let message = format!("at most {limit} {what}, and this makes {found}");
            self.refuse_for_limit(connection, id, &message);
            return;
        }
        slot.access.permit(permits);
        let admitted = slot.access.admit(&channels);
        let own = &slot.subscriptions;
        let new: BTreeSet<_> = admitted
            .parts
            .iter()
            .map(ChannelPattern::as_str)
            .filter(|channel| !self.index.contains(own, channel))
            .collect();
        if own.len() + new.len() > limit {
            let message = format!(
                "a connection has at most {limit} subscriptions; this one has {} and asks for {} more. A pattern such as \
                 \"messages:*\" counts as one",
                own.len(),
                new.len()
            );
            self.refuse_for_limit(connection, id, &message);
            return;
        }
        let before = self.patterns_of(slot_id);
        let own = self.slots.of(slot_id);
        self.sources.counters.subscriptions.add(new.len() as u64);
        for channel in new {
            self.index.join(channel, slot_id, own);
        }
        let slot = self.slots.get_mut(slot_id);
        slot.access.asked(&admitted, || before.clone());
        self.attend(slot_id);
        let rooms = presence.then(|| self.watch(connection, &admitted.channels));
        let names: Vec<_> = admitted
            .channels
            .iter()
            .map(ChannelPattern::as_str)
            .collect();
        let granted: Vec<_> = admitted
            .parts
            .iter()
            .filter(|_| admitted.is_narrowed)
            .map(ChannelPattern::as_str)
            .collect();
        let rejected: Vec<_> = admitted
            .rejected
            .iter()
            .map(|channel| Rejected {
                channel: channel.as_str(),
                code: ErrorCode::Forbidden,
                message: NOT_GRANTED,
            })
            .collect();
        self.sources
            .counters
            .subscriptions_denied
            .add(rejected.len() as u64);
        let is_something = !names.is_empty();
        let recovered = is_something && *since != Since::Now;
        let present = rooms
            .as_deref()
            .map(|rooms| answers(rooms, self.presence_bytes_max()));
        let answer = |shard: &Self, told: Option<&Cursor>| {
            let told = told.map(Cursor::to_string);
            shard.reply(connection, |cursor| ServerFrame::Subscribed {
                id,
                channels: &names,
                rejected: &rejected,
                granted: &granted,
                cursor: if recovered { told.as_deref() } else { cursor },
                recovered,
                presence: present.as_deref().map(PresenceAnswers),
            });
        };
        if !is_something {
            return answer(self, None);
        }
        let change = Change::Subscribe {
            id: id.cloned(),
            channels: admitted.parts.iter().cloned().collect(),
            since: since.clone(),
            now: self.position.clone(),
        };
        let slot = self.slots.get_mut(slot_id);
        if let Some(wishes) = slot.catching_up.clone() {
            if !wishes.subscribe(since, change, |told| answer(self, told)) {
                self.flooded(slot_id);
            }
            return;
        }
        // Its last task may have sent it what this shard has not handed out.
        let is_ahead = slot.from > self.next;
        // Whoever is cut off before it has caught up asks again from there, for all that it has.
        let told = match since {
            Since::Now | Since::Earliest => None,
            Since::Cursor(cursor) if before.is_empty() => Some(cursor.clone()),
            Since::Cursor(cursor) => self.position.earlier(cursor),
        };
        answer(self, told.as_ref());
        match since {
            Since::Now => {}
            Since::Cursor(cursor) if *cursor == self.position && !is_ahead => {
                let edge = Arc::clone(&self.edge);
                self.reply(connection, |_| ServerFrame::CaughtUp { id, cursor: &edge });
            }
            Since::Cursor(_) | Since::Earliest => {
                // Rather it has something again than that the new ones miss it.
                let next = (!is_ahead).then_some(self.next);
                self.fall_behind(slot_id, &before, next, told, vec![change]);
            }
        }
    }

    fn refuse_for_limit(&self, connection: u64, id: Option<&RequestId>, message: &str) {
        self.sources.counters.client_errors.add(1);
        self.reply(connection, |_| ServerFrame::Error {
            id,
            code: ErrorCode::ChannelLimit,
            message,
            limit: Some(self.options.subscriptions_max),
            retry_after_ms: None,
        });
    }

    pub(super) fn unsubscribe(
        &mut self,
        connection: u64,
        id: Option<&RequestId>,
        channels: &[ChannelPattern],
    ) {
        let Some(slot_id) = self.slots.find(connection) else {
            return;
        };
        let present: BTreeSet<_> = self.patterns_of(slot_id).into_iter().collect();
        let slot = self.slots.get_mut(slot_id);
        let wanted = slot.access.unasked(channels, present.clone());
        let left: Vec<_> = present.difference(&wanted).cloned().collect();
        self.leave(slot_id, &left);
        self.attend(slot_id);
        let names: Vec<_> = channels.iter().map(ChannelPattern::as_str).collect();
        self.reply(connection, |_| ServerFrame::Unsubscribed {
            id,
            channels: &names,
            code: None,
            message: None,
        });
        if let Some(wishes) = &self.slots.get_mut(slot_id).catching_up
            && !wishes.add(Change::Unsubscribe { channels: left })
        {
            self.flooded(slot_id);
        }
    }

    /// A client has said who it is, the first time or anew.
    pub(super) fn identify(&mut self, connection: u64, identity: &Arc<Identity>) {
        let Some(slot_id) = self.slots.find(connection) else {
            return;
        };
        let slot = self.slots.get_mut(slot_id);
        slot.pulse.is_warned = false;
        slot.access.identify(Arc::clone(identity));
        self.regrant(slot_id, ErrorCode::Forbidden, NO_LONGER_GRANTED, |_| ());
    }

    pub(super) fn answer_auth(&self, connection: u64, id: Option<&RequestId>, identity: &Identity) {
        self.reply(connection, |_| ServerFrame::AuthOk {
            id,
            user_id: identity.user.as_deref(),
            expires_at: expires_at(identity),
        });
    }

    /// Ends permissions for single channels that have expired.
    pub(super) fn expire_permits(&mut self, slot_id: SlotId, now: u64) {
        let is_over = |permit: &Permit| permit.expires_at.is_some_and(|at| at <= now);
        let slot = self.slots.get_mut(slot_id);
        if slot.access.has_permit(is_over) {
            self.regrant(slot_id, ErrorCode::TokenExpired, PERMIT_EXPIRED, |access| {
                access.take_back(is_over);
            });
        }
    }

    /// Ends permissions for single channels that were revoked.
    pub(super) fn take_back(&mut self, is_meant: &(dyn Fn(&Permit) -> bool + Send + Sync)) {
        for slot_id in self.slots.ids() {
            let slot = self.slots.get_mut(slot_id);
            if slot.access.has_permit(is_meant) {
                self.regrant(slot_id, ErrorCode::Forbidden, PERMIT_REVOKED, |access| {
                    access.take_back(is_meant);
                });
            }
        }
    }

    /// Makes what a connection receives what it may now, and tells it what it has lost.
    fn regrant(
        &mut self,
        slot_id: SlotId,
        code: ErrorCode,
        message: &str,
        change: impl FnOnce(&mut super::Access),
    ) {
        let present: BTreeSet<_> = self.patterns_of(slot_id).into_iter().collect();
        let slot = self.slots.get_mut(slot_id);
        let connection = slot.connection;
        let before = slot.access.all_asked(present.clone());
        change(&mut slot.access);
        let wanted = slot.access.wanted(present.clone());
        let after = slot.access.all_asked(wanted.clone());
        let left: Vec<_> = present.difference(&wanted).cloned().collect();
        let joined: Vec<_> = wanted.difference(&present).cloned().collect();
        if left.is_empty() && joined.is_empty() {
            return;
        }
        self.leave(slot_id, &left);
        let own = self.slots.of(slot_id);
        self.sources.counters.subscriptions.add(joined.len() as u64);
        for pattern in &joined {
            self.index.join(pattern.as_str(), slot_id, own);
        }
        self.attend(slot_id);
        // What it still gets by a wider pattern is not lost.
        let kept = Grants::new(wanted);
        let is_lost = |pattern: &&ChannelPattern| !kept.hold(pattern);
        let lost: BTreeSet<_> = before
            .difference(&after)
            .chain(&left)
            .filter(is_lost)
            .collect();
        let lost: Vec<_> = lost.into_iter().map(ChannelPattern::as_str).collect();
        let slot = self.slots.get_mut(slot_id);
        if let Some(wishes) = &slot.catching_up
            && !wishes.add(Change::Regrant {
                left: left.clone(),
                joined,
                now: self.position.clone(),
            })
        {
            self.flooded(slot_id);
        }
        if !lost.is_empty() {
            self.reply(connection, |_| ServerFrame::Unsubscribed {
                id: None,
                channels: &lost,
                code: Some(code),
                message: Some(message),
            });
        }
    }

    fn leave(&mut self, slot_id: SlotId, patterns: &[ChannelPattern]) {
        for pattern in patterns {
            if self.index.leave(pattern.as_str(), slot_id, &mut self.slots) {
                self.sources.counters.subscriptions.subtract(1);
            }
        }
    }
}
