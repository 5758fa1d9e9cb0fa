//! A database, the real server on it, and a proxy before each of the two.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::support::postgres::signal;
use super::support::process::{Process, free_port};
use super::support::proxy::{Cut, Door, Proxy, Weather};
use super::support::{Database, Postgres, until};

/// Attempts to start a server whose database is only just back.
const STARTS_MAX: usize = 20;

pub struct Scene {
    /// As writers reach it: not through the proxy.
    pub database_url: String,
    /// Through which clients reach the server.
    pub clients: Proxy,
    database: Database,
    postgres: Option<(Arc<Postgres>, Proxy)>,
    /// The database as the server reaches it.
    server_database_url: String,
    port: u16,
    flags: Vec<String>,
    server: Option<Process>,
}

impl Scene {
    pub async fn sqlite(flags: &[&str]) -> Self {
        let database = Database::sqlite().await;
        let url = database.url.clone();
        Self::start(database, None, url, flags).await
    }

    pub async fn postgres(flags: &[&str]) -> Self {
        let postgres = Arc::new(Postgres::start());
        let database = Database::on(&postgres).await;
        let url = url::Url::parse(&database.url).expect("a URL");
        let host = (url.host_str().expect("a host"), url.port().expect("a port"));
        let address = SocketAddr::new(host.0.parse().expect("an address"), host.1);
        let proxy = Proxy::start(address).await;
        let mut through = url.clone();
        through
            .set_port(Some(proxy.address.port()))
            .expect("it has a host");
        Self::start(database, Some((postgres, proxy)), through.into(), flags).await
    }

    async fn start(
        database: Database,
        postgres: Option<(Arc<Postgres>, Proxy)>,
        server_database_url: String,
        flags: &[&str],
    ) -> Self {
        let port = free_port();
        let mut scene = Self {
            database_url: database.url.clone(),
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

    pub fn has_postgres(&self) -> bool {
        self.postgres.is_some()
    }

    pub fn set_database_weather(&self, weather: Weather) {
        if let Some((_, proxy)) = &self.postgres {
            proxy.set(weather);
        }
    }

    pub fn database_can_be_reached(&self) -> bool {
        let open = |(_, proxy): &(_, Proxy)| {
            proxy.weather().door == Door::Open && !proxy.weather().stopped
        };
        self.postgres.as_ref().is_none_or(open)
    }

    pub fn cut_database(&self, cut: Cut) {
        if let Some((_, proxy)) = &self.postgres {
            proxy.cut(cut);
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

    pub async fn stop_database(&self) {
        self.database_server(Postgres::pause).await;
    }

    pub async fn resume_database(&self) {
        self.database_server(Postgres::resume).await;
    }

    async fn database_server(&self, does: impl FnOnce(&Postgres) + Send + 'static) {
        let (postgres, _) = self.postgres.as_ref().expect("it is Postgres");
        let postgres = Arc::clone(postgres);
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
