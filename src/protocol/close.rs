//! Close codes of the WebSocket. The number tells a client whether to come back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why the server closes a connection.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CloseCode {
    /// The client's frames break the WebSocket protocol: a bug of the client, do not reconnect.
    Protocol = 1002,
    /// A text frame is not UTF-8.
    NotUtf8 = 1007,
    /// A message is larger than the limit that `welcome` names.
    MessageTooBig = 1009,
    /// The server is being restarted: reconnect, after the time that the `disconnect` frame before it names.
    ServiceRestart = 1012,
    /// The client reads too slowly and its queue is full: reconnect, and resume from the last cursor it has
    /// seen.
    TryAgainLater = 1013,
    /// No token, or one that is not accepted or has expired: do not reconnect without another one.
    Unauthorized = 4001,
    /// What the address of the connection is about is not granted: do not reconnect without another token.
    Forbidden = 4003,
    /// The client said nothing for two intervals of pings: reconnect.
    HeartbeatMissed = 4408,
    /// The client, or its user or address, does more than a limit allows: reconnect later.
    RateLimited = 4429,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        self as u16
    }

    /// What it is called in a preset.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::NotUtf8 => "not_utf8",
            Self::MessageTooBig => "message_too_big",
            Self::ServiceRestart => "service_restart",
            Self::TryAgainLater => "try_again_later",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::HeartbeatMissed => "heartbeat_missed",
            Self::RateLimited => "rate_limited",
        }
    }
}
