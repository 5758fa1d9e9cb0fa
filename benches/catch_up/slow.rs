//! A client that reads a kilobyte a second of a feed that has a megabyte a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{interval, sleep, timeout};

use crate::client::{self, Client};
use crate::feed::{Feed, event};
use crate::tell;

/// Memory for those who come back: full after some seconds, and of one size after some more, as the allocator goes.
const RECENT_BYTES: &str = "8388608";
const WARM_UP: Duration = Duration::from_secs(30);

/// With all that is around the payload, an event has about 450 bytes on its way.
const WRITE_INTERVAL: Duration = Duration::from_millis(20);
const EVENTS_PER_WRITE: usize = 46;

const READ_BYTES_PER_SECOND: usize = 1024;
const SAMPLES: u32 = 10;

/// What else there is to grow: allocators are no clockwork.
const GROWTH_MAX: f64 = 0.15;

pub async fn measure(kind: &str, pinned: bool, seconds: u64) {
    println!(" a client that reads 1 KB/s of 1 MB/s, for {seconds} s");
    let feed = Feed::start(kind, pinned, &["--max-recent-bytes", RECENT_BYTES]).await;
    let writer = feed.writer().await;
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let mut client = Client::connect_slow(&feed.address).await;
    let writing = tokio::spawn(async move {
        let mut ticks = interval(WRITE_INTERVAL);
        let mut ids = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            ticks.tick().await;
            let events: Vec<_> = (0..EVENTS_PER_WRITE).map(|n| event("busy", n)).collect();
            ids.extend(writer.write(&events).await);
        }
        ids
    });
    sleep(WARM_UP).await;
    client.subscribe(&["busy"], None).await;
    let mut samples = vec![feed.server.rss_bytes()];
    let (start, cpu) = (Instant::now(), feed.server.cpu());
    let mut seconds_ticks = interval(Duration::from_secs(1));
    while start.elapsed() < Duration::from_secs(seconds) {
        seconds_ticks.tick().await;
        client.take(READ_BYTES_PER_SECOND).await;
        if start.elapsed() >= Duration::from_secs(seconds) / SAMPLES * samples.len() as u32 {
            samples.push(feed.server.rss_bytes());
        }
    }
    let cpu = feed.server.cpu_since(cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    let megabytes: Vec<_> = samples
        .iter()
        .map(|bytes| format!("{:.1}", *bytes as f64 / 1e6))
        .collect();
    let growth = samples[samples.len() - 1] as f64 / samples[0] as f64 - 1.0;
    tell(
        &format!("memory stays as it was, {:.0} %", GROWTH_MAX * 100.0),
        &format!("{} MB ({:+.0} %)", megabytes.join(" "), growth * 100.0),
        growth <= GROWTH_MAX,
    );
    println!(
        "    server {:.0} % of its core; {} times too slow, {} readings of the table, {} batches from memory",
        cpu * 100.0,
        feed.counter("slowConnections"),
        feed.counter("tableReads"),
        feed.counter("recentReads"),
    );
    over.store(true, Ordering::Relaxed);
    let written = writing.await.expect("the writer goes on");
    let behind = Instant::now();
    let last = *written.last().expect("there are some");
    let mut got = Vec::new();
    while got.last() != Some(&last) {
        let Ok(frame) = timeout(Duration::from_secs(20), client.frame()).await else {
            break;
        };
        if client::kind(frame) == "event" {
            got.push(client::id(frame));
        }
    }
    // From the first it got on, every one.
    let from = got
        .first()
        .map_or(0, |first| written.partition_point(|id| id < first));
    let wanted = &written[from..];
    tell(
        "then it hurries, and has every event once and in order",
        &format!(
            "{} of {} in {:.1?}, {:.0} events/s",
            got.len(),
            wanted.len(),
            behind.elapsed(),
            got.len() as f64 / behind.elapsed().as_secs_f64()
        ),
        got == wanted,
    );
}
