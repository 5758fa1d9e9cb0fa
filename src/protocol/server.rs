//! What the server says, events apart.

use bytes::Bytes;
use serde::Serialize;

use super::{PROTOCOL_VERSION, RequestId, Shape};

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
        cursor: Option<&'a str>,
        limits: Limits,
        server: &'static str,
    },
    Subscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        channels: &'a [&'a str],
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
        recovered: bool,
    },
    Unsubscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        channels: &'a [&'a str],
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
    },
    Disconnect {
        code: DisconnectCode,
        reconnect: bool,
        retry_after_ms: u64,
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
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ErrorCode {
    InvalidMessage,
    InvalidChannel,
    ChannelLimit,
    CursorInvalid,
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
    ServerShutdown,
}

impl<'a> ServerFrame<'a> {
    pub fn welcome(
        id: Option<&'a RequestId>,
        connection_id: &'a str,
        cursor: Option<&'a str>,
        limits: Limits,
    ) -> Self {
        let server = concat!("rowcast/", env!("CARGO_PKG_VERSION"));
        Self::Welcome {
            id,
            protocol: PROTOCOL_VERSION,
            connection_id,
            cursor,
            limits,
            server,
        }
    }

    pub fn encode(&self, shape: Shape) -> Bytes {
        let name = match self {
            Self::Welcome { .. } => "welcome",
            Self::Subscribed { .. } => "subscribed",
            Self::Unsubscribed { .. } => "unsubscribed",
            Self::CaughtUp { .. } => "caught_up",
            Self::Reset { .. } => "reset",
            Self::Pong { .. } => "pong",
            Self::Error { .. } => "error",
            Self::Disconnect { .. } => "disconnect",
        };
        shape.control(name, &json(self), self.cursor())
    }

    fn cursor(&self) -> Option<&str> {
        match *self {
            Self::Welcome { cursor, .. }
            | Self::Subscribed { cursor, .. }
            | Self::Pong { cursor, .. }
            | Self::Disconnect { cursor, .. } => cursor,
            Self::CaughtUp { cursor, .. } | Self::Reset { cursor, .. } => Some(cursor),
            Self::Unsubscribed { .. } | Self::Error { .. } => None,
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
