//! `Wire`: what the codec of a WebSocket reads from and writes to, be it a socket or what was read of a stream.

use std::io::{self, Read, Write};

use super::outbox::Outbox;

/// Bytes of one client read before others get their turn.
const BYTES_PER_TURN: usize = 64 * 1024;

/// What the codec reads from and writes to. Reading gives what is there, writing queues what the socket does not take.
pub(super) trait Wire: Read + Write {
    /// Whether what was not read now can be read later.
    const KEEPS_UNREAD: bool;

    fn outbox(&self) -> &Outbox;

    fn pace(&mut self) -> &mut Pace;
}

/// How much was read. The codec reads on by itself while fragments come, for as long as there are any.
#[derive(Default)]
pub(super) struct Pace {
    /// Bytes, since the last message.
    pub read: usize,
    /// It was told that there is nothing more for now, although there may be.
    pub is_over: bool,
}

pub(super) struct Tcp<'a> {
    outbox: &'a Outbox,
    pace: Pace,
}

impl<'a> Tcp<'a> {
    pub fn new(outbox: &'a Outbox) -> Self {
        Self {
            outbox,
            pace: Pace::default(),
        }
    }
}

impl Read for Tcp<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.pace.read >= BYTES_PER_TURN {
            self.pace.is_over = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = self.outbox.tcp().try_read(buffer)?;
        self.pace.read += read;
        self.outbox.heard();
        Ok(read)
    }
}

impl Write for Tcp<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outbox.write_control(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire for Tcp<'_> {
    const KEEPS_UNREAD: bool = true;

    fn outbox(&self) -> &Outbox {
        self.outbox
    }

    fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }
}

/// Bytes of a stream that its task has read.
pub(super) struct Buffered<'a> {
    input: &'a [u8],
    ended: bool,
    outbox: &'a Outbox,
    pace: Pace,
}

impl<'a> Buffered<'a> {
    pub fn new(input: &'a [u8], ended: bool, outbox: &'a Outbox) -> Self {
        Self {
            input,
            ended,
            outbox,
            pace: Pace::default(),
        }
    }
}

impl Read for Buffered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.outbox.heard();
        let read = Read::read(&mut self.input, buffer)?;
        self.pace.read += read;
        Ok(read)
    }
}

impl Write for Buffered<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outbox.write_control(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire for Buffered<'_> {
    const KEEPS_UNREAD: bool = false;

    fn outbox(&self) -> &Outbox {
        self.outbox
    }

    fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }
}
