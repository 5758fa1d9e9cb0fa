//! Who receives what of a batch: one pass over its events and the topics they reach, then one part for each receiver.
//! Costs follow deliveries, not connections; nothing is allocated for a receiver.

use bytes::Bytes;

use super::Frames;
use super::index::{Index, SlotId, Subscriptions, TopicId};
use super::slots::Slots;
use crate::event::{for_each_pattern, matches};
use crate::protocol::{Encoded, Shape};

/// Ends a list in `Plan::more`.
const END: u32 = u32::MAX;

/// What a connection receives of a batch, as it notes it itself.
#[derive(Clone, Copy)]
pub(super) struct Planned {
    /// The batch in which it was met last.
    batch: u64,
    receives: Receives,
}

#[derive(Clone, Copy)]
enum Receives {
    /// What one topic has of it.
    Topic(u32),
    /// What several topics have of it: a list in `Plan::more`.
    Topics { first: u32 },
}

impl Default for Planned {
    fn default() -> Self {
        // Batches are counted from 1.
        Self {
            batch: 0,
            receives: Receives::Topic(0),
        }
    }
}

/// The plan for one batch. Kept from batch to batch for its memory.
#[derive(Default)]
pub(super) struct Plan {
    batch: u64,
    /// The topics that the batch has events for.
    met: Vec<Met>,
    /// The slots that subscribe to any of them.
    pub receivers: Vec<SlotId>,
    /// Lists of met topics, linked: (topic, next).
    more: Vec<(u32, u32)>,
    /// Of each met topic the frames of its events in each shape, where they are the same for all; made when first needed.
    frames: Vec<Option<Bytes>>,
    /// One bit for every event of the batch.
    union: Vec<u64>,
    own: Vec<u8>,
    pattern: String,
}

struct Met {
    topic: TopicId,
    /// Its events, ascending.
    events: Vec<u32>,
}

/// One receiver's part of a batch.
pub(super) struct Part<'a> {
    pub frames: Frames<'a>,
    /// How many events these are.
    pub events: u64,
}

impl Plan {
    /// Finds out who receives what.
    pub fn make(&mut self, batch: &Encoded, index: &mut Index, slots: &mut Slots) {
        self.batch += 1;
        self.met.clear();
        self.receivers.clear();
        self.more.clear();
        self.meet_topics(batch, index);
        self.frames.clear();
        self.frames.resize(self.met.len() * batch.shapes(), None);
        for (n, met) in self.met.iter().enumerate() {
            let n = n as u32;
            for member in index.members(met.topic) {
                let planned = &mut slots.get_mut(member.slot).planned;
                if planned.batch != self.batch {
                    *planned = Planned {
                        batch: self.batch,
                        receives: Receives::Topic(n),
                    };
                    self.receivers.push(member.slot);
                    continue;
                }
                let rest = match planned.receives {
                    Receives::Topic(only) => {
                        self.more.push((only, END));
                        self.more.len() as u32 - 1
                    }
                    Receives::Topics { first } => first,
                };
                self.more.push((n, rest));
                planned.receives = Receives::Topics {
                    first: self.more.len() as u32 - 1,
                };
            }
        }
    }

    fn meet_topics(&mut self, batch: &Encoded, index: &mut Index) {
        for (n, event) in batch.batch.events.iter().enumerate() {
            let n = n as u32;
            for channel in event.channels.iter() {
                for_each_pattern(channel, &mut self.pattern, |pattern| {
                    let Some(id) = index.find(pattern) else {
                        return;
                    };
                    let topic = index.topic_mut(id);
                    if topic.batch != self.batch {
                        topic.batch = self.batch;
                        topic.met = self.met.len() as u32;
                        self.met.push(Met {
                            topic: id,
                            events: Vec::new(),
                        });
                    }
                    let events = &mut self.met[topic.met as usize].events;
                    // An event may address a topic by several channels.
                    if events.last() != Some(&n) {
                        events.push(n);
                    }
                });
            }
        }
    }

    /// What a receiver of this plan is sent.
    pub fn part<'a>(
        &'a mut self,
        planned: Planned,
        batch: &'a Encoded,
        shape: &Shape,
        subscriptions: &Subscriptions,
        index: &Index,
    ) -> Part<'a> {
        let wants = |channel: &str| {
            index
                .names(subscriptions)
                .any(|pattern| matches(pattern, channel))
        };
        let shaped = batch.shaped(shape);
        match planned.receives {
            Receives::Topic(met) => {
                let ready = &mut self.frames[met as usize * batch.shapes() + shape.number()];
                let met = &self.met[met as usize];
                let events = met.events.len() as u64;
                if ready.is_none() && shaped.is_same_for_all(&met.events) {
                    // What is compressed is so event by event, and lies nowhere side by side.
                    if !shape.is_deflated() {
                        *ready = shaped.contiguous(&met.events);
                    }
                    let shared = index.members(met.topic).len() > 1;
                    if ready.is_none() && shared {
                        let mut frames = Vec::new();
                        batch.copy(shape, met.events.iter().copied(), wants, &mut frames);
                        *ready = Some(frames.into());
                    }
                }
                let frames = if let Some(frames) = ready {
                    Frames::Shared(frames)
                } else {
                    self.own.clear();
                    batch.copy(shape, met.events.iter().copied(), wants, &mut self.own);
                    Frames::Own(&self.own)
                };
                Part { frames, events }
            }
            Receives::Topics { first } => {
                self.unite(first, batch);
                let events = self
                    .union
                    .iter()
                    .map(|word| u64::from(word.count_ones()))
                    .sum();
                if events == batch.batch.events.len() as u64
                    && shaped.is_same_for_any()
                    && !shape.is_deflated()
                {
                    return Part {
                        frames: Frames::Shared(&shaped.frames),
                        events,
                    };
                }
                self.own.clear();
                batch.copy(shape, ones(&self.union), wants, &mut self.own);
                Part {
                    frames: Frames::Own(&self.own),
                    events,
                }
            }
        }
    }

    /// Sets the bits of all events that a list of topics has.
    fn unite(&mut self, first: u32, batch: &Encoded) {
        self.union.clear();
        self.union.resize(batch.batch.events.len().div_ceil(64), 0);
        let mut next = first;
        while let Some(&(met, rest)) = self.more.get(next as usize) {
            for &event in &self.met[met as usize].events {
                self.union[event as usize / 64] |= 1 << (event % 64);
            }
            next = rest;
        }
    }

    /// The slots that an event on `channel` reaches, each once.
    pub fn reached_by(&mut self, channel: &str, index: &Index) -> Vec<SlotId> {
        let mut slots = Vec::new();
        for_each_pattern(channel, &mut self.pattern, |pattern| {
            if let Some(id) = index.find(pattern) {
                slots.extend(index.members(id).iter().map(|member| member.slot));
            }
        });
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

/// The positions of the bits that are set, ascending.
fn ones(words: &[u64]) -> impl Iterator<Item = u32> + '_ {
    words.iter().enumerate().flat_map(|(n, &word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros())?;
            rest &= rest - 1;
            Some(n as u32 * 64 + bit)
        })
    })
}
