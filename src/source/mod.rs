//! Where events come from: the `Source` trait, and which database a URL means. Only this folder speaks SQL.

pub(crate) mod capture;
mod commands;
pub(crate) mod doctor;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod insert;
#[cfg(feature = "postgres")]
pub mod postgres;
mod probe;
mod prune;
mod sample;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _};
use sqlx::migrate::MigrateError;
use url::Url;

use crate::cursor::{Cursor, Position, Within};
use crate::error::Error;
use crate::event::{ChannelPattern, Event, EventId};

pub use commands::{
    Command, Commands, Committed, NewCommand, Order, SUBJECT_BYTES_MAX, open_commands,
};
pub(crate) use insert::open_insert_lazily;
pub use insert::{Insert, InsertError, Inserted, open_insert};
pub(crate) use probe::{Ending, Probe, open_probe};
pub use prune::{Prune, PruneBatch, Pruned, open_prune};
pub(crate) use sample::{Sample, read_samples};

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

    /// Hints that there may be something to read. They carry no data, and every one of them may get lost.
    fn wakes(&self) -> BoxStream<'static, ()> {
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

/// One row read: an event, or a row that cannot be one. Bad rows are skipped and counted; they never stop the feed.
pub type Row = Result<Event, BadRow>;

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

/// What is to happen with the tables at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Migrate {
    /// Create or update them.
    #[default]
    Auto,
    /// Refuse to start when they are not up to date.
    Check,
    /// Take them as they are.
    Off,
}

/// Which database, and how to use it.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// Where it is.
    pub url: DatabaseUrl,
    /// Postgres only: the schema that has the tables. Without it the connection's own `search_path` decides.
    pub schema: Option<String>,
    /// Whether to be woken by writers; polling goes on either way.
    pub wake: bool,
}

impl DatabaseConfig {
    /// The database at this URL, with wake-ups.
    ///
    /// # Errors
    /// [`Error::Config`] when it is not a URL of a database that this build can use.
    pub fn new(url: &str) -> Result<Self, Error> {
        Ok(Self {
            url: DatabaseUrl::parse(url)?,
            schema: None,
            wake: true,
        })
    }
}

/// The URL of a database. Shown without its password.
#[derive(Clone)]
pub struct DatabaseUrl {
    text: String,
    kind: DatabaseKind,
}

/// The databases there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseKind {
    /// PostgreSQL, version 13 or newer.
    Postgres,
    /// A SQLite file.
    Sqlite,
}

impl DatabaseUrl {
    /// Reads the URL of a database.
    ///
    /// # Errors
    /// [`Error::Config`] when it is not a URL of a database that this build can use.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let forms = "postgres://user:password@host:5432/database or sqlite://path/to/file.db";
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(Error::Config(format!(
                "the database URL has no scheme; write {forms}"
            )));
        };
        let (kind, compiled) = match scheme {
            "postgres" | "postgresql" => (DatabaseKind::Postgres, cfg!(feature = "postgres")),
            "sqlite" => (DatabaseKind::Sqlite, cfg!(feature = "sqlite")),
            _ => {
                return Err(Error::Config(format!(
                    "the database URL has the scheme {scheme:?}, and rowcast reads Postgres and SQLite; write {forms}"
                )));
            }
        };
        if !compiled {
            return Err(Error::Config(format!(
                "this rowcast was built without the feature {scheme:?}; build it with --features {scheme}"
            )));
        }
        match kind {
            DatabaseKind::Postgres => {
                // The parser's message is kept, the text is not: it may hold the password.
                let url = Url::parse(text).map_err(|error| {
                    Error::Config(format!(
                        "the database URL is malformed ({error}); write {forms}"
                    ))
                })?;
                // With an unescaped `#`, `/` or `?` in it a password ends early, and its rest would pass for another
                // part of the URL, and be shown as such.
                let parameter_is_word = |(name, _): (std::borrow::Cow<'_, str>, _)| {
                    name.chars()
                        .all(|c| c.is_ascii_alphanumeric() || "_-.[]".contains(c))
                };
                if url.cannot_be_a_base()
                    || url.fragment().is_some()
                    || url.path().contains('@')
                    || !url.query_pairs().all(parameter_is_word)
                {
                    return Err(Error::Config(format!(
                        "the database URL is malformed (a password's # / ? @ : are written %23 %2F %3F %40 %3A); write {forms}"
                    )));
                }
            }
            DatabaseKind::Sqlite => {
                let path = rest.trim_start_matches('/').split('?').next();
                if path.is_none_or(str::is_empty) {
                    return Err(Error::Config(format!(
                        "the database URL names no file; write {forms}"
                    )));
                }
                if rest.contains(":memory:") || rest.contains("mode=memory") {
                    return Err(Error::Config(
                        "a SQLite database in memory has no other writers to hear from; name a file: sqlite://rowcast.db".into(),
                    ));
                }
            }
        }
        Ok(Self {
            text: text.to_owned(),
            kind,
        })
    }

    /// Which database it is.
    #[must_use]
    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// Whether it is shown as it is: there is nothing secret in it.
    pub(crate) fn is_shown_whole(&self) -> bool {
        self.to_string() == self.text
    }

    /// The URL with its password: for the driver, never for a log.
    pub(crate) fn expose(&self) -> &str {
        &self.text
    }
}

/// The URL without its password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == DatabaseKind::Sqlite {
            return f.write_str(&self.text);
        }
        // `parse` has seen to it that this is a URL.
        let Ok(mut url) = Url::parse(&self.text) else {
            return f.write_str("postgres://…");
        };
        if url.password().is_some() {
            // Fails only on URLs without a host, which can have no password.
            let _ = url.set_password(Some("***"));
        }
        // `?password=` and `?sslpassword=` are secrets too, and so may be parameters we do not know.
        if url.query().is_some() {
            url.set_query(Some("…"));
        }
        url.fmt(f)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
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

/// What went wrong with a migration, told for people.
fn migration_error(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(version) => Error::Unusable(format!(
            "its tables were made by a newer rowcast (migration {version}); start that version, or a newer one"
        )),
        MigrateError::VersionMismatch(version) => Error::Unusable(format!(
            "migration {version} was applied with another text than this rowcast has; start the version that made the tables"
        )),
        MigrateError::ExecuteMigration(source, _) if table_exists(&source) => Error::Unusable(
            "it already has a table `events` that rowcast did not make; put rowcast's own elsewhere (Postgres: --schema rowcast; \
             SQLite: another file), or give that table the shape of migrations/ and start with --migrate off"
                .into(),
        ),
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            Error::Database { doing: "create or update the tables", source }
        }
        other => Error::Unusable(format!("its tables cannot be brought up to date: {other}")),
    }
}

fn table_exists(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("42P07") || error.message().contains("already exists")
    })
}

/// The table that notes which migrations were applied. Not sqlx's default: the user's own application may have that.
const MIGRATIONS_TABLE: &str = "_rowcast_migrations";

/// Creates, updates or checks the tables.
async fn set_up_tables<C: sqlx::migrate::Migrate>(
    mut migrator: sqlx::migrate::Migrator,
    connection: &mut C,
    migrate: Migrate,
) -> Result<(), Error> {
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    match migrate {
        Migrate::Off => Ok(()),
        Migrate::Auto => migrator
            .run_direct(None, connection, false)
            .await
            .map_err(migration_error),
        Migrate::Check => {
            // Without the table nothing was applied.
            let applied = connection
                .list_applied_migrations(MIGRATIONS_TABLE)
                .await
                .unwrap_or_default();
            // What `Auto` refuses, too.
            for have in &applied {
                match migrator.iter().find(|known| known.version == have.version) {
                    None => {
                        return Err(migration_error(MigrateError::VersionMissing(have.version)));
                    }
                    Some(known) if known.checksum != have.checksum => {
                        return Err(migration_error(MigrateError::VersionMismatch(have.version)));
                    }
                    Some(_) => {}
                }
            }
            let missing = migrator
                .iter()
                .filter(|wanted| !applied.iter().any(|have| have.version == wanted.version))
                .count();
            if missing == 0 {
                return Ok(());
            }
            Err(Error::Unusable(format!(
                "{missing} of {} migrations are not applied, and --migrate check leaves that to you; run `rowcast migrate`",
                migrator.iter().count()
            )))
        }
    }
}
