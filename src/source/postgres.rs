//! PostgreSQL: positions are snapshots, a window is the difference of two of them. The algorithm is that of PgQ
//! (Skype, about 2007); docs/ARCHITECTURE.md tells why `id > cursor` loses rows and this does not.

use std::str::FromStr as _;
use std::time::Duration;

use async_stream::try_stream;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _, TryStreamExt as _, unfold};
use serde_json::value::RawValue;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::sync::Mutex;
use url::Url;

use super::{BadRow, DatabaseConfig, Insert, Migrate, Row, Source, Window, set_up_tables};
use crate::cursor::{Cursor, Epoch, Position, Snapshot};
use crate::error::Error;
use crate::event::{Channels, Event, EventId, NewEvent};

/// `pg_current_snapshot` and `xid8` are of this version.
const VERSION_MIN: u32 = 130_000;

/// The channel of `NOTIFY`. It is a constant of migration 0002 too.
const NOTIFY_CHANNEL: &str = "rowcast";

/// The parameters of a URL that the driver knows, beside `options[…]`.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// The longest wait between two attempts to listen. Polling goes on meanwhile, so there is no hurry.
const LISTEN_RETRY_MAX: Duration = Duration::from_secs(30);

/// An `events` table in PostgreSQL.
pub struct PostgresSource {
    options: PgConnectOptions,
    wake: bool,
    /// The connection that polls. Whoever uses it takes it out, and puts it back only when it is in good order: an
    /// error, a time-out or a dropped future closes it.
    polling: Mutex<Option<Polling>>,
    identity: Mutex<Option<(Identity, Epoch)>>,
}

/// An open connection, and what is known since it was opened.
struct Polling {
    connection: PgConnection,
    /// When statistics were last reset, in microseconds. Recovery from a crash resets them, and also ends every
    /// connection, so asking once for each is enough.
    crash: i64,
}

/// What tells one life of a cluster from another. Within one, no transaction id is used twice.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    timeline: String,
    boot: i64,
    crash: i64,
}

impl PostgresSource {
    /// Connects, sees to the tables as `migrate` says, and checks that they can be read.
    ///
    /// # Errors
    /// When the server is not reachable, too old, a standby, or the tables are not of our shape.
    pub async fn open(config: &DatabaseConfig, migrate: Migrate) -> Result<Self, Error> {
        let options = connect_options(config)?;
        drop(prepare(&options, config.schema.as_deref(), migrate).await?);
        let source = Self {
            options,
            wake: config.wake,
            polling: Mutex::new(None),
            identity: Mutex::new(None),
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
        if let Some(polling) = self.polling.lock().await.take() {
            return Ok(polling);
        }
        let mut connection = self
            .options
            .connect()
            .await
            .map_err(Error::database("connect to the database"))?;
        let doing = "prepare the connection";
        // The window query is the same every time, and planning it costs as much as running it.
        connection
            .execute("SET plan_cache_mode = force_generic_plan")
            .await
            .map_err(Error::database(doing))?;
        let crash = sqlx::query_scalar!(
            r#"SELECT coalesce((extract(epoch FROM stats_reset) * 1000000)::bigint, 0) AS "crash!" FROM pg_stat_bgwriter"#
        )
        .fetch_one(&mut connection)
        .await
        .map_err(Error::database(doing))?;
        Ok(Polling { connection, crash })
    }

    async fn keep(&self, polling: Polling) {
        *self.polling.lock().await = Some(polling);
    }

    /// The epoch that this life of the cluster is, entered in the table when it is new.
    async fn epoch(&self, connection: &mut PgConnection, found: Identity) -> Result<Epoch, Error> {
        let mut identity = self.identity.lock().await;
        if let Some((known, epoch)) = &*identity
            && *known == found
        {
            return Ok(*epoch);
        }
        let doing = "note the epoch of the feed";
        // Transactions that a crash or a failover undid give their ids to others, so positions are cut where this life
        // began. The last checkpoint knows a place that is not after it, if it is one of those that end a life or begin
        // one (nothing was written while it was made), or is of the timeline before. If it is a later one, the place
        // is 0: not known, unless nothing was undone, as in a clean restart.
        sqlx::query!(
            r#"INSERT INTO rowcast_epochs (system_id, timeline, boot, crash, start_xid)
               SELECT s.system_identifier, $1, $2, $3,
                      CASE WHEN c.redo_lsn = c.checkpoint_lsn AND current_setting('wal_level') <> 'minimal'
                             OR lpad(upper(to_hex(c.timeline_id)), 8, '0') <> $1
                             OR EXISTS (SELECT FROM rowcast_epochs e
                                         WHERE e.system_id = s.system_identifier AND e.timeline = $1 AND e.crash = $3)
                           THEN (split_part(c.next_xid, ':', 1)::numeric * 4294967296
                                 + split_part(c.next_xid, ':', 2)::numeric)::text::xid8
                           ELSE '0' END
                 FROM pg_control_system() s, pg_control_checkpoint() c
               ON CONFLICT DO NOTHING"#,
            found.timeline,
            found.boot,
            found.crash,
        )
        .execute(&mut *connection)
        .await
        .map_err(Error::database(doing))?;
        let row = sqlx::query!(
            r#"SELECT epoch, tag FROM rowcast_epochs
                WHERE system_id = (SELECT system_identifier FROM pg_control_system())
                  AND timeline = $1 AND boot = $2 AND crash = $3
                ORDER BY epoch"#,
            found.timeline,
            found.boot,
            found.crash,
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(Error::database(doing))?;
        let epoch = Epoch {
            number: row.epoch.cast_unsigned(),
            tag: row.tag as u32,
        };
        *identity = Some((found, epoch));
        Ok(epoch)
    }
}

impl Source for PostgresSource {
    fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
        Box::pin(async move {
            let doing = "ask for the present position";
            let mut polling = self.polling().await?;
            let row = sqlx::query!(
                r#"SELECT pg_current_snapshot()::text AS "snapshot!",
                          pg_is_in_recovery() AS "standby!",
                          (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS "boot!",
                          CASE WHEN NOT pg_is_in_recovery()
                               THEN left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END AS timeline"#
            )
            .fetch_one(&mut polling.connection)
            .await
            .map_err(Error::database(doing))?;
            let (false, Some(timeline)) = (row.standby, row.timeline) else {
                return Err(Error::Unusable(
                    "it is a standby, and the snapshots of a standby leave out transactions in flight, so rows would be \
                     lost; give the URL of the primary"
                        .into(),
                ));
            };
            let epoch = self
                .epoch(
                    &mut polling.connection,
                    Identity {
                        timeline,
                        boot: row.boot,
                        crash: polling.crash,
                    },
                )
                .await?;
            let snapshot = Snapshot::from_str(&row.snapshot).map_err(|_| {
                Error::Unusable(format!(
                    "its snapshot {:?} is not one we can read",
                    row.snapshot
                ))
            })?;
            self.keep(polling).await;
            Ok(Cursor {
                epoch,
                position: Position::Snapshot(snapshot),
            })
        })
    }

    fn rows(&self, window: Window) -> BoxStream<'_, Result<Row, Error>> {
        let (Position::Snapshot(after), Position::Snapshot(upto)) =
            (window.after.position, window.upto.position)
        else {
            return foreign_cursor();
        };
        let (after, upto) = (after.to_string(), upto.to_string());
        let resume_after = window.resume_after.map_or(i64::MIN, |id| id.0);
        Box::pin(try_stream! {
            let mut polling = self.polling().await?;
            {
                // Visibility comes from the frozen snapshot, not from the statement, so the window may be read later
                // and again. The two branches are disjoint: what was in flight at $1 is below its xmax. One branch
                // with OR would scan the whole table. A plain join on e.xid = o.xid does so too where it is unknown,
                // or known, that few transactions wrote many rows: OFFSET 0 makes it one look for every transaction
                // that was in flight, and BETWEEN, which means the same as =, makes the index the way to look.
                let mut rows = sqlx::query!(
                    r#"WITH s AS MATERIALIZED (SELECT $1::text::pg_snapshot AS prev, $2::text::pg_snapshot AS cur),
                       w AS (
                         SELECT e.* FROM events e
                          WHERE e.xid >= (SELECT pg_snapshot_xmax(prev) FROM s)
                            AND e.xid <  (SELECT pg_snapshot_xmax(cur)  FROM s)
                            AND pg_visible_in_snapshot(e.xid, (SELECT cur FROM s))
                            AND e.id > $3
                         UNION ALL
                         SELECT e.* FROM (SELECT pg_snapshot_xip(prev) AS xid FROM s) o
                          CROSS JOIN LATERAL (
                            SELECT e.* FROM events e
                             WHERE e.xid BETWEEN o.xid AND o.xid
                               AND pg_visible_in_snapshot(e.xid, (SELECT cur FROM s))
                               AND e.id > $3
                            OFFSET 0) e)
                       SELECT id::bigint AS "id!", channel::text AS "channel?", type::text AS "kind?",
                              entity_id::text AS entity_id, actor::text AS actor,
                              payload::text AS "payload?", previous::text AS previous,
                              trace_id::text AS trace_id, origin::text AS origin,
                              to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "created_at?"
                         FROM w ORDER BY id"#,
                    after,
                    upto,
                    resume_after,
                )
                .fetch(&mut polling.connection);
                while let Some(row) = rows.try_next().await.map_err(Error::database("read new rows"))? {
                    let id = EventId(row.id);
                    let bad = |reason: String| BadRow { id, reason };
                    // The table has no NULL there, but a view may, and `created_at` is NULL too where it is infinite.
                    yield (|| {
                        let given = |column: &str, text: Option<String>| {
                            text.ok_or_else(|| bad(format!("{column} has no value")))
                        };
                        let json = |column: &str, text| {
                            RawValue::from_string(text).map_err(|error| bad(format!("{column} is not JSON: {error}")))
                        };
                        Ok(Event {
                            id,
                            channels: Channels::parse(&given("channel", row.channel)?)
                                .map_err(|error| bad(error.to_string()))?,
                            kind: given("type", row.kind)?,
                            entity_id: row.entity_id,
                            actor: row.actor,
                            payload: json("payload", given("payload", row.payload)?)?,
                            previous: row.previous.map(|text| json("previous", text)).transpose()?,
                            trace_id: row.trace_id,
                            origin: row.origin,
                            created_at: given("created_at", row.created_at)?,
                        })
                    })();
                }
            }
            self.keep(polling).await;
        })
    }

    fn rebase<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Option<Cursor>, Error>> {
        Box::pin(async move {
            let Position::Snapshot(snapshot) = &cursor.position else {
                return Ok(None);
            };
            let Position::Snapshot(present) = self.edge().await?.position else {
                return Ok(None);
            };
            let mut polling = self.polling().await?;
            let lives = sqlx::query!(
                r#"SELECT epoch, tag, system_id, start_xid::text AS "start_xid!"
                     FROM rowcast_epochs WHERE epoch >= $1 ORDER BY epoch"#,
                i64::try_from(cursor.epoch.number).unwrap_or(i64::MAX),
            )
            .fetch_all(&mut polling.connection)
            .await
            .map_err(Error::database("look up the epochs of the feed"))?;
            self.keep(polling).await;
            let [then, since @ ..] = &lives[..] else {
                return Ok(None);
            };
            let known = Epoch {
                number: then.epoch.cast_unsigned(),
                tag: then.tag as u32,
            } == cursor.epoch;
            if !known || since.iter().any(|life| life.system_id != then.system_id) {
                return Ok(None);
            }
            let mut epoch = cursor.epoch;
            let mut snapshot = snapshot.clone();
            for life in since {
                let start_xid = life
                    .start_xid
                    .parse()
                    .map_err(|_| Error::Unusable("an epoch has no start".into()))?;
                if start_xid == 0 {
                    return Ok(None);
                }
                snapshot = snapshot.cut_at(start_xid);
                epoch = Epoch {
                    number: life.epoch.cast_unsigned(),
                    tag: life.tag as u32,
                };
            }
            // Ahead of the present although nothing is known to have been lost: a place that cannot be trusted.
            if snapshot.xmax > present.xmax {
                return Ok(None);
            }
            Ok(Some(Cursor {
                epoch,
                position: Position::Snapshot(snapshot),
            }))
        })
    }

    fn wakes(&self) -> BoxStream<'static, ()> {
        if !self.wake {
            return futures_util::stream::pending().boxed();
        }
        let options = self.options.clone();
        unfold(
            (options, None, Duration::ZERO),
            async |(options, mut listener, mut retry)| {
                loop {
                    match listen(&options, &mut listener).await {
                        Ok(()) => return Some(((), (options, listener, Duration::ZERO))),
                        Err(error) => {
                            tracing::debug!(%error, "not listening for wake-ups; polling goes on");
                            listener = None;
                            retry = (retry * 2).clamp(Duration::from_secs(1), LISTEN_RETRY_MAX);
                            tokio::time::sleep(retry).await;
                        }
                    }
                }
            },
        )
        .boxed()
    }

    fn postpone_wakes(&self, lease: Duration) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            if !self.wake {
                return Ok(());
            }
            let mut polling = self.polling().await?;
            sqlx::query!(
                r#"SELECT setval('rowcast_lease', (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $1) AS lease
                    WHERE (SELECT last_value FROM rowcast_lease)
                          < (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $1 / 2"#,
                i64::try_from(lease.as_millis()).unwrap_or(i64::MAX),
            )
            .fetch_optional(&mut polling.connection)
            .await
            .map_err(Error::database("extend the lease on wake-ups"))?;
            self.keep(polling).await;
            Ok(())
        })
    }
}

/// Waits for the next notification, connecting first when there is no listener. Having connected counts as one:
/// what was sent before is lost.
async fn listen(
    options: &PgConnectOptions,
    listener: &mut Option<PgListener>,
) -> Result<(), sqlx::Error> {
    if let Some(listener) = listener {
        listener.recv().await?;
        // One look at the table answers all that have come in.
        while listener.next_buffered().is_some() {}
    } else {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_lazy_with(options.clone());
        let mut fresh = PgListener::connect_with(&pool).await?;
        fresh.listen(NOTIFY_CHANNEL).await?;
        *listener = Some(fresh);
    }
    Ok(())
}

/// Writes events into PostgreSQL.
pub struct PostgresInsert {
    connection: Mutex<PgConnection>,
}

impl PostgresInsert {
    /// Connects, and sees to the tables as `migrate` says.
    ///
    /// # Errors
    /// As [`PostgresSource::open`].
    pub async fn open(config: &DatabaseConfig, migrate: Migrate) -> Result<Self, Error> {
        let options = connect_options(config)?;
        let connection = prepare(&options, config.schema.as_deref(), migrate).await?;
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }
}

impl Insert for PostgresInsert {
    fn insert<'a>(&'a self, events: &'a [NewEvent]) -> BoxFuture<'a, Result<Vec<EventId>, Error>> {
        Box::pin(async move {
            let column = |of: fn(&NewEvent) -> &str| {
                events
                    .iter()
                    .map(|event| of(event).to_owned())
                    .collect::<Vec<_>>()
            };
            let channels = column(|event| event.channels.as_str());
            let kinds = column(|event| &event.kind);
            let payloads = column(|event| event.payload.get());
            let mut connection = self.connection.lock().await;
            let rows = sqlx::query!(
                r#"INSERT INTO events (channel, type, payload)
                   SELECT channel, type, payload::jsonb
                     FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS t (channel, type, payload, n)
                    ORDER BY n
                   RETURNING id"#,
                &channels,
                &kinds,
                &payloads,
            )
            .fetch_all(&mut *connection)
            .await
            .map_err(Error::database("insert events"))?;
            Ok(rows.into_iter().map(|row| EventId(row.id)).collect())
        })
    }
}

fn connect_options(config: &DatabaseConfig) -> Result<PgConnectOptions, Error> {
    let mut options = PgConnectOptions::from_str(&known_parameters(config.url.expose()))
        .map_err(|_| {
            Error::Config(format!(
                "the database URL {} has a parameter with a value that is not one of its",
                config.url
            ))
        })?
        .application_name("rowcast")
        .log_statements(tracing::log::LevelFilter::Trace)
        .log_slow_statements(tracing::log::LevelFilter::Debug, Duration::from_secs(1));
    if let Some(schema) = &config.schema {
        options = options.options([("search_path", quote_identifier(schema))]);
    }
    Ok(options)
}

/// The URL without the parameters that the driver does not know: it would log their values, and one of them may be a
/// password (`sslpassword`). Hosting providers hand out URLs with such parameters, so they are no error.
fn known_parameters(url: &str) -> String {
    let Ok(mut known) = Url::parse(url) else {
        // The driver says so.
        return url.to_owned();
    };
    let is_known = |name: &str| name.starts_with("options[") || PARAMETERS.contains(&name);
    let (kept, ignored): (Vec<_>, Vec<_>) = known
        .query_pairs()
        .into_owned()
        .partition(|(name, _)| is_known(name));
    if ignored.is_empty() {
        return url.to_owned();
    }
    for (parameter, _) in ignored {
        tracing::warn!(parameter, "ignored a parameter of the database URL");
    }
    known.query_pairs_mut().clear().extend_pairs(kept);
    known.into()
}

fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Connects and sees to the tables.
async fn prepare(
    options: &PgConnectOptions,
    schema: Option<&str>,
    migrate: Migrate,
) -> Result<PgConnection, Error> {
    let mut connection = options
        .connect()
        .await
        .map_err(Error::database("connect to the database"))?;
    let version = connection.server_version_num().unwrap_or(u32::MAX);
    if version < VERSION_MIN {
        return Err(Error::Unusable(format!(
            "PostgreSQL {} is too old: rowcast reads commits by pg_current_snapshot(), which came with 13",
            version / 10_000
        )));
    }
    let mut migrator = sqlx::migrate!("migrations/postgres");
    if let Some(schema) = schema {
        migrator.create_schema(quote_identifier(schema));
    }
    // A standby says so when its edge is asked for; it cannot be migrated.
    let standby = sqlx::query_scalar!(r#"SELECT pg_is_in_recovery() AS "standby!""#)
        .fetch_one(&mut connection)
        .await
        .map_err(Error::database("ask whether the database is a standby"))?;
    if !standby {
        set_up_tables(migrator, &mut connection, migrate).await?;
    }
    Ok(connection)
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
