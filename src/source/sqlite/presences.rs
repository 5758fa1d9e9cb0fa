//! Who is on which channel, in a SQLite file.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use tokio::sync::Mutex;

use super::connect_options;
use super::slot::Slot;
use crate::error::Error;
use crate::source::presences::{MemberRow, Place, PresenceChanges, Presences, ServerMark};
use crate::source::{DatabaseConfig, Migrate};

/// One connection. It is opened when it is needed, and anew when it ended or the file was replaced.
pub struct SqlitePresences {
    slot: Mutex<Slot>,
}

impl SqlitePresences {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn new(config: &DatabaseConfig) -> Result<Self, Error> {
        let slot = Slot::new(connect_options(config, Migrate::Off)?);
        Ok(Self {
            slot: Mutex::new(slot),
        })
    }
}

impl Presences for SqlitePresences {
    fn register<'a>(&'a self, server: &'a str, ttl: Duration) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let valid = modifier(ttl);
            let mut slot = self.slot.lock().await;
            let mut open = slot.take().await?;
            sqlx::query!(
                "INSERT INTO rowcast_servers (server, expires_at)
                 VALUES (?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?))",
                server,
                valid,
            )
            .execute(&mut open.connection)
            .await
            .map_err(|error| slot.explain("register for presence", error))?;
            slot.keep(open);
            Ok(())
        })
    }

    fn write<'a>(
        &'a self,
        server: &'a str,
        ttl: Duration,
        changes: &'a PresenceChanges,
    ) -> BoxFuture<'a, Result<Option<i64>, Error>> {
        Box::pin(async move {
            let valid = modifier(ttl);
            let is_change = i64::from(!changes.is_empty());
            let forgotten = changes.forget_upto.unwrap_or_default();
            let mut slot = self.slot.lock().await;
            let mut open = slot.take().await?;
            let explain = |error| slot.explain("write who is on which channel", error);
            let connection = &mut open.connection;
            // It will write: not beginning with a lock, it could come too late for one.
            let begun = connection.begin_with("BEGIN IMMEDIATE").await;
            let mut transaction = begun.map_err(explain)?;
            let version = sqlx::query_scalar!(
                r#"UPDATE rowcast_servers
                      SET expires_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?), version = version + ?,
                          forgotten = max(forgotten, ?)
                    WHERE server = ? RETURNING version AS "version!: i64""#,
                valid,
                is_change,
                forgotten,
                server,
            )
            .fetch_optional(&mut *transaction)
            .await
            .map_err(explain)?;
            let Some(version) = version else {
                transaction.rollback().await.map_err(explain)?;
                slot.keep(open);
                return Ok(None);
            };
            if !changes.left.is_empty() {
                let left = pairs(&changes.left);
                sqlx::query!(
                    "UPDATE rowcast_presence SET is_here = 0, version = ?
                      WHERE server = ? AND is_here
                            AND (channel, user_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
                    version,
                    server,
                    left,
                )
                .execute(&mut *transaction)
                .await
                .map_err(explain)?;
            }
            if !changes.entered.is_empty() {
                let entered = pairs(&changes.entered);
                // Who moves from one server to another has been there all the time.
                sqlx::query!(
                    "INSERT INTO rowcast_presence (server, channel, user_id, since, version, is_here)
                     SELECT ?, new.value ->> 0, new.value ->> 1,
                            coalesce((SELECT min(p.since) FROM rowcast_presence p JOIN rowcast_servers s USING (server)
                                       WHERE p.channel = new.value ->> 0 AND p.user_id = new.value ->> 1 AND p.is_here
                                             AND julianday(s.expires_at) > julianday('now')),
                                     strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
                            ?, 1
                       FROM json_each(?) AS new WHERE true
                         ON CONFLICT (channel, user_id, server)
                         DO UPDATE SET version = excluded.version, is_here = 1, since = excluded.since",
                    server,
                    version,
                    entered,
                )
                .execute(&mut *transaction)
                .await
                .map_err(explain)?;
            }
            if let Some(upto) = changes.forget_upto {
                sqlx::query!(
                    "DELETE FROM rowcast_presence WHERE server = ? AND version <= ? AND NOT is_here",
                    server,
                    upto,
                )
                .execute(&mut *transaction)
                .await
                .map_err(explain)?;
            }
            transaction.commit().await.map_err(explain)?;
            slot.keep(open);
            Ok(Some(version))
        })
    }

    fn marks(&self) -> BoxFuture<'_, Result<Vec<ServerMark>, Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut open = slot.take().await?;
            let marks = sqlx::query_as!(
                ServerMark,
                r#"SELECT server AS "server!: String", version AS "version!: i64", forgotten AS "forgotten!: i64"
                     FROM rowcast_servers WHERE julianday(expires_at) > julianday('now') ORDER BY server"#
            )
            .fetch_all(&mut open.connection)
            .await
            .map_err(|error| slot.explain("look for changes of presence", error))?;
            slot.keep(open);
            Ok(marks)
        })
    }

    fn members<'a>(
        &'a self,
        server: &'a str,
        after: Option<i64>,
    ) -> BoxFuture<'a, Result<Vec<MemberRow>, Error>> {
        Box::pin(async move {
            let (all, after) = (after.is_none(), after.unwrap_or_default());
            let mut slot = self.slot.lock().await;
            let mut open = slot.take().await?;
            let rows = sqlx::query!(
                r#"SELECT channel AS "channel!: String", user_id AS "user_id!: String",
                          CASE WHEN is_here THEN since END AS "since?: String"
                     FROM rowcast_presence WHERE server = ? AND version > ? AND (is_here OR NOT ?)
                    ORDER BY channel, user_id"#,
                server,
                after,
                all,
            )
            .fetch_all(&mut open.connection)
            .await
            .map_err(|error| slot.explain("read who is on which channel", error))?;
            slot.keep(open);
            let rows = rows.into_iter();
            Ok(rows
                .map(|row| MemberRow::of(row.channel, row.user_id, row.since))
                .collect())
        })
    }

    /// Looks first: to delete is to lock the file, also where nothing is deleted.
    fn forget(&self) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(async move {
            let doing = "delete servers that are gone";
            let mut slot = self.slot.lock().await;
            let mut open = slot.take().await?;
            let expired = sqlx::query_scalar!(
                r#"SELECT count(*) AS "expired!: i64" FROM rowcast_servers
                    WHERE julianday(expires_at) < julianday('now', '-1 minute')"#
            )
            .fetch_one(&mut open.connection)
            .await
            .map_err(|error| slot.explain(doing, error))?;
            let mut gone = 0;
            if expired > 0 {
                gone = sqlx::query!(
                    "DELETE FROM rowcast_servers WHERE julianday(expires_at) < julianday('now', '-1 minute')"
                )
                .execute(&mut open.connection)
                .await
                .map_err(|error| slot.explain(doing, error))?
                .rows_affected();
            }
            slot.keep(open);
            Ok(gone)
        })
    }
}

fn modifier(ttl: Duration) -> String {
    format!("+{} seconds", ttl.as_secs_f64())
}

/// Channels and users as one parameter.
fn pairs(places: &[Place]) -> String {
    let pairs = places.iter().map(|place| [&place.channel, &place.user]);
    serde_json::json!(pairs.collect::<Vec<_>>()).to_string()
}
