//! One listener: live from its queue, or, when that has overflowed, reading on from the table until it has caught up.
//! There is one way back: at a position that the live feed has handed out, under the lock that hands it out.

use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use futures_util::stream::Stream;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::table::{Ended, Table};
use super::{Item, Shared};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::Event;
use crate::source::Window;
use crate::tail::{Batch, Recent};

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
                    listener.recent.is_repeat(event);
                    yield Arc::clone(event);
                }
                listener.cursor = batch.upto.clone();
            }
            // Overflowed, or all is over.
            loop {
                let upto = match listener.rejoin() {
                    Rejoin::Live(fresh) => {
                        listener.recent.repeats_are_over();
                        queue = fresh;
                        break;
                    }
                    Rejoin::Ended => return,
                    Rejoin::Later => {
                        sleep(CATCH_UP_RETRY).await;
                        continue;
                    }
                    Rejoin::Read(upto) => upto,
                };
                let Some(window) = listener.window_to(&upto).await else { continue };
                let mut reading = listener.table.read(window.clone(), None);
                while let Some(page) = reading.next().await {
                    for event in page {
                        listener.cursor = window.after_row(event.id);
                        if !listener.recent.is_repeat(&event) {
                            yield event;
                        }
                    }
                }
                match reading.ended().await {
                    Ended::Complete => listener.cursor = window.upto,
                    Ended::TurnLost => {}
                    Ended::Failed(Error::Gone) => {
                        tracing::warn!("what a listener was to read is not kept any more; it goes on behind it");
                        listener.cursor = window.upto;
                    }
                    Ended::Failed(error) => {
                        tracing::debug!(%error, "a listener could not read on from the table; trying again");
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
    table: Table,
    id: u64,
    /// The position after everything it has.
    cursor: Cursor,
    recent: Recent,
}

/// How a listener goes on after its queue has ended.
enum Rejoin {
    /// It has caught up.
    Live(mpsc::Receiver<Item>),
    /// The feed is about to leave out what this one may not have.
    Later,
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
        let listener = Self {
            shared: Arc::clone(shared),
            table: Table::new(Arc::clone(shared)),
            id,
            cursor,
            recent: Recent::default(),
        };
        (listener, queue)
    }

    /// Whether the batch is of a window that was read from the table, which is to its end.
    fn has_all_of(&self, batch: &Batch) -> bool {
        !batch.reset && self.cursor.reaches(&batch.upto)
    }

    fn rejoin(&mut self) -> Rejoin {
        let mut listeners = self.shared.lock();
        if listeners.stopped {
            return Rejoin::Ended;
        }
        if self.cursor.reaches(&listeners.edge) {
            return if listeners.is_whole {
                Rejoin::Live(listeners.open_queue(self.id, false))
            } else {
                Rejoin::Later
            };
        }
        // A window that is still being handed out can only be read to its end.
        Rejoin::Read(listeners.edge.end())
    }

    /// The window to read next, or none when there is none yet: the caller asks again.
    async fn window_to(&mut self, upto: &Cursor) -> Option<Window> {
        let places = async {
            let after = self.table.place_of(&self.cursor).await?;
            Ok::<_, Error>((after, self.table.place_of(upto).await?))
        };
        match places.await {
            Ok((Some(after), Some(upto))) => {
                if after != self.cursor {
                    // A safe place, before some of what it has.
                    self.recent.expect_repeats();
                    self.cursor = after;
                }
                if self.cursor.reaches(&upto) {
                    // It knows of the present life before the feed does, which looks again within seconds.
                    sleep(CATCH_UP_RETRY).await;
                    return None;
                }
                Some(Window::on_the_way(&self.cursor, &upto))
            }
            Ok(_) => {
                tracing::warn!(
                    "a listener's place is gone with the database's history; it goes on from the present"
                );
                self.cursor = self.shared.lock().edge.clone();
                None
            }
            Err(error) => {
                tracing::debug!(%error, "a listener could not read on from the table; trying again");
                sleep(CATCH_UP_RETRY).await;
                None
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.counters.listeners.subtract(1);
        let id = self.id;
        self.shared.lock().queues.retain(|queue| queue.id != id);
    }
}
