//! What it costs to write to sockets: ours, and, in time, the kernel's.

use std::io::{self, Read as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use bytes::Bytes;

use super::outbox::Outbox;
use crate::hub::{Connection, Frames, HubOptions, Written};

/// Sockets that are written to in turn.
pub(crate) const SOCKETS: usize = 100;

/// Sockets of this machine, with their readers.
pub(crate) struct Sockets {
    _runtime: tokio::runtime::Runtime,
    outboxes: Vec<Arc<Outbox>>,
    readers: Vec<TcpStream>,
    frames: Bytes,
}

impl Sockets {
    /// Each is to be written this much at a time.
    pub fn new(bytes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime");
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports");
        let address = listener.local_addr().expect("it is bound");
        let outbox = |_| {
            let reader = TcpStream::connect(address).expect("it listens");
            reader.set_nonblocking(true).expect("sockets can be");
            let (writer, _) = listener.accept().expect("it was connected to");
            writer.set_nonblocking(true).expect("sockets can be");
            let _context = runtime.enter();
            let writer = tokio::net::TcpStream::from_std(writer).expect("there is a runtime");
            runtime.block_on(writer.writable()).expect("it is open");
            let bytes_max = HubOptions::default().outbox_bytes_max;
            (Arc::new(Outbox::new(Some(writer), None, bytes_max)), reader)
        };
        let (outboxes, readers) = (0..SOCKETS).map(outbox).unzip();
        Self {
            outboxes,
            readers,
            frames: vec![b'x'; bytes].into(),
            _runtime: runtime,
        }
    }

    /// The hub's ends of them.
    pub fn outlets(&self) -> Vec<Arc<dyn Connection>> {
        let outlet = |outbox: &Arc<Outbox>| Arc::clone(outbox) as Arc<dyn Connection>;
        self.outboxes.iter().map(outlet).collect()
    }

    /// Writes once to each.
    pub fn write(&self) {
        for outbox in &self.outboxes {
            let written = outbox.write(Frames::Shared(&self.frames));
            assert_eq!(written, Written::Sent, "its reader has read all before");
        }
    }

    /// Reads what was written: on one machine it is there at once.
    pub fn drain(&mut self) {
        let mut buffer = vec![0; 64 * 1024];
        for reader in &mut self.readers {
            loop {
                match reader.read(&mut buffer) {
                    Ok(read) => assert!(read > 0, "it is open"),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}
