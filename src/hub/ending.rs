//! `Ending`: why the server ends a connection, and whether the client may come back.

use crate::protocol::{CloseCode, DisconnectCode};

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The server stops, or is restarted.
    Shutdown,
    /// What clients may see has changed.
    GrantsChanged,
    /// An operator said so.
    Disconnected,
    /// The token has expired.
    TokenExpired,
    /// The token was revoked.
    TokenRevoked,
}

impl Ending {
    /// What the `disconnect` frame says.
    pub fn code(self) -> DisconnectCode {
        match self {
            Self::Shutdown => DisconnectCode::ServerShutdown,
            Self::GrantsChanged => DisconnectCode::GrantsChanged,
            Self::Disconnected => DisconnectCode::Disconnected,
            Self::TokenExpired => DisconnectCode::TokenExpired,
            Self::TokenRevoked => DisconnectCode::TokenRevoked,
        }
    }

    /// What the close says.
    pub fn close(self) -> (CloseCode, &'static str) {
        match self {
            Self::Shutdown => (CloseCode::ServiceRestart, "the server is shutting down"),
            Self::GrantsChanged => (CloseCode::ServiceRestart, "what you may see has changed"),
            Self::Disconnected => (
                CloseCode::ServiceRestart,
                "an operator ended the connection",
            ),
            Self::TokenExpired => (CloseCode::Unauthorized, "the token has expired"),
            Self::TokenRevoked => (CloseCode::Unauthorized, "the token has been revoked"),
        }
    }

    /// Whether the client may come back as it is.
    pub fn reconnect(self) -> bool {
        self.close().0 == CloseCode::ServiceRestart
    }
}
