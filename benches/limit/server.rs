//! The limit: the least that a server of WebSockets can do for a fan-out, as what other servers are compared with. One
//! thread and epoll; no authentication, no database, no time-outs; clients are taken to behave.
//!
//! `cargo run --release --example limit -- --port 3002`. Clients open any path and send
//! `{"type":"subscribe","channels":["a"]}`. `POST /publish` takes a line for each event, `channel payload`, and answers
//! 204 **after** it has written all of them. Each event is framed once; a connection is written to once for each POST,
//! however many events that has for it. Frames are what rowcast would send, and as long.

use std::collections::HashMap;
use std::env;
use std::io::{self, Cursor, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::ops::Range;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde::Deserialize;
use socket2::{Domain, Socket, Type};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

const LISTENER: Token = Token(usize::MAX);

/// As many as may connect before the server looks.
const BACKLOG: i32 = 4096;

/// A POST of 100 events of 300 bytes is read by one call.
const READ_BYTES: usize = 256 * 1024;

/// A connection that leaves more than this unread is closed.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// What a client sends is shorter than this, or it is closed.
const CLIENT_FRAME_BYTES_MAX: u64 = 1 << 20;

const HEADERS_MAX: usize = 32;

fn main() -> io::Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let port = match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => 0,
        [flag, port] if flag == "--port" => port.parse().map_err(io::Error::other)?,
        _ => return Err(io::Error::other("usage: limit [--port PORT]")),
    };
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    listener.set_reuse_address(true)?;
    listener.set_nonblocking(true)?;
    // Accepted sockets inherit it.
    listener.set_tcp_nodelay(true)?;
    listener.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    listener.listen(BACKLOG)?;
    let listener = TcpListener::from_std(listener.into());
    println!("listening on {}", listener.local_addr()?);
    Server::new(listener)?.run()
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    /// By token.
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    channels: Channels,
    /// What has been read just now.
    read: Vec<u8>,
    publisher: Publisher,
}

struct Connection {
    stream: TcpStream,
    is_websocket: bool,
    /// The beginning of a request or frame.
    input: Vec<u8>,
    /// What the socket did not take yet.
    output: Vec<u8>,
    channels: Vec<usize>,
}

#[derive(Default)]
struct Channels {
    by_name: HashMap<String, usize>,
    subscribers: Vec<Subscribers>,
}

/// Of one channel, by token.
#[derive(Default)]
struct Subscribers {
    /// They have no other channel: all get the same bytes.
    alone: Vec<usize>,
    /// They have others too.
    among_others: Vec<usize>,
}

/// Why a connection ends.
struct Ended;

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Server {
    fn new(mut listener: TcpListener) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            channels: Channels::default(),
            read: vec![0; READ_BYTES],
            publisher: Publisher::default(),
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                let Token(token) = event.token();
                if event.token() == LISTENER {
                    self.accept()?;
                    continue;
                }
                let mut result = Ok(());
                if event.is_writable() {
                    result = self.write_rest(token);
                }
                if event.is_readable() && result.is_ok() {
                    result = self.read(token);
                }
                if result.is_err() {
                    self.close(token);
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let token = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            // Both at once: edges cost nothing as long as nothing waits to be written, and none need be asked for later.
            self.poll.registry().register(
                &mut stream,
                Token(token),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            self.connections[token] = Some(Connection {
                stream,
                is_websocket: false,
                input: Vec::new(),
                output: Vec::new(),
                channels: Vec::new(),
            });
        }
    }

    fn close(&mut self, token: usize) {
        if let Some(connection) = self.connections[token].take() {
            self.channels.remove(token, &connection.channels);
            self.free.push(token);
        }
    }

    /// Edges tell of new bytes once, so it reads until there are none.
    fn read(&mut self, token: usize) -> Result<(), Ended> {
        loop {
            let Some(connection) = &mut self.connections[token] else {
                return Ok(());
            };
            match connection.stream.read(&mut self.read) {
                Ok(0) => return Err(Ended),
                Ok(length) => {
                    connection.input.extend_from_slice(&self.read[..length]);
                    self.take_input(token)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Ended),
            }
        }
    }

    /// Does all that has arrived whole, and keeps the rest.
    fn take_input(&mut self, token: usize) -> Result<(), Ended> {
        let Some(connection) = &mut self.connections[token] else {
            return Ok(());
        };
        let input = std::mem::take(&mut connection.input);
        let mut rest = input.as_slice();
        while !rest.is_empty() {
            let is_websocket = matches!(&self.connections[token], Some(it) if it.is_websocket);
            let taken = if is_websocket {
                self.take_frame(token, rest)?
            } else {
                self.take_request(token, rest)?
            };
            let Some(bytes) = taken else {
                break;
            };
            rest = &rest[bytes..];
        }
        if let Some(connection) = &mut self.connections[token]
            && !rest.is_empty()
        {
            // An idle connection has no buffer.
            connection.input = rest.to_vec();
        }
        Ok(())
    }

    /// How many bytes it had; nothing if it is not whole.
    fn take_request(&mut self, token: usize, input: &[u8]) -> Result<Option<usize>, Ended> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(status) = request.parse(input) else {
            return Err(Ended);
        };
        let httparse::Status::Complete(head_bytes) = status else {
            return Ok(None);
        };
        let header = |name: &str| {
            let found = request
                .headers
                .iter()
                .find(|it| it.name.eq_ignore_ascii_case(name));
            found.map(|it| it.value)
        };
        if let Some(key) = header("sec-websocket-key") {
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {}\r\n\r\n",
                derive_accept_key(key)
            );
            let connection = self.connections[token].as_mut().ok_or(Ended)?;
            connection.is_websocket = true;
            connection.write(answer.as_bytes())?;
            return Ok(Some(head_bytes));
        }
        let length = header("content-length").map_or(Some(0), |it| {
            std::str::from_utf8(it).ok()?.parse::<usize>().ok()
        });
        let end = length
            .and_then(|it| head_bytes.checked_add(it))
            .ok_or(Ended)?;
        let Some(body) = input.get(head_bytes..end) else {
            return Ok(None);
        };
        let answer = match (request.method, request.path, std::str::from_utf8(body)) {
            (Some("POST"), Some("/publish"), Ok(lines)) => {
                let ended = self
                    .publisher
                    .publish(lines, &self.channels, &mut self.connections);
                for token in ended {
                    self.close(token);
                }
                "HTTP/1.1 204 No Content\r\n\r\n"
            }
            (_, _, Err(_)) => "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
            _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        };
        let connection = self.connections[token].as_mut().ok_or(Ended)?;
        connection.write(answer.as_bytes())?;
        Ok(Some(end))
    }

    /// Understands `subscribe` and a close, nothing else.
    fn take_frame(&mut self, token: usize, input: &[u8]) -> Result<Option<usize>, Ended> {
        #[derive(Deserialize)]
        struct Subscribe {
            channels: Vec<String>,
        }
        let mut cursor = Cursor::new(input);
        let Ok(parsed) = FrameHeader::parse(&mut cursor) else {
            return Err(Ended);
        };
        let Some((header, length)) = parsed else {
            return Ok(None);
        };
        if length > CLIENT_FRAME_BYTES_MAX {
            return Err(Ended);
        }
        let start = cursor.position() as usize;
        let end = start + length as usize;
        let Some(masked) = input.get(start..end) else {
            return Ok(None);
        };
        let mask = header.mask.ok_or(Ended)?;
        match header.opcode {
            OpCode::Data(Data::Text) if header.is_final => {
                let bytes = masked.iter().zip(mask.iter().cycle());
                let text: Vec<u8> = bytes.map(|(byte, mask)| byte ^ mask).collect();
                let wanted: Subscribe = serde_json::from_slice(&text).map_err(|_| Ended)?;
                let connection = self.connections[token].as_mut().ok_or(Ended)?;
                for name in wanted.channels {
                    self.channels.add(token, &mut connection.channels, name);
                }
                connection.channels.shrink_to_fit();
                connection.write(&frame(r#"{"type":"subscribed"}"#))?;
                Ok(Some(end))
            }
            _ => Err(Ended),
        }
    }

    fn write_rest(&mut self, token: usize) -> Result<(), Ended> {
        match &mut self.connections[token] {
            Some(connection) if !connection.output.is_empty() => {
                let rest = std::mem::take(&mut connection.output);
                connection.write(&rest)
            }
            _ => Ok(()),
        }
    }
}

impl Connection {
    /// One `send`; what the socket does not take waits.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        let mut written = 0;
        while self.output.is_empty() && written < bytes.len() {
            match self.stream.write(&bytes[written..]) {
                Ok(length) => written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(Ended),
            }
        }
        if written < bytes.len() {
            self.output.extend_from_slice(&bytes[written..]);
        }
        if self.output.len() > OUTPUT_BYTES_MAX {
            return Err(Ended);
        }
        Ok(())
    }
}

impl Channels {
    fn add(&mut self, token: usize, channels: &mut Vec<usize>, name: String) {
        let channel = *self.by_name.entry(name).or_insert_with(|| {
            self.subscribers.push(Subscribers::default());
            self.subscribers.len() - 1
        });
        if channels.contains(&channel) {
            return;
        }
        if let [only] = channels.as_slice() {
            let only = &mut self.subscribers[*only];
            only.alone.retain(|it| *it != token);
            only.among_others.push(token);
        }
        channels.push(channel);
        let subscribers = &mut self.subscribers[channel];
        if channels.len() == 1 {
            subscribers.alone.push(token);
        } else {
            subscribers.among_others.push(token);
        }
    }

    fn remove(&mut self, token: usize, channels: &[usize]) {
        for channel in channels {
            let subscribers = &mut self.subscribers[*channel];
            for tokens in [&mut subscribers.alone, &mut subscribers.among_others] {
                if let Some(at) = tokens.iter().position(|it| *it == token) {
                    tokens.swap_remove(at);
                }
            }
        }
    }
}

/// What is used again from POST to POST.
#[derive(Default)]
struct Publisher {
    events: u64,
    /// The frames of one POST, those of a channel side by side.
    frames: Vec<u8>,
    /// For those who have several channels: which frames they get, by token.
    wanted: Vec<Vec<Range<usize>>>,
    scratch: Vec<u8>,
}

impl Publisher {
    /// Gives each connection what it has subscribed to of these events. Whose connections ended is the result.
    fn publish(
        &mut self,
        lines: &str,
        channels: &Channels,
        connections: &mut [Option<Connection>],
    ) -> Vec<usize> {
        let mut ended = Vec::new();
        // Of the events somebody has subscribed to: channel, place in the POST, name, payload.
        let mut events = Vec::new();
        for (place, line) in lines.lines().enumerate() {
            let Some((name, payload)) = line.split_once(' ') else {
                continue;
            };
            if let Some(channel) = channels.by_name.get(name) {
                events.push((*channel, place, name, payload));
            }
        }
        events.sort_unstable_by_key(|(channel, place, ..)| (*channel, *place));

        self.frames.clear();
        let mut frames = Vec::with_capacity(events.len());
        for (channel, place, name, payload) in &events {
            self.events += 1;
            let start = self.frames.len();
            let text = format!(
                r#"{{"type":"event","channels":["{name}"],"event":{{"id":{},"type":"bench.event","payload":{payload},"createdAt":"2026-01-01T00:00:00.000Z"}},"cursor":"AgFCxddp3QUAAPrJ"}}"#,
                self.events
            );
            self.frames.extend_from_slice(&frame(&text));
            frames.push((*channel, *place, start..self.frames.len()));
        }

        for group in frames.chunk_by(|(one, ..), (other, ..)| one == other) {
            let ([(channel, _, first), ..], [.., (_, _, last)]) = (group, group) else {
                continue;
            };
            let bytes = &self.frames[first.start..last.end];
            for token in &channels.subscribers[*channel].alone {
                write(connections, *token, bytes, &mut ended);
            }
        }

        // Those who have several channels get the events in the order of the POST.
        frames.sort_unstable_by_key(|(_, place, _)| *place);
        let mut touched = Vec::new();
        self.wanted.resize(connections.len(), Vec::new());
        for (channel, _, range) in frames {
            for token in &channels.subscribers[channel].among_others {
                let wanted = &mut self.wanted[*token];
                if wanted.is_empty() {
                    touched.push(*token);
                }
                wanted.push(range.clone());
            }
        }
        for token in touched {
            self.scratch.clear();
            for range in self.wanted[token].drain(..) {
                self.scratch.extend_from_slice(&self.frames[range]);
            }
            write(connections, token, &self.scratch, &mut ended);
        }
        ended
    }
}

fn write(
    connections: &mut [Option<Connection>],
    token: usize,
    bytes: &[u8],
    ended: &mut Vec<usize>,
) {
    if let Some(connection) = &mut connections[token]
        && connection.write(bytes).is_err()
    {
        ended.push(token);
    }
}

/// A whole text message as servers send them, unmasked.
fn frame(text: &str) -> Vec<u8> {
    let header = FrameHeader {
        opcode: OpCode::Data(Data::Text),
        ..FrameHeader::default()
    };
    let mut bytes = Vec::with_capacity(text.len() + 10);
    header
        .format(text.len() as u64, &mut bytes)
        .expect("a Vec takes all that is written");
    bytes.extend_from_slice(text.as_bytes());
    bytes
}
