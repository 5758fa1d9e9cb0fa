//! Flags of a relay: how much of the stream that it writes is kept, and for `rowcast relay` all the rest.

use std::time::Duration;

use clap::Args;

use super::duration::duration;
use super::{DatabaseArgs, LookArgs, Wake};
use crate::error::Error;
use crate::source::{
    DEFAULT_STREAM, DatabaseConfig, Migrate, StreamConfig, StreamRetain, refuse_relay_from,
};
use crate::tail::PollInterval;

/// Shorter ones are a mistake in the unit: clients that lose their connection for a moment find their place in the stream.
const KEEP_SHORTEST: Duration = Duration::from_mins(1);

/// Longer ones fill a Redis.
const KEEP_LONGEST: Duration = Duration::from_hours(24 * 30);

/// How much of the stream is kept.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Relay")]
pub struct RetainArgs {
    /// How long events stay in the stream. A client that was away for longer is read for in the table, by a server that has
    /// one, or refetches its state.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = keep, env = "ROWCAST_STREAM_RETAIN")]
    pub stream_retain: Duration,

    /// Most entries of the stream, whatever their age. One has the events that were found at one look: up to 1,000, or 1 MB;
    /// so this bounds what Redis has to hold.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1000..), env = "ROWCAST_STREAM_MAX_ENTRIES")]
    pub stream_max_entries: u32,
}

impl RetainArgs {
    fn retain(&self) -> StreamRetain {
        StreamRetain {
            keep: self.stream_retain,
            entries_max: self.stream_max_entries.into(),
        }
    }
}

/// Flags of a server that relays.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Relay")]
pub struct ServeRelayArgs {
    /// Relay too: where the stream is that other servers read. Its help is spelled out below, as URLs in it are no links.
    #[arg(
        long,
        value_name = "URL",
        env = "ROWCAST_RELAY",
        hide_env_values = true,
        help = "Relay the table into Redis too, as `rowcast relay` does: redis://user:password@host:6379/0. Of all that are \
                told to, one does, and the others stand by. The name of the stream is that of --stream. [default: do not]"
    )]
    pub relay: Option<String>,

    /// How much of it is kept.
    #[command(flatten)]
    pub retain: RetainArgs,
}

/// A relay beside a server.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The stream.
    pub stream: StreamConfig,
    /// How much of it is kept.
    pub retain: StreamRetain,
}

impl ServeRelayArgs {
    /// The relay that these flags mean, into the stream of this name.
    ///
    /// # Errors
    /// [`Error::Config`] when it cannot be.
    pub fn config(
        &self,
        stream: &str,
        database: Option<&DatabaseConfig>,
    ) -> Result<Option<RelayConfig>, Error> {
        let Some(url) = &self.relay else {
            return Ok(None);
        };
        let Some(database) = database else {
            return Err(Error::Config(
                "--relay reads the table, and this server has none; add --database-url, or leave it to a server beside the \
                 database"
                    .into(),
            ));
        };
        refuse_relay_from(database)?;
        Ok(Some(RelayConfig {
            stream: StreamConfig::new(url, stream)?,
            retain: self.retain.retain(),
        }))
    }
}

/// Flags of `rowcast relay`.
#[derive(Debug, Clone, Args)]
pub struct RelayArgs {
    /// Where the stream is. Its help is spelled out below, as URLs in it are no links.
    #[arg(
        long,
        value_name = "URL",
        env = "ROWCAST_RELAY",
        hide_env_values = true,
        visible_alias = "to",
        help_heading = "Relay",
        help = "Into which Redis: redis://user:password@host:6379/0, or rediss:// for TLS"
    )]
    pub relay: Option<String>,

    /// The name of the stream in Redis. Several feeds may share a Redis.
    #[arg(
        long,
        value_name = "NAME",
        default_value = DEFAULT_STREAM,
        env = "ROWCAST_STREAM",
        help_heading = "Relay"
    )]
    pub stream: String,

    /// How much of it is kept.
    #[command(flatten)]
    pub retain: RetainArgs,

    /// Which database.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// What to do with the tables at start: create or update them, only check them, or take them as they are.
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        env = "ROWCAST_MIGRATE",
        help_heading = "Database"
    )]
    pub migrate: Migrate,

    /// How often to look.
    #[command(flatten)]
    pub look: LookArgs,
}

impl RelayArgs {
    /// From where, and where to.
    ///
    /// # Errors
    /// [`Error::Config`] when one of them is none that we can use.
    pub fn config(&self) -> Result<(DatabaseConfig, RelayConfig, PollInterval), Error> {
        let Some(url) = &self.relay else {
            return Err(Error::Config(
                "--to is missing: the Redis that has the stream, for example --to redis://localhost:6379".into(),
            ));
        };
        let mut database = self.database.config()?;
        database.wake = self.look.wake == Wake::Auto;
        refuse_relay_from(&database)?;
        let relay = RelayConfig {
            stream: StreamConfig::new(url, &self.stream)?,
            retain: self.retain.retain(),
        };
        Ok((database, relay, self.look.interval()?))
    }
}

fn keep(text: &str) -> Result<Duration, String> {
    match duration(text, "10m or 1h")? {
        keep if (KEEP_SHORTEST..=KEEP_LONGEST).contains(&keep) => Ok(keep),
        _ => Err("events stay in the stream for 1m to 30d".into()),
    }
}
