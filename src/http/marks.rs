//! Which messages of a client are compressed (RFC 7692, section 6). The codec knows of no extension and refuses reserved
//! bits; so, where compression was agreed on, the mark of a compressed message is taken off as its bytes pass, and noted.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

/// The mark, in the first byte of a message.
const RSV1: u8 = 0x40;
const OPCODE: u8 = 0x0f;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// In the second byte of a frame: four bytes of mask come before the payload.
const MASKED: u8 = 0x80;

/// Follows the frames of a client.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Of the head of a frame what has passed: two bytes, and up to eight of a length.
    head: [u8; 10],
    head_bytes: u8,
    /// Bytes of its mask and payload that have yet to pass.
    rest: u64,
    /// Of the messages that have begun to pass and were not asked about: whether they are compressed texts. As many as there
    /// are in the bytes that the codec has read ahead.
    begun: VecDeque<bool>,
}

impl Marks {
    /// Takes the marks off bytes, which come in order. A compressed text is made a binary message, as it is no UTF-8. What has
    /// a mark and may not have one keeps it.
    pub fn take(&mut self, mut bytes: &mut [u8]) {
        loop {
            let passed = self.rest.min(bytes.len() as u64);
            self.rest -= passed;
            bytes = &mut bytes[passed as usize..];
            let Some((next, more)) = bytes.split_first_mut() else {
                return;
            };
            if self.head_bytes == 0 {
                self.begin(next);
            }
            self.head[usize::from(self.head_bytes)] = *next;
            self.head_bytes += 1;
            if let Some(rest) = self.after_head() {
                self.rest = rest;
                self.head_bytes = 0;
            }
            bytes = more;
        }
    }

    /// Whether the next message that the codec gives is a compressed text.
    pub fn next(&mut self) -> bool {
        self.begun.pop_front().unwrap_or(false)
    }

    fn begin(&mut self, first: &mut u8) {
        let opcode = *first & OPCODE;
        if opcode != TEXT && opcode != BINARY {
            return;
        }
        let is_compressed = *first & RSV1 != 0;
        if is_compressed {
            *first = *first & !(RSV1 | OPCODE) | BINARY;
        }
        // A binary message is refused, whatever is in it.
        self.begun.push_back(is_compressed && opcode == TEXT);
    }

    /// Bytes of the mask and the payload, once the head is whole.
    fn after_head(&self) -> Option<u64> {
        let (_, head) = self.head[..usize::from(self.head_bytes)].split_first()?;
        let (second, length) = head.split_first()?;
        let length = match second & 0x7f {
            126 => u16::from_be_bytes(*length.first_chunk()?).into(),
            127 => u64::from_be_bytes(*length.first_chunk()?),
            short => u64::from(short),
        };
        let mask = if second & MASKED == 0 { 0 } else { 4 };
        // The codec refuses what is as long as that.
        Some(length.saturating_add(mask))
    }
}

/// What the codec reads from and writes to, without the marks.
pub(super) struct Unmarked<'a, W> {
    pub wire: &'a mut W,
    pub marks: &'a mut Marks,
}

impl<W: Read> Read for Unmarked<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.wire.read(buffer)?;
        self.marks.take(&mut buffer[..read]);
        Ok(read)
    }
}

impl<W: Write> Write for Unmarked<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wire.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wire.flush()
    }
}
