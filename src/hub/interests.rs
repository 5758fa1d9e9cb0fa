//! `Interests`: what a client that catches up wants, and from where on.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::cursor::Cursor;
use crate::event::{ChannelPattern, Event, for_each_pattern};
use crate::protocol::Encoded;

/// Patterns that are compared one by one: a comparison takes a tenth of a look into a map of them.
const COMPARED_PATTERNS_MAX: usize = 16;

/// The patterns somebody wants, each with the position it is wanted from, where that is still to come.
#[derive(Clone, Default)]
pub(crate) struct Interests(HashMap<ChannelPattern, Option<Cursor>>);

impl Interests {
    /// Adds patterns; those that are there stay as they are.
    pub fn add(&mut self, patterns: &[ChannelPattern], from: Option<&Cursor>) {
        for pattern in patterns {
            if let Entry::Vacant(entry) = self.0.entry(pattern.clone()) {
                entry.insert(from.cloned());
            }
        }
    }

    /// Adds patterns, also those that are there, which then come again from there on.
    pub fn add_again(&mut self, patterns: &[ChannelPattern], from: Option<&Cursor>) {
        for pattern in patterns {
            self.0.insert(pattern.clone(), from.cloned());
        }
    }

    pub fn remove(&mut self, pattern: &ChannelPattern) {
        self.0.remove(pattern);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn patterns(&self) -> Arc<[ChannelPattern]> {
        self.0.keys().cloned().collect()
    }

    /// Wants those that are there from here on, and not before.
    pub fn want_from(&mut self, cursor: &Cursor) {
        for from in self.0.values_mut() {
            from.get_or_insert_with(|| cursor.clone());
        }
    }

    /// Wants everything that comes.
    pub fn want_all(&mut self) {
        for from in self.0.values_mut() {
            *from = None;
        }
    }

    /// Whether all are wanted from a position on that `cursor` has reached. In another epoch nothing is known to be left.
    pub fn are_reached_by(&mut self, cursor: &Cursor) -> bool {
        for from in self.0.values_mut() {
            from.take_if(|from| cursor.epoch != from.epoch || cursor.reaches(from));
        }
        self.0.values().all(Option::is_none)
    }

    /// Whether any of the patterns matches a channel.
    pub fn matches(&self, channel: &str) -> bool {
        self.0.keys().any(|pattern| pattern.matches(channel))
    }

    /// Which events of a batch are wanted, but for those that are known.
    pub fn wanted(&self, batch: &Encoded, known: Option<&Cursor>) -> Vec<u32> {
        let mut scratch = String::new();
        let is_new = |from: &Option<Cursor>, event: &Event| {
            from.as_ref()
                .is_none_or(|from| !batch.is_covered(event, from))
        };
        let wants = |event: &Event| {
            let mut channels = event.channels.iter();
            let wants = if self.0.len() <= COMPARED_PATTERNS_MAX {
                channels.any(|channel| {
                    let mut all = self.0.iter();
                    all.any(|(pattern, from)| pattern.matches(channel) && is_new(from, event))
                })
            } else {
                // O(channels of its events), however many patterns there are.
                channels.any(|channel| {
                    let mut wants = false;
                    for_each_pattern(channel, &mut scratch, |pattern| {
                        wants =
                            wants || self.0.get(pattern).is_some_and(|from| is_new(from, event));
                    });
                    wants
                })
            };
            wants && known.is_none_or(|known| !batch.is_covered(event, known))
        };
        let mut wants = wants;
        batch
            .batch
            .events
            .iter()
            .enumerate()
            .filter_map(|(n, event)| wants(event).then_some(n as u32))
            .collect()
    }
}
