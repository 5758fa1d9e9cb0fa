//! Writes events into a SQLite file; the CLI's `emit` does.

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::sync::Mutex;

use super::{connect_options, explain, prepare};
use crate::error::Error;
use crate::event::{EventId, NewEvent};
use crate::source::{DatabaseConfig, Insert, Migrate};

/// Writes events into a SQLite file.
pub struct SqliteInsert {
    options: SqliteConnectOptions,
    connection: Mutex<SqliteConnection>,
}

impl SqliteInsert {
    /// Opens the file as [`SqliteSource::open`](super::SqliteSource::open) does.
    ///
    /// # Errors
    /// As [`SqliteSource::open`](super::SqliteSource::open).
    pub async fn open(config: &DatabaseConfig, migrate: Migrate) -> Result<Self, Error> {
        let options = connect_options(config, migrate)?;
        let connection = prepare(&options, migrate).await?;
        Ok(Self {
            options,
            connection: Mutex::new(connection),
        })
    }
}

impl Insert for SqliteInsert {
    fn insert<'a>(&'a self, events: &'a [NewEvent]) -> BoxFuture<'a, Result<Vec<EventId>, Error>> {
        Box::pin(async move {
            let doing = "insert events";
            let mut connection = self.connection.lock().await;
            // IMMEDIATE: takes its turn at once, where a transaction that turned into a writer could only fail.
            let mut transaction = connection
                .begin_with("BEGIN IMMEDIATE")
                .await
                .map_err(Error::database(doing))?;
            let ids = insert_rows(&mut transaction, events)
                .await
                .map_err(|error| explain(&self.options, doing, error))?;
            transaction.commit().await.map_err(Error::database(doing))?;
            Ok(ids)
        })
    }
}

/// Inserts the events, and gives their ids, in order.
pub(super) async fn insert_rows(
    connection: &mut SqliteConnection,
    events: &[NewEvent],
) -> Result<Vec<EventId>, sqlx::Error> {
    let mut ids = Vec::with_capacity(events.len());
    for event in events {
        let (channel, kind, payload) = (event.channels.as_str(), &event.kind, event.payload.get());
        let inserted = sqlx::query!(
            "INSERT INTO events (channel, type, payload) VALUES (?, ?, ?)",
            channel,
            kind,
            payload
        )
        .execute(&mut *connection)
        .await?;
        ids.push(EventId(inserted.last_insert_rowid()));
    }
    Ok(ids)
}
