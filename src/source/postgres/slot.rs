//! A writer's connection: kept while it is good, opened anew when it ended.

use std::io;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::{Instant, timeout};

use super::connect::CONNECT_TIMEOUT;
use crate::error::Error;

/// A connection that was idle for longer is asked whether it is still there: a write that finds out has failed.
const TRUSTED: Duration = Duration::from_secs(1);

/// One connection. Whoever uses it takes it out, and puts it back only when it is in good order: an error, a time-out
/// or a dropped future closes it.
pub(super) struct Slot {
    options: PgConnectOptions,
    /// For errors: the URL without the password.
    database: String,
    idle: Option<(PgConnection, Instant)>,
}

impl Slot {
    pub(super) fn new(options: PgConnectOptions, database: String) -> Self {
        Self {
            options,
            database,
            idle: None,
        }
    }

    /// A good connection.
    pub(super) async fn take(&mut self) -> Result<PgConnection, Error> {
        if let Some((mut connection, since)) = self.idle.take()
            && (since.elapsed() < TRUSTED
                || matches!(
                    timeout(CONNECT_TIMEOUT, connection.ping()).await,
                    Ok(Ok(()))
                ))
        {
            return Ok(connection);
        }
        timeout(CONNECT_TIMEOUT, self.options.connect())
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
            .map_err(|source| Error::Connect {
                database: self.database.clone(),
                source,
            })
    }

    pub(super) fn keep(&mut self, connection: PgConnection) {
        self.idle = Some((connection, Instant::now()));
    }
}

/// What to do where a right or a table is missing.
pub(super) fn explain_missing(
    doing: &'static str,
    right: &str,
    table: &str,
    source: sqlx::Error,
) -> Error {
    let database = source.as_database_error();
    match database.and_then(DatabaseError::code).as_deref() {
        Some("42501") => Error::Unusable(format!("its role may not {doing}; GRANT {right} to it")),
        Some("42P01") => Error::Unusable(format!("it has no {table}")),
        _ => Error::Database { doing, source },
    }
}
