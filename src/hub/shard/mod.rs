//! One share of the connections, and the task that owns them: it answers their requests between two batches, so that
//! every answer names a position that is true for what the connection has been sent.

#[cfg(any(test, feature = "bench"))]
mod bench;
mod explain;
mod lifetime;
mod presence;
mod roll;
mod subscriptions;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::access::Access;
use super::catch_up::{CatchUp, Change, Join, Joined, Wishes};
use super::census::Census;
use super::history::BatchNumber;
use super::index::{Index, SlotId, SubscriptionsOf as _};
use super::plan::Plan;
use super::reader::{Reader, Sources};
use super::slots::{Slot, Slots};
use super::{Connection, Delivery, FLOODING, HubOptions, REFETCH, Request, Written};
use crate::auth::Identity;
use crate::broadcaster::Ephemeral;
use crate::cursor::Cursor;
use crate::event::{Audience, ChannelPattern};
use crate::presence::Presence;
use crate::protocol::{
    CloseCode, Encoded, Limits, PROTOCOL_VERSION, RequestId, ResetReason, ServerFrame, Shape,
};
use lifetime::{Clock, Leaving};
use presence::Attendance;
use subscriptions::Asked;

/// Writes between two chances for other tasks: 128 of them take about a millisecond.
const WRITES_PER_TURN: usize = 128;

pub(super) struct Shard {
    /// The position of everything sent so far, as a text too.
    position: Cursor,
    edge: Arc<str>,
    /// The number of the batch after it.
    next: BatchNumber,
    sources: Sources,
    options: HubOptions,
    /// The way back here for clients that have caught up.
    requests: mpsc::WeakSender<Request>,
    slots: Slots,
    index: Index,
    plan: Plan,
    clock: Clock,
    leaving: Leaving,
    /// None: nobody keeps who is on which channel.
    attendance: Option<Box<Attendance>>,
}

impl Shard {
    pub fn new(
        sources: Sources,
        options: HubOptions,
        requests: mpsc::WeakSender<Request>,
        presence: Option<Presence>,
    ) -> Self {
        let (position, edge, next) = sources.history.end();
        Self {
            position,
            edge,
            next,
            sources,
            options,
            requests,
            slots: Slots::default(),
            index: Index::default(),
            plan: Plan::default(),
            clock: Clock::new(options.ping_interval),
            leaving: Leaving::default(),
            attendance: presence.map(Attendance::new).map(Box::new),
        }
    }

    /// Runs until the hub is gone.
    pub async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut deliveries: mpsc::Receiver<Delivery>,
    ) {
        let mut ticks = self.clock.ticks();
        loop {
            tokio::select! {
                Some(delivery) = deliveries.recv() => match delivery {
                    Delivery::Batch(number, batch) => self.deliver(number, &batch).await,
                    Delivery::Ephemeral(message) => self.pass_on(&message).await,
                    Delivery::Probe(probe) => probe.pass(),
                },
                Some(request) = requests.recv() => self.answer(request).await,
                _ = ticks.tick() => self.tick().await,
                () = self.leaving.next_is_due() => self.send_away_due().await,
                else => break,
            }
        }
    }

    async fn answer(&mut self, request: Request) {
        match request {
            Request::Open {
                connection,
                outlet,
                shape,
                identity,
            } => self.open(connection, outlet, shape, identity),
            Request::Identify {
                connection,
                identity,
                id,
                is_answered,
            } => {
                self.identify(connection, &identity);
                if is_answered {
                    self.answer_auth(connection, id.as_ref(), &identity);
                }
            }
            Request::Remove { connection } => self.remove(connection),
            Request::Welcome { connection, id } => self.welcome(connection, id.as_ref()),
            Request::Subscribe {
                connection,
                id,
                channels,
                since,
                permits,
                presence,
            } => {
                let asked = Asked {
                    channels: &channels,
                    since: &since,
                    permits,
                    presence,
                };
                self.subscribe(connection, id.as_ref(), asked);
            }
            Request::Presence(news) => self.tell_presence(&news).await,
            Request::Unsubscribe {
                connection,
                id,
                channels,
            } => self.unsubscribe(connection, id.as_ref(), &channels),
            Request::Pong { connection, id } => {
                self.reply(connection, |cursor| ServerFrame::Pong {
                    id: id.as_ref(),
                    cursor,
                });
            }
            Request::KeepAlive { connection } => self.keep_alive(connection),
            Request::Join(join) => self.join(*join),
            Request::Drain { grace, ending } => self.drain(grace, ending).await,
            Request::Disconnect { is_meant, ending } => self.disconnect(&*is_meant, ending).await,
            Request::TakeBack { is_meant } => self.take_back(&*is_meant),
            Request::Explain(question, answer) => {
                // Whoever asked may be gone.
                let _ = answer.send(self.explain(&question));
            }
            Request::Census(answer) => {
                // Whoever asked may be gone.
                let _ = answer.send(self.census());
            }
            Request::Roll(whose, answer) => {
                // Whoever asked may be gone.
                let _ = answer.send(self.roll(&whose));
            }
        }
    }

    fn census(&self) -> Census {
        let sizes = self.index.sizes();
        Census {
            clients: self.slots.len(),
            channels: sizes.map(|(name, size)| (name.into(), size)).collect(),
        }
    }

    fn open(
        &mut self,
        connection: u64,
        outlet: Arc<dyn Connection>,
        shape: Shape,
        identity: Option<Arc<Identity>>,
    ) {
        let pulse = self.clock.first_pulse(self.options.hello_timeout);
        let access = Access::new(identity);
        let slot = self
            .slots
            .open(connection, outlet, shape, access, pulse, self.next);
        // Its request was under way when the shutdown began.
        if let Some(ending) = self.leaving.everybody() {
            self.send_away(slot, ending);
        }
    }

    fn welcome(&mut self, connection: u64, id: Option<&RequestId>) {
        let Some(slot) = self.slots.find(connection) else {
            return;
        };
        let slot = self.slots.get_mut(slot);
        slot.pulse.has_greeted = true;
        let identity = slot.access.identity().cloned();
        let identity = identity.as_deref();
        let limits = Limits {
            channels: self.options.subscriptions_max,
            message_bytes: self.options.message_bytes_max,
            messages_per_minute: self.options.messages_per_minute_max,
        };
        let ping_interval = self.options.ping_interval;
        let name = format!("c{connection}");
        self.reply(connection, |cursor| ServerFrame::Welcome {
            id,
            protocol: PROTOCOL_VERSION,
            connection_id: &name,
            user_id: identity.and_then(|identity| identity.user.as_deref()),
            expires_at: identity.and_then(lifetime::expires_at),
            cursor,
            limits,
            ping_interval_ms: ping_interval.map(|interval| interval.as_millis() as u64),
            server: concat!("rowcast/", env!("CARGO_PKG_VERSION")),
        });
    }

    fn remove(&mut self, connection: u64) {
        let Some(slot) = self.slots.find(connection) else {
            return;
        };
        self.sources
            .counters
            .subscriptions
            .subtract(self.slots.of(slot).len() as u64);
        self.index.leave_all(slot, &mut self.slots);
        self.slots.remove(connection);
        if let Some(attendance) = &mut self.attendance {
            attendance.remove(connection);
        }
    }

    fn patterns_of(&mut self, slot: SlotId) -> Vec<ChannelPattern> {
        let own = self.slots.of(slot);
        self.index
            .names(own)
            .map(|name| ChannelPattern::parse(name).expect("it was subscribed to"))
            .collect()
    }

    /// Leaves a client to a task of its own, from here on, until it has caught up. `next` is the first batch that it does not
    /// have, and `told` the position that it has been told.
    fn fall_behind(
        &mut self,
        slot_id: SlotId,
        patterns: &[ChannelPattern],
        next: Option<BatchNumber>,
        told: Option<Cursor>,
        first: Vec<Change>,
    ) {
        let position = &self.position;
        let mut reader = Reader::new(self.sources.clone(), position.clone(), next);
        reader.interests().add(patterns, None);
        let slot = self.slots.get_mut(slot_id);
        // Its first wish is there before it begins.
        let wishes = Arc::new(Wishes::new(told, first));
        slot.catching_up = Some(Arc::clone(&wishes));
        let task = CatchUp {
            connection: slot.connection,
            outlet: Arc::clone(&slot.outlet),
            shape: slot.shape.clone(),
            shard: self.requests.clone(),
            wishes: Arc::clone(&wishes),
            reader,
            counters: Arc::clone(&self.sources.counters),
            events_max: self.options.replay_events_max,
            asked: Vec::new(),
        };
        tokio::spawn(task.run());
    }

    /// Takes a client back that has caught up.
    fn join(&mut self, join: Join) {
        let slot = self
            .slots
            .find(join.connection)
            .map(|slot| self.slots.get_mut(slot));
        let joined = match slot {
            Some(slot) if slot.is_caught_up_by(&join.wishes) => {
                if join.next < self.next || !join.wishes.is_empty() {
                    Joined::NotYet
                } else {
                    slot.catching_up = None;
                    // Its task may have been faster than this shard.
                    slot.from = join.next;
                    if !join.caught_up.is_empty() {
                        slot.outlet.reply(&join.caught_up);
                    }
                    Joined::Live
                }
            }
            _ => Joined::Gone,
        };
        let _ = join.answer.send(joined);
    }

    /// Answers a request. The frame is told the position of what the client has been sent, where it is known here.
    fn reply<'a>(
        &'a self,
        connection: u64,
        frame: impl FnOnce(Option<&'a str>) -> ServerFrame<'a>,
    ) {
        let Some(id) = self.slots.find(connection) else {
            return;
        };
        let Some(slot) = self.slots.get(id) else {
            return;
        };
        let frame = frame(self.cursor_of(slot)).encode(&slot.shape);
        match slot.outlet.reply(&frame) {
            Written::Sent | Written::Gone => {}
            Written::Queued => self.sources.counters.writes_queued.add(1),
            Written::Full => self.flooded(id),
        }
    }

    fn keep_alive(&self, connection: u64) {
        if let Some(slot) = self
            .slots
            .find(connection)
            .and_then(|id| self.slots.get(id))
        {
            let frame = match self.cursor_of(slot) {
                Some(cursor) => slot.shape.cursor(cursor),
                None => slot.shape.nothing(),
            };
            slot.outlet.reply(&frame);
        }
    }

    /// The position of everything the client was sent, where that is known here. Who has not subscribed was sent nothing:
    /// a client that comes back must not take the present for its place before it has said where that is.
    fn cursor_of(&self, slot: &Slot) -> Option<&str> {
        let is_here = slot.catching_up.is_none() && slot.from <= self.next;
        (is_here && slot.subscriptions.len() > 0).then_some(&*self.edge)
    }

    fn flooded(&self, slot: SlotId) {
        self.sources.counters.flooding_connections_closed.add(1);
        if let Some(slot) = self.slots.get(slot) {
            slot.outlet.close(CloseCode::TryAgainLater, FLOODING);
        }
    }

    /// One pass over the topics that the batch has events for, one write for every connection that has any of them.
    async fn deliver(&mut self, number: BatchNumber, batch: &Encoded) {
        if batch.batch.reset {
            let mut all = self.slots.ids();
            // Whoever is catching up finds it out for himself.
            all.retain(|&id| {
                let slot = self.slots.get_mut(id);
                slot.catching_up.is_none() && slot.subscriptions.len() > 0
            });
            let reset = ServerFrame::Reset {
                reason: ResetReason::Epoch,
                cursor: &batch.edge,
            };
            self.sources.counters.client_resets.add(all.len() as u64);
            for &id in &all {
                let slot = self.slots.get_mut(id);
                if !slot.shape.has_reset() {
                    slot.pulse.is_leaving = true;
                    slot.outlet.close(CloseCode::ServiceRestart, REFETCH);
                }
            }
            self.send_to(&all, |shape| reset.encode(shape)).await;
        }
        self.plan.make(batch, &mut self.index, &mut self.slots);
        let receivers = std::mem::take(&mut self.plan.receivers);
        let mut delivered = 0;
        for (n, &slot) in receivers.iter().enumerate() {
            delivered += self.deliver_to(slot, number, batch);
            if (n + 1) % WRITES_PER_TURN == 0 {
                yield_now().await;
            }
        }
        self.plan.receivers = receivers;
        self.sources.counters.deliveries.add(delivered);
        if let Some(oldest) = batch.oldest.filter(|_| delivered > 0) {
            // Where the database's clock is ahead of ours it is taken for none.
            let lag = oldest.elapsed().unwrap_or_default();
            self.sources.counters.delivered_after(lag);
        }
        self.position = batch.batch.upto.clone();
        self.edge = Arc::clone(&batch.edge);
        self.next = number + 1;
    }

    /// Gives a connection its part of the batch; gives the number of events in it.
    fn deliver_to(&mut self, id: SlotId, number: BatchNumber, batch: &Encoded) -> u64 {
        let slot = self.slots.get_mut(id);
        if slot.catching_up.is_some() || number < slot.from {
            return 0;
        }
        let (shape, subscriptions) = (&slot.shape, &slot.subscriptions);
        let part = self
            .plan
            .part(slot.planned, batch, shape, subscriptions, &self.index);
        match slot.outlet.write(part.frames) {
            Written::Sent => part.events,
            Written::Gone => 0,
            Written::Queued => {
                self.sources.counters.writes_queued.add(1);
                part.events
            }
            Written::Full => {
                self.sources.counters.slow_connections.add(1);
                let patterns = self.patterns_of(id);
                self.fall_behind(
                    id,
                    &patterns,
                    Some(number),
                    Some(self.position.clone()),
                    Vec::new(),
                );
                0
            }
        }
    }

    /// Gives what is no row to whom it is for.
    async fn pass_on(&mut self, message: &Ephemeral) {
        let json = &message.json;
        match &message.to {
            Audience::All => {
                let mut all = self.slots.ids();
                // Who has yet to say who it is receives nothing.
                all.retain(|&id| self.slots.get_mut(id).access.identity().is_some());
                let json = json.get().as_bytes();
                self.send_to(&all, |shape| shape.message(json)).await;
            }
            Audience::Channel(channel) => {
                let channel = channel.as_str();
                let subscribers = self.plan.reached_by(channel, &self.index);
                self.send_to(&subscribers, |shape| shape.ephemeral(channel, json))
                    .await;
            }
            Audience::User(user) => {
                // O(connections of the shard): there is no index of users, as few messages go to one.
                let mut own = self.slots.ids();
                own.retain(|&id| {
                    let identity = self.slots.get_mut(id).access.identity();
                    identity.is_some_and(|identity| identity.user.as_deref() == Some(user))
                });
                let channel = format!("user:{user}");
                self.send_to(&own, |shape| shape.ephemeral(&channel, json))
                    .await;
            }
        }
    }

    /// Sends what is no row. A client that takes no more misses it.
    async fn send_to(&mut self, slots: &[SlotId], frame: impl Fn(&Shape) -> Bytes) {
        let mut shaped = vec![None; self.sources.shapes.len()];
        for (n, &slot) in slots.iter().enumerate() {
            if let Some(slot) = self.slots.get(slot) {
                let frame = shaped[slot.shape.number()].get_or_insert_with(|| frame(&slot.shape));
                if slot.outlet.reply(frame) == Written::Full {
                    self.sources.counters.ephemeral_dropped.add(1);
                }
            }
            if (n + 1) % WRITES_PER_TURN == 0 {
                yield_now().await;
            }
        }
    }
}
