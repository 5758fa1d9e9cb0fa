//! One listener: live from its queue, or, when that has overflowed, reading on from the table until it has caught up.
//! There is one way back: at a position that the live feed has handed out, under the lock that hands it out.

use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use futures_util::stream::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Item, Shared};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::{Event, EventId};
use crate::source::Window;
use crate::tail::Batch;

/// Rows that are read from the table ahead of a listener.
const CATCH_UP_ROWS: usize = 256;

/// How long they may lie there before it loses its turn: it may never come back for them.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(1);

/// Wait of a listener that reads from the table, after an error.
const CATCH_UP_RETRY: Duration = Duration::from_secs(1);

/// All events from now on, in order, each once. Ends with the broadcaster.
pub(super) fn events(shared: &Arc<Shared>) -> impl Stream<Item = Arc<Event>> + Send + use<> {
    let (mut listener, mut queue) = Listener::register(shared);
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
                if self.cursor == upto {
                    // It knows of the present life before the feed does, which looks again within seconds.
                    self.last = None;
                    sleep(CATCH_UP_RETRY).await;
                    return None;
                }
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
