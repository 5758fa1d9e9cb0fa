//! A client as small as can be: it finds frames, and in them the little that is measured, without parsing JSON.

use std::ops::Range;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where in it the next frame begins.
    start: usize,
    read_bytes: usize,
}

impl Client {
    /// For a few events at a time.
    pub async fn connect(address: &str) -> Self {
        Self::open(TcpSocket::new_v4().expect("a socket"), address, 4096).await
    }

    /// For as many as come.
    pub async fn connect_for_many(address: &str) -> Self {
        Self::open(TcpSocket::new_v4().expect("a socket"), address, 256 * 1024).await
    }

    /// With little room for what it has not read.
    pub async fn connect_slow(address: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16 * 1024).expect("a size");
        Self::open(socket, address, 256 * 1024).await
    }

    async fn open(socket: TcpSocket, address: &str, read_bytes: usize) -> Self {
        let to = address.parse().expect("an address");
        let mut stream = socket.connect(to).await.expect("the server accepts");
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        let sent = stream.write_all(request.as_bytes()).await;
        sent.expect("the server reads");
        let mut client = Self {
            stream,
            buffer: Vec::new(),
            start: 0,
            read_bytes,
        };
        // The answer to the handshake ends with an empty line.
        let end = loop {
            if let Some(end) = find(&client.buffer, b"\r\n\r\n") {
                break end;
            }
            client.read().await;
        };
        client.start = end + 4;
        client
    }

    /// Subscribes, from a position on where one is given.
    pub async fn subscribe(&mut self, channels: &[&str], since: Option<&str>) {
        let since = since.map_or_else(String::new, |since| format!(",\"since\":\"{since}\""));
        let channels = channels.join("\",\"");
        self.say(&format!(
            "{{\"type\":\"subscribe\",\"channels\":[\"{channels}\"]{since}}}"
        ))
        .await;
    }

    /// The present position.
    pub async fn present(&mut self) -> String {
        self.subscribe(&["nobody"], None).await;
        let subscribed = self.frame().await;
        assert_eq!(kind(subscribed), "subscribed");
        let text = std::str::from_utf8(subscribed).expect("the server sends UTF-8");
        let (_, rest) = text.split_once("\"cursor\":\"").expect("it has one");
        let (cursor, _) = rest.split_once('"').expect("the text ends");
        cursor.to_owned()
    }

    async fn say(&mut self, text: &str) {
        let mut frame = vec![0x81];
        // The first bit says that there is a mask.
        if text.len() < 126 {
            frame.push(0x80 | text.len() as u8);
        } else {
            frame.push(0x80 | 0x7e);
            frame.extend((text.len() as u16).to_be_bytes());
        }
        // A mask of zeros.
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        let sent = self.stream.write_all(&frame).await;
        sent.expect("the server reads");
    }

    /// The text of the next frame.
    pub async fn frame(&mut self) -> &[u8] {
        loop {
            if let Some(frame) = self.whole_frame() {
                self.start = frame.end;
                return &self.buffer[frame];
            }
            self.read().await;
        }
    }

    /// Takes some bytes off the socket, to be looked at later.
    pub async fn take(&mut self, bytes: usize) {
        let old = self.buffer.len();
        self.buffer.resize(old + bytes, 0);
        let read = self.stream.read_exact(&mut self.buffer[old..]).await;
        read.expect("the server is there");
    }

    fn whole_frame(&self) -> Option<Range<usize>> {
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
        (rest.len() >= header + length).then_some(start..start + length)
    }

    async fn read(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.reserve(self.read_bytes);
        let read = self.stream.read_buf(&mut self.buffer).await;
        assert!(read.expect("the server is there") > 0, "it hung up");
    }
}

/// What a frame is.
pub fn kind(frame: &[u8]) -> &str {
    let rest = frame
        .strip_prefix(b"{\"type\":\"")
        .expect("a frame of ours");
    let end = rest.iter().position(|&byte| byte == b'"');
    let kind = &rest[..end.expect("the text ends")];
    std::str::from_utf8(kind).expect("the server sends UTF-8")
}

/// The id of an event.
pub fn id(event: &[u8]) -> i64 {
    number(event, b"\"event\":{\"id\":")
}

/// The number that its payload begins with.
pub fn n(event: &[u8]) -> i64 {
    number(event, b"\"payload\":{\"n\":")
}

fn number(text: &[u8], key: &[u8]) -> i64 {
    let from = find(text, key).expect("it is in every event") + key.len();
    let digits = text[from..].iter().skip_while(|&&byte| byte == b' ');
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, &digit| number * 10 + i64::from(digit - b'0'))
}

/// The position that an event ends with, if it does.
pub fn cursor(event: &[u8]) -> Option<&str> {
    if event.ends_with(b"}}") {
        return None;
    }
    let text = event.strip_suffix(b"\"}")?;
    let from = text.iter().rposition(|&byte| byte == b'"')? + 1;
    std::str::from_utf8(&text[from..]).ok()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
