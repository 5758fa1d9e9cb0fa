//! A made-up database, its writers, and its faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_stream::stream;
use fastrand::Rng;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use crate::cursor::{Cursor, Epoch, Position, Snapshot, Within};
use crate::error::Error;
use crate::event::{Channels, Event, EventId};
use crate::source::{Row, Source, Window};

/// How long the writers of one run write.
const RUN: Duration = Duration::from_secs(8);

const CHANNELS: [&str; 7] = [
    "tasks",
    "plans",
    "messages:1",
    "messages:2",
    "project:7:tasks",
    "tasks plans",
    "messages:1 project:7",
];
/// A database as Postgres is: ids and transaction numbers are given out before commit.
pub(super) struct Database(Mutex<State>);

pub(super) struct State {
    random: Rng,
    next_id: i64,
    next_xid: u64,
    in_flight: BTreeSet<u64>,
    /// Committed rows, by transaction.
    rows: BTreeMap<u64, Vec<Stored>>,
    pub(super) committed: BTreeMap<i64, Committed>,
    /// No transaction number below it is given out again. It is what the log on the disk tells, so it lags behind.
    durable: u64,
    /// How often it was taken down.
    crashes: usize,
    pub(super) down: bool,
    /// No more made-up errors.
    pub(super) healthy: bool,
}

#[derive(Clone)]
pub(super) struct Stored {
    id: i64,
    xid: u64,
    channels: Channels,
}

#[derive(Clone)]
pub(super) struct Committed {
    pub(super) begin: Instant,
    pub(super) at: Instant,
    /// The number of the epoch it was committed in, and that of its transaction there.
    #[cfg(feature = "redis")]
    pub(super) epoch: u64,
    #[cfg(feature = "redis")]
    pub(super) xid: u64,
    pub(super) channels: Channels,
}

impl Database {
    pub(super) fn new(random: Rng) -> Self {
        let next_xid = 700;
        Self(Mutex::new(State {
            random,
            next_id: 1,
            next_xid,
            in_flight: BTreeSet::new(),
            rows: BTreeMap::new(),
            committed: BTreeMap::new(),
            durable: next_xid,
            crashes: 0,
            down: false,
            healthy: false,
        }))
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no panic under the lock")
    }

    /// Commits one row at once.
    pub(super) fn commit(&self) -> i64 {
        let mut state = self.lock();
        let (id, xid) = (state.next_id, state.next_xid);
        state.next_id += 1;
        state.next_xid += 1;
        let channels = Channels::parse(CHANNELS[0]).expect("valid");
        state.rows.insert(xid, vec![Stored { id, xid, channels }]);
        id
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
    /// Behind the last transaction number that a crash cannot forget.
    fn forgettable(&self) -> u64 {
        self.rows.last_key_value().map_or(700, |(xid, _)| xid + 1)
    }

    /// What is on the disk moves on now and then.
    fn look(&mut self) -> Cursor {
        if self.random.u8(..8) == 0 {
            self.durable = self.forgettable();
        }
        self.snapshot()
    }

    fn snapshot(&self) -> Cursor {
        let xmin = self.in_flight.first().copied().unwrap_or(self.next_xid);
        Cursor {
            epoch: Epoch {
                number: self.crashes as u64,
                tag: 1,
            },
            position: Position::Snapshot(Snapshot {
                xmin,
                xmax: self.next_xid,
                in_flight: self.in_flight.iter().copied().collect(),
                durable: self.durable,
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
            .filter(|(xid, _)| upto.sees(**xid) && !after.sees(**xid))
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

pub(super) async fn write(database: Arc<Database>, mut random: Rng) {
    let end = Instant::now() + RUN;
    while Instant::now() < end {
        sleep(Duration::from_millis(random.u64(..300))).await;
        if database.lock().down {
            continue;
        }
        let begin = Instant::now();
        let (xid, crashes) = {
            let mut state = database.lock();
            let xid = state.next_xid;
            state.next_xid += 1;
            state.in_flight.insert(xid);
            (xid, state.crashes)
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
                xid,
                channels,
            });
            state.next_id += 1;
        }
        if random.u8(..30) == 0 {
            sleep(Duration::from_millis(random.u64(..3000))).await;
        }
        let mut state = database.lock();
        // A restart has rolled it back.
        if state.crashes != crashes || state.down {
            continue;
        }
        state.in_flight.remove(&xid);
        if random.u8(..10) > 0 {
            for row in rows {
                let committed = Committed {
                    begin,
                    at: Instant::now(),
                    #[cfg(feature = "redis")]
                    epoch: crashes as u64,
                    #[cfg(feature = "redis")]
                    xid,
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
pub(super) async fn break_things(database: Arc<Database>, mut random: Rng) {
    for _ in 0..random.usize(..4) {
        sleep(Duration::from_millis(random.u64(..3000))).await;
        database.lock().down = true;
        sleep(Duration::from_millis(random.u64(..8000))).await;
        let mut state = database.lock();
        let known = state.forgettable();
        state.next_xid = random.u64(known..=state.next_xid);
        state.in_flight.clear();
        state.crashes += 1;
        state.down = false;
    }
}

pub(super) struct FakeSource(pub(super) Arc<Database>);

impl Source for FakeSource {
    fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
        Box::pin(async {
            self.0.answer().await?;
            Ok(self.0.lock().look())
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
                yield Ok(Ok(Arc::new(Event {
                    id: EventId(row.id),
                    channels: row.channels,
                    kind: "simulated".into(),
                    entity_id: None,
                    actor: None,
                    payload: payload_of(row.id),
                    previous: None,
                    trace_id: None,
                    origin: None,
                    transaction: Some(row.xid),
                    created_at: String::new(),
                })));
            }
        }
        .boxed()
    }

    fn rebase<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Option<Cursor>, Error>> {
        Box::pin(async move {
            self.0.answer().await?;
            let state = self.0.lock();
            // What it saw beyond may be of transactions that a crash forgot, or may have been kept: then it comes again.
            let has_crashed = cursor.epoch.number != state.crashes as u64;
            let place = |snapshot: &Snapshot| {
                if has_crashed {
                    snapshot.cut_at(snapshot.durable)
                } else {
                    snapshot.clone()
                }
            };
            let position = match &cursor.position {
                Position::Id(_) => return Ok(None),
                Position::Snapshot(snapshot) => Position::Snapshot(place(snapshot)),
                Position::Within(within) => Position::Within(Box::new(Within {
                    after: place(&within.after),
                    upto: place(&within.upto),
                    id: within.id,
                })),
            };
            let epoch = Epoch {
                number: state.crashes as u64,
                tag: 1,
            };
            Ok(Some(Cursor { epoch, position }))
        })
    }
}

/// Every third event is long enough to be compressed.
fn payload_of(id: i64) -> Box<RawValue> {
    let letters = if id % 3 == 0 { 300 } else { 0 };
    let text = format!("{{\"text\":\"{}\"}}", "x".repeat(letters));
    RawValue::from_string(text).expect("valid")
}
