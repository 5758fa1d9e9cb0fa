//! Writes events into PostgreSQL; the CLI's `emit` does.

use futures_util::future::BoxFuture;
use sqlx::postgres::PgConnection;
use tokio::sync::Mutex;

use super::connect::{connect_options, prepare};
use super::slot::Slot;
use crate::error::Error;
use crate::event::{EventId, NewEvent};
use crate::source::{DatabaseConfig, Insert, Migrate};

/// Writes events into PostgreSQL. A connection that ended is opened anew; what failed with it is not tried again, as it
/// may have been committed.
pub struct PostgresInsert {
    slot: Mutex<Slot>,
}

impl PostgresInsert {
    /// Connects, and sees to the tables as `migrate` says.
    ///
    /// # Errors
    /// As [`PostgresSource::open`](super::PostgresSource::open).
    pub async fn open(config: &DatabaseConfig, migrate: Migrate) -> Result<Self, Error> {
        let options = connect_options(config)?;
        let connection = prepare(&options, config, migrate).await?;
        let mut slot = Slot::new(options, config.url.to_string());
        slot.keep(connection);
        Ok(Self {
            slot: Mutex::new(slot),
        })
    }
}

impl Insert for PostgresInsert {
    fn insert<'a>(&'a self, events: &'a [NewEvent]) -> BoxFuture<'a, Result<Vec<EventId>, Error>> {
        Box::pin(async move {
            let mut slot = self.slot.lock().await;
            let mut connection = slot.take().await?;
            let ids = insert_rows(&mut connection, events)
                .await
                .map_err(Error::database("insert events"))?;
            slot.keep(connection);
            Ok(ids)
        })
    }
}

/// Inserts the events in one statement, and gives their ids, in order.
pub(super) async fn insert_rows(
    connection: &mut PgConnection,
    events: &[NewEvent],
) -> Result<Vec<EventId>, sqlx::Error> {
    let column = |of: fn(&NewEvent) -> &str| {
        events
            .iter()
            .map(|event| of(event).to_owned())
            .collect::<Vec<_>>()
    };
    let channels = column(|event| event.channels.as_str());
    let kinds = column(|event| &event.kind);
    let payloads = column(|event| event.payload.get());
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
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| EventId(row.id)).collect())
}
