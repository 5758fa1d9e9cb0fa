//! `Batch`: events read together, and the positions they lie between.

use std::sync::Arc;

use crate::cursor::Cursor;
use crate::event::Event;

/// Most events of one batch. Enough to write them to a socket at one go, few enough to start with the first early.
pub(super) const BATCH_EVENTS_MAX: usize = 1000;

/// Most bytes of payload in one batch, give or take one event.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Events read together, in order.
#[derive(Debug)]
pub struct Batch {
    /// The events; none when only the position moved.
    pub events: Vec<Arc<Event>>,
    /// The position before them. None where something between the two is left out, as it was handed out before the
    /// database came back with a part of its history gone; what follows may leave out more of it until there is one again.
    pub after: Option<Cursor>,
    /// The position after them.
    pub upto: Cursor,
    /// What was committed before `upto` cannot be told: the database was replaced, or lost its history.
    pub reset: bool,
}

impl Batch {
    /// Whether the next batch leaves nothing out that comes after this one.
    pub(crate) fn is_joined_by_the_next(&self) -> bool {
        self.after.is_some() || self.reset
    }
}

/// The events of the batch to come.
#[derive(Default)]
pub(super) struct Chunk {
    pub events: Vec<Arc<Event>>,
    bytes: usize,
}

impl Chunk {
    /// Adds an event; gives away those before it when they make a full batch.
    pub fn push(&mut self, event: Arc<Event>) -> Option<Vec<Arc<Event>>> {
        let full = self.events.len() >= BATCH_EVENTS_MAX || self.bytes >= BATCH_BYTES_MAX;
        let given_away = full.then(|| std::mem::take(self).events);
        self.bytes += event.payload.get().len()
            + event
                .previous
                .as_ref()
                .map_or(0, |previous| previous.get().len());
        self.events.push(event);
        given_away
    }
}
