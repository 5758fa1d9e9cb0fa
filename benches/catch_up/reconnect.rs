//! A thousand clients that come back at once with positions a minute old, to a server that was there and to one that was
//! not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{interval, timeout};

use crate::client::{self, Client};
use crate::feed::{Feed, event};
use crate::tell;

const CLIENTS: usize = 1000;
const CHANNELS: usize = 20;
const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// On average 200 events a second.
const WRITE_INTERVAL: Duration = Duration::from_millis(20);
const EVENTS_PER_WRITE: std::ops::RangeInclusive<usize> = 1..=7;

/// How long the oldest position is older than the youngest.
const SPREAD: Duration = Duration::from_secs(5);

type Written = Arc<Mutex<Vec<(i64, usize)>>>;
type Positions = Arc<Mutex<Vec<(Instant, i64, String)>>>;

pub async fn measure(kind: &str, pinned: bool, seconds: u64) {
    println!(" {CLIENTS} clients come back at once, {seconds} s late");
    let mut feed = Feed::start(kind, pinned, &[]).await;
    let written = Written::default();
    let positions = Positions::default();
    let witness = tokio::spawn(witness(
        Client::connect_for_many(&feed.address).await,
        Arc::clone(&positions),
    ));
    let writing = write(&feed, Arc::clone(&written)).await;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    witness.abort();
    let mut positions = std::mem::take(&mut *positions.lock().expect("whole"));
    let began = positions[0].0;
    positions.retain(|(at, ..)| at.duration_since(began) < SPREAD);
    let mut back = Vec::new();
    for state in ["server warm", "server just restarted"] {
        if state != "server warm" {
            feed.restart().await;
        }
        let before = Before::of(&feed);
        let start = Instant::now();
        let mut clients = JoinSet::new();
        for n in 0..CLIENTS {
            let (_, id, cursor) = positions[n % positions.len()].clone();
            let channels = [n % CHANNELS, (n / CHANNELS) % CHANNELS];
            clients.spawn(Back::come(
                feed.address.clone(),
                channels,
                id,
                cursor,
                start,
            ));
        }
        let clients = clients.join_all().await;
        let mut times: Vec<_> = clients.iter().map(|client| client.took).collect();
        times.sort_unstable();
        tell(
            &format!("{state}, all served within {SERVED_WITHIN:?}"),
            &format!(
                "{:.2?} (half of them within {:.2?}), {} events, server CPU {:.2?}",
                times[CLIENTS - 1],
                times[CLIENTS / 2],
                clients.iter().map(|client| client.got.len()).sum::<usize>(),
                feed.server.cpu_since(before.cpu),
            ),
            times[CLIENTS - 1] <= SERVED_WITHIN,
        );
        before.tell_reads(&feed);
        back.push((state, clients));
    }
    // Those of the first time lost their connection with the restart; what they have has to be exact as far as it goes.
    writing.abort();
    let _ = writing.await;
    let written = written.lock().expect("whole").clone();
    for (state, clients) in back {
        let stayed = state != "server warm";
        let mut checks = JoinSet::new();
        for client in clients {
            checks.spawn(client.has_exactly(written.clone(), stayed));
        }
        let wrong = checks
            .join_all()
            .await
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        tell(
            &format!("{state}, every client got exactly its events"),
            wrong.first().map_or("yes", String::as_str),
            wrong.is_empty(),
        );
    }
}

/// What the server has done before something is measured.
struct Before {
    cpu: Duration,
    counters: BTreeMap<&'static str, u64>,
}

impl Before {
    fn of(feed: &Feed) -> Self {
        let names = ["recentReads", "tableReads", "catchUps", "clientResets"];
        Self {
            cpu: feed.server.cpu(),
            counters: names.map(|name| (name, feed.counter(name))).into(),
        }
    }

    fn tell_reads(&self, feed: &Feed) {
        let since = |name| feed.counter(name) - self.counters[name];
        let (recent, table) = (since("recentReads"), since("tableReads"));
        println!(
            "    {} catch-ups, {recent} batches from memory and {table} readings of the table: {:.2} % from memory; {} resets",
            since("catchUps"),
            100.0 * recent as f64 / (recent + table) as f64,
            since("clientResets"),
        );
    }
}

/// Notes positions, with the last event that each has.
async fn witness(mut client: Client, positions: Positions) {
    client.subscribe(&["*"], None).await;
    loop {
        let frame = client.frame().await;
        if client::kind(frame) == "event"
            && let Some(cursor) = client::cursor(frame)
        {
            let position = (Instant::now(), client::id(frame), cursor.to_owned());
            positions.lock().expect("whole").push(position);
        }
    }
}

async fn write(feed: &Feed, written: Written) -> JoinHandle<()> {
    let writer = feed.writer().await;
    tokio::spawn(async move {
        let mut ticks = interval(WRITE_INTERVAL);
        loop {
            ticks.tick().await;
            let channels: Vec<_> = (0..fastrand::usize(EVENTS_PER_WRITE))
                .map(|_| fastrand::usize(..CHANNELS))
                .collect();
            let events: Vec<_> = channels.iter().map(|n| event(&name(*n), *n)).collect();
            let ids = writer.write(&events).await;
            written
                .lock()
                .expect("whole")
                .extend(ids.into_iter().zip(channels));
        }
    })
}

fn name(channel: usize) -> String {
    format!("room:{channel}")
}

/// A client that came back.
struct Back {
    client: Client,
    channels: [usize; 2],
    /// The last event it had before.
    after: i64,
    got: Vec<i64>,
    took: Duration,
}

impl Back {
    async fn come(
        address: String,
        channels: [usize; 2],
        after: i64,
        cursor: String,
        start: Instant,
    ) -> Self {
        let mut client = Client::connect(&address).await;
        let names = channels.map(name);
        let names = names.each_ref().map(String::as_str);
        client.subscribe(&names, Some(&cursor)).await;
        let mut got = Vec::new();
        loop {
            let frame = client.frame().await;
            match client::kind(frame) {
                "event" => got.push(client::id(frame)),
                "caught_up" => break,
                "subscribed" | "cursor" => {}
                other => panic!("{other}: {}", String::from_utf8_lossy(frame)),
            }
        }
        Self {
            client,
            channels,
            after,
            got,
            took: start.elapsed(),
        }
    }

    /// Gives what is wrong. Those who stayed connected have to have everything in the end.
    async fn has_exactly(mut self, written: Vec<(i64, usize)>, stayed: bool) -> Option<String> {
        let mut wanted = written
            .into_iter()
            .filter(|(id, channel)| *id > self.after && self.channels.contains(channel))
            .map(|(id, _)| id)
            .collect::<Vec<_>>();
        if stayed {
            while self.got.len() < wanted.len() {
                let Ok(frame) = timeout(Duration::from_secs(5), self.client.frame()).await else {
                    break;
                };
                if client::kind(frame) == "event" {
                    self.got.push(client::id(frame));
                }
            }
        } else {
            wanted.truncate(self.got.len());
        }
        (self.got != wanted).then(|| {
            let missing = wanted.iter().filter(|id| !self.got.contains(id)).count();
            format!(
                "no: {} events instead of {} after {} on {:?}, {missing} missing",
                self.got.len(),
                wanted.len(),
                self.after,
                self.channels,
            )
        })
    }
}
