//! The rows of `rowcast verify` in PostgreSQL.

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::connect::connect_options;
use super::explain_shape;
use super::insert::insert_rows;
use super::slot::Slot;
use crate::error::Error;
use crate::event::{Channel, EventId, NewEvent};
use crate::source::DatabaseConfig;
use crate::source::probe::{Ending, Probe};

/// One connection.
pub(crate) struct PostgresProbe {
    slot: Mutex<Slot>,
}

impl PostgresProbe {
    pub(crate) fn new(config: &DatabaseConfig) -> Result<Self, Error> {
        let slot = Slot::new(connect_options(config)?, config.url.to_string());
        Ok(Self {
            slot: Mutex::new(slot),
        })
    }
}

impl Probe for PostgresProbe {
    fn insert<'a>(
        &'a self,
        events: &'a [NewEvent],
        ending: Ending,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let doing = "insert events";
            let mut slot = self.slot.lock().await;
            let mut connection = slot.take().await?;
            let mut transaction = connection.begin().await.map_err(Error::database(doing))?;
            insert_rows(&mut transaction, events)
                .await
                .map_err(Error::database(doing))?;
            sleep(ending.hold).await;
            if ending.commit {
                transaction.commit().await
            } else {
                transaction.rollback().await
            }
            .map_err(Error::database(doing))?;
            slot.keep(connection);
            Ok(())
        })
    }

    fn last_id(&self) -> BoxFuture<'_, Result<EventId, Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut connection = slot.take().await?;
            let id = sqlx::query_scalar!(r#"SELECT coalesce(max(id), 0) AS "id!" FROM events"#)
                .fetch_one(&mut connection)
                .await
                .map_err(Error::database("look at the table"))
                .map_err(explain_shape)?;
            slot.keep(connection);
            Ok(EventId(id))
        })
    }

    fn find<'a>(
        &'a self,
        channel: &'a Channel,
        after: EventId,
    ) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut connection = slot.take().await?;
            let payloads = sqlx::query_scalar!(
                r#"SELECT payload::text AS "payload!" FROM events WHERE id > $1 AND channel = $2 ORDER BY id"#,
                after.0,
                channel.as_str(),
            )
            .fetch_all(&mut connection)
            .await
            .map_err(Error::database("look up the rows written"))?;
            slot.keep(connection);
            Ok(payloads)
        })
    }

    fn remove<'a>(
        &'a self,
        channel: &'a Channel,
        after: EventId,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut connection = slot.take().await?;
            sqlx::query!(
                "DELETE FROM events WHERE id > $1 AND channel = $2",
                after.0,
                channel.as_str(),
            )
            .execute(&mut connection)
            .await
            .map_err(Error::database("delete the rows written"))?;
            slot.keep(connection);
            Ok(())
        })
    }
}
