//! What waits to be appended: the batches that came while the last call was under way, within limits.

use crate::cursor::Cursor;
use crate::source::redis::{Entry, Joint};
use crate::tail::Batch;

/// Most entries that wait, and most bytes of their payloads, give or take one batch. One more group of that size may be on
/// its way.
const ENTRIES_MAX: usize = 64;
const BYTES_MAX: usize = 4 << 20;

/// Entries in order, the last of which may be a mere position.
#[derive(Default)]
pub(super) struct Group {
    entries: Vec<Entry>,
    bytes: usize,
    /// Behind the entries, and the same as the last of them for readers: worth an entry once a second.
    moved: Option<Cursor>,
}

impl Group {
    pub fn has_room(&self) -> bool {
        self.entries.len() < ENTRIES_MAX && self.bytes < BYTES_MAX
    }

    /// Whether there is something that cannot wait.
    pub fn is_urgent(&self) -> bool {
        !self.entries.is_empty()
    }

    pub fn push(&mut self, batch: Batch) {
        let joint = match &batch {
            Batch { reset: true, .. } => Joint::Reset,
            Batch { after: None, .. } => Joint::Left,
            Batch { .. } => Joint::Whole,
        };
        if batch.events.is_empty() && joint == Joint::Whole {
            self.moved = Some(batch.upto);
            return;
        }
        // What lies between the last entry and this one's events is nothing, so the position is in it.
        self.moved = None;
        let bytes = batch.events.iter().map(|event| {
            let previous = event.previous.as_ref();
            event.payload.get().len() + previous.map_or(0, |previous| previous.get().len())
        });
        self.bytes += bytes.sum::<usize>();
        self.entries.push(Entry {
            upto: batch.upto,
            events: batch.events,
            joint,
        });
    }

    /// Takes the entries.
    pub fn take(&mut self) -> Vec<Entry> {
        self.bytes = 0;
        std::mem::take(&mut self.entries)
    }

    /// Takes the position behind them. None: the feed has not moved.
    pub fn take_moved(&mut self) -> Option<Cursor> {
        self.moved.take()
    }
}
