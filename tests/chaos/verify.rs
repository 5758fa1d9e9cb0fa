//! `rowcast verify`, as a user runs it.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::scene::Scene;

/// Longer than a server takes to find out, twice in a row, that its database has vanished while it read: 30 s each time.
const PATIENCE: Duration = Duration::from_secs(75);

/// A run that is under way.
pub struct Verify {
    process: Child,
    length: Duration,
}

/// What the test needs of what it says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    rows: u64,
    unknown: u64,
    lost: u64,
    doubled: u64,
    never_committed: u64,
    out_of_order: u64,
    repeats: u64,
    resets: BTreeMap<String, u64>,
    pub reconnects: u64,
    pub late_ms: Late,
    #[expect(dead_code, reason = "shown when something is wrong")]
    examples: serde_json::Value,
}

#[derive(Debug, Deserialize)]
pub struct Late {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl Verify {
    pub fn start(scene: &Scene, length: Duration, flags: &[&str]) -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_rowcast"))
            .args(["verify", "--json", "--rate", "100/s"])
            .args(["--database-url", &scene.far_database_url])
            .args(["--url", &format!("ws://{}/ws", scene.clients.address)])
            .args(["--for", &format!("{}s", length.as_secs())])
            .args(["--patience", &format!("{}s", PATIENCE.as_secs())])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("rowcast starts");
        Self { process, length }
    }

    pub async fn end(self) -> Report {
        let patience = self.length + PATIENCE * 3;
        let output = timeout(patience, self.process.wait_with_output()).await;
        let output = output.expect("it ends").expect("it was started");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }
}

impl Report {
    /// Whatever happened, everything came once, and nobody was told to refetch.
    pub fn check(&self) {
        let Late { p50, p90, p99, max } = &self.late_ms;
        eprintln!(
            "verify: {} rows, {} of them in doubt; {} reconnects, {} repeats dropped; late {p50} {p90} {p99} {max} ms",
            self.rows, self.unknown, self.reconnects, self.repeats
        );
        let wrong = [
            self.lost,
            self.doubled,
            self.never_committed,
            self.out_of_order,
        ];
        assert!(wrong == [0; 4] && self.resets.is_empty(), "{self:?}");
        assert!(self.rows > 100, "{self:?}");
    }
}
