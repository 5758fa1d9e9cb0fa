//! `Broadcaster`: owns the tail and hands its batches to registered listeners, each in order, none at the expense of
//! another. A listener too slow for its queue loses the queue, keeps its place, and reads on from the table.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_stream::stream;
use futures_util::FutureExt as _;
use futures_util::stream::{Stream, StreamExt as _};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::{Channel, Event, EventId};
use crate::source::{Source, Window};
use crate::stats::{Counters, Stats};
use crate::tail::{self, Batch, PollInterval};

/// Batches, of up to 1,000 events each, that a listener may lie behind before it is sent to the table.
const QUEUE_BATCHES: usize = 64;

/// Listeners that read from the table at the same time. The others wait their turn; the live feed waits for none.
const CATCH_UP_READERS: usize = 2;

/// Rows that are read from the table ahead of a listener.
const CATCH_UP_ROWS: usize = 256;

/// How long they may lie there before it loses its turn: it may never come back for them.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(1);

/// Wait of a listener that reads from the table, after an error.
const CATCH_UP_RETRY: Duration = Duration::from_secs(1);

/// What listeners are handed.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// Rows.
    Batch(Arc<Batch>),
    /// Something that is no row, for whoever is connected now.
    Ephemeral(Arc<Ephemeral>),
}

/// A message without a row: not stored, not resumed, gone for whoever is away.
#[derive(Debug)]
pub(crate) struct Ephemeral {
    /// Whom it is for: the subscribers of a channel, or everybody.
    pub channel: Option<Channel>,
    /// For a channel the `event` of a frame, for everybody the whole frame.
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
    counters: Arc<Counters>,
    listeners: Mutex<Listeners>,
    catch_up: Semaphore,
}

struct Listeners {
    /// The end of the last window that was handed out whole.
    edge: Cursor,
    /// The end of the window that was handed out last, be it in part. Equal to `edge` when it was whole.
    reach: Cursor,
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
        let shared = Arc::new(Shared {
            source,
            counters: Arc::new(Counters::default()),
            listeners: Mutex::new(Listeners {
                edge: edge.clone(),
                reach: edge,
                queues: Vec::new(),
                next_id: 0,
                stopped: false,
            }),
            catch_up: Semaphore::new(CATCH_UP_READERS),
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
        let (mut listener, mut queue) = Listener::register(&self.shared);
        stream! {
            loop {
                while let Some(item) = queue.recv().await {
                    let Item::Batch(batch) = item else { continue };
                    if listener.has_all_of(&batch) {
                        continue;
                    }
                    for event in &batch.events {
                        yield Arc::clone(event);
                    }
                    listener.passed(&batch);
                }
                // Overflowed, or all is over.
                loop {
                    let upto = match listener.rejoin() {
                        Rejoin::Live(fresh) => { queue = fresh; break }
                        Rejoin::Ended => return,
                        Rejoin::Read(upto) => upto,
                    };
                    let Some(window) = listener.window_to(upto).await else { continue };
                    let upto = window.upto.clone();
                    let (rows_tx, mut rows) = mpsc::channel(CATCH_UP_ROWS);
                    let reading = tokio::spawn(read(Arc::clone(&listener.shared), window, rows_tx));
                    while let Some(event) = rows.recv().await {
                        listener.last = Some(event.id);
                        yield event;
                    }
                    match reading.await {
                        Ok(Read::Complete) => {
                            listener.cursor = upto;
                            listener.last = None;
                        }
                        Ok(Read::TurnLost) => listener.unfinished = Some(upto),
                        // A panic of the source counts as an error.
                        Ok(Read::Failed) | Err(_) => {
                            listener.unfinished = Some(upto);
                            sleep(CATCH_UP_RETRY).await;
                        }
                    }
                }
            }
        }
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
        self.send_ephemeral(None, message).await
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
        self.send_ephemeral(Some(channel), event).await
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

    async fn send_ephemeral(
        &self,
        channel: Option<Channel>,
        message: &(impl Serialize + ?Sized),
    ) -> Result<(), Error> {
        let json = to_raw_value(message)
            .map_err(|error| Error::Config(format!("send a message that is not JSON: {error}")))?;
        self.shared
            .hand_out(Item::Ephemeral(Arc::new(Ephemeral { channel, json })))
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
        );
        let hand_out = batches.for_each(|batch| shared.hand_out(Item::Batch(Arc::new(batch))));
        if AssertUnwindSafe(hand_out).catch_unwind().await.is_err() {
            tracing::error!(
                "the feed panicked, which is a bug; it goes on after the last window it completed"
            );
            sleep(CATCH_UP_RETRY).await;
        }
    }
}

/// How the reading of a window ended.
enum Read {
    Complete,
    /// The listener left the rows lying, and others wait for their turn.
    TurnLost,
    Failed,
}

/// Reads a window for a listener that has fallen behind. In a task of its own, so that the turn can end though the
/// listener stands still.
async fn read(shared: Arc<Shared>, window: Window, rows_tx: mpsc::Sender<Arc<Event>>) -> Read {
    let Ok(_turn) = shared.catch_up.acquire().await else {
        return Read::Failed;
    };
    let mut rows = shared.source.rows(window);
    while let Some(row) = rows.next().await {
        match row {
            Ok(Err(_counted_by_the_tail)) => {}
            Ok(Ok(event)) => {
                let event = Arc::new(event);
                if rows_tx
                    .send_timeout(event, CATCH_UP_PATIENCE)
                    .await
                    .is_err()
                {
                    return Read::TurnLost;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a listener could not read on from the table; trying again");
                return Read::Failed;
            }
        }
    }
    Read::Complete
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
                listeners.reach = batch.upto.clone();
                if batch.complete {
                    listeners.edge = batch.upto.clone();
                }
            }
            listeners.queues.retain(|queue| {
                if queue.awaited {
                    awaited.push(queue.items.clone());
                    return !queue.items.is_closed();
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

/// One listener's place in the feed.
struct Listener {
    shared: Arc<Shared>,
    id: u64,
    /// The end of the last window it has whole.
    cursor: Cursor,
    /// The last event it has of the window after that.
    last: Option<EventId>,
    /// The end of that window.
    unfinished: Option<Cursor>,
}

/// How a listener goes on after its queue has ended.
enum Rejoin {
    /// It has caught up.
    Live(mpsc::Receiver<Item>),
    /// It has to read up to here first.
    Read(Cursor),
    /// There is nothing more to come.
    Ended,
}

impl Listener {
    fn register(shared: &Arc<Shared>) -> (Self, mpsc::Receiver<Item>) {
        let mut listeners = shared.lock();
        let id = listeners.next_id;
        listeners.next_id += 1;
        let queue = listeners.open_queue(id, false);
        shared.counters.listeners.add(1);
        let cursor = listeners.edge.clone();
        drop(listeners);
        (
            Self {
                shared: Arc::clone(shared),
                id,
                cursor,
                last: None,
                unfinished: None,
            },
            queue,
        )
    }

    /// Whether the batch is the rest of a window that was read from the table.
    fn has_all_of(&self, batch: &Batch) -> bool {
        batch.upto == self.cursor
    }

    fn passed(&mut self, batch: &Batch) {
        if batch.complete {
            self.cursor = batch.upto.clone();
            self.last = None;
            self.unfinished = None;
        } else {
            self.last = batch.events.last().map(|event| event.id);
            self.unfinished = Some(batch.upto.clone());
        }
    }

    fn rejoin(&mut self) -> Rejoin {
        let mut listeners = self.shared.lock();
        if listeners.stopped {
            return Rejoin::Ended;
        }
        if let Some(upto) = self.unfinished.take() {
            return Rejoin::Read(upto);
        }
        // Being at the end of a window that is still being handed out is as good: the rest of it is known.
        if self.cursor == listeners.reach {
            return Rejoin::Live(listeners.open_queue(self.id, false));
        }
        Rejoin::Read(listeners.reach.clone())
    }

    /// The window to read next, or none when there is none yet: the caller asks again.
    async fn window_to(&mut self, upto: Cursor) -> Option<Window> {
        match self.rebased(&upto).await {
            Ok(Some((after, upto))) => {
                self.cursor = after;
                Some(Window {
                    after: self.cursor.clone(),
                    upto,
                    resume_after: self.last,
                })
            }
            Ok(None) => {
                tracing::warn!(
                    "a listener's place is gone with the database's history; it goes on from the present"
                );
                self.cursor = self.shared.lock().reach.clone();
                self.last = None;
                None
            }
            Err(error) => {
                tracing::debug!(%error, "a listener could not read on from the table; trying again");
                // What is left of a window that broke off comes before anything else.
                self.unfinished = self.last.is_some().then_some(upto);
                sleep(CATCH_UP_RETRY).await;
                None
            }
        }
    }

    /// Its place and `upto` in the present life of the database.
    async fn rebased(&self, upto: &Cursor) -> Result<Option<(Cursor, Cursor)>, Error> {
        let source = &self.shared.source;
        let present = source.edge().await?;
        let mut places = [self.cursor.clone(), upto.clone()];
        for place in &mut places {
            if present.is_of_other_history_than(place) {
                let Some(rebased) = source.rebase(place).await? else {
                    return Ok(None);
                };
                *place = rebased;
            }
        }
        let [after, upto] = places;
        Ok(Some((after, upto)))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.counters.listeners.subtract(1);
        let id = self.id;
        self.shared.lock().queues.retain(|queue| queue.id != id);
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
