//! Tests only: the whole pipeline, from a made-up database to made-up sockets, on a paused clock. Transactions commit
//! late and out of order, the database fails, restarts and loses transaction ids, clients come and go; all of it drawn
//! from a seed, which a failure prints. `ROWCAST_SEED=42 cargo test simulation` replays one.

mod client;
mod database;
#[cfg(feature = "redis")]
mod relay;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use futures_util::stream::StreamExt as _;
use tokio::time::{Instant, sleep};

use crate::broadcaster::Broadcaster;
use crate::hub::{Hub, HubOptions};
use crate::tail::PollInterval;

use client::Client;
use database::{Committed, Database, FakeSource, break_things, write};

const SEEDS: u64 = 300;

/// Long enough for any back-off to end and the last window to be read.
const SETTLE: Duration = Duration::from_secs(30);

/// The longest outage and the longest wait after it: the age at which a row has surely been delivered.
const DELAY_MAX: Duration = Duration::from_secs(30);

#[test]
fn each_committed_row_reaches_each_subscriber_once_and_in_order() {
    each_seed(run);
}

/// Runs something with each seed, on a paused clock. It gives how much it has done.
fn each_seed<R: Future<Output = usize>>(run: impl Fn(u64) -> R + Sync) {
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

/// The feed goes on where it was, and looks again soon enough, however long the database was away.
#[tokio::test(start_paused = true)]
async fn an_hour_without_the_database_loses_nothing() {
    let database = Arc::new(Database::new(Rng::with_seed(1)));
    database.lock().healthy = true;
    let source = Arc::new(FakeSource(Arc::clone(&database)));
    let broadcaster = Broadcaster::start(source, PollInterval::default())
        .await
        .expect("the database is well");
    let mut events = Box::pin(broadcaster.listen());
    let first = database.commit();
    assert_eq!(events.next().await.map(|event| event.id.0), Some(first));
    // Committed, but not seen before the database goes.
    let unseen = database.commit();
    database.lock().down = true;
    sleep(Duration::from_hours(1)).await;
    let errors = broadcaster.stats().poll_errors;
    assert!(
        (300..3600).contains(&errors),
        "{errors} attempts in an hour: neither given up nor a busy loop"
    );
    database.lock().down = false;
    let back = Instant::now();
    let later = database.commit();
    assert_eq!(events.next().await.map(|event| event.id.0), Some(unseen));
    assert_eq!(events.next().await.map(|event| event.id.0), Some(later));
    assert!(
        back.elapsed() < Duration::from_secs(11),
        "it looked again after {:?}",
        back.elapsed()
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
        // From next to nothing, so that clients read from the table, to more than there ever is.
        recent_bytes_max: 1 << random.u8(8..24),
        messages_per_minute_max: None,
        compression: true,
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
        && listening_since.elapsed() < Duration::from_hours(1)
    {
        sleep(Duration::from_secs(1)).await;
    }

    let committed = database.lock().committed.clone();
    let mut delivered = 0;
    for heard in heard {
        let heard = heard.lock().expect("no panic under the lock").clone();
        check(seed, &committed, &heard, true, |row| {
            row.at >= listening_since
        });
        delivered += heard.len();
    }
    for client in clients {
        let client = client.await.expect("clients do not panic");
        assert_eq!(
            client.resets, 0,
            "seed {seed}: there was no need to refetch"
        );
        assert!(client.is_live, "seed {seed}: it never caught up");
        assert_eq!(
            client.doubled, 0,
            "seed {seed}: a connection got a row twice"
        );
        let received = client.received.clone();
        check(seed, &committed, &received, false, |_| false);
        // What only some of its tokens granted may come late: with what follows a position, sent once more. So may what was
        // committed just before it subscribed: after a crash its position is somewhat earlier.
        let mut expected = received.clone();
        expected.retain(|id| {
            let row = committed.get(id);
            row.is_some_and(|row| row.at >= client.subscribed && client.may_expect(&row.channels))
        });
        check(seed, &committed, &expected, client.in_order, |row| {
            row.at >= client.subscribed
                && row.at + DELAY_MAX < client.left
                && client.may_expect(&row.channels)
        });
        assert_eq!(
            client.not_granted,
            Vec::<i64>::new(),
            "seed {seed}: received, and its token does not grant it"
        );
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
    in_order: bool,
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
                !in_order || row.at >= begin,
                "seed {seed}: row {id} came after {earlier}, which may depend on it"
            );
        }
        if latest_begin.is_none_or(|(begin, _)| row.begin > begin) {
            latest_begin = Some((row.begin, *id));
        }
    }
}
