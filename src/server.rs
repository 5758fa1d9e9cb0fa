//! Wiring: source → broadcaster → hub → http, started in this order and drained in the reverse one; and beside them
//! retention.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::auth::Authenticator;
use crate::broadcaster::Broadcaster;
use crate::commands::Follower;
use crate::config::{AdminConfig, AdminListen, AdminToken, Config};
use crate::error::Error;
use crate::http::{self, Admin, Console, Endpoints, Gate, Offers, Tls};
use crate::hub::Hub;
use crate::presence::Keeper;
use crate::publisher::Publisher;
#[cfg(feature = "redis")]
use crate::relay::Relay;
#[cfg(feature = "redis")]
use crate::source::Migrate;
use crate::{retention, source};

/// Connections the system accepts for us while we are busy. Thousands may come at once after a restart.
const BACKLOG: u32 = 4096;

/// How long a relay may take to append what it has, and to leave the lead to another: some milliseconds, unless Redis and the
/// database are away.
const RELAY_STOP_MAX: Duration = Duration::from_secs(7);

/// A server that is ready: its port is bound and its feed has begun.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    broadcaster: Broadcaster,
    hub: Hub,
    endpoints: Endpoints,
    publisher: Publisher,
    console: Option<Console>,
    reload: Reload,
    grace_period: Duration,
    admin_address: Option<SocketAddr>,
    /// Tasks that go on until the last client is gone: the administration, and who is on which channel.
    lasting: JoinSet<()>,
    /// Tasks that serve nobody and end with the server, or when it is dropped.
    chores: JoinSet<()>,
    /// The relay, if it is one, and what has it append what it has and leave the lead to another.
    relay: (JoinSet<()>, Arc<Notify>),
}

impl Server {
    /// Reads the keys of tokens, binds the port, opens the database, and starts the feed. What is committed after this
    /// will be delivered.
    ///
    /// # Errors
    /// When the port is taken, or keys or the database are not usable; the text says what to do.
    pub async fn start(config: &Config) -> Result<Self, Error> {
        let tls = config.network.tls.as_ref().map(Tls::load).transpose()?;
        let authenticator = match &config.auth {
            Some(options) => Authenticator::start(options.clone()).await?,
            None => Authenticator::open(),
        };
        // Before the database, which a second server on the port must not touch.
        let (listener, address) = bind(config.listen)?;
        let administration = bind_admin(&config.admin, config.listen, address)?;
        let network = config.network.clone();
        let loopback = config.listen.ip().is_loopback();
        let gate = Gate::with(authenticator.clone(), network, loopback)?;
        let (stream, database) = (config.stream.as_ref(), config.database.as_ref());
        let source = source::open_feed(stream, database, config.migrate).await?;
        let command_wakes = source.command_wakes();
        let broadcaster = Broadcaster::start(source, config.poll_interval).await?;
        let keeper = match (&config.presence, database) {
            (Some(options), Some(database)) => {
                let counters = broadcaster.counters();
                Some(Keeper::start(database, options.clone(), counters).await?)
            }
            _ => None,
        };
        let (keeper, presence) = keeper.unzip();
        let hub = Hub::with_presence(&broadcaster, config.hub, &config.presets, presence);
        let mut chores = JoinSet::new();
        let (follower, desk) = Follower::start(
            stream,
            database,
            authenticator.revocations(),
            broadcaster.counters(),
        )
        .await?;
        let interval = config.poll_interval.max;
        chores.spawn(follower.run(broadcaster.clone(), hub.clone(), interval, command_wakes));
        let publisher = Publisher::new(database, desk.clone(), broadcaster.clone())?;
        let mut lasting = JoinSet::new();
        if let Some(keeper) = keeper {
            let (to, feed) = (hub.clone(), hub.clone());
            lasting.spawn(keeper.run(
                interval,
                async move |news| to.tell_presence(news).await,
                move || feed.readiness().is_reading(),
            ));
        }
        #[cfg_attr(
            not(feature = "redis"),
            expect(unused_mut, reason = "there is no relay")
        )]
        let (mut relays, stop_relay) = (JoinSet::new(), Arc::<Notify>::default());
        let mut admin_address = None;
        if let Some((listener, address)) = administration {
            let token = config.admin.token.as_ref().map(AdminToken::expose);
            admin_address = Some(address);
            lasting.spawn(Admin::new(&hub, desk, token).serve(listener));
        }
        if let (Some(retention), Some(database)) = (config.retention, config.database.clone()) {
            chores.spawn(retention::run(database, retention, broadcaster.counters()));
        }
        #[cfg(feature = "redis")]
        if let (Some(relay), Some(database)) = (&config.relay, database) {
            let table = source::open(database, Migrate::Off).await?;
            let (stream, retain) = (&relay.stream, relay.retain.clone());
            let counters = broadcaster.counters();
            let relay = Relay::start(
                table,
                database,
                stream,
                retain,
                config.poll_interval,
                counters,
            )
            .await?;
            let stop = Arc::clone(&stop_relay);
            relays.spawn(relay.run(async move { stop.notified().await }));
        }
        Ok(Self {
            listener,
            address,
            broadcaster,
            reload: Reload {
                gate,
                authenticator,
                tls: tls.map(Arc::new),
                hub: hub.clone(),
                grace_period: config.grace_period,
            },
            hub,
            endpoints: config.endpoints.clone(),
            publisher,
            console: config
                .console
                .then(|| Console::new(database, config.poll_interval.max)),
            grace_period: config.grace_period,
            admin_address,
            lasting,
            chores,
            relay: (relays, stop_relay),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its clients connect.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Where its administration listens.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Whether it has a console at `/`.
    #[must_use]
    pub fn has_console(&self) -> bool {
        self.console.is_some()
    }

    /// What its clients' tokens are checked with.
    #[must_use]
    pub fn authenticator(&self) -> &Authenticator {
        &self.reload.authenticator
    }

    /// Its feed.
    #[must_use]
    pub fn broadcaster(&self) -> &Broadcaster {
        &self.broadcaster
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.reload.tls.is_some()
    }

    /// Whether the feed moves: a probe passes all it consists of but the database, which it waits for by itself. Takes 2 s
    /// at most.
    pub fn canary(&self) -> impl AsyncFn() -> bool + use<> {
        let hub = self.hub.clone();
        async move || hub.readiness().is_moving().await
    }

    /// What reads its files again, while it runs.
    #[must_use]
    pub fn reload_handle(&self) -> Reload {
        self.reload.clone()
    }

    /// Serves until `shutdown`, then tells clients to reconnect elsewhere and waits for them to go, for the grace period at
    /// most.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            listener,
            broadcaster,
            hub,
            endpoints,
            publisher,
            console,
            reload: Reload { gate, tls, .. },
            grace_period,
            lasting,
            mut chores,
            relay: (mut relays, stop_relay),
            ..
        } = self;
        let mut deadline = Instant::now();
        let offers = Offers {
            hub: hub.clone(),
            endpoints,
            publisher,
            console,
        };
        http::serve(offers, &gate, tls, listener, async {
            shutdown.await;
            deadline = Instant::now() + grace_period;
            // What it is about to delete stays then: a batch is one transaction.
            chores.shutdown().await;
            tracing::info!(connections = broadcaster.client_count(), "shutting down");
            hub.readiness().begin_shutdown();
            stop_relay.notify_one();
            let relayed = async {
                // What it has not appended by then another will.
                let _ = timeout(RELAY_STOP_MAX, relays.join_next()).await;
                relays.shutdown().await;
            };
            tokio::join!(relayed, hub.drain(grace_period));
        })
        .await;
        while broadcaster.client_count() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        tracing::debug!(stats = ?broadcaster.stats(), "what happened");
        drop(lasting);
        tracing::info!("stopped");
    }
}

/// Reads again what may be changed while a server runs: certificate and key of TLS, the file of origins, keys and grants
/// of tokens.
#[derive(Clone)]
pub struct Reload {
    gate: Gate,
    authenticator: Authenticator,
    tls: Option<Arc<Tls>>,
    hub: Hub,
    grace_period: Duration,
}

impl Reload {
    /// Reads everything again, for requests to come, and gives what was read. Where something is not good, what was read
    /// of it last stays; the rest is replaced.
    ///
    /// # Errors
    /// One for each that is not good; the text says which and why.
    pub async fn reload(&self) -> (Vec<&'static str>, Vec<Error>) {
        let mut read = Vec::new();
        let mut errors = Vec::new();
        let mut note = |what, result: Result<bool, Error>| match result {
            Ok(true) => read.push(what),
            Ok(false) => {}
            Err(error) => errors.push(error),
        };
        if let Some(tls) = &self.tls {
            note("certificate", tls.reload().map(|()| true));
        }
        note("origins", self.gate.reload_origins());
        match self.authenticator.reload().await {
            Ok(change) => {
                note(
                    "keys and grants",
                    Ok(self.authenticator.anonymous().is_none()),
                );
                if change.anything_removed {
                    // Some may be connected who would not be let in now: all come back, and are looked at anew.
                    self.hub.renew(self.grace_period).await;
                }
            }
            Err(error) => note("", Err(error)),
        }
        (read, errors)
    }
}

/// Binds the port of the administration, if there is to be one. Beside the feed's, `asked` for, a port is found.
fn bind_admin(
    admin: &AdminConfig,
    asked: SocketAddr,
    feed: SocketAddr,
) -> Result<Option<(TcpListener, SocketAddr)>, Error> {
    admin.check()?;
    let beside = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match admin.listen {
        AdminListen::Off => Ok(None),
        AdminListen::At(address) => match bind(address) {
            Err(Error::Bind { address, source }) => Err(Error::Io {
                doing: format!("listen on {address}, as --admin-listen says (`off` does without)"),
                source,
            }),
            bound => bound.map(Some),
        },
        AdminListen::Beside => {
            let next = (asked.port() != 0)
                .then(|| feed.port().checked_add(1))
                .flatten();
            match next.map(|port| bind(beside(port))) {
                Some(Ok(bound)) => Ok(Some(bound)),
                Some(Err(_)) | None => bind(beside(0)).map(Some),
            }
        }
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
