//! Who a client is, and what it may subscribe to. A token in, an `Identity` out; no I/O but that of fetching keys.

mod authenticator;
#[cfg(any(test, feature = "bench"))]
pub(crate) mod bench;
mod claims;
mod files;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod grants;
mod jwk;
mod jwks;
mod keys;
mod options;
mod refusal;
mod revoked;
mod signing;
mod token;

use std::sync::Arc;

pub(crate) use authenticator::Finding;
pub use authenticator::{Authenticator, Reload};
pub(crate) use files::{read, secret};
pub(crate) use grants::is_part;
pub use grants::{GrantTemplate, Grants, TemplateError};
pub use options::{AuthOptions, JwksUrl, KeySource, Secret};
pub use revoked::{Revocation, Revocations};
pub(crate) use signing::SigningKey;

/// Who a client is and what it may do, as its token says. Shared by all that serve the client.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The user, where there is one.
    pub user: Option<Arc<str>>,
    /// The token's own id (`jti`), by which it can be revoked.
    pub token_id: Option<Arc<str>>,
    /// When the token was issued (`iat`), in seconds since 1970.
    pub issued_at: Option<u64>,
    /// When what the token allows ends, in seconds since 1970. None: never.
    pub expires_at: Option<u64>,
    /// What the client may subscribe to.
    pub grants: Grants,
    /// What the client may publish to.
    pub publish: Grants,
}

impl Identity {
    /// Somebody who was not asked who it is, where everybody may read everything.
    #[must_use]
    pub fn anybody() -> Self {
        Self {
            user: None,
            token_id: None,
            issued_at: None,
            expires_at: None,
            grants: Grants::everything(),
            publish: Grants::nothing(),
        }
    }

    /// Somebody who has yet to say who it is.
    #[must_use]
    pub fn nobody() -> Self {
        Self {
            grants: Grants::nothing(),
            ..Self::anybody()
        }
    }
}

/// Now, in seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Permission to subscribe to one channel, which a backend gave to one user.
#[derive(Debug, Clone, PartialEq)]
pub struct Permit {
    /// What may be subscribed to.
    pub pattern: crate::event::ChannelPattern,
    /// The token's own id (`jti`), by which it can be revoked.
    pub token_id: Option<Arc<str>>,
    /// When that ends, in seconds since 1970. None: with the connection.
    pub expires_at: Option<u64>,
}

/// Why a token is not accepted. The texts are shown to clients: they have nothing of the token in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// None was sent.
    #[error(
        "a token is needed: send it as `Authorization: Bearer`, in `hello`, or as subprotocol rowcast.bearer.<token>"
    )]
    Missing,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It, or all tokens of its user, were revoked.
    #[error("the token has been revoked")]
    Revoked,
    /// Anything else; the text says what.
    #[error("the token is not accepted: {0}")]
    Invalid(String),
    /// It could not be checked, as the keys could not be fetched. Not the client's fault.
    #[error("the token cannot be checked just now; try again")]
    Unavailable,
}
