//! `Wire`: what the codec of a WebSocket reads from and writes to: bytes that were read of a client, and its outbox.

use std::io::{self, Read, Write};

use super::outbox::Outbox;

/// Bytes that were read of a client. Reading gives what is there, writing queues what the socket does not take.
pub(super) struct Wire<'a> {
    input: &'a [u8],
    ended: bool,
    outbox: &'a Outbox,
    /// Bytes that the codec has read and nobody has counted.
    pub read_bytes: usize,
}

impl<'a> Wire<'a> {
    /// These bytes, after which the client may have `ended`.
    pub fn new(input: &'a [u8], ended: bool, outbox: &'a Outbox) -> Self {
        Self {
            input,
            ended,
            outbox,
            read_bytes: 0,
        }
    }

    pub fn outbox(&self) -> &Outbox {
        self.outbox
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.outbox.heard();
        let read = Read::read(&mut self.input, buffer)?;
        self.read_bytes += read;
        Ok(read)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outbox.write_control(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
