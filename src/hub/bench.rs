//! What the hub costs, without sockets: delivering, subscribing, catching up from memory, admitting.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use futures_util::stream::{BoxStream, StreamExt as _, empty};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::access::Access;
use super::history::History;
use super::reader::{Reader, Sources, Step};
use super::shard::Shard;
use super::{Connection, Frames, HubOptions, Request, Written};
use crate::auth::{Identity, Permit};
use crate::broadcaster::Broadcaster;
use crate::cursor::{self, Cursor};
use crate::error::Error;
use crate::event::ChannelPattern;
use crate::protocol::{self, CloseCode, Encoded, Presets, Shapes, Since};
use crate::source::{Row, Source, Window};
use crate::tail::PollInterval;

/// Channels of each connection that has nothing to do with what is measured.
const CHANNELS_OF_OTHERS: usize = 10;

/// Who subscribes, and to what.
pub(crate) struct Crowd<'a> {
    /// How many connections there are.
    pub clients: usize,
    /// What each subscribes to.
    pub channels_of: &'a dyn Fn(usize) -> Vec<String>,
    /// Where their frames go. None: they are counted.
    pub outlets: Option<Vec<Arc<dyn Connection>>>,
    /// Subscriptions of others, to channels that nothing happens on. Their connections stand between those that are
    /// counted, as they would.
    pub others: usize,
}

/// A shard with its connections, and no task.
struct Scene {
    shard: Shard,
    runtime: Runtime,
    /// Where a shard is asked for things.
    _requests: mpsc::Sender<Request>,
    connections: u64,
    identity: Arc<Identity>,
}

impl Scene {
    fn new() -> Self {
        let runtime = runtime();
        let sources = sources(&runtime, 0);
        let (requests, _) = mpsc::channel(1);
        let options = HubOptions {
            shards: 1,
            ..HubOptions::default()
        };
        Self {
            shard: Shard::new(sources, options, requests.downgrade(), None),
            runtime,
            _requests: requests,
            connections: 0,
            identity: Arc::new(Identity::anybody()),
        }
    }

    fn fill(&mut self, crowd: &Crowd<'_>) {
        let others = crowd.others.div_ceil(CHANNELS_OF_OTHERS);
        let mut opened = 0;
        for n in 0..crowd.clients.max(1) {
            if n < crowd.clients {
                let outlet = crowd.outlets.as_ref().map(|all| Arc::clone(&all[n]));
                self.open(&(crowd.channels_of)(n), outlet);
            }
            let so_far = others * (n + 1) / crowd.clients.max(1);
            for other in opened..so_far {
                let first = other * CHANNELS_OF_OTHERS;
                let channels = first..(first + CHANNELS_OF_OTHERS).min(crowd.others);
                let channels: Vec<_> = channels.map(|n| format!("others:{n}")).collect();
                self.open(&channels, None);
            }
            opened = so_far;
        }
    }

    fn open(&mut self, channels: &[String], outlet: Option<Arc<dyn Connection>>) -> u64 {
        let connection = self.connections;
        self.connections += 1;
        let open = Request::Open {
            connection,
            outlet: outlet.unwrap_or_else(|| Arc::new(Counted::default())),
            shape: self.shard.shapes().web_socket().clone(),
            identity: Some(Arc::clone(&self.identity)),
        };
        let subscribe = Request::Subscribe {
            connection,
            id: None,
            channels: channels.iter().map(|text| pattern(text)).collect(),
            since: Since::Now,
            permits: Vec::new(),
            presence: false,
        };
        self.ask(open);
        self.ask(subscribe);
        connection
    }

    fn ask(&mut self, request: Request) {
        self.runtime.block_on(self.shard.ask(request));
    }

    fn encoded(&self, channels: &[String]) -> Encoded {
        self.shard.encoded(protocol::bench::batch(1, channels))
    }
}

/// Delivers a batch with an event on each of these channels. Gives how many writes that makes, too.
pub(crate) fn deliver(crowd: &Crowd<'_>, channels: &[String]) -> (u64, impl FnMut() + use<>) {
    let mut scene = Scene::new();
    scene.fill(crowd);
    let batch = scene.encoded(channels);
    let mut deliver = move || {
        let delivering = scene.shard.hand_out(&batch);
        scene.runtime.block_on(delivering)
    };
    let writes = deliver();
    (writes, move || {
        black_box(deliver());
    })
}

/// A connection comes, subscribes to ten channels, and goes.
pub(crate) fn come_and_go(others: usize) -> impl FnMut() {
    let mut scene = Scene::new();
    scene.fill(&Crowd {
        clients: 0,
        channels_of: &|_| Vec::new(),
        outlets: None,
        others,
    });
    move || {
        let channels: Vec<_> = (0..10).map(|n| format!("mine:{n}")).collect();
        let connection = scene.open(&channels, None);
        scene.ask(Request::Remove { connection });
    }
}

/// A client comes back that has missed so many events, ten to a batch, of which it wants one in `one_in`.
pub(crate) fn catch_up(missed: usize, one_in: usize) -> impl FnMut() {
    let runtime = runtime();
    let sources = sources(&runtime, usize::MAX);
    for batch in 0..missed.div_ceil(10) {
        let events = batch * 10..(batch * 10 + 10).min(missed);
        let channels: Vec<_> = events.map(|n| format!("messages:{}", n % one_in)).collect();
        let batch = protocol::bench::batch(batch as u64, &channels);
        sources
            .history
            .push(&Arc::new(sources.encoded(Arc::new(batch))));
    }
    let start = sources.history.start();
    let patterns = [pattern("messages:0")];
    let mut frames = Vec::new();
    move || {
        let mut reader = Reader::new(sources.clone(), start.clone(), None);
        reader.interests().add(&patterns, None);
        let shape = sources.shapes.web_socket();
        frames.clear();
        let reading = async {
            while let Step::Events(batch, wanted) = reader.next().await {
                let wants = |channel: &str| patterns[0].matches(channel);
                batch.copy(shape, wanted.into_iter(), wants, &mut frames);
            }
        };
        runtime.block_on(reading);
        black_box(&frames);
    }
}

/// A client asks for ten channels, with so many tokens for a channel each.
pub(crate) fn admit(permits: usize) -> impl FnMut() {
    let mut access = Access::new(Some(Arc::new(Identity::nobody())));
    let permit = |n: usize| Permit {
        pattern: pattern(&format!("room:{n}")),
        token_id: None,
        expires_at: None,
    };
    access.permit((0..permits).map(permit).collect());
    let asked: Vec<_> = (0..10).map(|n| pattern(&format!("room:{n}"))).collect();
    move || drop(black_box(access.admit(black_box(&asked))))
}

/// A connection that takes everything and counts it.
#[derive(Default)]
struct Counted {
    bytes: AtomicU64,
}

impl Connection for Counted {
    fn write(&self, frames: Frames<'_>) -> Written {
        let bytes = black_box(frames.as_slice()).len() as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Written::Sent
    }

    fn reply(&self, frame: &Bytes) -> Written {
        self.write(Frames::Shared(frame))
    }

    fn queue_bytes_max(&self) -> usize {
        usize::MAX
    }

    fn room(&self, _: usize) -> BoxFuture<'_, bool> {
        ready(true).boxed()
    }

    fn close(&self, _: CloseCode, _: &str) {}
}

/// A table at the first position there is, without rows.
struct Empty;

impl Source for Empty {
    fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
        ready(Ok(cursor::bench::sample(0, 2))).boxed()
    }

    fn rows(&self, _: Window) -> BoxStream<'_, Result<Row, Error>> {
        empty().boxed()
    }

    fn rebase<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Option<Cursor>, Error>> {
        ready(Ok(Some(cursor.clone()))).boxed()
    }
}

pub(super) fn sources(runtime: &Runtime, recent_bytes_max: usize) -> Sources {
    let start = Broadcaster::start(Arc::new(Empty), PollInterval::default());
    // The feed ends here: nothing happens but what is measured.
    let broadcaster = runtime.block_on(start).expect("it is there");
    Sources {
        history: Arc::new(History::new(broadcaster.cursor(), recent_bytes_max)),
        table: broadcaster.table(),
        shapes: Arc::new(Shapes::new(&Presets::default(), false)),
        counters: broadcaster.counters(),
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without a driver needs nothing")
}

fn pattern(text: &str) -> ChannelPattern {
    ChannelPattern::parse(text).expect("it is a good name")
}
