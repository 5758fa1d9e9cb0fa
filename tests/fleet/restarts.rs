//! Each server is killed or stopped, and started again, one after the other, while 500 events a second are written. Every client has
//! every event of its channels once, in order, and is never told to refetch.

use std::collections::BTreeMap;
use std::env;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::clients::{Clients, Report, Wants};
use crate::servers::{End, Servers};
use crate::support::Database;
use crate::writers::{Writers, channel};

const SERVERS: usize = 4;

/// Channels: each client has two, so each event has so many receivers.
const RECEIVERS: usize = 20;

/// What the servers have to bear.
pub struct Load {
    pub clients: usize,
    pub length: Duration,
    /// Between two ends. A client waits the longer before it comes back the shorter its connections were.
    pub peace: Duration,
}

impl Load {
    pub const FLAGS: [&str; 4] = ["--grace-period", "3s", "--max-connections-per-ip", "0"];

    pub fn from_environment() -> Self {
        let number = |name: &str, default: u64| {
            env::var(name).map_or(default, |text| {
                text.parse()
                    .unwrap_or_else(|_| panic!("{name} is a number"))
            })
        };
        Self {
            clients: number("ROWCAST_FLEET_CLIENTS", 100) as usize,
            length: Duration::from_secs(number("ROWCAST_FLEET_SECONDS", 20)),
            peace: Duration::from_millis(number("ROWCAST_FLEET_PEACE_MS", 2000)),
        }
    }

    pub fn channels(&self) -> usize {
        self.clients * 2 / RECEIVERS
    }

    pub fn wants(&self) -> Vec<Wants> {
        let channels = self.channels();
        let wants = (0..self.clients).map(|client| Wants {
            // Some cannot have WebSockets. Long polls ask another server each time.
            transport: match client % 20 {
                0 => "sse",
                10 => "poll",
                _ => "ws",
            },
            channels: [client % channels, (client * 7 + 1) % channels]
                .map(channel)
                .to_vec(),
        });
        wants.collect()
    }
}

/// Says what clients had of it, and checks that each had everything once, in order.
pub fn judge(load: &Load, took: Duration, counts: &BTreeMap<String, u64>, report: &Report) {
    let written: u64 = counts.values().sum();
    let seconds = took.as_secs_f64();
    eprintln!(
        "{} clients, {seconds:.0} s: {written} events ({:.0} a second), {} deliveries; {} reconnects, closed with {:?}; \
         without a connection p50 {} p99 {} most {} ms; late p50 {} p99 {} most {} ms; clients have {} MB",
        load.clients,
        written as f64 / seconds,
        report.deliveries,
        report.reconnects,
        report.ends,
        report.away_ms(0.5),
        report.away_ms(0.99),
        report.away_ms(1.0),
        report.late_ms(0.5),
        report.late_ms(0.99),
        report.late_ms(1.0),
        report.rss_bytes / 1_000_000,
    );
    let wants = load.wants();
    let expected: u64 = wants
        .iter()
        .flat_map(|wants| &wants.channels)
        .map(|channel| counts[channel])
        .sum();
    assert_eq!(report.missing, Vec::<String>::new());
    assert_eq!(report.resets, Vec::<String>::new());
    let wrong = (
        report.lost,
        report.repeated,
        report.rejected,
        &report.errors,
    );
    assert_eq!(
        wrong,
        (0, 0, 0, &Vec::new()),
        "lost, repeated, rejected, errors"
    );
    assert_eq!(report.deliveries, expected);
    assert!(written > 400 * load.length.as_secs(), "{written} events");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_restarted_and_nobody_misses_a_thing() {
    let load = Load::from_environment();
    let database = Database::postgres().await;
    let own = vec![vec!["--database-url", database.url.as_str()]; SERVERS];
    let mut servers = Servers::start(&Load::FLAGS, &own);
    let clients = Clients::start(&servers.addresses(), &load.wants()).await;
    let writers = Writers::start(&database.url, load.channels()).await;

    let start = Instant::now();
    let (mut ends, mut longest) = (0, Duration::ZERO);
    while start.elapsed() < load.length {
        sleep(load.peace).await;
        let end = if (ends + ends / servers.count()).is_multiple_of(2) {
            End::Killed
        } else {
            End::Asked
        };
        let number = ends % servers.count();
        let without = tokio::task::block_in_place(|| servers.restart(number, end));
        longest = longest.max(without);
        ends += 1;
    }
    let mb = servers
        .rss_bytes()
        .into_iter()
        .map(|bytes| bytes / 1_000_000);
    eprintln!(
        "{ends} restarts of {SERVERS} servers, the longest {longest:.1?}; they have {:?} MB",
        mb.collect::<Vec<_>>()
    );
    let counts = writers.stop().await;
    let took = start.elapsed();
    let report = clients.end(&counts).await;

    judge(&load, took, &counts, &report);
    assert!(
        ends >= 3 && report.reconnects as usize > load.clients / 2,
        "it was not calm"
    );
    assert!(
        report.ends.contains_key("1012"),
        "servers said goodbye: {:?}",
        report.ends
    );
}
