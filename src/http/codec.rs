//! `Codec`: what reads the messages of a client. Made when one begins, and dropped when it has ended.

use std::io;

use tungstenite::Message;
use tungstenite::error::{CapacityError, Error as WsError};
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use super::marks::{Marks, Unmarked};
use super::wire::Wire;
use crate::protocol::{InflateError, inflate};

/// What the codec copies at a time of what was read. Clients say little: most frames fit.
const CODEC_BUFFER_BYTES: usize = 256;

/// Bytes on the wire for one byte of a message, at most: a fragment of one byte has a head of six, and there may be some
/// without any. Who sends more does not mean to end the message.
const WIRE_BYTES_PER_BYTE_MAX: usize = 8;

/// Most bytes of a frame with a ping, a pong or a close (RFC 6455, sections 5.2 and 5.5).
const CONTROL_FRAME_BYTES_MAX: usize = 131;

/// Tells a client what is wrong with a message.
const NOT_DEFLATED: &str = "what a compressed message has is no DEFLATE data";

/// What reads the messages of a client, and how far it is.
pub(super) struct Codec {
    context: WebSocketContext,
    /// Which messages are compressed, where that was agreed on. None are noted where none has begun.
    marks: Option<Marks>,
    /// Bytes read for a message that is not whole yet.
    unfinished_bytes: usize,
    /// Bytes read, less those that the messages which came of them have at least. None are left: nothing has begun.
    excess_bytes: usize,
}

impl Codec {
    pub fn new(message_bytes_max: usize, is_deflated: bool) -> Self {
        Self {
            context: context(message_bytes_max),
            marks: is_deflated.then(Marks::default),
            unfinished_bytes: 0,
            excess_bytes: 0,
        }
    }

    /// Whether neither side has begun to say goodbye.
    pub fn is_open(&self) -> bool {
        self.context.can_write()
    }

    /// Whether no message has begun, so that a new codec would go on as well.
    pub fn is_between_messages(&self) -> bool {
        self.excess_bytes == 0
    }

    /// Says goodbye.
    pub fn close(&mut self, wire: &mut Wire<'_>, frame: Option<CloseFrame>) -> Result<(), WsError> {
        self.context.close(wire, frame)
    }

    /// The next message, as far as there is one in what was read.
    pub fn read(&mut self, wire: &mut Wire<'_>) -> Result<Message, WsError> {
        let read = match &mut self.marks {
            None => self.context.read(wire),
            Some(marks) => self.context.read(&mut Unmarked { wire, marks }),
        };
        let read_bytes = std::mem::take(&mut wire.read_bytes);
        self.unfinished_bytes += read_bytes;
        self.excess_bytes += read_bytes;
        match read {
            Ok(message) => {
                // The codec may make up a reason for a close, but that is the last.
                let least = frame_bytes_min(message.len());
                self.excess_bytes = self.excess_bytes.saturating_sub(least);
                self.unfinished_bytes = if message.is_text() || message.is_binary() {
                    0
                } else {
                    // It may stand between the fragments of another.
                    self.unfinished_bytes
                        .saturating_sub(CONTROL_FRAME_BYTES_MAX)
                };
                match &mut self.marks {
                    None => Ok(message),
                    Some(marks) => unpacked(message, marks, &self.context),
                }
            }
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                let limit = self.unfinished_bytes_max();
                if self.unfinished_bytes > limit {
                    Err(endless(limit))
                } else {
                    Err(WsError::Io(error))
                }
            }
            Err(error) => Err(error),
        }
    }

    /// How many bytes there may be of a message that is not whole.
    fn unfinished_bytes_max(&self) -> usize {
        let message_bytes_max = self.context.get_config().max_message_size;
        message_bytes_max.map_or(usize::MAX, |max| {
            max.saturating_mul(WIRE_BYTES_PER_BYTE_MAX)
        })
    }
}

/// How many bytes a message takes at least, in one frame with a mask (RFC 6455, section 5.2).
fn frame_bytes_min(message_bytes: usize) -> usize {
    let length_bytes = match message_bytes {
        0..126 => 0,
        126..65536 => 2,
        _ => 8,
    };
    2 + length_bytes + 4 + message_bytes
}

/// What reads and writes frames, for a connection whose messages have at most so many bytes.
pub(super) fn context(message_bytes_max: usize) -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(CODEC_BUFFER_BYTES)
        // Whatever the codec sends goes out at once.
        .write_buffer_size(0)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    WebSocketContext::new(Role::Server, Some(config))
}

/// A message as it was before it was compressed, if it was.
pub(super) fn unpacked(
    message: Message,
    marks: &mut Marks,
    context: &WebSocketContext,
) -> Result<Message, WsError> {
    let is_data = message.is_text() || message.is_binary();
    if !is_data || !marks.next() {
        return Ok(message);
    }
    let max_size = context.get_config().max_message_size.unwrap_or(usize::MAX);
    let text = inflate(&message.into_data(), max_size).map_err(|error| match error {
        InflateError::TooLong => WsError::Capacity(CapacityError::MessageTooLong {
            size: max_size.saturating_add(1),
            max_size,
        }),
        InflateError::Invalid => WsError::Utf8(NOT_DEFLATED.to_owned()),
    })?;
    let text = String::from_utf8(text).map_err(|error| WsError::Utf8(error.to_string()))?;
    Ok(Message::text(text))
}

/// A message whose fragments do not end.
fn endless(bytes: usize) -> WsError {
    WsError::Capacity(CapacityError::MessageTooLong {
        size: bytes,
        max_size: bytes / WIRE_BYTES_PER_BYTE_MAX,
    })
}

#[cfg(test)]
mod tests {
    use super::super::outbox::Outbox;
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..126 => frame.push(0x80 | length as u8),
            length => {
                frame.push(0xfe);
                frame.extend((length as u16).to_be_bytes());
            }
        }
        // A mask of zeros.
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn what_has_begun_is_kept_wherever_it_is_cut_and_nothing_is_between_messages() {
        let long = vec![b'x'; 300];
        let whole = [frame(0x81, b"one"), frame(0x89, b"?"), frame(0x81, &long)];
        let parts = [
            frame(0x01, b"a"),
            frame(0x89, b""),
            frame(0x80, b"b"),
            frame(0x8a, b""),
        ];
        let bytes = [whole.concat(), parts.concat()].concat();
        let outbox = Outbox::new(None, None, 1024);
        let mut ends = vec![0];
        ends.extend(whole.iter().scan(0, |end, frame| {
            *end += frame.len();
            Some(*end)
        }));
        for (cut, is_deflated) in (0..=bytes.len()).flat_map(|cut| [(cut, false), (cut, true)]) {
            let mut codec = None;
            let mut found = Vec::new();
            for piece in [&bytes[..cut], &bytes[cut..]] {
                let mut wire = Wire::new(piece, false, &outbox);
                let own = codec.get_or_insert_with(|| Codec::new(1024, is_deflated));
                while let Ok(message) = own.read(&mut wire) {
                    found.push(message);
                }
                if piece.len() == cut {
                    let is_between = own.is_between_messages();
                    assert_eq!(is_between, ends.contains(&cut), "cut at {cut}");
                }
                codec.take_if(|codec| codec.is_between_messages());
            }
            let texts: Vec<_> = found.iter().filter_map(|one| one.to_text().ok()).collect();
            let long = str::from_utf8(&long).expect("text");
            assert_eq!(texts, ["one", "?", long, "", "ab", ""], "cut at {cut}");
        }
    }
}
