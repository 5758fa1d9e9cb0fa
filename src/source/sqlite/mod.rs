//! SQLite: writers take turns, so `id > cursor` is exact; AUTOINCREMENT never gives an id twice.

pub(super) mod capture;
mod commands;
pub(super) mod doctor;
mod file;
mod insert;
mod life;
mod presences;
mod probe;
mod retention;
mod row_reader;
mod rows;
mod sample;
mod slot;

use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use async_stream::try_stream;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep};

use super::{DatabaseConfig, DatabaseUrl, Migrate, Row, Source, Window, only_on, set_up_tables};
use crate::cursor::{Cursor, Position};
use crate::error::Error;
use crate::event::ChannelPattern;

pub use commands::SqliteCommands;
use file::{FileIdentity, parent, watch_log};
pub use insert::SqliteInsert;
use life::{Known, begin_epoch, epoch_of, get_to_know, present};
pub use presences::SqlitePresences;
pub(crate) use probe::SqliteProbe;
pub use retention::SqlitePrune;
use row_reader::RowReader;
use rows::Wanted;
pub(crate) use sample::read_samples;

/// Waits of a statement for another process' lock, before it fails and is tried again later.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two attempts to switch a file to the write-ahead log while another process does: it takes that long.
const SWITCH_RETRY: Duration = Duration::from_millis(10);

/// Readers kept while nobody needs them: the feed's, and those of the few who catch up, or ask for their
/// place, at the same time.
const IDLE_READERS_MAX: usize = 5;

/// When to look once more after a write to the log, where its commit could not be seen yet.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// How often to look where the file cannot be watched. A look costs about 40 µs.
const UNWATCHED_INTERVAL: Duration = Duration::from_millis(20);

/// An `events` table in a SQLite file.
pub struct SqliteSource {
    options: SqliteConnectOptions,
    wake: bool,
    /// Idle readers: taken out while in use, and put back only when in good order.
    reading: Mutex<Vec<Reader>>,
    /// Outlives readers.
    known: Mutex<Option<Known>>,
}

/// An open file, and which one it is: a path may come to mean another file.
struct Reader {
    connection: SqliteConnection,
    /// Opened when rows are read: many a reader is asked for its place only.
    rows: Option<RowReader>,
    file: Option<FileIdentity>,
}

impl Reader {
    /// The two ways to ask the file: for rows, and for anything else.
    async fn ways(
        &mut self,
        options: &SqliteConnectOptions,
    ) -> Result<(&RowReader, &mut SqliteConnection), Error> {
        let rows = if let Some(rows) = self.rows.take() {
            rows
        } else {
            let rows = RowReader::open(options).await?;
            if FileIdentity::of(options.get_filename()) != self.file {
                return Err(Error::EpochChanged);
            }
            rows
        };
        Ok((self.rows.insert(rows), &mut self.connection))
    }
}

impl SqliteSource {
    /// Opens the file, creating it unless `migrate` forbids, and checks its table.
    ///
    /// # Errors
    /// When the file cannot be opened, created or written to, or its table is not of our shape.
    pub async fn open(config: &DatabaseConfig, migrate: Migrate) -> Result<Self, Error> {
        let options = connect_options(config, migrate)?;
        drop(prepare(&options, migrate).await?);
        let source = Self {
            options,
            wake: config.wake,
            reading: Mutex::default(),
            known: Mutex::new(None),
        };
        let edge = source.edge().await.map_err(explain_shape)?;
        let window = Window {
            after: edge.clone(),
            upto: edge,
            resume_after: None,
        };
        let mut rows = source.rows(window);
        while let Some(row) = rows.next().await {
            row.map_err(explain_shape)?.ok();
        }
        drop(rows);
        Ok(source)
    }

    async fn reader(&self) -> Result<Reader, Error> {
        // Asked before the file is opened: if it is replaced in between, this is found out next time.
        let file = FileIdentity::of(self.options.get_filename());
        while let Some(reader) = self.reading.lock().await.pop() {
            if reader.file == file {
                return Ok(reader);
            }
        }
        if file.is_none()
            && let Some(known) = self.known.lock().await.as_mut()
        {
            // The system may give what made it out to be itself to the next file.
            known.file = None;
        }
        let mut connection = self
            .options
            .clone()
            .create_if_missing(false)
            .connect()
            .await
            .map_err(Error::database("open the file"))?;
        get_to_know(&mut *self.known.lock().await, file, &mut connection).await?;
        Ok(Reader {
            connection,
            rows: None,
            file,
        })
    }

    async fn keep(&self, reader: Reader) {
        let mut idle = self.reading.lock().await;
        if idle.len() < IDLE_READERS_MAX {
            idle.push(reader);
        }
    }

    /// The rows of a window: all, or at least those that some patterns match.
    fn read<'a>(
        &'a self,
        window: Window,
        patterns: Option<&'a [ChannelPattern]>,
    ) -> BoxStream<'a, Result<Row, Error>> {
        let (Position::Id(after), Position::Id(upto)) =
            (window.after.position, window.upto.position)
        else {
            let error = Error::Unusable("the position is one of another kind of database".into());
            return futures_util::stream::once(std::future::ready(Err(error))).boxed();
        };
        Box::pin(try_stream! {
            let mut reader = self.reader().await?;
            let epoch = window.upto.epoch;
            let mut last = window.resume_after.map_or(after, |id| id.0.max(after));
            let wanted = patterns
                .filter(|_| upto - last > rows::LOOK_THROUGH_ROWS)
                .and_then(Wanted::new);
            // Every page is asked for its epoch; what is found is not.
            let is_of_other_epoch = wanted.is_some() && epoch_of(&mut reader.connection).await? != epoch;
            if is_of_other_epoch || window.after.epoch != epoch {
                self.keep(reader).await;
                Err(Error::EpochChanged)?;
                return;
            }
            let mut among = rows::FIND_AMONG;
            loop {
                // Up to here the rows are read: those that were found, or all.
                let (mut end, mut found) = (upto, None);
                if let Some(wanted) = &wanted {
                    end = upto.min(last.saturating_add(among));
                    let ids = rows::find(&mut reader.connection, last, end, wanted).await?;
                    let count = ids.len() as i64;
                    if let Some(&id) = ids.last().filter(|_| count == rows::FIND_ROWS) {
                        end = id;
                        among = rows::FIND_AMONG;
                    } else {
                        among = among.saturating_mul(2);
                    }
                    found = (count * rows::WANTED_OFTEN < end - last).then_some(ids);
                }
                if let Some(ids) = found {
                    let (rows, _) = reader.ways(&self.options).await?;
                    for ids in ids.chunks(rows::PAGE_ROWS as usize) {
                        for row in rows::these(rows, ids).await? {
                            yield row;
                        }
                    }
                } else {
                    let (rows, connection) = reader.ways(&self.options).await?;
                    loop {
                        let page = rows::page(rows, connection, epoch, last, end).await?;
                        let full = page.len() as i64 == rows::PAGE_ROWS;
                        for row in page {
                            last = rows::id_of(&row).0;
                            yield row;
                        }
                        if !full {
                            break;
                        }
                    }
                }
                last = end;
                if last >= upto {
                    break;
                }
            }
            self.keep(reader).await;
        })
    }
}

impl Source for SqliteSource {
    fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let mut known = self.known.lock().await;
            let mut now = present(&mut reader.connection, known.as_ref()).await?;
            if let Some(known) = known.as_mut() {
                if known.went_back(&now) {
                    begin_epoch(&mut reader.connection, now.edge.epoch).await?;
                    now = present(&mut reader.connection, None).await?;
                }
                known.note(&now);
            }
            drop(known);
            self.keep(reader).await;
            Ok(now.edge)
        })
    }

    fn rows(&self, window: Window) -> BoxStream<'_, Result<Row, Error>> {
        self.read(window, None)
    }

    fn rows_on<'a>(
        &'a self,
        window: Window,
        patterns: &'a [ChannelPattern],
    ) -> BoxStream<'a, Result<Row, Error>> {
        only_on(self.read(window, Some(patterns)), patterns)
    }

    fn rebase<'a>(&'a self, _cursor: &'a Cursor) -> BoxFuture<'a, Result<Option<Cursor>, Error>> {
        // An epoch ends when the file is replaced, and no place of the old file has one in the new.
        Box::pin(std::future::ready(Ok(None)))
    }

    fn watermark(&self) -> BoxFuture<'_, Result<Option<Cursor>, Error>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let watermark = retention::watermark(&mut reader.connection).await?;
            self.keep(reader).await;
            Ok(watermark)
        })
    }

    fn wakes(&self) -> BoxStream<'static, ()> {
        if !self.wake {
            return futures_util::stream::pending().boxed();
        }
        let written = Arc::new(Notify::new());
        match watch_log(self.options.get_filename(), Arc::clone(&written)) {
            Ok(watcher) => unfold(
                (watcher, written, false),
                async |(watcher, written, look_again)| {
                    if look_again {
                        sleep(LOOK_AGAIN).await;
                    } else {
                        written.notified().await;
                    }
                    Some(((), (watcher, written, !look_again)))
                },
            )
            .boxed(),
            Err(error) => {
                tracing::warn!(%error, "cannot watch the database file; looking at it every {UNWATCHED_INTERVAL:?} instead");
                unfold((), async |()| {
                    sleep(UNWATCHED_INTERVAL).await;
                    Some(((), ()))
                })
                .boxed()
            }
        }
    }
}

fn connect_options(
    config: &DatabaseConfig,
    migrate: Migrate,
) -> Result<SqliteConnectOptions, Error> {
    if config.schema.is_some() {
        return Err(Error::Config(
            "--schema is for Postgres; a SQLite database has one schema, its file".into(),
        ));
    }
    let options = SqliteConnectOptions::from_str(config.url.expose())
        .map_err(|error| {
            Error::Config(format!(
                "the database URL {} is malformed: {error}",
                config.url
            ))
        })?
        .create_if_missing(migrate == Migrate::Auto)
        .busy_timeout(BUSY_TIMEOUT)
        // Ids are found in a thread of the driver's own. With its 50 the two would wait for each other 400 times a page.
        .row_buffer_size(rows::PAGE_ROWS as usize)
        .log_statements(tracing::log::LevelFilter::Trace)
        .log_slow_statements(tracing::log::LevelFilter::Debug, Duration::from_secs(1));
    check_file(&config.url, options.get_filename(), migrate)?;
    Ok(options)
}

/// SQLite says "unable to open database file" to everything; these are the reasons.
fn check_file(url: &DatabaseUrl, path: &Path, migrate: Migrate) -> Result<(), Error> {
    let folder = parent(path);
    if !folder.is_dir() {
        return Err(Error::Unusable(format!(
            "the folder {} of {url} does not exist; create it first",
            folder.display()
        )));
    }
    if path.is_dir() {
        return Err(Error::Unusable(format!(
            "{url} is a folder; name a file in it"
        )));
    }
    if !path.exists() && migrate != Migrate::Auto {
        return Err(Error::Unusable(format!(
            "the file of {url} does not exist; create it with `rowcast migrate`"
        )));
    }
    Ok(())
}

/// Connects, switches to the write-ahead log, and sees to the tables.
async fn prepare(
    options: &SqliteConnectOptions,
    migrate: Migrate,
) -> Result<SqliteConnection, Error> {
    // Journal mode is a property of the file: set once, kept. It is what lets readers and a writer work side by side.
    let switch = options.clone().journal_mode(SqliteJournalMode::Wal);
    // Two servers that switch a new file at once would wait for each other, so SQLite fails one of them without waiting.
    let deadline = Instant::now() + BUSY_TIMEOUT;
    let mut connection = loop {
        match switch.connect().await {
            Err(error) if result_code(&error) == Some(5) && Instant::now() < deadline => {
                sleep(SWITCH_RETRY).await;
            }
            connected => {
                break connected.map_err(|error| explain(options, "open the database", error))?;
            }
        }
    };
    // Two servers may start at once: the second waits here until the first is through.
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(|error| explain(options, "open the database", error))?;
    set_up_tables(
        sqlx::migrate!("migrations/sqlite"),
        &mut *transaction,
        migrate,
    )
    .await?;
    transaction
        .commit()
        .await
        .map_err(Error::database("create or update the tables"))?;
    Ok(connection)
}

/// A file that cannot be written to is often noticed late: reading it may be possible.
fn explain(options: &SqliteConnectOptions, doing: &'static str, error: sqlx::Error) -> Error {
    let path = options.get_filename().display();
    // 5 BUSY, 8 READONLY, 14 CANTOPEN, 26 NOTADB.
    match result_code(&error) {
        Some(5) => Error::Unusable(format!(
            "{path} has been locked by another program for {} s; have that end its transaction or close the file, and try again",
            BUSY_TIMEOUT.as_secs()
        )),
        Some(8) => Error::Unusable(format!(
            "{path} is read-only, and a feed notes its tables in it and reads its write-ahead log; make the file and its folder writable"
        )),
        Some(14) => Error::Unusable(format!(
            "{path} cannot be opened or created; check the permissions of the file and its folder"
        )),
        Some(26) => Error::Unusable(format!("{path} is not a SQLite database")),
        _ => Error::Database {
            doing,
            source: error,
        },
    }
}

/// The primary result code: the low byte of the extended one.
fn result_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xff)
}

/// A statement that does not fit the table is a matter of set-up.
fn explain_shape(error: Error) -> Error {
    let Error::Database {
        source: sqlx::Error::Database(database),
        ..
    } = &error
    else {
        return error;
    };
    if database.message().starts_with("no such") {
        return Error::Unusable(format!(
            "its tables are not of the shape that migrations/sqlite gives them ({}); create them with `rowcast migrate`",
            database.message()
        ));
    }
    error
}
