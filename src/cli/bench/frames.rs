//! Frames of RFC 6455 as a client sees them, as cheap as can be: what servers send is walked over where it lies, and the
//! numbers of events are found in it. No sockets here.

use memchr::memmem::Finder;

/// Longer frames are a mistake, in bytes.
const FRAME_BYTES_MAX: u64 = 64 << 20;

/// A space, the digits of the greatest number, and what ends it.
const NUMBER_BYTES_MAX: usize = 22;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A part of a message, or a whole one.
    Data {
        payload: &'a [u8],
        /// Whether the message ends here. What is binary is taken for a stream that goes on.
        is_whole: bool,
    },
    Ping(&'a [u8]),
    Pong,
    /// With a code, if it has one, and why.
    Close(Option<u16>, &'a [u8]),
}

/// The first frame of these bytes, and how many of them it takes. None where it is not yet all there.
///
/// # Errors
/// What is wrong with it.
pub(super) fn next_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, &'static str> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err("a frame with reserved bits; the benchmark asked for no extension");
    }
    if second & 0x80 != 0 {
        return Err("a frame with a mask, which servers do not send");
    }
    let (length, head) = match second & 0x7f {
        126 => match rest.first_chunk() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 10),
            None => return Ok(None),
        },
        length => (u64::from(length), 2),
    };
    if length > FRAME_BYTES_MAX {
        return Err("a frame of more than 64 MiB");
    }
    let end = head + length as usize;
    let Some(payload) = bytes.get(head..end) else {
        return Ok(None);
    };
    let is_last = first & 0x80 != 0;
    let frame = match first & 0x0f {
        0 | 1 => Frame::Data {
            payload,
            is_whole: is_last,
        },
        2 => Frame::Data {
            payload,
            is_whole: false,
        },
        8 => {
            let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            Frame::Close(code, payload.get(2..).unwrap_or_default())
        }
        9 => Frame::Ping(payload),
        10 => Frame::Pong,
        _ => return Err("a frame of a kind that RFC 6455 does not have"),
    };
    Ok(Some((frame, end)))
}

/// What a frame of a client is.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Opcode {
    Text = 1,
    Binary = 2,
    Ping = 9,
    Pong = 10,
}

/// Appends a whole frame of a client, with a mask of zeros: nothing between us and the server needs to be confused.
pub(super) fn push_frame(to: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    to.push(0x80 | opcode as u8);
    match payload.len() {
        length @ 0..126 => to.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            to.push(0x80 | 0x7e);
            to.extend((length as u16).to_be_bytes());
        }
        length => {
            to.push(0x80 | 0x7f);
            to.extend((length as u64).to_be_bytes());
        }
    }
    to.extend([0; 4]);
    to.extend(payload);
}

/// Finds the numbers of events in the messages of one connection. Several may be in one message, and where messages are
/// no more than pieces of a stream, a number may be cut by the end of one.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The end of the last piece, as far as a number may begin there.
    tail: Vec<u8>,
}

impl Numbers {
    /// Gives each number that stands behind a marker.
    pub(super) fn scan(
        &mut self,
        marker: &Finder<'_>,
        payload: &[u8],
        is_whole: bool,
        mut found: impl FnMut(u64),
    ) {
        if self.tail.is_empty() {
            return self.scan_piece(marker, payload, is_whole, &mut found);
        }
        let mut joined = std::mem::take(&mut self.tail);
        let before = joined.len();
        // Longer than what can begin in the tail.
        let overlap = marker.needle().len() + NUMBER_BYTES_MAX;
        joined.extend(&payload[..payload.len().min(overlap)]);
        if payload.len() <= overlap {
            return self.scan_piece(marker, &joined, is_whole, &mut found);
        }
        let mut at = 0;
        if let Found::Number(start, end, number) = first_number(marker, &joined, is_whole)
            && start < before
        {
            found(number);
            at = end - before.min(end);
        }
        self.scan_piece(marker, &payload[at..], is_whole, &mut found);
    }

    fn scan_piece(
        &mut self,
        marker: &Finder<'_>,
        mut piece: &[u8],
        is_whole: bool,
        found: &mut impl FnMut(u64),
    ) {
        loop {
            match first_number(marker, piece, is_whole) {
                Found::Number(_, end, number) => {
                    found(number);
                    piece = &piece[end..];
                }
                Found::Cut(start) => {
                    self.tail.extend(&piece[start..]);
                    return;
                }
                Found::Nothing => break,
            }
        }
        if !is_whole {
            // One byte less than a marker cannot be one.
            let keep = piece.len().min(marker.needle().len() - 1);
            self.tail.extend(&piece[piece.len() - keep..]);
        }
    }
}

enum Found {
    /// From where to where, behind its digits.
    Number(usize, usize, u64),
    /// A marker, from here, whose number goes on in the next piece.
    Cut(usize),
    Nothing,
}

fn first_number(marker: &Finder<'_>, bytes: &[u8], is_whole: bool) -> Found {
    let mut from = 0;
    while let Some(offset) = marker.find(&bytes[from..]) {
        let start = from + offset;
        let marker_end = start + marker.needle().len();
        // As Postgres writes JSON of its own: with a space.
        let spaces = usize::from(bytes.get(marker_end) == Some(&b' '));
        let digits_start = marker_end + spaces;
        let digits = &bytes[digits_start..];
        let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
        let end = digits_start + length;
        if end == bytes.len() && !is_whole && length < NUMBER_BYTES_MAX {
            return Found::Cut(start);
        }
        let number = digits[..length].iter().try_fold(0_u64, |number, digit| {
            number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        });
        match number {
            Some(number) if length > 0 => return Found::Number(start, end, number),
            _ => from = digits_start,
        }
    }
    Found::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..126 => frame.push(length as u8),
            length @ 126..=0xffff => {
                frame.push(126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        frame
    }

    fn event(n: u64, padding: usize) -> Vec<u8> {
        let text = format!("{{\"n\":{n},\"x\":\"{}\"}}", "x".repeat(padding));
        server_frame(0x81, text.as_bytes())
    }

    /// What a client makes of pieces: the numbers, and everything else by its name.
    fn walk<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let marker = Finder::new(b"\"n\":");
        let mut numbers = Numbers::default();
        let (mut carry, mut seen) = (Vec::new(), Vec::new());
        for piece in pieces {
            carry.extend(piece);
            let mut used = 0;
            while let Some((frame, length)) = next_frame(&carry[used..]).expect("good frames") {
                used += length;
                match frame {
                    Frame::Data { payload, is_whole } => {
                        numbers.scan(&marker, payload, is_whole, |n| seen.push(n.to_string()));
                    }
                    Frame::Ping(payload) => {
                        seen.push(format!("ping {}", String::from_utf8_lossy(payload)));
                    }
                    Frame::Pong => seen.push("pong".into()),
                    Frame::Close(code, reason) => {
                        let reason = String::from_utf8_lossy(reason);
                        seen.push(format!("close {code:?} {reason}"));
                    }
                }
            }
            carry.drain(..used);
        }
        assert!(carry.is_empty(), "everything is read");
        seen
    }

    /// Text of all lengths, pings between them, messages in fragments, binary ones, and several events in one.
    fn everything() -> (Vec<u8>, Vec<&'static str>) {
        let mut bytes = event(0, 3);
        bytes.extend(event(7, 200));
        bytes.extend(server_frame(0x89, b"are you there"));
        bytes.extend(event(18_446_744_073_709_551_615, 70_000));
        bytes.extend(server_frame(0x81, b"{\"type\":\"cursor\"}"));
        bytes.extend(server_frame(0x81, b"{\"n\":8}\n{\"n\":9}"));
        // The number ends with the message.
        bytes.extend(server_frame(0x81, b"\"n\":10"));
        // In fragments, cut within the marker and within the number, a ping between them.
        bytes.extend(server_frame(0x01, b"{\""));
        bytes.extend(server_frame(0x00, b"n\":12"));
        bytes.extend(server_frame(0x89, b""));
        bytes.extend(server_frame(0x00, b""));
        bytes.extend(server_frame(0x80, b"34}"));
        // A stream in binary messages.
        bytes.extend(server_frame(0x82, b"MSG {\"n\":1} MSG {\"n"));
        bytes.extend(server_frame(0x82, b"\":2} MSG {\"n\":"));
        bytes.extend(server_frame(0x82, b"3"));
        bytes.extend(server_frame(0x82, b"} {\"n\":\"no number\"} {\"n\":4}"));
        bytes.extend(server_frame(0x8a, b""));
        bytes.extend(server_frame(0x88, b"\x03\xf4bye"));
        let seen = vec![
            "0",
            "7",
            "ping are you there",
            "18446744073709551615",
            "8",
            "9",
            "10",
            "ping ",
            "1234",
            "1",
            "2",
            "3",
            "4",
            "pong",
            "close Some(1012) bye",
        ];
        (bytes, seen)
    }

    #[test]
    fn frames_may_be_cut_anywhere() {
        let (bytes, seen) = everything();
        assert_eq!(walk([&bytes[..]]), seen);
        // Within the long one there is nothing but padding.
        let cuts = (0..400).chain(bytes.len() - 400..=bytes.len());
        for cut in cuts {
            let (before, after) = bytes.split_at(cut);
            assert_eq!(walk([before, after]), seen, "cut at {cut}");
        }
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(walk(bytes.chunks(size)), seen, "pieces of {size}");
        }
    }

    #[test]
    fn a_stream_may_be_cut_into_messages_anywhere() {
        let text =
            b"MSG {\"n\":11,\"x\":\"y\"}\r\nMSG {\"n\": 12,\"x\":\"\"n\"}\r\nMSG {\"n\":13}\r\n";
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                let parts = [&text[..cut], &text[cut..second], &text[second..]];
                let bytes: Vec<_> = parts.iter().flat_map(|p| server_frame(0x82, p)).collect();
                assert_eq!(walk([&bytes[..]]), ["11", "12", "13"], "{cut} {second}");
            }
        }
    }

    #[test]
    fn what_is_no_frame_of_a_server_is_said() {
        for (bytes, words) in [
            (&[0xc1, 0][..], "reserved bits"),
            (&[0x81, 0x80, 0, 0, 0, 0], "mask"),
            (&[0x83, 0], "of a kind"),
            (&[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0], "64 MiB"),
        ] {
            let error = next_frame(bytes).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(next_frame(&[]), Ok(None));
        assert_eq!(
            next_frame(&[0x88, 0]),
            Ok(Some((Frame::Close(None, b""), 2)))
        );
    }

    #[test]
    fn frames_of_clients_are_masked() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let mut frame = Vec::new();
            push_frame(&mut frame, Opcode::Text, &vec![b'x'; length]);
            let head = frame.len() - length;
            assert_eq!(frame[0], 0x81);
            assert_eq!(frame[1] & 0x80, 0x80);
            assert_eq!(frame[head - 4..head], [0; 4]);
            // Without its mask it is that of a server.
            frame[1] &= 0x7f;
            frame.drain(head - 4..head);
            let (_, end) = next_frame(&frame).expect("good").expect("whole");
            assert_eq!(end, frame.len());
        }
    }
}
