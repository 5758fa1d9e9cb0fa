//! One client: its handshake, its frames, and what it does with each. When its socket is looked at is not decided here.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::time::Instant;

use hdrhistogram::Histogram;
use memchr::memmem::{Finder, find};
use mio::net::TcpStream;

use super::dialect::Dialect;
use super::frames::{Frame, Numbers, Opcode, next_frame, push_frame};
use super::tally::Tally;
use super::times::{Latency, histogram};

/// Longest head of an answer to a handshake, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// For whoever is refused.
const TOKEN_ADVICE: &str = "; --token-file or --jwt-secret-file says who the clients are";

/// The key of every handshake; RFC 6455 shows it.
pub(super) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// How a client begins.
pub(super) struct Opening {
    /// The request of the handshake.
    pub request: Vec<u8>,
    /// Frames to be sent when it was answered.
    pub frames: Vec<u8>,
    /// How many frames have to say that a subscription holds.
    pub confirmations: u32,
    pub tally: Tally,
}

/// What all clients of a server have in common.
pub(super) struct Rules {
    marker: Finder<'static>,
    accept: String,
    subscribed: Option<Finder<'static>>,
    refused: Vec<Finder<'static>>,
    pong: Option<(Vec<u8>, Vec<u8>)>,
    /// What the answer to a message contains. None: it is a pong of RFC 6455.
    answer: Option<Finder<'static>>,
}

impl Rules {
    pub(super) fn new(dialect: &Dialect) -> Self {
        let finder = |text: &str| Finder::new(text.as_bytes()).into_owned();
        Self {
            marker: finder(&dialect.marker),
            accept: tungstenite::handshake::derive_accept_key(KEY.as_bytes()),
            subscribed: dialect.subscribed.as_deref().map(finder),
            refused: dialect.refused.iter().map(|text| finder(text)).collect(),
            pong: dialect.pong_frame(),
            answer: dialect.message.as_ref().map(|one| finder(&one.answer)),
        }
    }
}

/// What came, of all clients.
pub(super) struct Seen {
    /// Events that came for the first time.
    pub deliveries: u64,
    /// Messages of clients that were answered.
    pub answers: u64,
    /// Clients that are subscribed.
    pub open: usize,
    /// Clients that are under way.
    pub opening: usize,
    /// Clients that were cut off, by why.
    pub gone: BTreeMap<String, u64>,
    /// Latencies, where they are asked for.
    pub latency: Option<Latency>,
    /// How long each took from its first packet to its subscription, in microseconds.
    pub connected_in: Histogram<u64>,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self {
            deliveries: 0,
            answers: 0,
            open: 0,
            opening: 0,
            gone: BTreeMap::new(),
            latency: None,
            connected_in: histogram(),
        }
    }
}

/// A connection, and what it is to receive.
pub(super) struct Client {
    pub socket: TcpStream,
    pub state: State,
    /// A frame that is not yet all there.
    carry: Vec<u8>,
    /// What could not be written yet.
    pending: Vec<u8>,
    frames: Vec<u8>,
    confirmations: u32,
    started: Instant,
    numbers: Numbers,
    pub tally: Tally,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Handshake,
    Subscribing,
    Open,
    Gone,
}

impl Client {
    /// Of a socket that is being connected.
    pub(super) fn new(socket: TcpStream, opening: Opening) -> Self {
        Self {
            socket,
            state: State::Handshake,
            carry: Vec::new(),
            pending: opening.request,
            frames: opening.frames,
            confirmations: opening.confirmations,
            started: Instant::now(),
            numbers: Numbers::default(),
            tally: opening.tally,
        }
    }

    /// Writes what waits. Tried again when the socket says so.
    pub(super) fn write(&mut self) -> Result<(), String> {
        while !self.pending.is_empty() {
            match self.socket.write(&self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Not yet connected is one of these.
                Err(error) if is_not_yet(&error) => return Ok(()),
                Err(error) => return Err(explain(&error)),
            }
        }
        // Thousands of clients keep what they once needed.
        self.pending = Vec::new();
        Ok(())
    }

    /// Sends a frame.
    pub(super) fn send(&mut self, frame: &[u8]) -> Result<(), String> {
        self.pending.extend(frame);
        self.write()
    }

    /// Reads what there is. `is_last`: nothing comes behind it.
    pub(super) fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        rules: &Rules,
        seen: &mut Seen,
        is_last: bool,
    ) -> Result<(), String> {
        loop {
            let kept = self.carry.len();
            if buffer.len() < kept * 2 {
                buffer.resize(kept * 2, 0);
            }
            buffer[..kept].copy_from_slice(&self.carry);
            let room = buffer.len() - kept;
            match self.socket.read(&mut buffer[kept..]) {
                Ok(0) => return Err("the server closed the connection".into()),
                Ok(length) => {
                    let bytes = &buffer[..kept + length];
                    let used = self.take(bytes, rules, seen)?;
                    self.carry.clear();
                    self.carry.extend(&bytes[used..]);
                    if self.carry.is_empty() && self.carry.capacity() > 0 {
                        self.carry = Vec::new();
                    }
                    // What had no more for now says when it has; that spares a call that finds nothing.
                    if length < room && !is_last && cfg!(unix) {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_not_yet(&error) => return Ok(()),
                Err(error) => return Err(explain(&error)),
            }
        }
    }

    /// Takes what is whole, and gives how much it was.
    fn take(&mut self, bytes: &[u8], rules: &Rules, seen: &mut Seen) -> Result<usize, String> {
        let mut used = 0;
        if self.state == State::Handshake {
            let Some(head) = self.take_handshake(bytes, rules, seen)? else {
                return Ok(0);
            };
            used = head;
        }
        let now = Instant::now();
        while let Some((frame, length)) = next_frame(&bytes[used..])? {
            used += length;
            match frame {
                Frame::Data { payload, is_whole } => {
                    self.take_data(payload, is_whole, now, rules, seen)?;
                }
                Frame::Ping(payload) => {
                    push_frame(&mut self.pending, Opcode::Pong, payload);
                    self.write()?;
                }
                Frame::Pong if rules.answer.is_none() => seen.answers += 1,
                Frame::Pong => {}
                Frame::Close(code, reason) => return Err(describe_close(code, reason)),
            }
        }
        Ok(used)
    }

    fn take_data(
        &mut self,
        payload: &[u8],
        is_whole: bool,
        now: Instant,
        rules: &Rules,
        seen: &mut Seen,
    ) -> Result<(), String> {
        let (tally, mut events) = (&mut self.tally, 0);
        self.numbers
            .scan(&rules.marker, payload, is_whole, |number| {
                events += 1;
                if tally.note(number) {
                    seen.deliveries += 1;
                    if let Some(latency) = &mut seen.latency {
                        latency.note(number, now);
                    }
                }
            });
        if events > 0 && self.state == State::Open {
            return Ok(());
        }
        if events == 0
            && rules
                .refused
                .iter()
                .any(|sign| sign.find(payload).is_some())
        {
            let needs_token = ["\"UNAUTHORIZED\"", "\"FORBIDDEN\""]
                .iter()
                .any(|code| find(payload, code.as_bytes()).is_some());
            let advice = if needs_token { TOKEN_ADVICE } else { "" };
            return Err(format!("the server says {}{advice}", shorten(payload)));
        }
        if let Some(answer) = &rules.answer {
            // Several may be in one message.
            seen.answers += answer.find_iter(payload).count() as u64;
        }
        if let Some((when, answer)) = &rules.pong
            && payload.starts_with(when)
        {
            self.pending.extend(answer);
            self.write()?;
        }
        if self.state == State::Subscribing
            && let Some(sign) = &rules.subscribed
        {
            // Several may be in one message.
            let count = sign.find_iter(payload).count() as u32;
            self.confirmations = self.confirmations.saturating_sub(count);
            if self.confirmations == 0 {
                self.opened(seen);
            }
        }
        Ok(())
    }

    /// None while it is not all there.
    fn take_handshake(
        &mut self,
        bytes: &[u8],
        rules: &Rules,
        seen: &mut Seen,
    ) -> Result<Option<usize>, String> {
        let Some(end) = find(bytes, b"\r\n\r\n") else {
            if bytes.len() > HEAD_BYTES_MAX {
                return Err("the server's answer is no HTTP".into());
            }
            return Ok(None);
        };
        let head = end + 4;
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut answer = httparse::Response::new(&mut headers);
        answer
            .parse(&bytes[..head])
            .map_err(|error| format!("the server's answer is no HTTP: {error}"))?;
        let status = answer.code.unwrap_or_default();
        if status != 101 {
            let body = shorten(&bytes[head..]);
            let advice = match status {
                401 | 403 => TOKEN_ADVICE,
                _ => "",
            };
            return Err(format!(
                "the server refuses the handshake: {status} {}{}{body}{advice}",
                answer.reason.unwrap_or_default(),
                if body.is_empty() { "" } else { ": " },
            ));
        }
        let is_accepted = answer.headers.iter().any(|header| {
            header.name.eq_ignore_ascii_case("sec-websocket-accept")
                && header.value == rules.accept.as_bytes()
        });
        if !is_accepted {
            return Err("the server's answer to the handshake has not the key of RFC 6455".into());
        }
        self.state = State::Subscribing;
        self.pending.extend(&self.frames);
        self.write()?;
        if rules.subscribed.is_none() {
            self.opened(seen);
        }
        Ok(Some(head))
    }

    fn opened(&mut self, seen: &mut Seen) {
        self.state = State::Open;
        self.frames = Vec::new();
        let micros = self.started.elapsed().as_micros() as u64;
        seen.connected_in.saturating_record(micros.max(1));
        seen.opening -= 1;
        seen.open += 1;
    }
}

/// Whether it is only too early.
fn is_not_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::NotConnected
    )
}

/// What the system says, and what it means here.
pub(super) fn explain(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => format!("{error}; is the server running?"),
        ErrorKind::ConnectionReset => "the server cut the connection".into(),
        _ => error.to_string(),
    }
}

fn describe_close(code: Option<u16>, reason: &[u8]) -> String {
    let code = code.map_or("without a code".to_owned(), |code| code.to_string());
    let advice = match &*code {
        "4001" | "4003" => TOKEN_ADVICE,
        "4429" => "; the server limits connections of one user or address",
        _ => "",
    };
    let reason = shorten(reason);
    let space = if reason.is_empty() { "" } else { " " };
    format!("the server closed the connection: {code}{space}{reason}{advice}")
}

/// As much as fits into a line.
fn shorten(bytes: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 300;
    let text = String::from_utf8_lossy(bytes);
    let plain = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    plain.take(CHARACTERS_MAX).collect()
}
