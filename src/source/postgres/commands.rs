//! The commands of administrators in PostgreSQL.

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use super::connect::connect_options;
use super::slot::{Slot, explain_missing};
use crate::error::Error;
use crate::event::EventId;
use crate::source::DatabaseConfig;
use crate::source::commands::{Command, Commands, Committed, NewCommand, Order};

/// One connection. It is opened when it is needed, and anew when it ended.
pub struct PostgresCommands {
    slot: Mutex<Slot>,
}

impl PostgresCommands {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When the URL has a parameter with a value that is not one of its.
    pub fn new(config: &DatabaseConfig) -> Result<Self, Error> {
        let slot = Slot::new(connect_options(config)?, config.url.to_string());
        Ok(Self {
            slot: Mutex::new(slot),
        })
    }
}

impl Commands for PostgresCommands {
    fn issue<'a>(&'a self, command: &'a NewCommand) -> BoxFuture<'a, Result<i64, Error>> {
        Box::pin(async move {
            let columns = command.order.columns();
            let mut slot = self.slot.lock().await;
            let mut connection = slot.take().await?;
            let id = sqlx::query_scalar!(
                "INSERT INTO rowcast_commands (kind, subject, payload, expires_at)
                 VALUES ($1, $2, $3::text::json, clock_timestamp() + $4::float8 * interval '1 second') RETURNING id",
                columns.kind,
                columns.subject.as_deref(),
                columns.payload,
                command.valid.as_secs_f64(),
            )
            .fetch_one(&mut connection)
            .await
            .map_err(|error| explain("issue the command", "SELECT, INSERT", error))?;
            slot.keep(connection);
            Ok(id)
        })
    }

    /// The sum is for a row that comes in the moment another goes.
    fn mark(&self) -> BoxFuture<'_, Result<String, Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut connection = slot.take().await?;
            let mark = sqlx::query_scalar!(
                r#"SELECT concat_ws(' ', count(*), max(id), sum(id)) AS "mark!" FROM rowcast_commands"#
            )
            .fetch_one(&mut connection)
            .await
            .map_err(|error| explain("look for commands", "SELECT", error))?;
            slot.keep(connection);
            Ok(mark)
        })
    }

    fn valid_after(&self, id: i64) -> BoxFuture<'_, Result<Vec<Command>, Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut connection = slot.take().await?;
            let rows = sqlx::query!(
                r#"SELECT id, kind, subject, payload::text AS payload,
                          (extract(epoch FROM created_at) * 1000)::bigint AS "created_at_ms!"
                     FROM rowcast_commands WHERE id > $1 AND expires_at > clock_timestamp() ORDER BY id"#,
                id
            )
            .fetch_all(&mut connection)
            .await
            .map_err(|error| explain("read the commands", "SELECT", error))?;
            slot.keep(connection);
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
            let mut connection = slot.take().await?;
            let row = sqlx::query!(
                r#"SELECT channel::text AS "channel?", type::text AS "kind?", xid::text::bigint AS xid,
                          to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at
                     FROM events WHERE id = $1"#,
                id.0
            )
            .fetch_optional(&mut connection)
            .await
            .map_err(|source| Error::Database { doing: "look for the event", source })?;
            slot.keep(connection);
            Ok(row.map(|row| Committed {
                channels: row.channel.unwrap_or_default(),
                kind: row.kind.unwrap_or_default(),
                created_at: row.created_at.unwrap_or_default(),
                transaction: row.xid.map(i64::cast_unsigned),
            }))
        })
    }

    fn forget(&self) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut connection = slot.take().await?;
            let gone =
                sqlx::query!("DELETE FROM rowcast_commands WHERE expires_at < clock_timestamp()")
                    .execute(&mut connection)
                    .await
                    .map_err(|error| explain("delete expired commands", "DELETE", error))?;
            slot.keep(connection);
            Ok(gone.rows_affected())
        })
    }
}

fn explain(doing: &'static str, right: &str, error: sqlx::Error) -> Error {
    explain_missing(
        doing,
        &format!("{right} ON rowcast_commands"),
        "table rowcast_commands; `rowcast migrate` creates it",
        error,
    )
}
