//! A client as small as can be that goes when it is told to, comes back to another server, and notes all of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::frame;

/// Bytes read at once.
const READ_BYTES: usize = 4096;

/// How long the end of the stream may take after the close.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Wait after a connection could not be opened.
const RETRY: Duration = Duration::from_millis(500);

/// What all clients share.
pub struct Shared {
    pub first: String,
    pub second: String,
    /// How many handshakes may be under way when they connect for the first time.
    pub door: Semaphore,
    /// How many are subscribed at the first server, and how many are live at the second.
    pub subscribed: AtomicUsize,
    pub live: AtomicUsize,
    /// The last row of all, once it is written.
    pub last: watch::Receiver<Option<i64>>,
}

/// What a client has noted.
#[derive(Default)]
pub struct Notes {
    pub rows: Vec<i64>,
    pub resets: usize,
    /// Attempts to come back that failed.
    pub failures: usize,
    pub told_at: Option<Instant>,
    pub closed_at: Option<Instant>,
    pub close_code: Option<u16>,
    pub live_at: Option<Instant>,
    /// Events between the `disconnect` and the close.
    pub rows_after_told: usize,
}

/// A client with a token of its own.
pub struct Client {
    pub token: String,
    /// What it subscribes to, as JSON.
    pub channels: String,
    pub shared: Arc<Shared>,
}

impl Client {
    /// Stays at the first server until it is closed, comes back to the second, and ends with the last row.
    pub async fn run(self, notes: &mut Notes) {
        let mut cursor = None;
        let permit = self.shared.door.acquire().await.expect("it stays open");
        let mut socket = self.open(&self.shared.first, None).await;
        while let Err(error) = &socket {
            eprintln!("cannot connect: {error}");
            sleep(RETRY).await;
            socket = self.open(&self.shared.first, None).await;
        }
        let mut socket = socket.expect("it is good");
        let mut permit = Some(permit);
        let mut come_back_at = None;
        loop {
            let message = match socket.next().await {
                Ok(message) => message,
                Err(error) => {
                    eprintln!("the first server hung up without a close: {error}");
                    notes.closed_at = Some(Instant::now());
                    break;
                }
            };
            match message {
                Message::Close(code) => {
                    notes.closed_at = Some(Instant::now());
                    notes.close_code = Some(code);
                    socket.answer_close(code).await;
                    break;
                }
                Message::Control => {}
                Message::Text(text) => {
                    note_cursor(&mut cursor, text);
                    match frame::kind(text) {
                        "event" => {
                            notes.rows.push(frame::id(text));
                            notes.rows_after_told += usize::from(notes.told_at.is_some());
                        }
                        "subscribed" => {
                            drop(permit.take());
                            self.shared.subscribed.fetch_add(1, Ordering::Relaxed);
                        }
                        "disconnect" => {
                            let now = Instant::now();
                            notes.told_at = Some(now);
                            let wait = number(text, b"\"retryAfterMs\":").expect("it is told when");
                            come_back_at = Some(now + Duration::from_millis(wait));
                        }
                        "reset" => notes.resets += 1,
                        "cursor" | "heartbeat" => {}
                        other => panic!("{other}: {}", String::from_utf8_lossy(text)),
                    }
                }
            }
        }
        if let Some(at) = come_back_at {
            sleep_until(at).await;
        }
        self.stay(cursor.as_deref(), notes).await;
    }

    async fn stay(&self, since: Option<&str>, notes: &mut Notes) {
        let mut socket = self.open(&self.shared.second, since).await;
        while socket.is_err() {
            notes.failures += 1;
            sleep(RETRY).await;
            socket = self.open(&self.shared.second, since).await;
        }
        let mut socket = socket.expect("it is good");
        let mut last = self.shared.last.clone();
        loop {
            if last.borrow().is_some_and(|last| notes.rows.contains(&last)) {
                return;
            }
            let message = tokio::select! {
                message = socket.next() => message.expect("the second server stays"),
                _ = last.changed() => continue,
            };
            let Message::Text(text) = message else {
                continue;
            };
            match frame::kind(text) {
                "event" => notes.rows.push(frame::id(text)),
                "caught_up" => {
                    notes.live_at = Some(Instant::now());
                    self.shared.live.fetch_add(1, Ordering::Relaxed);
                }
                "reset" => notes.resets += 1,
                "subscribed" | "cursor" | "heartbeat" => {}
                other => panic!("{other}: {}", String::from_utf8_lossy(text)),
            }
        }
    }

    /// Connects and subscribes, from a position on where one is given.
    async fn open(&self, address: &str, since: Option<&str>) -> io::Result<Socket> {
        let mut stream = TcpStream::connect(address).await?;
        let since = since.map_or_else(String::new, |since| format!(",\"since\":\"{since}\""));
        let subscribe = format!(
            "{{\"type\":\"subscribe\",\"channels\":{}{since}}}",
            self.channels
        );
        let mut request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Authorization: Bearer {}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            self.token
        )
        .into_bytes();
        push_frame(&mut request, 0x81, subscribe.as_bytes());
        stream.write_all(&request).await?;
        let mut socket = Socket {
            stream,
            buffer: Vec::new(),
            start: 0,
        };
        // The answer to the handshake ends with an empty line.
        loop {
            if let Some(end) = find(&socket.buffer, b"\r\n\r\n") {
                if !socket.buffer.starts_with(b"HTTP/1.1 101") {
                    let answer = String::from_utf8_lossy(&socket.buffer[..end]);
                    return Err(io::Error::other(answer.into_owned()));
                }
                socket.start = end + 4;
                return Ok(socket);
            }
            socket.read().await?;
        }
    }
}

enum Message<'a> {
    Text(&'a [u8]),
    Control,
    Close(u16),
}

struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where in it the next frame begins.
    start: usize,
}

impl Socket {
    async fn next(&mut self) -> io::Result<Message<'_>> {
        let (opcode, from, to) = loop {
            if let Some(frame) = self.whole_frame() {
                break frame;
            }
            self.read().await?;
        };
        self.start = to;
        match opcode {
            0x8 => {
                let code = &self.buffer[from..from + 2];
                Ok(Message::Close(u16::from_be_bytes([code[0], code[1]])))
            }
            0x9 => {
                let mut pong = Vec::new();
                push_frame(&mut pong, 0x8a, &self.buffer[from..to]);
                self.stream.write_all(&pong).await?;
                Ok(Message::Control)
            }
            0x1 => Ok(Message::Text(&self.buffer[from..to])),
            _ => Ok(Message::Control),
        }
    }

    /// Its opcode, and where its payload begins and ends.
    fn whole_frame(&self) -> Option<(u8, usize, usize)> {
        let rest = &self.buffer[self.start..];
        let (header, length) = match *rest {
            [_, short @ ..=125, ..] => (2, usize::from(short)),
            [_, 126, high, low, ..] => (4, u16::from_be_bytes([high, low]).into()),
            [_, 127..=255, ..] => {
                let length = rest.get(2..10)?.try_into().expect("eight bytes");
                (10, u64::from_be_bytes(length) as usize)
            }
            _ => return None,
        };
        let start = self.start + header;
        (rest.len() >= header + length).then_some((rest[0] & 0xf, start, start + length))
    }

    async fn read(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Answers a close, and hangs up after the server has.
    async fn answer_close(mut self, code: u16) {
        let mut close = Vec::new();
        push_frame(&mut close, 0x88, &code.to_be_bytes());
        let _ = self.stream.write_all(&close).await;
        let mut rest = [0; 256];
        let end = async { while matches!(self.stream.read(&mut rest).await, Ok(1..)) {} };
        let _ = timeout(END_TIMEOUT, end).await;
    }
}

/// Notes the position that a frame has, if it has one.
fn note_cursor(cursor: &mut Option<String>, text: &[u8]) {
    let found = if frame::kind(text) == "event" {
        frame::cursor(text)
    } else {
        find(text, b"\"cursor\":\"").map(|at| {
            let rest = &text[at + 10..];
            let end = rest.iter().position(|&byte| byte == b'"');
            std::str::from_utf8(&rest[..end.expect("the text ends")]).expect("UTF-8")
        })
    };
    if let Some(found) = found {
        let cursor = cursor.get_or_insert_default();
        cursor.clear();
        cursor.push_str(found);
    }
}

/// With a mask of zeros.
fn push_frame(to: &mut Vec<u8>, first: u8, payload: &[u8]) {
    to.push(first);
    if payload.len() < 126 {
        to.push(0x80 | payload.len() as u8);
    } else {
        to.push(0x80 | 0x7e);
        to.extend((payload.len() as u16).to_be_bytes());
    }
    to.extend([0; 4]);
    to.extend(payload);
}

fn number(text: &[u8], key: &[u8]) -> Option<u64> {
    let from = find(text, key)? + key.len();
    let digits = text[from..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, &digit| number * 10 + u64::from(digit - b'0')))
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
