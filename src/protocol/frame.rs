//! A text as a complete WebSocket frame of a server: not masked, not fragmented (RFC 6455, section 5.2).

use bytes::Bytes;

/// The whole of a text message.
const FIN_TEXT: u8 = 0x81;

/// The same, compressed (RFC 7692, section 6): RSV1 is set.
const FIN_TEXT_DEFLATED: u8 = 0xc1;

/// Appends the frame to `frames`.
pub(crate) fn push_text_frame(frames: &mut Vec<u8>, text: &[u8]) {
    push_frame(frames, FIN_TEXT, text);
}

/// Appends the frame of a text that is compressed.
pub(super) fn push_deflated_frame(frames: &mut Vec<u8>, deflated: &[u8]) {
    push_frame(frames, FIN_TEXT_DEFLATED, deflated);
}

fn push_frame(frames: &mut Vec<u8>, first: u8, payload: &[u8]) {
    frames.push(first);
    match payload.len() {
        short @ 0..126 => frames.push(short as u8),
        medium @ 126..=0xffff => {
            frames.push(126);
            frames.extend((medium as u16).to_be_bytes());
        }
        long => {
            frames.push(127);
            frames.extend((long as u64).to_be_bytes());
        }
    }
    frames.extend(payload);
}

/// The frame alone.
pub(crate) fn text_frame(text: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(text.len() + 10);
    push_text_frame(&mut frame, text);
    frame.into()
}

/// The text of such a frame.
pub(super) fn text_of(frame: &[u8]) -> &[u8] {
    match frame[1] {
        127 => &frame[10..],
        126 => &frame[4..],
        _ => &frame[2..],
    }
}

/// The texts of such frames, back to back, and where each of them ends.
pub(super) fn texts_of(frames: &[u8]) -> impl Iterator<Item = (&[u8], usize)> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let length = match *rest.get(1)? {
            127 => u64::from_be_bytes(*rest[2..].first_chunk()?) as usize,
            126 => usize::from(u16::from_be_bytes(*rest[2..].first_chunk()?)),
            short => usize::from(short),
        };
        let text;
        (text, rest) = text_of(rest).split_at(length);
        Some((text, frames.len() - rest.len()))
    })
}
