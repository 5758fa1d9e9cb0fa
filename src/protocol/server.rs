//! What the server says, events apart.

use bytes::Bytes;
use serde::Serialize;

use super::preset::Of;
use super::{PresenceAnswers, PresenceEvent, RequestId, Shape};

/// One frame of the server, events apart.
#[derive(Debug, Serialize)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
pub(crate) enum ServerFrame<'a> {
    Welcome {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        protocol: u32,
        connection_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
        limits: Limits,
        #[serde(skip_serializing_if = "Option::is_none")]
        ping_interval_ms: Option<u64>,
        server: &'static str,
    },
    AuthOk {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<String>,
    },
    AuthExpiring {
        in_ms: u64,
    },
    Heartbeat {
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
    },
    Subscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        channels: &'a [&'a str],
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        rejected: &'a [Rejected<'a>],
        /// What of wide patterns is received, where that is not all.
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        granted: &'a [&'a str],
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
        recovered: bool,
        /// Who is on each of the channels, where that was asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        presence: Option<PresenceAnswers<'a>>,
    },
    Presence {
        channel: &'a str,
        #[serde(flatten)]
        event: PresenceEvent<'a>,
    },
    Unsubscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        channels: &'a [&'a str],
        /// Why, where the client did not ask for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<ErrorCode>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'a str>,
    },
    CaughtUp {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        cursor: &'a str,
    },
    Reset {
        reason: ResetReason,
        cursor: &'a str,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
    },
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        code: ErrorCode,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    Disconnect {
        code: DisconnectCode,
        reconnect: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
    },
}

/// Limits of a connection, told in `welcome`.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Limits {
    pub channels: usize,
    pub message_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_minute: Option<u32>,
}

/// A channel that the client may not subscribe to.
#[derive(Debug, Serialize)]
pub(crate) struct Rejected<'a> {
    pub channel: &'a str,
    pub code: ErrorCode,
    pub message: &'a str,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ErrorCode {
    InvalidMessage,
    InvalidChannel,
    /// It is not known who is on the channel.
    NoPresence,
    ChannelLimit,
    CursorInvalid,
    /// The token permits it no more, or never did.
    Forbidden,
    RateLimitExceeded,
    /// The permission for one channel has come to its end.
    TokenExpired,
    Unauthorized,
    /// The token could not be checked.
    Unavailable,
}

/// Why a client has to refetch its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ResetReason {
    /// The database was replaced, or lost a part of its history.
    Epoch,
    /// Some of what came after the client's cursor has been pruned.
    Retention,
    /// More came after the client's cursor than a client may be sent.
    TooFar,
}

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum DisconnectCode {
    /// The server stops, or is restarted.
    ServerShutdown,
    /// What its clients may see has changed: they come back, and it is looked at anew.
    GrantsChanged,
    /// An operator ended the connection.
    Disconnected,
    /// The token has expired, and no fresh one came.
    TokenExpired,
    /// The token, or all tokens of the user, were revoked.
    TokenRevoked,
}

impl ServerFrame<'_> {
    /// The frame on the wire; nothing, where clients of that shape are not told.
    pub fn encode(&self, shape: &Shape) -> Bytes {
        shape.control(self)
    }

    /// What it is.
    pub(super) fn of(&self) -> Of {
        match self {
            Self::Welcome { .. } => Of::Welcome,
            Self::AuthOk { .. } => Of::AuthOk,
            Self::AuthExpiring { .. } => Of::AuthExpiring,
            Self::Heartbeat { .. } => Of::Heartbeat,
            Self::Subscribed { .. } => Of::Subscribed,
            Self::Presence { .. } => Of::Presence,
            Self::Unsubscribed { .. } => Of::Unsubscribed,
            Self::CaughtUp { .. } => Of::CaughtUp,
            Self::Reset { .. } => Of::Reset,
            Self::Pong { .. } => Of::Pong,
            Self::Error { .. } => Of::Error,
            Self::Disconnect { .. } => Of::Disconnect,
        }
    }

    /// The channels that it is about.
    pub(super) fn channels(&self) -> Option<&[&str]> {
        match self {
            Self::Subscribed { channels, .. } | Self::Unsubscribed { channels, .. } => {
                Some(channels)
            }
            _ => None,
        }
    }

    pub(super) fn cursor(&self) -> Option<&str> {
        match *self {
            Self::Welcome { cursor, .. }
            | Self::Subscribed { cursor, .. }
            | Self::Pong { cursor, .. }
            | Self::Heartbeat { cursor }
            | Self::Disconnect { cursor, .. } => cursor,
            Self::CaughtUp { cursor, .. } | Self::Reset { cursor, .. } => Some(cursor),
            Self::Presence { .. }
            | Self::Unsubscribed { .. }
            | Self::Error { .. }
            | Self::AuthOk { .. }
            | Self::AuthExpiring { .. } => None,
        }
    }
}

pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_json(&mut bytes, value);
    bytes
}

pub(super) fn write_json(bytes: &mut Vec<u8>, value: &impl Serialize) {
    // Serializing fails on maps with keys that are no texts, and writing into memory does not fail.
    serde_json::to_writer(bytes, value).expect("frames are structs of texts and numbers");
}
