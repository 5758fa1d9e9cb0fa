//! What servers ask of one Postgres, each second: by `pg_stat_statements`, where the servers have a role of their own, and by the
//! processor time of its processes. Without clients: they cost the database nothing while they are connected. The same of servers
//! that read a stream, with the relay that writes it; its Redis keeps nothing on the disk.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep};

use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::support::relay::Relay;
use crate::support::{Connection, Postgres};

/// None shows what the writers cost alone.
const FLEETS: [(usize, By); 6] = [
    (0, By::Table),
    (1, By::Table),
    (4, By::Table),
    (16, By::Table),
    (1, By::Stream),
    (16, By::Stream),
];

/// What servers read.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Table,
    Stream,
}

const FLAGS: [&str; 2] = ["--admin-listen", "off"];

/// Until a load has become even.
const WARM_UP: Duration = Duration::from_secs(3);

/// Writers, and events a second of all together.
const WRITERS: u64 = 5;
const EVENTS: u64 = 500;

pub async fn measure(seconds: u32) {
    let postgres = Postgres::start_with(
        "shared_preload_libraries = 'pg_stat_statements'\nmax_connections = 100\nmax_prepared_transactions = 0",
    );
    let admin_url = postgres.create_database().await;
    // Writers and we ourselves are somebody else than the servers.
    let mut owner = Connection::open(&admin_url).await;
    owner
        .run("CREATE ROLE backend SUPERUSER LOGIN; CREATE EXTENSION pg_stat_statements")
        .await;
    println!(
        "each second, over {seconds} s: queries and rows of the servers, transactions but those of writers; processor time in ms\n\
         {:>7}  {:<14} {:>8} {:>8} {:>8}  {:>9} {:>9}  {:>11} {:>11}  {:>11} {:>7}",
        "servers",
        "events",
        "queries",
        "rows",
        "xacts",
        "Postgres",
        "their part",
        "one server",
        "RSS MB",
        "connections",
        "at peak"
    );
    for (servers, by) in FLEETS {
        let url = postgres.create_database().await;
        let backend_url = url.replace("rowcast@", "backend@");
        let redis = (by == By::Stream).then(Redis::forgetful);
        let _relay = redis
            .as_ref()
            .map(|redis| Relay::start(&url, &redis.url(), &[]));
        let mut flags = FLAGS.map(str::to_owned).to_vec();
        if let Some(redis) = &redis {
            flags.extend(["--source".to_owned(), redis.url()]);
        }
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        // It makes the tables.
        let first = Process::start(&url, &flags);
        let more = (1..servers).map(|_| Process::start(&url, &flags));
        let mut running: Vec<_> = std::iter::once(first).chain(more).collect();
        running.truncate(servers);
        for (name, size) in [("none", 0), ("in commits of 1", 1), ("of 10", 10)] {
            let load = Load::start(&backend_url, size).await;
            let redis_before = redis.as_ref().map(Redis::cpu);
            let line = over(seconds, &backend_url, &mut owner, &running, load.commits()).await;
            load.stop().await;
            let of_redis = redis.as_ref().zip(redis_before).map(|(redis, before)| {
                let spent = redis.cpu().saturating_sub(before).as_secs_f64();
                let length = (WARM_UP.as_secs() + u64::from(seconds)) as f64;
                format!(
                    "  of a stream, with the relay; Redis {:.1} ms",
                    spent * 1000.0 / length
                )
            });
            println!(
                "{servers:>7}  {name:<14} {line}{}",
                of_redis.unwrap_or_default()
            );
        }
    }
}

/// What is written meanwhile.
struct Load {
    stop: Arc<AtomicBool>,
    size: u64,
    writing: Vec<JoinHandle<()>>,
}

impl Load {
    async fn start(url: &str, size: u64) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let mut writing = Vec::new();
        for writer in 0..if size == 0 { 0 } else { WRITERS } {
            let mut database = Connection::open(url).await;
            let stop = Arc::clone(&stop);
            writing.push(tokio::spawn(async move {
                let insert = format!(
                    "INSERT INTO events (channel, type, payload)
                     SELECT 'tasks:' || n % 100, 'task.created', jsonb_build_object('pad', repeat('x', 250))
                       FROM generate_series({writer}, {writer} + {size} - 1) AS n"
                );
                let mut ticks = interval(Duration::from_secs(1) * (size * WRITERS) as u32 / EVENTS as u32);
                while !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    database.run(&insert).await;
                }
            }));
        }
        Self {
            stop,
            size,
            writing,
        }
    }

    /// A second.
    fn commits(&self) -> u64 {
        EVENTS.checked_div(self.size).unwrap_or_default()
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for writing in self.writing {
            writing.await.expect("a writer does not panic");
        }
    }
}

/// What there was up to a moment.
struct Moment {
    at: Instant,
    queries: i64,
    rows: i64,
    transactions: i64,
    postgres: Duration,
    feeds: Duration,
    servers: Duration,
    connections: usize,
}

impl Moment {
    async fn now(database: &mut Connection, owner: &mut Connection, servers: &[Process]) -> Self {
        let statements = owner
            .numbers(
                "SELECT unnest(ARRAY[coalesce(sum(calls), 0), coalesce(sum(rows), 0)])::bigint FROM pg_stat_statements
                  WHERE userid = 'rowcast'::regrole AND dbid <> (SELECT oid FROM pg_database WHERE datname = current_database())",
            )
            .await;
        let transactions = database
            .numbers("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")
            .await;
        let all = owner
            .numbers("SELECT pid::bigint FROM pg_stat_activity")
            .await;
        let feeds = database
            .numbers(
                "SELECT pid::bigint FROM pg_stat_activity
                  WHERE application_name = 'rowcast' AND datname = current_database()",
            )
            .await;
        let of = |processes: &[i64]| processes.iter().map(|pid| cpu(*pid)).sum();
        Self {
            at: Instant::now(),
            queries: statements[0],
            rows: statements[1],
            transactions: transactions[0],
            postgres: of(&all),
            feeds: of(&feeds),
            servers: servers.iter().map(Process::cpu).sum(),
            connections: feeds.len(),
        }
    }
}

async fn over(
    seconds: u32,
    url: &str,
    owner: &mut Connection,
    servers: &[Process],
    commits: u64,
) -> String {
    let mut database = Connection::open(url).await;
    sleep(WARM_UP).await;
    let first = Moment::now(&mut database, owner, servers).await;
    let mut peak = first.connections;
    for _ in 0..seconds {
        sleep(Duration::from_secs(1)).await;
        let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rowcast' AND datname = current_database()";
        peak = peak.max(database.numbers(count).await[0] as usize);
    }
    let last = Moment::now(&mut database, owner, servers).await;
    let length = (last.at - first.at).as_secs_f64();
    let each = |count: i64| count as f64 / length;
    let ms = |before: Duration, after: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1000.0 / length
    };
    let count = servers.len().max(1);
    let rss: u64 = servers.iter().map(Process::rss_bytes).sum();
    format!(
        "{:>8.1} {:>8.1} {:>8.1}  {:>9.1} {:>9.1}  {:>11.2} {:>11.1}  {:>11} {:>7}",
        each(last.queries - first.queries),
        each(last.rows - first.rows),
        each(last.transactions - first.transactions) - commits as f64,
        ms(first.postgres, last.postgres),
        ms(first.feeds, last.feeds),
        ms(first.servers, last.servers) / count as f64,
        rss as f64 / count as f64 / 1e6,
        last.connections,
        peak,
    )
}

/// Processor time of a process, user and kernel.
fn cpu(process: i64) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}
