//! A tiny `WebSocket` server that takes lines by POST, as `--beside` describes one, and that does wrong if asked to.

use std::path::Path;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// What it does with the fifth of ten events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mischief {
    None,
    Lose,
    Repeat,
    /// Gives it after the sixth.
    Reorder,
    /// Closes the connections instead.
    Cut,
}

pub struct Fake {
    url: String,
    publish_url: String,
}

/// What all clients are sent: a line, or nothing more.
type Line = Option<String>;

impl Fake {
    /// It ends with the test's runtime.
    pub async fn start(mischief: Mischief) -> Self {
        let (lines, _) = broadcast::channel(100_000);
        let clients = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let publishers = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = |listener: &TcpListener| listener.local_addr().expect("it listens");
        let fake = Self {
            url: format!("ws://{}/{{channel}}", address(&clients)),
            publish_url: format!("http://{}/publish", address(&publishers)),
        };
        let to = lines.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = clients.accept().await {
                tokio::spawn(client(stream, to.subscribe()));
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = publishers.accept().await {
                tokio::spawn(publisher(stream, lines.clone(), mischief));
            }
        });
        fake
    }

    /// The file for `--beside`.
    pub fn write_dialect(&self, folder: &Path) -> String {
        let path = folder.join("fake.toml");
        let text = format!(
            "[[server]]\nname = \"fake\"\nlimit = true\nurl = {:?}\nsubscribe = [\"please {{channel}}\"]\n\
             subscribed = \"you are\"\npublish = {{ url = {:?}, many = \"lines\" }}\n",
            self.url, self.publish_url
        );
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }
}

async fn client(stream: TcpStream, mut lines: broadcast::Receiver<Line>) {
    let mut socket = accept_async(stream).await.expect("a handshake");
    let asked = socket.next().await.expect("it asks").expect("a frame");
    let asked = asked.into_text().expect("text");
    let channel = asked.strip_prefix("please ").expect("as it was told");
    assert_eq!(channel.len(), 20, "names have one length: {channel}");
    let answer = Message::text(format!("you are on {channel}"));
    if socket.send(answer).await.is_err() {
        return;
    }
    while let Ok(line) = lines.recv().await {
        let Some(line) = line else {
            let frame = CloseFrame {
                code: CloseCode::Restart,
                reason: "bye".into(),
            };
            let _ = socket.close(Some(frame)).await;
            return;
        };
        let (to, payload) = line.split_once(' ').expect("a channel and a payload");
        assert_eq!(to, channel);
        if socket.send(Message::text(payload)).await.is_err() {
            return;
        }
    }
}

async fn publisher(stream: TcpStream, lines: broadcast::Sender<Line>, mischief: Mischief) {
    let mut stream = BufReader::new(stream);
    let mut is_spoilt = false;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("a body");
        let body = String::from_utf8(body).expect("text");
        let mut all: Vec<Line> = body.lines().map(|line| Some(line.to_owned())).collect();
        // The first is to warm up.
        if all.len() == 10 && !is_spoilt {
            spoil(&mut all, mischief);
            is_spoilt = true;
        }
        for line in all {
            // Nobody may be there.
            let _ = lines.send(line);
        }
        let answer = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        answer.await.expect("it reads the answer");
    }
}

fn spoil(lines: &mut Vec<Line>, mischief: Mischief) {
    match mischief {
        Mischief::None => {}
        Mischief::Lose => drop(lines.remove(4)),
        Mischief::Repeat => lines.insert(4, lines[4].clone()),
        Mischief::Reorder => lines.swap(4, 5),
        Mischief::Cut => lines[4] = None,
    }
}
