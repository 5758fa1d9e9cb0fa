//! The commands of administrators in a SQLite file.

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use super::connect_options;
use super::slot::Slot;
use crate::error::Error;
use crate::event::EventId;
use crate::source::commands::{Command, Commands, Committed, NewCommand, Order};
use crate::source::{DatabaseConfig, Migrate};

/// One connection. It is opened when it is needed, and anew when it ended or the file was replaced.
pub struct SqliteCommands {
    slot: Mutex<Slot>,
}

impl SqliteCommands {
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

impl Commands for SqliteCommands {
    fn issue<'a>(&'a self, command: &'a NewCommand) -> BoxFuture<'a, Result<i64, Error>> {
        Box::pin(async move {
            let columns = command.order.columns();
            let subject = columns.subject.as_deref();
            let valid = format!("+{} seconds", command.valid.as_secs_f64());
            let mut slot = self.slot.lock().await;
            let mut open = slot.take().await?;
            let inserted = sqlx::query!(
                "INSERT INTO rowcast_commands (kind, subject, payload, expires_at)
                 VALUES (?, ?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?))",
                columns.kind,
                subject,
                columns.payload,
                valid,
            )
            .execute(&mut open.connection)
            .await
            .map_err(|error| slot.explain("issue the command", error))?;
            slot.keep(open);
            Ok(inserted.last_insert_rowid())
        })
    }

    fn mark(&self) -> BoxFuture<'_, Result<String, Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut open = slot.take().await?;
            let mark = sqlx::query_scalar!(
                r#"SELECT count(*) || ' ' || coalesce(max(id), 0) || ' ' || total(id) AS "mark!: String"
                     FROM rowcast_commands"#
            )
            .fetch_one(&mut open.connection)
            .await
            .map_err(|error| slot.explain("look for commands", error))?;
            slot.keep(open);
            Ok(mark)
        })
    }

    fn valid_after(&self, id: i64) -> BoxFuture<'_, Result<Vec<Command>, Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut open = slot.take().await?;
            let rows = sqlx::query!(
                r#"SELECT id AS "id!: i64", kind, subject, payload,
                          CAST((julianday(created_at) - 2440587.5) * 86400000 AS INTEGER) AS "created_at_ms!: i64"
                     FROM rowcast_commands WHERE id > ? AND julianday(expires_at) > julianday('now') ORDER BY id"#,
                id
            )
            .fetch_all(&mut open.connection)
            .await
            .map_err(|error| slot.explain("read the commands", error))?;
            slot.keep(open);
            let commands = rows.into_iter().filter_map(|row| {
                Some(Command {
                    id: row.id,
                    order: Order::from_columns(&row.kind, row.subject, row.payload)?,
                    created_at_ms: row.created_at_ms,
                })
            });
            Ok(commands.collect())
        })
    }

    fn find(&self, id: EventId) -> BoxFuture<'_, Result<Option<Committed>, Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut open = slot.take().await?;
            let row = sqlx::query!(
                r#"SELECT channel AS "channel?: String", type AS "kind?: String",
                          strftime('%Y-%m-%dT%H:%M:%fZ', created_at) AS "created_at?: String"
                     FROM events WHERE id = ?"#,
                id.0
            )
            .fetch_optional(&mut open.connection)
            .await
            .map_err(|error| slot.explain("look for the event", error))?;
            slot.keep(open);
            Ok(row.map(|row| Committed {
                channels: row.channel.unwrap_or_default(),
                kind: row.kind.unwrap_or_default(),
                created_at: row.created_at.unwrap_or_default(),
                transaction: None,
            }))
        })
    }

    /// Looks first: to delete is to lock the file, also where nothing is deleted.
    fn forget(&self) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(async move {
            let doing = "delete expired commands";
            let mut slot = self.slot.lock().await;
            let mut open = slot.take().await?;
            let expired = sqlx::query_scalar!(
                r#"SELECT count(*) AS "expired!: i64" FROM rowcast_commands
                    WHERE julianday(expires_at) <= julianday('now')"#
            )
            .fetch_one(&mut open.connection)
            .await
            .map_err(|error| slot.explain(doing, error))?;
            let mut gone = 0;
            if expired > 0 {
                gone = sqlx::query!(
                    "DELETE FROM rowcast_commands WHERE julianday(expires_at) <= julianday('now')"
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
