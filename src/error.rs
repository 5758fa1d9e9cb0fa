//! The one error type of the library. Its texts fit after "failed to" and tell what to do.

use std::io;
use std::net::SocketAddr;

/// What can go wrong. Database errors of a running feed do not surface here: the tail waits and tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A flag, variable or file is out of rule. The text names it, its value and the rule.
    #[error("{0}")]
    Config(String),
    /// The database is not to be had at start.
    #[error("connect to the database {database}: {source}; is it running, and is the URL right?")]
    Connect {
        /// Its URL, without the password.
        database: String,
        /// What the driver says.
        source: sqlx::Error,
    },
    /// The database did not answer, or refused a statement.
    #[error("{doing}: {source}")]
    Database {
        /// What rowcast was doing, for example "read new rows".
        doing: &'static str,
        /// What the driver says.
        source: sqlx::Error,
    },
    /// Redis did not answer, or refused something.
    #[error("{doing}, at {redis}: {why}")]
    Stream {
        /// What rowcast was doing, for example "read the stream".
        doing: &'static str,
        /// Its URL, without the password.
        redis: String,
        /// What the driver says.
        why: String,
    },
    /// A server that reads a stream was given no database.
    #[error(
        "{doing}: this server reads a stream and has no database; give it one with --database-url, or ask a server that has one"
    )]
    NoDatabase {
        /// What rowcast was to do, for example "insert events".
        doing: &'static str,
    },
    /// The database is there, but not usable as it is. The text says why and what to do.
    #[error("use the database: {0}")]
    Unusable(String),
    /// Something that a server needs is not as it should be. What it is was said line by line.
    #[error("find everything that `rowcast serve` needs: {0} (see above)")]
    Unready(String),
    /// A window is of another life of the database than the present one.
    #[error("read on: the database was restarted or replaced meanwhile")]
    EpochChanged,
    /// What came after a position is not kept any more, where it was to be read from.
    #[error("read on: what comes next is not kept any more")]
    Gone,
    /// No progress within the time allowed. The connection is given up and opened anew.
    #[error("{doing}: no answer within {seconds} s")]
    Timeout {
        /// What rowcast was doing.
        doing: &'static str,
        /// How long it waited.
        seconds: u64,
    },
    /// A long insertion broke off. What was inserted stays: whoever sends it again doubles it.
    #[error("{cause}; events inserted before it: {inserted}")]
    BrokenOff {
        /// What went wrong.
        cause: Box<Error>,
        /// How many events are in the table.
        inserted: u64,
    },
    /// A generated file is not what would be generated now.
    #[error(
        "find the file up to date: {0}; run the same command without --check, and commit the file"
    )]
    Stale(String),
    /// A feed did not give every committed row once.
    #[error(
        "find the feed in order: {lost} rows lost, {doubled} doubled, {never_committed} received and never committed, \
         {out_of_order} out of order"
    )]
    Unverified {
        /// Rows that are in the table and did not come.
        lost: u64,
        /// Rows that came more than once.
        doubled: u64,
        /// Rows that came and were never in the table.
        never_committed: u64,
        /// Rows that came after a later one of the same writer.
        out_of_order: u64,
    },
    /// A server under load did not give every event once and in order to every client.
    #[error(
        "find what {server} delivers complete and in order: {lost} events lost, {repeated} repeated, {out_of_order} out \
         of order, {strays} not asked for"
    )]
    Misdelivered {
        /// Its name.
        server: String,
        /// Events that did not come, of all clients.
        lost: u64,
        /// Events that came again.
        repeated: u64,
        /// Events that came after a later one of their channel.
        out_of_order: u64,
        /// Events of channels that the client had not asked for.
        strays: u64,
    },
    /// The keys of tokens are not to be had.
    #[error(
        "fetch the keys of tokens from {url}: {why}; is the URL of --jwks-url right, and can this machine reach it? A \
         copy of the key set in a file can be given with --jwks-file"
    )]
    Keys {
        /// Where they were looked for.
        url: String,
        /// What came instead.
        why: String,
    },
    /// A token that was looked at is not one the server would accept.
    #[error("accept the token: {0}")]
    Refused(String),
    /// The address to listen on is not to be had.
    #[error("listen on {address}: {source}{}", hint_for_bind(source))]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Reading or writing something else failed.
    #[error("{doing}: {source}")]
    Io {
        /// What rowcast was doing.
        doing: String,
        /// What the system says.
        source: io::Error,
    },
}

impl Error {
    /// Whether the cause is a flag or setting, so that trying again cannot help.
    #[must_use]
    pub fn is_config(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::BrokenOff { cause, .. } => cause.is_config(),
            _ => false,
        }
    }

    /// For `map_err` on a driver's result.
    pub(crate) fn database(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { doing, source }
    }
}

fn hint_for_bind(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            " (another program has this port; choose one with --listen, for example --listen 127.0.0.1:3002)"
        }
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need privileges; choose another with --listen)"
        }
        io::ErrorKind::AddrNotAvailable => {
            " (no interface of this machine has this address; use 127.0.0.1 or 0.0.0.0)"
        }
        _ => "",
    }
}
