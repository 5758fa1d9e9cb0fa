//! A made-up client and its sockets.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::SETTLE;
use crate::auth::{Authenticator, Grants, Identity};
use crate::event::{ChannelPattern, Channels};
use crate::hub::{Connection, Frames, Hub, Written};
use crate::limits::{AuthFailures, Limits, Publishes, Users};
use crate::protocol::{CloseCode, inflate};
use crate::session::{Entrance, Session, Terms};

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

/// What tokens grant.
const GRANTS: [&str; 8] = [
    "tasks",
    "plans",
    "messages:*",
    "messages:1",
    "project",
    "project:7:*",
    "messages",
    "project:7",
];

/// A client that subscribes, is cut off now and then and comes back with its cursor, and leaves.
pub(super) struct Client {
    patterns: Vec<ChannelPattern>,
    /// The last cursor since each was confirmed: they need not be the same, as it may leave one out for a while.
    positions: Vec<Option<String>>,
    pub(super) subscribed: Instant,
    pub(super) left: Instant,
    /// The ids of the events, as they first came.
    pub(super) received: Vec<i64>,
    known: BTreeSet<i64>,
    /// Events that came again, to a connection that had them.
    pub(super) doubled: usize,
    /// Whether it asked for all it wants at once, so that it has causes before effects.
    pub(super) in_order: bool,
    /// Whether it has caught up in the end, where it stayed long enough.
    pub(super) is_live: bool,
    /// Times it was told to refetch.
    pub(super) resets: usize,
    /// Whether its tokens grant everything.
    is_trusted: bool,
    /// What its tokens granted, one after the other.
    tokens: Vec<Grants>,
    /// Events that came although its token did not grant them.
    pub(super) not_granted: Vec<i64>,
}

impl Client {
    pub(super) async fn live(hub: Hub, mut random: Rng) -> Self {
        sleep(Duration::from_millis(random.u64(..5000))).await;
        let count = random.usize(1..4);
        let names = random.choose_multiple(PATTERNS, count);
        let patterns = names
            .iter()
            .map(|name| ChannelPattern::parse(name).expect("valid"))
            .collect();
        let mut client = Self {
            positions: vec![None; count],
            patterns,
            subscribed: Instant::now(),
            left: Instant::now(),
            received: Vec::new(),
            known: BTreeSet::new(),
            doubled: 0,
            in_order: true,
            is_live: true,
            resets: 0,
            is_trusted: random.bool(),
            tokens: Vec::new(),
            not_granted: Vec::new(),
        };
        client.tokens.push(client.random_grants(&mut random));
        // Nine in ten take what they are given; the others read so slowly that they fall behind.
        let bytes_per_ms = if random.u8(..4) == 0 {
            random.u64(1..8)
        } else {
            u64::MAX
        };
        let cuts = random.usize(..9);
        for _ in 0..cuts {
            let stays = Duration::from_millis(random.u64(..6000));
            client
                .connect(&hub, bytes_per_ms, stays, false, &mut random)
                .await;
            sleep(Duration::from_millis(random.u64(..3000))).await;
        }
        let stays = if random.u8(..4) > 0 {
            SETTLE * 3
        } else {
            Duration::from_millis(random.u64(..45_000))
        };
        // However slow it was, it speeds up in the end.
        client
            .connect(&hub, u64::MAX, stays, true, &mut random)
            .await;
        client.left = Instant::now();
        client
    }

    /// One connection, until it is cut off.
    async fn connect(
        &mut self,
        hub: &Hub,
        bytes_per_ms: u64,
        stays: Duration,
        is_last: bool,
        random: &mut Rng,
    ) {
        let socket = Arc::new(Socket::new(bytes_per_ms));
        let shapes = hub.shapes();
        let deflated = shapes.deflated(shapes.web_socket());
        let shape = deflated.filter(|_| random.bool());
        let entrance = Entrance {
            identity: Ok(Some(self.identity())),
            ip: None,
            authenticator: Authenticator::open(),
            limits: Arc::new(Limits {
                users: Users::new(0),
                failures: AuthFailures::new(0),
                publishes: Publishes::new(0),
            }),
            terms: Arc::new(Terms::plain(shape.unwrap_or(shapes.web_socket()))),
        };
        let first = self.tokens.len() - 1;
        let outlet = Arc::clone(&socket) as Arc<dyn Connection>;
        let mut session = Session::open(hub, outlet, entrance).await;
        let is_first = self.positions.iter().all(Option::is_none);
        let (requests, at_once) = self.requests(is_first, is_last, random);
        self.in_order &= at_once;
        for request in requests {
            session.text(&request.to_string()).await;
            if random.u8(..4) == 0 {
                sleep(Duration::from_millis(random.u64(..50))).await;
            }
        }
        if is_first {
            while socket
                .received()
                .iter()
                .filter(|frame| frame["type"] == "subscribed")
                .count()
                == 0
            {
                sleep(Duration::from_millis(1)).await;
            }
            self.subscribed = Instant::now();
        }
        // Now and then it asks for something else, too.
        let end = Instant::now() + stays;
        while Instant::now() < end {
            sleep(Duration::from_millis(random.u64(1..2000)).min(end - Instant::now())).await;
            match random.u8(..10) {
                0 => session.text(r#"{"type":"ping"}"#).await,
                1 => {
                    let text = r#"{"type":"subscribe","channels":["nothing:here"]}"#;
                    session.text(text).await;
                }
                2 => {
                    let text = r#"{"type":"unsubscribe","channels":["nothing:here"]}"#;
                    session.text(text).await;
                }
                3..6 => {
                    self.tokens.push(self.random_grants(random));
                    session.refresh(self.identity()).await;
                }
                _ => {}
            }
        }
        if stays >= SETTLE * 3 {
            session.text(r#"{"type":"ping"}"#).await;
            sleep(Duration::from_millis(100)).await;
        }
        let mut frames = socket.received();
        drop(session);
        if !is_last && random.bool() {
            // What was under way when the line was cut did not come: often what followed an answer.
            let answers: Vec<_> = (0..frames.len())
                .filter(|&n| frames[n]["type"] == "subscribed")
                .collect();
            let least = answers.first().map_or(0, |first| first + 1);
            let mut kept = random.usize(if is_first { least } else { 0 }..=frames.len());
            if let (true, Some(answer)) = (random.bool(), random.choice(&answers)) {
                kept = frames.len().min(answer + random.usize(1..4));
            }
            frames.truncate(kept);
        }
        // A client that is behind is told no position.
        let pong = frames.iter().rfind(|frame| frame["type"] == "pong");
        self.is_live = stays < SETTLE * 3
            || pong.is_some_and(|pong| pong["cursor"].is_string())
            || !self.subscribes_to_something_since(first);
        let mut here = BTreeSet::new();
        let mut confirmed = vec![false; self.patterns.len()];
        let mut token = first;
        for frame in frames {
            token += usize::from(frame["type"] == "auth_ok");
            if let Some(channels) = frame["channels"]
                .as_array()
                .filter(|_| frame["type"] == "event")
            {
                // The answer to a fresh token may be under way.
                let known = &self.tokens[token..self.tokens.len().min(token + 2)];
                let mut channels = channels.iter().filter_map(Value::as_str);
                if !channels.any(|channel| known.iter().any(|grants| grants.cover(channel))) {
                    self.not_granted
                        .push(frame["event"]["id"].as_i64().expect("a number"));
                }
            }
            if let (true, Some(names)) =
                (frame["type"] == "subscribed", frame["channels"].as_array())
            {
                for (pattern, confirmed) in self.patterns.iter().zip(&mut confirmed) {
                    *confirmed |= names.iter().any(|name| name == pattern.as_str());
                }
            }
            if let Some(seen) = frame["cursor"].as_str() {
                for (position, _) in self
                    .positions
                    .iter_mut()
                    .zip(&confirmed)
                    .filter(|(_, confirmed)| **confirmed)
                {
                    *position = Some(seen.to_owned());
                }
            }
            self.resets += usize::from(frame["type"] == "reset");
            if let Some(id) = frame["event"]["id"].as_i64() {
                // What reaches it by two channels comes with the history of either that is asked for.
                self.doubled += usize::from(!here.insert(id) && at_once);
                if self.known.insert(id) {
                    self.received.push(id);
                }
            }
        }
    }

    /// What it asks for when it has connected, and whether that is all in one request. Of several, each is since its own
    /// position, which may lie before or behind those of the others, and now and then one is left out for this time.
    fn requests(&self, is_first: bool, is_last: bool, random: &mut Rng) -> (Vec<Value>, bool) {
        let position = |n: usize| self.positions[n].as_deref().unwrap_or("now");
        let names: Vec<_> = self.patterns.iter().map(ChannelPattern::as_str).collect();
        let is_one_position = self
            .positions
            .iter()
            .all(|position| *position == self.positions[0]);
        if is_first || is_one_position && random.bool() {
            let all = json!({"type": "subscribe", "channels": names, "since": position(0)});
            return (vec![all], true);
        }
        let mut some: Vec<_> = (0..names.len()).collect();
        random.shuffle(&mut some);
        if !is_last && random.bool() {
            some.truncate(random.usize(1..=names.len()));
        }
        let each = some
            .iter()
            .map(|&n| json!({"type": "subscribe", "channels": [names[n]], "since": position(n)}));
        (each.collect(), false)
    }

    fn random_grants(&self, random: &mut Rng) -> Grants {
        if self.is_trusted || random.u8(..3) == 0 {
            return Grants::everything();
        }
        let count = random.usize(..4);
        let some = random.choose_multiple(GRANTS, count);
        Grants::new(
            some.iter()
                .map(|text| ChannelPattern::parse(text).expect("valid")),
        )
    }

    fn identity(&self) -> Arc<Identity> {
        Arc::new(Identity {
            grants: self.tokens.last().expect("it has one").clone(),
            ..Identity::anybody()
        })
    }

    /// Whether something of what it wants was granted by all tokens since that one.
    fn subscribes_to_something_since(&self, first: usize) -> bool {
        let granted = |pattern: &ChannelPattern| {
            let mut tokens = self.tokens[first..].iter();
            tokens.all(|grants| !grants.narrow(pattern).is_empty())
        };
        self.patterns.iter().any(granted)
    }

    /// Whether it has to receive what addresses these channels: it wants them, and all its tokens granted that.
    pub(super) fn may_expect(&self, channels: &Channels) -> bool {
        channels.iter().any(|channel| {
            self.patterns.iter().any(|pattern| pattern.matches(channel))
                && self.tokens.iter().all(|grants| grants.cover(channel))
        })
    }

    pub(super) fn wants(&self, channels: &Channels) -> bool {
        channels
            .iter()
            .any(|channel| self.patterns.iter().any(|pattern| pattern.matches(channel)))
    }
}

/// The far end of a socket.
struct Socket {
    bytes_per_ms: u64,
    state: Mutex<SocketState>,
}

struct SocketState {
    written: Vec<u8>,
    /// How much of it the client has read, and when that was so.
    read: u64,
    at: Instant,
}

const QUEUE_BYTES_MAX: usize = 4000;

impl Socket {
    fn new(bytes_per_ms: u64) -> Self {
        let state = SocketState {
            written: Vec::new(),
            read: 0,
            at: Instant::now(),
        };
        Self {
            bytes_per_ms,
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SocketState> {
        let mut state = self.state.lock().expect("no panic under the lock");
        let elapsed = state.at.elapsed().as_millis() as u64;
        let read = state
            .read
            .saturating_add(elapsed.saturating_mul(self.bytes_per_ms));
        state.at += Duration::from_millis(elapsed);
        state.read = read.min(state.written.len() as u64);
        if self.bytes_per_ms == u64::MAX {
            state.read = state.written.len() as u64;
        }
        state
    }

    /// The text frames that the client has read whole, as JSON.
    fn received(&self) -> Vec<Value> {
        let state = self.lock();
        let mut rest = &state.written[..state.read as usize];
        let mut frames = Vec::new();
        while let [first @ (0x81 | 0x89 | 0xc1), length, tail @ ..] = rest {
            if *first == 0x89 {
                rest = tail;
                continue;
            }
            let (length, tail) = match length {
                126 if tail.len() < 2 => break,
                127 if tail.len() < 8 => break,
                126 => (u16::from_be_bytes([tail[0], tail[1]]).into(), &tail[2..]),
                127 => (
                    u64::from_be_bytes(tail[..8].try_into().expect("8 bytes")) as usize,
                    &tail[8..],
                ),
                short => (usize::from(*short), tail),
            };
            let Some(text) = tail.get(..length) else {
                break;
            };
            let inflated = match first {
                0xc1 => &inflate(text, 1000).expect("a compressed frame is short"),
                _ => text,
            };
            frames.push(serde_json::from_slice(inflated).expect("frames are JSON"));
            rest = &tail[length..];
        }
        frames
    }

    fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        let state = self.lock();
        let queued = state.written.len() - state.read as usize;
        queued == 0 || queued + bytes <= bytes_max
    }
}

impl Connection for Socket {
    fn write(&self, frames: Frames<'_>) -> Written {
        if !self.has_room(frames.as_slice().len(), QUEUE_BYTES_MAX) {
            return Written::Full;
        }
        self.lock().written.extend(frames.as_slice());
        Written::Sent
    }

    fn reply(&self, frame: &Bytes) -> Written {
        self.lock().written.extend(frame);
        Written::Sent
    }

    fn queue_bytes_max(&self) -> usize {
        QUEUE_BYTES_MAX
    }

    fn room(&self, bytes: usize) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            while !self.has_room(bytes, QUEUE_BYTES_MAX) {
                let too_many = {
                    let state = self.lock();
                    let queued = state.written.len() as u64 - state.read;
                    queued.min(queued + bytes as u64 - QUEUE_BYTES_MAX as u64)
                };
                sleep(Duration::from_millis(too_many.div_ceil(self.bytes_per_ms))).await;
            }
            true
        })
    }

    fn close(&self, code: CloseCode, reason: &str) {
        panic!("closed with {code:?}: {reason}");
    }
}
