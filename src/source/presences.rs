//! Who is on which channel, as all servers of one database know it: the `Presences` trait. When to write and to look, and
//! what to tell of it, is not decided here.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _};

use super::{DatabaseConfig, DatabaseKind};
use crate::error::Error;

#[cfg(feature = "postgres")]
use super::postgres::PostgresPresences;
#[cfg(feature = "sqlite")]
use super::sqlite::SqlitePresences;

/// Tables of who is connected to which server, shared by all servers of one database.
///
/// Any implementation keeps these promises, and `tests/source_contract.rs` holds every one to them:
///  - what was written is in every mark and reading that begins after its commit, on every server, until the server that
///    wrote it expires, by the clock of the database;
///  - a server's version differs after every commit that changed its members, and what changed after a version is what
///    has a greater one; who has left is told so until it is forgotten;
///  - after an error the next call opens a connection of its own accord.
pub trait Presences: Send + Sync + 'static {
    /// Enters a server that was never there, without members. It expires after `ttl`.
    ///
    /// # Errors
    /// When the database is not reachable, or the tables not writable.
    fn register<'a>(&'a self, server: &'a str, ttl: Duration) -> BoxFuture<'a, Result<(), Error>>;

    /// Renews a server, and writes what has changed there: all of it or nothing. Gives its version. None where the server
    /// is not known, or no more; then nothing was written.
    ///
    /// # Errors
    /// When the database is not reachable, or the tables not writable. It may have been written all the same.
    fn write<'a>(
        &'a self,
        server: &'a str,
        ttl: Duration,
        changes: &'a PresenceChanges,
    ) -> BoxFuture<'a, Result<Option<i64>, Error>>;

    /// The servers that have not expired.
    ///
    /// # Errors
    /// When the database is not reachable, or the tables not readable.
    fn marks(&self) -> BoxFuture<'_, Result<Vec<ServerMark>, Error>>;

    /// The members of a server, or what has changed with them after a version of it.
    ///
    /// # Errors
    /// When the database is not reachable, or the tables not readable.
    fn members<'a>(
        &'a self,
        server: &'a str,
        after: Option<i64>,
    ) -> BoxFuture<'a, Result<Vec<MemberRow>, Error>>;

    /// Deletes servers that expired some time ago, with their members. Gives how many.
    ///
    /// # Errors
    /// When the database is not reachable, or does not let us.
    fn forget(&self) -> BoxFuture<'_, Result<u64, Error>>;

    /// Hints that members have changed. They carry no data, and every one of them may get lost.
    fn wakes(&self) -> BoxStream<'static, ()> {
        futures_util::stream::pending().boxed()
    }
}

/// What has changed on one server.
#[derive(Debug, Clone, Default)]
pub struct PresenceChanges {
    /// Who came.
    pub entered: Vec<Place>,
    /// Who left.
    pub left: Vec<Place>,
    /// Who left up to this version of the server need not be told any more.
    pub forget_upto: Option<i64>,
}

impl PresenceChanges {
    /// Whether no member changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entered.is_empty() && self.left.is_empty()
    }
}

/// A user on a channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The channel.
    pub channel: Arc<str>,
    /// The user.
    pub user: Arc<str>,
}

/// How far a server has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerMark {
    /// Its name.
    pub server: String,
    /// Counts the changes of its members.
    pub version: i64,
    /// Who has seen less than this of it reads all of its members.
    pub forgotten: i64,
}

/// What has become of a user on a channel of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// Who, and where.
    pub place: Place,
    /// Since when the user is on the channel, on whatever server: `2026-01-01T00:00:00.000Z`, by the clock of the
    /// database. None: it has left this server.
    pub since: Option<Box<str>>,
}

impl MemberRow {
    /// Of the columns of a row.
    pub(super) fn of(channel: String, user: String, since: Option<String>) -> Self {
        let (channel, user) = (channel.into(), user.into());
        Self {
            place: Place { channel, user },
            since: since.map(Into::into),
        }
    }
}

/// Opens a connection when it is needed. The tables are taken as they are.
///
/// # Errors
/// When the database can be none of ours.
pub fn open_presences(config: &DatabaseConfig) -> Result<Arc<dyn Presences>, Error> {
    match config.url.kind() {
        #[cfg(feature = "postgres")]
        DatabaseKind::Postgres => Ok(Arc::new(PostgresPresences::new(config)?)),
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite => Ok(Arc::new(SqlitePresences::new(config)?)),
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        _ => unreachable!("DatabaseUrl::parse refuses databases that were not built in"),
    }
}
