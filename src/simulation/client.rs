//! A made-up client and its socket.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::SETTLE;
use crate::event::{ChannelPattern, Channels};
use crate::hub::{Connection, Frames, Hub, Written};
use crate::protocol::CloseCode;
use crate::session::Session;

const PATTERNS: [&str; 8] = [
    "*",
    "tasks",
    "plans",
    "messages",
    "messages:*",
    "messages:1",
    "project:7",
    "project:*",
];

/// A client that subscribes, stays a while, and leaves.
pub(super) struct Client {
    socket: Arc<Socket>,
    patterns: Vec<ChannelPattern>,
    pub(super) subscribed: Instant,
    pub(super) left: Instant,
}

impl Client {
    pub(super) async fn live(hub: Hub, mut random: Rng) -> Self {
        sleep(Duration::from_millis(random.u64(..5000))).await;
        let socket = Arc::new(Socket::default());
        let session = Session::open(&hub, Arc::clone(&socket) as Arc<dyn Connection>).await;
        let count = random.usize(1..4);
        let names = random.choose_multiple(PATTERNS, count);
        let patterns = names
            .iter()
            .map(|name| ChannelPattern::parse(name).expect("valid"))
            .collect();
        session
            .text(&serde_json::json!({"type": "subscribe", "channels": names}).to_string())
            .await;
        while socket.frames().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        let subscribed = Instant::now();
        let stays = random.u8(..4) > 0;
        sleep(if stays {
            SETTLE * 3
        } else {
            Duration::from_millis(random.u64(..45_000))
        })
        .await;
        drop(session);
        Self {
            socket,
            patterns,
            subscribed,
            left: Instant::now(),
        }
    }

    pub(super) fn wants(&self, channels: &Channels) -> bool {
        channels
            .iter()
            .any(|channel| self.patterns.iter().any(|pattern| pattern.matches(channel)))
    }

    pub(super) fn received(&self) -> Vec<i64> {
        let frames = self.socket.frames();
        frames
            .iter()
            .filter_map(|frame| frame["event"]["id"].as_i64())
            .collect()
    }
}

/// The far end of a socket.
#[derive(Default)]
struct Socket(Mutex<Vec<u8>>);

impl Socket {
    /// The text frames that came, as JSON.
    fn frames(&self) -> Vec<Value> {
        let bytes = self.0.lock().expect("no panic under the lock");
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        while let [0x81, length, tail @ ..] = rest {
            let (length, tail) = match length {
                126 => (u16::from_be_bytes([tail[0], tail[1]]).into(), &tail[2..]),
                127 => (
                    u64::from_be_bytes(tail[..8].try_into().expect("8 bytes")) as usize,
                    &tail[8..],
                ),
                short => (usize::from(*short), tail),
            };
            frames.push(serde_json::from_slice(&tail[..length]).expect("frames are JSON"));
            rest = &tail[length..];
        }
        assert!(rest.is_empty(), "only whole text frames are sent");
        frames
    }
}

impl Connection for Socket {
    fn write(&self, frames: Frames<'_>) -> Written {
        self.0
            .lock()
            .expect("no panic under the lock")
            .extend(frames.as_slice());
        Written::Sent
    }

    fn close(&self, _code: CloseCode, _reason: &str) {}
}
