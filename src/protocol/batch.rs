//! A batch of events, encoded once for each shape that anybody receives it in.

use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Shape;
use super::frame::push_text_frame;
use super::server::{json, write_json};
use crate::cursor::{Cursor, Position};
use crate::event::{Channels, Event, EventId};
use crate::tail::Batch;

/// Bytes of one event beside its payload: keys, names, times. A guess that saves growing the buffer.
const EVENT_OVERHEAD_BYTES: usize = 256;

/// Bytes of a batch beside its events: its positions, and what keeps them together.
const BATCH_OVERHEAD_BYTES: usize = 600;

/// Bytes of server-sent events without a position, at most, where they are copied for a receiver: a browser that is cut
/// off again and again on a poor line gets on by this much. A position has tens of bytes, and is encoded in less than the
/// copying of these takes.
const BYTES_WITHOUT_POSITION_MAX: usize = 4096;

/// A batch as every receiver gets it, in parts of which each receives its own.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// What the events are, in the order of their frames.
    pub events: Vec<EncodedEvent>,
    /// The position after the batch, as text. The last event's frame has it too.
    pub edge: Arc<str>,
    /// The position before the batch, where it has everything from there.
    pub after: Option<Cursor>,
    /// The position after the batch.
    pub upto: Cursor,
    /// When the oldest of the events was created, by the clock of the database.
    pub oldest: Option<SystemTime>,
    /// Whether receivers have to refetch their state first.
    pub reset: bool,
    /// Its text frames; other shapes are made of them when first asked for.
    websocket: Shaped,
    others: [OnceLock<Shaped>; Shape::COUNT - 1],
}

#[derive(Debug)]
pub(crate) struct EncodedEvent {
    pub id: EventId,
    pub transaction: Option<u64>,
    pub channels: Channels,
}

/// The frames of a batch in one shape.
#[derive(Debug)]
pub(crate) struct Shaped {
    /// The frames of all events, back to back.
    pub frames: Bytes,
    /// Where in it each event is.
    ranges: Vec<Range<usize>>,
    /// For receivers of some of the batch, but not of its last event: that one alone has the position.
    cursor_frame: Bytes,
}

impl Encoded {
    /// The frames in a shape.
    pub fn shaped(&self, shape: Shape) -> &Shaped {
        match (shape as usize).checked_sub(1) {
            None => &self.websocket,
            Some(other) => self.others[other].get_or_init(|| self.reshape(shape)),
        }
    }

    /// The position after its nth event. None where its events are all that can be told of what was before `upto`.
    pub fn position_after(&self, n: u32) -> Option<Cursor> {
        let id = self.events.get(n as usize)?.id;
        match (&self.after, &self.upto.position) {
            (Some(before), _) if before.epoch != self.upto.epoch => None,
            (Some(before), _) => Some(self.upto.within_window_after(before, id)),
            // It has both ends of the window.
            (None, Position::Id(_) | Position::Within(_)) => {
                Some(self.upto.within_window_after(&self.upto, id))
            }
            (None, Position::Snapshot(_)) => None,
        }
    }

    /// Copies the frames of these events in a shape, and the position where the last of them does not have it. Server-sent
    /// events have positions in between too, wherever there was none for a while. A WebSocket does not: its client may ask
    /// for its channels one by one, and a position that it has by one of them before the next is asked for would be behind
    /// events of that one.
    pub fn copy(&self, shape: Shape, events: impl Iterator<Item = u32>, to: &mut Vec<u8>) {
        let shaped = self.shaped(shape);
        let mut events = events.peekable();
        let mut positioned = to.len();
        while let Some(event) = events.next() {
            let n = event as usize;
            to.extend(&shaped.frames[shaped.ranges[n].clone()]);
            if n + 1 == self.events.len() {
                return;
            }
            if events.peek().is_none() {
                to.extend(&shaped.cursor_frame);
            } else if shape != Shape::WebSocket
                && to.len() - positioned >= BYTES_WITHOUT_POSITION_MAX
                && let Some(position) = self.position_after(event)
            {
                to.extend(&shape.cursor(&position.to_string()));
                positioned = to.len();
            }
        }
    }

    /// Bytes of memory that it takes, roughly.
    pub fn bytes(&self) -> usize {
        let events = self.events.iter();
        let names: usize = events.map(|event| event.channels.as_str().len()).sum();
        let each = size_of::<EncodedEvent>() + size_of::<Range<usize>>();
        BATCH_OVERHEAD_BYTES + self.websocket.frames.len() + names + self.events.len() * each
    }

    /// Whether whoever is at `cursor` has an event of this batch.
    pub fn is_covered(&self, event: &EncodedEvent, cursor: &Cursor) -> bool {
        // Ids of transactions mean something else in another epoch.
        self.upto.epoch == cursor.epoch && cursor.covers(event.id, event.transaction)
    }

    fn reshape(&self, shape: Shape) -> Shaped {
        let mut frames = Vec::with_capacity(self.websocket.frames.len());
        let mut ranges = Vec::with_capacity(self.events.len());
        for (n, range) in self.websocket.ranges.iter().enumerate() {
            let start = frames.len();
            let cursor = (n + 1 == self.events.len()).then_some(&*self.edge);
            let text = super::frame::text_of(&self.websocket.frames[range.clone()]);
            shape.push_event(&mut frames, text, cursor);
            ranges.push(start..frames.len());
        }
        Shaped {
            frames: frames.into(),
            ranges,
            cursor_frame: shape.cursor(&self.edge),
        }
    }
}

impl Shaped {
    /// The JSON of an event; of text frames.
    pub fn text(&self, n: u32) -> Box<RawValue> {
        let text = super::frame::text_of(&self.frames[self.ranges[n as usize].clone()]);
        let text = String::from_utf8(text.to_vec()).expect("frames are texts");
        RawValue::from_string(text).expect("frames are JSON")
    }

    /// The frames of these events as a part of the whole, where they are one and have the position with them.
    pub fn contiguous(&self, events: &[u32]) -> Option<Bytes> {
        let (&first, &last) = (events.first()?, events.last()?);
        let is_part = (last - first) as usize + 1 == events.len();
        (is_part && last as usize + 1 == self.ranges.len())
            .then(|| self.frames.slice(self.ranges[first as usize].start..))
    }
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
    let edge: Arc<str> = batch.upto.to_string().into();
    let payload_bytes: usize = batch
        .events
        .iter()
        .map(|event| event.payload.get().len())
        .sum();
    let mut frames = Vec::with_capacity(payload_bytes + batch.events.len() * EVENT_OVERHEAD_BYTES);
    let mut scratch = Vec::new();
    let mut events = Vec::with_capacity(batch.events.len());
    let mut ranges = Vec::with_capacity(batch.events.len());
    for (n, event) in batch.events.iter().enumerate() {
        let last = n + 1 == batch.events.len();
        let frame = EventFrame {
            r#type: "event",
            channels: event.channels.iter().collect(),
            event: event.as_ref().into(),
            cursor: last.then_some(&*edge),
        };
        scratch.clear();
        write_json(&mut scratch, &frame);
        let start = frames.len();
        push_text_frame(&mut frames, &scratch);
        ranges.push(start..frames.len());
        events.push(EncodedEvent {
            id: event.id,
            transaction: event.transaction,
            channels: event.channels.clone(),
        });
    }
    let oldest = batch.events.iter().map(|event| &*event.created_at).min();
    Encoded {
        oldest: oldest.and_then(|time| humantime::parse_rfc3339(time).ok()),
        websocket: Shaped {
            frames: frames.into(),
            ranges,
            cursor_frame: Shape::WebSocket.cursor(&edge),
        },
        others: Default::default(),
        events,
        edge,
        after: batch.after.clone(),
        upto: batch.upto.clone(),
        reset: batch.reset,
    }
}

/// An event that is no row, as JSON text.
pub(crate) fn ephemeral(channel: &str, event: &RawValue) -> Vec<u8> {
    #[derive(Serialize)]
    struct EphemeralFrame<'a> {
        r#type: &'static str,
        channels: [&'a str; 1],
        event: &'a RawValue,
    }
    json(&EphemeralFrame {
        r#type: "event",
        channels: [channel],
        event,
    })
}
