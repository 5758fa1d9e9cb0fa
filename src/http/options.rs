//! What decides how far a client gets before it is asked who it is: addresses, origins, limits, TLS. Values only.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::origin::OriginRule;

/// Open files that are left for the database, logs and requests when the limit of connections follows from the limit
/// of open files.
pub(crate) const FILES_RESERVED: usize = 64;

/// Who gets as far as the routes, and how many of them.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Whether everybody may read everything, so that the name by which a client calls the server does not matter.
    pub public: bool,
    /// Pages of which other origins may use the server, beside its own.
    pub origins: Vec<OriginRule>,
    /// A file with more of them, one in a line; read again at a reload.
    pub origins_file: Option<PathBuf>,
    /// Networks of proxies that may say in `X-Forwarded-For` whose request they pass on.
    pub trusted_proxies: Vec<IpNet>,
    /// Most WebSockets, streams and requests under way at a time. 0: no limit. None: what the limit of open files
    /// allows, less 64.
    pub connections_max: Option<usize>,
    /// The same of one address (of one /64 network in IPv6). 0: no limit.
    pub connections_per_ip_max: usize,
    /// Most connections of one user. 0: no limit.
    pub connections_per_user_max: usize,
    /// Most failed authentications of one address in a minute. 0: no limit.
    pub auth_failures_max: usize,
    /// How long a client may take for the handshake of TLS, for the head of a request, and between two requests.
    pub handshake_timeout: Duration,
    /// Certificate and key of a server that speaks TLS itself.
    pub tls: Option<TlsFiles>,
    /// Who may publish, and how much.
    pub publish: PublishOptions,
}

/// What may be published over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishOptions {
    /// Where nobody is asked for a token: whether everybody who reaches the server may publish. Otherwise only this machine
    /// may, where the server is for this machine.
    pub public: bool,
    /// Largest body of a request, in bytes.
    pub bytes_max: usize,
    /// Most events of a user, or of an address without one, in a minute. 0: no limit.
    pub events_per_minute_max: usize,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            public: false,
            // A thousand events of a kilobyte.
            bytes_max: 1024 * 1024,
            // Ten a second: more than a person causes, and what a disk does not notice.
            events_per_minute_max: 600,
        }
    }
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            public: false,
            origins: Vec::new(),
            origins_file: None,
            trusted_proxies: Vec::new(),
            connections_max: None,
            // Behind a proxy that is not trusted all clients have one address.
            connections_per_ip_max: 0,
            // More tabs than anybody has open, and few enough that one user cannot take the whole server.
            connections_per_user_max: 100,
            // A person mistypes twice; a program that guesses needs millions.
            auth_failures_max: 10,
            // A slow phone needs three; who needs more is no browser.
            handshake_timeout: Duration::from_secs(10),
            tls: None,
            publish: PublishOptions::default(),
        }
    }
}

/// Where certificate and key of TLS are, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and after it those that vouch for it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}
