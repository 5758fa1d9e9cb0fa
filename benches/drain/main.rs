//! Ten thousand clients, each with a token of its own, are sent from one server to another on the same database while
//! rows are written: none misses one. `cargo bench --bench drain`; behind `--`, `sqlite` or `postgres` picks the database,
//! and a number that of clients. The limits of open files and of local ports have to allow it.

mod client;
#[path = "../catch_up/client.rs"]
#[expect(dead_code, reason = "its frames are read here, its client is another")]
mod frame;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::env;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rowcast::source::{Insert, open_insert};
use rowcast::{Channels, Migrate, NewEvent};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout};

use client::{Client, Notes, Shared};
use support::Database;
use support::process::Process;
use support::token::{SECRET, token};

const CLIENTS: usize = 10_000;
const GRACE: Duration = Duration::from_secs(10);

/// The end of the process, and the news of it, come a little later.
const GRACE_SLACK: Duration = Duration::from_millis(500);

/// Twenty rows a second that many clients receive, and with each of them some for one client alone.
const WRITE_INTERVAL: Duration = Duration::from_millis(50);
const ROOMS: usize = 10;
const TASKS_EVERY: usize = 5;
const INBOX_ROWS: usize = 20;

/// How long rows are written before the drain, and after the last client is live again.
const CALM: Duration = Duration::from_secs(3);

/// After that something is wrong.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Handshakes under way at a time when all connect for the first time.
const DOOR: usize = 64;

fn main() {
    let words: Vec<_> = env::args().skip(1).collect();
    let clients = words.iter().find_map(|word| word.parse().ok());
    let clients = clients.unwrap_or(CLIENTS);
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for kind in ["sqlite", "postgres"] {
        let other = if kind == "sqlite" {
            "postgres"
        } else {
            "sqlite"
        };
        if words.iter().all(|word| word != other) {
            println!("{kind}: {clients} clients, {GRACE:?} of grace");
            runtime.block_on(measure(kind, clients));
        }
    }
}

async fn measure(kind: &str, clients: usize) {
    let database = match kind {
        "sqlite" => Database::sqlite().await,
        _ => Database::postgres().await,
    };
    let folder = support::temp_dir();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).expect("a file");
    let grace = format!("{}s", GRACE.as_secs());
    let flags = [
        "--jwt-secret-file",
        secret.to_str().expect("a path of ours"),
        "--grant",
        "tasks",
        "--grant",
        "room:*",
        "--grace-period",
        &grace,
        "--log-format",
        "json",
    ];
    let mut first = Process::start(&database.url, &flags);
    let second = Process::start(&database.url, &flags);
    let (last_tx, last) = watch::channel(None);
    let shared = Arc::new(Shared {
        first: address_of(&first),
        second: address_of(&second),
        door: Semaphore::new(DOOR),
        subscribed: AtomicUsize::new(0),
        live: AtomicUsize::new(0),
        last,
    });
    let tasks: Vec<_> = (0..clients)
        .map(|n| {
            let client = Client {
                token: token(json!({ "sub": format!("u{n}") })),
                channels: json!(["tasks", room(n), inbox(n)]).to_string(),
                shared: Arc::clone(&shared),
            };
            tokio::spawn(async move {
                let mut notes = Notes::default();
                // Whoever waits for a row that does not come has noted so far what it has.
                let ended = timeout(2 * TIMEOUT, client.run(&mut notes)).await;
                (notes, ended.is_ok())
            })
        })
        .collect();
    let came = Instant::now();
    reached(&shared.subscribed, clients).await;
    println!("  all are subscribed after {:.1?}", came.elapsed());

    let config = database.config();
    let insert = open_insert(&config, Migrate::Off).await;
    let insert = insert.expect("the tables are there");
    let stop = Arc::new(AtomicBool::new(false));
    let writing = write(Arc::clone(&insert), clients, Arc::clone(&stop));
    sleep(CALM).await;

    let cpu_second = second.cpu();
    let start = Instant::now();
    signal(&first, "TERM");
    let exited = tokio::task::spawn_blocking(move || {
        let status = first.wait();
        (status, Instant::now())
    });
    let is_live = reached(&shared.live, clients).await;
    let storm = start.elapsed();
    let cpu_second = second.cpu_since(cpu_second);
    let (status, ended_at) = exited.await.expect("it is waited for");
    sleep(CALM).await;
    stop.store(true, Ordering::Relaxed);
    let mut written = writing.await.expect("rows are written");
    let ids = insert.insert(&[event("tasks")]).await;
    let last = ids.expect("the last row is inserted")[0].id.0;
    written.push((last, Target::Tasks));
    last_tx.send_replace(Some(last));

    let mut all = Vec::with_capacity(clients);
    for task in tasks {
        all.push(task.await.expect("no client gives up"));
    }
    let outcome = Outcome {
        start,
        ended: ended_at - start,
        status: status.to_string(),
        storm,
        is_live,
        cpu_second,
        rss_second: second.rss_bytes(),
        written,
        all,
    };
    outcome.tell();
}

/// Waits until so many have got so far; false when they do not.
async fn reached(count: &AtomicUsize, clients: usize) -> bool {
    let enough = async {
        while count.load(Ordering::Relaxed) < clients {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(TIMEOUT, enough).await.is_ok()
}

/// Whom a row is for.
#[derive(Clone, Copy)]
enum Target {
    Tasks,
    Room(usize),
    Inbox(usize),
}

fn room(client: usize) -> String {
    format!("room:{}", client % ROOMS)
}

fn inbox(client: usize) -> String {
    format!("inbox:u{client}")
}

fn event(channel: &str) -> NewEvent {
    NewEvent::new(
        Channels::parse(channel).expect("a good name"),
        "task.updated",
        RawValue::from_string(format!("{{\"title\":\"{}\"}}", "x".repeat(180))).expect("JSON"),
    )
}

/// Writes rows until it is to stop. Gives them with their ids.
fn write(
    insert: Arc<dyn Insert>,
    clients: usize,
    stop: Arc<AtomicBool>,
) -> JoinHandle<Vec<(i64, Target)>> {
    tokio::spawn(async move {
        let mut written = Vec::new();
        let mut ticks = interval(WRITE_INTERVAL);
        let (mut tick, mut next) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            tick += 1;
            let mut targets = vec![match tick % TASKS_EVERY {
                0 => Target::Tasks,
                _ => Target::Room(tick % ROOMS),
            }];
            for _ in 0..INBOX_ROWS {
                targets.push(Target::Inbox(next % clients));
                next += 1;
            }
            let events: Vec<_> = targets
                .iter()
                .map(|&target| match target {
                    Target::Tasks => event("tasks"),
                    Target::Room(n) => event(&room(n)),
                    Target::Inbox(n) => event(&inbox(n)),
                })
                .collect();
            let ids = insert.insert(&events).await.expect("rows are inserted");
            written.extend(ids.into_iter().map(|row| row.id.0).zip(targets));
        }
        written
    })
}

fn signal(process: &Process, name: &str) {
    let sent = Command::new("kill")
        .args([format!("-{name}"), process.id().to_string()])
        .status();
    assert!(sent.expect("there is a kill").success());
}

fn address_of(server: &Process) -> String {
    let url = server.url.strip_prefix("ws://").expect("a WebSocket");
    url.trim_end_matches("/ws").to_owned()
}

/// What came of it.
struct Outcome {
    start: Instant,
    ended: Duration,
    status: String,
    storm: Duration,
    is_live: bool,
    cpu_second: Duration,
    rss_second: u64,
    written: Vec<(i64, Target)>,
    /// What each client has noted, and whether it had the last row in time.
    all: Vec<(Notes, bool)>,
}

impl Outcome {
    fn tell(&self) {
        self.tell_rows();
        self.tell_server();
        self.tell_closes();
    }

    fn tell_rows(&self) {
        let (mut tasks, mut rooms) = (Vec::new(), vec![Vec::new(); ROOMS]);
        let mut inboxes = HashMap::<_, Vec<_>>::new();
        for &(id, target) in &self.written {
            match target {
                Target::Tasks => tasks.push(id),
                Target::Room(n) => rooms[n].push(id),
                Target::Inbox(n) => inboxes.entry(n).or_default().push(id),
            }
        }
        let (mut delivered, mut repeats, mut missing, mut alien) = (0, 0, 0, 0);
        let (mut disordered, mut resets, mut late) = (0, 0, 0);
        for (n, (notes, in_time)) in self.all.iter().enumerate() {
            let mut wanted = [&tasks[..], &rooms[n % ROOMS]].concat();
            wanted.extend(inboxes.get(&n).into_iter().flatten());
            wanted.sort_unstable();
            let mut highest = i64::MIN;
            let mut got = Vec::with_capacity(notes.rows.len());
            for &id in &notes.rows {
                if got.contains(&id) {
                    repeats += 1;
                } else {
                    disordered += usize::from(id < highest);
                    highest = highest.max(id);
                    got.push(id);
                }
            }
            got.sort_unstable();
            delivered += got.len();
            missing += wanted
                .iter()
                .filter(|id| got.binary_search(id).is_err())
                .count();
            alien += got
                .iter()
                .filter(|id| wanted.binary_search(id).is_err())
                .count();
            resets += notes.resets;
            late += usize::from(!in_time);
        }
        tell(
            "every client got each of its rows",
            &format!(
                "{} rows, {delivered} deliveries, {missing} missing, {alien} of others, {disordered} out of order, {repeats} repeated, {resets} resets, {late} clients without the last row",
                self.written.len()
            ),
            [missing, alien, disordered, resets, late] == [0; 5],
        );
    }

    fn tell_server(&self) {
        tell(
            &format!("the first server ends within {GRACE:?}"),
            &format!("{:.2?}, {}", self.ended, self.status),
            self.status == "exit status: 0" && self.ended <= GRACE + GRACE_SLACK,
        );
        let mut away: Vec<_> = self
            .all
            .iter()
            .filter_map(|(notes, _)| Some(notes.live_at? - notes.closed_at?))
            .collect();
        away.sort_unstable();
        let failures: usize = self.all.iter().map(|(notes, _)| notes.failures).sum();
        tell(
            "all are live at the second server",
            &format!(
                "{:.2?} after the signal; from close to caught up {:.2?} in the middle, {:.2?} at most; {failures} attempts failed; it took {:.2?} of CPU, and has {:.0} MB",
                self.storm,
                away.get(away.len() / 2).copied().unwrap_or_default(),
                away.last().copied().unwrap_or_default(),
                self.cpu_second,
                self.rss_second as f64 / 1e6,
            ),
            self.is_live && failures == 0,
        );
    }

    fn tell_closes(&self) {
        let notes = || self.all.iter().map(|(notes, _)| notes);
        let since = |at: Instant| at - self.start;
        let told = notes().filter_map(|notes| notes.told_at).map(since).max();
        let mut closed: Vec<_> = notes()
            .filter_map(|notes| notes.closed_at)
            .map(since)
            .collect();
        closed.sort_unstable();
        let good = notes()
            .filter(|notes| notes.close_code == Some(1012) && notes.told_at.is_some())
            .count();
        let mut from = 0;
        let mut most = 0;
        for (n, &at) in closed.iter().enumerate() {
            while at.saturating_sub(closed[from]) > Duration::from_millis(100) {
                from += 1;
            }
            most = most.max(n + 1 - from);
        }
        let between = notes().filter(|notes| notes.rows_after_told > 0).count();
        let rows: usize = notes().map(|notes| notes.rows_after_told).sum();
        let part = |part: usize| {
            let at = closed.get((closed.len() * part / 100).saturating_sub(1));
            at.copied().unwrap_or_default()
        };
        tell(
            "each is told, and closed with 1012",
            &format!(
                "{good} of {}; told within {:.2?}, closed after {:.2?} to {:.2?} (a quarter by {:.2?}, half by {:.2?}), {most} at most within 100 ms; {between} got {rows} rows between",
                self.all.len(),
                told.unwrap_or_default(),
                part(0),
                part(100),
                part(25),
                part(50),
            ),
            good == self.all.len(),
        );
    }
}

/// Prints a figure, and whether it is what we promise.
fn tell(what: &str, figure: &str, holds: bool) {
    let verdict = if holds { "holds" } else { "DOES NOT HOLD" };
    println!("  {what}: {figure}: {verdict}");
}
