//! A database, the real server on it, and a proxy before each of the two.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::support::feed::http;
use super::support::postgres::signal;
use super::support::process::{Process, free_port};
use super::support::proxy::{Cut, Door, Proxy, Weather};
use super::support::{Database, Postgres, until};

/// Attempts to start a server whose database is only just back.
const STARTS_MAX: usize = 20;

pub struct Scene {
    /// As some writers reach it: not through a proxy.
    pub database_url: String,
    /// As others do, whose COMMIT may get lost.
    pub far_database_url: String,
    /// Through which clients reach the server.
    pub clients: Proxy,
    database: Database,
    postgres: Option<Far>,
    /// The database as the server reaches it.
    server_database_url: String,
    port: u16,
    flags: Vec<String>,
    server: Option<Process>,
}

/// A database that is reached over a network.
struct Far {
    postgres: Arc<Postgres>,
    from_server: Proxy,
    from_writers: Proxy,
}

impl Scene {
    pub async fn sqlite(flags: &[&str]) -> Self {
        let database = Database::sqlite().await;
        let url = database.url.clone();
        Self::start(database, None, [url.clone(), url], flags).await
    }

    pub async fn postgres(flags: &[&str]) -> Self {
        let postgres = Arc::new(Postgres::start());
        let database = Database::on(&postgres).await;
        let url = url::Url::parse(&database.url).expect("a URL");
        let host = url.host_str().expect("a host").parse().expect("an address");
        let address = SocketAddr::new(host, url.port().expect("a port"));
        let far = Far {
            postgres,
            from_server: Proxy::start(address).await,
            from_writers: Proxy::start(address).await,
        };
        let through = |proxy: &Proxy| {
            let mut url = url.clone();
            url.set_port(Some(proxy.address.port()))
                .expect("it has a host");
            url.to_string()
        };
        let urls = [&far.from_server, &far.from_writers].map(through);
        Self::start(database, Some(far), urls, flags).await
    }

    async fn start(
        database: Database,
        postgres: Option<Far>,
        [server_database_url, far_database_url]: [String; 2],
        flags: &[&str],
    ) -> Self {
        let port = free_port();
        let mut scene = Self {
            database_url: database.url.clone(),
            far_database_url,
            clients: Proxy::start(SocketAddr::from(([127, 0, 0, 1], port))).await,
            database,
            postgres,
            server_database_url,
            port,
            flags: flags.iter().map(ToString::to_string).collect(),
            server: None,
        };
        scene.start_server().await;
        scene
    }

    pub fn server_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// What `/api/v1/ws/stats` says.
    pub async fn stats(&self) -> serde_json::Value {
        let request =
            "GET /api/v1/ws/stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = http(self.server_address(), request).await;
        serde_json::from_str(&answer.body).expect("stats are JSON")
    }

    pub fn has_postgres(&self) -> bool {
        self.postgres.is_some()
    }

    pub fn set_database_weather(&self, weather: Weather) {
        if let Some(far) = &self.postgres {
            far.from_server.set(weather);
        }
    }

    pub fn database_can_be_reached(&self) -> bool {
        self.postgres.as_ref().is_none_or(|far| {
            let weather = far.from_server.weather();
            weather.door == Door::Open && !weather.stopped
        })
    }

    pub fn cut_database(&self, cut: Cut) {
        if let Some(far) = &self.postgres {
            far.from_server.cut(cut);
        }
    }

    pub fn cut_writers(&self, cut: Cut) {
        if let Some(far) = &self.postgres {
            far.from_writers.cut(cut);
        }
    }

    /// As a power cut would: nobody is told.
    pub fn kill_server(&mut self) {
        self.server = None;
    }

    pub fn stop_server(&self) {
        signal("STOP", &[self.server().id()]);
    }

    pub fn resume_server(&self) {
        signal("CONT", &[self.server().id()]);
    }

    fn server(&self) -> &Process {
        self.server.as_ref().expect("it runs")
    }

    /// Starts the server, where it was before, if it does not run.
    pub async fn start_server(&mut self) {
        let mut starts = 0;
        while self.server.is_none() {
            starts += 1;
            assert!(starts <= STARTS_MAX, "the server does not start");
            let (port, url, flags) = (
                self.port,
                self.server_database_url.clone(),
                self.flags.clone(),
            );
            self.server = spawn_blocking(move || {
                let flags: Vec<_> = flags.iter().map(String::as_str).collect();
                Process::try_start_on(port, &url, &flags)
            })
            .await
            .expect("it is tried");
        }
    }

    pub async fn kill_database(&self) {
        self.database_server(Postgres::kill_9).await;
    }

    pub async fn restart_database(&self) {
        self.database_server(Postgres::restart).await;
    }

    /// Nobody else writes to the table for so long; on Postgres nobody reads it either.
    pub async fn lock_table(&self, length: Duration) {
        let mut connection = self.database.connect().await;
        let lock = if self.has_postgres() {
            // A writer that vanished has left its transaction open, and that lasts as long as TCP believes in it.
            "SET lock_timeout = '1s'; BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE"
        } else {
            "BEGIN EXCLUSIVE"
        };
        if connection.try_run(lock).await.is_ok() {
            sleep(length).await;
            connection.run("ROLLBACK").await;
        }
    }

    pub async fn stop_database(&self) {
        self.database_server(Postgres::pause).await;
    }

    pub async fn resume_database(&self) {
        self.database_server(Postgres::resume).await;
    }

    async fn database_server(&self, does: impl FnOnce(&Postgres) + Send + 'static) {
        let far = self.postgres.as_ref().expect("it is Postgres");
        let postgres = Arc::clone(&far.postgres);
        spawn_blocking(move || does(&postgres))
            .await
            .expect("it does");
    }

    /// The end of all that happens.
    pub async fn calm(&mut self) {
        self.clients.set(Weather::CALM);
        self.set_database_weather(Weather::CALM);
        self.start_server().await;
    }

    /// Waits until `rowcast verify` has subscribed, and writes.
    pub async fn until_verified(&self) {
        let mut connection = self.database.connect().await;
        until("rows to verify", async || {
            let rows = "SELECT id FROM events WHERE type = 'rowcast.verify' LIMIT 2";
            (connection.numbers(rows).await.len() == 2).then_some(())
        })
        .await;
    }

    /// What is in the table: ids, and the channels of each.
    pub async fn rows(&self) -> BTreeMap<i64, String> {
        let mut connection = self.database.connect().await;
        let ids = connection.numbers("SELECT id FROM events ORDER BY id");
        let ids = ids.await;
        let channels = connection.texts("SELECT channel FROM events ORDER BY id");
        ids.into_iter().zip(channels.await).collect()
    }
}
