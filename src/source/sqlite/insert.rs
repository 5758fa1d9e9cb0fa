//! Writes events into a SQLite file: the CLI's `emit` does, and whatever is published over HTTP.

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::Mutex;

use super::slot::Slot;
use super::{connect_options, prepare, result_code};
use crate::error::Error;
use crate::event::{EventId, NewEvent};
use crate::source::insert::{Distinct, Insert, InsertError, Inserted, Likeness};
use crate::source::{DatabaseConfig, Migrate};

/// Writes events into a SQLite file, over one connection: its writers take turns.
pub struct SqliteInsert {
    slot: Mutex<Slot>,
}

impl SqliteInsert {
    /// Opens nothing yet. The tables are taken as they are.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn new(config: &DatabaseConfig) -> Result<Self, Error> {
        let slot = Slot::new(connect_options(config, Migrate::Off)?);
        Ok(Self {
            slot: Mutex::new(slot),
        })
    }

    /// Opens the file as [`SqliteSource::open`](super::SqliteSource::open) does.
    ///
    /// # Errors
    /// As [`SqliteSource::open`](super::SqliteSource::open).
    pub async fn open(config: &DatabaseConfig, migrate: Migrate) -> Result<Self, Error> {
        drop(prepare(&connect_options(config, migrate)?, migrate).await?);
        Self::new(config)
    }
}

impl Insert for SqliteInsert {
    fn insert<'a>(
        &'a self,
        events: &'a [NewEvent],
    ) -> BoxFuture<'a, Result<Vec<Inserted>, InsertError>> {
        Box::pin(async move {
            let distinct = Distinct::of(events)?;
            let mut slot = self.slot.lock().await;
            let mut open = slot.take().await.map_err(InsertError::Failed)?;
            match insert_distinct(&mut open.connection, &distinct).await {
                Ok(Ok(rows)) => {
                    slot.keep(open);
                    Ok(distinct.spread(&rows))
                }
                Ok(Err(place)) => {
                    slot.keep(open);
                    Err(InsertError::KeyReused(distinct.first_of(place)))
                }
                Err(error) => Err(refusal(&slot, error)),
            }
        })
    }
}

/// The rows, or which event has the key of another.
async fn insert_distinct(
    connection: &mut SqliteConnection,
    distinct: &Distinct<'_>,
) -> Result<Result<Vec<Inserted>, usize>, sqlx::Error> {
    // IMMEDIATE: takes its turn at once, where a transaction that turned into a writer could only fail.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut rows = Vec::with_capacity(distinct.events.len());
    for (place, event) in distinct.events.iter().enumerate() {
        let Some(row) = insert_or_find(&mut transaction, event).await? else {
            transaction.rollback().await?;
            return Ok(Err(place));
        };
        rows.push(row);
    }
    transaction.commit().await?;
    Ok(Ok(rows))
}

/// None where the key of the event is that of another.
async fn insert_or_find(
    connection: &mut SqliteConnection,
    event: &NewEvent,
) -> Result<Option<Inserted>, sqlx::Error> {
    let fresh = |id| Inserted {
        id: EventId(id),
        is_duplicate: false,
    };
    let Some(key) = &event.dedup_key else {
        return insert(connection, event).await.map(|id| Some(fresh(id)));
    };
    let there = sqlx::query!(
        r#"SELECT id AS "id!: i64", channel, type AS kind, entity_id FROM events WHERE dedup_key = ?"#,
        key
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(there) = there else {
        return insert(connection, event).await.map(|id| Some(fresh(id)));
    };
    let likeness = Likeness {
        channels: &there.channel,
        kind: &there.kind,
        entity_id: there.entity_id.as_deref(),
    };
    Ok((likeness == event.into()).then_some(Inserted {
        id: EventId(there.id),
        is_duplicate: true,
    }))
}

/// Inserts an event, and gives its id.
async fn insert(connection: &mut SqliteConnection, event: &NewEvent) -> Result<i64, sqlx::Error> {
    let (channel, payload) = (event.channels.as_str(), event.payload.get());
    let previous = event.previous.as_ref().map(|json| json.get());
    let inserted = sqlx::query!(
        "INSERT INTO events (channel, type, payload, previous, entity_id, actor, trace_id, origin, dedup_key)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        channel,
        event.kind,
        payload,
        previous,
        event.entity_id,
        event.actor,
        event.trace_id,
        event.origin,
        event.dedup_key,
    )
    .execute(connection)
    .await?;
    Ok(inserted.last_insert_rowid())
}

/// Inserts the events, and gives their ids, in order.
pub(super) async fn insert_rows(
    connection: &mut SqliteConnection,
    events: &[NewEvent],
) -> Result<Vec<EventId>, sqlx::Error> {
    let mut ids = Vec::with_capacity(events.len());
    for event in events {
        ids.push(EventId(insert(connection, event).await?));
    }
    Ok(ids)
}

/// Whoever shares the machine with the file has an answer from it: what failed was rolled back.
fn refusal(slot: &Slot, error: sqlx::Error) -> InsertError {
    // 18 TOOBIG, 19 CONSTRAINT, 20 MISMATCH.
    if let Some(18..=20) = result_code(&error) {
        let reason = error.as_database_error().map(ToString::to_string);
        return InsertError::Refused(reason.unwrap_or_default());
    }
    InsertError::Failed(slot.explain("insert events", error))
}
