//! The real server with one client: how long after its commit an event arrives, and what that takes.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use rowcast::Migrate;
use rowcast::source::open_insert;
use rowcast::{Channels, NewEvent};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{interval_at, sleep};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::Database;
use crate::support::process::Process;
use crate::{cpu, cpu_of_backends};

/// Commits a second.
const RATES: [u32; 5] = [1, 10, 50, 100, 1000];

pub async fn idle(database: &Database, seconds: u64) {
    let server = start(database);
    let mut connection = database.connect().await;
    sleep(Duration::from_secs(3)).await;
    let (ours, theirs) = (
        cpu(&server.id().to_string()),
        cpu_of_backends(&mut connection).await,
    );
    sleep(Duration::from_secs(seconds)).await;
    let ours = cpu(&server.id().to_string()).saturating_sub(ours);
    let theirs = cpu_of_backends(&mut connection)
        .await
        .saturating_sub(theirs);
    println!(
        "  idle: {:.3} % of a core by us, {:.3} % by the database",
        percent(ours, seconds),
        percent(theirs, seconds)
    );
}

pub async fn measure(database: &Database, seconds: u64) {
    let server = start(database);
    let mut connection = database.connect().await;
    let insert = open_insert(&database.config(), Migrate::Off)
        .await
        .expect("the tables are there");
    let (mut client, _) = connect_async(&server.url).await.expect("it accepts");
    let subscribe = r#"{"type":"subscribe","channels":["tasks"]}"#;
    client
        .send(Message::text(subscribe))
        .await
        .expect("it reads");
    let begun = Instant::now();
    let (arrivals_tx, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let receiving = tokio::spawn(async move {
        while let Some(Ok(frame)) = client.next().await {
            let Ok(text) = frame.to_text() else { continue };
            let frame: Value = serde_json::from_str(text).unwrap_or_default();
            if let Some(n) = frame["event"]["payload"]["n"].as_u64() {
                let _ = arrivals_tx.send((n, begun.elapsed()));
            }
        }
    });
    for rate in RATES {
        sleep(Duration::from_secs(2)).await;
        let each = Duration::from_secs(1) / rate;
        // Of a whole rate only; the feed is to get used to it first.
        let mut ticks = interval_at(tokio::time::Instant::now(), each);
        let count = (rate * seconds as u32).max(5);
        let warm = count / 5;
        let mut committed = Vec::new();
        let mut before = (Duration::ZERO, Duration::ZERO);
        let mut since = Instant::now();
        for n in 0..count {
            if n == warm {
                before = (
                    cpu(&server.id().to_string()),
                    cpu_of_backends(&mut connection).await,
                );
                since = Instant::now();
            }
            // Not in step with anything.
            sleep(each.mul_f64(0.5 * fastrand::f64())).await;
            insert
                .insert(&[event(n)])
                .await
                .expect("events are inserted");
            committed.push(begun.elapsed());
            ticks.tick().await;
        }
        let seconds = since.elapsed();
        let ours = cpu(&server.id().to_string()).saturating_sub(before.0);
        let theirs = cpu_of_backends(&mut connection)
            .await
            .saturating_sub(before.1);
        let mut latencies = Vec::new();
        for n in 0..u64::from(count) {
            let (number, at) = arrivals.recv().await.expect("all of them arrive");
            assert_eq!(number, n, "in order");
            if n >= u64::from(warm) {
                latencies.push(at.saturating_sub(committed[n as usize]));
            }
        }
        latencies.sort_unstable();
        let at =
            |part: f64| latencies[(latencies.len() as f64 * part) as usize].as_secs_f64() * 1e3;
        println!(
            "  {rate} commits/s: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms after the commit; {:.2} % of a core by us, {:.2} % by the database",
            at(0.5),
            at(0.9),
            at(0.99),
            ours.as_secs_f64() / seconds.as_secs_f64() * 100.0,
            theirs.as_secs_f64() / seconds.as_secs_f64() * 100.0,
        );
    }
    receiving.abort();
}

fn start(database: &Database) -> Process {
    let flags = std::env::var("ROWCAST_BENCH_FLAGS").unwrap_or_default();
    Process::start(&database.url, &flags.split_whitespace().collect::<Vec<_>>())
}

fn percent(time: Duration, seconds: u64) -> f64 {
    time.as_secs_f64() / seconds as f64 * 100.0
}

fn event(n: u32) -> NewEvent {
    NewEvent::new(
        Channels::parse("tasks").expect("a good name"),
        "task.updated",
        RawValue::from_string(format!("{{\"n\":{n}}}")).expect("JSON"),
    )
}
