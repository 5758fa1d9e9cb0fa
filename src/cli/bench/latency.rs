//! `bench latency`: events at a steady pace, and how late each client has each of them. An event is due at its time, however
//! late the one before it was: a server that stands still is not asked less often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::sleep_until;

use super::args::LatencyArgs;
use super::plot::{self, Curves};
use super::publish::Publisher;
use super::report::{
    About, Percentiles, Spread, Table, against_base, base_of, cpu_micros_each, number, print_json,
    print_verdict, thousands,
};
use super::setup::{Bench, Shape};
use super::stand::{Stand, joined};
use super::times::{Latency, Times, histogram};
use super::{Progress, finish, ready_stands};
use crate::error::Error;

/// How long one server is measured before it is the turn of the next.
const TURN: Duration = Duration::from_secs(5);

/// Before the first event of a turn.
const LEAD: Duration = Duration::from_millis(20);

/// What was measured. The JSON of `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    command: &'static str,
    clients: u32,
    channels: u32,
    channels_per_client: u32,
    events_per_second: u32,
    messages_per_second: u32,
    seconds: f64,
    payload_bytes: u32,
    /// Whether it was ended before its time.
    stopped: bool,
    servers: Vec<Server>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    #[serde(flatten)]
    about: About,
    events: u64,
    /// Milliseconds from when the event was committed, or its request began to be sent, to when a client had it.
    sent_ms: Percentiles,
    /// Milliseconds from when the event was due. What its writer had to wait for is in it.
    due_ms: Percentiles,
    /// The median by that of the base, of pairs of turns: 1 is as late, more is later.
    ratio: Option<Spread>,
    cpu_micros_per_delivery: Option<f64>,
    /// Messages of its clients, and how many of them were answered.
    messages: u64,
    answers: u64,
    /// What it did in each turn of five seconds.
    turns: Vec<Turn>,
}

/// One turn of a server: whether it changes as time goes by.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Turn {
    /// From when events were committed.
    p50_ms: f64,
    p99_ms: f64,
    rss_bytes: Option<u64>,
    /// Of one core, user and kernel.
    cpu_percent: Option<f64>,
}

/// What one server did.
struct Samples {
    sent: Histogram<u64>,
    due: Histogram<u64>,
    events: u64,
    cpu_micros: Vec<f64>,
    messages: u64,
    answers: u64,
    turns: Vec<Turn>,
}

pub(super) async fn run(args: LatencyArgs) -> Result<(), Error> {
    let shape = Shape {
        clients: args.clients,
        channels: args.channels.count(args.clients),
        channels_per_client: args.channels_per_client,
        payload_bytes: args.payload_bytes,
        together: true,
    };
    let bench = Bench::new(args.common.clone(), shape)?;
    bench.check_publishing()?;
    bench.introduce();
    let turns = args.length.as_secs_f64() / TURN.as_secs_f64();
    let turns = turns.ceil().max(1.0) as usize;
    let events = (f64::from(args.rate) * args.length.as_secs_f64() / turns as f64).round();
    let events = (events as usize).max(1);
    let progress = Progress::new(bench.servers() * (1 + turns));
    let mut stands = ready_stands(&bench, &progress).await?;
    let mut samples: Vec<_> = stands.iter().map(|_| Samples::new()).collect();
    'all: for turn in 1..=turns {
        for (stand, samples) in stands.iter_mut().zip(&mut samples) {
            progress.say(format!("{}: turn {turn} of {turns}", stand.name()));
            measure(&bench, stand, &args, events, samples).await?;
            progress.step();
            if bench.is_stopped() || stand.faults.any() || !stand.load.seen.gone.is_empty() {
                break 'all;
            }
        }
        for stand in &mut stands {
            stand.load.tend()?;
        }
    }
    drop(progress);
    let base = base_of(&stands);
    let servers = stands.iter().zip(&samples).enumerate();
    let servers = servers.map(|(n, (stand, own))| Server {
        about: About::new(stand, n == base),
        events: own.events,
        sent_ms: Percentiles::of(&own.sent),
        due_ms: Percentiles::of(&own.due),
        ratio: (n != base)
            .then(|| {
                let pairs = own.turns.iter().zip(&samples[base].turns);
                Spread::of(pairs.map(|(own, base)| own.p50_ms / base.p50_ms))
            })
            .flatten(),
        cpu_micros_per_delivery: Spread::of(own.cpu_micros.iter().copied()).map(|s| s.median),
        messages: own.messages,
        answers: own.answers,
        turns: own.turns.clone(),
    });
    let report = Report {
        command: "latency",
        clients: args.clients,
        channels: bench.shape.channels,
        channels_per_client: args.channels_per_client,
        events_per_second: args.rate,
        messages_per_second: args.messages,
        seconds: args.length.as_secs_f64(),
        payload_bytes: args.payload_bytes,
        stopped: bench.is_stopped(),
        servers: servers.collect(),
    };
    if bench.common.json {
        print_json(&report);
    } else {
        report.print(&bench);
    }
    if let Some(path) = &bench.common.plot {
        let names = stands.iter().map(|stand| stand.name().to_owned());
        let curves = Curves {
            title: format!(
                "{} events a second to {} clients",
                thousands(args.rate.into()),
                thousands(args.clients.into())
            ),
            servers: names.zip(samples.into_iter().map(|s| s.sent)).collect(),
        };
        plot::curves(path, &curves)?;
    }
    finish(&bench, &mut stands).await
}

async fn measure(
    bench: &Bench,
    stand: &mut Stand,
    args: &LatencyArgs,
    count: usize,
    samples: &mut Samples,
) -> Result<(), Error> {
    let publisher = stand.publisher()?;
    let first = publisher.lock().await.next();
    let times = Arc::new(Times::new(first, count));
    stand.load.seen.latency = Some(Latency::new(Arc::clone(&times)));
    stand.expect(first, count);
    let before = stand.load.seen.deliveries;
    let clocks = stand.clocks();
    let stop = Arc::clone(&bench.stop);
    stand.begin_chatter(args.messages);
    let publishing = tokio::spawn(publish(publisher, args.rate, count, times, stop));
    stand.receive()?;
    let (messages, answers) = stand.end_chatter()?;
    let sent = joined(publishing)
        .await
        .map_err(|error| stand.about(error))?;
    let spent = stand.spent(&clocks);
    stand.close_books().await?;
    let deliveries = stand.load.seen.deliveries - before;
    samples
        .cpu_micros
        .extend(cpu_micros_each(&spent, deliveries));
    samples.events += sent;
    samples.messages += messages;
    samples.answers += answers;
    if let Some(latency) = stand.load.seen.latency.take() {
        let Percentiles { p50, p99, .. } = Percentiles::of(&latency.sent);
        samples.turns.push(Turn {
            p50_ms: p50,
            p99_ms: p99,
            rss_bytes: stand.rss_bytes(),
            cpu_percent: spent
                .cpu
                .map(|cpu| cpu.as_secs_f64() / spent.time.as_secs_f64() * 100.0),
        });
        samples.sent += latency.sent;
        samples.due += latency.due;
    }
    Ok(())
}

/// Publishes events, each at its time or as soon after it as can be. Gives how many.
async fn publish(
    publisher: Arc<Mutex<Publisher>>,
    rate: u32,
    count: usize,
    times: Arc<Times>,
    stop: Arc<AtomicBool>,
) -> Result<u64, Error> {
    let mut publisher = publisher.lock().await;
    let first = publisher.next();
    let start = Instant::now() + LEAD;
    let due = |n: usize| start + Duration::from_secs_f64(n as f64 / f64::from(rate));
    let mut sent = 0;
    while sent < count && !stop.load(Ordering::Relaxed) {
        sleep_until(due(sent).into()).await;
        let now = Instant::now();
        // What is overdue goes together, as it would in a backend that waits for its database.
        let group = (sent..count).take_while(|&n| n == sent || due(n) <= now);
        let group = group.count();
        let numbers = (sent..sent + group).map(|n| (first + n as u64, due(n)));
        for (number, due) in numbers.clone() {
            if publisher.counts_from_request() {
                times.note(number, due, now);
            } else {
                times.note_due(number, due);
            }
        }
        let published = publisher.publish(group).await?;
        if !publisher.counts_from_request() {
            for (number, due) in numbers {
                times.note(number, due, published.at);
            }
        }
        sent += group;
    }
    Ok(sent as u64)
}

impl Samples {
    fn new() -> Self {
        Self {
            sent: histogram(),
            due: histogram(),
            events: 0,
            cpu_micros: Vec::new(),
            messages: 0,
            answers: 0,
            turns: Vec::new(),
        }
    }
}

impl Report {
    fn print(&self, bench: &Bench) {
        anstream::println!(
            "{} clients, {} channel{}, {} each, {} events a second for {} s each, payloads of {} bytes; milliseconds",
            thousands(self.clients.into()),
            thousands(self.channels.into()),
            if self.channels == 1 { "" } else { "s" },
            self.channels_per_client,
            thousands(self.events_per_second.into()),
            number(Some(self.seconds)),
            self.payload_bytes
        );
        let abouts: Vec<_> = self.servers.iter().map(|s| &s.about).collect();
        let against = against_base("p50 ×", &abouts);
        let mut head = vec!["server", "", "p50", "p90", "p99", "p99.9", "max"];
        head.extend(against.as_deref());
        let mut table = Table::new(&head, 0);
        for server in &self.servers {
            let ways = [
                ("committed → client", &server.sent_ms),
                ("due → client", &server.due_ms),
            ];
            for (n, (way, percentiles)) in ways.into_iter().enumerate() {
                let name = if n == 0 {
                    server.about.name.as_str()
                } else {
                    ""
                };
                let mut cells = vec![name.to_owned(), way.to_owned()];
                cells.extend(percentiles.cells());
                if against.is_some() && n == 0 {
                    cells.push(server.about.against(server.ratio));
                }
                table.line(cells);
            }
        }
        table.print();
        for server in &self.servers {
            server.print_drift();
        }
        print_verdict(bench, &abouts);
    }
}

impl Server {
    /// What was answered, and whether anything grows: the first turns and the last ones.
    fn print_drift(&self) {
        let name = &self.about.name;
        if self.messages > 0 {
            anstream::println!(
                "{name}: {} messages of clients, {} answered",
                thousands(self.messages),
                thousands(self.answers)
            );
        }
        let few = self.turns.len() / 5;
        if few == 0 {
            return;
        }
        let median = |turns: &[Turn], of: fn(&Turn) -> Option<f64>| {
            Spread::of(turns.iter().filter_map(of)).map(|spread| spread.median)
        };
        let change = |of: fn(&Turn) -> Option<f64>| {
            let last = &self.turns[self.turns.len() - few..];
            format!(
                "{} → {}",
                number(median(&self.turns[..few], of)),
                number(median(last, of))
            )
        };
        let seconds = few as u64 * TURN.as_secs();
        anstream::println!(
            "{name}: in the first and the last {seconds} s: p50 {} ms, p99 {} ms, memory {} MB, CPU {} %",
            change(|turn| Some(turn.p50_ms)),
            change(|turn| Some(turn.p99_ms)),
            change(|turn| Some(turn.rss_bytes? as f64 / 1e6)),
            change(|turn| turn.cpu_percent),
        );
    }
}
