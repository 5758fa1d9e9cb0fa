//! One client that was away for 100,000 events, again and again, beside a thousand that are live.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{interval, sleep};

use crate::client::{self, Client};
use crate::feed::{Feed, event};
use crate::tell;

const MISSED: usize = 100_000;
const MISSED_PER_SECOND_MIN: f64 = 50_000.0;

const LIVE_CLIENTS: usize = 1000;
const LIVE_INTERVAL: Duration = Duration::from_millis(100);
const LIVE_P99_MAX: Duration = Duration::from_millis(200);

/// Rows of all channels, where what is missed is all there is, and where it is one part in eleven.
const TABLES: [(&str, usize, &str); 2] = [
    ("100,000 rows, all missed", MISSED, "'missed'"),
    (
        "1,100,000 rows on 100 channels, 100,000 missed on one",
        11 * MISSED,
        "CASE i % 11 WHEN 0 THEN 'missed' ELSE 'others:' || (i % 99) END",
    ),
];

pub async fn measure(kind: &str, pinned: bool, seconds: u64) {
    for (table, rows, channel) in TABLES {
        println!(" from the table: {table}");
        let feed = Feed::start(kind, pinned, &["--max-recent-bytes", "0"]).await;
        let since = feed.present().await;
        feed.fill(rows as i64, channel).await;
        let alone = rates(&feed, &since, Duration::from_secs(seconds) / 4).await;
        println!("  nobody else: {}", told(&alone));
        LocalSet::new()
            .run_until(async {
                let live = Live::start(&feed).await;
                sleep(Duration::from_secs(1)).await;
                let cpu = feed.server.cpu();
                live.forget();
                sleep(Duration::from_secs(seconds) / 2).await;
                let p99 = live.p99();
                println!(
                    "  {LIVE_CLIENTS} live clients alone: 10 events/s to each, {}, server {:.0} % of its core",
                    live.told(),
                    200.0 * feed.server.cpu_since(cpu).as_secs_f64() / seconds as f64,
                );
                live.forget();
                let rates = rates(&feed, &since, Duration::from_secs(seconds)).await;
                tell(
                    &format!("beside them, {MISSED_PER_SECOND_MIN}/s"),
                    &told(&rates),
                    median(&rates) >= MISSED_PER_SECOND_MIN,
                );
                tell(
                    &format!("meanwhile they, p99 {LIVE_P99_MAX:?}"),
                    &format!("{} (alone {p99:.0?})", live.told()),
                    live.p99() <= LIVE_P99_MAX,
                );
            })
            .await;
    }
}

/// Events per second of each time that a client caught up.
async fn rates(feed: &Feed, since: &str, time: Duration) -> Vec<f64> {
    let end = Instant::now() + time;
    let mut rates = Vec::new();
    while rates.len() < 3 || Instant::now() < end {
        let mut client = Client::connect_for_many(&feed.address).await;
        let start = Instant::now();
        client.subscribe(&["missed"], Some(since)).await;
        let (mut events, mut last) = (0, 0);
        loop {
            let frame = client.frame().await;
            match client::kind(frame) {
                "event" => {
                    let id = client::id(frame);
                    assert!(id > last, "{id} after {last}");
                    (events, last) = (events + 1, id);
                }
                "caught_up" => break,
                "subscribed" | "cursor" => {}
                other => panic!("{other}: {}", String::from_utf8_lossy(frame)),
            }
        }
        assert_eq!(events, MISSED);
        rates.push(MISSED as f64 / start.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    rates
}

fn median(rates: &[f64]) -> f64 {
    rates[rates.len() / 2]
}

fn told(rates: &[f64]) -> String {
    format!(
        "{:.0} events/s (median of {}, slowest {:.0}, quickest {:.0})",
        median(rates),
        rates.len(),
        rates[0],
        rates[rates.len() - 1]
    )
}

/// Clients that are live, and how long after its commit each has every event.
struct Live {
    latencies: Rc<RefCell<Vec<Duration>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Live {
    /// Half of the clients have one channel, half have all.
    async fn start(feed: &Feed) -> Self {
        let latencies = Rc::new(RefCell::new(Vec::new()));
        let commits = Rc::new(RefCell::new(Vec::<Instant>::new()));
        let mut tasks = Vec::new();
        for n in 0..LIVE_CLIENTS {
            let mut client = Client::connect(&feed.address).await;
            let channel = if n % 2 == 0 { "live" } else { "*" };
            client.subscribe(&[channel], None).await;
            let (latencies, commits) = (Rc::clone(&latencies), Rc::clone(&commits));
            tasks.push(tokio::task::spawn_local(async move {
                loop {
                    let frame = client.frame().await;
                    if client::kind(frame) == "event" {
                        let n = client::n(frame);
                        // It may be here before the writer hears that it is committed.
                        let commits = commits.borrow();
                        let since = commits.get(n as usize).map(Instant::elapsed);
                        latencies.borrow_mut().push(since.unwrap_or_default());
                    }
                }
            }));
        }
        let writer = feed.writer().await;
        tasks.push(tokio::task::spawn_local(async move {
            let mut ticks = interval(LIVE_INTERVAL);
            for n in 0.. {
                ticks.tick().await;
                writer.write(&[event("live", n)]).await;
                commits.borrow_mut().push(Instant::now());
            }
        }));
        Self { latencies, tasks }
    }

    fn forget(&self) {
        self.latencies.borrow_mut().clear();
    }

    fn p99(&self) -> Duration {
        self.percentile(99)
    }

    fn percentile(&self, percent: usize) -> Duration {
        let mut latencies = self.latencies.borrow_mut();
        latencies.sort_unstable();
        latencies[latencies.len() * percent / 100]
    }

    fn told(&self) -> String {
        format!(
            "p50 {:.0?}, p99 {:.0?} from commit to client, {} deliveries",
            self.percentile(50),
            self.p99(),
            self.latencies.borrow().len()
        )
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
