//! Writes events into PostgreSQL: the CLI's `emit` does, and whatever is published over HTTP.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::connect::{connect_options, prepare};
use super::slot::Slot;
use crate::error::Error;
use crate::event::{EventId, NewEvent};
use crate::source::insert::{Distinct, Insert, InsertError, Inserted, Likeness};
use crate::source::{DatabaseConfig, Migrate};

/// Connections that insert at the same time. More transactions of one row each gain little on one disk.
const WRITERS_MAX: usize = 4;

/// Attempts to insert where others are in the way: two who insert the same keys in another order wait for each other, and
/// a row that was there may be deleted meanwhile.
const ATTEMPTS_MAX: u32 = 5;

/// Longest wait between two of them, with full jitter.
const RETRY: Duration = Duration::from_millis(20);

/// Writes events into PostgreSQL, over a few connections that are opened when they are needed. One that ended is opened
/// anew; what failed with it is not tried again, as it may have been committed.
pub struct PostgresInsert {
    options: PgConnectOptions,
    /// For errors: the URL without the password.
    database: String,
    turns: Semaphore,
    /// Connections that nobody uses. One that broke is not put back.
    idle: std::sync::Mutex<Vec<Slot>>,
}

impl PostgresInsert {
    /// Connects to nothing yet. The tables are taken as they are.
    ///
    /// # Errors
    /// When the URL has a parameter with a value that is not one of its.
    pub fn new(config: &DatabaseConfig) -> Result<Self, Error> {
        Ok(Self {
            options: connect_options(config)?,
            database: config.url.to_string(),
            turns: Semaphore::new(WRITERS_MAX),
            idle: std::sync::Mutex::default(),
        })
    }

    /// Connects, and sees to the tables as `migrate` says.
    ///
    /// # Errors
    /// As [`PostgresSource::open`](super::PostgresSource::open).
    pub async fn open(config: &DatabaseConfig, migrate: Migrate) -> Result<Self, Error> {
        let insert = Self::new(config)?;
        let connection = prepare(&insert.options, config, migrate).await?;
        let mut slot = insert.slot();
        slot.keep(connection);
        insert.keep(slot);
        Ok(insert)
    }

    fn slot(&self) -> Slot {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
            .unwrap_or_else(|| Slot::new(self.options.clone(), self.database.clone()))
    }

    fn keep(&self, slot: Slot) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(slot);
    }
}

impl Insert for PostgresInsert {
    fn insert<'a>(
        &'a self,
        events: &'a [NewEvent],
    ) -> BoxFuture<'a, Result<Vec<Inserted>, InsertError>> {
        Box::pin(async move {
            let distinct = Distinct::of(events)?;
            // It is never closed.
            let _turn = self.turns.acquire().await;
            let mut slot = self.slot();
            let mut connection = slot.take().await.map_err(InsertError::Failed)?;
            let mut attempts = 0;
            let inserted = loop {
                attempts += 1;
                match insert_distinct(&mut connection, &distinct).await {
                    Err(Trouble::Busy(_)) if attempts < ATTEMPTS_MAX => {
                        sleep(RETRY.mul_f64(fastrand::f64())).await;
                    }
                    done => break done,
                }
            };
            // After an answer of the database, whichever it is, the connection is in good order.
            let failed = match inserted {
                Ok(rows) => {
                    slot.keep(connection);
                    self.keep(slot);
                    return Ok(distinct.spread(&rows));
                }
                Err(Trouble::KeyReused(place)) => InsertError::KeyReused(distinct.first_of(place)),
                Err(Trouble::Busy(error)) => {
                    InsertError::Failed(Error::database("insert events")(error))
                }
                Err(Trouble::Database { error, committing }) => explain(error, committing),
            };
            if matches!(failed, InsertError::KeyReused(_) | InsertError::Refused(_)) {
                slot.keep(connection);
                self.keep(slot);
            }
            Err(failed)
        })
    }
}

/// Why a transaction was not committed.
enum Trouble {
    /// Others were in the way. It was rolled back.
    Busy(sqlx::Error),
    /// The key of one of the events is another's.
    KeyReused(usize),
    /// Anything else. `committing`: the commit had been sent, with the statement or after it.
    Database {
        error: sqlx::Error,
        committing: bool,
    },
}

/// One statement where there are no keys, as for a table that is a view; else a transaction.
async fn insert_distinct(
    connection: &mut PgConnection,
    distinct: &Distinct<'_>,
) -> Result<Vec<Inserted>, Trouble> {
    let events = &distinct.events;
    let trouble = |error, committing| match &error {
        // Serialization failure, deadlock.
        sqlx::Error::Database(database)
            if matches!(database.code().as_deref(), Some("40001" | "40P01")) =>
        {
            Trouble::Busy(error)
        }
        _ => Trouble::Database { error, committing },
    };
    if events.iter().all(|event| event.dedup_key.is_none()) {
        let ids = insert_rows(connection, events.iter().copied()).await;
        let ids = ids.map_err(|error| trouble(error, true))?;
        return Ok(ids.into_iter().map(fresh).collect());
    }
    let before = |error| trouble(error, false);
    let mut transaction = connection.begin().await.map_err(before)?;
    let rows = insert_keyed(&mut transaction, events).await;
    match rows.map_err(before)? {
        Keyed::Rows(rows) => {
            let committed = transaction.commit().await;
            committed.map_err(|error| trouble(error, true))?;
            Ok(rows)
        }
        Keyed::Reused(place) => {
            transaction.rollback().await.map_err(before)?;
            Err(Trouble::KeyReused(place))
        }
        Keyed::Gone => {
            transaction.rollback().await.map_err(before)?;
            Err(Trouble::Busy(sqlx::Error::RowNotFound))
        }
    }
}

fn fresh(id: EventId) -> Inserted {
    Inserted {
        id,
        is_duplicate: false,
    }
}

/// What became of events of which some have keys.
enum Keyed {
    Rows(Vec<Inserted>),
    /// The key of this one is that of another event.
    Reused(usize),
    /// One was there, and was deleted before it was looked at.
    Gone,
}

/// The columns of events.
#[derive(Default)]
struct Columns {
    channels: Vec<String>,
    kinds: Vec<String>,
    payloads: Vec<String>,
    previous: Vec<Option<String>>,
    entity_ids: Vec<Option<String>>,
    actors: Vec<Option<String>>,
    trace_ids: Vec<Option<String>>,
    origins: Vec<Option<String>>,
    dedup_keys: Vec<Option<String>>,
}

impl<'a> FromIterator<&'a NewEvent> for Columns {
    fn from_iter<I: IntoIterator<Item = &'a NewEvent>>(events: I) -> Self {
        let mut columns = Self::default();
        for event in events {
            columns.channels.push(event.channels.as_str().to_owned());
            columns.kinds.push(event.kind.clone());
            columns.payloads.push(event.payload.get().to_owned());
            let previous = event.previous.as_ref();
            columns
                .previous
                .push(previous.map(|json| json.get().to_owned()));
            columns.entity_ids.push(event.entity_id.clone());
            columns.actors.push(event.actor.clone());
            columns.trace_ids.push(event.trace_id.clone());
            columns.origins.push(event.origin.clone());
            columns.dedup_keys.push(event.dedup_key.clone());
        }
        columns
    }
}

/// Inserts events without keys in one statement, and gives their ids, in order.
pub(super) async fn insert_rows<'a>(
    connection: &mut PgConnection,
    events: impl IntoIterator<Item = &'a NewEvent>,
) -> Result<Vec<EventId>, sqlx::Error> {
    let columns: Columns = events.into_iter().collect();
    let rows = sqlx::query!(
        r#"INSERT INTO events (channel, type, payload, previous, entity_id, actor, trace_id, origin)
           SELECT channel, type, payload::jsonb, previous::jsonb, entity_id, actor, trace_id, origin
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
                  WITH ORDINALITY AS t (channel, type, payload, previous, entity_id, actor, trace_id, origin, n)
            ORDER BY n
           RETURNING id"#,
        &columns.channels,
        &columns.kinds,
        &columns.payloads,
        &columns.previous as _,
        &columns.entity_ids as _,
        &columns.actors as _,
        &columns.trace_ids as _,
        &columns.origins as _,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| EventId(row.id)).collect())
}

/// Inserts events of which no two have the same key, where the table has none with it.
async fn insert_keyed(
    connection: &mut PgConnection,
    events: &[&NewEvent],
) -> Result<Keyed, sqlx::Error> {
    let columns: Columns = events.iter().copied().collect();
    let rows = sqlx::query!(
        r#"INSERT INTO events (channel, type, payload, previous, entity_id, actor, trace_id, origin, dedup_key)
           SELECT channel, type, payload::jsonb, previous::jsonb, entity_id, actor, trace_id, origin, dedup_key
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                         $9::text[])
                  WITH ORDINALITY AS t (channel, type, payload, previous, entity_id, actor, trace_id, origin, dedup_key, n)
            ORDER BY n
           ON CONFLICT (dedup_key) WHERE dedup_key IS NOT NULL DO NOTHING
           RETURNING id, dedup_key"#,
        &columns.channels,
        &columns.kinds,
        &columns.payloads,
        &columns.previous as _,
        &columns.entity_ids as _,
        &columns.actors as _,
        &columns.trace_ids as _,
        &columns.origins as _,
        &columns.dedup_keys as _,
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut keyless = Vec::new();
    let mut keyed = HashMap::new();
    for row in rows {
        match row.dedup_key {
            None => keyless.push(EventId(row.id)),
            Some(key) => {
                keyed.insert(key, EventId(row.id));
            }
        }
    }
    let missing: Vec<String> = columns
        .dedup_keys
        .into_iter()
        .flatten()
        .filter(|key| !keyed.contains_key(key))
        .collect();
    // A statement of its own sees what was committed while the first one waited for it.
    let there = if missing.is_empty() {
        Vec::new()
    } else {
        find_keyed(connection, &missing).await?
    };
    let there: HashMap<_, _> = there.iter().map(|row| (row.key.as_str(), row)).collect();
    let mut keyless = keyless.into_iter();
    let mut inserted = Vec::with_capacity(events.len());
    for (place, event) in events.iter().enumerate() {
        let own = match &event.dedup_key {
            None => keyless.next(),
            Some(key) => keyed.get(key).copied(),
        };
        if let Some(id) = own {
            inserted.push(fresh(id));
            continue;
        }
        let Some(row) = event.dedup_key.as_deref().and_then(|key| there.get(key)) else {
            return Ok(Keyed::Gone);
        };
        let likeness = Likeness {
            channels: &row.channels,
            kind: &row.kind,
            entity_id: row.entity_id.as_deref(),
        };
        if likeness != Likeness::from(*event) {
            return Ok(Keyed::Reused(place));
        }
        inserted.push(Inserted {
            id: EventId(row.id),
            is_duplicate: true,
        });
    }
    Ok(Keyed::Rows(inserted))
}

/// A row that was there before an event with the same key.
struct There {
    id: i64,
    channels: String,
    kind: String,
    entity_id: Option<String>,
    key: String,
}

async fn find_keyed(
    connection: &mut PgConnection,
    keys: &[String],
) -> Result<Vec<There>, sqlx::Error> {
    sqlx::query_as!(
        There,
        r#"SELECT id, channel AS channels, type AS kind, entity_id, dedup_key AS "key!" FROM events
            WHERE dedup_key = ANY($1) ORDER BY id"#,
        keys
    )
    .fetch_all(connection)
    .await
}

/// Whether an error leaves open what became of the events, and whether it is about one of them.
fn explain(error: sqlx::Error, committing: bool) -> InsertError {
    let doing = "insert events";
    let database = error.as_database_error();
    let code = database.and_then(sqlx::error::DatabaseError::code);
    match code.as_deref() {
        // Data and integrity: the same events are refused again.
        Some(code) if code.starts_with("22") || code.starts_with("23") || code == "54000" => {
            let reason = error
                .as_database_error()
                .map(|error| error.message().to_owned());
            InsertError::Refused(reason.unwrap_or_default())
        }
        // No such table or column, no privilege, a standby or a read-only transaction.
        Some("42P01" | "42703" | "42501" | "25006" | "42P10" | "3F000") => {
            InsertError::Failed(Error::Unusable(format!(
                "it takes no events ({}); `rowcast migrate` creates the table, and writers need INSERT and SELECT on it",
                error
                    .as_database_error()
                    .map_or("", |error| error.message())
            )))
        }
        // The connection ended, or the server did, while it answered.
        Some(code) if code.starts_with("08") || code.starts_with("57P") || code == "40003" => {
            unless_committing(Error::database(doing)(error), committing)
        }
        // It says that it failed, and so it was rolled back.
        Some(_) => InsertError::Failed(Error::database(doing)(error)),
        None => unless_committing(Error::database(doing)(error), committing),
    }
}

fn unless_committing(error: Error, committing: bool) -> InsertError {
    if committing {
        InsertError::Unknown(error)
    } else {
        InsertError::Failed(error)
    }
}
