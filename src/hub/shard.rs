//! One share of the connections, and the task that owns them: it answers their requests between two batches, so that
//! every answer names a position that is true for what the connection has been sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::index::{Index, SlotId, SubscriptionsOf as _};
use super::plan::Plan;
use super::slots::{Slot, Slots};
use super::{Connection, Delivery, Frames, HubOptions, Request, TOO_SLOW, Written};
use crate::event::ChannelPattern;
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
    index: Index,
    plan: Plan,
    /// Slots that were sent a part of the present window and no position yet.
    owed: Vec<SlotId>,
    /// Everybody is told to come back elsewhere or later.
    draining: bool,
}

impl Shard {
    pub fn new(edge: Arc<str>, options: HubOptions, counters: Arc<Counters>) -> Self {
        Self {
            edge,
            options,
            counters,
            slots: Slots::default(),
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
                        let all = self.slots.ids();
                        self.send_to(&all, &frame).await;
                    }
                    Delivery::ToChannel(channel, frame) => {
                        let subscribers = self.plan.reached_by(channel.as_str(), &self.index);
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
        let slot = self.slots.open(connection, outlet);
        // Its request was under way when the shutdown began.
        if self.draining {
            self.send_away(slot);
        }
    }

    fn remove(&mut self, connection: u64) {
        let Some(slot) = self.slots.find(connection) else {
            return;
        };
        self.counters
            .subscriptions
            .subtract(self.slots.of(slot).len() as u64);
        self.index.leave_all(slot, &mut self.slots);
        self.slots.remove(connection);
    }

    fn subscribe(
        &mut self,
        connection: u64,
        id: Option<&RequestId>,
        channels: &[ChannelPattern],
        since: &Since,
    ) {
        let Some(slot_id) = self.slots.find(connection) else {
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
        let Some(slot_id) = self.slots.find(connection) else {
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
        if let Some(slot) = self.slots.find(connection) {
            self.write(slot, &frame.encode());
        }
    }

    fn write(&self, slot: SlotId, frames: &Bytes) {
        if let Some(slot) = self.slots.get(slot) {
            write(slot, Frames::Shared(frames), &self.counters);
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
            let mut all = self.slots.ids();
            all.retain(|&slot| self.slots.of(slot).len() > 0);
            self.send_to(&all, &frame).await;
        }
        self.plan.make(batch, &mut self.index, &mut self.slots);
        let receivers = std::mem::take(&mut self.plan.receivers);
        let mut delivered = 0;
        for (n, &slot) in receivers.iter().enumerate() {
            delivered += self.deliver_to(slot, batch);
            if (n + 1) % WRITES_PER_TURN == 0 {
                yield_now().await;
            }
        }
        self.plan.receivers = receivers;
        self.counters.deliveries.add(delivered);
        let Some(edge) = &batch.edge else { return };
        self.edge = Arc::clone(edge);
        for slot in std::mem::take(&mut self.owed) {
            // It may have left meanwhile.
            if self.slots.get(slot).is_some() && std::mem::take(&mut self.slots.get_mut(slot).owed)
            {
                self.write(slot, &batch.cursor_frame);
            }
        }
    }

    /// Gives a connection its part of the batch; gives the number of events in it.
    fn deliver_to(&mut self, id: SlotId, batch: &Encoded) -> u64 {
        let slot = self.slots.get_mut(id);
        // In the midst of a window there is no position; it is owed until the window ends.
        if batch.edge.is_some() {
            slot.owed = false;
        } else if !std::mem::replace(&mut slot.owed, true) {
            self.owed.push(id);
        }
        let part = self.plan.part(slot.planned, batch, &self.index);
        write(slot, part.frames, &self.counters);
        part.events
    }

    async fn send_to(&mut self, slots: &[SlotId], frame: &Bytes) {
        for (n, &slot) in slots.iter().enumerate() {
            self.write(slot, frame);
            if (n + 1) % WRITES_PER_TURN == 0 {
                yield_now().await;
            }
        }
    }

    async fn drain(&mut self) {
        self.draining = true;
        for (n, slot) in self.slots.ids().into_iter().enumerate() {
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
        self.write(slot, &disconnect.encode());
        if let Some(slot) = self.slots.get(slot) {
            slot.outlet
                .close(CloseCode::GoingAway, "the server is shutting down");
        }
    }
}

/// Gives a connection frames, and ends it when it has too many waiting.
fn write(slot: &Slot, frames: Frames<'_>, counters: &Counters) {
    match slot.outlet.write(frames) {
        Written::Sent | Written::Gone => {}
        Written::Queued => counters.writes_queued.add(1),
        Written::Full => {
            counters.slow_connections_closed.add(1);
            // What it has been sent may end before the present position; this batch is not all sent to it.
            slot.outlet.close(CloseCode::TryAgainLater, TOO_SLOW);
        }
    }
}
