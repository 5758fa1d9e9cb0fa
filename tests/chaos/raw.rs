//! A client that knows no more than docs/PROTOCOL.md: it remembers the last cursor of any frame, comes back with it, and
//! drops what it has seen by its id.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rowcast::ChannelPattern;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::sse;

/// A connection that is silent for so long is asked, and given up if it is for as long again.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long rows may take to come in the end: longer than a server takes to notice that its database has vanished.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(90);

/// What a client wants, and how it reads.
#[derive(Clone)]
pub struct Habits {
    channels: Vec<String>,
    /// Between two frames.
    pace: Duration,
    /// Once, after a hundred frames.
    pause: Duration,
    /// Over server-sent events instead of a WebSocket.
    events: bool,
}

impl Habits {
    pub fn new(channels: Vec<String>) -> Self {
        Self {
            channels,
            pace: Duration::ZERO,
            pause: Duration::ZERO,
            events: false,
        }
    }

    /// Server-sent events of all channels, as an `EventSource` reads them.
    pub fn events() -> Self {
        Self {
            events: true,
            ..Self::new(vec!["*".to_owned()])
        }
    }

    pub fn reading_every(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    pub fn pausing(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

pub struct Raw {
    habits: Habits,
    heard: Arc<Heard>,
    following: JoinHandle<()>,
}

#[derive(Default)]
pub(super) struct Heard {
    notes: Mutex<Notes>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    ids: HashSet<i64>,
    repeats: usize,
    resets: Vec<Value>,
    /// Frames that no client should get.
    pub(super) strange: Vec<Value>,
    subscribed: usize,
    caught_up: usize,
}

impl Raw {
    pub fn start(address: SocketAddr, habits: Habits) -> Self {
        let heard = Arc::<Heard>::default();
        let following = tokio::spawn(follow(address, habits.clone(), Arc::clone(&heard)));
        Self {
            habits,
            heard,
            following,
        }
    }

    pub async fn subscribed(&self) {
        self.wait(|notes| notes.subscribed > 0).await;
        assert!(
            self.heard.notes().subscribed > 0,
            "{:?}",
            self.heard.notes()
        );
    }

    /// Checks that all rows that it subscribed to have come, or come soon, and no others.
    pub async fn check(self, rows: &BTreeMap<i64, String>) {
        let patterns: Vec<_> = self
            .habits
            .channels
            .iter()
            .map(|name| ChannelPattern::parse(name).expect("a pattern"))
            .collect();
        let wanted: HashSet<_> = rows
            .iter()
            .filter(|(_, channels)| {
                let mut names = channels.split(' ');
                names.any(|name| patterns.iter().any(|pattern| pattern.matches(name)))
            })
            .map(|(id, _)| *id)
            .collect();
        self.wait(|notes| wanted.is_subset(&notes.ids)).await;
        self.following.abort();
        let notes = self.heard.notes();
        eprintln!(
            "raw client ({}) of {} channels: {} of {} rows; {} connections, caught up {} times, {} repeats",
            if self.habits.events {
                "SSE"
            } else {
                "WebSocket"
            },
            patterns.len(),
            wanted.len(),
            rows.len(),
            notes.subscribed,
            notes.caught_up,
            notes.repeats
        );
        let mut lost: Vec<_> = wanted.difference(&notes.ids).collect();
        lost.sort_unstable();
        let alien = notes.ids.difference(&wanted).count();
        assert!(
            lost.is_empty() && alien == 0 && notes.resets.is_empty() && notes.strange.is_empty(),
            "{} lost: {:?}; {alien} not asked for or not committed; resets {:?}; strange {:?}",
            lost.len(),
            &lost[..lost.len().min(10)],
            notes.resets,
            notes.strange
        );
    }

    async fn wait(&self, is_so: impl Fn(&Notes) -> bool) {
        let mut changed = self.heard.changed.subscribe();
        let _ = timeout(ARRIVAL_TIMEOUT, async {
            // After a reset nothing more can be expected of it.
            while !is_so(&self.heard.notes()) && self.heard.notes().resets.is_empty() {
                changed.changed().await.expect("the notes are ours");
            }
        })
        .await;
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Heard {
    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn follow(address: SocketAddr, mut habits: Habits, heard: Arc<Heard>) {
    let mut cursor = "now".to_owned();
    for connection in 0.. {
        if habits.events {
            // The URL of an EventSource stays the same.
            sse::listen(address, &mut cursor, &heard).await;
        } else if let Ok(Some(socket)) = timeout(CONNECT_TIMEOUT, connect(address)).await {
            // Both ways to subscribe, in turns.
            let kind = ["subscribe", "hello"][connection % 2];
            let subscribe =
                json!({"type": kind, "id": 1, "channels": habits.channels, "since": cursor});
            listen(socket, &subscribe, &mut cursor, &mut habits, &heard).await;
        }
        sleep(Duration::from_millis(fastrand::u64(20..400))).await;
    }
}

async fn connect(address: SocketAddr) -> Option<WebSocketStream<TcpStream>> {
    let socket = TcpSocket::new_v4().expect("a socket");
    // A small one: the server notices soon when nothing is read.
    socket
        .set_recv_buffer_size(16 * 1024)
        .expect("a small buffer");
    let stream = socket.connect(address).await.ok()?;
    let (socket, _) = client_async(format!("ws://{address}/ws"), stream)
        .await
        .ok()?;
    Some(socket)
}

/// Notes what a connection has to say, until it ends.
async fn listen(
    mut socket: WebSocketStream<TcpStream>,
    subscribe: &Value,
    cursor: &mut String,
    habits: &mut Habits,
    heard: &Heard,
) {
    let mut asked = false;
    let mut frames = 0;
    let mut order = Order::default();
    if socket
        .send(Message::text(subscribe.to_string()))
        .await
        .is_err()
    {
        return;
    }
    loop {
        let text = match timeout(QUIET_MAX, socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(Some(Ok(_))) => continue,
            Ok(_) => return,
            Err(_) if asked => return,
            Err(_) => {
                asked = true;
                let ping = Message::text(r#"{"type":"ping"}"#);
                if socket.send(ping).await.is_err() {
                    return;
                }
                continue;
            }
        };
        asked = false;
        let frame = serde_json::from_str(&text).expect("frames are JSON");
        if !order.is_kept(&frame) {
            heard.notes().strange.push(frame.clone());
        }
        note(&frame, cursor, heard);
        frames += 1;
        sleep(habits.pace).await;
        if frames == 100 {
            sleep(std::mem::take(&mut habits.pause)).await;
        }
    }
}

/// What has to come when on one connection.
#[derive(Default)]
pub(super) struct Order {
    subscribed: bool,
    caught_up: bool,
}

impl Order {
    pub(super) fn is_kept(&mut self, frame: &Value) -> bool {
        match frame["type"].as_str() {
            Some("subscribed") => !std::mem::replace(&mut self.subscribed, true),
            Some("event" | "reset") => self.subscribed,
            Some("caught_up") => self.subscribed && !std::mem::replace(&mut self.caught_up, true),
            _ => true,
        }
    }
}

pub(super) fn note(frame: &Value, cursor: &mut String, heard: &Heard) {
    if let Some(seen) = frame["cursor"].as_str() {
        seen.clone_into(cursor);
    }
    let mut notes = heard.notes();
    match frame["type"].as_str() {
        Some("event") => {
            let id = frame["event"]["id"].as_i64().expect("rows have ids");
            if !notes.ids.insert(id) {
                notes.repeats += 1;
            }
        }
        Some("subscribed") => notes.subscribed += 1,
        Some("caught_up") => notes.caught_up += 1,
        Some("reset") => notes.resets.push(frame.clone()),
        Some("welcome" | "cursor" | "pong" | "disconnect" | "heartbeat") => {}
        _ => notes.strange.push(frame.clone()),
    }
    drop(notes);
    heard.changed.send_replace(());
}
