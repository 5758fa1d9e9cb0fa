//! One share of the connections, and the task that owns them: it answers their requests between two batches, so that
//! every answer names a position that is true for what the connection has been sent.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::index::{Index, SlotId, Subscriptions, SubscriptionsOf, TopicId};
use super::{Connection, Delivery, Frames, HubOptions, Request, TOO_SLOW, Written};
use crate::event::{ChannelPattern, for_each_pattern};
use crate::protocol::{
    CloseCode, DisconnectCode, Encoded, ErrorCode, Limits, RequestId, ResetReason, ServerFrame,
    Since,
};
use crate::stats::Counters;

/// Writes between two chances for other tasks: 128 of them take about a millisecond.
const WRITES_PER_TURN: usize = 128;

/// Clients told to reconnect do so within this time, each at a moment of its own.
const RECONNECT_SPREAD_MS: u64 = 2000;

pub(super) struct Shard {
    /// The position of everything sent so far.
    edge: Arc<str>,
    options: HubOptions,
    counters: Arc<Counters>,
    slots: Slots,
    slot_of: HashMap<u64, SlotId>,
    free: Vec<SlotId>,
    index: Index,
    plan: Plan,
    /// Slots that were sent a part of the present window and no position yet.
    owed: Vec<SlotId>,
    /// Everybody is told to come back elsewhere or later.
    draining: bool,
}

struct Slots(Vec<Option<Slot>>);

struct Slot {
    outlet: Arc<dyn Connection>,
    subscriptions: Subscriptions,
    /// The batch in which it was met last, and what it receives of that.
    batch: u64,
    receives: Receives,
    owed: bool,
}

impl SubscriptionsOf for Slots {
    fn of(&mut self, slot: SlotId) -> &mut Subscriptions {
        &mut self.0[slot as usize]
            .as_mut()
            .expect("members are removed with their slot")
            .subscriptions
    }
}

/// What a connection receives of a batch.
#[derive(Clone, Copy)]
enum Receives {
    /// What one topic has of it.
    Topic(u32),
    /// What several topics have of it: a list in `Plan::more`.
    Topics { first: u32 },
}

/// Who receives what of a batch. Kept from batch to batch for its memory.
#[derive(Default)]
struct Plan {
    batch: u64,
    /// The topics that the batch has events for.
    met: Vec<Met>,
    /// The slots that subscribe to any of them.
    slots: Vec<SlotId>,
    /// Lists of met topics, linked: (topic, next).
    more: Vec<(u32, u32)>,
    /// One bit for every event of the batch.
    union: Vec<u64>,
    own: Vec<u8>,
    pattern: String,
}

const END: u32 = u32::MAX;

struct Met {
    topic: TopicId,
    /// Its events, ascending.
    events: Vec<u32>,
    /// Their frames, made when first needed.
    frames: Option<Bytes>,
}

impl Shard {
    pub fn new(edge: Arc<str>, options: HubOptions, counters: Arc<Counters>) -> Self {
        Self {
            edge,
            options,
            counters,
            slots: Slots(Vec::new()),
            slot_of: HashMap::new(),
            free: Vec::new(),
            index: Index::default(),
            plan: Plan::default(),
            owed: Vec::new(),
            draining: false,
        }
    }

    /// Runs until the hub is gone.
    pub async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut deliveries: mpsc::Receiver<Delivery>,
    ) {
        loop {
            tokio::select! {
                Some(delivery) = deliveries.recv() => match delivery {
                    Delivery::Batch(batch) => self.deliver(&batch).await,
                    Delivery::ToAll(frame) => {
                        let all: Vec<_> = self.slot_of.values().copied().collect();
                        self.send_to(&all, &frame).await;
                    }
                    Delivery::ToChannel(channel, frame) => {
                        let subscribers = self.subscribers(channel.as_str());
                        self.send_to(&subscribers, &frame).await;
                    }
                },
                Some(request) = requests.recv() => self.answer(request).await,
                else => break,
            }
        }
    }

    async fn answer(&mut self, request: Request) {
        match request {
            Request::Open { connection, outlet } => self.open(connection, outlet),
            Request::Remove { connection } => self.remove(connection),
            Request::Welcome { connection, id } => {
                let limits = Limits {
                    channels: self.options.subscriptions_max,
                    message_bytes: self.options.message_bytes_max,
                };
                let name = format!("c{connection}");
                self.reply(
                    connection,
                    &ServerFrame::welcome(id.as_ref(), &name, &self.edge, limits),
                );
            }
            Request::Subscribe {
                connection,
                id,
                channels,
                since,
            } => {
                self.subscribe(connection, id.as_ref(), &channels, &since);
            }
            Request::Unsubscribe {
                connection,
                id,
                channels,
            } => self.unsubscribe(connection, id.as_ref(), &channels),
            Request::Pong { connection, id } => {
                self.reply(
                    connection,
                    &ServerFrame::Pong {
                        id: id.as_ref(),
                        cursor: &self.edge,
                    },
                );
            }
            Request::Drain => self.drain().await,
        }
    }

    fn open(&mut self, connection: u64, outlet: Arc<dyn Connection>) {
        let slot = Slot {
            outlet,
            subscriptions: Subscriptions::default(),
            batch: 0,
            receives: Receives::Topic(0),
            owed: false,
        };
        let id = if let Some(id) = self.free.pop() {
            self.slots.0[id as usize] = Some(slot);
            id
        } else {
            self.slots.0.push(Some(slot));
            self.slots.0.len() as SlotId - 1
        };
        self.slot_of.insert(connection, id);
        // Its request was under way when the shutdown began.
        if self.draining {
            self.send_away(id);
        }
    }

    fn remove(&mut self, connection: u64) {
        let Some(id) = self.slot_of.remove(&connection) else {
            return;
        };
        self.counters
            .subscriptions
            .subtract(self.slots.of(id).len() as u64);
        self.index.leave_all(id, &mut self.slots);
        self.slots.0[id as usize] = None;
        self.free.push(id);
    }

    fn subscribe(
        &mut self,
        connection: u64,
        id: Option<&RequestId>,
        channels: &[ChannelPattern],
        since: &Since,
    ) {
        let Some(&slot_id) = self.slot_of.get(&connection) else {
            return;
        };
        let own = self.slots.of(slot_id);
        // The same name may stand in one request twice.
        let new: BTreeSet<_> = channels
            .iter()
            .map(ChannelPattern::as_str)
            .filter(|channel| !self.index.contains(own, channel))
            .collect();
        let limit = self.options.subscriptions_max;
        if own.len() + new.len() > limit {
            self.counters.client_errors.add(1);
            let message = format!(
                "a connection has at most {limit} subscriptions; this one has {} and asks for {} more. A pattern such as \
                 \"messages:*\" counts as one",
                own.len(),
                new.len()
            );
            let frame = ServerFrame::Error {
                id,
                code: ErrorCode::ChannelLimit,
                message: &message,
                limit: Some(limit),
            };
            self.reply(connection, &frame);
            return;
        }
        self.counters.subscriptions.add(new.len() as u64);
        for channel in new {
            self.index.join(channel, slot_id, own);
        }
        let names: Vec<_> = channels.iter().map(ChannelPattern::as_str).collect();
        let recovered = match since {
            Since::Cursor(cursor) => *cursor.to_string() == *self.edge,
            Since::Now | Since::Earliest => false,
        };
        let subscribed = ServerFrame::Subscribed {
            id,
            channels: &names,
            cursor: &self.edge,
            recovered,
        };
        self.reply(connection, &subscribed);
        if *since != Since::Now && !recovered {
            // What lies between cannot be told, and the client must know.
            self.reply(
                connection,
                &ServerFrame::Reset {
                    reason: ResetReason::TooFar,
                    cursor: &self.edge,
                },
            );
        }
    }

    fn unsubscribe(
        &mut self,
        connection: u64,
        id: Option<&RequestId>,
        channels: &[ChannelPattern],
    ) {
        let Some(&slot_id) = self.slot_of.get(&connection) else {
            return;
        };
        for channel in channels {
            if self.index.leave(channel.as_str(), slot_id, &mut self.slots) {
                self.counters.subscriptions.subtract(1);
            }
        }
        let names: Vec<_> = channels.iter().map(ChannelPattern::as_str).collect();
        self.reply(
            connection,
            &ServerFrame::Unsubscribed {
                id,
                channels: &names,
            },
        );
    }

    fn reply(&self, connection: u64, frame: &ServerFrame<'_>) {
        if let Some(&slot) = self.slot_of.get(&connection) {
            self.write(slot, Frames::Shared(&frame.encode()));
        }
    }

    /// Gives a connection frames, and ends it when it has too many waiting.
    fn write(&self, slot: SlotId, frames: Frames<'_>) {
        let Some(slot) = &self.slots.0[slot as usize] else {
            return;
        };
        match slot.outlet.write(frames) {
            Written::Sent | Written::Gone => {}
            Written::Queued => self.counters.writes_queued.add(1),
            Written::Full => {
                self.counters.slow_connections_closed.add(1);
                // What it has been sent may end before the present position; this batch is not all sent to it.
                slot.outlet.close(CloseCode::TryAgainLater, TOO_SLOW);
            }
        }
    }

    /// One pass over the topics that the batch has events for, one write for every connection that has any of them.
    async fn deliver(&mut self, batch: &Encoded) {
        if batch.reset
            && let Some(cursor) = &batch.edge
        {
            let frame = ServerFrame::Reset {
                reason: ResetReason::Epoch,
                cursor,
            }
            .encode();
            let all: Vec<_> = self
                .slot_of
                .values()
                .copied()
                .filter(|&slot| self.slots.of(slot).len() > 0)
                .collect();
            self.send_to(&all, &frame).await;
        }
        self.plan_for(batch);
        let slots = std::mem::take(&mut self.plan.slots);
        let mut delivered = 0;
        for (n, &slot) in slots.iter().enumerate() {
            delivered += self.deliver_to(slot, batch);
            if (n + 1) % WRITES_PER_TURN == 0 {
                yield_now().await;
            }
        }
        self.plan.slots = slots;
        self.counters.deliveries.add(delivered);
        let Some(edge) = &batch.edge else { return };
        self.edge = Arc::clone(edge);
        for slot in std::mem::take(&mut self.owed) {
            if let Some(owed) = &mut self.slots.0[slot as usize]
                && std::mem::take(&mut owed.owed)
            {
                self.write(slot, Frames::Shared(&batch.cursor_frame));
            }
        }
    }

    /// Finds out who receives what.
    fn plan_for(&mut self, batch: &Encoded) {
        let Self {
            plan, index, slots, ..
        } = self;
        plan.batch += 1;
        plan.met.clear();
        plan.slots.clear();
        plan.more.clear();
        for (n, event) in batch.events.iter().enumerate() {
            for channel in event.channels.iter() {
                for_each_pattern(channel, &mut plan.pattern, |pattern| {
                    let Some(id) = index.find(pattern) else {
                        return;
                    };
                    let topic = index.topic_mut(id);
                    if topic.batch != plan.batch {
                        topic.batch = plan.batch;
                        topic.met = plan.met.len() as u32;
                        plan.met.push(Met {
                            topic: id,
                            events: Vec::new(),
                            frames: None,
                        });
                    }
                    let events = &mut plan.met[topic.met as usize].events;
                    // An event may address a topic by several channels.
                    if events.last() != Some(&(n as u32)) {
                        events.push(n as u32);
                    }
                });
            }
        }
        for (n, met) in plan.met.iter().enumerate() {
            let n = n as u32;
            for member in index.members(met.topic) {
                let slot = slots.0[member.slot as usize]
                    .as_mut()
                    .expect("members are removed with their slot");
                if slot.batch != plan.batch {
                    slot.batch = plan.batch;
                    slot.receives = Receives::Topic(n);
                    plan.slots.push(member.slot);
                    continue;
                }
                let rest = match slot.receives {
                    Receives::Topic(only) => {
                        plan.more.push((only, END));
                        plan.more.len() as u32 - 1
                    }
                    Receives::Topics { first } => first,
                };
                plan.more.push((n, rest));
                slot.receives = Receives::Topics {
                    first: plan.more.len() as u32 - 1,
                };
            }
        }
    }

    /// Gives a connection its part of the batch; gives the number of events in it.
    fn deliver_to(&mut self, id: SlotId, batch: &Encoded) -> u64 {
        let Some(slot) = &mut self.slots.0[id as usize] else {
            return 0;
        };
        // In the midst of a window there is no position; it is owed until the window ends.
        if batch.edge.is_some() {
            slot.owed = false;
        } else if !std::mem::replace(&mut slot.owed, true) {
            self.owed.push(id);
        }
        match slot.receives {
            Receives::Topic(met) => {
                let met = &mut self.plan.met[met as usize];
                let count = met.events.len() as u64;
                let alone = self.index.members(met.topic).len() == 1;
                if alone && met.frames.is_none() && contiguous(&met.events, batch).is_none() {
                    self.plan.own.clear();
                    copy_frames(met.events.iter().copied(), batch, &mut self.plan.own);
                    self.write(id, Frames::Own(&self.plan.own));
                } else {
                    let frames = met.frames.get_or_insert_with(|| {
                        contiguous(&met.events, batch).unwrap_or_else(|| {
                            let mut frames = Vec::new();
                            copy_frames(met.events.iter().copied(), batch, &mut frames);
                            frames.into()
                        })
                    });
                    let frames = frames.clone();
                    self.write(id, Frames::Shared(&frames));
                }
                count
            }
            Receives::Topics { first } => {
                let Plan {
                    met,
                    more,
                    union,
                    own,
                    ..
                } = &mut self.plan;
                union.clear();
                union.resize(batch.events.len().div_ceil(64), 0);
                let mut next = first;
                while let Some(&(topic, rest)) = more.get(next as usize) {
                    for &event in &met[topic as usize].events {
                        union[event as usize / 64] |= 1 << (event % 64);
                    }
                    next = rest;
                }
                own.clear();
                let count = union.iter().map(|word| word.count_ones()).sum::<u32>();
                let everything = count as usize == batch.events.len();
                if everything {
                    self.write(id, Frames::Shared(&batch.frames));
                } else {
                    copy_frames(ones(union), batch, own);
                    self.write(id, Frames::Own(&self.plan.own));
                }
                count.into()
            }
        }
    }

    async fn send_to(&mut self, slots: &[SlotId], frame: &Bytes) {
        for (n, &slot) in slots.iter().enumerate() {
            self.write(slot, Frames::Shared(frame));
            if (n + 1) % WRITES_PER_TURN == 0 {
                yield_now().await;
            }
        }
    }

    fn subscribers(&mut self, channel: &str) -> Vec<SlotId> {
        let mut slots = Vec::new();
        for_each_pattern(channel, &mut self.plan.pattern, |pattern| {
            if let Some(id) = self.index.find(pattern) {
                slots.extend(self.index.members(id).iter().map(|member| member.slot));
            }
        });
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    async fn drain(&mut self) {
        self.draining = true;
        for (n, &slot) in self.slot_of.values().enumerate() {
            self.send_away(slot);
            if (n + 1) % WRITES_PER_TURN == 0 {
                yield_now().await;
            }
        }
    }

    fn send_away(&self, slot: SlotId) {
        let disconnect = ServerFrame::Disconnect {
            code: DisconnectCode::ServerShutdown,
            reconnect: true,
            retry_after_ms: fastrand::u64(..=RECONNECT_SPREAD_MS),
            cursor: &self.edge,
        };
        self.write(slot, Frames::Shared(&disconnect.encode()));
        if let Some(slot) = &self.slots.0[slot as usize] {
            slot.outlet
                .close(CloseCode::GoingAway, "the server is shutting down");
        }
    }
}

/// The frames of these events as a part of the batch, where they are one and need no position of their own.
fn contiguous(events: &[u32], batch: &Encoded) -> Option<Bytes> {
    let (&first, &last) = (events.first()?, events.last()?);
    let has_position = batch.edge.is_none() || last as usize + 1 == batch.events.len();
    ((last - first) as usize + 1 == events.len() && has_position).then(|| {
        let range = batch.events[first as usize].range.start..batch.events[last as usize].range.end;
        batch.frames.slice(range)
    })
}

/// Copies the frames of these events, and the position where the last of them does not have it.
fn copy_frames(events: impl Iterator<Item = u32>, batch: &Encoded, frames: &mut Vec<u8>) {
    let mut last = None;
    for event in events {
        frames.extend(&batch.frames[batch.events[event as usize].range.clone()]);
        last = Some(event as usize);
    }
    if last.is_some_and(|last| last + 1 != batch.events.len()) {
        // Empty in the midst of a window.
        frames.extend(&batch.cursor_frame);
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
