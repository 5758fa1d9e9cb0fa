//! Flags of the administration: where it listens, and the token it asks for.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;

use crate::error::Error;

/// Shorter tokens can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// Flags of the administration.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Administration")]
pub struct AdminArgs {
    /// Where metrics, readiness, statistics and orders (revoke, disconnect, broadcast) are to be had, or `off`.
    /// [default: 127.0.0.1, at the port after --listen's, or at a free one]
    #[arg(long, value_name = "ADDRESS", env = "ROWCAST_ADMIN_LISTEN")]
    pub admin_listen: Option<AdminListen>,

    /// Ask whoever administers for this token, as `Authorization: Bearer`. Needed to listen beyond this machine.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "ROWCAST_ADMIN_TOKEN",
        hide_env_values = true,
        conflicts_with = "admin_token_file"
    )]
    pub admin_token: Option<AdminToken>,

    /// The same, read from a file.
    #[arg(long, value_name = "FILE", env = "ROWCAST_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,
}

/// The administration of a server.
#[derive(Debug, Clone, Default)]
pub struct AdminConfig {
    /// Where it listens.
    pub listen: AdminListen,
    /// What it asks for. None: whoever reaches it may use it.
    pub token: Option<AdminToken>,
}

/// Where the administration listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AdminListen {
    /// Nowhere.
    Off,
    /// On this machine, at the port after that of the feed. Where that is taken, or the feed takes a free port, at a free one.
    #[default]
    Beside,
    /// There, and nowhere else.
    At(SocketAddr),
}

impl FromStr for AdminListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| {
            "write an IP address and a port, for example 127.0.0.1:9090, or `off`".into()
        })
    }
}

/// A secret that administrators have. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(Arc<[u8]>);

impl AdminToken {
    /// What two flags say: the token itself, or a file with it.
    pub(crate) fn of(token: Option<&Self>, file: Option<&Path>) -> Result<Option<Self>, Error> {
        let (None, Some(path)) = (token, file) else {
            return Ok(token.cloned());
        };
        let wrong = |reason: String| {
            Error::Config(format!("--admin-token-file {}: {reason}", path.display()))
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| wrong(format!("it cannot be read: {error}")))?;
        text.parse().map(Some).map_err(wrong)
    }

    /// The secret: to compare with, never for a log.
    pub(crate) fn expose(&self) -> Arc<[u8]> {
        Arc::clone(&self.0)
    }
}

impl FromStr for AdminToken {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() < TOKEN_BYTES_MIN {
            return Err(format!(
                "the token of the administration has at least {TOKEN_BYTES_MIN} bytes; `openssl rand -hex 32` makes one"
            ));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(
                "the token of the administration has letters, digits and signs of ASCII only, as it is sent in a header".into(),
            );
        }
        Ok(Self(text.as_bytes().into()))
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

impl AdminConfig {
    /// Refuses what would let in everybody.
    ///
    /// # Errors
    /// [`Error::Config`] where other machines reach it and no token is asked for.
    pub fn check(&self) -> Result<(), Error> {
        match self.listen {
            AdminListen::At(address) if !address.ip().is_loopback() && self.token.is_none() => {
                Err(Error::Config(format!(
                    "--admin-listen {address} can be reached from other machines, and whoever reaches it may revoke, disconnect \
                     and broadcast; give it a token with --admin-token-file (`openssl rand -hex 32` makes one), or listen on \
                     127.0.0.1"
                )))
            }
            _ => Ok(()),
        }
    }
}

impl TryFrom<AdminArgs> for AdminConfig {
    type Error = Error;

    fn try_from(args: AdminArgs) -> Result<Self, Error> {
        let token = AdminToken::of(args.admin_token.as_ref(), args.admin_token_file.as_deref())?;
        let config = Self {
            listen: args.admin_listen.unwrap_or_default(),
            token,
        };
        config.check()?;
        Ok(config)
    }
}
