//! Who of several relays leads, by an advisory lock of PostgreSQL. It needs a session of its own: PgBouncer has to be in
//! session mode, or left out.

use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::timeout;

use super::connect::connect_options;
use crate::error::Error;
use crate::source::DatabaseConfig;
use crate::source::leadership::Leadership;

/// Asking takes less than a millisecond. A connection that does not answer for so long is dead.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// After so long without a question the database ends the session of a leader that is frozen, or cannot be reached, and
/// the lock is free. Some more than three questions, as a busy machine may be late with one.
const SESSION_TIMEOUT_MS: u32 = 4000;

/// A connection that takes the lock, and holds it while it lives.
pub(crate) struct PostgresLeadership {
    options: PgConnectOptions,
    /// For errors: the URL without the password.
    database: String,
    /// What the lock is for: it is one of the database, of the table and of this.
    stream: String,
    /// Out of its place while it is asked something: an error, a time-out or a dropped future closes it.
    session: Option<Session>,
}

struct Session {
    connection: PgConnection,
    /// The process of the server.
    pid: i32,
}

impl PostgresLeadership {
    pub(crate) fn new(config: &DatabaseConfig, stream: &str) -> Result<Self, Error> {
        Ok(Self {
            options: connect_options(config)?.application_name("rowcast relay"),
            database: config.url.to_string(),
            stream: stream.to_owned(),
            session: None,
        })
    }

    async fn session(&mut self) -> Result<Session, Error> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let mut connection = timeout(ANSWER_TIMEOUT, self.options.connect())
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
            .map_err(|source| Error::Connect {
                database: self.database.clone(),
                source,
            })?;
        // A machine that is gone says no goodbye, and its connection would hold the lock for hours; a process that stands
        // still holds it as long as it does. The last setting came with 14.
        let prepare = sqlx::query!(
            r#"SELECT pg_backend_pid() AS "pid!",
                      set_config('tcp_keepalives_idle', '1', false) AS idle,
                      set_config('tcp_keepalives_interval', '1', false) AS every,
                      set_config('tcp_keepalives_count', '3', false) AS count,
                      set_config('tcp_user_timeout', '3000', false) AS unanswered,
                      (SELECT set_config(name, $1, false) FROM pg_settings
                        WHERE name = 'idle_session_timeout') AS frozen"#,
            SESSION_TIMEOUT_MS.to_string(),
        )
        .fetch_one(&mut connection);
        let pid = answer(prepare).await?.pid;
        Ok(Session { connection, pid })
    }
}

impl Leadership for PostgresLeadership {
    fn take(&mut self) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move {
            let mut session = self.session().await?;
            let lock = sqlx::query_scalar!(
                r#"SELECT pg_try_advisory_lock(
                       hashtextextended(concat_ws(' ', 'rowcast relay', 'events'::regclass::oid, $1::text), 0)) AS "taken!""#,
                self.stream,
            )
            .fetch_one(&mut session.connection);
            let taken = answer(lock).await?;
            self.session = Some(session);
            Ok(taken)
        })
    }

    fn check(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let Some(mut session) = self.session.take() else {
                return Err(Error::Unusable("the lock of the relay is not held".into()));
            };
            let ask = sqlx::query_scalar!(r#"SELECT pg_backend_pid() AS "pid!""#)
                .fetch_one(&mut session.connection);
            let pid = answer(ask).await?;
            if pid != session.pid {
                return Err(Error::Unusable(
                    "a pooler in transaction mode is before it, which hands the lock of the relay to others; give the relay the \
                     URL of PostgreSQL itself, or of PgBouncer in session mode"
                        .into(),
                ));
            }
            self.session = Some(session);
            Ok(())
        })
    }

    fn give_up(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(mut session) = self.session.take() {
                let close = async {
                    // The end of the session is that of the lock too, but nobody is told when that has come. A macro would
                    // not do: the function gives nothing back.
                    let unlock = "SELECT pg_advisory_unlock_all()";
                    sqlx::raw_sql(unlock)
                        .execute(&mut session.connection)
                        .await?;
                    session.connection.close().await
                };
                // Where nobody answers it ends with our socket.
                let _ = timeout(ANSWER_TIMEOUT, close).await;
            }
        })
    }
}

async fn answer<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    let doing = "ask for the lock of the relay";
    let seconds = ANSWER_TIMEOUT.as_secs();
    timeout(ANSWER_TIMEOUT, asked)
        .await
        .unwrap_or(Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())))
        .map_err(|source| match source {
            sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                Error::Timeout { doing, seconds }
            }
            source => Error::Database { doing, source },
        })
}
