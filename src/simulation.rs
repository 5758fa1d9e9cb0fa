//! Tests only: the whole pipeline, from a made-up database to made-up sockets, on a paused clock. Transactions commit
//! late and out of order, the database fails, restarts and loses transaction ids, clients come and go; all of it drawn
//! from a seed, which a failure prints. `ROWCAST_SEED=42 cargo test simulation` replays one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_stream::stream;
use fastrand::Rng;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use crate::broadcaster::Broadcaster;
use crate::cursor::{Cursor, Epoch, Position, Snapshot};
use crate::error::Error;
use crate::event::{ChannelPattern, Channels, Event, EventId};
use crate::hub::{Connection, Frames, Hub, HubOptions, Written};
use crate::protocol::CloseCode;
use crate::session::Session;
use crate::source::{Row, Source, Window};
use crate::tail::PollInterval;

const SEEDS: u64 = 1000;

/// How long the writers of one run write.
const RUN: Duration = Duration::from_secs(8);

/// Long enough for any back-off to end and the last window to be read.
const SETTLE: Duration = Duration::from_secs(30);

/// The longest outage and the longest wait after it: the age at which a row has surely been delivered.
const DELAY_MAX: Duration = Duration::from_secs(30);

const CHANNELS: [&str; 7] = [
    "tasks",
    "plans",
    "messages:1",
    "messages:2",
    "project:7:tasks",
    "tasks plans",
    "messages:1 project:7",
];
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

#[test]
fn each_committed_row_reaches_each_subscriber_once_and_in_order() {
    let seeds = match std::env::var("ROWCAST_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("ROWCAST_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    };
    let seeds = Mutex::new(seeds);
    let delivered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = {
                    let mut seeds = seeds.lock().expect("no panic under the lock");
                    seeds.next()
                } {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_time()
                        .start_paused(true)
                        .build()
                        .expect("a runtime without I/O");
                    delivered.fetch_add(runtime.block_on(run(seed)), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(
        delivered.into_inner() > 0,
        "nothing was delivered, so nothing was tested"
    );
}

/// One run; gives the number of deliveries.
async fn run(seed: u64) -> usize {
    let mut random = Rng::with_seed(seed);
    // The back-off draws from the thread's own.
    fastrand::seed(seed);
    let database = Arc::new(Database::new(random.fork()));
    let interval = PollInterval {
        max: Duration::from_millis(500),
        min: Duration::from_millis(20),
    };
    let broadcaster = loop {
        match Broadcaster::start(Arc::new(FakeSource(Arc::clone(&database))), interval).await {
            Ok(broadcaster) => break broadcaster,
            Err(_made_up) => sleep(Duration::from_millis(100)).await,
        }
    };
    let options = HubOptions {
        shards: random.usize(1..=3),
        ..HubOptions::default()
    };
    let hub = Hub::start(&broadcaster, options);

    // One listener keeps up, one reads so slowly that it is sent to the table.
    let heard: Vec<_> = [Duration::ZERO, Duration::from_millis(random.u64(0..40))]
        .map(|pause| {
            let heard = Arc::new(Mutex::new(Vec::new()));
            let (events, to) = (broadcaster.listen(), Arc::clone(&heard));
            tokio::spawn(async move {
                let mut events = std::pin::pin!(events);
                while let Some(event) = events.next().await {
                    to.lock().expect("no panic under the lock").push(event.id.0);
                    if !pause.is_zero() {
                        sleep(pause).await;
                    }
                }
            });
            heard
        })
        .into();
    let listening_since = Instant::now();

    let writers: Vec<_> = (0..random.usize(1..6))
        .map(|_| tokio::spawn(write(Arc::clone(&database), random.fork())))
        .collect();
    let faults = tokio::spawn(break_things(Arc::clone(&database), random.fork()));
    let clients: Vec<_> = (0..random.usize(1..6))
        .map(|_| tokio::spawn(Client::live(hub.clone(), random.fork())))
        .collect();
    for writer in writers {
        writer.await.expect("writers do not panic");
    }
    faults.await.expect("faults do not panic");
    database.lock().healthy = true;
    sleep(SETTLE).await;
    // The slow one has as long as it needs.
    while Arc::clone(&heard[1])
        .lock()
        .expect("no panic under the lock")
        .len()
        < database.lock().committed.len()
        && listening_since.elapsed() < Duration::from_mins(60)
    {
        sleep(Duration::from_secs(1)).await;
    }

    let committed = database.lock().committed.clone();
    let mut delivered = 0;
    for heard in heard {
        let heard = heard.lock().expect("no panic under the lock").clone();
        check(seed, &committed, &heard, |row| row.at >= listening_since);
        delivered += heard.len();
    }
    for client in clients {
        let client = client.await.expect("clients do not panic");
        let received = client.received();
        check(seed, &committed, &received, |row| {
            row.at >= client.subscribed
                && row.at + DELAY_MAX < client.left
                && client.wants(&row.channels)
        });
        let unwanted = received.iter().find(|id| {
            committed
                .get(id)
                .is_some_and(|row| !client.wants(&row.channels))
        });
        assert_eq!(
            unwanted, None,
            "seed {seed}: received, but not subscribed to"
        );
        delivered += received.len();
    }
    delivered
}

/// Each row that had to come came, none came twice, none came that was not committed, and none before its cause.
fn check(
    seed: u64,
    committed: &BTreeMap<i64, Committed>,
    received: &[i64],
    due: impl Fn(&Committed) -> bool,
) {
    let once: BTreeSet<_> = received.iter().copied().collect();
    assert_eq!(
        once.len(),
        received.len(),
        "seed {seed}: some row came twice"
    );
    for (id, row) in committed {
        assert!(
            !due(row) || once.contains(id),
            "seed {seed}: row {id}, committed at {:?}, did not come",
            row.at
        );
    }
    let mut latest_begin: Option<(Instant, i64)> = None;
    for id in received {
        let Some(row) = committed.get(id) else {
            panic!("seed {seed}: row {id} was never committed")
        };
        if let Some((begin, earlier)) = latest_begin {
            // Whatever was committed before another transaction began may be its cause.
            assert!(
                row.at >= begin,
                "seed {seed}: row {id} came after {earlier}, which may depend on it"
            );
        }
        if latest_begin.is_none_or(|(begin, _)| row.begin > begin) {
            latest_begin = Some((row.begin, *id));
        }
    }
}

/// A database as Postgres is: ids and transaction numbers are given out before commit.
struct Database(Mutex<State>);

struct State {
    random: Rng,
    next_id: i64,
    next_xid: u64,
    in_flight: BTreeSet<u64>,
    /// Committed rows, by transaction.
    rows: BTreeMap<u64, Vec<Stored>>,
    committed: BTreeMap<i64, Committed>,
    /// Per epoch after the first, the transaction number it began with.
    epochs: Vec<u64>,
    down: bool,
    /// No more made-up errors.
    healthy: bool,
}

#[derive(Clone)]
struct Stored {
    id: i64,
    channels: Channels,
}

#[derive(Clone)]
struct Committed {
    begin: Instant,
    at: Instant,
    channels: Channels,
}

impl Database {
    fn new(random: Rng) -> Self {
        let next_xid = 700;
        Self(Mutex::new(State {
            random,
            next_id: 1,
            next_xid,
            in_flight: BTreeSet::new(),
            rows: BTreeMap::new(),
            committed: BTreeMap::new(),
            epochs: Vec::new(),
            down: false,
            healthy: false,
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no panic under the lock")
    }

    /// Takes its time, and fails now and then.
    async fn answer(&self) -> Result<(), Error> {
        let (time, fails) = {
            let mut state = self.lock();
            let fails = state.down || (!state.healthy && state.random.u8(..40) == 0);
            (state.random.u64(..5), fails)
        };
        sleep(Duration::from_millis(time)).await;
        if fails {
            Err(Error::Unusable("a made-up error".into()))
        } else {
            Ok(())
        }
    }
}

impl State {
    fn snapshot(&self) -> Cursor {
        let xmin = self.in_flight.first().copied().unwrap_or(self.next_xid);
        Cursor {
            epoch: Epoch {
                number: self.epochs.len() as u64,
                tag: 1,
            },
            position: Position::Snapshot(Snapshot {
                xmin,
                xmax: self.next_xid,
                in_flight: self.in_flight.iter().copied().collect(),
            }),
        }
    }
}

impl State {
    /// The rows of a window, and where reading them breaks off.
    fn read(&mut self, window: &Window) -> Result<(Vec<Stored>, Option<usize>), Error> {
        let present = self.snapshot().epoch;
        if window.after.epoch != present || window.upto.epoch != present {
            return Err(Error::EpochChanged);
        }
        let (Position::Snapshot(after), Position::Snapshot(upto)) =
            (&window.after.position, &window.upto.position)
        else {
            return Err(Error::EpochChanged);
        };
        let mut rows: Vec<_> = self
            .rows
            .range(after.xmin..upto.xmax.max(after.xmin))
            .filter(|(xid, _)| sees(upto, **xid) && !sees(after, **xid))
            .flat_map(|(_, rows)| rows)
            .filter(|row| window.resume_after.is_none_or(|id| row.id > id.0))
            .cloned()
            .collect();
        rows.sort_by_key(|row| row.id);
        let breaks_off = !self.healthy && self.random.u8(..20) == 0;
        let breaks_off = breaks_off.then(|| self.random.usize(..=rows.len()));
        Ok((rows, breaks_off))
    }
}

fn sees(snapshot: &Snapshot, xid: u64) -> bool {
    xid < snapshot.xmax && !snapshot.in_flight.contains(&xid)
}

async fn write(database: Arc<Database>, mut random: Rng) {
    let end = Instant::now() + RUN;
    while Instant::now() < end {
        sleep(Duration::from_millis(random.u64(..300))).await;
        if database.lock().down {
            continue;
        }
        let begin = Instant::now();
        let (xid, epoch) = {
            let mut state = database.lock();
            let xid = state.next_xid;
            state.next_xid += 1;
            state.in_flight.insert(xid);
            (xid, state.epochs.len())
        };
        // Now and then a bulk insert, of several batches.
        let count = if random.u8(..50) == 0 {
            random.usize(1000..3500)
        } else {
            random.usize(..4)
        };
        let mut rows = Vec::new();
        for n in 0..count {
            if n < 4 {
                sleep(Duration::from_millis(random.u64(..12))).await;
            }
            let channels =
                Channels::parse(random.choice(CHANNELS).expect("not empty")).expect("valid");
            let mut state = database.lock();
            rows.push(Stored {
                id: state.next_id,
                channels,
            });
            state.next_id += 1;
        }
        if random.u8(..30) == 0 {
            sleep(Duration::from_millis(random.u64(..3000))).await;
        }
        let mut state = database.lock();
        // A restart has rolled it back.
        if state.epochs.len() != epoch || state.down {
            continue;
        }
        state.in_flight.remove(&xid);
        if random.u8(..10) > 0 {
            for row in rows {
                let committed = Committed {
                    begin,
                    at: Instant::now(),
                    channels: row.channels.clone(),
                };
                state.committed.insert(row.id, committed);
                state.rows.entry(xid).or_default().push(row);
            }
        }
    }
}

/// Takes the database down a few times. What was committed stays; of the transaction numbers given out since the last
/// commit some are forgotten and given out again.
async fn break_things(database: Arc<Database>, mut random: Rng) {
    for _ in 0..random.usize(..4) {
        sleep(Duration::from_millis(random.u64(..3000))).await;
        database.lock().down = true;
        sleep(Duration::from_millis(random.u64(..8000))).await;
        let mut state = database.lock();
        let known = state.rows.last_key_value().map_or(700, |(xid, _)| xid + 1);
        state.next_xid = random.u64(known..=state.next_xid);
        state.in_flight.clear();
        let start = state.next_xid;
        state.epochs.push(start);
        state.down = false;
    }
}

struct FakeSource(Arc<Database>);

impl Source for FakeSource {
    fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
        Box::pin(async {
            self.0.answer().await?;
            Ok(self.0.lock().snapshot())
        })
    }

    fn rows(&self, window: Window) -> BoxStream<'_, Result<Row, Error>> {
        stream! {
            if let Err(error) = self.0.answer().await {
                yield Err(error);
                return;
            }
            let read = self.0.lock().read(&window);
            let (rows, breaks_off) = match read {
                Ok(read) => read,
                Err(error) => {
                    yield Err(error);
                    return;
                }
            };
            for (n, row) in rows.into_iter().enumerate() {
                if breaks_off == Some(n) {
                    yield Err(Error::Unusable("a made-up break".into()));
                    return;
                }
                yield Ok(Ok(Event {
                    id: EventId(row.id),
                    channels: row.channels,
                    kind: "simulated".into(),
                    entity_id: None,
                    actor: None,
                    payload: RawValue::from_string("{}".into()).expect("valid"),
                    previous: None,
                    trace_id: None,
                    origin: None,
                    created_at: String::new(),
                }));
            }
        }
        .boxed()
    }

    fn rebase<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Option<Cursor>, Error>> {
        Box::pin(async {
            self.0.answer().await?;
            let state = self.0.lock();
            let Position::Snapshot(mut snapshot) = cursor.position.clone() else {
                return Ok(None);
            };
            for start in &state.epochs[cursor.epoch.number as usize..] {
                snapshot = snapshot.cut_at(*start);
            }
            let epoch = Epoch {
                number: state.epochs.len() as u64,
                tag: 1,
            };
            Ok(Some(Cursor {
                epoch,
                position: Position::Snapshot(snapshot),
            }))
        })
    }
}

/// A client that subscribes, stays a while, and leaves.
struct Client {
    socket: Arc<Socket>,
    patterns: Vec<ChannelPattern>,
    subscribed: Instant,
    left: Instant,
}

impl Client {
    async fn live(hub: Hub, mut random: Rng) -> Self {
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

    fn wants(&self, channels: &Channels) -> bool {
        channels
            .iter()
            .any(|channel| self.patterns.iter().any(|pattern| pattern.matches(channel)))
    }

    fn received(&self) -> Vec<i64> {
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
