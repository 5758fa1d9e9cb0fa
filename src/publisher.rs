//! `Publisher`: what clients publish over HTTP, on its way into the database. Rows are inserted, and the feed woken for
//! them; what is no row is given to all servers. Who may publish what is not decided here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::broadcaster::Broadcaster;
use crate::commands::Desk;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::{Audience, NewEvent};
use crate::source::{DatabaseConfig, Insert, InsertError, Inserted, open_insert_lazily};

/// How long an insertion may take, a connection to the database included, before nobody waits for it any longer. After 10 s
/// a database that cannot be connected to has been given up.
const INSERT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long to wait for one's turn to insert, where others do.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests that insert at the same time, or wait for a connection that does.
const INSERTIONS_MAX: usize = 64;

/// Publishes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Publisher {
    /// None where there is no table.
    insert: Option<Arc<dyn Insert>>,
    desk: Desk,
    broadcaster: Broadcaster,
    turns: Arc<Semaphore>,
    /// Whether the last attempt failed, which was said then.
    failing: Arc<AtomicBool>,
}

/// What was published.
#[derive(Debug)]
pub(crate) struct Published {
    /// The row of each event.
    pub rows: Vec<Inserted>,
    /// A position after all of them. None where the database went away after it had committed them.
    pub cursor: Option<Cursor>,
}

impl Publisher {
    /// Opens nothing yet: where nobody publishes, the database may be one that cannot be written to.
    ///
    /// # Errors
    /// When the database can be none of ours.
    pub fn new(
        database: Option<&DatabaseConfig>,
        desk: Desk,
        broadcaster: Broadcaster,
    ) -> Result<Self, Error> {
        Ok(Self {
            insert: database.map(open_insert_lazily).transpose()?,
            desk,
            broadcaster,
            turns: Arc::new(Semaphore::new(INSERTIONS_MAX)),
            failing: Arc::default(),
        })
    }

    /// Inserts events in one transaction. It is not given up when whoever asked for it is gone.
    pub async fn publish(&self, events: Vec<NewEvent>) -> Result<Published, InsertError> {
        let Some(insert) = self.insert.clone() else {
            let doing = "insert events";
            return Err(InsertError::Failed(Error::NoDatabase { doing }));
        };
        let counters = self.broadcaster.counters();
        let turn = timeout(TURN_TIMEOUT, Arc::clone(&self.turns).acquire_owned()).await;
        // It is never closed.
        let Ok(Ok(turn)) = turn else {
            counters.publish_errors.add(1);
            return Err(InsertError::Failed(Error::Timeout {
                doing: "insert events",
                seconds: TURN_TIMEOUT.as_secs(),
            }));
        };
        let own = self.clone();
        let inserting = tokio::spawn(async move {
            let _turn = turn;
            let inserted = timeout(INSERT_TIMEOUT, insert.insert(&events)).await;
            let inserted = inserted.unwrap_or(Err(InsertError::Unknown(Error::Timeout {
                doing: "insert events",
                seconds: INSERT_TIMEOUT.as_secs(),
            })));
            if inserted.is_ok() {
                own.broadcaster.wake();
            }
            own.note(inserted.as_ref().err());
            inserted
        });
        let inserted = inserting.await.unwrap_or_else(|_| {
            Err(InsertError::Unknown(Error::Unusable(
                "inserting events panicked, which is a bug".into(),
            )))
        });
        let rows = inserted.inspect_err(|_| counters.publish_errors.add(1))?;
        let fresh = rows.iter().filter(|row| !row.is_duplicate).count();
        counters.events_published.add(fresh as u64);
        // Asked after the commit: whatever is committed at it has the events among it.
        let cursor = self.broadcaster.table().committed().await.ok();
        Ok(Published { rows, cursor })
    }

    /// Has all servers tell their clients something that is no row. It is on its way when this returns.
    pub async fn tell(&self, to: Audience, message: Box<RawValue>) -> Result<(), Error> {
        let told = self.desk.tell(to, message).await;
        let counters = self.broadcaster.counters();
        match &told {
            Ok(_) => counters.broadcasts_published.add(1),
            Err(_) => counters.publish_errors.add(1),
        }
        self.note_error(told.as_ref().err());
        told.map(drop)
    }

    fn note(&self, error: Option<&InsertError>) {
        match error {
            // Of this the client is told.
            Some(InsertError::Refused(_) | InsertError::KeyReused(_)) => {}
            Some(InsertError::Failed(error) | InsertError::Unknown(error)) => {
                self.note_error(Some(error));
            }
            None => self.note_error(None),
        }
    }

    /// Says once that the database takes nothing, and once that it does again.
    fn note_error(&self, error: Option<&Error>) {
        let was_failing = self.failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was_failing => {
                tracing::warn!("failed to {error}; those who publish are told to try again");
            }
            Some(error) => tracing::debug!("failed to {error}"),
            None if was_failing => tracing::info!("what is published is taken again"),
            None => {}
        }
    }
}
