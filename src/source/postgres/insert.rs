//! Writes events into PostgreSQL; the CLI's `emit` does.

use futures_util::future::BoxFuture;
use sqlx::postgres::PgConnection;
use tokio::sync::Mutex;

use super::connect::{connect_options, prepare};
use crate::error::Error;
use crate::event::{EventId, NewEvent};
use crate::source::{DatabaseConfig, Insert, Migrate};

/// Writes events into PostgreSQL.
pub struct PostgresInsert {
    connection: Mutex<PgConnection>,
}

impl PostgresInsert {
    /// Connects, and sees to the tables as `migrate` says.
    ///
    /// # Errors
    /// As [`PostgresSource::open`](super::PostgresSource::open).
    pub async fn open(config: &DatabaseConfig, migrate: Migrate) -> Result<Self, Error> {
        let options = connect_options(config)?;
        let connection = prepare(&options, config, migrate).await?;
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
