//! A database of either kind, as rowcast and its writers have it: a URL, and plain connections to it. What rowcast makes
//! of it is not here.

#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::sync::Arc;

use rowcast::{DatabaseConfig, Migrate, Source};
#[cfg(feature = "postgres")]
use sqlx::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
#[cfg(feature = "sqlite")]
use sqlx::{
    ConnectOptions as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

/// An empty database that no other test has.
pub struct Database {
    pub url: String,
    #[cfg(feature = "sqlite")]
    folder: Option<tempfile::TempDir>,
}

impl Database {
    /// On the server that all tests of this process share.
    #[cfg(feature = "postgres")]
    pub async fn postgres() -> Self {
        Self::on(super::Postgres::shared()).await
    }

    /// On a server of the test's own.
    #[cfg(feature = "postgres")]
    pub async fn on(server: &super::Postgres) -> Self {
        Self {
            url: server.create_database().await,
            #[cfg(feature = "sqlite")]
            folder: None,
        }
    }

    /// A file that does not exist yet, in a folder of its own.
    #[cfg(feature = "sqlite")]
    #[expect(clippy::unused_async, reason = "its sibling for Postgres is")]
    pub async fn sqlite() -> Self {
        let folder = super::temp_dir();
        Self {
            url: format!("sqlite://{}", folder.path().join("events.db").display()),
            folder: Some(folder),
        }
    }

    /// The file of a SQLite database.
    #[cfg(feature = "sqlite")]
    pub fn file(&self) -> PathBuf {
        let folder = self.folder.as_ref().expect("this is a SQLite database");
        folder.path().join("events.db")
    }

    pub fn config(&self) -> DatabaseConfig {
        DatabaseConfig::new(&self.url).expect("the URL is one of a database")
    }

    /// Makes the tables, and gives the feed's view of them.
    pub async fn open(&self) -> Arc<dyn Source> {
        rowcast::source::open(&self.config(), Migrate::Auto)
            .await
            .unwrap_or_else(|error| panic!("failed to {error}"))
    }

    /// A connection such as a backend has.
    pub async fn connect(&self) -> Connection {
        Connection::open(&self.url).await
    }
}

/// A backend's connection to a database.
pub enum Connection {
    #[cfg(feature = "postgres")]
    Postgres(PgConnection),
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteConnection),
}

impl Connection {
    pub async fn open(url: &str) -> Self {
        let opened = Self::try_open(url).await;
        opened.unwrap_or_else(|error| panic!("cannot connect to {url}: {error}"))
    }

    /// The same, where the database may be away.
    pub async fn try_open(url: &str) -> Result<Self, sqlx::Error> {
        match url.split(':').next() {
            #[cfg(feature = "postgres")]
            Some("postgres") => PgConnection::connect(url).await.map(Self::Postgres),
            #[cfg(feature = "sqlite")]
            Some("sqlite") => {
                let options: SqliteConnectOptions = url.parse().expect("the URL is one of SQLite");
                // As sqlx itself would, where the feed has not opened the file first.
                let options = options
                    .create_if_missing(true)
                    .busy_timeout(super::DEADLINE);
                let options = options.journal_mode(SqliteJournalMode::Wal);
                options.connect().await.map(Self::Sqlite)
            }
            _ => panic!("{url} is of no database that is built in"),
        }
    }

    /// Runs statements, and gives what the database says to them.
    pub async fn try_run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let statements = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => statements.execute(connection).await.map(drop),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => statements.execute(connection).await.map(drop),
        }
    }

    /// Runs statements that the database must not refuse.
    pub async fn run(&mut self, sql: &str) {
        if let Err(error) = self.try_run(sql).await {
            panic!("{sql}: {error}");
        }
    }

    /// The first column, of type bigint, of all rows.
    pub async fn numbers(&mut self, sql: &str) -> Vec<i64> {
        let text = AssertSqlSafe(sql.to_owned());
        let rows = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => sqlx::query_scalar(text).fetch_all(connection).await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => sqlx::query_scalar(text).fetch_all(connection).await,
        };
        rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The first column, of type text, of all rows.
    pub async fn texts(&mut self, sql: &str) -> Vec<String> {
        let text = AssertSqlSafe(sql.to_owned());
        let rows = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => sqlx::query_scalar(text).fetch_all(connection).await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => sqlx::query_scalar(text).fetch_all(connection).await,
        };
        rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Inserts an event on channel `tasks` whose payload is this number.
    pub async fn insert(&mut self, number: i64) {
        self.run(&format!(
            "INSERT INTO events (channel, type, payload) VALUES ('tasks', 'task.created', '{number}')"
        ))
        .await;
    }
}
