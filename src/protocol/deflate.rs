//! Messages compressed and inflated, each for itself (RFC 7692, section 7.2, without context takeover).

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::{push_deflated_frame, push_text_frame, texts_of};

/// How far back what is compressed refers, as a power of two: 4 KB. Of events of 16 and 64 KB it makes 1 to 2 % more than
/// 32 KB do, of smaller ones nothing; and there are clients that ask for no more.
pub(crate) const WINDOW_BITS: u8 = 12;

/// The least that codes letters by how often they occur. Level 1 makes 87 % of 487 bytes of JSON, this 67 %, 9 makes 66 %;
/// of 3 KB 54, 41 and 40 %, and 9 takes three times as long.
const LEVEL: u32 = 2;

/// Smaller messages stay as they are: 200 bytes of JSON become 155, which is no packet less for the receiver.
const TEXT_BYTES_MIN: usize = 256;

/// An empty block that is not compressed, which every compressed message ends with, and is sent without.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The last block of all, empty too: who reads as far has read whole blocks.
const END: [u8; 5] = [1, 0, 0, 0xff, 0xff];

/// Bytes for one byte of a message that are made room for at first.
const EXPANSION: usize = 4;

struct Deflater {
    state: Compress,
    deflated: Vec<u8>,
}

thread_local! {
    /// Its tables have some 200 KB. Making it anew for each message takes 6 microseconds more than clearing it.
    static DEFLATER: RefCell<Option<Deflater>> = const { RefCell::new(None) };
}

/// Appends text frames once more, each compressed where that makes it smaller. `end` is told where each of them ends,
/// before and after.
pub(super) fn push_deflated(to: &mut Vec<u8>, frames: &[u8], mut end: impl FnMut(usize, usize)) {
    DEFLATER.with_borrow_mut(|deflater| {
        let deflater = deflater.get_or_insert_with(|| Deflater {
            state: Compress::new_with_window_bits(Compression::new(LEVEL), false, WINDOW_BITS),
            deflated: Vec::new(),
        });
        for (text, before) in texts_of(frames) {
            match deflater.deflate(text) {
                Some(deflated) => push_deflated_frame(to, deflated),
                None => push_text_frame(to, text),
            }
            end(before, to.len());
        }
    });
}

impl Deflater {
    /// None where it would not get smaller.
    fn deflate(&mut self, text: &[u8]) -> Option<&[u8]> {
        if text.len() < TEXT_BYTES_MIN {
            return None;
        }
        let Self { state, deflated } = self;
        state.reset();
        deflated.clear();
        deflated.reserve_exact(text.len());
        state
            .compress_vec(text, deflated, FlushCompress::Sync)
            .ok()?;
        // Where there is no room left, there may be more to come.
        let is_whole =
            deflated.len() < deflated.capacity() && state.total_in() == text.len() as u64;
        let deflated = deflated.strip_suffix(&TAIL)?;
        (is_whole && deflated.len() < text.len()).then_some(deflated)
    }
}

/// Why a message is not inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// It has more bytes than a message may have.
    TooLong,
    /// It is not what it would be had it been compressed.
    Invalid,
}

/// What was compressed. Takes no more memory than twice the most that a message may have, whatever is in it.
///
/// # Errors
/// When it was not compressed, or is longer than that.
pub(crate) fn inflate(message: &[u8], bytes_max: usize) -> Result<Vec<u8>, InflateError> {
    let mut state = Decompress::new(false);
    let room_max = bytes_max.saturating_add(1);
    let room = message.len().saturating_mul(EXPANSION).max(64);
    let mut text = Vec::with_capacity(room.min(room_max));
    let mut is_over = false;
    for mut input in [message, &TAIL, &END] {
        loop {
            if text.len() == text.capacity() {
                let room = text.len().min(room_max - text.len());
                text.reserve_exact(room);
            }
            let (read, made) = (state.total_in(), text.len());
            let status = state
                .decompress_vec(input, &mut text, FlushDecompress::Sync)
                .map_err(|_| InflateError::Invalid)?;
            let read = (state.total_in() - read) as usize;
            input = &input[read..];
            if text.len() > bytes_max {
                return Err(InflateError::TooLong);
            }
            is_over = status == Status::StreamEnd;
            if is_over {
                // What has ended may be followed by more, which refers to nothing before it.
                state.reset(false);
            } else if read == 0 && made == text.len() && !input.is_empty() {
                return Err(InflateError::Invalid);
            }
            if input.is_empty() && (is_over || text.len() < text.capacity()) {
                break;
            }
        }
    }
    is_over.then_some(text).ok_or(InflateError::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::text_frame;

    const BYTES_MAX: usize = 1000;

    fn inflated(message: &[u8]) -> Result<String, InflateError> {
        let text = inflate(message, BYTES_MAX)?;
        Ok(String::from_utf8(text).expect("the texts of these tests are UTF-8"))
    }

    /// A text as a client might compress it.
    fn deflated(text: &[u8]) -> Vec<u8> {
        let mut deflated = Vec::with_capacity(2 * text.len() + 64);
        let mut state = Compress::new(Compression::best(), false);
        state
            .compress_vec(text, &mut deflated, FlushCompress::Sync)
            .expect("there is room");
        deflated.truncate(deflated.len() - TAIL.len());
        deflated
    }

    #[test]
    fn the_examples_of_rfc_7692_are_inflated() {
        let examples: [&[u8]; 5] = [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            // A block without compression, with a block of nothing behind it.
            &[
                0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
            ],
            // A block that says it is the last.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            // Two blocks.
            &[
                0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
            ],
            // The last block again, and another message of nothing.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x03, 0x00, 0x00],
        ];
        for example in examples {
            assert_eq!(inflated(example).as_deref(), Ok("Hello"), "{example:x?}");
        }
        assert_eq!(inflated(&[0x00]).as_deref(), Ok(""));
    }

    #[test]
    fn what_is_cut_off_or_made_up_is_not_inflated() {
        let text = (0..90)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(", ");
        let whole = deflated(text.as_bytes());
        assert_eq!(inflated(&whole), Ok(text));
        for end in 0..whole.len() {
            assert_eq!(inflated(&whole[..end]), Err(InflateError::Invalid), "{end}");
        }
        for made_up in [
            &[0xff; 9][..],
            &[0x06],
            b"{\"type\":\"ping\"}",
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07],
        ] {
            assert_eq!(
                inflated(made_up),
                Err(InflateError::Invalid),
                "{made_up:x?}"
            );
        }
    }

    #[test]
    fn a_message_is_as_long_as_it_may_be_and_no_longer() {
        for (bytes, is_good) in [
            (0, true),
            (1, true),
            (256, true),
            (BYTES_MAX, true),
            (BYTES_MAX + 1, false),
        ] {
            let text = "x".repeat(bytes);
            let message = deflated(text.as_bytes());
            let expected = if is_good {
                Ok(text)
            } else {
                Err(InflateError::TooLong)
            };
            assert_eq!(inflated(&message), expected, "{bytes}");
        }
        // A thousand times as long.
        let bomb = deflated(&vec![b' '; 10_000_000]);
        assert!(bomb.len() < 11_000, "{}", bomb.len());
        assert_eq!(inflated(&bomb), Err(InflateError::TooLong));
        // Blocks that each say they are the last, and have nothing in them.
        assert_eq!(
            inflated(&[&[0x03, 0x00].repeat(10_000)[..], &[0x00]].concat()).as_deref(),
            Ok("")
        );
    }

    #[test]
    fn frames_are_compressed_where_that_makes_them_smaller() {
        let long = format!("{{\"text\":\"{}\"}}", "ho ".repeat(100));
        let huge = format!("{{\"text\":\"{}\"}}", "häuser ".repeat(20_000));
        let mut random = fastrand::Rng::with_seed(7);
        let noise: Vec<u8> = (0..3000).map(|_| random.u8(..)).collect();
        let texts = [
            &b"{}"[..],
            long.as_bytes(),
            b"{\"a\":1}",
            &noise,
            huge.as_bytes(),
        ];
        let frames: Vec<_> = texts.iter().flat_map(|text| text_frame(text)).collect();
        let mut to = b"before".to_vec();
        let mut ends = Vec::new();
        push_deflated(&mut to, &frames, |before, after| ends.push((before, after)));
        assert_eq!(ends.last(), Some(&(frames.len(), to.len())));
        let (mut before, mut after) = (0, "before".len());
        for (text, (plain, end)) in texts.iter().zip(ends) {
            let frame = &to[after..end];
            let (payload, length) = texts_of(frame).next().expect("a frame");
            assert_eq!(length, frame.len());
            if frame[0] == 0x81 {
                assert_eq!(payload, *text);
            } else {
                assert_eq!(
                    frame[0], 0xc1,
                    "the first and only frame of a text, compressed"
                );
                assert!(frame.len() < plain - before, "{} bytes", frame.len());
                assert_eq!(inflate(payload, text.len()).as_deref(), Ok(*text));
            }
            let is_compressed = text.len() > 200 && *text != noise;
            assert_eq!(frame[0] == 0xc1, is_compressed, "{} bytes", text.len());
            (before, after) = (plain, end);
        }
    }
}
