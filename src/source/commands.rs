//! What an administrator orders, and how it reaches every server of one database: the `Commands` trait, which is to
//! `Source` what `Insert` is. When to look, and what to do about a command, is not decided here.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::value::RawValue;

use super::{DatabaseConfig, DatabaseKind, StreamConfig};
use crate::error::Error;
use crate::event::{Audience, Channel, EventId};

#[cfg(feature = "postgres")]
use super::postgres::PostgresCommands;
#[cfg(feature = "redis")]
use super::redis::RedisCommands;
#[cfg(feature = "sqlite")]
use super::sqlite::SqliteCommands;

/// Longest name of a user or token id in a command, in bytes. The tables refuse longer ones.
pub const SUBJECT_BYTES_MAX: usize = 2000;

/// A table of commands, shared by all servers of one database.
///
/// Any implementation keeps these promises, and `tests/source_contract.rs` holds every one to them:
///  - what was issued is in every reading that begins after its commit, on every server, until it expires;
///  - the mark differs after every such commit, also where commits come in another order than ids were given;
///  - after an error the next call opens a connection of its own accord.
pub trait Commands: Send + Sync + 'static {
    /// Writes a command, for all servers. Gives its id.
    ///
    /// # Errors
    /// When the database is not reachable or refuses it. It may have been written all the same: the answer to a commit
    /// may have got lost.
    fn issue<'a>(&'a self, command: &'a NewCommand) -> BoxFuture<'a, Result<i64, Error>>;

    /// A short text that differs when there is a command that was not there. It costs one look through the table's
    /// primary key.
    ///
    /// # Errors
    /// When the database is not reachable, or the table not readable.
    fn mark(&self) -> BoxFuture<'_, Result<String, Error>>;

    /// The commands that have not expired, by their ids. Kinds that this version does not know are left out.
    ///
    /// # Errors
    /// When the database is not reachable, or the table not readable.
    fn valid(&self) -> BoxFuture<'_, Result<Vec<Command>, Error>> {
        self.valid_after(i64::MIN)
    }

    /// Of these, those with a greater id than this one. It costs what they do, and not what the others would.
    ///
    /// # Errors
    /// When the database is not reachable, or the table not readable.
    fn valid_after(&self, id: i64) -> BoxFuture<'_, Result<Vec<Command>, Error>>;

    /// The row of an event, if it is there and committed.
    ///
    /// # Errors
    /// When the database is not reachable, or the table not readable.
    fn find(&self, id: EventId) -> BoxFuture<'_, Result<Option<Committed>, Error>>;

    /// Deletes what has expired. Takes no lock where there is none.
    ///
    /// # Errors
    /// When the database is not reachable, or does not let us.
    fn forget(&self) -> BoxFuture<'_, Result<u64, Error>>;
}

/// What is ordered.
#[derive(Debug, Clone)]
pub enum Order {
    /// Refuse this user with tokens issued up to now, and close the connections that have them.
    RevokeUser(String),
    /// Refuse the token with this id (`jti`), and close the connections that have it.
    RevokeToken(String),
    /// Close the connections of this user. Nothing keeps them from coming back.
    DisconnectUser(String),
    /// Tell whoever is connected now; nothing of it is stored for others.
    Broadcast {
        /// Whom to tell.
        to: Audience,
        /// JSON: for everybody the whole frame, else the `event` of one.
        message: Box<RawValue>,
    },
}

/// A command to issue.
#[derive(Debug, Clone)]
pub struct NewCommand {
    /// What is ordered.
    pub order: Order,
    /// How long it counts. A server that sees it later does nothing about it.
    pub valid: Duration,
}

/// A command that was issued.
#[derive(Debug, Clone)]
pub struct Command {
    /// Unique in its database. Ids ascend as commands are written, which need not be the order of their commits.
    pub id: i64,
    /// What is ordered.
    pub order: Order,
    /// When, in milliseconds since 1970, by the clock of the database.
    pub created_at_ms: i64,
}

/// What a committed row is addressed to, and where it has its place in the feed.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its `channel`, which a table of one's own may have out of rule.
    pub channels: String,
    /// Its `type`.
    pub kind: String,
    /// When it was inserted.
    pub created_at: String,
    /// Its transaction, in a database whose writers do not take turns.
    pub transaction: Option<u64>,
}

/// Opens what commands go through: Redis where the feed is read from there, or the table. The tables are taken as they are.
///
/// # Errors
/// When neither is given, or it can be none of ours.
pub fn open_commands(
    stream: Option<&StreamConfig>,
    database: Option<&DatabaseConfig>,
) -> Result<Arc<dyn Commands>, Error> {
    let table = database.map(open_table).transpose()?;
    match (stream, table) {
        #[cfg(feature = "redis")]
        (Some(stream), table) => Ok(Arc::new(RedisCommands::new(stream, table)?)),
        #[cfg(not(feature = "redis"))]
        (Some(_), _) => {
            unreachable!("StreamConfig::new refuses streams where they were not built in")
        }
        (None, Some(table)) => Ok(table),
        (None, None) => Err(Error::NoDatabase {
            doing: "read the commands",
        }),
    }
}

/// Opens a connection, now or when it is needed.
fn open_table(config: &DatabaseConfig) -> Result<Arc<dyn Commands>, Error> {
    match config.url.kind() {
        #[cfg(feature = "postgres")]
        DatabaseKind::Postgres => Ok(Arc::new(PostgresCommands::new(config)?)),
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite => Ok(Arc::new(SqliteCommands::new(config)?)),
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        _ => unreachable!("DatabaseUrl::parse refuses databases that were not built in"),
    }
}

/// What the subject of a broadcast begins with that is for a user. With its space it is the beginning of no channel, so that
/// a version that does not know it leaves it.
const USER: &str = "user ";

/// The columns of a row.
pub(super) struct Columns<'a> {
    pub kind: &'static str,
    pub subject: Option<Cow<'a, str>>,
    pub payload: Option<&'a str>,
}

impl Order {
    pub(super) fn columns(&self) -> Columns<'_> {
        let (kind, subject, payload) = match self {
            Self::RevokeUser(user) => ("revoke_user", Some(user.into()), None),
            Self::RevokeToken(id) => ("revoke_token", Some(id.into()), None),
            Self::DisconnectUser(user) => ("disconnect_user", Some(user.into()), None),
            Self::Broadcast { to, message } => {
                let subject = match to {
                    Audience::All => None,
                    Audience::Channel(channel) => Some(channel.as_str().into()),
                    Audience::User(user) => Some(Cow::Owned(format!("{USER}{user}"))),
                };
                ("broadcast", subject, Some(message.get()))
            }
        };
        Columns {
            kind,
            subject,
            payload,
        }
    }

    /// None where a row is no order that this version knows, or one that cannot be carried out.
    pub(super) fn from_columns(
        kind: &str,
        subject: Option<String>,
        payload: Option<String>,
    ) -> Option<Self> {
        match (kind, subject, payload) {
            ("revoke_user", Some(user), None) => Some(Self::RevokeUser(user)),
            ("revoke_token", Some(id), None) => Some(Self::RevokeToken(id)),
            ("disconnect_user", Some(user), None) => Some(Self::DisconnectUser(user)),
            ("broadcast", subject, Some(message)) => {
                let to = match subject {
                    None => Audience::All,
                    Some(name) => match name.strip_prefix(USER) {
                        Some(user) => Audience::User(user.into()),
                        None => Audience::Channel(Channel::parse(&name).ok()?),
                    },
                };
                let message = RawValue::from_string(message).ok()?;
                Some(Self::Broadcast { to, message })
            }
            _ => None,
        }
    }
}
