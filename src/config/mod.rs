//! Flags, environment and file → one validated `Config`. What a flag means is written where it is declared; that text is
//! the manual and `--help`.

mod admin;
mod auth;
mod duration;
mod file;
mod network;
mod presence;
mod relay;
mod stream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::auth::AuthOptions;
use crate::error::Error;
use crate::http::{EndpointSpec, Endpoints, NetworkOptions};
use crate::hub::HubOptions;
use crate::presence::PresenceOptions;
use crate::protocol::{PresetSpec, Presets};
use crate::retention::Retention;
use crate::source::{DatabaseConfig, DatabaseUrl, Migrate, StreamConfig};
use crate::tail::PollInterval;

pub use admin::{AdminArgs, AdminConfig, AdminListen, AdminToken};
pub use auth::AuthArgs;
pub(crate) use auth::secret;
pub(crate) use duration::{age, duration};
#[cfg(any(test, fuzzing))]
pub(crate) use file::fuzz;
pub use file::{ConfigFile, Placed};
pub(crate) use file::{
    Lines, Refusal, Sections, Sources, closest, default_file, error_at, schema, syntax_error,
};
pub use network::NetworkArgs;
pub use presence::PresenceArgs;
pub use relay::{RelayArgs, RelayConfig, RetainArgs, ServeRelayArgs};
pub use stream::StreamArgs;

use duration::{ping_interval, poll_interval, retain};

/// The database when none is named: a file in the present folder.
const DEFAULT_DATABASE_URL: &str = "sqlite://rowcast.db";

/// Where to listen unless told.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3001);

/// Everything a server needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the events are. None: the feed is read from a stream, and from nowhere else.
    pub database: Option<DatabaseConfig>,
    /// The stream that the feed is read from in place of the table.
    pub stream: Option<StreamConfig>,
    /// The stream that the table is relayed into, if this server relays.
    pub relay: Option<RelayConfig>,
    /// What to do with the tables at start.
    pub migrate: Migrate,
    /// Where to listen.
    pub listen: SocketAddr,
    /// How often to look.
    pub poll_interval: PollInterval,
    /// What a connection may use.
    pub hub: HubOptions,
    /// Which events are deleted: none, unless told.
    pub retention: Option<Retention>,
    /// On which channels it is known who is there: on none, unless told.
    pub presence: Option<PresenceOptions>,
    /// The administration.
    pub admin: AdminConfig,
    /// Whose tokens to accept. None: nobody is asked, and everybody may read everything.
    pub auth: Option<AuthOptions>,
    /// Who gets as far as that: origins, addresses, limits, TLS.
    pub network: NetworkOptions,
    /// Where clients connect, and how they speak there.
    pub endpoints: Endpoints,
    /// The ways in which they may speak.
    pub presets: Presets,
    /// Whether there is a page at `/` for whoever looks at the server.
    pub console: bool,
    /// How long clients may take at shutdown to end their requests and close their connections.
    pub grace_period: Duration,
}

impl Config {
    /// What `rowcast serve` does without a flag, with this database.
    #[must_use]
    pub fn new(database: DatabaseConfig) -> Self {
        Self {
            database: Some(database),
            stream: None,
            relay: None,
            migrate: Migrate::Auto,
            listen: DEFAULT_LISTEN,
            poll_interval: PollInterval::default(),
            hub: HubOptions::default(),
            retention: None,
            presence: None,
            admin: AdminConfig::default(),
            auth: None,
            network: NetworkOptions::default(),
            endpoints: Endpoints::default(),
            presets: Presets::default(),
            console: true,
            grace_period: network::DEFAULT_GRACE_PERIOD,
        }
    }
}

/// Which database. Shared by all commands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// Where the events are. Its help is spelled out below, as URLs in it are no links.
    #[arg(
        long,
        value_name = "URL",
        env = "ROWCAST_DATABASE_URL",
        hide_env_values = true,
        help = "Where the events are: postgres://user:password@host/database or sqlite://path/to/file.db. Also read \
                from DATABASE_URL. [default: sqlite://rowcast.db]"
    )]
    pub database_url: Option<String>,

    /// Postgres: keep rowcast's tables in this schema.
    #[arg(long, value_name = "NAME", env = "ROWCAST_SCHEMA")]
    pub schema: Option<String>,
}

/// How often to look. Shared by the commands that read the table for long.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Speed")]
pub struct LookArgs {
    /// Longest time an event can go unseen: how often to look at the table when nothing happens.
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = poll_interval, env = "ROWCAST_POLL_INTERVAL")]
    pub poll_interval: Duration,

    /// How often to look while events flow. Postgres takes some 0.1 ms of its own for a look.
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = poll_interval, env = "ROWCAST_POLL_INTERVAL_MIN")]
    pub poll_interval_min: Duration,

    /// Be woken by writers between two looks. Off spares Postgres a connection that listens, which PgBouncer in transaction
    /// mode cannot give.
    #[arg(long, value_enum, default_value = "auto", env = "ROWCAST_WAKE")]
    pub wake: Wake,
}

/// Flags of `rowcast serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Which database.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// Which stream in place of the table.
    #[command(flatten)]
    pub stream: StreamArgs,

    /// Which stream to write.
    #[command(flatten)]
    pub relay: ServeRelayArgs,

    /// What to do with the tables at start: create or update them, only check them, or take them as they are.
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        env = "ROWCAST_MIGRATE",
        help_heading = "Database"
    )]
    pub migrate: Migrate,

    /// Delete events that are older than this, for example 7d. A client that was away for longer gets a `reset` and
    /// refetches its state. [default: keep all]
    #[arg(long, value_name = "DURATION", value_parser = retain, env = "ROWCAST_RETAIN", help_heading = "Database")]
    pub retain: Option<Duration>,

    /// Where to listen. Port 0 takes a free one.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value_t = DEFAULT_LISTEN,
        env = "ROWCAST_LISTEN",
        help_heading = "Network"
    )]
    pub listen: SocketAddr,

    /// Let everybody who can reach the server read every channel. To listen beyond this machine, this or a key is
    /// needed.
    #[arg(long, env = "ROWCAST_PUBLIC", help_heading = "Network")]
    pub public: bool,

    /// The console: a page at / that shows events as they come, who is connected, and how late events are. It asks for a
    /// token where clients are asked, and shows what that token may see.
    #[arg(
        long,
        value_enum,
        default_value = "on",
        env = "ROWCAST_CONSOLE",
        help_heading = "Network"
    )]
    pub console: ConsoleSwitch,

    /// Compress events for the WebSockets that offer it, as browsers do: 3 KB of JSON become 1.2 KB, 400 bytes 280. Pays
    /// where bytes are dear, or many receive the same: it takes 15 to 50 us for each event, once for all of them. Whoever
    /// sees the lengths of messages, also of encrypted ones, can guess a secret in an event that he wrote other parts of.
    #[arg(
        long,
        value_enum,
        default_value = "off",
        env = "ROWCAST_COMPRESSION",
        help_heading = "Network"
    )]
    pub compression: Compression,

    /// Who may connect.
    #[command(flatten)]
    pub auth: AuthArgs,

    /// Who gets as far as the routes.
    #[command(flatten)]
    pub network: NetworkArgs,

    /// How often to look.
    #[command(flatten)]
    pub look: LookArgs,

    /// Tasks that write to sockets. [default: one for every core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256), env = "ROWCAST_SHARDS", help_heading = "Speed")]
    pub shards: Option<u16>,

    /// How often a WebSocket is pinged. A client that says nothing for two of these is taken for dead. 0s: never.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = ping_interval, env = "ROWCAST_PING_INTERVAL", help_heading = "Network")]
    pub ping_interval: Duration,

    /// Most messages of a client within a minute, pings included. Those beyond it are answered with an error that says
    /// when to go on. 0: no limit.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        env = "ROWCAST_MAX_MESSAGES_PER_MINUTE",
        help_heading = "Limits"
    )]
    pub max_messages_per_minute: u32,

    /// Most subscriptions of one connection. A pattern such as `messages:*` counts as one.
    #[arg(long, value_name = "N", default_value_t = HubOptions::default().subscriptions_max as u32, value_parser = clap::value_parser!(u32).range(1..=100_000), env = "ROWCAST_MAX_SUBSCRIPTIONS", help_heading = "Limits")]
    pub max_subscriptions: u32,

    /// Largest message a client may send, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = HubOptions::default().message_bytes_max as u32, value_parser = clap::value_parser!(u32).range(1024..=16_777_216), env = "ROWCAST_MAX_MESSAGE_BYTES", help_heading = "Limits")]
    pub max_message_bytes: u32,

    /// Most bytes that wait for a client that reads slowly. Beyond it the client is sent on from memory or the table,
    /// as fast as it reads.
    #[arg(long, value_name = "BYTES", default_value_t = HubOptions::default().outbox_bytes_max as u32, value_parser = clap::value_parser!(u32).range(65_536..), env = "ROWCAST_MAX_OUTBOX_BYTES", help_heading = "Limits")]
    pub max_outbox_bytes: u32,

    /// Most bytes of events kept in memory for clients that come back. Whoever was away for longer is read for
    /// in the table.
    #[arg(long, value_name = "BYTES", default_value_t = HubOptions::default().recent_bytes_max as u32, env = "ROWCAST_MAX_RECENT_BYTES", help_heading = "Limits")]
    pub max_recent_bytes: u32,

    /// Most events a client is sent when it comes back. One that has missed more is told to refetch its state, which
    /// may be cheaper. [default: all there are]
    #[arg(
        long,
        value_name = "EVENTS",
        env = "ROWCAST_MAX_REPLAY",
        help_heading = "Limits"
    )]
    pub max_replay: Option<u64>,

    /// Who is on which channel.
    #[command(flatten)]
    pub presence: PresenceArgs,

    /// The administration.
    #[command(flatten)]
    pub admin: AdminArgs,

    /// The configuration file, for its tables. The values of its keys are in the fields above already.
    #[arg(skip)]
    pub file: Option<Arc<ConfigFile>>,
}

/// Whether there is a console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ConsoleSwitch {
    /// At `/`.
    On,
    /// There is nothing at `/`.
    Off,
}

/// Whether messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// For the WebSockets that offer it (permessage-deflate, RFC 7692).
    On,
    /// What is offered is not taken.
    Off,
}

/// Whether writers wake the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Wake {
    /// Where the database can.
    Auto,
    /// Polling only.
    Off,
}

impl DatabaseArgs {
    /// The database these flags mean.
    ///
    /// # Errors
    /// [`Error::Config`] when there is none at that URL that we can use.
    pub fn config(&self) -> Result<DatabaseConfig, Error> {
        match self.named()? {
            Some(config) => Ok(config),
            None => self.at(DatabaseUrl::parse(DEFAULT_DATABASE_URL)?),
        }
    }

    /// The same, where a database is named.
    ///
    /// # Errors
    /// [`Error::Config`] when there is none at that URL that we can use.
    pub fn named(&self) -> Result<Option<DatabaseConfig>, Error> {
        let url = self.database_url.clone();
        let url = url.or_else(|| {
            std::env::var("DATABASE_URL")
                .ok()
                .filter(|url| !url.is_empty())
        });
        url.map(|url| self.at(DatabaseUrl::parse(&url)?))
            .transpose()
    }

    fn at(&self, url: DatabaseUrl) -> Result<DatabaseConfig, Error> {
        if self.schema.as_ref().is_some_and(String::is_empty) {
            return Err(Error::Config(
                "--schema is empty; leave it out for the connection's own".into(),
            ));
        }
        Ok(DatabaseConfig {
            url,
            schema: self.schema.clone(),
            wake: true,
        })
    }
}

impl LookArgs {
    /// What these flags mean.
    ///
    /// # Errors
    /// [`Error::Config`] when it would be oftener while nothing happens than while events flow.
    pub fn interval(&self) -> Result<PollInterval, Error> {
        let (max, min) = (self.poll_interval, self.poll_interval_min);
        if min > max {
            return Err(Error::Config(format!(
                "--poll-interval-min {} is longer than --poll-interval {}; it is the interval while events flow, so make it shorter",
                humantime::format_duration(min),
                humantime::format_duration(max),
            )));
        }
        Ok(PollInterval { max, min })
    }
}

impl TryFrom<ServeArgs> for Config {
    type Error = Error;

    fn try_from(args: ServeArgs) -> Result<Self, Error> {
        let stream = args.stream.config()?;
        let mut database = match &stream {
            Some(_) => args.database.named()?,
            None => Some(args.database.config()?),
        };
        if let Some(database) = &mut database {
            database.wake = args.look.wake == Wake::Auto;
        } else if !args.presence.presence.is_empty() {
            return Err(Error::Config(
                "--presence is kept in the database, and a server that reads --source has none; add --database-url".into(),
            ));
        } else if args.retain.is_some() {
            return Err(Error::Config(
                "--retain deletes events from the table, and a server that reads --source has none; add --database-url, or \
                 leave it to `rowcast prune` or a server beside the database"
                    .into(),
            ));
        }
        let auth = args.auth.authenticator_options()?;
        let (presets, endpoints) = connecting(args.file.as_deref(), auth.is_some())?;
        if args.public && auth.is_some() {
            return Err(Error::Config(
                "--public lets everybody read every channel, and a key lets in only those with a token; choose one"
                    .into(),
            ));
        }
        if args.network.public_publish && auth.is_some() {
            return Err(Error::Config(
                "--public-publish lets everybody publish to every channel, and a key lets in only those with a token; choose \
                 one"
                    .into(),
            ));
        }
        if !args.listen.ip().is_loopback() && !args.public && auth.is_none() {
            return Err(Error::Config(format!(
                "--listen {} can be reached from other machines, and clients are not asked who they are; make a key with \
                 `rowcast token secret > key` and add --jwt-secret-file key, or add --public if every channel may be read \
                 by all of them, or listen on 127.0.0.1",
                args.listen
            )));
        }
        let retention = args.retain.map(|keep| {
            let mut retention = Retention::keep(keep);
            // A feed that is not woken reads that late.
            retention.grace = retention.grace.max(args.look.poll_interval * 2);
            retention
        });
        let relay = args.relay.config(&args.stream.stream, database.as_ref())?;
        let poll_interval = args.look.interval()?;
        let defaults = HubOptions::default();
        let hello_timeout = args.network.handshake_timeout;
        Ok(Self {
            auth,
            endpoints,
            presets,
            console: args.console == ConsoleSwitch::On,
            grace_period: args.network.grace_period,
            retention,
            presence: args.presence.options(),
            admin: args.admin.try_into()?,
            database,
            stream,
            relay,
            migrate: args.migrate,
            listen: args.listen,
            poll_interval,
            hub: HubOptions {
                shards: args.shards.map_or(defaults.shards, usize::from),
                subscriptions_max: args.max_subscriptions as usize,
                message_bytes_max: args.max_message_bytes as usize,
                outbox_bytes_max: args.max_outbox_bytes as usize,
                recent_bytes_max: args.max_recent_bytes as usize,
                replay_events_max: args.max_replay,
                messages_per_minute_max: Some(args.max_messages_per_minute)
                    .filter(|&messages| messages > 0),
                ping_interval: Some(args.ping_interval).filter(|interval| !interval.is_zero()),
                hello_timeout,
                compression: args.compression == Compression::On,
            },
            network: args.network.options(args.public)?,
        })
    }
}

/// The presets and endpoints of a file, beside ours. `asks` is whether tokens are asked for.
fn connecting(file: Option<&ConfigFile>, asks: bool) -> Result<(Presets, Endpoints), Error> {
    let mut presets = Presets::default();
    let Some(file) = file else {
        return Ok((presets, Endpoints::default()));
    };
    for preset in file.named_tables::<PresetSpec>("preset")? {
        presets
            .add(&preset.name, &preset.value)
            .map_err(|error| preset.error(&error.key, error.message))?;
    }
    let placed = file.tables::<EndpointSpec>("endpoint")?;
    let specs: Vec<_> = placed.iter().map(|placed| placed.value.clone()).collect();
    let endpoints = Endpoints::new(&specs, &presets, asks)
        .map_err(|error| placed[error.number].error(error.key, error.message))?;
    Ok((presets, endpoints))
}
