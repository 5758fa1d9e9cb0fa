//! Who is on which channel, in PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _};
use sqlx::Connection as _;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Mutex;

use super::connect::connect_options;
use super::listen::wakes_of;
use super::slot::{Slot, explain_missing};
use crate::error::Error;
use crate::source::DatabaseConfig;
use crate::source::presences::{MemberRow, Place, PresenceChanges, Presences, ServerMark};

/// What is notified when members change.
const NOTIFIED: &str = "rowcast_presence";

/// One connection, and one that listens if it is asked to. They are opened when they are needed, and anew when they ended.
pub struct PostgresPresences {
    options: PgConnectOptions,
    wake: bool,
    slot: Mutex<Slot>,
}

impl PostgresPresences {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When the URL has a parameter with a value that is not one of its.
    pub fn new(config: &DatabaseConfig) -> Result<Self, Error> {
        let options = connect_options(config)?;
        let slot = Slot::new(options.clone(), config.url.to_string());
        Ok(Self {
            options,
            wake: config.wake,
            slot: Mutex::new(slot),
        })
    }
}

impl Presences for PostgresPresences {
    fn register<'a>(&'a self, server: &'a str, ttl: Duration) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut connection = slot.take().await?;
            sqlx::query!(
                "INSERT INTO rowcast_servers (server, expires_at)
                 VALUES ($1, clock_timestamp() + $2::float8 * interval '1 second')",
                server,
                ttl.as_secs_f64(),
            )
            .execute(&mut connection)
            .await
            .map_err(|error| explain("register for presence", error))?;
            slot.keep(connection);
            Ok(())
        })
    }

    /// The tables are not logged, so that no commit waits for the disk.
    fn write<'a>(
        &'a self,
        server: &'a str,
        ttl: Duration,
        changes: &'a PresenceChanges,
    ) -> BoxFuture<'a, Result<Option<i64>, Error>> {
        Box::pin(async move {
            let explain = |error| explain("write who is on which channel", error);
            let mut slot = self.slot.lock().await;
            let mut connection = slot.take().await?;
            let mut transaction = connection.begin().await.map_err(explain)?;
            let version = sqlx::query_scalar!(
                "UPDATE rowcast_servers
                    SET expires_at = clock_timestamp() + $2::float8 * interval '1 second', version = version + $3::bigint,
                        forgotten = greatest(forgotten, $4::bigint)
                  WHERE server = $1 RETURNING version",
                server,
                ttl.as_secs_f64(),
                i64::from(!changes.is_empty()),
                changes.forget_upto.unwrap_or_default(),
            )
            .fetch_optional(&mut *transaction)
            .await
            .map_err(explain)?;
            let Some(version) = version else {
                transaction.rollback().await.map_err(explain)?;
                slot.keep(connection);
                return Ok(None);
            };
            if !changes.left.is_empty() {
                let (channels, users) = columns(&changes.left);
                sqlx::query!(
                    "UPDATE rowcast_presence p SET is_here = false, version = $2
                       FROM unnest($3::text[], $4::text[]) AS gone (channel, user_id)
                      WHERE p.server = $1 AND p.channel = gone.channel AND p.user_id = gone.user_id AND p.is_here",
                    server,
                    version,
                    &channels,
                    &users,
                )
                .execute(&mut *transaction)
                .await
                .map_err(explain)?;
            }
            if !changes.entered.is_empty() {
                let (channels, users) = columns(&changes.entered);
                // Who moves from one server to another has been there all the time.
                sqlx::query!(
                    "INSERT INTO rowcast_presence (server, channel, user_id, since, version, is_here)
                     SELECT $1, new.channel, new.user_id,
                            coalesce((SELECT min(p.since) FROM rowcast_presence p JOIN rowcast_servers s USING (server)
                                       WHERE p.channel = new.channel AND p.user_id = new.user_id AND p.is_here
                                             AND s.expires_at > clock_timestamp()), clock_timestamp()),
                            $2, true
                       FROM unnest($3::text[], $4::text[]) AS new (channel, user_id)
                         ON CONFLICT (channel, user_id, server)
                         DO UPDATE SET version = excluded.version, is_here = true, since = excluded.since",
                    server,
                    version,
                    &channels,
                    &users,
                )
                .execute(&mut *transaction)
                .await
                .map_err(explain)?;
            }
            if let Some(upto) = changes.forget_upto {
                sqlx::query!(
                    "DELETE FROM rowcast_presence WHERE server = $1 AND version <= $2 AND NOT is_here",
                    server,
                    upto,
                )
                .execute(&mut *transaction)
                .await
                .map_err(explain)?;
            }
            if self.wake && !changes.is_empty() {
                sqlx::query!("SELECT pg_notify($1, '')", NOTIFIED)
                    .execute(&mut *transaction)
                    .await
                    .map_err(explain)?;
            }
            transaction.commit().await.map_err(explain)?;
            slot.keep(connection);
            Ok(Some(version))
        })
    }

    fn marks(&self) -> BoxFuture<'_, Result<Vec<ServerMark>, Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut connection = slot.take().await?;
            let marks = sqlx::query_as!(
                ServerMark,
                "SELECT server, version, forgotten FROM rowcast_servers
                  WHERE expires_at > clock_timestamp() ORDER BY server"
            )
            .fetch_all(&mut connection)
            .await
            .map_err(|error| explain("look for changes of presence", error))?;
            slot.keep(connection);
            Ok(marks)
        })
    }

    fn members<'a>(
        &'a self,
        server: &'a str,
        after: Option<i64>,
    ) -> BoxFuture<'a, Result<Vec<MemberRow>, Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut connection = slot.take().await?;
            let rows = sqlx::query!(
                r#"SELECT channel, user_id, CASE WHEN is_here THEN
                          to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') END AS since
                     FROM rowcast_presence
                    WHERE server = $1 AND version > coalesce($2::bigint, 0) AND (is_here OR $2 IS NOT NULL)
                    ORDER BY channel, user_id"#,
                server,
                after,
            )
            .fetch_all(&mut connection)
            .await
            .map_err(|error| explain("read who is on which channel", error))?;
            slot.keep(connection);
            let rows = rows.into_iter();
            Ok(rows
                .map(|row| MemberRow::of(row.channel, row.user_id, row.since))
                .collect())
        })
    }

    fn forget(&self) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut connection = slot.take().await?;
            let gone = sqlx::query!(
                "DELETE FROM rowcast_servers WHERE expires_at < clock_timestamp() - interval '1 minute'"
            )
            .execute(&mut connection)
            .await
            .map_err(|error| explain("delete servers that are gone", error))?;
            slot.keep(connection);
            Ok(gone.rows_affected())
        })
    }

    fn wakes(&self) -> BoxStream<'static, ()> {
        if self.wake {
            wakes_of(self.options.clone(), &[NOTIFIED])
        } else {
            futures_util::stream::pending().boxed()
        }
    }
}

fn columns(places: &[Place]) -> (Vec<String>, Vec<String>) {
    let text = |text: &Arc<str>| text.as_ref().to_owned();
    let columns = |place: &Place| (text(&place.channel), text(&place.user));
    places.iter().map(columns).unzip()
}

fn explain(doing: &'static str, error: sqlx::Error) -> Error {
    explain_missing(
        doing,
        "SELECT, INSERT, UPDATE, DELETE ON rowcast_servers, rowcast_presence",
        "tables rowcast_servers and rowcast_presence; `rowcast migrate` creates them",
        error,
    )
}
