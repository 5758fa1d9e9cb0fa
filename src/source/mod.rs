//! Where events come from: the `Source` trait, and what is opened for a configuration. Only this folder speaks SQL.

pub(crate) mod capture;
mod commands;
mod database;
pub(crate) mod doctor;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod insert;
#[cfg(feature = "redis")]
mod leadership;
mod migrate;
#[cfg(feature = "postgres")]
pub mod postgres;
mod presences;
mod probe;
mod prune;
#[cfg(feature = "redis")]
pub mod redis;
mod sample;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _};

use crate::cursor::{Cursor, Position, Within};
use crate::error::Error;
use crate::event::{ChannelPattern, Event, EventId};

pub use commands::{
    Command, Commands, Committed, NewCommand, Order, SUBJECT_BYTES_MAX, open_commands,
};
pub use database::{DatabaseConfig, DatabaseKind, DatabaseUrl};
pub(crate) use insert::open_insert_lazily;
pub use insert::{Insert, InsertError, Inserted, open_insert};
#[cfg(feature = "redis")]
pub(crate) use leadership::{Leadership, open_leadership};
pub use migrate::Migrate;
use migrate::set_up_tables;
pub use presences::{MemberRow, Place, PresenceChanges, Presences, ServerMark, open_presences};
pub(crate) use probe::{Ending, Probe, open_probe};
pub use prune::{Prune, PruneBatch, Pruned, open_prune};
pub(crate) use sample::{Sample, read_samples};
pub(crate) use stream::refuse_relay_from;
pub use stream::{DEFAULT_STREAM, StreamConfig, StreamRetain, StreamUrl};

/// A table of events that can be read by position.
///
/// Any implementation keeps these promises, and `tests/source_contract.rs` holds every one to them:
///  - a window `(after, upto]` has every row that was committed at `upto` and not at `after`, and no other;
///  - the same window read again, then or later, on any server, has the same rows in the same order;
///  - rows of one window come in ascending order of their ids, which puts causes before effects;
///  - windows that share an edge neither overlap nor leave a row out between them.
pub trait Source: Send + Sync + 'static {
    /// The position just after everything committed so far.
    ///
    /// # Errors
    /// When the database is not reachable, or must not be read from, as a standby.
    fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>>;

    /// The same, but never behind what was committed before this was asked. A source that reads what another one wrote
    /// somewhere may be behind with its edge.
    ///
    /// # Errors
    /// When the database is not reachable.
    fn committed(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
        self.edge()
    }

    /// A position that is so far back that what was inserted in the last `back` comes after it, and maybe more. A source that
    /// cannot tell gives its edge.
    ///
    /// # Errors
    /// When the database is not reachable.
    fn edge_before(&self, _back: Duration) -> BoxFuture<'_, Result<Cursor, Error>> {
        self.edge()
    }

    /// Whether everything up to a position is committed, so that somebody may have been there.
    ///
    /// # Errors
    /// When the database is not reachable. [`Error::EpochChanged`] when it is in another epoch than the position: what it had
    /// reached in that one is for [`Source::rebase`] to tell.
    fn has_reached<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async {
            let committed = self.committed().await?;
            if committed.epoch != cursor.epoch {
                return Err(Error::EpochChanged);
            }
            Ok(committed.reaches(cursor))
        })
    }

    /// The rows of a window, streamed. Memory does not grow with its size. A window of another epoch than the present
    /// one is refused with [`Error::EpochChanged`]: its ends have to be rebased first.
    fn rows(&self, window: Window) -> BoxStream<'_, Result<Row, Error>>;

    /// Of the rows of a window, those that one of the patterns matches. A source that can find them without reading the
    /// others does. Bad rows are left out.
    fn rows_on<'a>(
        &'a self,
        window: Window,
        patterns: &'a [ChannelPattern],
    ) -> BoxStream<'a, Result<Row, Error>> {
        only_on(self.rows(window), patterns)
    }

    /// The place of a position of an earlier epoch in the present one, or `None` when it has none (the database was
    /// replaced): then only a reset is honest. What both ends of a window bound before, their places bound after,
    /// rows that were lost excepted. After a crash the place may be somewhat earlier than the position: then a little
    /// of what was read just before the crash is read again.
    ///
    /// # Errors
    /// When the database is not reachable.
    fn rebase<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Option<Cursor>, Error>>;

    /// The position whose successors are all still there: whoever is behind it may miss what has been pruned. `None`
    /// where nothing ever was.
    ///
    /// # Errors
    /// When the database is not reachable.
    fn watermark(&self) -> BoxFuture<'_, Result<Option<Cursor>, Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Whether nothing after a position has been pruned. Asked after rows were read, it answers for them too.
    ///
    /// # Errors
    /// When the database is not reachable.
    fn retains<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async {
            let watermark = self.watermark().await?;
            // Those of another life tell nothing of this one's.
            Ok(watermark.is_none_or(|it| it.epoch != cursor.epoch || cursor.reaches(&it)))
        })
    }

    /// Hints that there may be something to read. They carry no data, and every one of them may get lost.
    fn wakes(&self) -> BoxStream<'static, ()> {
        futures_util::stream::pending().boxed()
    }

    /// Hints that there may be commands to read, where the source hears of them: they come while [`Source::wakes`] is polled, and
    /// every one of them may get lost.
    fn command_wakes(&self) -> BoxStream<'static, ()> {
        futures_util::stream::pending().boxed()
    }

    /// Whether [`Source::postpone_wakes`] spares writers anything. Where it does not, every commit wakes.
    fn can_postpone_wakes(&self) -> bool {
        false
    }

    /// Says that the table will be looked at often for this long, so that writers need not wake anybody. None: they are to
    /// do so again from now on.
    ///
    /// # Errors
    /// When the database is not reachable.
    fn postpone_wakes(&self, _lease: Option<Duration>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Notes in the database how far its history has come, for whoever has to tell later whether a part of it was lost.
    ///
    /// # Errors
    /// When the database is not reachable.
    fn leave_mark(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The rows committed after one position and up to another.
#[derive(Debug, Clone)]
pub struct Window {
    /// Everything up to here is known already.
    pub after: Cursor,
    /// Everything up to here is wanted.
    pub upto: Cursor,
    /// Where an earlier reading of the same window broke off: only rows with a greater id are wanted.
    pub resume_after: Option<EventId>,
}

impl Window {
    /// The first window to read on the way from one position to a later one: what is left of the window that `from` is
    /// in the midst of, or else all that lies between the two.
    pub(crate) fn on_the_way(from: &Cursor, upto: &Cursor) -> Self {
        match &from.position {
            Position::Within(within) => Self {
                after: from.at(Position::Snapshot(within.after.clone())),
                upto: from.at(Position::Snapshot(within.upto.clone())),
                resume_after: Some(EventId(within.id)),
            },
            Position::Id(_) | Position::Snapshot(_) => Self {
                after: from.clone(),
                upto: upto.clone(),
                resume_after: None,
            },
        }
    }

    /// The position after its row `id`, where there may be more.
    pub(crate) fn after_row(&self, id: EventId) -> Cursor {
        let position = match (&self.after.position, &self.upto.position) {
            (Position::Snapshot(after), Position::Snapshot(upto)) => {
                Position::Within(Box::new(Within {
                    after: after.clone(),
                    upto: upto.clone(),
                    id: id.0,
                }))
            }
            _ => Position::Id(id.0),
        };
        self.after.at(position)
    }
}

/// One row read: an event, or a row that cannot be one. Bad rows are skipped and counted; they never stop the feed. An
/// event is handed on a dozen times before it is where it is kept, and is large.
pub type Row = Result<Arc<Event>, BadRow>;

/// A row that is not an event. The tables' CHECK constraints refuse such rows; a view may still let one through.
#[derive(Debug, Clone)]
pub struct BadRow {
    /// The row.
    pub id: EventId,
    /// What is wrong with it.
    pub reason: String,
}

/// Leaves out the rows that none of the patterns matches.
fn only_on<'a>(
    rows: BoxStream<'a, Result<Row, Error>>,
    patterns: &'a [ChannelPattern],
) -> BoxStream<'a, Result<Row, Error>> {
    let wanted = move |row: &Result<Row, Error>| match row {
        Ok(Ok(event)) => event
            .channels
            .iter()
            .any(|channel| patterns.iter().any(|pattern| pattern.matches(channel))),
        Ok(Err(_bad)) => false,
        Err(_) => true,
    };
    rows.filter(move |row| std::future::ready(wanted(row)))
        .boxed()
}

/// Opens the database for reading: connects, sees to the tables as `migrate` says, and checks their shape.
///
/// # Errors
/// When the database is not reachable or not usable; the text says which and what to do.
pub async fn open(config: &DatabaseConfig, migrate: Migrate) -> Result<Arc<dyn Source>, Error> {
    match config.url.kind() {
        #[cfg(feature = "postgres")]
        DatabaseKind::Postgres => Ok(Arc::new(
            postgres::PostgresSource::open(config, migrate).await?,
        )),
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite => Ok(Arc::new(sqlite::SqliteSource::open(config, migrate).await?)),
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        _ => unreachable!("DatabaseUrl::parse refuses databases that were not built in"),
    }
}

/// Opens what a feed is read from: a stream where there is one, and behind it a table; or the table.
///
/// # Errors
/// When there is nothing to read, or it is not reachable or not usable; the text says which and what to do.
pub async fn open_feed(
    stream: Option<&StreamConfig>,
    database: Option<&DatabaseConfig>,
    migrate: Migrate,
) -> Result<Arc<dyn Source>, Error> {
    match (stream, database) {
        #[cfg(feature = "redis")]
        (Some(stream), database) => Ok(Arc::new(
            redis::RedisSource::open(stream, database, migrate).await?,
        )),
        #[cfg(not(feature = "redis"))]
        (Some(_), _) => {
            unreachable!("StreamConfig::new refuses streams where they were not built in")
        }
        (None, Some(database)) => open(database, migrate).await,
        (None, None) => Err(Error::NoDatabase {
            doing: "begin the feed",
        }),
    }
}

/// The position after the last entry of a stream; none where there is no such stream.
///
/// # Errors
/// When Redis does not answer, or lets nobody in.
pub(crate) async fn end_of_stream(config: &StreamConfig) -> Result<Option<Cursor>, Error> {
    #[cfg(feature = "redis")]
    return redis::Stream::new(config)?.end().await;
    #[cfg(not(feature = "redis"))]
    unreachable!("StreamConfig::new refuses {config:?} where streams were not built in");
}
