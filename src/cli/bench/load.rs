//! Thousands of clients in one thread: one epoll, one buffer to read into, and nothing that waits. What they are asked to
//! receive is counted as it comes.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::client::{Client, Opening, Rules, Seen, State, explain};
use super::dialect::Dialect;
use super::tally::Faults;
use crate::error::Error;

/// Read at a time, in bytes: as much as a socket has, in most cases.
const BUFFER_BYTES: usize = 256 * 1024;

/// Sockets looked at between two looks at the clock.
const EVENTS_PER_TURN: usize = 1024;

/// How long nothing may happen while clients connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// Longest wait for anything, so that Ctrl-C is noticed.
const TURN: Duration = Duration::from_millis(50);

/// Connections from one address to another: ports for more are not certain to be free.
const CONNECTIONS_PER_ADDRESS: usize = 20_000;

/// The clients of one server.
pub(super) struct Load {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    clients: Vec<Client>,
    rules: Rules,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    chatter: Option<Chatter>,
    pub seen: Seen,
}

/// Messages of clients at a steady pace, from one after the other.
struct Chatter {
    frame: Vec<u8>,
    per_second: f64,
    start: Instant,
    sent: u64,
    /// Answers that there were before.
    answers: u64,
}

impl Load {
    pub(super) fn new(
        dialect: &Dialect,
        address: SocketAddr,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        Ok(Self {
            poll: Poll::new().map_err(|source| Error::Io {
                doing: "wait for sockets".into(),
                source,
            })?,
            events: Events::with_capacity(EVENTS_PER_TURN),
            buffer: vec![0; BUFFER_BYTES],
            clients: Vec::new(),
            rules: Rules::new(dialect),
            address,
            stop,
            chatter: None,
            seen: Seen::new(),
        })
    }

    /// From now on clients send so many of these frames a second while they receive.
    pub(super) fn begin_chatter(&mut self, frame: Vec<u8>, per_second: u32) {
        self.chatter = (per_second > 0).then(|| Chatter {
            frame,
            per_second: per_second.into(),
            start: Instant::now(),
            sent: 0,
            answers: self.seen.answers,
        });
    }

    /// No more of them. Waits for the answers, and gives how many were sent and how many answered.
    pub(super) fn end_chatter(&mut self, patience: Duration) -> Result<(u64, u64), Error> {
        let Some(chatter) = self.chatter.take() else {
            return Ok((0, 0));
        };
        let answered = |seen: &Seen| seen.answers - chatter.answers;
        let mut changed = Instant::now();
        while answered(&self.seen) < chatter.sent
            && changed.elapsed() < patience
            && !self.is_stopped()
        {
            let before = self.seen.answers;
            self.turn(TURN)?;
            if self.seen.answers != before {
                changed = Instant::now();
            }
        }
        Ok((chatter.sent, answered(&self.seen)))
    }

    /// Connects clients, so many at a time, and waits until all are subscribed.
    pub(super) fn connect(
        &mut self,
        openings: impl IntoIterator<Item = Opening>,
        at_once: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<(), Error> {
        let address = self.address;
        let failed = |why: String| Error::Io {
            doing: format!("connect to {address}"),
            source: io::Error::other(why),
        };
        let mut openings = openings.into_iter().fuse();
        let mut changed = Instant::now();
        let mut before = usize::MAX;
        loop {
            while self.seen.opening < at_once
                && let Some(opening) = openings.next()
            {
                self.begin(opening)
                    .map_err(|error| failed(explain(&error)))?;
            }
            if self.seen.opening == 0 {
                return Ok(());
            }
            self.turn(TURN)?;
            if let Some(why) = self.seen.gone.keys().next() {
                return Err(failed(why.clone()));
            }
            if self.is_stopped() {
                return Err(failed("stopped".into()));
            }
            if self.seen.open != before {
                before = self.seen.open;
                changed = Instant::now();
                progress(self.seen.open);
            } else if changed.elapsed() > CONNECT_PATIENCE {
                return Err(failed(format!(
                    "{} clients got no answer for {CONNECT_PATIENCE:?}, {} are subscribed",
                    self.seen.opening, self.seen.open
                )));
            }
        }
    }

    /// Reads until so many deliveries were seen since the start. False when nothing came for too long, or it was asked to
    /// stop.
    pub(super) fn receive(&mut self, deliveries: u64, patience: Duration) -> Result<bool, Error> {
        let (mut before, mut changed) = (self.seen.deliveries, Instant::now());
        while self.seen.deliveries < deliveries {
            self.chat();
            self.turn(TURN)?;
            if self.seen.deliveries != before {
                before = self.seen.deliveries;
                changed = Instant::now();
            } else if changed.elapsed() > patience || self.is_stopped() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends the messages that are due.
    fn chat(&mut self) {
        let Some(chatter) = &mut self.chatter else {
            return;
        };
        let due = (chatter.start.elapsed().as_secs_f64() * chatter.per_second) as u64;
        while chatter.sent < due && self.seen.open > 0 {
            let number = chatter.sent as usize % self.clients.len();
            let client = &mut self.clients[number];
            chatter.sent += 1;
            if client.state != State::Open {
                // It is counted as sent, and never answered.
                continue;
            }
            if let Err(why) = client.send(&chatter.frame) {
                self.lose(number, why);
                return;
            }
        }
    }

    /// Does what is to be done just now, and waits so long at most for more.
    pub(super) fn turn(&mut self, wait: Duration) -> Result<(), Error> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(source) => {
                return Err(Error::Io {
                    doing: "wait for sockets".into(),
                    source,
                });
            }
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let Some(client) = self.clients.get_mut(event.token().0) else {
                continue;
            };
            if client.state == State::Gone {
                continue;
            }
            let mut result = Ok(());
            if event.is_writable() {
                result = client.write();
            }
            // An error is read, too.
            if result.is_ok() && (event.is_readable() || event.is_error()) {
                let is_last = event.is_read_closed() || event.is_error();
                result = client.read(&mut self.buffer, &self.rules, &mut self.seen, is_last);
            }
            if let Err(why) = result {
                self.lose(event.token().0, why);
            }
        }
        self.events = events;
        Ok(())
    }

    /// A client was cut off.
    fn lose(&mut self, number: usize, why: String) {
        let client = &mut self.clients[number];
        match client.state {
            State::Open => self.seen.open -= 1,
            _ => self.seen.opening -= 1,
        }
        client.state = State::Gone;
        let _ = self.poll.registry().deregister(&mut client.socket);
        *self.seen.gone.entry(why).or_default() += 1;
    }

    /// Answers pings, and takes what else there is, without waiting.
    pub(super) fn tend(&mut self) -> Result<(), Error> {
        self.turn(Duration::ZERO)
    }

    /// Closes the books before this number, and gives what went wrong.
    pub(super) fn close_books(&mut self, end: u64) -> Faults {
        let mut faults = Faults::default();
        for client in &mut self.clients {
            faults += client.tally.close(end);
        }
        faults
    }

    /// Forgets what was; everything from this number on has to come.
    pub(super) fn restart_books(&mut self, start: u64) {
        for client in &mut self.clients {
            client.tally.restart(start);
        }
    }

    /// Events before this number that are still to come, of all clients.
    pub(super) fn outstanding(&self, end: u64) -> u64 {
        let clients = self.clients.iter();
        clients.map(|client| client.tally.outstanding(end)).sum()
    }

    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Leaves without a word, as clients whose program ends.
    pub(super) fn disconnect(&mut self) {
        self.clients.clear();
        self.seen.open = 0;
        self.seen.opening = 0;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn begin(&mut self, opening: Opening) -> io::Result<()> {
        let number = self.clients.len();
        let mut socket = connect(self.address, number)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry.register(&mut socket, Token(number), interest)?;
        self.clients.push(Client::new(socket, opening));
        self.seen.opening += 1;
        Ok(())
    }
}

/// Begins to connect. Of the loopback addresses, many are ours.
fn connect(address: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let block = number / CONNECTIONS_PER_ADDRESS;
    if block == 0 || address.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
        return TcpStream::connect(address);
    }
    let from = Ipv4Addr::new(127, 0, 0, 1 + block.min(200) as u8);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        // Linux says that it is under way; others that it would block.
        Err(error) if is_under_way(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

#[cfg(unix)]
fn is_under_way(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32)
}

#[cfg(not(unix))]
fn is_under_way(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}
