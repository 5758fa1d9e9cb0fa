//! What a shard knows of one event and some connections.

use super::super::explain::{ACCOUNTS_MAX, Account, Question, Verdict};
use super::super::index::SlotId;
use super::Shard;
use crate::event::ChannelPattern;

impl Shard {
    /// How far an event has come, for the connections that are asked about.
    pub(super) fn explain(&mut self, question: &Question) -> Vec<Account> {
        let mut accounts = Vec::new();
        for id in self.slots.ids() {
            let slot = self.slots.get_mut(id);
            let identity = slot.access.identity();
            let user = identity.and_then(|identity| identity.user.as_deref());
            let is_meant = question
                .user
                .as_deref()
                .is_none_or(|wanted| user == Some(wanted));
            if is_meant && accounts.len() < ACCOUNTS_MAX {
                accounts.push(self.account(id, question));
            }
        }
        accounts
    }

    fn account(&mut self, id: SlotId, question: &Question) -> Account {
        let subscriptions = self.patterns_of(id);
        let reaches = |pattern: &&ChannelPattern| {
            let mut channels = question.channels.split(' ');
            channels.any(|channel| pattern.matches(channel))
        };
        let matched: Vec<_> = subscriptions.iter().filter(reaches).map(text).collect();
        let slot = self.slots.get_mut(id);
        let grants = slot.access.grants();
        let is_granted = question
            .channels
            .split(' ')
            .any(|channel| grants.cover(channel));
        let verdict = if slot.access.identity().is_none() {
            Verdict::NoToken
        } else if !is_granted {
            Verdict::NotGranted
        } else if matched.is_empty() {
            Verdict::NotSubscribed
        } else if !question.is_read {
            Verdict::NotRead
        } else if slot.catching_up.is_some() {
            Verdict::CatchingUp
        } else {
            match question.batch {
                None => Verdict::TooLongAgo,
                Some(batch) if batch >= self.next => Verdict::NotYet,
                Some(batch) if batch < slot.opened => Verdict::OpenedLater,
                Some(_) if slot.outlet.has_waiting() => Verdict::Queued,
                Some(_) => Verdict::Written,
            }
        };
        Account {
            connection: slot.connection,
            user: slot
                .access
                .identity()
                .and_then(|identity| identity.user.clone()),
            matched,
            grants: grants.patterns().iter().map(text).collect(),
            subscriptions: subscriptions.iter().map(text).collect(),
            verdict,
        }
    }
}

fn text(pattern: &ChannelPattern) -> String {
    pattern.as_str().to_owned()
}
