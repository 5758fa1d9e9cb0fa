//! PostgreSQL: positions are snapshots, a window is the difference of two of them. The algorithm is that of PgQ
//! (Skype, about 2007); docs/ARCHITECTURE.md tells why `id > cursor` loses rows and this does not.

pub(super) mod capture;
mod commands;
mod connect;
pub(super) mod doctor;
mod insert;
#[cfg(feature = "redis")]
mod leadership;
mod life;
mod listen;
mod presences;
mod probe;
mod retention;
mod rows;
mod sample;
mod slot;

use std::str::FromStr as _;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use async_stream::try_stream;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _, TryStreamExt as _, pending};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{DatabaseConfig, Migrate, Row, Source, Window, only_on};
use crate::cursor::{Cursor, Epoch, Position, Snapshot, Within};
use crate::error::Error;
use crate::event::ChannelPattern;

pub use commands::PostgresCommands;
use connect::{connect_options, prepare};
use doctor::refuse_rows_from_the_future;
pub use insert::PostgresInsert;
#[cfg(feature = "redis")]
pub(crate) use leadership::PostgresLeadership;
use life::{Durable, Life, epoch_of, lives_since, primary};
use listen::Ear;
pub use presences::PostgresPresences;
pub(crate) use probe::PostgresProbe;
pub use retention::PostgresPrune;
use rows::{Frozen, Wanted};
pub(crate) use sample::read_samples;

/// Connections kept while nobody needs them: one that polls, and those of the few who catch up, or ask for their
/// place, at the same time.
const IDLE_CONNECTIONS_MAX: usize = 5;

/// How long a connection that nobody has needed stays. Opening one takes some milliseconds; of many servers, all of which had clients
/// come back once, those that stayed would be more than a database of usual size has.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Longer ago than any lease ended, in milliseconds.
const NEVER_MS: i64 = 1 << 52;

/// An `events` table in PostgreSQL.
pub struct PostgresSource {
    options: PgConnectOptions,
    /// None where nobody is to be woken.
    ear: Option<Ear>,
    /// Idle connections, and since when they are. Whoever needs one takes the last one out, and puts it back only when it is in
    /// good order: an error, a time-out or a dropped future closes it.
    polling: Mutex<Vec<(Polling, Instant)>>,
    /// Outlives connections, so that one that was cut costs no knowledge. Never locked across an await.
    durable: std::sync::Mutex<Option<Durable>>,
}

/// An open connection, and the life of the cluster that it is in.
struct Polling {
    connection: PgConnection,
    life: Life,
    epoch: Epoch,
}

impl PostgresSource {
    /// Connects, sees to the tables as `migrate` says, and checks that they can be read.
    ///
    /// # Errors
    /// When the server is not reachable, too old, a standby, or the tables are not of our shape.
    pub async fn open(config: &DatabaseConfig, migrate: Migrate) -> Result<Self, Error> {
        let options = connect_options(config)?;
        drop(prepare(&options, config, migrate).await?);
        let source = Self {
            ear: config.wake.then(|| Ear::new(options.clone())),
            options,
            polling: Mutex::default(),
            durable: std::sync::Mutex::default(),
        };
        source.check_shape().await?;
        Ok(source)
    }

    /// Reads an empty window, so that a table of another shape is found at start.
    async fn check_shape(&self) -> Result<(), Error> {
        let edge = self.edge().await.map_err(explain_shape)?;
        let window = Window {
            after: edge.clone(),
            upto: edge,
            resume_after: None,
        };
        self.rows(window)
            .try_for_each(|_| std::future::ready(Ok(())))
            .await
            .map_err(explain_shape)
    }

    async fn polling(&self) -> Result<Polling, Error> {
        if let Some((polling, _since)) = self.polling.lock().await.pop() {
            return Ok(polling);
        }
        let mut connection = self
            .options
            .connect()
            .await
            .map_err(Error::database("connect to the database"))?;
        let doing = "prepare the connection";
        // The window query is the same every time, and planning it costs as much as running it. On a table of millions
        // it is expected to take long, though it reads a few rows: it would be compiled every time, for 20 ms and more.
        connection
            .execute("SET plan_cache_mode = force_generic_plan; SET jit = off")
            .await
            .map_err(Error::database(doing))?;
        let row = sqlx::query!(
            r#"SELECT pg_is_in_recovery() AS "standby!",
                      CASE WHEN NOT pg_is_in_recovery()
                           THEN left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END AS timeline,
                      (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS "boot!",
                      coalesce((extract(epoch FROM stats_reset) * 1000000)::bigint, 0) AS "crash!"
                 FROM pg_stat_bgwriter"#
        )
        .fetch_one(&mut connection)
        .await
        .map_err(Error::database(doing))?;
        let life = Life {
            timeline: primary(row.standby, row.timeline)?,
            boot: row.boot,
            crash: row.crash,
        };
        refuse_rows_from_the_future(&mut connection).await?;
        let durable = epoch_of(&mut connection, &life).await?;
        let epoch = durable.epoch;
        let mut known = self.durable();
        if known.is_none_or(|known| known.epoch != epoch) {
            *known = Some(durable);
        }
        drop(known);
        Ok(Polling {
            connection,
            life,
            epoch,
        })
    }

    /// Asks for the present position.
    async fn look(&self) -> Result<Cursor, Error> {
        let doing = "ask for the present position";
        let mut polling = self.polling().await?;
        // The snapshot is that of the statement, so it is older than what is called: what has ended in it has been
        // written to the log.
        let row = sqlx::query!(
            r#"SELECT pg_current_snapshot()::text AS "snapshot!",
                      pg_is_in_recovery() AS "standby!",
                      (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS "boot!",
                      CASE WHEN NOT pg_is_in_recovery()
                           THEN left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END AS timeline,
                      CASE WHEN NOT pg_is_in_recovery()
                           THEN (pg_current_wal_insert_lsn() - '0/0')::bigint END AS written,
                      CASE WHEN NOT pg_is_in_recovery()
                           THEN (pg_current_wal_flush_lsn() - '0/0')::bigint END AS on_disk"#
        )
        .fetch_one(&mut polling.connection)
        .await
        .map_err(Error::database(doing))?;
        let timeline = primary(row.standby, row.timeline)?;
        // A pooler in between may have given us another server, or the same one in another life.
        if timeline != polling.life.timeline || row.boot != polling.life.boot {
            return Err(Error::EpochChanged);
        }
        let mut snapshot = Snapshot::from_str(&row.snapshot).map_err(|_| {
            Error::Unusable(format!(
                "its snapshot {:?} is not one we can read",
                row.snapshot
            ))
        })?;
        let epoch = polling.epoch;
        if let (Some(durable), Some(written), Some(on_disk)) =
            (self.durable().as_mut(), row.written, row.on_disk)
            && durable.epoch == epoch
        {
            snapshot.durable = durable.note(snapshot.xmax, written, on_disk);
        }
        self.keep(polling).await;
        Ok(Cursor {
            epoch,
            position: Position::Snapshot(snapshot),
        })
    }

    async fn keep(&self, polling: Polling) {
        let mut idle = self.polling.lock().await;
        idle.retain(|(_, since)| since.elapsed() < IDLE_MAX);
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push((polling, Instant::now()));
        }
    }

    /// The rows of a window: all, or those that some patterns match.
    fn read<'a>(
        &'a self,
        window: &Window,
        patterns: Option<&'a [ChannelPattern]>,
    ) -> BoxStream<'a, Result<Row, Error>> {
        let Some(frozen) = Frozen::new(window) else {
            return foreign_cursor();
        };
        let epochs = [window.after.epoch, window.upto.epoch];
        Box::pin(try_stream! {
            let mut polling = self.polling().await?;
            if epochs != [polling.epoch; 2] {
                self.keep(polling).await;
                Err(Error::EpochChanged)?;
                return;
            }
            let wanted = match patterns.map(Wanted::new) {
                Some(Some(wanted)) if rows::is_large(&mut polling.connection, &frozen).await? => {
                    Some(wanted)
                }
                _ => None,
            };
            {
                let mut rows = match (&wanted, patterns) {
                    (Some(wanted), _) => rows::some(&mut polling.connection, &frozen, wanted),
                    (None, Some(patterns)) => {
                        only_on(rows::all(&mut polling.connection, &frozen), patterns)
                    }
                    (None, None) => rows::all(&mut polling.connection, &frozen),
                };
                while let Some(row) = rows.try_next().await? {
                    yield row;
                }
            }
            self.keep(polling).await;
        })
    }

    fn durable(&self) -> MutexGuard<'_, Option<Durable>> {
        // Every change under this lock is whole.
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for PostgresSource {
    fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
        Box::pin(async move {
            let looked = self.look().await;
            if looked.is_err() {
                // The others are most likely as dead, and each would cost an attempt.
                self.polling.lock().await.clear();
            }
            looked
        })
    }

    fn edge_before(&self, back: Duration) -> BoxFuture<'_, Result<Cursor, Error>> {
        Box::pin(async move {
            let mut edge = self.edge().await?;
            let mut polling = self.polling().await?;
            let first = rows::first_transaction_since(&mut polling.connection, back).await?;
            self.keep(polling).await;
            if let Position::Snapshot(snapshot) = &mut edge.position {
                *snapshot = snapshot.cut_at(first);
            }
            Ok(edge)
        })
    }

    fn rows(&self, window: Window) -> BoxStream<'_, Result<Row, Error>> {
        self.read(&window, None)
    }

    fn rows_on<'a>(
        &'a self,
        window: Window,
        patterns: &'a [ChannelPattern],
    ) -> BoxStream<'a, Result<Row, Error>> {
        self.read(&window, Some(patterns))
    }

    fn rebase<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Option<Cursor>, Error>> {
        Box::pin(async move {
            let Position::Snapshot(present) = self.edge().await?.position else {
                return Ok(None);
            };
            let mut polling = self.polling().await?;
            let path = lives_since(&mut polling.connection, cursor.epoch).await?;
            self.keep(polling).await;
            let Some(path) = path else { return Ok(None) };
            // Ahead of the present although nothing is known to have been lost: a place that cannot be trusted.
            let place = |snapshot: &Snapshot| {
                let place = path.follow(snapshot)?;
                (place.xmax <= present.xmax).then_some(place)
            };
            let position = match &cursor.position {
                Position::Id(_) => None,
                Position::Snapshot(snapshot) => place(snapshot).map(Position::Snapshot),
                // What is left of a window is between the places of its ends.
                Position::Within(within) => {
                    place(&within.after).map(|after| match place(&within.upto) {
                        Some(upto) => Position::Within(Box::new(Within {
                            after,
                            upto,
                            id: within.id,
                        })),
                        None => Position::Snapshot(after),
                    })
                }
            };
            Ok(position.map(|position| Cursor {
                epoch: path.epoch,
                position,
            }))
        })
    }

    fn watermark(&self) -> BoxFuture<'_, Result<Option<Cursor>, Error>> {
        Box::pin(async move {
            let mut polling = self.polling().await?;
            let epoch = polling.epoch;
            let watermark = retention::watermark(&mut polling.connection, epoch).await?;
            self.keep(polling).await;
            Ok(watermark)
        })
    }

    fn wakes(&self) -> BoxStream<'static, ()> {
        let ear = self.ear.as_ref();
        ear.map_or_else(|| pending().boxed(), Ear::events)
    }

    fn command_wakes(&self) -> BoxStream<'static, ()> {
        let ear = self.ear.as_ref();
        ear.map_or_else(|| pending().boxed(), Ear::commands)
    }

    fn can_postpone_wakes(&self) -> bool {
        true
    }

    fn postpone_wakes(&self, lease: Option<Duration>) -> BoxFuture<'_, Result<(), Error>> {
        if self.ear.is_none() {
            return Box::pin(std::future::ready(Ok(())));
        }
        let ms = lease.map_or(0, |lease| {
            i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)
        });
        // One that has run out need not be ended.
        let enough_ms = lease.map_or(-NEVER_MS, |_| ms / 2);
        Box::pin(async move {
            let mut polling = self.polling().await?;
            // One that ends long after ours was given by a clock that has been set back since. Nobody waits for the disk:
            // a lease that is lost with the server costs a wake-up.
            sqlx::query!(
                r#"SELECT setval('rowcast_lease', (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $1) AS lease
                    WHERE (SELECT last_value FROM rowcast_lease)
                          NOT BETWEEN (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $2
                                  AND (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $1 * 10
                      AND set_config('synchronous_commit', 'off', true) = 'off'"#,
                ms,
                enough_ms,
            )
            .fetch_optional(&mut polling.connection)
            .await
            .map_err(Error::database("set the lease on wake-ups"))?;
            self.keep(polling).await;
            Ok(())
        })
    }

    fn leave_mark(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let mut polling = self.polling().await?;
            life::leave_mark(&mut polling.connection, polling.epoch)
                .await
                .map_err(Error::database("leave a mark in the epoch of the feed"))?;
            self.keep(polling).await;
            Ok(())
        })
    }
}

/// A statement that does not fit the table is a matter of set-up, not of the connection.
fn explain_shape(error: Error) -> Error {
    let Error::Database {
        source: sqlx::Error::Database(database),
        ..
    } = &error
    else {
        return error;
    };
    match database.code().as_deref() {
        // Undefined table, schema, column or function; a cast that does not exist; insufficient privilege.
        Some("42P01" | "3F000" | "42703" | "42883" | "42846" | "42501") => {
            Error::Unusable(format!(
                "its tables are not of the shape that migrations/postgres gives them ({}); create them with `rowcast migrate`",
                database.message()
            ))
        }
        _ => error,
    }
}

fn foreign_cursor<'a>() -> BoxStream<'a, Result<Row, Error>> {
    let error = Error::Unusable("the position is one of another kind of database".into());
    futures_util::stream::once(std::future::ready(Err(error))).boxed()
}
