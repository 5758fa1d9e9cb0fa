//! What a shard tells of its connections.

use std::cmp::Reverse;

use super::super::roll::{CHANNELS_SHOWN, ENTRIES_MAX, Entry, Roll, Standing, Whose};
use super::super::slots::Slot;
use super::Shard;

impl Shard {
    /// Those of its connections that are meant. O(connections of the shard); what costs memory is told of a thousand.
    pub(super) fn roll(&self, whose: &Whose) -> Roll {
        let ids = self.slots.ids();
        let slots = ids.iter().filter_map(|&id| self.slots.get(id));
        let is_meant = |slot: &&Slot| {
            let identity = slot.access.identity();
            whose.includes(identity.and_then(|identity| identity.user.as_deref()))
        };
        let mut meant: Vec<_> = slots
            .filter(is_meant)
            .map(|slot| (Reverse(slot.outlet.queued_bytes()), slot.connection, slot))
            .collect();
        meant.sort_unstable_by_key(|&(queued, connection, _)| (queued, connection));
        let told = meant.iter().take(ENTRIES_MAX);
        Roll {
            count: meant.len(),
            entries: told
                .map(|&(Reverse(queued_bytes), _, slot)| self.entry(slot, queued_bytes))
                .collect(),
        }
    }

    fn entry(&self, slot: &Slot, queued_bytes: usize) -> Entry {
        let identity = slot.access.identity();
        let names = self.index.names(&slot.subscriptions);
        let standing = if identity.is_none() {
            Standing::NoToken
        } else if slot.catching_up.is_some() {
            Standing::CatchingUp
        } else if slot.subscriptions.len() == 0 {
            Standing::Idle
        } else {
            Standing::Live
        };
        Entry {
            connection: slot.connection,
            user: identity.and_then(|identity| identity.user.clone()),
            is_web_socket: slot.shape.is_web_socket(),
            preset: slot.shape.preset().map(|preset| preset.name.clone()),
            opened_at: slot.opened_at,
            channels: names.take(CHANNELS_SHOWN).map(str::to_owned).collect(),
            channel_count: slot.subscriptions.len(),
            queued_bytes,
            standing,
        }
    }
}
