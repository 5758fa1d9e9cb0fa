//! A client that is behind: it was away, it asks for history, or it reads slowly. Its task reads on from where the client
//! is, no faster than the client does, and hands it back to its shard at the present.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Duration, sleep};

use super::history::BatchNumber;
use super::reader::{Reader, Step};
use super::{Connection, Frames, REFETCH, Request, Written};
use crate::cursor::Cursor;
use crate::event::ChannelPattern;
use crate::protocol::{CloseCode, RequestId, ResetReason, ServerFrame, Shape, Since};
use crate::stats::Counters;

/// Wait after the database did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Subscribes and unsubscribes that may wait for a client that is catching up.
const CHANGES_MAX: usize = 64;

/// Written at once, where so much is in memory: what a socket takes without a pause.
const WRITE_BYTES: usize = 64 * 1024;

/// Batches looked through for one write, so that others get their turn: it takes about a millisecond.
const BATCHES_PER_WRITE_MAX: usize = 512;

/// What a client asks for while it catches up. Shared by its shard and its task.
pub(crate) struct Wishes {
    changes: Mutex<Changes>,
    over: AtomicBool,
    changed: Notify,
}

struct Changes {
    waiting: Vec<Change>,
    /// The position of everything that the client was sent, where that can be told.
    position: Option<Cursor>,
}

pub(crate) enum Change {
    Subscribe {
        id: Option<RequestId>,
        channels: Vec<ChannelPattern>,
        since: Since,
        /// The position at which it was asked.
        now: Cursor,
    },
    Unsubscribe {
        channels: Vec<ChannelPattern>,
    },
    /// Its token says something else now.
    Regrant {
        left: Vec<ChannelPattern>,
        joined: Vec<ChannelPattern>,
        /// The position at which it was.
        now: Cursor,
    },
}

impl Wishes {
    /// Of a client that has been sent everything up to a position.
    pub fn new(position: Option<Cursor>, first: Vec<Change>) -> Self {
        Self {
            changes: Mutex::new(Changes {
                waiting: first,
                position,
            }),
            over: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Gives whether there was room for it.
    pub fn add(&self, change: Change) -> bool {
        self.add_under(self.lock(), change)
    }

    fn add_under(&self, mut changes: MutexGuard<'_, Changes>, change: Change) -> bool {
        if changes.waiting.len() >= CHANGES_MAX {
            return false;
        }
        changes.waiting.push(change);
        drop(changes);
        self.changed.notify_one();
        true
    }

    /// Adds a subscription, after `answer` was given the position that the client may come back with from then on: that
    /// of what it was sent, or an earlier one that it has asked for. Until its task has gone back there, it is sent no
    /// event, as each would tell it a position that is too late. Gives whether there was room.
    pub fn subscribe(
        &self,
        since: &Since,
        change: Change,
        answer: impl FnOnce(Option<&Cursor>),
    ) -> bool {
        let mut changes = self.lock();
        match since {
            Since::Now => answer(None),
            Since::Earliest => {
                changes.position = None;
                answer(None);
            }
            Since::Cursor(cursor) => {
                let known = changes.position.take();
                changes.position = known.and_then(|known| known.earlier(cursor));
                answer(changes.position.as_ref());
            }
        }
        self.add_under(changes, change)
    }

    /// The client has left.
    pub fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    pub fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn take(&self) -> Vec<Change> {
        std::mem::take(&mut self.lock().waiting)
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        // Every change under this lock is whole.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client asks its shard to go on with it, from a batch on.
pub(crate) struct Join {
    pub connection: u64,
    pub wishes: Arc<Wishes>,
    pub next: BatchNumber,
    /// What it is sent then: that it has caught up.
    pub caught_up: Bytes,
    pub answer: oneshot::Sender<Joined>,
}

pub(crate) enum Joined {
    /// The shard has it.
    Live,
    /// The shard has handed out that batch, or the client has asked for something else.
    NotYet,
    /// The client has left.
    Gone,
}

/// Counts a client that is behind. A panic of its task, which is a bug, must not leave it waiting for ever.
struct Guard {
    outlet: Arc<dyn Connection>,
    counters: Arc<Counters>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.counters.catching_up.subtract(1);
        if std::thread::panicking() {
            self.outlet.close(
                CloseCode::TryAgainLater,
                "the server failed; reconnect and resume",
            );
        }
    }
}

/// The task of a client that is behind.
pub(super) struct CatchUp {
    pub connection: u64,
    pub outlet: Arc<dyn Connection>,
    pub shape: Shape,
    pub shard: mpsc::WeakSender<Request>,
    pub wishes: Arc<Wishes>,
    pub reader: Reader,
    pub counters: Arc<Counters>,
    /// Whoever has missed more is told to refetch.
    pub events_max: Option<u64>,
    /// Who waits to be told that it has caught up.
    pub asked: Vec<Option<RequestId>>,
}

impl CatchUp {
    pub async fn run(mut self) {
        self.counters.catch_ups.add(1);
        self.counters.catching_up.add(1);
        let _guard = Guard {
            outlet: Arc::clone(&self.outlet),
            counters: Arc::clone(&self.counters),
        };
        let wishes = Arc::clone(&self.wishes);
        tokio::select! {
            () = self.catch_up() => {}
            () = async { while !wishes.is_over() { wishes.changed.notified().await } } => {}
        }
    }

    async fn catch_up(&mut self) {
        // Half of what may wait: enough to keep the socket busy, and the answers to the client's requests have room.
        let half = self.outlet.queue_bytes_max() / 2;
        loop {
            if !self.outlet.room(half).await {
                return;
            }
            for change in self.wishes.take() {
                self.change(change).await;
            }
            let mark = self.reader.mark();
            match self.reader.next().await {
                Step::Events(batch, wanted) => {
                    let mut frames = Vec::new();
                    // Reading changes from where on something is wanted, and not what.
                    let wants = |channel: &str| mark.interests.matches(channel);
                    batch.copy(&self.shape, wanted.iter().copied(), wants, &mut frames);
                    let mut events = wanted.len();
                    // A write costs as much as a hundred events, and most batches have few for any one client.
                    for _ in 0..BATCHES_PER_WRITE_MAX {
                        if frames.len() >= half.min(WRITE_BYTES) {
                            break;
                        }
                        let Some((batch, wanted)) = self.reader.next_in_memory() else {
                            break;
                        };
                        if !wanted.is_empty() {
                            batch.copy(&self.shape, wanted.iter().copied(), wants, &mut frames);
                            events += wanted.len();
                        }
                    }
                    match self.write_events(frames.into(), events as u64).await {
                        Sent::All => {}
                        Sent::NotYet => self.reader.return_to(mark),
                        Sent::Gone => return,
                    }
                }
                Step::End(next) => match self.join(next).await {
                    Some(Joined::NotYet) => {}
                    Some(Joined::Live | Joined::Gone) | None => return,
                },
                Step::Reset(reason) => {
                    if !self.tell_reset(reason).await {
                        return;
                    }
                }
                Step::Waited => {}
            }
        }
    }

    async fn change(&mut self, change: Change) {
        match change {
            Change::Regrant { left, joined, now } => {
                for pattern in &left {
                    self.reader.interests().remove(pattern);
                }
                if !joined.is_empty() {
                    self.add(&joined, &Since::Now, &now).await;
                }
            }
            Change::Unsubscribe { channels } => {
                for channel in &channels {
                    self.reader.interests().remove(channel);
                }
            }
            Change::Subscribe {
                id,
                channels,
                since,
                now,
            } => {
                let reset = self.add(&channels, &since, &now).await;
                let reset = match (reset, self.events_max) {
                    (None, Some(events_max))
                        if since != Since::Now
                            && self.reader.is_behind_by_more_than(events_max).await =>
                    {
                        Some(self.reader.reset(ResetReason::TooFar))
                    }
                    (reset, _) => reset,
                };
                match reset {
                    Some(reason) => {
                        self.tell_reset(reason).await;
                    }
                    None if since != Since::Now => self.asked.push(id),
                    None => {}
                }
            }
        }
    }

    async fn add(
        &mut self,
        channels: &[ChannelPattern],
        since: &Since,
        now: &Cursor,
    ) -> Option<ResetReason> {
        loop {
            match self.reader.add(channels, since, now).await {
                Ok(reset) => return reset,
                Err(error) => {
                    tracing::debug!(%error, "a client's place could not be looked up; trying again");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Asks the shard to go on with the client. None when the hub has ended.
    async fn join(&mut self, next: BatchNumber) -> Option<Joined> {
        if !self.reader.has_reached_all() || !self.reader.can_join_at(next) {
            // The client knows more than this server does, which will look at the table soon; or the feed is about to leave out
            // what this client may not have.
            self.reader.grown().await;
            return Some(Joined::NotYet);
        }
        let cursor = self.reader.cursor().to_string();
        let frames = self.asked.iter().map(|id| {
            ServerFrame::CaughtUp {
                id: id.as_ref(),
                cursor: &cursor,
            }
            .encode(&self.shape)
        });
        let (answer, answered) = oneshot::channel();
        let join = Join {
            connection: self.connection,
            wishes: Arc::clone(&self.wishes),
            next,
            caught_up: frames.collect::<Vec<_>>().concat().into(),
            answer,
        };
        self.shard
            .upgrade()?
            .send(Request::Join(Box::new(join)))
            .await
            .ok()?;
        answered.await.ok()
    }

    async fn tell_reset(&mut self, reason: ResetReason) -> bool {
        self.asked.clear();
        if !self.shape.has_reset() {
            self.outlet.close(CloseCode::ServiceRestart, REFETCH);
            return false;
        }
        let position = self.reader.cursor().clone();
        let cursor = position.to_string();
        self.wishes.lock().position = Some(position);
        let frame = ServerFrame::Reset {
            reason,
            cursor: &cursor,
        };
        self.write(frame.encode(&self.shape)).await
    }

    /// Gives events to the client, unless it has asked for something meanwhile: what it is given after that must be what
    /// it may receive then, and from where it wants it.
    async fn write_events(&self, frames: Bytes, events: u64) -> Sent {
        loop {
            let written = {
                let mut changes = self.wishes.lock();
                if !changes.waiting.is_empty() {
                    return Sent::NotYet;
                }
                let written = self.outlet.write(Frames::Shared(&frames));
                if matches!(written, Written::Sent | Written::Queued) {
                    changes.position = Some(self.reader.cursor().clone());
                }
                written
            };
            match written {
                Written::Sent | Written::Queued => {
                    self.counters.deliveries.add(events);
                    return Sent::All;
                }
                Written::Gone => return Sent::Gone,
                Written::Full => {
                    if !self.outlet.room(frames.len()).await {
                        return Sent::Gone;
                    }
                }
            }
        }
    }

    /// Gives frames to the client, however long it takes it. Gives whether it is still there.
    async fn write(&self, frames: Bytes) -> bool {
        loop {
            match self.outlet.write(Frames::Shared(&frames)) {
                Written::Sent | Written::Queued => return true,
                Written::Gone => return false,
                Written::Full => {
                    if !self.outlet.room(frames.len()).await {
                        return false;
                    }
                }
            }
        }
    }
}

/// Whether events were sent.
enum Sent {
    All,
    /// The client has asked for something that comes first.
    NotYet,
    Gone,
}
