//! What `rowcast verify` asks of a table: rows of its own, written as awkwardly as backends do, and the truth about them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{DatabaseConfig, DatabaseKind};
use crate::error::Error;
use crate::event::{Channel, EventId, NewEvent};

#[cfg(feature = "postgres")]
use super::postgres::PostgresProbe;
#[cfg(feature = "sqlite")]
use super::sqlite::SqliteProbe;

/// One connection of a writer that is none too gentle. It is opened when it is needed, and anew when it ended.
pub(crate) trait Probe: Send + Sync + 'static {
    /// Inserts the events in one transaction that ends as `ending` says.
    ///
    /// # Errors
    /// When the database is not reachable or refuses one of them. Whether they are in the table is not known then: the
    /// answer to a COMMIT may have got lost.
    fn insert<'a>(
        &'a self,
        events: &'a [NewEvent],
        ending: Ending,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// The greatest id so far, which is less than that of any row to come.
    ///
    /// # Errors
    /// When the database is not reachable, or there is no table.
    fn last_id(&self) -> BoxFuture<'_, Result<EventId, Error>>;

    /// The payloads of all rows with a greater id that are on this channel and no other.
    ///
    /// # Errors
    /// When the database is not reachable.
    fn find<'a>(
        &'a self,
        channel: &'a Channel,
        after: EventId,
    ) -> BoxFuture<'a, Result<Vec<String>, Error>>;

    /// Deletes what [`Probe::find`] finds.
    ///
    /// # Errors
    /// When the database is not reachable, or does not let us.
    fn remove<'a>(
        &'a self,
        channel: &'a Channel,
        after: EventId,
    ) -> BoxFuture<'a, Result<(), Error>>;
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    /// How long it stays open, where that keeps nobody else from writing. So transactions commit in another order than
    /// that of their ids.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "SQLite's writers take turns")
    )]
    pub hold: Duration,
    /// Whether it is committed in the end, or rolled back.
    pub commit: bool,
}

/// Opens a connection, now or when it is needed. The tables are taken as they are.
///
/// # Errors
/// When the database can be none of ours.
pub(crate) fn open_probe(config: &DatabaseConfig) -> Result<Arc<dyn Probe>, Error> {
    match config.url.kind() {
        #[cfg(feature = "postgres")]
        DatabaseKind::Postgres => Ok(Arc::new(PostgresProbe::new(config)?)),
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite => Ok(Arc::new(SqliteProbe::new(config)?)),
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        _ => unreachable!("DatabaseUrl::parse refuses databases that were not built in"),
    }
}
