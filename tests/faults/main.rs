//! Databases that break under a real server with real clients: killed, restarted, stopped, locked, replaced. Whatever
//! happens, what was committed arrives once, the log says it in two lines, and the processor has little to do.
//!
//! `cargo test --test faults -- --nocapture` prints what each fault cost. `ROWCAST_FAULT_SECONDS=20` makes the
//! outages as long.

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::env;
use std::time::{Duration, Instant};

use support::process::Process;

/// Subscribers of each server.
const SUBSCRIBERS: usize = 5;

/// The line at the begin of an outage.
const FAILED: &str = "trying again until it works";

/// The line at its end.
const BACK: &str = "the database is back";

/// Most lines about one outage: the two, one about the restart, and what Postgres says to each connection it ends.
const LINES_MAX: usize = 6;

/// How long an outage lasts where the test decides it.
fn outage_length(default: Duration) -> Duration {
    env::var("ROWCAST_FAULT_SECONDS").map_or(default, |seconds| {
        let seconds = seconds.parse().expect("ROWCAST_FAULT_SECONDS is a number");
        Duration::from_secs(seconds)
    })
}

/// An outage that the server has noticed.
struct Outage {
    number: usize,
    start: Instant,
    cpu: Duration,
}

impl Outage {
    /// Waits until the server says for the `number`th time that its database is away.
    async fn noticed(server: &Process, number: usize) -> Self {
        server.wait_logged(FAILED, number).await;
        Self {
            number,
            start: Instant::now(),
            cpu: server.cpu(),
        }
    }

    /// Waits until the server says that the database is back. There were two lines then, and little to do meanwhile.
    async fn over(self, server: &Process) -> String {
        server.wait_logged(BACK, self.number).await;
        let (length, cpu) = (self.start.elapsed(), server.cpu_since(self.cpu));
        for text in [FAILED, BACK] {
            let lines = server.logged(text);
            assert_eq!(lines.len(), self.number, "one line an outage: {lines:#?}");
        }
        let lines = server.lines();
        assert!(lines <= LINES_MAX * self.number, "{lines} lines logged");
        // A busy loop takes all of it. To connect anew has its price however short the outage is.
        assert!(
            cpu < length / 5 + Duration::from_millis(200),
            "{cpu:?} of processor time in an outage of {length:?}"
        );
        format!(
            "away {:.1} s with {:.3} s of CPU",
            length.as_secs_f64(),
            cpu.as_secs_f64()
        )
    }
}

/// Prints what a test has seen.
fn report(name: &str, rows: usize, server: &Process, seen: &[String]) {
    eprintln!(
        "{name}: {rows} rows to {SUBSCRIBERS} subscribers, 0 lost, 0 doubled; {} lines logged; {}",
        server.lines(),
        seen.join("; ")
    );
}
