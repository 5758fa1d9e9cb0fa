//! `Broadcaster`: owns the tail and hands its batches to registered listeners, each in order, none at the expense of
//! another. A listener too slow for its queue loses the queue, keeps its place, and reads on from the table.

mod listener;
mod probe;
mod table;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{Stream, StreamExt as _};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::{Audience, Channel, Event};
use crate::source::Source;
use crate::stats::{Counters, Stats};
use crate::tail::{self, Batch, PollInterval};

pub(crate) use probe::{Probe, Prober};
pub(crate) use table::{Ended, Reading, Table};

/// Batches, of up to 1,000 events each, that a listener may lie behind before it is sent to the table.
const QUEUE_BATCHES: usize = 64;

/// Listeners that read from the table at the same time. The others wait their turn; the live feed waits for none.
const CATCH_UP_READERS: usize = 2;

/// Listeners and clients that ask the database about their positions at the same time. After a restart thousands do, and
/// each takes a connection.
const CATCH_UP_ASKERS: usize = 2;

/// Wait after a panic of the feed.
const PANIC_WAIT: Duration = Duration::from_secs(1);

/// What listeners are handed.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// Rows.
    Batch(Arc<Batch>),
    /// Something that is no row, for whoever is connected now.
    Ephemeral(Arc<Ephemeral>),
    /// Nothing: whoever delivers says that it has come through. For the hub only.
    Probe(Arc<Probe>),
}

/// A message without a row: not stored, not resumed, gone for whoever is away.
#[derive(Debug)]
pub(crate) struct Ephemeral {
    /// Whom it is for.
    pub to: Audience,
    /// For everybody the whole frame, else the `event` of one.
    pub json: Box<RawValue>,
}

/// Turns a [`Source`] into a feed, and hands it to any number of listeners. Cheap to clone; the feed ends, and with it
/// every stream, when the last clone is dropped.
///
/// ```no_run
/// # async fn example() -> Result<(), rowcast::Error> {
/// use tokio_stream::StreamExt as _;
///
/// let database = rowcast::DatabaseConfig::new("sqlite://rowcast.db")?;
/// let source = rowcast::source::open(&database, rowcast::Migrate::Auto).await?;
/// let broadcaster = rowcast::Broadcaster::start(source, rowcast::PollInterval::default()).await?;
/// let mut events = std::pin::pin!(broadcaster.listen());
/// while let Some(event) = events.next().await {
///     println!("{} {}", event.kind, event.payload.get());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Broadcaster {
    shared: Arc<Shared>,
    _tail: Arc<TailGuard>,
}

struct Shared {
    source: Arc<dyn Source>,
    interval: PollInterval,
    counters: Arc<Counters>,
    listeners: Mutex<Listeners>,
    /// Has the tail look at once.
    woken: Arc<Notify>,
    catch_up: Semaphore,
    asking: Semaphore,
}

struct Listeners {
    /// The position after everything that was handed out.
    edge: Cursor,
    /// Whether what is handed out next leaves nothing out that comes after it.
    is_whole: bool,
    queues: Vec<Queue>,
    next_id: u64,
    stopped: bool,
}

struct Queue {
    id: u64,
    items: mpsc::Sender<Item>,
    /// Whether the tail waits for this one. Only the hub is worth it: it waits for nobody itself.
    awaited: bool,
}

impl Queue {
    /// Not the id of any listener: a hub's queue goes when its receiver does.
    const HUB: u64 = u64::MAX;
}

impl Broadcaster {
    /// Starts the feed at the present position of the source: what is committed from now on will be handed out.
    ///
    /// # Errors
    /// When the source cannot say where it is. Later errors do not end the feed; it waits, and goes on.
    pub async fn start(source: Arc<dyn Source>, interval: PollInterval) -> Result<Self, Error> {
        let edge = source.edge().await?;
        let counters = Arc::new(Counters::default());
        counters.looked.beat();
        let shared = Arc::new(Shared {
            source,
            interval,
            counters,
            listeners: Mutex::new(Listeners {
                edge,
                is_whole: true,
                queues: Vec::new(),
                next_id: 0,
                stopped: false,
            }),
            woken: Arc::default(),
            catch_up: Semaphore::new(CATCH_UP_READERS),
            asking: Semaphore::new(CATCH_UP_ASKERS),
        });
        let task = tokio::spawn(run_tail(Arc::clone(&shared), interval));
        Ok(Self {
            _tail: Arc::new(TailGuard {
                shared: Arc::clone(&shared),
                task,
            }),
            shared,
        })
    }

    /// All events from now on, in order, each once. The stream ends when the broadcaster does.
    ///
    /// It may be read slowly: 64 batches behind, it is sent to read on from the table, and still misses nothing.
    pub fn listen(&self) -> impl Stream<Item = Arc<Event>> + Send + use<> {
        listener::events(&self.shared)
    }

    /// Calls `callback` with every event from now on, in order, on a thread of its own, until the handle is dropped.
    /// It may block. A panic of the callback is caught, counted and logged, and the next event is handed to it.
    pub fn add_listener(
        &self,
        mut callback: impl FnMut(&Event) + Send + 'static,
    ) -> ListenerHandle {
        let events = self.listen();
        let counters = Arc::clone(&self.shared.counters);
        let (stop, mut stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Handle::current();
        let listen = async move {
            let mut events = std::pin::pin!(events);
            loop {
                // Asked before every event: a batch may have many, and none is wanted after the drop.
                let event = tokio::select! {
                    biased;
                    _ = &mut stopped => break,
                    event = events.next() => event,
                };
                let Some(event) = event else { break };
                if std::panic::catch_unwind(AssertUnwindSafe(|| callback(&event))).is_err() {
                    counters.listener_panics.add(1);
                    tracing::error!(
                        id = event.id.0,
                        "a listener panicked on an event; it is handed the next one"
                    );
                }
            }
        };
        // The thread ends with the handle, or with the stream.
        let spawned = std::thread::Builder::new()
            .name("rowcast-listener".into())
            // Unconstrained: it has the thread for itself, and a budget used up would hide the drop of the handle.
            .spawn(move || runtime.block_on(tokio::task::unconstrained(listen)));
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for a listener; it will hear nothing");
        }
        ListenerHandle { _stop: stop }
    }

    /// Sends a message as it is to every connected client. It is not stored: whoever is away misses it.
    ///
    /// # Errors
    /// When the message does not serialize to JSON.
    pub async fn broadcast_to_all(&self, message: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.send_ephemeral(Audience::All, message).await
    }

    /// Sends an event that is no row to the subscribers of a channel, on this server. Whoever is away misses it.
    ///
    /// # Errors
    /// When the event does not serialize to JSON.
    pub async fn broadcast_to_channel(
        &self,
        channel: Channel,
        event: &(impl Serialize + ?Sized),
    ) -> Result<(), Error> {
        self.send_ephemeral(Audience::Channel(channel), event).await
    }

    /// Sends an event that is no row to every connection of a user, on this server, whatever it subscribes to. Whoever is
    /// away misses it.
    ///
    /// # Errors
    /// When the event does not serialize to JSON.
    pub async fn send_to_user(
        &self,
        user: &str,
        event: &(impl Serialize + ?Sized),
    ) -> Result<(), Error> {
        self.send_ephemeral(Audience::User(user.into()), event)
            .await
    }

    /// Sends an event that is no row to the subscribers of `inbox:<recipient>`. Whoever is away misses it.
    ///
    /// # Errors
    /// When `recipient` does not make a channel name, or the event does not serialize to JSON.
    pub async fn broadcast_inbox_event(
        &self,
        recipient: &str,
        event: &(impl Serialize + ?Sized),
    ) -> Result<(), Error> {
        let channel = Channel::parse(&format!("inbox:{recipient}")).map_err(|error| {
            Error::Config(format!("address the inbox of {recipient:?}: {error}"))
        })?;
        self.broadcast_to_channel(channel, event).await
    }

    /// Has the table looked at now, for whoever has just inserted into it. Without it, it is found at the next look.
    pub fn wake(&self) {
        self.shared.woken.notify_one();
    }

    /// How many clients are connected.
    #[must_use]
    pub fn client_count(&self) -> u64 {
        self.shared.counters.connections.get()
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.snapshot()
    }

    /// The position after everything handed out so far.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.shared.lock().edge.clone()
    }

    pub(crate) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// A queue that never overflows: the tail waits for it. For the hub.
    pub(crate) fn attach(&self) -> (Cursor, mpsc::Receiver<Item>) {
        let mut listeners = self.shared.lock();
        let queue = listeners.open_queue(Queue::HUB, true);
        (listeners.edge.clone(), queue)
    }

    /// The way of a batch, to be tried out.
    pub(crate) fn prober(&self) -> Prober {
        Prober::new(Arc::clone(&self.shared))
    }

    /// The table that the feed is read from.
    pub(crate) fn table(&self) -> Table {
        Table::new(Arc::clone(&self.shared))
    }

    /// Sends a message that is no row.
    pub(crate) async fn send_ephemeral(
        &self,
        to: Audience,
        message: &(impl Serialize + ?Sized),
    ) -> Result<(), Error> {
        let json = to_raw_value(message)
            .map_err(|error| Error::Config(format!("send a message that is not JSON: {error}")))?;
        self.shared
            .hand_out(Item::Ephemeral(Arc::new(Ephemeral { to, json })))
            .await;
        Ok(())
    }
}

/// Keeps a listener registered; dropping it ends the calls.
#[must_use = "dropping the handle unregisters the listener"]
#[derive(Debug)]
pub struct ListenerHandle {
    _stop: oneshot::Sender<()>,
}

struct TailGuard {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for TailGuard {
    fn drop(&mut self) {
        self.task.abort();
        let mut listeners = self.shared.lock();
        listeners.stopped = true;
        listeners.queues.clear();
    }
}

/// Hands out what the tail reads, for ever. A panic in it is a bug of ours, and not worth the feed.
async fn run_tail(shared: Arc<Shared>, interval: PollInterval) {
    loop {
        let edge = shared.lock().edge.clone();
        let batches = tail::follow(
            Arc::clone(&shared.source),
            edge,
            interval,
            Arc::clone(&shared.counters),
            Arc::clone(&shared.woken),
        );
        let hand_out = batches.for_each(|batch| shared.hand_out(Item::Batch(Arc::new(batch))));
        if AssertUnwindSafe(hand_out).catch_unwind().await.is_err() {
            tracing::error!(
                "the feed panicked, which is a bug; it goes on after the last events it handed out"
            );
            sleep(PANIC_WAIT).await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Listeners> {
        // Every change under this lock is whole, also where a panic came between two.
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn hand_out(&self, item: Item) {
        let mut awaited = Vec::new();
        {
            let mut listeners = self.lock();
            if let Item::Batch(batch) = &item {
                listeners.edge = batch.upto.clone();
                listeners.is_whole = batch.is_joined_by_the_next();
            }
            listeners.queues.retain(|queue| {
                if queue.awaited {
                    awaited.push(queue.items.clone());
                    return !queue.items.is_closed();
                }
                if matches!(item, Item::Probe(_)) {
                    return true;
                }
                match queue.items.try_send(item.clone()) {
                    Ok(()) => true,
                    Err(mpsc::error::TrySendError::Closed(_)) => false,
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        self.counters.listeners_lagged.add(1);
                        tracing::warn!("a listener is {QUEUE_BATCHES} batches behind; it reads on from the table");
                        false
                    }
                }
            });
        }
        for queue in awaited {
            // Closed means the hub has ended.
            let _ = queue.send(item.clone()).await;
        }
    }
}

impl Listeners {
    fn open_queue(&mut self, id: u64, awaited: bool) -> mpsc::Receiver<Item> {
        let (items, queue) = mpsc::channel(QUEUE_BATCHES);
        if !self.stopped {
            self.queues.push(Queue { id, items, awaited });
        }
        queue
    }
}
