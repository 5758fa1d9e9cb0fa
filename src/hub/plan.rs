//! Who receives what of a batch: one pass over its events and the topics they reach, then one part for each receiver.
//! Costs follow deliveries, not connections; nothing is allocated for a receiver.

use bytes::Bytes;

use super::Frames;
use super::index::{Index, SlotId, Subscriptions, TopicId};
use super::slots::Slots;
use crate::event::{for_each_pattern, for_each_pattern_above, matches};
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
    /// Which topic has which event, in the order of events: (met topic, event).
    notes: Vec<(u32, u32)>,
    /// The same, topic by topic: `Met::events` says where each has its own.
    events: Vec<u32>,
    /// The slots that subscribe to any of them.
    pub receivers: Vec<SlotId>,
    /// Lists of met topics, linked: (topic, next).
    more: Vec<(u32, u32)>,
    /// The frames of a topic's events in a shape, where they are the same for all; made when first needed. A list for
    /// each topic, linked.
    ready: Vec<Ready>,
    /// One bit for every event of the batch.
    union: Vec<u64>,
    own: Vec<u8>,
    pattern: String,
    above: Vec<TopicId>,
}

struct Met {
    topic: TopicId,
    /// How many events it has, and the last of them.
    count: u32,
    last: u32,
    /// Where in `Plan::events` they end.
    end: u32,
    /// The first of its list in `Plan::ready`.
    ready: u32,
}

struct Ready {
    shape: usize,
    frames: Bytes,
    next: u32,
}

impl Met {
    /// Its events, ascending.
    fn events<'a>(&self, all: &'a [u32]) -> &'a [u32] {
        &all[(self.end - self.count) as usize..self.end as usize]
    }

    /// Its frames in a shape, if they are there.
    fn ready(&self, all: &[Ready], shape: usize) -> Option<u32> {
        let mut next = self.ready;
        while let Some(ready) = all.get(next as usize) {
            if ready.shape == shape {
                return Some(next);
            }
            next = ready.next;
        }
        None
    }
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
        self.ready.clear();
        self.meet_topics(batch, index);
        self.sort_events();
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
        self.notes.clear();
        // Neighbours are mostly on one channel, or on channels with the same ones above them: these are found once.
        let (mut parent, mut above) = (None, std::mem::take(&mut self.above));
        let mut known: Option<(&str, Option<TopicId>)> = None;
        for (n, event) in batch.batch.events.iter().enumerate() {
            let n = n as u32;
            for channel in event.channels.iter() {
                let own = match known {
                    Some((name, own)) if name == channel => own,
                    _ => {
                        let own_parent = channel.rsplit_once(':').map(|(parent, _)| parent);
                        if parent != Some(own_parent) {
                            above.clear();
                            for_each_pattern_above(channel, &mut self.pattern, |pattern| {
                                above.extend(index.find(pattern));
                            });
                            parent = Some(own_parent);
                        }
                        let own = index.find(channel);
                        known = Some((channel, own));
                        own
                    }
                };
                for &id in above.iter().chain(&own) {
                    self.note(n, id, index);
                }
            }
        }
        self.above = above;
    }

    /// Notes that a topic has an event.
    fn note(&mut self, event: u32, id: TopicId, index: &mut Index) {
        let topic = index.topic_mut(id);
        if topic.batch != self.batch {
            topic.batch = self.batch;
            topic.met = self.met.len() as u32;
            self.met.push(Met {
                topic: id,
                count: 0,
                last: END,
                end: 0,
                ready: END,
            });
        }
        let met = &mut self.met[topic.met as usize];
        // An event may address a topic by several channels.
        if met.last != event {
            met.last = event;
            met.count += 1;
            self.notes.push((topic.met, event));
        }
    }

    /// Puts the events of each topic together.
    fn sort_events(&mut self) {
        let mut end = 0;
        for met in &mut self.met {
            met.end = end;
            end += met.count;
        }
        self.events.clear();
        self.events.resize(self.notes.len(), 0);
        for &(met, event) in &self.notes {
            let met = &mut self.met[met as usize];
            self.events[met.end as usize] = event;
            met.end += 1;
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
        match planned.receives {
            Receives::Topic(n) => {
                let met = &self.met[n as usize];
                let events = u64::from(met.count);
                // Of many receivers all but the first find it.
                let ready = met.ready(&self.ready, shape.number());
                let ready = ready.or_else(|| self.make_ready(n, batch, shape, wants, index));
                let frames = if let Some(ready) = ready {
                    Frames::Shared(&self.ready[ready as usize].frames)
                } else {
                    self.own.clear();
                    let own = self.met[n as usize].events(&self.events);
                    batch.copy(shape, own.iter().copied(), wants, &mut self.own);
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
                let shaped = batch.shaped(shape);
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

    /// Makes what all who receive a topic's events in a shape are sent. None where they differ, or there is one alone.
    fn make_ready(
        &mut self,
        met: u32,
        batch: &Encoded,
        shape: &Shape,
        wants: impl Fn(&str) -> bool,
        index: &Index,
    ) -> Option<u32> {
        let met = &mut self.met[met as usize];
        let own = met.events(&self.events);
        let shaped = batch.shaped(shape);
        if !shaped.is_same_for_all(own) {
            return None;
        }
        // What is compressed is so event by event, and lies nowhere side by side.
        let neighbours = (!shape.is_deflated()).then(|| shaped.contiguous(own));
        let frames = neighbours.flatten().or_else(|| {
            let is_shared = index.members(met.topic).len() > 1;
            is_shared.then(|| {
                let mut frames = Vec::new();
                batch.copy(shape, own.iter().copied(), wants, &mut frames);
                frames.into()
            })
        })?;
        let number = self.ready.len() as u32;
        self.ready.push(Ready {
            shape: shape.number(),
            frames,
            next: std::mem::replace(&mut met.ready, number),
        });
        Some(number)
    }

    /// Sets the bits of all events that a list of topics has.
    fn unite(&mut self, first: u32, batch: &Encoded) {
        self.union.clear();
        self.union.resize(batch.batch.events.len().div_ceil(64), 0);
        let mut next = first;
        while let Some(&(met, rest)) = self.more.get(next as usize) {
            for &event in self.met[met as usize].events(&self.events) {
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
