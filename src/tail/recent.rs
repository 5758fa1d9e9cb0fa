//! What was sent lately, to drop repeats by.

use std::collections::{HashSet, VecDeque};

use crate::event::Event;

/// Events remembered in order to drop repeats after the database came back with a part of its history gone.
const RECENT_MAX: usize = 65_536;

/// What was sent lately. Consulted only after the database came back with another history: the place to go on from is
/// then a safe one, before the last event sent.
#[derive(Default)]
pub(crate) struct Recent {
    order: VecDeque<u64>,
    /// The same to look up, while repeats are expected.
    known: Option<HashSet<u64>>,
}

impl Recent {
    pub(crate) fn expect_repeats(&mut self) {
        self.known = Some(self.order.iter().copied().collect());
    }

    /// Gives whether they were expected.
    pub(crate) fn repeats_are_over(&mut self) -> bool {
        self.known.take().is_some()
    }

    pub(crate) fn expects_repeats(&self) -> bool {
        self.known.is_some()
    }

    /// Notes the event, and says whether it was sent before. The time counts too: lost ids are given out again.
    pub(crate) fn is_repeat(&mut self, event: &Event) -> bool {
        use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
        let key =
            BuildHasherDefault::<DefaultHasher>::default().hash_one((event.id, &event.created_at));
        if let Some(known) = &mut self.known
            && !known.insert(key)
        {
            return true;
        }
        self.order.push_back(key);
        if self.order.len() > RECENT_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(known) = &mut self.known
        {
            known.remove(&oldest);
        }
        false
    }
}
