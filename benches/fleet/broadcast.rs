//! How soon a client of one server hears of a broadcast that another server was given: woken, and by looking alone, as it was before
//! commands woke anybody and is with `--wake off`. Then what many broadcasts cost.

use std::time::Duration;

use reqwest::Client as Http;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::support::feed::Client;
use crate::support::process::Process;
use crate::support::{Connection, Database};

/// Broadcasts a second, and for how long.
const MANY: u32 = 100;
const SECONDS: u32 = 20;

pub async fn measure(count: u32) {
    let database = Database::postgres().await;
    let here = Process::start(&database.url, &[]);
    let there = Process::start(&database.url, &[]);
    let mut owner = Connection::open(&database.url).await;
    let address = there.url.trim_start_matches("ws://");
    let address = address.trim_end_matches("/ws").parse();
    let mut client = Client::connect(address.expect("an address")).await;
    let http = Http::builder().no_proxy().build().expect("a client");
    let url = format!("{}/api/v1/broadcast", here.admin);
    println!("broadcast at one server until it is heard at another, {count} of them:");
    for (name, change) in [("woken", "ENABLE"), ("by looking every 500 ms", "DISABLE")] {
        owner
            .run(&format!(
                "ALTER TABLE rowcast_commands {change} TRIGGER rowcast_wake_commands"
            ))
            .await;
        let mut times = Vec::new();
        for n in 0..count {
            // At any time of the interval.
            sleep(Duration::from_millis(fastrand::u64(20..520))).await;
            let before = Instant::now();
            let body = json!({"message": {"type": "notice", "n": n}});
            let asked = http.post(&url).header("content-type", "application/json");
            let sent = asked.body(body.to_string()).send();
            let (answer, heard) = tokio::join!(sent, client.hear_a("notice"));
            assert_eq!(answer.expect("an answer").status(), 202);
            assert_eq!(heard["n"], n);
            times.push(before.elapsed());
        }
        times.sort_unstable();
        let part = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        println!(
            "  {name}: p50 {:.1?}, p99 {:.1?}, most {:.1?}",
            part(0.5),
            part(0.99),
            part(1.0)
        );
    }
    owner
        .run("ALTER TABLE rowcast_commands ENABLE TRIGGER rowcast_wake_commands")
        .await;
    let cpu = [here.cpu(), there.cpu()];
    let start = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / MANY);
    for n in 0..MANY * SECONDS {
        ticks.tick().await;
        let body = json!({"message": {"type": "notice", "n": n}});
        let asked = http.post(&url).header("content-type", "application/json");
        let sent = asked.body(body.to_string()).send();
        let (answer, _) = tokio::join!(sent, client.hear_a("notice"));
        assert_eq!(answer.expect("an answer").status(), 202);
    }
    let length = start.elapsed().as_secs_f64();
    println!(
        "{:.0} a second for {length:.0} s: processor time {:.1} ms a second where they are issued, {:.1} elsewhere",
        f64::from(MANY * SECONDS) / length,
        here.cpu_since(cpu[0]).as_secs_f64() * 1000.0 / length,
        there.cpu_since(cpu[1]).as_secs_f64() * 1000.0 / length,
    );
}
