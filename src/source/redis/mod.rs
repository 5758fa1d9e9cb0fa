//! The stream in Redis that somebody relays the table into, as a source: many servers read it, and one the table. What is
//! not in it, or not any more, is read from the table by those who may.

mod commands;
mod connection;
mod entry;
mod explain;
mod memory;
mod path;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_stream::try_stream;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::WatchStream;

use super::{DatabaseConfig, Migrate, Row, Source, StreamConfig, Window};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::ChannelPattern;

pub use commands::RedisCommands;
use connection::Redis;
pub(crate) use entry::{Entry, Joint};
use memory::{End, Memory};
use path::{Found, Path};
pub(crate) use stream::{Appended, Stream};

/// How long to wait at start for a stream to be there, where there is no table to begin with.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client's position may be ahead of the stream: other servers have read on.
const AHEAD_MAX: Duration = Duration::from_millis(500);

/// A stream in Redis, and behind it a table, if there is one.
pub struct RedisSource {
    config: StreamConfig,
    stream: Arc<Stream>,
    memory: Arc<Memory>,
    table: Option<Table>,
    /// The position told last. None before the first.
    told: Mutex<Option<Cursor>>,
    /// Whether the feed comes from the stream, as it was logged last.
    from_stream: Mutex<bool>,
    follower: JoinHandle<()>,
}

/// The table, opened when it is needed if it could not be at start.
struct Table {
    config: DatabaseConfig,
    migrate: Migrate,
    source: OnceCell<Arc<dyn Source>>,
}

impl Table {
    async fn get(&self) -> Result<&Arc<dyn Source>, Error> {
        let open = async || super::open(&self.config, self.migrate).await;
        self.source.get_or_try_init(open).await
    }
}

impl Drop for RedisSource {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl RedisSource {
    /// Connects. Where there is a table, one of the two is enough to begin with.
    ///
    /// # Errors
    /// When nothing can be read: the text says why and what to do.
    pub async fn open(
        config: &StreamConfig,
        database: Option<&DatabaseConfig>,
        migrate: Migrate,
    ) -> Result<Self, Error> {
        let stream = Arc::new(Stream::new(config)?);
        let memory = Arc::new(Memory::new());
        // What comes first is a change only to those who watch before it comes.
        let grown = memory.watch();
        let follower = {
            let (stream, memory) = (Arc::clone(&stream), Arc::clone(&memory));
            tokio::spawn(async move { memory.follow(&stream).await })
        };
        let source = Self {
            config: config.clone(),
            stream,
            memory,
            table: database.map(|config| Table {
                config: config.clone(),
                migrate,
                source: OnceCell::new(),
            }),
            told: Mutex::default(),
            from_stream: Mutex::new(true),
            follower,
        };
        source.begin(grown).await?;
        Ok(source)
    }

    async fn begin(&self, mut grown: watch::Receiver<()>) -> Result<(), Error> {
        let table = match &self.table {
            None => None,
            Some(table) => Some(table.get().await.map(drop)),
        };
        let patience = match &table {
            // What is wrong with it is to be known now, not when Redis is away.
            Some(Err(error @ Error::Connect { .. })) => {
                tracing::warn!("failed to {error}; it is tried again when it is needed");
                START_TIMEOUT
            }
            Some(Err(_)) => return table.unwrap_or(Ok(())),
            Some(Ok(())) => Duration::from_secs(2),
            None => START_TIMEOUT,
        };
        let deadline = Instant::now() + patience;
        let mut said = table.is_some();
        loop {
            // It connects first.
            let is_late = timeout_at(deadline, grown.changed()).await.is_err();
            let Err(why) = self.memory.end() else {
                return Ok(());
            };
            if is_late && table.as_ref().is_some_and(Result::is_ok) {
                return Ok(());
            }
            if is_late {
                return Err(self.unreadable(format!(
                    "{why}; with --database-url the server could begin with the table"
                )));
            }
            if !std::mem::replace(&mut said, true) {
                let StreamConfig { name, url } = &self.config;
                tracing::info!("waiting for the stream {name:?} at {url}: {why}");
            }
        }
    }

    /// Where the feed is to go on to: to the end of the stream where that is not behind what was told before, or else to
    /// that of the table.
    async fn next_edge(&self, told: Option<Cursor>) -> Result<Cursor, Error> {
        let end = self.memory.end();
        match (&end, &told) {
            (Ok(end), None) => return Ok(end.position.clone()),
            (Ok(end), Some(told)) => {
                if let Some(edge) = end.from(told, self.table.is_some()) {
                    self.say(true, "");
                    return Ok(edge);
                }
            }
            (Err(_), _) => {}
        }
        let Some(table) = &self.table else {
            // It has lost what was told, and will be given it again.
            return match (end, told) {
                (Ok(_), Some(told)) => Ok(told),
                (Ok(end), None) => Ok(end.position),
                (Err(why), _) => Err(self.unreadable(why)),
            };
        };
        let why = end.err();
        self.say(false, why.as_deref().unwrap_or("it is behind"));
        table.get().await?.edge().await
    }

    /// Says once where the feed comes from now.
    fn say(&self, from_stream: bool, why: &str) {
        let mut said = lock(&self.from_stream);
        if std::mem::replace(&mut *said, from_stream) == from_stream {
            return;
        }
        if from_stream {
            tracing::info!("the feed comes from Redis again");
        } else {
            tracing::warn!(
                "the stream in Redis cannot be followed ({why}); the feed comes from the table meanwhile"
            );
        }
    }

    fn unreadable(&self, why: String) -> Error {
        self.stream.redis().failed("read the stream", why)
    }

    fn told(&self) -> MutexGuard<'_, Option<Cursor>> {
        lock(&self.told)
    }

    fn read<'a>(
        &'a self,
        window: Window,
        patterns: Option<&'a [ChannelPattern]>,
    ) -> BoxStream<'a, Result<Row, Error>> {
        Box::pin(try_stream! {
            let path = match self.memory.path(&window) {
                Some(entries) => Found::Here(Path::of(entries)),
                None => Path::find(&self.stream, &window, patterns).await,
            };
            match (path, &self.table) {
                (Found::Here(path), _) => {
                    let mut rows = path.rows(&self.stream, window, patterns);
                    while let Some(event) = rows.try_next().await? {
                        yield Ok(event);
                    }
                }
                (_, Some(table)) => {
                    let table = table.get().await?;
                    let mut rows = match patterns {
                        Some(patterns) => table.rows_on(window, patterns),
                        None => table.rows(window),
                    };
                    while let Some(row) = rows.try_next().await? {
                        yield row;
                    }
                }
                (Found::Gone, None) => Err(Error::Gone)?,
                (Found::Unknown(error), None) => Err(error)?,
            }
        })
    }
}

impl End {
    /// The position to go on to from another, if that is not behind it.
    fn from(&self, told: &Cursor, has_table: bool) -> Option<Cursor> {
        if self.position.epoch == told.epoch {
            return self.position.reaches(told).then(|| self.position.clone());
        }
        match self.bridge_from(told) {
            // First to the end of the life that was told of; from there it is known where the next one begins.
            Some((before, _)) if before.reaches(told) && before != told => Some(before.clone()),
            Some((before, place)) if before == told => {
                Some(if place.epoch == self.position.epoch {
                    self.position.clone()
                } else {
                    place.clone()
                })
            }
            _ if !has_table => Some(self.position.clone()),
            // Whoever relays may be the one who does not know yet.
            _ => (self.position.epoch.number > told.epoch.number).then(|| self.position.clone()),
        }
    }
}

/// Whether a position is to be remembered as the one told last. Others may have looked meanwhile, and have been told more:
/// of another life of the database only what they saw first is known to come later.
fn replaces(edge: &Cursor, told: Option<&Cursor>, before: Option<&Cursor>) -> bool {
    match told {
        Some(told) if told.epoch == edge.epoch => edge.reaches(told),
        told => told == before,
    }
}

impl Source for RedisSource {
    fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
        Box::pin(async {
            let before = self.told().clone();
            let edge = self.next_edge(before.clone()).await?;
            let mut told = self.told();
            if replaces(&edge, told.as_ref(), before.as_ref()) {
                *told = Some(edge.clone());
            }
            Ok(edge)
        })
    }

    fn committed(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
        Box::pin(async {
            match &self.table {
                Some(table) => table.get().await?.committed().await,
                None => self.edge().await,
            }
        })
    }

    fn has_reached<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let deadline = Instant::now() + AHEAD_MAX;
            let mut grown = self.memory.watch();
            loop {
                let end = self.memory.end().map_err(|why| self.unreadable(why));
                match (end, &self.table) {
                    (Ok(end), _) if end.position.reaches(cursor) => return Ok(true),
                    (_, Some(table)) => return table.get().await?.has_reached(cursor).await,
                    (Ok(end), None) if end.position.epoch != cursor.epoch => {
                        return Err(Error::EpochChanged);
                    }
                    (end, None) => drop(end?),
                }
                if timeout_at(deadline, grown.changed()).await.is_err() {
                    return if self.memory.is_settled() {
                        Ok(false)
                    } else {
                        Err(self.unreadable("it does not reach as far as this yet".into()))
                    };
                }
            }
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
        self.read(window, Some(patterns))
    }

    fn rebase<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Option<Cursor>, Error>> {
        Box::pin(async move {
            let end = self.memory.end();
            if let Ok(end) = &end
                && let Some((before, place)) = end.bridge_from(cursor)
                && before == cursor
            {
                return Ok(Some(place.clone()));
            }
            if let Some(table) = &self.table {
                return table.get().await?.rebase(cursor).await;
            }
            let end = end.map_err(|why| self.unreadable(why))?;
            Ok((end.position.epoch == cursor.epoch).then(|| cursor.clone()))
        })
    }

    fn retains<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            if self.memory.retains(cursor) {
                return Ok(true);
            }
            match (&self.table, Path::is_retained(&self.stream, cursor).await) {
                (_, Ok(true)) => Ok(true),
                (Some(table), _) => table.get().await?.retains(cursor).await,
                (None, retained) => retained,
            }
        })
    }

    fn command_wakes(&self) -> BoxStream<'static, ()> {
        match Redis::new(&self.config) {
            Ok(redis) => commands::wakes(Arc::new(redis), commands::TOLD),
            // It was one at start.
            Err(_) => futures_util::stream::pending().boxed(),
        }
    }

    fn wakes(&self) -> BoxStream<'static, ()> {
        WatchStream::from_changes(self.memory.watch()).boxed()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
