//! Flags about who gets as far as the routes: origins, proxies, limits, TLS, and how a server ends.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;

use super::duration::{time, time_above_zero};
use crate::error::Error;
use crate::http::{NetworkOptions, OriginRule, PublishOptions, TlsFiles};

/// Long enough for ten thousand clients to be sent elsewhere without a rush, short enough for whoever restarts.
pub(super) const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// Flags of `rowcast serve` about the network.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// Let pages of this origin use the server, beside its own; may be repeated. `https://*.example.com` is every
    /// name below it, `*` every page there is, `null` pages without an origin.
    #[arg(
        long,
        value_name = "ORIGIN",
        value_parser = origin,
        value_delimiter = ' ',
        env = "ROWCAST_ALLOW_ORIGIN",
        help = "Let pages of this origin use the server, beside its own: https://app.example.com, https://*.example.com, * or null. May be repeated; spaces between several in the environment"
    )]
    pub allow_origin: Vec<OriginRule>,

    /// A file with more of them, one in a line. It is read again at SIGHUP.
    #[arg(long, value_name = "FILE", env = "ROWCAST_ALLOW_ORIGIN_FILE")]
    pub allow_origin_file: Option<PathBuf>,

    /// Believe proxies of this network, such as 10.0.0.0/8, when they say in X-Forwarded-For whose request they pass on.
    /// May be repeated.
    #[arg(long, value_name = "NETWORK", value_delimiter = ' ', value_parser = network, env = "ROWCAST_TRUSTED_PROXY")]
    pub trusted_proxy: Vec<IpNet>,

    /// Speak TLS with the certificate in this PEM file. It and its key are read again at SIGHUP.
    #[arg(long, value_name = "FILE", env = "ROWCAST_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of the certificate, in PEM and not encrypted.
    #[arg(long, value_name = "FILE", env = "ROWCAST_TLS_KEY")]
    pub tls_key: Option<PathBuf>,

    /// How long clients may take to go when the server ends. A second signal ends it at once.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = time, env = "ROWCAST_GRACE_PERIOD")]
    pub grace_period: Duration,

    /// How long a client may take for the handshake of TLS, for the head of a request, and between two requests.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = time_above_zero, env = "ROWCAST_HANDSHAKE_TIMEOUT", help_heading = "Limits")]
    pub handshake_timeout: Duration,

    /// Most WebSockets, streams and requests at a time; 0 is no limit. [default: what the limit of open files allows,
    /// less 64]
    #[arg(
        long,
        value_name = "N",
        env = "ROWCAST_MAX_CONNECTIONS",
        help_heading = "Limits"
    )]
    pub max_connections: Option<u32>,

    /// The same of one IP address (in IPv6 of one /64 network); 0 is no limit. Behind a proxy that is not a
    /// --trusted-proxy all clients have one address.
    #[arg(long, value_name = "N", default_value_t = NetworkOptions::default().connections_per_ip_max as u32, env = "ROWCAST_MAX_CONNECTIONS_PER_IP", help_heading = "Limits")]
    pub max_connections_per_ip: u32,

    /// Most connections of one user; 0 is no limit.
    #[arg(long, value_name = "N", default_value_t = NetworkOptions::default().connections_per_user_max as u32, env = "ROWCAST_MAX_CONNECTIONS_PER_USER", help_heading = "Limits")]
    pub max_connections_per_user: u32,

    /// Most failed authentications of one IP address in a minute; 0 is no limit. Good tokens are accepted all the same.
    #[arg(long, value_name = "N", default_value_t = NetworkOptions::default().auth_failures_max as u32, env = "ROWCAST_MAX_AUTH_FAILURES", help_heading = "Limits")]
    pub max_auth_failures: u32,

    /// Let everybody who reaches the server publish to every channel, where nobody is asked for a token. Without it only
    /// this machine may.
    #[arg(long, env = "ROWCAST_PUBLIC_PUBLISH")]
    pub public_publish: bool,

    /// Largest body of a request that publishes.
    #[arg(long, value_name = "BYTES", default_value_t = PublishOptions::default().bytes_max as u32, value_parser = clap::value_parser!(u32).range(1024..=67_108_864), env = "ROWCAST_MAX_PUBLISH_BYTES", help_heading = "Limits")]
    pub max_publish_bytes: u32,

    /// Most events that a user, or an IP address without one, may publish in a minute; 0 is no limit.
    #[arg(long, value_name = "EVENTS", default_value_t = PublishOptions::default().events_per_minute_max as u32, env = "ROWCAST_MAX_PUBLISHES_PER_MINUTE", help_heading = "Limits")]
    pub max_publishes_per_minute: u32,
}

impl NetworkArgs {
    /// What these flags mean.
    ///
    /// # Errors
    /// [`Error::Config`] when they contradict each other.
    pub(super) fn options(self, public: bool) -> Result<NetworkOptions, Error> {
        let tls = match (self.tls_cert, self.tls_key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            _ => {
                return Err(Error::Config(
                    "--tls-cert and --tls-key belong together; give both or none".into(),
                ));
            }
        };
        Ok(NetworkOptions {
            public,
            origins: self.allow_origin,
            origins_file: self.allow_origin_file,
            trusted_proxies: self.trusted_proxy,
            connections_max: self.max_connections.map(|max| max as usize),
            connections_per_ip_max: self.max_connections_per_ip as usize,
            connections_per_user_max: self.max_connections_per_user as usize,
            auth_failures_max: self.max_auth_failures as usize,
            handshake_timeout: self.handshake_timeout,
            tls,
            publish: PublishOptions {
                public: self.public_publish,
                bytes_max: self.max_publish_bytes as usize,
                events_per_minute_max: self.max_publishes_per_minute as usize,
            },
        })
    }
}

/// An origin, as the text of the flag shows. What is said about flags has no URL in it, as that may be a database's.
fn origin(text: &str) -> Result<OriginRule, String> {
    text.parse().map_err(|_| {
        "an origin is a scheme, a host and perhaps a port, without a path; --help shows some".into()
    })
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse().map(|ip: std::net::IpAddr| IpNet::from(ip));
    text.parse().or_else(|_| address()).map_err(|_| {
        "a network is an address and the length of its prefix, such as 10.0.0.0/8 or fd00::/8"
            .into()
    })
}
