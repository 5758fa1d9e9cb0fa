//! The rows of `rowcast verify` in SQLite.

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Mutex;

use super::insert::insert_rows;
use super::{connect_options, explain, explain_shape};
use crate::error::Error;
use crate::event::{Channel, EventId, NewEvent};
use crate::source::probe::{Ending, Probe};
use crate::source::{DatabaseConfig, Migrate};

/// One connection.
pub(crate) struct SqliteProbe {
    options: SqliteConnectOptions,
    /// Taken out while in use, and put back only when in good order.
    idle: Mutex<Option<SqliteConnection>>,
}

impl SqliteProbe {
    pub(crate) fn new(config: &DatabaseConfig) -> Result<Self, Error> {
        Ok(Self {
            options: connect_options(config, Migrate::Off)?,
            idle: Mutex::new(None),
        })
    }

    async fn take(&self, idle: &mut Option<SqliteConnection>) -> Result<SqliteConnection, Error> {
        match idle.take() {
            Some(connection) => Ok(connection),
            None => self
                .options
                .connect()
                .await
                .map_err(|error| explain(&self.options, "open the file", error)),
        }
    }
}

impl Probe for SqliteProbe {
    /// Not held open: writers take turns, and would only wait for each other.
    fn insert<'a>(
        &'a self,
        events: &'a [NewEvent],
        ending: Ending,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let doing = "insert events";
            let mut idle = self.idle.lock().await;
            let mut connection = self.take(&mut idle).await?;
            let mut transaction = connection
                .begin_with("BEGIN IMMEDIATE")
                .await
                .map_err(|error| explain(&self.options, doing, error))?;
            insert_rows(&mut transaction, events)
                .await
                .map_err(|error| explain(&self.options, doing, error))?;
            if ending.commit {
                transaction.commit().await
            } else {
                transaction.rollback().await
            }
            .map_err(Error::database(doing))?;
            *idle = Some(connection);
            Ok(())
        })
    }

    fn last_id(&self) -> BoxFuture<'_, Result<EventId, Error>> {
        Box::pin(async move {
            let mut idle = self.idle.lock().await;
            let mut connection = self.take(&mut idle).await?;
            let id =
                sqlx::query_scalar!(r#"SELECT coalesce(max(id), 0) AS "id!: i64" FROM events"#)
                    .fetch_one(&mut connection)
                    .await
                    .map_err(|error| explain(&self.options, "look at the table", error))
                    .map_err(explain_shape)?;
            *idle = Some(connection);
            Ok(EventId(id))
        })
    }

    fn find<'a>(
        &'a self,
        channel: &'a Channel,
        after: EventId,
    ) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        Box::pin(async move {
            let mut idle = self.idle.lock().await;
            let mut connection = self.take(&mut idle).await?;
            let channel = channel.as_str();
            let payloads = sqlx::query_scalar!(
                "SELECT payload FROM events WHERE id > ? AND channel = ? ORDER BY id",
                after.0,
                channel
            )
            .fetch_all(&mut connection)
            .await
            .map_err(Error::database("look up the rows written"))?;
            *idle = Some(connection);
            Ok(payloads)
        })
    }

    fn remove<'a>(
        &'a self,
        channel: &'a Channel,
        after: EventId,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut idle = self.idle.lock().await;
            let mut connection = self.take(&mut idle).await?;
            let channel = channel.as_str();
            sqlx::query!(
                "DELETE FROM events WHERE id > ? AND channel = ?",
                after.0,
                channel
            )
            .execute(&mut connection)
            .await
            .map_err(Error::database("delete the rows written"))?;
            *idle = Some(connection);
            Ok(())
        })
    }
}
