//! A client that compresses and inflates, frame by frame.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use rowcast::Config;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::feed::{Feed, soon};
use crate::support::raw::{FIN, HANDSHAKE, Raw, TEXT, frame};

/// As browsers offer it.
pub const OFFER: &str = "permessage-deflate; client_max_window_bits";

pub const RSV1: u8 = 0x40;

/// A server that compresses.
pub async fn feed() -> Feed {
    feed_with(|_| {}).await
}

/// The same, with whatever else is different.
pub async fn feed_with(change: impl FnOnce(&mut Config)) -> Feed {
    Feed::start_configured(|config| {
        config.hub.compression = true;
        change(config);
    })
    .await
}

/// Shakes hands with an offer and bytes behind it; gives the head of the answer, in lower case.
pub async fn shake_hands(feed: &Feed, path: &str, offer: &str, early: &[u8]) -> (Raw, String) {
    let offer = format!("\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n");
    let handshake = HANDSHAKE.replacen("\r\n\r\n", &offer, 1);
    let handshake = handshake.replacen("/ws", path, 1);
    let stream = TcpStream::connect(feed.address).await.expect("a server");
    let mut raw = Raw {
        stream,
        bytes_read: 0,
    };
    raw.send(&[handshake.as_bytes(), early].concat()).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = soon("a head", raw.stream.read_u8()).await;
        head.push(byte.expect("an answer"));
    }
    let head = String::from_utf8(head).expect("text");
    (raw, head.to_ascii_lowercase())
}

/// A connection on which compression was agreed.
pub struct Client {
    pub raw: Raw,
    /// Frames that came compressed, and others.
    pub compressed: usize,
    pub plain: usize,
    /// Bytes of all their payloads.
    pub bytes: usize,
}

impl Client {
    pub async fn connect(feed: &Feed) -> Self {
        Self::connect_to(feed, "/ws").await
    }

    pub async fn connect_to(feed: &Feed, path: &str) -> Self {
        let (raw, head) = shake_hands(feed, path, OFFER, &[]).await;
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(
            head.contains("\r\nsec-websocket-extensions: permessage-deflate;"),
            "{head}"
        );
        Self {
            raw,
            compressed: 0,
            plain: 0,
            bytes: 0,
        }
    }

    pub async fn subscribe(feed: &Feed, channels: &[&str]) -> Self {
        let mut client = Self::connect(feed).await;
        client
            .say(&json!({"type": "subscribe", "channels": channels}))
            .await;
        assert_eq!(client.hear().await["type"], "subscribed");
        client
    }

    /// Sends a compressed message.
    pub async fn say(&mut self, message: &Value) {
        let message = deflate(message.to_string().as_bytes());
        self.raw.send(&frame(FIN | RSV1 | TEXT, &message)).await;
    }

    /// The next message, as JSON.
    pub async fn hear(&mut self) -> Value {
        let text = soon("a message", self.read()).await;
        serde_json::from_slice(&text).expect("frames are JSON")
    }

    /// The next so many events, with nothing but positions among them.
    pub async fn hear_events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            let frame = self.hear().await;
            match frame["type"].as_str() {
                Some("event") => events.push(frame),
                Some("cursor") => {}
                _ => panic!("instead of an event: {frame}"),
            }
        }
        events
    }

    async fn read(&mut self) -> Vec<u8> {
        let stream = &mut self.raw.stream;
        let first = stream.read_u8().await.expect("a frame");
        let length = match stream.read_u8().await.expect("a whole frame") {
            126 => stream.read_u16().await.expect("a whole frame").into(),
            127 => stream.read_u64().await.expect("a whole frame"),
            short => short.into(),
        };
        let mut payload = vec![0; length as usize];
        stream
            .read_exact(&mut payload)
            .await
            .expect("a whole frame");
        self.bytes += payload.len();
        if first == FIN | RSV1 | TEXT {
            self.compressed += 1;
            return inflate(&payload);
        }
        assert_eq!(first, FIN | TEXT, "a text, compressed or not");
        self.plain += 1;
        payload
    }
}

/// As RFC 7692 has it in section 7.2.1: without the end of an empty block.
pub fn deflate(text: &[u8]) -> Vec<u8> {
    let mut deflated = Vec::with_capacity(text.len() * 2 + 64);
    Compress::new(Compression::best(), false)
        .compress_vec(text, &mut deflated, FlushCompress::Sync)
        .expect("there is room");
    assert!(deflated.ends_with(&[0, 0, 0xff, 0xff]));
    deflated.truncate(deflated.len() - 4);
    deflated
}

/// Section 7.2.2, with no more of a window than was agreed on.
fn inflate(message: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(1024 * 1024);
    let message = [message, &[0, 0, 0xff, 0xff]].concat();
    let mut state = Decompress::new_with_window_bits(false, 12);
    state
        .decompress_vec(&message, &mut text, FlushDecompress::Sync)
        .expect("DEFLATE data");
    assert_eq!(state.total_in(), message.len() as u64, "all of it");
    text
}
