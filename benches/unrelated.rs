//! What an event costs a server where nobody else is subscribed to anything, and where others have a million subscriptions that it
//! has nothing to do with: two servers, the same load for both, in turn. `cargo bench --bench unrelated`. It takes 11,000 open
//! files: `ulimit -n`.
//!
//! A round is short, and others use the machine: of one and the same server two rounds differ by a tenth. With 21 of them the
//! medians of two equal servers were 4 % apart, with 150 less than 1 %.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;
use support::Database;
use support::process::Process;

/// Clients of others, and to how many channels each is subscribed, which nobody else is.
const FEW: (usize, usize) = (10, 1);
const MANY: (usize, usize) = (10_000, 100);

/// Who gets the events: the load of `rowcast bench fanout`.
const RECEIVERS: [usize; 3] = [1, 10, 1000];
const ROUNDS: usize = 151;

const FLAGS: [&str; 8] = [
    "--max-connections",
    "0",
    "--max-connections-per-ip",
    "0",
    // Pings are paid by connections, not by events.
    "--ping-interval",
    "0s",
    "--admin-listen",
    "off",
];

struct Server {
    process: Process,
    database: Database,
    _others: Vec<TcpStream>,
}

impl Server {
    async fn start((clients, channels): (usize, usize)) -> Self {
        let database = Database::sqlite().await;
        let process = Process::start(&database.url, &FLAGS);
        let others = (0..clients).map(|client| subscribe(&process.url, client, channels));
        Self {
            _others: others.collect(),
            process,
            database,
        }
    }

    /// Microseconds of processor time of the server for an event and a client.
    fn cost(&self, receivers: usize) -> f64 {
        let output = Command::new(env!("CARGO_BIN_EXE_rowcast"))
            .args(["bench", "fanout", "--json", "--batch", "1", "--rounds", "1"])
            .args(["--clients", &receivers.to_string()])
            .args(["--url", &self.process.url])
            .args(["--pid", &self.process.id().to_string()])
            .args(["--database-url", &self.database.url])
            .output()
            .expect("rowcast starts");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let cost = &report["servers"][0]["batches"][0]["cpuMicrosPerDelivery"]["median"];
        cost.as_f64().expect("a number")
    }
}

#[tokio::main]
async fn main() {
    let [few, many] = [Server::start(FEW).await, Server::start(MANY).await];
    println!(
        "microseconds of processor time for an event and a receiver, medians of {ROUNDS} rounds in turn"
    );
    for receivers in RECEIVERS {
        let mut costs: Vec<(f64, f64)> = Vec::new();
        for round in 0..=ROUNDS {
            // Each comes first as often as the other. The first round warms up.
            let cost = if round % 2 == 0 {
                let few = few.cost(receivers);
                (few, many.cost(receivers))
            } else {
                let many = many.cost(receivers);
                (few.cost(receivers), many)
            };
            if round > 0 {
                costs.push(cost);
            }
        }
        let ratios = || costs.iter().map(|(few, many)| many / few);
        println!(
            "{receivers:>5} receivers: {:.2} with {} other subscriptions, {:.2} with {}: {:.3} times (half of the rounds {:.2} to {:.2})",
            median(costs.iter().map(|(few, _)| *few)),
            FEW.0 * FEW.1,
            median(costs.iter().map(|(_, many)| *many)),
            MANY.0 * MANY.1,
            median(ratios()),
            quarter(1, ratios()),
            quarter(3, ratios()),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    quarter(2, values)
}

/// The value that so many quarters of them are below.
fn quarter(quarters: usize, values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() * quarters / 4]
}

/// A client that is subscribed, and gets nothing from then on.
fn subscribe(url: &str, client: usize, channels: usize) -> TcpStream {
    let url: url::Url = url.parse().expect("a URL");
    let (host, port) = (url.host_str().expect("a host"), url.port().expect("a port"));
    let mut stream = TcpStream::connect((host, port)).expect("a server");
    let handshake = format!(
        "GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut message = r#"{"type":"subscribe","channels":["#.to_owned();
    for channel in 0..channels {
        let comma = if channel > 0 { "," } else { "" };
        let _ = write!(message, r#"{comma}"other:{client}-{channel}""#);
    }
    message.push_str("]}");
    let length = u16::try_from(message.len()).expect("it is short");
    // A text frame with a length of 16 bits, masked with zeros.
    let mut frame = handshake.into_bytes();
    frame.extend([0x81, 0xfe]);
    frame.extend(length.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(message.as_bytes());
    stream.write_all(&frame).expect("it listens");
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while !contains(&answer, b"\"subscribed\"") {
        let read = stream.read(&mut part).expect("it answers");
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(&part[..read]);
    }
    stream
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
