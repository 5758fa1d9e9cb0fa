//! Deleting old events: the `Prune` trait, which is to `Source` what `Insert` is. When to delete is not decided here.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{DatabaseConfig, DatabaseKind, Migrate};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::EventId;

/// A table of events that old ones can be deleted from, a few at a time.
///
/// Any implementation keeps these promises, and `tests/retention.rs` holds every one to them:
///  - nothing is deleted that the position `known` of a batch does not know, however old it is;
///  - [`Source::watermark`](super::Source::watermark) is raised in the transaction that deletes, so whoever reads rows
///    first and the watermark then knows whether any were missing; and it never goes down;
///  - writers never wait for it where they do not wait for each other, and elsewhere for one batch at most.
pub trait Prune: Send + Sync + 'static {
    /// The position just after everything committed so far, as [`Source::edge`](super::Source::edge) gives it. A batch
    /// takes it once it is old enough for every feed to have read up to it.
    ///
    /// # Errors
    /// When the database is not reachable, or is a standby.
    fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>>;

    /// How long a batch may take: little where writers wait for it.
    fn batch_time(&self) -> Duration;

    /// The first row from an id on, and whether it is older than this. For estimates: it costs one look into an index.
    ///
    /// # Errors
    /// When the database is not reachable.
    fn look(
        &self,
        from: EventId,
        older_than: Duration,
    ) -> BoxFuture<'_, Result<Option<(EventId, bool)>, Error>>;

    /// Looks at one page of the table, in the order of ids, and deletes what is old of it.
    ///
    /// # Errors
    /// When the database is not reachable or refuses; then nothing of this batch is deleted. [`Error::EpochChanged`]
    /// when `known` is of another epoch than the present one.
    fn prune<'a>(&'a self, batch: &'a PruneBatch) -> BoxFuture<'a, Result<Pruned, Error>>;
}

/// A page of the table, and what is to go of it.
#[derive(Debug, Clone)]
pub struct PruneBatch {
    /// By `created_at`, against the clock of the database.
    pub older_than: Duration,
    /// What this position does not know stays: a row may be old when it is committed, and feeds have yet to read it.
    pub known: Cursor,
    /// Where the page begins: the last row of the one before.
    pub after: Option<EventId>,
    /// How many rows it has at most.
    pub rows: u32,
    /// Only count.
    pub dry_run: bool,
}

/// What became of a page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Rows there were.
    pub looked: u64,
    /// Rows of them that were old.
    pub old: u64,
    /// Rows deleted, or to be deleted when it was only to be counted.
    pub deleted: u64,
    /// Old rows that stay, as `known` does not know them.
    pub kept: u64,
    /// The last row looked at: where the next page begins. `None` when there was none.
    pub last: Option<EventId>,
    /// The last row deleted.
    pub last_deleted: Option<EventId>,
}

/// Opens the database for deleting old events, as [`open`](super::open) does for reading.
///
/// # Errors
/// As [`open`](super::open), and when events cannot be deleted from what `events` is, or not by this role.
pub async fn open_prune(
    config: &DatabaseConfig,
    migrate: Migrate,
) -> Result<Arc<dyn Prune>, Error> {
    match config.url.kind() {
        #[cfg(feature = "postgres")]
        DatabaseKind::Postgres => Ok(Arc::new(
            super::postgres::PostgresPrune::open(config, migrate).await?,
        )),
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite => Ok(Arc::new(
            super::sqlite::SqlitePrune::open(config, migrate).await?,
        )),
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        _ => unreachable!("DatabaseUrl::parse refuses databases that were not built in"),
    }
}

/// What is said where `events` is none of our tables. `what` is what it is.
pub(super) fn not_a_table(what: &str) -> Error {
    Error::Unusable(format!(
        "`events` is {what}, and old events can be deleted from a table only; delete them where they are kept, and note it in \
         rowcast_retention in the same transaction (docs/OPERATIONS.md says how)"
    ))
}
