//! Wiring: source → broadcaster → hub → http, started in this order and drained in the reverse one; and beside them
//! retention.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::auth::Authenticator;
use crate::broadcaster::Broadcaster;
use crate::config::Config;
use crate::error::Error;
use crate::http::{self, Gate};
use crate::hub::Hub;
use crate::{retention, source};

/// Connections the system accepts for us while we are busy. Thousands may come at once after a restart.
const BACKLOG: u32 = 4096;

/// How long clients may take at shutdown to end their requests and close their connections.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that is ready: its port is bound and its feed has begun.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    broadcaster: Broadcaster,
    hub: Hub,
    gate: Gate,
    /// Tasks that serve nobody and end with the server, or when it is dropped.
    chores: JoinSet<()>,
}

impl Server {
    /// Reads the keys of tokens, binds the port, opens the database, and starts the feed. What is committed after this will be delivered.
    ///
    /// # Errors
    /// When the port is taken, or keys or the database are not usable; the text says what to do.
    pub async fn start(config: &Config) -> Result<Self, Error> {
        let authenticator = match &config.auth {
            Some(options) => Authenticator::start(options.clone()).await?,
            None => Authenticator::open(),
        };
        // Before the database, which a second server on the port must not touch.
        let (listener, address) = bind(config.listen)?;
        let source = source::open(&config.database, config.migrate).await?;
        let broadcaster = Broadcaster::start(source, config.poll_interval).await?;
        let hub = Hub::start(&broadcaster, config.hub);
        let mut chores = JoinSet::new();
        if let Some(retention) = config.retention {
            let database = config.database.clone();
            chores.spawn(retention::run(database, retention, broadcaster.counters()));
        }
        Ok(Self {
            listener,
            address,
            broadcaster,
            hub,
            gate: Gate::new(authenticator),
            chores,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its feed.
    #[must_use]
    pub fn broadcaster(&self) -> &Broadcaster {
        &self.broadcaster
    }

    /// Serves until `shutdown`, then tells clients to reconnect elsewhere and waits for them to go, 5 s at most.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            listener,
            broadcaster,
            hub,
            gate,
            mut chores,
            ..
        } = self;
        let mut deadline = Instant::now();
        http::serve(&hub, &gate, listener, async {
            shutdown.await;
            deadline = Instant::now() + DRAIN_TIMEOUT;
            // What it is about to delete stays then: a batch is one transaction.
            chores.shutdown().await;
            tracing::info!(connections = broadcaster.client_count(), "shutting down");
            hub.drain().await;
        })
        .await;
        while broadcaster.client_count() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        tracing::debug!(stats = ?broadcaster.stats(), "what happened");
        tracing::info!("stopped");
    }
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let bind = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // A restart finds the port free although connections of the last run are still being forgotten.
        socket.set_reuseaddr(true)?;
        // Accepted sockets inherit it: an event must not wait for the acknowledgement of the last one.
        socket.set_nodelay(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bind().map_err(|source| Error::Bind { address, source })
}
