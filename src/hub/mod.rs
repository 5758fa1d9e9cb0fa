//! Channel → subscribers. Every batch is encoded once; each connection is given all it receives of it in one write.
//! Connections are spread over shards, each one task that owns its share, so that nothing here waits for a lock.

mod access;
#[cfg(any(test, feature = "bench"))]
pub(crate) mod bench;
mod catch_up;
mod census;
mod ending;
mod explain;
mod history;
mod index;
mod interests;
mod plan;
mod reader;
mod readiness;
mod request;
mod roll;
mod seat;
mod shard;
mod slots;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::auth::{Identity, Permit};
use crate::broadcaster::{Broadcaster, Item};
use crate::event::EventId;
use crate::presence::{News, Presence};
use crate::protocol::{CloseCode, Presets, Shape, Shapes};
use crate::stats::Counters;

pub(crate) use census::Census;
pub(crate) use ending::Ending;
pub(crate) use explain::{Account, Explained, Verdict};
use history::History;
pub(crate) use reader::{Reader, Sources, Step};
pub(crate) use readiness::{Checks, Readiness, Stuck};
pub(crate) use request::{Delivery, Request};
pub(crate) use roll::{Entry, Roll, Standing, Whose};
pub(crate) use seat::Seat;
use shard::Shard;

/// Batches a shard may lie behind before the next is encoded.
const SHARD_QUEUE_BATCHES: usize = 4;

/// Requests of clients a shard may lie behind before clients wait.
const SHARD_QUEUE_REQUESTS: usize = 1024;

/// Parts of a batch, of about a megabyte, that are smaller than this are not worth keeping it for.
const KEPT_SHARED_BYTES_MIN: usize = 16 * 1024;

/// Tells a client why it is closed that knows no other way of being told to refetch.
const REFETCH: &str = "what was missed cannot be told: reconnect, and refetch";

/// Tells a client why it is closed that asks on and on and does not read the answers.
pub(crate) const FLOODING: &str = "asking faster than reading the answers; reconnect and resume";

/// What a connection may use.
#[derive(Debug, Clone, Copy)]
pub struct HubOptions {
    /// Tasks that write to sockets. As many as cores: more only cost.
    pub shards: usize,
    /// Most subscriptions of one connection.
    pub subscriptions_max: usize,
    /// Largest message of a client, in bytes.
    pub message_bytes_max: usize,
    /// Most bytes that wait for a connection whose socket takes no more. Beyond it, it is sent on from memory or the
    /// table as fast as it reads.
    pub outbox_bytes_max: usize,
    /// Most bytes of events kept for those who come back.
    pub recent_bytes_max: usize,
    /// Most events that a client is sent when it comes back. One that has missed more is told to refetch. None: all that
    /// retention keeps.
    pub replay_events_max: Option<u64>,
    /// Most messages of a connection within a minute, pings included. None: as many as it likes.
    pub messages_per_minute_max: Option<u32>,
    /// How often a WebSocket is pinged. One that says nothing for two intervals is taken for dead. None: never.
    pub ping_interval: Option<Duration>,
    /// How long a client may take to say who it is, where that is asked.
    pub hello_timeout: Duration,
    /// Whether events are compressed for the WebSockets that offer it (permessage-deflate), once for all of them.
    pub compression: bool,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            shards: std::thread::available_parallelism().map_or(1, usize::from),
            // A page with a thousand subscriptions wants a pattern.
            subscriptions_max: 1000,
            // A thousand channels of the longest names fit in four messages.
            message_bytes_max: 64 * 1024,
            // A second of a busy feed.
            outbox_bytes_max: 1024 * 1024,
            // A minute of a thousand events a second of half a kilobyte.
            recent_bytes_max: 32 * 1024 * 1024,
            replay_events_max: None,
            // A page that names its channels in one message sends a handful.
            messages_per_minute_max: Some(100),
            // Proxies cut what is silent for a minute.
            ping_interval: Some(Duration::from_secs(30)),
            hello_timeout: Duration::from_secs(10),
            // It tells lengths that depend on what is in an event, and costs where few receive the same.
            compression: false,
        }
    }
}

/// A client's end of the line. Implemented by a transport, called by the hub.
pub trait Connection: Send + Sync + 'static {
    /// Sends complete frames, at once or from a queue; never blocks.
    fn write(&self, frames: Frames<'_>) -> Written;

    /// Sends an answer to the client's own request. There is room for a few where there is none for events.
    fn reply(&self, frame: &Bytes) -> Written;

    /// Most bytes that may wait.
    fn queue_bytes_max(&self) -> usize;

    /// Waits until so many bytes more may wait, or nothing does. False when the connection is closing.
    fn room(&self, bytes: usize) -> BoxFuture<'_, bool>;

    /// Whether the client was heard, or took what waited for it, since this was asked last.
    fn take_heard(&self) -> bool {
        true
    }

    /// Whether something waits for the client.
    fn has_waiting(&self) -> bool {
        false
    }

    /// How many bytes wait for the client.
    fn queued_bytes(&self) -> usize {
        0
    }

    /// Ends the connection with a close handshake, after what was written before. When the queue is the reason, it is
    /// dropped.
    fn close(&self, code: CloseCode, reason: &str);
}

/// Frames to send.
#[derive(Debug, Clone, Copy)]
pub enum Frames<'a> {
    /// The same for many; kept by reference where they have to wait.
    Shared(&'a Bytes),
    /// For this one only; copied where they have to wait.
    Own(&'a [u8]),
}

impl Frames<'_> {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }

    /// From `from` on, to be kept. A small part is copied, as it would keep all of its batch in memory.
    #[must_use]
    pub fn keep(&self, from: usize) -> Bytes {
        match self {
            Self::Shared(bytes) if bytes.len() - from > KEPT_SHARED_BYTES_MIN => {
                bytes.slice(from..)
            }
            _ => Bytes::copy_from_slice(&self.as_slice()[from..]),
        }
    }
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The socket has it.
    Sent,
    /// It waits, in whole or in part.
    Queued,
    /// More would wait than may; nothing of it was taken.
    Full,
    /// The connection is closing, or is no more.
    Gone,
}

/// Hands events to the connections that subscribed to their channels. Cheap to clone; ends with its broadcaster.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    shards: Vec<mpsc::Sender<Request>>,
    next_id: AtomicU64,
    options: HubOptions,
    sources: Sources,
    /// Whether the end has begun.
    draining: watch::Sender<bool>,
    readiness: Readiness,
    presence: Option<Presence>,
    encoder: JoinHandle<()>,
}

impl Hub {
    /// Starts distributing what the broadcaster hands out.
    #[must_use]
    pub fn start(broadcaster: &Broadcaster, options: HubOptions) -> Self {
        Self::with_presets(broadcaster, options, &Presets::default())
    }

    /// The same for clients that speak by these presets too.
    #[must_use]
    pub fn with_presets(broadcaster: &Broadcaster, options: HubOptions, presets: &Presets) -> Self {
        Self::with_presence(broadcaster, options, presets, None)
    }

    /// The same, telling who is on which channel.
    pub(crate) fn with_presence(
        broadcaster: &Broadcaster,
        options: HubOptions,
        presets: &Presets,
        presence: Option<Presence>,
    ) -> Self {
        let counters = broadcaster.counters();
        let (edge, mut items) = broadcaster.attach();
        let sources = Sources {
            history: Arc::new(History::new(edge, options.recent_bytes_max)),
            table: broadcaster.table(),
            shapes: Arc::new(Shapes::new(presets, options.compression)),
            counters,
        };
        let (shards, deliveries): (Vec<_>, Vec<_>) = (0..options.shards.max(1))
            .map(|_| {
                let (requests_tx, requests) = mpsc::channel(SHARD_QUEUE_REQUESTS);
                let (deliveries_tx, deliveries) = mpsc::channel(SHARD_QUEUE_BATCHES);
                let requests_back = requests_tx.downgrade();
                let shard = Shard::new(sources.clone(), options, requests_back, presence.clone());
                tokio::spawn(shard.run(requests, deliveries));
                (requests_tx, deliveries_tx)
            })
            .unzip();
        let readiness = Readiness::new(broadcaster.prober(), shards.len());
        let own_shards: Vec<_> = shards.clone();
        let own_sources = sources.clone();
        let encoder = tokio::spawn(async move {
            while let Some(item) = items.recv().await {
                let delivery = match item {
                    Item::Batch(batch) => {
                        let Sources {
                            history, shapes, ..
                        } = &own_sources;
                        let batch = Arc::new(own_sources.encoded(batch));
                        // While shards write the batch before it.
                        for shape in shapes.in_use() {
                            batch.prepare(shape);
                        }
                        Delivery::Batch(history.push(&batch), batch)
                    }
                    Item::Probe(probe) => Delivery::Probe(probe),
                    Item::Ephemeral(message) => Delivery::Ephemeral(message),
                };
                for shard in &deliveries {
                    // A shard ends only with the hub.
                    let _ = shard.send(delivery.clone()).await;
                }
            }
            // The broadcaster has ended. A client that stayed would wait for ever.
            ask_all(&own_shards, || Request::Drain {
                grace: Duration::ZERO,
                ending: Ending::Shutdown,
            })
            .await;
        });
        Self {
            inner: Arc::new(Inner {
                shards,
                next_id: AtomicU64::new(0),
                options,
                sources,
                draining: watch::Sender::new(false),
                readiness,
                presence,
                encoder,
            }),
        }
    }

    /// What a connection may use.
    #[must_use]
    pub fn options(&self) -> &HubOptions {
        &self.inner.options
    }

    pub(crate) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.inner.sources.counters)
    }

    /// The ways of speaking to its clients.
    pub(crate) fn shapes(&self) -> &Shapes {
        &self.inner.sources.shapes
    }

    /// Where what was missed is read from.
    pub(crate) fn sources(&self) -> &Sources {
        &self.inner.sources
    }

    /// The position after everything that was handed out, as clients get it.
    pub(crate) fn edge(&self) -> Arc<str> {
        self.inner.sources.history.end().1
    }

    /// Whether the feed is moving.
    pub(crate) fn readiness(&self) -> &Readiness {
        &self.inner.readiness
    }

    /// What became of an event for the connections of a user, or for all. None when a shard does not answer within 2 s.
    pub(crate) async fn explain(
        &self,
        event: EventId,
        transaction: Option<u64>,
        channels: &str,
        user: Option<&str>,
    ) -> Option<Explained> {
        explain::ask(
            &self.inner.shards,
            &self.inner.sources.history,
            event,
            transaction,
            channels,
            user,
        )
        .await
    }

    /// Who is there. None when a shard does not answer within 2 s.
    pub(crate) async fn census(&self) -> Option<Census> {
        census::take(&self.inner.shards).await
    }

    /// Who of those is connected, one by one. None when a shard does not answer within 2 s.
    pub(crate) async fn roll(&self, whose: &Whose) -> Option<Roll> {
        roll::call(&self.inner.shards, whose).await
    }

    /// Takes a connection in. It receives nothing before it subscribes.
    pub(crate) async fn open(
        &self,
        outlet: Arc<dyn Connection>,
        shape: Shape,
        identity: Option<Arc<Identity>>,
    ) -> Seat {
        let connection = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        let shard = self.inner.shards[connection as usize % self.inner.shards.len()].clone();
        let seat = Seat::take(connection, shard, self.counters());
        seat.ask(Request::Open {
            connection,
            outlet,
            shape,
            identity,
        })
        .await;
        seat
    }

    /// Tells every client to come back, each at a time of its own, and closes their connections one after the other
    /// within this time. Those that are opened meanwhile are closed at once.
    pub(crate) async fn drain(&self, grace: Duration) {
        self.inner.draining.send_replace(true);
        let ending = Ending::Shutdown;
        ask_all(&self.inner.shards, || Request::Drain { grace, ending }).await;
    }

    /// The same for those that are connected now, as what they may see has changed.
    pub(crate) async fn renew(&self, grace: Duration) {
        let ending = Ending::GrantsChanged;
        ask_all(&self.inner.shards, || Request::Drain { grace, ending }).await;
    }

    /// Ends the connections of all who are meant.
    pub(crate) async fn disconnect(
        &self,
        ending: Ending,
        is_meant: impl Fn(&Identity) -> bool + Send + Sync + 'static,
    ) {
        let is_meant: Arc<dyn Fn(&Identity) -> bool + Send + Sync> = Arc::new(is_meant);
        ask_all(&self.inner.shards, || Request::Disconnect {
            is_meant: Arc::clone(&is_meant),
            ending,
        })
        .await;
    }

    /// Ends the permissions for single channels that are meant.
    pub(crate) async fn take_back(
        &self,
        is_meant: impl Fn(&Permit) -> bool + Send + Sync + 'static,
    ) {
        let is_meant: Arc<dyn Fn(&Permit) -> bool + Send + Sync> = Arc::new(is_meant);
        ask_all(&self.inner.shards, || Request::TakeBack {
            is_meant: Arc::clone(&is_meant),
        })
        .await;
    }

    /// Who is on which channel, where that is kept.
    pub(crate) fn presence(&self) -> Option<&Presence> {
        self.inner.presence.as_ref()
    }

    /// Tells those who asked for it who came to channels, and who left.
    pub(crate) async fn tell_presence(&self, news: News) {
        let news = Arc::new(news);
        ask_all(&self.inner.shards, || Request::Presence(Arc::clone(&news))).await;
    }

    /// Ends when the server is about to.
    pub(crate) async fn drained(&self) {
        let mut draining = self.inner.draining.subscribe();
        // It fails when the hub is gone.
        let _ = draining.wait_for(|draining| *draining).await;
    }
}

async fn ask_all(shards: &[mpsc::Sender<Request>], request: impl Fn() -> Request) {
    for shard in shards {
        let _ = shard.send(request()).await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The shards end when nobody can deliver to them or ask them any more.
        self.encoder.abort();
    }
}
