//! Server-sent events, read as the HTML standard has an `EventSource` read them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::raw::{Heard, Order, note};

/// The server says something every 15 s. An `EventSource` would wait for ever, or until TCP gives up.
const QUIET_MAX: Duration = Duration::from_secs(18);

/// Notes what a connection has to say, until it ends. `last_id` is that of the last message that came whole.
pub(super) async fn listen(address: SocketAddr, last_id: &mut String, heard: &Heard) {
    let Ok(Some(mut body)) = timeout(QUIET_MAX, Body::open(address, last_id)).await else {
        return;
    };
    let mut order = Order::default();
    let (mut id, mut data) = (None, String::new());
    while let Ok(Some(line)) = timeout(QUIET_MAX, body.line()).await {
        if let Some(value) = line.strip_prefix("id: ") {
            id = Some(value.to_owned());
        } else if let Some(value) = line.strip_prefix("data: ") {
            assert!(data.is_empty(), "a frame is one line");
            value.clone_into(&mut data);
        } else if line.is_empty() {
            if !data.is_empty() {
                let frame = serde_json::from_str(&data).expect("frames are JSON");
                if !order.is_kept(&frame) {
                    heard.notes().strange.push(frame.clone());
                }
                // The id is all that is remembered.
                note(&frame, &mut String::new(), heard);
            }
            if let Some(id) = id.take() {
                *last_id = id;
            }
            data.clear();
        }
    }
}

/// The body of an answer, which comes in chunks.
struct Body {
    stream: BufReader<TcpStream>,
    left: Vec<u8>,
}

impl Body {
    async fn open(address: SocketAddr, last_id: &str) -> Option<Self> {
        let mut stream = BufReader::new(TcpStream::connect(address).await.ok()?);
        let last = if last_id == "now" {
            String::new()
        } else {
            format!("Last-Event-ID: {last_id}\r\n")
        };
        let request = format!("GET /sse?channels=* HTTP/1.1\r\nHost: localhost\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        assert!(head.contains(" 200 "), "{head}");
        Some(Self {
            stream,
            left: Vec::new(),
        })
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.left.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.left.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut size = String::new();
            self.stream.read_line(&mut size).await.ok()?;
            // What is cut off in the middle is no number, or is the end.
            let size = usize::from_str_radix(size.strip_suffix("\r\n")?, 16).ok()?;
            let mut chunk = vec![0; size + 2];
            self.stream.read_exact(&mut chunk).await.ok()?;
            if size == 0 {
                return None;
            }
            self.left.extend(&chunk[..size]);
        }
    }
}
