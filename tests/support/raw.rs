//! A WebSocket client made of bytes: it can do everything that a client must not.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::feed::soon;

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;
/// The bit of the last frame of a message.
pub const FIN: u8 = 0x80;
const MASK_BIT: u8 = 0x80;
const MASK: [u8; 4] = [0x12, 0x9a, 0x00, 0xff];

pub const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A complete frame of a client.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = match payload.len() {
        short @ 0..126 => vec![short as u8],
        medium @ 126..=0xffff => [&[126][..], &(medium as u16).to_be_bytes()].concat(),
        long => [&[127][..], &(long as u64).to_be_bytes()].concat(),
    };
    frame_with_length(first, &length, payload)
}

/// A frame of a client that states its length in these bytes.
pub fn frame_with_length(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    frame.extend(length);
    frame[1] |= MASK_BIT;
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b));
    frame
}

/// A client's text.
pub fn text(text: &str) -> Vec<u8> {
    frame(FIN | TEXT, text.as_bytes())
}

/// A client's close.
pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// What the server sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// The code, if it has one.
    Close(Option<u16>),
    /// The end of the stream, in order.
    End,
}

/// A connection after its handshake.
pub struct Raw<S = TcpStream> {
    pub stream: S,
    /// How many bytes of frames it has read.
    pub bytes_read: usize,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a server");
        Self::shake_hands(stream).await
    }

    /// With a small receive buffer: the server notices soon when nothing is read.
    pub async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let stream = socket.connect(address).await.expect("a server");
        Self::shake_hands(stream).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub async fn shake_hands(stream: S) -> Self {
        Self::shake_hands_and(stream, &[]).await
    }

    /// Sends bytes right behind the request, before there is an answer.
    pub async fn shake_hands_and(stream: S, early: &[u8]) -> Self {
        let mut raw = Self {
            stream,
            bytes_read: 0,
        };
        raw.send(&[HANDSHAKE.as_bytes(), early].concat()).await;
        raw.hear_handshake().await;
        raw
    }

    /// Reads the head of the answer, which has to be 101.
    pub async fn hear_handshake(&mut self) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(
                soon("a handshake", self.stream.read_u8())
                    .await
                    .expect("an answer"),
            );
        }
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        // RFC 6455, section 1.3, has this key and its answer.
        let accept = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=";
        assert!(head.contains(accept), "{head}");
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        soon("sending", self.stream.write_all(bytes))
            .await
            .expect("an open connection");
    }

    pub async fn say(&mut self, frame: &Value) {
        self.send(&text(&frame.to_string())).await;
    }

    /// The next frame, or the end. A reset is not an end.
    pub async fn hear(&mut self) -> Heard {
        soon("a frame", self.read_frame()).await
    }

    /// The next frame, as JSON.
    pub async fn hear_json(&mut self) -> Value {
        match self.hear().await {
            Heard::Text(text) => serde_json::from_str(&text).expect("frames are JSON"),
            other => panic!("instead of a text: {other:?}"),
        }
    }

    /// The server's close with this code, and the end after it.
    pub async fn hear_close(&mut self, code: u16) {
        assert_eq!(self.hear().await, Heard::Close(Some(code)));
        assert_eq!(self.hear().await, Heard::End);
    }

    async fn read_frame(&mut self) -> Heard {
        let first = match self.stream.read_u8().await {
            Ok(first) => first,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Heard::End,
            Err(error) => panic!("instead of a frame or the end: {error}"),
        };
        let length = self.stream.read_u8().await.expect("a whole frame");
        // Neither masked nor fragmented: this server never needs to.
        let length = match length {
            126 => self.stream.read_u16().await.expect("a whole frame").into(),
            127 => self.stream.read_u64().await.expect("a whole frame"),
            short @ 0..126 => short.into(),
            masked => panic!("a server does not mask: {masked:#x}"),
        };
        let mut payload = vec![0; length as usize];
        self.stream
            .read_exact(&mut payload)
            .await
            .expect("a whole frame");
        self.bytes_read += payload.len();
        assert_eq!(first & !0xf, FIN, "neither fragments nor reserved bits");
        match first & 0xf {
            TEXT => Heard::Text(String::from_utf8(payload).expect("UTF-8")),
            PING => Heard::Ping(payload),
            PONG => Heard::Pong(payload),
            CLOSE => Heard::Close(match payload[..] {
                [] => None,
                [high, low, ref reason @ ..] => {
                    str::from_utf8(reason).expect("a reason is UTF-8");
                    Some(u16::from_be_bytes([high, low]))
                }
                [_] => panic!("half a close code"),
            }),
            other => panic!("a frame of opcode {other}"),
        }
    }
}
