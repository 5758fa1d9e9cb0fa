//! A text as a complete WebSocket frame of a server: not masked, not fragmented (RFC 6455, section 5.2).

use bytes::Bytes;

const FIN_TEXT: u8 = 0x81;

/// Appends the frame to `frames`.
pub(crate) fn push_text_frame(frames: &mut Vec<u8>, text: &[u8]) {
    frames.push(FIN_TEXT);
    match text.len() {
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
    frames.extend(text);
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
