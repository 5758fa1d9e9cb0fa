//! What the server says. A batch of events is encoded once, whoever receives it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::frame::{push_text_frame, text_frame};
use super::{PROTOCOL_VERSION, RequestId};
use crate::event::{Channels, Event};
use crate::tail::Batch;

/// Bytes of one event beside its payload: keys, names, times. A guess that saves growing the buffer.
const EVENT_OVERHEAD_BYTES: usize = 256;

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
        cursor: &'a str,
        limits: Limits,
        server: &'static str,
    },
    Subscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        channels: &'a [&'a str],
        cursor: &'a str,
        recovered: bool,
    },
    Unsubscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        channels: &'a [&'a str],
    },
    Cursor {
        cursor: &'a str,
    },
    Reset {
        reason: ResetReason,
        cursor: &'a str,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        cursor: &'a str,
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
        cursor: &'a str,
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
    /// What came after the client's cursor cannot be told any more.
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
        cursor: &'a str,
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

    pub fn encode(&self) -> Bytes {
        text_frame(&json(self))
    }
}

/// A batch as every receiver gets it, in parts of which each receives its own.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// The frames of all events, back to back.
    pub frames: Bytes,
    /// Where in `frames` each event is, and which channels it addresses.
    pub events: Vec<EncodedEvent>,
    /// For receivers of some of the batch, but not of its last event: that frame alone has the cursor.
    pub cursor_frame: Bytes,
    /// The position after the batch; none in the midst of a window. The last event's frame has it too.
    pub edge: Option<Arc<str>>,
    /// Whether receivers have to refetch their state first.
    pub reset: bool,
}

#[derive(Debug)]
pub(crate) struct EncodedEvent {
    pub range: Range<usize>,
    pub channels: Channels,
}

#[derive(Serialize)]
struct EventFrame<'a> {
    r#type: &'static str,
    channels: Vec<&'a str>,
    event: EventFields<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventFields<'a> {
    id: i64,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    created_at: &'a str,
}

impl<'a> From<&'a Event> for EventFields<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            id: event.id.0,
            r#type: &event.kind,
            entity_id: event.entity_id.as_deref(),
            actor: event.actor.as_deref(),
            payload: &event.payload,
            previous: event.previous.as_deref(),
            trace_id: event.trace_id.as_deref(),
            origin: event.origin.as_deref(),
            created_at: &event.created_at,
        }
    }
}

/// Encodes a batch. Each event is turned into JSON once and copied once.
pub(crate) fn encode_batch(batch: &Batch) -> Encoded {
    let edge: Option<Arc<str>> = batch.edge().map(|edge| edge.to_string().into());
    let payload_bytes: usize = batch
        .events
        .iter()
        .map(|event| event.payload.get().len())
        .sum();
    let mut frames = Vec::with_capacity(payload_bytes + batch.events.len() * EVENT_OVERHEAD_BYTES);
    let mut scratch = Vec::new();
    let mut events = Vec::with_capacity(batch.events.len());
    for (n, event) in batch.events.iter().enumerate() {
        let last = n + 1 == batch.events.len();
        let frame = EventFrame {
            r#type: "event",
            channels: event.channels.iter().collect(),
            event: event.as_ref().into(),
            cursor: edge.as_deref().filter(|_| last),
        };
        scratch.clear();
        write_json(&mut scratch, &frame);
        let start = frames.len();
        push_text_frame(&mut frames, &scratch);
        events.push(EncodedEvent {
            range: start..frames.len(),
            channels: event.channels.clone(),
        });
    }
    let cursor_frame = edge
        .as_deref()
        .map_or_else(Bytes::new, |cursor| ServerFrame::Cursor { cursor }.encode());
    Encoded {
        frames: frames.into(),
        events,
        cursor_frame,
        edge,
        reset: batch.reset,
    }
}

/// Encodes an event that is no row.
pub(crate) fn encode_ephemeral(channel: &str, event: &RawValue) -> Bytes {
    #[derive(Serialize)]
    struct EphemeralFrame<'a> {
        r#type: &'static str,
        channels: [&'a str; 1],
        event: &'a RawValue,
    }
    text_frame(&json(&EphemeralFrame {
        r#type: "event",
        channels: [channel],
        event,
    }))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_json(&mut bytes, value);
    bytes
}

fn write_json(bytes: &mut Vec<u8>, value: &impl Serialize) {
    // Serializing fails on maps with keys that are no texts, and writing into memory does not fail.
    serde_json::to_writer(bytes, value).expect("frames are structs of texts and numbers");
}
