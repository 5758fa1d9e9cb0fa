//! Relays between the made-up database and a made-up stream: they crash, take themselves for the leader while another
//! one is, and lose answers; calls arrive late, after whoever made them is gone; the stream loses its end, or all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::database::{Committed, Database, FakeSource, break_things, write};
use super::{SETTLE, check, each_seed};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::EventId;
use crate::relay::{Log, Relay};
use crate::source::redis::{Appended, Entry, Joint};
use crate::source::{Leadership, StreamRetain};
use crate::tail::PollInterval;

/// How long relays crash and streams break: as long as the writers of the database write.
const RUN: Duration = Duration::from_secs(8);

const INTERVAL: PollInterval = PollInterval {
    max: Duration::from_millis(500),
    min: Duration::from_millis(20),
};

#[test]
fn what_is_relayed_is_in_the_stream_once_and_in_order() {
    each_seed(run);
}

/// The stream, as all relays see it.
struct Redis(Mutex<Kept>);

struct Kept {
    random: Rng,
    entries: Vec<Entry>,
    /// The stream before this one, when it was lost.
    lost: Vec<Vec<Entry>>,
    healthy: bool,
    appended: usize,
}

impl Redis {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().expect("no panic under the lock")
    }

    /// Takes its time, and fails now and then.
    async fn answer(&self) -> Result<(), Error> {
        let (time, fails) = {
            let mut kept = self.lock();
            let fails = !kept.healthy && kept.random.u8(..30) == 0;
            (kept.random.u64(..5), fails)
        };
        sleep(Duration::from_millis(time)).await;
        if fails {
            Err(Error::Unusable("a made-up error".into()))
        } else {
            Ok(())
        }
    }
}

impl Kept {
    fn end(&self) -> Option<Cursor> {
        self.entries.last().map(|last| last.upto.clone())
    }

    fn append(&mut self, end: Option<&Cursor>, entries: &[Entry]) -> Appended {
        if self.end().as_ref() != end {
            return Appended::Moved;
        }
        self.entries.extend_from_slice(entries);
        self.appended += entries.len();
        Appended::Done
    }
}

struct FakeLog(Arc<Redis>);

impl Log for FakeLog {
    fn end(&self) -> BoxFuture<'_, Result<Option<Cursor>, Error>> {
        Box::pin(async {
            self.0.answer().await?;
            Ok(self.0.lock().end())
        })
    }

    fn append<'a>(
        &'a self,
        end: Option<&'a Cursor>,
        entries: &'a [Entry],
        _retain: &'a StreamRetain,
    ) -> BoxFuture<'a, Result<Appended, Error>> {
        Box::pin(async move {
            self.0.answer().await?;
            let (is_late, wait, is_unanswered) = {
                let mut kept = self.0.lock();
                let is_late = !kept.healthy && kept.random.u8(..20) == 0;
                let is_unanswered = !kept.healthy && kept.random.u8(..20) == 0;
                (is_late, kept.random.u64(..4000), is_unanswered)
            };
            if is_late {
                // It is on its way, whatever becomes of who sent it.
                let (redis, end, entries) = (Arc::clone(&self.0), end.cloned(), entries.to_vec());
                tokio::spawn(async move {
                    sleep(Duration::from_millis(wait)).await;
                    redis.lock().append(end.as_ref(), &entries);
                });
                sleep(Duration::from_millis(wait / 2)).await;
                return Err(Error::Unusable("a made-up cut".into()));
            }
            // It may be cut off in the midst of them.
            let upto = if is_unanswered {
                self.0.lock().random.usize(..=entries.len())
            } else {
                entries.len()
            };
            let appended = self.0.lock().append(end, &entries[..upto]);
            if is_unanswered {
                return Err(Error::Unusable("a made-up cut".into()));
            }
            Ok(appended)
        })
    }
}

/// A lock that is lost now and then, and sometimes without its owner's knowledge.
struct FakeLock {
    own: usize,
    holder: Arc<Mutex<Option<usize>>>,
    random: Rng,
    /// Takes itself for the leader until then.
    blind: Option<Instant>,
}

impl FakeLock {
    fn holder(&self) -> MutexGuard<'_, Option<usize>> {
        self.holder.lock().expect("no panic under the lock")
    }
}

impl Leadership for FakeLock {
    fn take(&mut self) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async {
            sleep(Duration::from_millis(self.random.u64(..5))).await;
            if self.random.u8(..10) == 0 {
                return Err(Error::Unusable("a made-up error".into()));
            }
            let mut holder = self.holder();
            let is_free = holder.is_none_or(|holder| holder == self.own);
            if is_free {
                *holder = Some(self.own);
            }
            Ok(is_free)
        })
    }

    fn check(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            if self.blind.is_some_and(|until| Instant::now() < until) {
                return Ok(());
            }
            if *self.holder() != Some(self.own) {
                return Err(Error::Unusable("the lock is another's".into()));
            }
            if self.random.u8(..4) == 0 {
                // Others may have it from now on.
                *self.holder() = None;
                self.blind = Some(Instant::now() + Duration::from_millis(self.random.u64(..4000)));
            }
            Ok(())
        })
    }

    fn give_up(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut holder = self.holder();
            if *holder == Some(self.own) {
                *holder = None;
            }
        })
    }
}

/// One run; gives the number of entries that were appended.
async fn run(seed: u64) -> usize {
    let mut random = Rng::with_seed(seed);
    fastrand::seed(seed);
    let database = Arc::new(Database::new(random.fork()));
    let redis = Arc::new(Redis(Mutex::new(Kept {
        random: random.fork(),
        entries: Vec::new(),
        lost: Vec::new(),
        healthy: false,
        appended: 0,
    })));
    let holder = Arc::<Mutex<Option<usize>>>::default();
    let mut started = 0;
    let mut start = |random: &mut Rng| {
        started += 1;
        let lock = FakeLock {
            own: started,
            holder: Arc::clone(&holder),
            random: random.fork(),
            blind: None,
        };
        let relay = Relay::new(
            Arc::new(FakeSource(Arc::clone(&database))),
            Box::new(lock),
            Arc::new(FakeLog(Arc::clone(&redis))),
            StreamRetain {
                keep: Duration::from_mins(10),
                entries_max: 100_000,
            },
            INTERVAL,
            Arc::default(),
        );
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(relay.run(async { drop(stopped.await) }));
        (started, stop, task)
    };
    let mut relays: Vec<_> = (0..random.usize(1..4))
        .map(|_| start(&mut random))
        .collect();
    let begin = Instant::now();
    let faults = tokio::spawn(break_things(Arc::clone(&database), random.fork()));
    let writers: Vec<JoinHandle<()>> = (0..random.usize(1..6))
        .map(|_| tokio::spawn(write(Arc::clone(&database), random.fork())))
        .collect();
    while begin.elapsed() < RUN {
        sleep(Duration::from_millis(random.u64(..1500))).await;
        let chosen = random.usize(..relays.len());
        match random.u8(..6) {
            0 | 1 => {
                let (own, _stop, task) = relays.swap_remove(chosen);
                task.abort();
                // Its session ends with it.
                let mut holder = holder.lock().expect("no panic under the lock");
                if *holder == Some(own) {
                    *holder = None;
                }
                drop(holder);
                relays.push(start(&mut random));
            }
            2 => {
                let (_, stop, task) = relays.swap_remove(chosen);
                drop(stop);
                task.await.expect("relays do not panic");
                relays.push(start(&mut random));
            }
            3 => {
                let mut kept = redis.lock();
                let left = kept.entries.len().saturating_sub(random.usize(..20));
                kept.entries.truncate(left);
            }
            4 => {
                let mut kept = redis.lock();
                let lost = std::mem::take(&mut kept.entries);
                kept.lost.push(lost);
            }
            _ => {}
        }
    }
    for writer in writers {
        writer.await.expect("writers do not panic");
    }
    faults.await.expect("faults do not panic");
    database.lock().healthy = true;
    redis.lock().healthy = true;
    sleep(SETTLE).await;

    let committed = database.lock().committed.clone();
    let (entries, lost) = {
        let kept = redis.lock();
        (kept.entries.clone(), kept.lost.clone())
    };
    for stream in &lost {
        once(seed, stream, &committed);
    }
    let [first, rest @ ..] = &entries[..] else {
        panic!("seed {seed}: there is no stream");
    };
    assert!(
        first.joint == Joint::Left && first.events.is_empty(),
        "seed {seed}: {first:?}"
    );
    assert!(
        rest.iter().all(|entry| entry.joint != Joint::Reset),
        "seed {seed}: nobody has to refetch"
    );
    let mut received = once(seed, &entries, &committed);
    check(seed, &committed, &received, false, |_| false);
    // What was committed before the stream begins, and after a crash is told again.
    received.retain(|id| !is_before(&first.upto, *id, &committed[id]));
    let after: BTreeMap<_, _> = committed
        .into_iter()
        .filter(|(id, row)| !is_before(&first.upto, *id, row))
        .collect();
    check(seed, &after, &received, true, |_| true);
    redis.lock().appended
}

/// The rows of a stream, each where it first came. They come again only after a crash, and only those behind the place from
/// which the feed goes on: of these all do, as who comes to that place later may have none of them.
fn once(seed: u64, entries: &[Entry], committed: &BTreeMap<i64, Committed>) -> Vec<i64> {
    let (mut received, mut known) = (Vec::new(), BTreeSet::new());
    for life in entries.chunk_by(|one, next| one.upto.epoch == next.upto.epoch) {
        let [bridge, life @ ..] = life else {
            unreachable!("chunks are not empty")
        };
        assert!(
            bridge.joint == Joint::Left && bridge.events.is_empty(),
            "seed {seed}: into another life by {bridge:?}"
        );
        let events = || life.iter().flat_map(|entry| &entry.events);
        let ids: BTreeSet<_> = events().map(|event| event.id.0).collect();
        assert_eq!(
            ids.len(),
            events().count(),
            "seed {seed}: some row came twice"
        );
        if let Some(last) = life.last() {
            let due = committed.iter().filter(|(id, row)| {
                is_before(&last.upto, **id, row) && !is_before(&bridge.upto, **id, row)
            });
            let due: BTreeSet<_> = due.map(|(id, _)| *id).collect();
            let missing: Vec<_> = due.difference(&ids).collect();
            assert!(missing.is_empty(), "seed {seed}: {missing:?} were left out");
        }
        received.extend(
            events()
                .map(|event| event.id.0)
                .filter(|id| known.insert(*id)),
        );
    }
    received
}

/// Whether whoever is at this place has the row. Of a later life of the database it does not, whatever its number there.
fn is_before(place: &Cursor, id: i64, row: &Committed) -> bool {
    row.epoch <= place.epoch.number && place.covers(EventId(id), Some(row.xid))
}
