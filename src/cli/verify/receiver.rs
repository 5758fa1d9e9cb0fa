//! A client of the feed that notes what it is given.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::rows::RowKey;
use crate::cli::client::{Follow, Update};
use crate::error::Error;

/// A client at work. It ends when this is dropped.
pub(super) struct Receiver {
    notes: Arc<Mutex<Notes>>,
    subscribed: watch::Receiver<bool>,
    following: JoinHandle<Error>,
}

/// What a client was given.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// When each row came first.
    at: HashMap<RowKey, Instant>,
    /// The rows in the order in which they came first.
    pub order: Vec<RowKey>,
    /// Rows given to the client's user more than once.
    pub doubled: u64,
    /// Rows that came more than once and were dropped by the client.
    pub repeats: u64,
    /// The reasons.
    pub resets: Vec<String>,
    pub connections: u64,
}

impl Notes {
    pub(super) fn received(&self) -> usize {
        self.order.len()
    }

    pub(super) fn has(&self, key: RowKey) -> bool {
        self.at.contains_key(&key)
    }

    pub(super) fn at(&self, key: RowKey) -> Option<Instant> {
        self.at.get(&key).copied()
    }

    pub(super) fn note(&mut self, key: RowKey, at: Instant) {
        match self.at.entry(key) {
            Entry::Occupied(_) => self.doubled += 1,
            Entry::Vacant(first) => {
                first.insert(at);
                self.order.push(key);
            }
        }
    }
}

#[derive(Deserialize)]
struct Frame {
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    payload: RowKey,
}

impl Receiver {
    pub(super) fn start(client: Box<dyn Follow>) -> Self {
        let notes = Arc::<Mutex<Notes>>::default();
        let (subscribed_tx, subscribed) = watch::channel(false);
        let following = tokio::spawn(follow(client, Arc::clone(&notes), subscribed_tx));
        Self {
            notes,
            subscribed,
            following,
        }
    }

    /// Waits until everything that is written will come.
    pub(super) async fn subscribed(&mut self) -> Result<(), Error> {
        if self.subscribed.wait_for(|&is| is).await.is_ok() {
            return Ok(());
        }
        // It ends only with an error.
        Err((&mut self.following)
            .await
            .unwrap_or_else(|error| Error::Io {
                doing: "follow the feed".into(),
                source: std::io::Error::other(error),
            }))
    }

    /// Takes no more notes.
    pub(super) fn stop(&self) {
        self.following.abort();
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        lock(&self.notes)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Follows until trying again cannot help, and says why.
async fn follow(
    mut client: Box<dyn Follow>,
    notes: Arc<Mutex<Notes>>,
    subscribed_tx: watch::Sender<bool>,
) -> Error {
    loop {
        let update = match client.next().await {
            Ok(update) => update,
            Err(error) => {
                if *subscribed_tx.borrow() {
                    tracing::warn!("a client ended: failed to {error}");
                }
                return error;
            }
        };
        let at = Instant::now();
        let mut notes = lock(&notes);
        match update {
            Update::Event(frame) => {
                if let Ok(frame) = serde_json::from_str::<Frame>(&frame) {
                    notes.note(frame.event.payload, at);
                } else {
                    tracing::warn!("somebody else writes to the channel");
                }
            }
            Update::Repeat => notes.repeats += 1,
            Update::Reset(reason) => notes.resets.push(reason),
            Update::Subscribed => {
                notes.connections += 1;
                subscribed_tx.send_replace(true);
            }
            Update::CaughtUp | Update::Disconnected(_) => {}
        }
    }
}

fn lock(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    // Every change under this lock is whole.
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}
