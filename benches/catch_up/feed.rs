//! A database with a server on a core of its own, and those who write to it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rowcast::source::{Insert, open_insert};
use rowcast::{Channels, Migrate, NewEvent};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::sleep;

use crate::client::Client;
use crate::support::Database;
use crate::support::process::Process;

/// Bytes of every payload.
const PAYLOAD_BYTES: usize = 300;

/// The core of the server, and that of everything else: clients, writers, Postgres.
const SERVER_CORE: &str = "0";
const OTHER_CORE: &str = "1";

/// Whether each core can be given to whom it is meant for.
pub fn pin_ourselves() -> bool {
    does("taskset", &["-a", "-p", "-c", OTHER_CORE])
}

/// Whether we, and what we start from now on, come before what was started before: clients that have to wait for a core
/// would measure that.
pub fn hurry_ourselves() -> bool {
    does("renice", &["-n", "-15", "-p"])
}

/// Runs a program on this process.
fn does(program: &str, args: &[&str]) -> bool {
    let process = std::process::id().to_string();
    let output = Command::new(program).args(args).arg(process).output();
    output.is_ok_and(|output| output.status.success())
}

pub struct Feed {
    pub database: Database,
    pub server: Process,
    pub address: String,
    pinned: bool,
    flags: Vec<String>,
}

impl Feed {
    pub async fn start(kind: &str, pinned: bool, flags: &[&str]) -> Self {
        let database = match kind {
            "sqlite" => Database::sqlite().await,
            _ => Database::postgres().await,
        };
        let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let server = serve(&database.url, pinned, &flags).await;
        Self {
            address: address_of(&server),
            database,
            server,
            pinned,
            flags,
        }
    }

    /// As after a crash: it comes back with nothing in its memory.
    pub async fn restart(&mut self) {
        self.server.kill();
        self.server = serve(&self.database.url, self.pinned, &self.flags).await;
        self.address = address_of(&self.server);
    }

    pub async fn writer(&self) -> Writer {
        let database = self.database.config();
        let insert = open_insert(&database, Migrate::Off).await;
        Writer(insert.expect("the tables are there"))
    }

    /// A counter of `GET /api/v1/ws/stats`.
    pub fn counter(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(&self.address).expect("the server accepts");
        let request = format!(
            "GET /api/v1/ws/stats HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let counters: Value = serde_json::from_str(body).expect("JSON");
        counters[name].as_u64().expect("it has this counter")
    }

    /// Fills the table with rows in transactions of many sizes, and waits until the server has seen them. `channel` is
    /// an expression of SQL for the channel of row `i`.
    pub async fn fill(&self, rows: i64, channel: &str) {
        let mut writer = self.database.connect().await;
        let is_sqlite = self.database.url.starts_with("sqlite");
        let cast = if is_sqlite { "" } else { "::jsonb" };
        if !is_sqlite {
            writer.run("SET synchronous_commit = off").await;
        }
        let title = "x".repeat(PAYLOAD_BYTES - 22);
        let mut next = 0;
        let sizes = [1, 10, 5000, 100, 1000, 3].into_iter().cycle();
        for size in sizes {
            let end = rows.min(next + size);
            writer
                .run(&format!(
                    "INSERT INTO events (channel, type, payload)
                     WITH RECURSIVE n (i) AS (SELECT {next} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {end})
                     SELECT {channel}, 'task.updated', ('{{\"n\":' || i || ',\"title\":\"{title}\"}}'){cast} FROM n"
                ))
                .await;
            next = end;
            if next == rows {
                break;
            }
        }
        if !is_sqlite {
            writer.run("VACUUM ANALYZE events").await;
        }
        while self.counter("events") < rows as u64 {
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn present(&self) -> String {
        Client::connect(&self.address).await.present().await
    }
}

/// A backend.
pub struct Writer(Arc<dyn Insert>);

impl Writer {
    /// Gives the ids of what is committed then.
    pub async fn write(&self, events: &[NewEvent]) -> Vec<i64> {
        let ids = self.0.insert(events).await.expect("events are inserted");
        ids.into_iter().map(|row| row.id.0).collect()
    }
}

async fn serve(database_url: &str, pinned: bool, flags: &[String]) -> Process {
    let mut command = Process::command(database_url);
    command.args(flags).args(["--log-format", "json"]);
    if pinned {
        let mut taskset = Command::new("taskset");
        taskset.args(["-c", SERVER_CORE]);
        taskset.arg(command.get_program()).args(command.get_args());
        command = taskset;
    }
    // Writers go on meanwhile: one that stood still in its transaction would lock a SQLite file.
    let spawned = tokio::task::spawn_blocking(move || Process::spawn(command)).await;
    let server = spawned.expect("it can be run");
    server.expect("rowcast says where it listens")
}

fn address_of(server: &Process) -> String {
    let url = server.url.strip_prefix("ws://").expect("a WebSocket");
    url.trim_end_matches("/ws").to_owned()
}

/// An event whose payload begins with a number.
pub fn event(channel: &str, n: usize) -> NewEvent {
    let title = "x".repeat(PAYLOAD_BYTES - 22);
    NewEvent::new(
        Channels::parse(channel).expect("a good name"),
        "task.updated",
        RawValue::from_string(format!("{{\"n\":{n},\"title\":\"{title}\"}}")).expect("JSON"),
    )
}
