//! Fan-out of the real server, in a process of its own, to thousands of connections: memory for each, processor time
//! for each delivery, time from commit to socket. `cargo bench --bench fanout`; `-- 1000` for another number of
//! connections. The open-files limit of both processes has to allow it.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rowcast::source::{DatabaseConfig, Insert as _, Migrate, sqlite::SqliteInsert};
use rowcast::{Channels, NewEvent};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

const CONNECTIONS: usize = 10_000;

/// Makes an event of about 300 bytes.
const PAYLOAD_BYTES: usize = 180;

fn main() {
    // `cargo bench` passes --bench.
    let connections = env::args()
        .skip(1)
        .find_map(|arg| arg.parse().ok())
        .unwrap_or(CONNECTIONS);
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(run(connections));
}

async fn run(connections: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("bench.db").display());
    println!("{connections} connections, events of about 300 bytes\n");
    for own_channels in [false, true] {
        let name = if own_channels {
            "a channel for each connection"
        } else {
            "one channel for all"
        };
        println!("{name}");
        let server = Server::start(&url);
        let database =
            SqliteInsert::open(&DatabaseConfig::new(&url).expect("a URL"), Migrate::Auto)
                .await
                .expect("the database opens");
        // The first connections pay for buffers that all share.
        let warm = connect(&server.address, 100, |_| "warm".to_owned()).await;
        let (rss, cpu) = (server.rss_bytes(), server.cpu());
        let channel = |n: usize| {
            if own_channels {
                format!("messages:{n}")
            } else {
                "tasks".to_owned()
            }
        };
        let clients = connect(&server.address, connections, channel).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        println!(
            "  connected: {:.0} us of server CPU and {:.2} KB of memory for each, subscribed and idle",
            server.cpu().saturating_sub(cpu).as_secs_f64() * 1e6 / connections as f64,
            (server.rss_bytes() - rss) as f64 / connections as f64 / 1024.0,
        );
        let batches = if own_channels {
            vec![connections, connections]
        } else {
            vec![1, 10, 100]
        };
        for batch in batches {
            let rounds = if batch >= 100 { 5 } else { 20 };
            let mut times = Vec::new();
            let (cpu, mut expected) = (server.cpu(), clients.counts.events());
            let mut delivered = 0;
            for _ in 0..rounds {
                let events: Vec<_> = (0..batch).map(|n| event(&channel(n))).collect();
                let start = Instant::now();
                database.insert(&events).await.expect("events are inserted");
                let committed = start.elapsed();
                let events = if own_channels {
                    connections
                } else {
                    batch * connections
                };
                delivered += events;
                expected += events as u64;
                clients.counts.wait_for_events(expected).await;
                times.push(start.elapsed().saturating_sub(committed));
            }
            let spent = server.cpu().saturating_sub(cpu);
            times.sort();
            println!(
                "  {batch:>5} events at a time: {:>9.0} deliveries per CPU-second, {:>5.1} us each; commit to last socket {:.0} ms (median of {rounds})",
                delivered as f64 / spent.as_secs_f64(),
                spent.as_secs_f64() * 1e6 / delivered as f64,
                times[times.len() / 2].as_secs_f64() * 1e3,
            );
        }
        println!(
            "  at the end: {:.1} MB of memory\n",
            server.rss_bytes() as f64 / 1e6
        );
        drop((warm, clients));
    }
}

fn event(channel: &str) -> NewEvent {
    NewEvent::new(
        Channels::parse(channel).expect("a good name"),
        "task.updated",
        RawValue::from_string(format!("{{\"title\":\"{}\"}}", "x".repeat(PAYLOAD_BYTES)))
            .expect("JSON"),
    )
}

/// The real program.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(database_url: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_rowcast"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--database-url",
                database_url,
                "--log-format",
                "json",
                // A ping would be counted as a frame that was not expected.
                "--ping-interval",
                "0s",
            ])
            .stderr(Stdio::piped())
            .spawn()
            .expect("rowcast starts");
        let mut log = BufReader::new(process.stderr.take().expect("piped")).lines();
        let address = loop {
            let line = log
                .next()
                .expect("rowcast says when it is ready")
                .expect("text");
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(url) = entry["websocket"].as_str() {
                break url
                    .trim_start_matches("ws://")
                    .trim_end_matches("/ws")
                    .to_owned();
            }
        };
        std::thread::spawn(move || {
            log.map_while(Result::ok)
                .for_each(|line| eprintln!("{line}"));
        });
        Self { process, address }
    }

    /// Processor time of all its threads, user and kernel.
    fn cpu(&self) -> Duration {
        let mut nanoseconds = 0;
        for thread in
            fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("a Linux system")
        {
            let path = thread.expect("a thread").path().join("schedstat");
            // A thread may have ended meanwhile.
            let text = fs::read_to_string(path).unwrap_or_default();
            nanoseconds += text
                .split(' ')
                .next()
                .and_then(|time| time.parse::<u64>().ok())
                .unwrap_or(0);
        }
        Duration::from_nanos(nanoseconds)
    }

    fn rss_bytes(&self) -> u64 {
        let text =
            fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a Linux system");
        line.trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .expect("a number")
            * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Connected clients, of which only the frames are counted.
struct Clients {
    counts: Arc<Counts>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// Frames by their length: events are long, all others short.
#[derive(Default)]
struct Counts {
    events: AtomicU64,
    others: AtomicU64,
    progress: Notify,
}

impl Counts {
    fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    async fn wait_for_events(&self, events: u64) {
        while self.events() < events {
            self.go_on().await;
        }
        assert_eq!(self.events(), events, "none comes that was not expected");
    }

    /// Something has come, or may have.
    async fn go_on(&self) {
        let _ = tokio::time::timeout(Duration::from_millis(100), self.progress.notified()).await;
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

async fn connect(address: &str, count: usize, channel: impl Fn(usize) -> String) -> Clients {
    let mut clients = Clients {
        counts: Arc::default(),
        tasks: Vec::new(),
    };
    for n in 0..count {
        let mut stream = TcpStream::connect(address)
            .await
            .expect("the server accepts");
        let subscribe = format!(
            "{{\"type\":\"subscribe\",\"channels\":[\"{}\"]}}",
            channel(n)
        );
        let mut request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .into_bytes();
        // A masked text frame, with a mask of zeros.
        request.extend([0x81, 0x80 | subscribe.len() as u8, 0, 0, 0, 0]);
        request.extend(subscribe.as_bytes());
        stream.write_all(&request).await.expect("the server reads");
        let counts = Arc::clone(&clients.counts);
        clients.tasks.push(tokio::spawn(async move {
            // The answer to the handshake ends with an empty line.
            let mut tail = [0; 4];
            while tail != *b"\r\n\r\n" {
                tail.rotate_left(1);
                tail[3] = stream.read_u8().await.expect("the server answers");
            }
            count_frames(stream, &counts).await;
        }));
    }
    // All have been told that they are subscribed.
    while clients.counts.others.load(Ordering::Relaxed) < count as u64 {
        clients.counts.go_on().await;
    }
    clients
}

/// Counts frames without looking into them.
async fn count_frames(stream: TcpStream, counts: &Counts) {
    thread_local! {
        static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; 256 * 1024]);
    }
    let mut header = Vec::new();
    let mut payload_left = 0;
    while stream.readable().await.is_ok() {
        let counted = BUFFER.with_borrow_mut(|buffer| {
            let mut counted = (0, 0);
            loop {
                let mut rest = match stream.try_read(buffer) {
                    Ok(0) => return None,
                    Ok(length) => &buffer[..length],
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        return Some(counted);
                    }
                    Err(_) => return None,
                };
                while !rest.is_empty() {
                    let skip = payload_left.min(rest.len());
                    payload_left -= skip;
                    rest = &rest[skip..];
                    while payload_left == 0 && !rest.is_empty() {
                        header.push(rest[0]);
                        rest = &rest[1..];
                        payload_left = match header[..] {
                            [_, short @ 0..126] => {
                                counted.1 += 1;
                                short.into()
                            }
                            [_, 126, high, low] => {
                                counted.0 += 1;
                                u16::from_be_bytes([high, low]).into()
                            }
                            _ => continue,
                        };
                        header.clear();
                    }
                }
            }
        });
        let Some((events, others)) = counted else {
            return;
        };
        counts.events.fetch_add(events, Ordering::Relaxed);
        counts.others.fetch_add(others, Ordering::Relaxed);
        counts.progress.notify_one();
    }
}
