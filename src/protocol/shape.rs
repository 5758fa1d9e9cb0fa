//! `Shape`: how a frame is put on the wire. The JSON in it is the same in all of them.

use bytes::Bytes;
use serde::Deserialize;

use super::frame::text_frame;
use super::server::json;

/// How frames are put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// Text frames of a WebSocket.
    #[default]
    WebSocket,
    /// Server-sent events: events of the feed are messages, everything else has a name of its own.
    Sse,
    /// The same, but each event of the feed is named by its type.
    SseNamed,
}

impl Shape {
    pub(crate) const COUNT: usize = 3;

    /// A frame that is no event of the feed.
    pub(crate) fn control(self, name: &str, json: &[u8], cursor: Option<&str>) -> Bytes {
        if self == Self::WebSocket {
            return text_frame(json);
        }
        let mut frame = Vec::with_capacity(json.len() + 64);
        push_message(&mut frame, Some(name), json, cursor);
        frame.into()
    }

    /// An event of the feed, be it no row.
    pub(crate) fn event(self, json: &[u8]) -> Bytes {
        if self == Self::WebSocket {
            return text_frame(json);
        }
        let mut frame = Vec::with_capacity(json.len() + 64);
        self.push_event(&mut frame, json, None);
        frame.into()
    }

    /// A position alone.
    pub(crate) fn cursor(self, cursor: &str) -> Bytes {
        #[derive(serde::Serialize)]
        struct CursorFrame<'a> {
            r#type: &'static str,
            cursor: &'a str,
        }
        match self {
            Self::WebSocket => text_frame(&json(&CursorFrame {
                r#type: "cursor",
                cursor,
            })),
            // Without data it makes no message, and yet is what a browser sends back as Last-Event-ID.
            Self::Sse | Self::SseNamed => format!("id: {cursor}\n\n").into(),
        }
    }

    /// Something that says nothing: a comment, or a position that is not there.
    pub(crate) fn nothing(self) -> Bytes {
        match self {
            Self::WebSocket => Bytes::new(),
            Self::Sse | Self::SseNamed => Bytes::from_static(b":\n\n"),
        }
    }

    /// Appends an event of the feed as a server-sent event.
    pub(super) fn push_event(self, frames: &mut Vec<u8>, json: &[u8], cursor: Option<&str>) {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            event: Typed<'a>,
        }
        #[derive(Deserialize)]
        struct Typed<'a> {
            #[serde(borrow)]
            r#type: std::borrow::Cow<'a, str>,
        }
        // An event that is no row may have no type; then it is a message.
        let named = (self == Self::SseNamed)
            .then(|| serde_json::from_slice::<Named<'_>>(json).ok())
            .flatten();
        let name = named.as_ref().map(|named| &*named.event.r#type);
        push_message(
            frames,
            name.filter(|name| !name.contains(['\n', '\r'])),
            json,
            cursor,
        );
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
        let json = b"{\"type\":\"event\",\"event\":{\"type\":\"task.created\",\n\"payload\":1}}";
        let mut frames = Vec::new();
        Shape::SseNamed.push_event(&mut frames, json, Some("abc"));
        Shape::Sse.push_event(&mut frames, b"{}", None);
        assert_eq!(
            String::from_utf8(frames).expect("text"),
            "id: abc\nevent: task.created\ndata: {\"type\":\"event\",\"event\":{\"type\":\"task.created\",\n\
             data: \"payload\":1}}\n\ndata: {}\n\n"
        );
        assert_eq!(&Shape::Sse.cursor("abc")[..], b"id: abc\n\n");
        assert_eq!(
            &Shape::Sse.control("reset", b"{}", Some("x"))[..],
            b"id: x\nevent: reset\ndata: {}\n\n"
        );
    }
}
