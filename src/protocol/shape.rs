//! `Shape`: how frames are put on the wire: as text frames or server-sent events, in the default protocol or by a preset.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::CloseCode;
use super::client::{ClientFrame, Refusal};
use super::deflate::push_deflated;
use super::frame::{push_text_frame, text_frame};
use super::preset::{DEFAULT_PRESET, Preset, Presets, View};
use super::row::push_row;
use super::server::{ServerFrame, json};
use crate::event::{Channels, Event};

/// How frames are put on the wire. Cheap to clone.
#[derive(Clone)]
pub struct Shape(Arc<Inner>);

struct Inner {
    /// Its place among all.
    number: usize,
    /// That of the shape in which its frames are before they are compressed: another one, or itself.
    encoding: usize,
    framing: Framing,
    /// None: the default protocol.
    preset: Option<Arc<Preset>>,
    connections: AtomicUsize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Text frames of a WebSocket.
    WebSocket,
    /// Server-sent events: events of the feed are messages, everything else has a name of its own.
    Sse,
    /// The same, but each event of the feed is named by its type.
    SseNamed,
}

/// All shapes that clients of a hub may have.
pub(crate) struct Shapes {
    /// Those that are not compressed, and after them those that are.
    all: Vec<Shape>,
    plain: usize,
}

impl Shapes {
    /// Those of the default protocol, and one for each preset; with `compression`, WebSockets have each twice.
    pub fn new(presets: &Presets, compression: bool) -> Self {
        let framings = [Framing::WebSocket, Framing::Sse, Framing::SseNamed];
        let default = framings.map(|framing| (framing, None));
        let others = presets
            .all()
            .filter(|preset| preset.name != DEFAULT_PRESET || !preset.is_plain())
            .map(|preset| (Framing::WebSocket, Some(Arc::clone(preset))));
        let plain: Vec<_> = default.into_iter().chain(others).enumerate().collect();
        let deflated = plain
            .iter()
            .filter(|(_, (framing, _))| compression && *framing == Framing::WebSocket);
        let all = plain.iter().chain(deflated).enumerate();
        let all = all.map(|(number, (encoding, (framing, preset)))| {
            Shape(Arc::new(Inner {
                number,
                encoding: *encoding,
                framing: *framing,
                preset: preset.clone(),
                connections: AtomicUsize::new(0),
            }))
        });
        Self {
            all: all.collect(),
            plain: plain.len(),
        }
    }

    /// How many of them are not compressed.
    pub fn plain(&self) -> usize {
        self.plain
    }

    /// The same shape compressed, where that is to be had.
    pub fn deflated(&self, shape: &Shape) -> Option<&Shape> {
        let mut deflated = self.all[self.plain..].iter();
        deflated.find(|deflated| deflated.encoding() == shape.encoding())
    }

    /// The default protocol over a WebSocket.
    pub fn web_socket(&self) -> &Shape {
        &self.all[0]
    }

    /// The default protocol as server-sent events, whose names are types of events or not.
    pub fn sse(&self, named: bool) -> &Shape {
        &self.all[if named { 2 } else { 1 }]
    }

    /// That of a preset, if there is one of this name.
    pub fn of_preset(&self, name: &str) -> Option<&Shape> {
        let mut all = self.all.iter();
        let is_meant = |shape: &&Shape| shape.preset().is_some_and(|own| own.name == name);
        match all.find(is_meant) {
            None if name == DEFAULT_PRESET => Some(self.web_socket()),
            found => found,
        }
    }

    /// That which clients ask for by a subprotocol.
    pub fn of_subprotocol(&self, subprotocol: &str) -> Option<&Shape> {
        let mut all = self.all.iter();
        let is_meant = |shape: &&Shape| {
            shape
                .preset()
                .is_some_and(|own| own.subprotocol.as_deref() == Some(subprotocol))
        };
        all.find(is_meant)
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Those that some connection has.
    pub fn in_use(&self) -> impl Iterator<Item = &Shape> {
        let is_used = |shape: &&Shape| shape.0.connections.load(Ordering::Relaxed) > 0;
        self.all.iter().filter(is_used)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let preset = self.preset().map(|preset| &preset.name);
        let how = if self.is_deflated() { ", deflated" } else { "" };
        write!(f, "Shape({:?}, {preset:?}{how})", self.0.framing)
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Shape {
    /// Its place among all.
    pub(crate) fn number(&self) -> usize {
        self.0.number
    }

    /// The place of the shape in which its frames are before they are compressed.
    pub(super) fn encoding(&self) -> usize {
        self.0.encoding
    }

    pub(crate) fn is_web_socket(&self) -> bool {
        self.0.framing == Framing::WebSocket
    }

    /// Whether its clients take compressed messages, and may send them.
    pub(crate) fn is_deflated(&self) -> bool {
        self.0.encoding != self.0.number
    }

    pub(crate) fn preset(&self) -> Option<&Preset> {
        self.0.preset.as_deref()
    }

    /// Reads a message of a client. None: nothing comes of it.
    pub(crate) fn read(&self, text: &str) -> Result<Option<ClientFrame>, Refusal> {
        match self.preset() {
            None => ClientFrame::parse(text).map(Some),
            Some(preset) => preset.read(text),
        }
    }

    /// Whether a client can say who it is after the handshake.
    pub(crate) fn has_hello(&self) -> bool {
        self.preset().is_none_or(Preset::has_hello)
    }

    /// Whether a client can subscribe by a message.
    pub(crate) fn has_subscribe(&self) -> bool {
        self.preset().is_none_or(Preset::has_subscribe)
    }

    /// Whether clients understand that they have to refetch. Otherwise they have to be closed, which they do.
    pub(crate) fn has_reset(&self) -> bool {
        self.preset().is_none_or(Preset::has_reset)
    }

    /// The number to close with.
    pub(crate) fn close_number(&self, code: CloseCode) -> u16 {
        self.preset()
            .map_or(code.number(), |preset| preset.close_number(code))
    }

    /// A connection has it from now on.
    pub(crate) fn enter(&self) {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection that had it is gone.
    pub(crate) fn leave(&self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// A frame that is no event of the feed.
    pub(crate) fn control(&self, frame: &ServerFrame<'_>) -> Bytes {
        if let Some(preset) = self.preset() {
            let mut frames = Vec::new();
            if !preset.control(frame, &mut |json| push_text_frame(&mut frames, json)) {
                return frames.into();
            }
        }
        let json = json(frame);
        if self.is_web_socket() {
            return text_frame(&json);
        }
        let mut message = Vec::with_capacity(json.len() + 64);
        push_message(&mut message, Some(frame.of().name()), &json, frame.cursor());
        message.into()
    }

    /// A message for everybody, which is a frame as it stands.
    pub(crate) fn message(&self, json: &[u8]) -> Bytes {
        if self.is_web_socket() {
            return self.deflate(text_frame(json));
        }
        let mut message = Vec::with_capacity(json.len() + 64);
        push_message(&mut message, None, json, None);
        message.into()
    }

    /// An event that is no row. Not every member has to be there that a row has.
    pub(crate) fn ephemeral(&self, channel: &str, event: &RawValue) -> Bytes {
        self.deflate(self.encode_ephemeral(channel, event))
    }

    /// Frames as its clients are sent them. Answers are not worth it: they are short, and each client has its own.
    fn deflate(&self, frames: Bytes) -> Bytes {
        if !self.is_deflated() {
            return frames;
        }
        let mut deflated = Vec::with_capacity(frames.len());
        push_deflated(&mut deflated, &frames, |_, _| {});
        deflated.into()
    }

    fn encode_ephemeral(&self, channel: &str, event: &RawValue) -> Bytes {
        #[derive(serde::Serialize)]
        struct EphemeralFrame<'a> {
            r#type: &'static str,
            channels: [&'a str; 1],
            event: &'a RawValue,
        }
        if let Some(preset) = self.preset() {
            let mut frames = Vec::new();
            // The channel of a user is none, where its id makes no name.
            let channels = Channels::parse(channel).unwrap_or_else(|_| Channels::of_users());
            let push = |_: Option<&str>, json: &[u8]| push_text_frame(&mut frames, json);
            if !preset.event(&View::ephemeral(event), &channels, None, push) {
                return frames.into();
            }
        }
        let json = json(&EphemeralFrame {
            r#type: "event",
            channels: [channel],
            event,
        });
        let mut frame = Vec::with_capacity(json.len() + 64);
        let kind = (self.0.framing == Framing::SseNamed)
            .then(|| View::ephemeral(event).named().map(str::to_owned))
            .flatten();
        self.push(&mut frame, kind.as_deref(), &json, None);
        frame.into()
    }

    /// A position alone.
    pub(crate) fn cursor(&self, cursor: &str) -> Bytes {
        #[derive(serde::Serialize)]
        struct CursorFrame<'a> {
            r#type: &'static str,
            cursor: &'a str,
        }
        if !self.is_web_socket() {
            // Without data it makes no message, and yet is what a browser sends back as Last-Event-ID.
            return format!("id: {cursor}\n\n").into();
        }
        let own = self.preset().and_then(|preset| preset.cursor(cursor));
        let json = own.unwrap_or_else(|| {
            json(&CursorFrame {
                r#type: "cursor",
                cursor,
            })
        });
        if json.is_empty() {
            return Bytes::new();
        }
        text_frame(&json)
    }

    /// Something that says nothing: a comment, or a position that is not there.
    pub(crate) fn nothing(&self) -> Bytes {
        if self.is_web_socket() {
            Bytes::new()
        } else {
            Bytes::from_static(b":\n\n")
        }
    }

    /// Appends the frames of a row. `part` is told of each that is about one channel where its end is. `scratch` is
    /// reused between calls.
    pub(super) fn push_event(
        &self,
        frames: &mut Vec<u8>,
        event: &Event,
        cursor: Option<&str>,
        scratch: &mut Vec<u8>,
        mut part: impl FnMut(usize),
    ) {
        if let Some(preset) = self.preset() {
            let push = |channel: Option<&str>, json: &[u8]| {
                push_text_frame(frames, json);
                if channel.is_some() {
                    part(frames.len());
                }
            };
            if !preset.event(&View::of(event), &event.channels, cursor, push) {
                return;
            }
        }
        scratch.clear();
        push_row(scratch, event, cursor);
        let kind = (self.0.framing == Framing::SseNamed).then_some(&*event.kind);
        self.push(frames, kind, scratch, cursor);
    }

    fn push(&self, frames: &mut Vec<u8>, kind: Option<&str>, json: &[u8], cursor: Option<&str>) {
        if self.is_web_socket() {
            push_text_frame(frames, json);
        } else {
            let kind = kind.filter(|kind| !kind.contains(['\n', '\r']));
            push_message(frames, kind, json, cursor);
        }
    }
}

/// Appends a message as the HTML standard has it (section 9.2). A payload may have line ends, which JSON takes for spaces.
fn push_message(frames: &mut Vec<u8>, name: Option<&str>, json: &[u8], cursor: Option<&str>) {
    if let Some(cursor) = cursor {
        frames.extend(b"id: ");
        frames.extend(cursor.as_bytes());
        frames.push(b'\n');
    }
    if let Some(name) = name {
        frames.extend(b"event: ");
        frames.extend(name.as_bytes());
        frames.push(b'\n');
    }
    for line in json.split(|&byte| byte == b'\n' || byte == b'\r') {
        frames.extend(b"data: ");
        frames.extend(line);
        frames.push(b'\n');
    }
    frames.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_position_its_name_and_its_lines() {
        let shapes = Shapes::new(&Presets::default(), false);
        let json = b"{\"type\":\"event\",\"event\":{\"type\":\"task.created\",\n\"payload\":1}}";
        let mut frames = Vec::new();
        let named = shapes.sse(true);
        named.push(&mut frames, Some("task.created"), json, Some("abc"));
        shapes.sse(false).push(&mut frames, None, b"{}", None);
        assert_eq!(
            String::from_utf8(frames).expect("text"),
            "id: abc\nevent: task.created\ndata: {\"type\":\"event\",\"event\":{\"type\":\"task.created\",\n\
             data: \"payload\":1}}\n\ndata: {}\n\n"
        );
        assert_eq!(&shapes.sse(false).cursor("abc")[..], b"id: abc\n\n");
        let heartbeat = ServerFrame::Heartbeat { cursor: Some("x") };
        assert_eq!(
            &heartbeat.encode(shapes.sse(false))[..],
            b"id: x\nevent: heartbeat\ndata: {\"type\":\"heartbeat\",\"cursor\":\"x\"}\n\n"
        );
    }
}
