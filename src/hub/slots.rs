//! The connections of a shard: found by number, and by their place, which batches are planned with.

use std::collections::HashMap;
use std::sync::Arc;

use super::Connection;
use super::index::{SlotId, Subscriptions, SubscriptionsOf};
use super::plan::Planned;

/// All connections of a shard.
#[derive(Default)]
pub(super) struct Slots {
    all: Vec<Option<Slot>>,
    free: Vec<SlotId>,
    by_connection: HashMap<u64, SlotId>,
}

/// One connection.
pub(super) struct Slot {
    pub outlet: Arc<dyn Connection>,
    pub subscriptions: Subscriptions,
    /// What it receives of the present batch.
    pub planned: Planned,
    /// It was sent a part of the present window, and no position yet.
    pub owed: bool,
}

impl Slots {
    pub fn open(&mut self, connection: u64, outlet: Arc<dyn Connection>) -> SlotId {
        let slot = Some(Slot {
            outlet,
            subscriptions: Subscriptions::default(),
            planned: Planned::default(),
            owed: false,
        });
        let id = if let Some(id) = self.free.pop() {
            self.all[id as usize] = slot;
            id
        } else {
            self.all.push(slot);
            self.all.len() as SlotId - 1
        };
        self.by_connection.insert(connection, id);
        id
    }

    /// Takes a connection out. Its subscriptions have to be ended before.
    pub fn remove(&mut self, connection: u64) {
        if let Some(id) = self.by_connection.remove(&connection) {
            self.all[id as usize] = None;
            self.free.push(id);
        }
    }

    pub fn find(&self, connection: u64) -> Option<SlotId> {
        self.by_connection.get(&connection).copied()
    }

    pub fn get(&self, id: SlotId) -> Option<&Slot> {
        self.all.get(id as usize)?.as_ref()
    }

    /// The slot of a member of the index, or of a number that `find` gave.
    pub fn get_mut(&mut self, id: SlotId) -> &mut Slot {
        self.all[id as usize]
            .as_mut()
            .expect("members are removed with their slot")
    }

    pub fn ids(&self) -> Vec<SlotId> {
        self.by_connection.values().copied().collect()
    }
}

impl SubscriptionsOf for Slots {
    fn of(&mut self, slot: SlotId) -> &mut Subscriptions {
        &mut self.get_mut(slot).subscriptions
    }
}
