//! Connects to PostgreSQL: which parameters of a URL count, which servers will do, and the tables.

use std::io;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::timeout;
use url::Url;

use crate::error::Error;
use crate::source::{DatabaseConfig, Migrate, set_up_tables};

/// `pg_current_snapshot` and `xid8` are of this version.
const VERSION_MIN: u32 = 130_000;

/// How long a start waits for the first connection. A host that does not answer at all would be waited for by the
/// system for minutes.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The parameters of a URL that the driver knows, beside `options[…]`.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

pub(super) fn connect_options(config: &DatabaseConfig) -> Result<PgConnectOptions, Error> {
    let mut options = PgConnectOptions::from_str(&known_parameters(config.url.expose()))
        .map_err(|_| {
            Error::Config(format!(
                "the database URL {} has a parameter with a value that is not one of its",
                config.url
            ))
        })?
        .application_name("rowcast")
        .log_statements(tracing::log::LevelFilter::Trace)
        .log_slow_statements(tracing::log::LevelFilter::Debug, Duration::from_secs(1));
    if let Some(schema) = &config.schema {
        options = options.options([("search_path", quote_identifier(schema))]);
    }
    Ok(options)
}

/// The URL without the parameters that the driver does not know: it would log their values, and one of them may be a
/// password (`sslpassword`). Hosting providers hand out URLs with such parameters, so they are no error.
fn known_parameters(url: &str) -> String {
    let Ok(mut known) = Url::parse(url) else {
        // The driver says so.
        return url.to_owned();
    };
    let is_known = |name: &str| name.starts_with("options[") || PARAMETERS.contains(&name);
    let (kept, ignored): (Vec<_>, Vec<_>) = known
        .query_pairs()
        .into_owned()
        .partition(|(name, _)| is_known(name));
    if ignored.is_empty() {
        return url.to_owned();
    }
    for (parameter, _) in ignored {
        tracing::warn!(parameter, "ignored a parameter of the database URL");
    }
    known.query_pairs_mut().clear().extend_pairs(kept);
    known.into()
}

fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Connects to a server that will do.
pub(super) async fn connect(
    options: &PgConnectOptions,
    config: &DatabaseConfig,
) -> Result<PgConnection, Error> {
    let connection = timeout(CONNECT_TIMEOUT, options.connect())
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
        .map_err(|source| Error::Connect {
            database: config.url.to_string(),
            source,
        })?;
    let version = connection.server_version_num().unwrap_or(u32::MAX);
    if version < VERSION_MIN {
        return Err(Error::Unusable(format!(
            "PostgreSQL {} is too old: rowcast reads commits by pg_current_snapshot(), which came with 13",
            version / 10_000
        )));
    }
    Ok(connection)
}

pub(super) fn migrator(config: &DatabaseConfig) -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/postgres");
    if let Some(schema) = &config.schema {
        migrator.create_schema(quote_identifier(schema));
    }
    migrator
}

/// Connects and sees to the tables.
pub(super) async fn prepare(
    options: &PgConnectOptions,
    config: &DatabaseConfig,
    migrate: Migrate,
) -> Result<PgConnection, Error> {
    let mut connection = connect(options, config).await?;
    // A standby says so when its edge is asked for; it cannot be migrated.
    let standby = sqlx::query_scalar!(r#"SELECT pg_is_in_recovery() AS "standby!""#)
        .fetch_one(&mut connection)
        .await
        .map_err(Error::database("ask whether the database is a standby"))?;
    if !standby {
        set_up_tables(migrator(config), &mut connection, migrate).await?;
    }
    Ok(connection)
}
