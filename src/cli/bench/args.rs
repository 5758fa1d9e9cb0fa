//! The flags of `rowcast bench`. What a flag means is written where it is declared.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config;

/// Most clients of one run, whatever the system allows.
const CLIENTS_MAX: i64 = 1_000_000;

#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(in crate::cli) struct BenchArgs {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    #[command(flatten)]
    pub(super) fanout: FanoutArgs,
}

const EXAMPLES: &str = "\
Every client checks that what it receives is complete, in order, and comes once. Exit code 0: it was. 1: not so, or it
could not be measured.

Examples:
  rowcast bench                                        a server of its own, on a temporary SQLite file
  rowcast bench fanout --clients 5000 --batch 1,100    the same, larger
  rowcast bench fanout --channels each                 every client has a channel of its own
  rowcast bench latency --rate 50 --plot latency.svg   from commit to client, as percentiles
  rowcast bench latency --clients 10000 --channels each --channels-per-client 10 --rate 500 --messages 500 --for 10m
  rowcast bench --database-url postgres://localhost/b  a server of its own, on that database
  rowcast bench --serve-arg=--shards=1 --pin           with flags of `rowcast serve`, on a core of its own
  rowcast bench --url ws://127.0.0.1:3001/ws --pid $(pidof rowcast) --database-url sqlite://rowcast.db
  rowcast bench --beside peers.toml --json             other servers in turn, and how much they cost against each other";

const BESIDE: &str = "\
A file for --beside has a table for each server:
  [[server]]
  name = \"nchan\"
  limit = true                                   # ratios are against this one; else against the first
  command = [\"nginx\", \"-p\", \"nchan\", \"-g\", \"env PORT={port};\"]   # without it, it runs already
  url = \"ws://127.0.0.1:{port}/sub/{channel}\"    # {channel} is 20 bytes, {client} the client's number
  subscribe = ['{\"channel\":\"{channel}\"}']        # frames; \"hex: 82 14 '{channel}'\" is a binary one
  subscribed = 'ok'                              # what the answer contains
  pong = { when = \"2\", send = \"3\" }              # where pings are messages
  message = { send = \"2\", answer = \"3\" }         # for latency --messages; else pings of RFC 6455
  publish = { url = \"http://127.0.0.1:{port}/pub/{channel}\", body = \"{payload}\" }   # many = \"lines\": one POST for all
and, if need be: env, headers, subprotocol, marker, pid, ready (what it writes when it is), ready_seconds.";

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Command {
    /// Events to many clients at once: what each delivery costs the server. This is what bench does without a command.
    #[command(after_help = BESIDE)]
    Fanout(Box<FanoutArgs>),
    /// How late events are: from when the database has them to when a client does.
    #[command(after_help = BESIDE)]
    Latency(Box<LatencyArgs>),
    /// Clients that come: what a handshake with a token and a subscription costs the server.
    #[command(after_help = BESIDE)]
    Connect(Box<ConnectArgs>),
    /// Clients that come back with a cursor: how fast they have what they missed.
    Catchup(Box<CatchupArgs>),
    /// Clients that do nothing: what each takes in memory, and all of them in processor time.
    #[command(after_help = BESIDE)]
    Idle(Box<IdleArgs>),
}

#[derive(Debug, Clone, Args)]
pub(super) struct FanoutArgs {
    /// Clients that are connected.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clients())]
    pub clients: u32,

    /// Events of each channel that are committed at once. Several are measured in turn. [default: 1,10,100; with many
    /// channels 1]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: Vec<u32>,

    /// Channels of all clients: a number, or `each` for one of its own for every client.
    #[arg(long, value_name = "N", default_value = "1", value_parser = channels)]
    pub channels: Channels,

    /// Channels that one client subscribes to, picked by chance.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub channels_per_client: u32,

    /// How often each is measured. The median counts.
    #[arg(long, value_name = "N", default_value = "11", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// Bytes of a payload. 180 make frames of about 300.
    #[arg(long, value_name = "BYTES", default_value = "180", value_parser = payload_bytes())]
    pub payload_bytes: u32,

    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Clone, Args)]
pub(super) struct LatencyArgs {
    /// Clients that are connected.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clients())]
    pub clients: u32,

    /// Channels of all clients: a number, or `each` for one of its own for every client. Events go to one after the other.
    #[arg(long, value_name = "N", default_value = "1", value_parser = channels)]
    pub channels: Channels,

    /// Channels that one client subscribes to, picked by chance.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub channels_per_client: u32,

    /// Messages a second from clients, each of which has to be answered: pings.
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub messages: u32,

    /// Events a second. Each is due at its time, however late the one before it was.
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,

    /// How long, each server.
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub length: Duration,

    /// Bytes of a payload. 180 make frames of about 300.
    #[arg(long, value_name = "BYTES", default_value = "180", value_parser = payload_bytes())]
    pub payload_bytes: u32,

    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ConnectArgs {
    /// Clients of each round.
    #[arg(long, value_name = "N", default_value = "5000", value_parser = clients())]
    pub clients: u32,

    /// Handshakes under way at a time.
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub at_once: u32,

    /// How often it is measured. The median counts.
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Clone, Args)]
pub(super) struct CatchupArgs {
    /// Events that every client missed.
    #[arg(long, value_name = "N", default_value = "100000", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub events: u32,

    /// Clients that come back at once.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clients())]
    pub clients: u32,

    /// How often it is measured. The median counts.
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// Bytes of a payload. 180 make frames of about 300.
    #[arg(long, value_name = "BYTES", default_value = "180", value_parser = payload_bytes())]
    pub payload_bytes: u32,

    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Clone, Args)]
pub(super) struct IdleArgs {
    /// Clients that are connected, with a subscription each.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clients())]
    pub clients: u32,

    /// How long to look.
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub length: Duration,

    #[command(flatten)]
    pub common: CommonArgs,
}

/// Which server, and how the result is told.
#[derive(Debug, Clone, Args)]
pub(super) struct CommonArgs {
    /// A server that runs. [default: one of its own]
    #[arg(long, value_name = "URL", help_heading = "Server")]
    pub url: Option<String>,

    /// The process of that server, for its processor time, memory and, where the kernel counts
    /// them for you (`kernel.perf_event_paranoid` at most 1), instructions. Its children count.
    #[arg(long, value_name = "PID", requires = "url", help_heading = "Server", value_parser = clap::value_parser!(u32).range(1..=0x7fff_ffff))]
    pub pid: Option<u32>,

    /// Where events are written by SQL: postgres://… or sqlite://…. Its rows are deleted in the end. Not read from the
    /// environment: it will be written to. [default: a temporary SQLite file]
    #[arg(long, value_name = "URL", help_heading = "Server")]
    pub database_url: Option<String>,

    /// Postgres: the schema of rowcast's tables.
    #[arg(
        long,
        value_name = "NAME",
        requires = "database_url",
        help_heading = "Server"
    )]
    pub schema: Option<String>,

    /// Publish by POST. Its help is spelled out below, as URLs in it are no links.
    #[arg(
        long,
        help = "Publish by POST instead, as to http://127.0.0.1:3001/events",
        value_name = "URL",
        conflicts_with = "database_url",
        requires = "url",
        help_heading = "Server"
    )]
    pub publish_url: Option<String>,

    /// The token of all clients, and of the publisher.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "jwt_secret_file",
        help_heading = "Server"
    )]
    pub token_file: Option<PathBuf>,

    /// Sign a token for each client with the secret in this file.
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub jwt_secret_file: Option<PathBuf>,

    /// A flag for the server of its own, as --serve-arg=--shards=1. Can be repeated.
    #[arg(
        long,
        value_name = "FLAG",
        conflicts_with = "url",
        allow_hyphen_values = true,
        help_heading = "Server"
    )]
    pub serve_arg: Vec<String>,

    /// Measure the servers of this file, too, in turn.
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub beside: Option<PathBuf>,

    /// Run servers on the first core, and the benchmark on the others.
    #[arg(long, help_heading = "Server")]
    pub pin: bool,

    /// How long nothing may come until what is missing is taken for lost.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub patience: Duration,

    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,

    /// Draw the result into this SVG file.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

/// How many channels there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channels {
    /// One for every client.
    Each,
    Count(u32),
}

impl Channels {
    pub(super) fn count(self, clients: u32) -> u32 {
        match self {
            Self::Each => clients,
            Self::Count(count) => count,
        }
    }
}

fn channels(text: &str) -> Result<Channels, String> {
    match text {
        "each" => Ok(Channels::Each),
        number => match number.parse() {
            Ok(count @ 1..=99_999) => Ok(Channels::Count(count)),
            _ => Err("write a number from 1 to 99999, or each".into()),
        },
    }
}

fn clients() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=CLIENTS_MAX)
}

fn payload_bytes() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(40..=65_536)
}

fn duration(text: &str) -> Result<Duration, String> {
    match config::duration(text, "30s or 5m")? {
        Duration::ZERO => Err("it is more than 0".into()),
        length if length > Duration::from_hours(24) => Err("it is 24h at most".into()),
        length => Ok(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_a_number_or_each() {
        assert_eq!(channels("each"), Ok(Channels::Each));
        assert_eq!(channels("7").map(|c| c.count(3)), Ok(7));
        assert_eq!(Channels::Each.count(3), 3);
        for text in ["0", "100000", "-1", "all", ""] {
            let error = channels(text).expect_err(text);
            assert!(error.contains("or each"), "{error}");
        }
    }
}
