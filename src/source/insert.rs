//! Writing events: the `Insert` trait, and what became of those that were to be inserted. Whose they are, and whether they
//! may be, is not decided here.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{DatabaseConfig, DatabaseKind, Migrate};
use crate::error::Error;
use crate::event::{EventId, NewEvent};

#[cfg(feature = "postgres")]
use super::postgres::PostgresInsert;
#[cfg(feature = "sqlite")]
use super::sqlite::SqliteInsert;

/// A table of events that can be written to.
///
/// Any implementation keeps these promises, and `tests/source_contract.rs` holds every one to them:
///  - all events are inserted in one transaction, or none is;
///  - ids ascend in the order of the events, those aside that were there already;
///  - of all events with one `dedup_key`, of one call or of many at once, the table has one;
///  - after an error the next call opens a connection of its own accord.
pub trait Insert: Send + Sync + 'static {
    /// Inserts the events in one transaction, and gives the row of each, in order. They are committed then. An event whose
    /// `dedup_key` is there already is not inserted; its row is that one.
    ///
    /// # Errors
    /// When the database is not reachable or refuses one of them.
    fn insert<'a>(
        &'a self,
        events: &'a [NewEvent],
    ) -> BoxFuture<'a, Result<Vec<Inserted>, InsertError>>;
}

/// The row of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inserted {
    /// Its number.
    pub id: EventId,
    /// It was there already, by its `dedup_key`.
    pub is_duplicate: bool,
}

/// Why events were not inserted, and whether that is certain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InsertError {
    /// The database refuses one of them, whenever it is tried. None was inserted.
    #[error("insert events: the database refuses one of them: {0}")]
    Refused(String),
    /// The `dedup_key` of this event, counted from 0, is that of one with another channel, type or entity. None was
    /// inserted.
    #[error(
        "insert events: the dedup key of event {0} is that of one with another channel, type or entity; give it another key"
    )]
    KeyReused(usize),
    /// The database could not be asked, or did not let us. None was inserted.
    #[error(transparent)]
    Failed(Error),
    /// There was no answer to a commit: they may have been inserted.
    #[error(transparent)]
    Unknown(Error),
}

impl From<InsertError> for Error {
    fn from(error: InsertError) -> Self {
        match error {
            InsertError::Failed(error) | InsertError::Unknown(error) => error,
            InsertError::Refused(reason) => {
                Self::Unusable(format!("it refuses to insert events: {reason}"))
            }
            error @ InsertError::KeyReused(_) => Self::Config(error.to_string()),
        }
    }
}

/// Opens the database for inserting, as [`open`](super::open) does for reading.
///
/// # Errors
/// As [`open`](super::open).
pub async fn open_insert(
    config: &DatabaseConfig,
    migrate: Migrate,
) -> Result<Arc<dyn Insert>, Error> {
    match config.url.kind() {
        #[cfg(feature = "postgres")]
        DatabaseKind::Postgres => Ok(Arc::new(PostgresInsert::open(config, migrate).await?)),
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite => Ok(Arc::new(SqliteInsert::open(config, migrate).await?)),
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        _ => unreachable!("DatabaseUrl::parse refuses databases that were not built in"),
    }
}

/// The same with connections that are opened when they are needed. The tables are taken as they are.
///
/// # Errors
/// When the database can be none of ours.
pub(crate) fn open_insert_lazily(config: &DatabaseConfig) -> Result<Arc<dyn Insert>, Error> {
    match config.url.kind() {
        #[cfg(feature = "postgres")]
        DatabaseKind::Postgres => Ok(Arc::new(PostgresInsert::new(config)?)),
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite => Ok(Arc::new(SqliteInsert::new(config)?)),
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        _ => unreachable!("DatabaseUrl::parse refuses databases that were not built in"),
    }
}

/// What an event with a key that is there already has to have in common with the row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Likeness<'a> {
    pub channels: &'a str,
    pub kind: &'a str,
    pub entity_id: Option<&'a str>,
}

impl<'a> From<&'a NewEvent> for Likeness<'a> {
    fn from(event: &'a NewEvent) -> Self {
        Self {
            channels: event.channels.as_str(),
            kind: &event.kind,
            entity_id: event.entity_id.as_deref(),
        }
    }
}

/// Events of which none has the key of another, and for each that was given where it is among them.
pub(super) struct Distinct<'a> {
    pub events: Vec<&'a NewEvent>,
    places: Vec<usize>,
}

impl<'a> Distinct<'a> {
    /// Leaves out what has the key of an earlier one.
    pub fn of(events: &'a [NewEvent]) -> Result<Self, InsertError> {
        let mut distinct = Self {
            events: Vec::with_capacity(events.len()),
            places: Vec::with_capacity(events.len()),
        };
        let mut keys = HashMap::new();
        for (n, event) in events.iter().enumerate() {
            let next = distinct.events.len();
            let place = match &event.dedup_key {
                None => next,
                Some(key) => *keys.entry(key.as_str()).or_insert(next),
            };
            match distinct.events.get(place) {
                None => distinct.events.push(event),
                Some(first) if Likeness::from(*first) == Likeness::from(event) => {}
                Some(_) => return Err(InsertError::KeyReused(n)),
            }
            distinct.places.push(place);
        }
        Ok(distinct)
    }

    /// The place among all that were given of one of these.
    pub fn first_of(&self, place: usize) -> usize {
        let found = self.places.iter().position(|&own| own == place);
        found.unwrap_or(place)
    }

    /// The rows of all that were given, from the rows of these.
    pub fn spread(&self, rows: &[Inserted]) -> Vec<Inserted> {
        let mut next = 0;
        let each = self.places.iter().map(|&place| {
            let is_repeated = place < next;
            next = next.max(place + 1);
            Inserted {
                id: rows[place].id,
                is_duplicate: is_repeated || rows[place].is_duplicate,
            }
        });
        each.collect()
    }
}
