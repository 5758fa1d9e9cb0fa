//! A batch of events, encoded once for each shape that anybody receives it in.

use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::deflated::Deflated;
use super::frame::text_of;
use super::{Shape, Shapes};
use crate::cursor::{Cursor, Position};
use crate::event::Event;
use crate::stats::Counters;
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
    /// The events, in the order of their frames, and the positions around them.
    pub batch: Arc<Batch>,
    /// The position after the batch, as text. The last event's frame has it too.
    pub edge: Arc<str>,
    /// When the oldest of the events was created, by the clock of the database.
    pub oldest: Option<SystemTime>,
    /// Its frames in each shape, made when first asked for.
    shaped: Box<[OnceLock<Shaped>]>,
    /// The same compressed, in the shapes that are.
    deflated: Box<[OnceLock<Deflated>]>,
    /// What it takes of memory, once that was asked for.
    bytes: OnceLock<usize>,
    counters: Arc<Counters>,
}

/// The frames of a batch in one shape.
#[derive(Debug)]
pub(crate) struct Shaped {
    /// The frames of all events, back to back.
    pub frames: Bytes,
    /// Where in it each event is.
    ranges: Vec<Range<usize>>,
    /// Of events on several channels, of which receivers get those they subscribe to: where each channel's frame ends.
    parts: Vec<(u32, Vec<usize>)>,
    /// For receivers of some of the batch, but not of its last event: that one alone has the position.
    cursor_frame: Bytes,
}

impl Encoded {
    /// A batch that nobody has asked for yet.
    pub fn new(batch: Arc<Batch>, shapes: &Shapes, counters: Arc<Counters>) -> Self {
        let oldest = batch.events.iter().map(|event| &*event.created_at).min();
        Self {
            edge: batch.upto.to_string().into(),
            oldest: oldest.and_then(|time| humantime::parse_rfc3339(time).ok()),
            shaped: (0..shapes.plain()).map(|_| OnceLock::new()).collect(),
            deflated: (shapes.plain()..shapes.len())
                .map(|_| OnceLock::new())
                .collect(),
            bytes: OnceLock::new(),
            counters,
            batch,
        }
    }

    /// The frames in a shape, before they are compressed.
    pub fn shaped(&self, shape: &Shape) -> &Shaped {
        self.shaped[shape.encoding()].get_or_init(|| self.encode(shape))
    }

    /// Makes what can be made before it is known who receives what.
    pub fn prepare(&self, shape: &Shape) {
        self.shaped(shape);
        self.deflated(shape);
    }

    /// What is compressed, in a shape that is.
    fn deflated(&self, shape: &Shape) -> Option<&Deflated> {
        let number = shape.number().checked_sub(self.shaped.len())?;
        Some(self.deflated[number].get_or_init(|| Deflated::of(self.shaped(shape))))
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The position after its nth event. None where its events are all that can be told of what was before `upto`.
    pub fn position_after(&self, n: u32) -> Option<Cursor> {
        let Batch { after, upto, .. } = &*self.batch;
        let id = self.batch.events.get(n as usize)?.id;
        match (after, &upto.position) {
            (Some(before), _) if before.epoch != upto.epoch => None,
            (Some(before), _) => Some(upto.within_window_after(before, id)),
            // It has both ends of the window.
            (None, Position::Id(_) | Position::Within(_)) => {
                Some(upto.within_window_after(upto, id))
            }
            (None, Position::Snapshot(_)) => None,
        }
    }

    /// Copies the frames of these events in a shape, and the position where the last of them does not have it. Server-sent
    /// events have positions in between too, wherever there was none for a while. A WebSocket does not: its client may ask
    /// for its channels one by one, and a position that it has by one of them before the next is asked for would be behind
    /// events of that one. Where each channel has a frame of its own, `wants` says which.
    pub fn copy(
        &self,
        shape: &Shape,
        events: impl Iterator<Item = u32>,
        wants: impl Fn(&str) -> bool,
        to: &mut Vec<u8>,
    ) {
        if let Some(deflated) = self.deflated(shape) {
            return self.copy_deflated(shape, deflated, events, wants, to);
        }
        let shaped = self.shaped(shape);
        if shape.is_web_socket() && shaped.is_same_for_any() {
            shaped.copy_whole(events, to);
            return;
        }
        let mut events = events.peekable();
        let mut positioned = to.len();
        while let Some(event) = events.next() {
            let n = event as usize;
            let range = shaped.ranges[n].clone();
            match shaped.parts_of(event) {
                None => to.extend(&shaped.frames[range]),
                Some(ends) => {
                    let mut start = range.start;
                    for (channel, &end) in self.batch.events[n].channels.iter().zip(ends) {
                        if wants(channel) {
                            to.extend(&shaped.frames[start..end]);
                        }
                        start = end;
                    }
                }
            }
            if n + 1 == self.batch.events.len() {
                return;
            }
            if events.peek().is_none() {
                to.extend(&shaped.cursor_frame);
            } else if !shape.is_web_socket()
                && to.len() - positioned >= BYTES_WITHOUT_POSITION_MAX
                && let Some(position) = self.position_after(event)
            {
                to.extend(&shape.cursor(&position.to_string()));
                positioned = to.len();
            }
        }
    }

    /// Bytes of memory that it takes, roughly, in the shapes that it has when this is asked first, or in one.
    pub fn bytes(&self) -> usize {
        *self.bytes.get_or_init(|| {
            let events: usize = self.batch.events.iter().map(bytes_of).sum();
            let shaped = self.shaped.iter().filter_map(OnceLock::get);
            let frames: usize = shaped.map(|shaped| shaped.frames.len()).sum();
            let deflated = self.deflated.iter().filter_map(OnceLock::get);
            let deflated: usize = deflated.map(|deflated| deflated.bytes_max).sum();
            BATCH_OVERHEAD_BYTES + events + frames.max(events) + deflated
        })
    }

    /// Whether whoever is at `cursor` has an event of this batch.
    pub fn is_covered(&self, event: &Event, cursor: &Cursor) -> bool {
        // Ids of transactions mean something else in another epoch.
        self.batch.upto.epoch == cursor.epoch && cursor.covers(event.id, event.transaction)
    }

    /// Turns each event into JSON once, and copies it once.
    fn encode(&self, shape: &Shape) -> Shaped {
        let events = &self.batch.events;
        let payload_bytes: usize = events.iter().map(|event| event.payload.get().len()).sum();
        let mut frames = Vec::with_capacity(payload_bytes + events.len() * EVENT_OVERHEAD_BYTES);
        let mut scratch = Vec::with_capacity(2 * EVENT_OVERHEAD_BYTES);
        let mut ranges = Vec::with_capacity(events.len());
        let mut parts = Vec::new();
        for (n, event) in events.iter().enumerate() {
            let start = frames.len();
            let cursor = (n + 1 == events.len()).then_some(&*self.edge);
            let mut ends = Vec::new();
            shape.push_event(&mut frames, event, cursor, &mut scratch, |end| {
                ends.push(end);
            });
            ranges.push(start..frames.len());
            if ends.len() > 1 {
                parts.push((n as u32, ends));
            }
        }
        self.counters.events_encoded.add(events.len() as u64);
        Shaped {
            frames: frames.into(),
            ranges,
            parts,
            cursor_frame: shape.cursor(&self.edge),
        }
    }
}

/// Bytes of memory that an event takes.
fn bytes_of(event: &Arc<Event>) -> usize {
    let json = |json: &RawValue| json.get().len();
    size_of::<Event>()
        + json(&event.payload)
        + event.previous.as_deref().map_or(0, json)
        + event.channels.as_str().len()
        + EVENT_OVERHEAD_BYTES
}

impl Shaped {
    /// The JSON of an event; of text frames.
    pub fn text(&self, n: u32) -> Box<RawValue> {
        let text = text_of(&self.frames[self.ranges[n as usize].clone()]);
        let text = String::from_utf8(text.to_vec()).expect("frames are texts");
        RawValue::from_string(text).expect("frames are JSON")
    }

    /// How many events there are.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The frames of an event, and where they begin.
    pub(super) fn event(&self, n: u32) -> (&[u8], usize) {
        let range = self.ranges[n as usize].clone();
        (&self.frames[range.clone()], range.start)
    }

    /// For whoever does not receive the last event.
    pub(super) fn cursor_frame(&self) -> &[u8] {
        &self.cursor_frame
    }

    /// Whether all receivers of these events receive the same of them.
    pub fn is_same_for_all(&self, events: &[u32]) -> bool {
        self.is_same_for_any() || !events.iter().any(|&n| self.parts_of(n).is_some())
    }

    /// The same for all events there are.
    pub fn is_same_for_any(&self) -> bool {
        self.parts.is_empty()
    }

    /// Copies whole frames, neighbours in one go, and the position where the last of them does not have it.
    fn copy_whole(&self, events: impl Iterator<Item = u32>, to: &mut Vec<u8>) {
        let (mut run, mut last) = (0..0, None);
        events.for_each(|event| {
            let frame = &self.ranges[event as usize];
            if frame.start != run.end {
                to.extend_from_slice(&self.frames[run.clone()]);
                run.start = frame.start;
            }
            run.end = frame.end;
            last = Some(event);
        });
        to.extend_from_slice(&self.frames[run]);
        if last.is_some_and(|last| last as usize + 1 < self.ranges.len()) {
            to.extend_from_slice(&self.cursor_frame);
        }
    }

    /// The frames of these events as a part of the whole, where they are one and have the position with them.
    pub fn contiguous(&self, events: &[u32]) -> Option<Bytes> {
        let (&first, &last) = (events.first()?, events.last()?);
        let is_part = (last - first) as usize + 1 == events.len();
        let has_position = last as usize + 1 == self.ranges.len() || self.cursor_frame.is_empty();
        (is_part && has_position).then(|| {
            let (start, end) = (&self.ranges[first as usize], &self.ranges[last as usize]);
            self.frames.slice(start.start..end.end)
        })
    }

    /// Where the frames of an event end that has one for each channel.
    pub(super) fn parts_of(&self, event: u32) -> Option<&[usize]> {
        let found = self.parts.binary_search_by_key(&event, |(n, _)| *n).ok()?;
        Some(&self.parts[found].1)
    }
}
