//! What a relay does in a second, and how late it is: 100,000 events of one commit; commits of one event, by eight writers;
//! and events that come alone. `cargo bench --bench relay`.
//!
//! Events have 300 bytes of payload. Everything is on one machine, so the figures that count are those for a second of
//! processor time; of Redis with a log that is on the disk within a second.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use redis::streams::StreamReadReply;
use support::process::cpu_of;
use support::redis::Redis;
use support::relay::Relay;
use support::{Connection, Database, Postgres};

const FEED: &str = "{rowcast}:feed";
const BULK: u64 = 100_000;
const WRITERS: u64 = 8;
const WRITE_FOR: Duration = Duration::from_secs(10);
const ALONE: u32 = 200;
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() {
    let postgres = Postgres::start();
    let database = Database::on(&postgres).await;
    database.open().await;
    let redis = Redis::durable();
    let relay = Relay::start(&database.url, &redis.url(), &["--log", "warn"]);
    let events = follow(&redis);
    let cpu = || [cpu_of(relay.id()), redis.cpu()];
    let mut connection = database.connect().await;
    // It leads from its first entry on.
    events.recv().expect("the stream begins");
    for round in 1..=ROUNDS {
        let before = cpu();
        connection.run(&insert(BULK)).await;
        let committed = Instant::now();
        let last = count(&events, BULK);
        report(
            "100,000 in one commit",
            BULK,
            last.duration_since(committed),
            before,
            cpu(),
        );

        let before = cpu();
        let start = Instant::now();
        let written = write(&database.url).await;
        let took = count(&events, written).duration_since(start);
        report("commits of one", written, took, before, cpu());

        let mut late = Vec::new();
        for _ in 0..ALONE {
            connection.run(&insert(1)).await;
            let committed = Instant::now();
            let came = count(&events, 1);
            late.push(came.saturating_duration_since(committed));
            tokio::time::sleep(Duration::from_millis(fastrand::u64(20..80))).await;
        }
        late.sort_unstable();
        let at = |share: usize| late[late.len() * share / 100];
        println!(
            "alone: read from the stream {:?} p50, {:?} p90, {:?} p99 after COMMIT (round {round})",
            at(50),
            at(90),
            at(99)
        );
    }
}

fn insert(events: u64) -> String {
    format!(
        "INSERT INTO events (channel, type, payload) SELECT 'tasks', 'task.created', jsonb_build_object('text', repeat('x', 288)) \
         FROM generate_series(1, {events})"
    )
}

/// Commits of one event by several writers. Gives how many.
async fn write(url: &str) -> u64 {
    let stop = Arc::<AtomicBool>::default();
    let written = Arc::<AtomicU64>::default();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (stop, written, url) = (Arc::clone(&stop), Arc::clone(&written), url.to_owned());
            tokio::spawn(async move {
                let mut connection = Connection::open(&url).await;
                while !stop.load(Ordering::Relaxed) {
                    connection.run(&insert(1)).await;
                    written.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(WRITE_FOR).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("writers do not panic");
    }
    written.load(Ordering::Relaxed)
}

/// Tells of all events that come: when, and how many.
fn follow(redis: &Redis) -> Receiver<(Instant, u64)> {
    let (tell, told) = channel();
    let client = redis::Client::open(redis.url()).expect("a URL");
    std::thread::spawn(move || {
        let mut connection = client.get_connection().expect("it runs");
        let mut after = "0".to_owned();
        loop {
            let read: redis::RedisResult<Option<StreamReadReply>> = redis::cmd("XREAD")
                .arg(&["COUNT", "64", "BLOCK", "1000", "STREAMS", FEED, &after])
                .query(&mut connection);
            let Ok(reply) = read else { return };
            let came = Instant::now();
            for id in reply
                .into_iter()
                .flat_map(|reply| reply.keys)
                .flat_map(|key| key.ids)
            {
                let text = id.get::<String>("e").expect("it has events");
                let events: Vec<serde::de::IgnoredAny> = serde_json::from_str(&text).expect("JSON");
                after = id.id;
                if tell.send((came, events.len() as u64)).is_err() {
                    return;
                }
            }
        }
    });
    told
}

/// Waits for so many events, and gives when the last of them came.
fn count(events: &Receiver<(Instant, u64)>, wanted: u64) -> Instant {
    let mut have = 0;
    loop {
        let (came, more) = events
            .recv_timeout(Duration::from_mins(1))
            .expect("they come");
        have += more;
        if have >= wanted {
            assert_eq!(have, wanted, "once");
            return came;
        }
    }
}

fn report(what: &str, events: u64, took: Duration, before: [Duration; 2], after: [Duration; 2]) {
    let micros = |n: usize| after[n].saturating_sub(before[n]).as_secs_f64() * 1e6 / events as f64;
    println!(
        "{what}: {events} events in {took:.2?}, {:.0}/s; processor time for an event: relay {:.1} us, Redis {:.1} us",
        events as f64 / took.as_secs_f64(),
        micros(0),
        micros(1)
    );
}
