//! The connections of a shard: found by number, and by their place, which batches are planned with.

use std::collections::HashMap;
use std::sync::Arc;

use super::Connection;
use super::access::Access;
use super::catch_up::Wishes;
use super::history::BatchNumber;
use super::index::{SlotId, Subscriptions, SubscriptionsOf};
use super::plan::Planned;
use crate::auth::now;
use crate::protocol::Shape;

/// All connections of a shard.
#[derive(Default)]
pub(super) struct Slots {
    all: Vec<Option<Slot>>,
    free: Vec<SlotId>,
    by_connection: HashMap<u64, SlotId>,
}

/// One connection.
pub(super) struct Slot {
    pub connection: u64,
    pub outlet: Arc<dyn Connection>,
    pub subscriptions: Subscriptions,
    /// What it receives of the present batch.
    pub planned: Planned,
    /// How its frames are put on the wire.
    pub shape: Shape,
    /// The batch that came after it was opened.
    pub opened: BatchNumber,
    /// When that was, in seconds since 1970.
    pub opened_at: u64,
    /// The first batch that it receives from its shard; what came before, it has.
    pub from: BatchNumber,
    /// What it may receive.
    pub access: Access,
    /// When it is pinged next, and what has become of it.
    pub pulse: Pulse,
    /// While it is behind, its task and not its shard gives it events.
    pub catching_up: Option<Arc<Wishes>>,
}

impl Slots {
    pub fn open(
        &mut self,
        connection: u64,
        outlet: Arc<dyn Connection>,
        shape: Shape,
        access: Access,
        pulse: Pulse,
        opened: BatchNumber,
    ) -> SlotId {
        let slot = Some(Slot {
            connection,
            outlet,
            subscriptions: Subscriptions::default(),
            planned: Planned::default(),
            shape,
            opened,
            opened_at: now(),
            from: BatchNumber::MIN,
            access,
            pulse,
            catching_up: None,
        });
        let id = if let Some(id) = self.free.pop() {
            self.all[id as usize] = slot;
            id
        } else {
            self.all.push(slot);
            self.all.len() as SlotId - 1
        };
        if let Some(slot) = self.get(id) {
            slot.shape.enter();
        }
        self.by_connection.insert(connection, id);
        id
    }

    /// Takes a connection out. Its subscriptions have to be ended before.
    pub fn remove(&mut self, connection: u64) {
        if let Some(id) = self.by_connection.remove(&connection) {
            if let Some(slot) = self.all[id as usize].take() {
                slot.shape.leave();
                if let Some(wishes) = slot.catching_up {
                    wishes.end();
                }
            }
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

    /// One more than the highest number of a slot.
    pub fn end(&self) -> SlotId {
        self.all.len() as SlotId
    }

    pub fn len(&self) -> usize {
        self.by_connection.len()
    }

    pub fn ids(&self) -> Vec<SlotId> {
        self.by_connection.values().copied().collect()
    }
}

/// What a shard knows of a connection's life. Times are in ticks of the shard.
#[derive(Default)]
pub(super) struct Pulse {
    /// When it is pinged next.
    pub next_ping: u32,
    /// Until when it is given time, as something has waited for it: its answers come behind what it has yet to read.
    pub patient_until: u32,
    /// Until when it has to say who it is, if it has not.
    pub hello_until: u32,
    /// Pings since it was heard last.
    pub unanswered: u8,
    /// It has said hello: it knows frames that older clients do not expect.
    pub has_greeted: bool,
    /// It was told that its token expires.
    pub is_warned: bool,
    /// It was told to go.
    pub is_leaving: bool,
}

impl Slot {
    /// Whether it is the task with these wishes that gives it events.
    pub fn is_caught_up_by(&self, wishes: &Arc<Wishes>) -> bool {
        self.catching_up
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(own, wishes))
    }
}

impl SubscriptionsOf for Slots {
    fn of(&mut self, slot: SlotId) -> &mut Subscriptions {
        &mut self.get_mut(slot).subscriptions
    }
}
