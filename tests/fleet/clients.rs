//! Clients of the TypeScript library, in Node: clients/fleet has what they do.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::support::npm;

/// Most clients of one process of Node.
const EACH: usize = 500;

/// How long events may take to come in the end.
const PATIENCE_MS: u64 = 60_000;

/// What a client wants, and how.
pub struct Wants {
    pub transport: &'static str,
    pub channels: Vec<String>,
}

/// All clients.
pub struct Clients {
    processes: Vec<Node>,
    _folder: tempfile::TempDir,
}

struct Node {
    _child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

/// What came of it.
#[derive(Debug, Default, Deserialize)]
pub struct Report {
    pub deliveries: u64,
    pub lost: i64,
    pub repeated: u64,
    /// What clients were told to refetch.
    pub resets: Vec<String>,
    pub rejected: u64,
    pub errors: Vec<String>,
    /// Of clients to which something has not come: what it is.
    pub missing: Vec<String>,
    /// Connections that ended, by close code.
    pub ends: BTreeMap<String, u64>,
    pub reconnects: u64,
    /// How long clients were without a connection, each time.
    pub away_ms: Vec<u64>,
    /// Of each millisecond, how many events were so late.
    late: Vec<u64>,
    /// Memory of all processes.
    pub rss_bytes: u64,
}

impl Clients {
    /// Returns when all are subscribed.
    pub async fn start(servers: &[String], wanted: &[Wants]) -> Self {
        let folder = crate::support::temp_dir();
        let program = folder.path().join("clients.mjs");
        bundle(&program);
        let mut processes = Vec::new();
        for wanted in wanted.chunks(EACH) {
            let mut node = Node::start(&program);
            let clients = wanted.iter().map(
                |Wants {
                     transport,
                     channels,
                 }| json!({"transport": transport, "channels": channels}),
            );
            let clients: Vec<_> = clients.collect();
            node.say(&json!({"servers": servers, "clients": clients, "patience_ms": PATIENCE_MS}))
                .await;
            processes.push(node);
        }
        for node in &mut processes {
            assert_eq!(node.hear().await, "subscribed");
        }
        Self {
            processes,
            _folder: folder,
        }
    }

    /// Waits until they have what there is.
    pub async fn end(mut self, counts: &BTreeMap<String, u64>) -> Report {
        for node in &mut self.processes {
            node.say(&json!(counts)).await;
        }
        let mut sum = Report::default();
        for node in &mut self.processes {
            let report: Report = serde_json::from_value(node.hear().await).expect("a report");
            sum.add(report);
        }
        sum.away_ms.sort_unstable();
        sum
    }
}

impl Node {
    fn start(program: &Path) -> Self {
        let mut command = Command::new("node");
        command.arg(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .expect("Node starts; scripts/test says what is needed");
        Self {
            to: child.stdin.take().expect("piped"),
            from: BufReader::new(child.stdout.take().expect("piped")).lines(),
            _child: child,
        }
    }

    async fn say(&mut self, what: &Value) {
        let line = format!("{what}\n");
        let said = self.to.write_all(line.as_bytes()).await;
        said.expect("it listens");
    }

    async fn hear(&mut self) -> Value {
        let line = self.from.next_line().await.expect("it speaks");
        serde_json::from_str(&line.expect("it has not ended")).expect("JSON")
    }
}

impl Report {
    fn add(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.resets.extend(other.resets);
        self.rejected += other.rejected;
        self.errors.extend(other.errors);
        self.missing.extend(other.missing);
        for (code, count) in other.ends {
            *self.ends.entry(code).or_default() += count;
        }
        self.reconnects += other.reconnects;
        self.away_ms.extend(other.away_ms);
        self.late.resize(other.late.len().max(self.late.len()), 0);
        for (sum, count) in self.late.iter_mut().zip(other.late) {
            *sum += count;
        }
        self.rss_bytes += other.rss_bytes;
    }

    /// How late this part of the events was at most, in milliseconds.
    pub fn late_ms(&self, part: f64) -> usize {
        let all: u64 = self.late.iter().sum();
        let mut left = (all as f64 * part).ceil() as u64;
        let found = self.late.iter().position(|count| {
            left = left.saturating_sub(*count);
            left == 0
        });
        found.unwrap_or(self.late.len())
    }

    /// How long this part of the absences was at most, in milliseconds.
    pub fn away_ms(&self, part: f64) -> u64 {
        let index = (self.away_ms.len() as f64 * part).ceil() as usize;
        let at = self.away_ms.get(index.saturating_sub(1));
        at.copied().unwrap_or_default()
    }
}

/// Checks the program's types, and makes one file of it and the library.
fn bundle(to: &Path) {
    let clients = npm::clients();
    let run = |program: &str, arguments: &[&str]| {
        let program = clients.join("node_modules/.bin").join(program);
        npm::succeed(Command::new(program).args(arguments).current_dir(&clients));
    };
    run("tsc", &["--noEmit", "-p", "fleet"]);
    let to = format!("--outfile={}", to.display());
    // What `ws` asks for by `require`.
    let banner = "--banner:js=import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";
    let flags = ["--bundle", "--platform=node", "--format=esm", banner, &to];
    run("esbuild", &[&["fleet/clients.ts"][..], &flags].concat());
}
