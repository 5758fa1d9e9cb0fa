//! `bench fanout`: batches of events to all clients, and what each delivery costs.

use std::time::Instant;

use serde::Serialize;

use super::args::FanoutArgs;
use super::plot::{self, Bars};
use super::report::{
    About, Spread, Table, against_base, base_of, cpu_micros_each, megabytes, number, own_share,
    percent, print_json, print_notes, print_verdict, ratio, spread, thousands,
};
use super::setup::{Bench, Shape};
use super::stand::{Spent, Stand, joined};
use super::{Progress, finish, ready_stands};
use crate::error::Error;

/// A round has so many deliveries at least, as clocks and wake-ups are coarse.
const DELIVERIES_PER_ROUND: u64 = 20_000;

/// Most batches of a round.
const BATCHES_PER_ROUND_MAX: u64 = 100;

/// Most events of one transaction: they are in memory at once.
const TRANSACTION_EVENTS_MAX: u64 = 1_000_000;

/// What was measured. The JSON of `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    command: &'static str,
    clients: u32,
    channels: u32,
    channels_per_client: u32,
    payload_bytes: u32,
    rounds: u32,
    /// Whether it was ended before its time.
    stopped: bool,
    servers: Vec<Server>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    #[serde(flatten)]
    about: About,
    batches: Vec<Batch>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    /// Events of each channel that were committed at once.
    events: u32,
    rounds: usize,
    /// Of the server, user and kernel.
    cpu_micros_per_delivery: Option<Spread>,
    deliveries_per_cpu_second: Option<Spread>,
    /// Of the server, user and kernel. None where the kernel does not count them for us.
    instructions_per_delivery: Option<Spread>,
    /// The cost of the base by that of this server, of pairs of rounds: 1 is as good, less is dearer.
    ratio: Option<Spread>,
    /// From the commit to the last client.
    last_client_ms: Option<Spread>,
    /// Processor time of the benchmark by that of the server.
    generator_share: Option<f64>,
}

/// What one server did with one size of batches.
#[derive(Default)]
struct Samples {
    cpu_micros: Vec<Option<f64>>,
    instructions: Vec<Option<f64>>,
    last_ms: Vec<f64>,
    spent: Vec<Spent>,
}

pub(super) async fn run(args: FanoutArgs) -> Result<(), Error> {
    let channels = args.channels.count(args.clients);
    let batches = match (&*args.batch, channels) {
        ([], 1) => vec![1, 10, 100],
        ([], _) => vec![1],
        (given, _) => given.to_vec(),
    };
    if let Some(batch) = batches
        .iter()
        .find(|&&batch| u64::from(batch) * u64::from(channels) > TRANSACTION_EVENTS_MAX)
    {
        return Err(Error::Config(format!(
            "--batch {batch} on {channels} channels is more than {TRANSACTION_EVENTS_MAX} events in one transaction"
        )));
    }
    let shape = Shape {
        clients: args.clients,
        channels,
        channels_per_client: args.channels_per_client,
        payload_bytes: args.payload_bytes,
        together: true,
    };
    let bench = Bench::new(args.common, shape)?;
    bench.check_publishing()?;
    bench.introduce();
    let steps = bench.servers() * (1 + batches.len() * args.rounds as usize);
    let progress = Progress::new(steps);
    let mut stands = ready_stands(&bench, &progress).await?;
    let mut samples: Vec<Vec<Samples>> = stands
        .iter()
        .map(|_| batches.iter().map(|_| Samples::default()).collect())
        .collect();
    'all: for (size, &batch) in batches.iter().enumerate() {
        for round in 1..=args.rounds {
            for (n, stand) in stands.iter_mut().enumerate() {
                progress.say(format!(
                    "{}: {batch} at a time, round {round} of {}",
                    stand.name(),
                    args.rounds
                ));
                measure(stand, batch, &mut samples[n][size]).await?;
                progress.step();
                if bench.is_stopped() || stand.faults.any() || !stand.load.seen.gone.is_empty() {
                    break 'all;
                }
            }
            for stand in &mut stands {
                stand.load.tend()?;
            }
        }
    }
    drop(progress);
    let report = Report {
        command: "fanout",
        clients: args.clients,
        channels,
        channels_per_client: args.channels_per_client,
        payload_bytes: args.payload_bytes,
        rounds: args.rounds,
        stopped: bench.is_stopped(),
        servers: servers(&stands, &batches, &samples),
    };
    if bench.common.json {
        print_json(&report);
    } else {
        report.print(&bench);
    }
    if let Some(path) = &bench.common.plot {
        plot::bars(path, &report.bars())?;
    }
    finish(&bench, &mut stands).await
}

/// One round: as many batches as make it worth to be measured.
async fn measure(stand: &mut Stand, batch: u32, samples: &mut Samples) -> Result<(), Error> {
    let count = batch as usize * stand.channels();
    let each = u64::from(batch) * stand.subscriptions();
    let repeats = DELIVERIES_PER_ROUND
        .div_ceil(each.max(1))
        .min(BATCHES_PER_ROUND_MAX);
    let before = stand.load.seen.deliveries;
    let clocks = stand.clocks();
    for _ in 0..repeats {
        let publishing = stand.publish(count).await?;
        let complete = stand.receive()?;
        let end = Instant::now();
        let published = joined(publishing)
            .await
            .map_err(|error| stand.about(error))?;
        let late = end.saturating_duration_since(published.at);
        samples.last_ms.push(late.as_secs_f64() * 1e3);
        if stand.load.is_stopped() {
            return Ok(());
        }
        if !complete {
            break;
        }
    }
    let spent = stand.spent(&clocks);
    stand.close_books().await?;
    let deliveries = stand.load.seen.deliveries - before;
    samples.cpu_micros.push(cpu_micros_each(&spent, deliveries));
    let instructions = spent.instructions.map(|count| count as f64);
    let each = instructions.map(|count| count / deliveries.max(1) as f64);
    samples.instructions.push(each);
    samples.spent.push(spent);
    Ok(())
}

fn servers(stands: &[Stand], batches: &[u32], samples: &[Vec<Samples>]) -> Vec<Server> {
    let base = base_of(stands);
    let server = |(n, stand): (usize, &Stand)| {
        let sizes = batches.iter().enumerate();
        Server {
            about: About::new(stand, n == base),
            batches: sizes
                .map(|(size, &events)| {
                    let own = &samples[n][size];
                    let cpu = own.cpu_micros.iter().filter_map(|micros| *micros);
                    let against = &samples[base][size].cpu_micros;
                    Batch {
                        events,
                        rounds: own.cpu_micros.len(),
                        cpu_micros_per_delivery: Spread::of(cpu.clone()),
                        deliveries_per_cpu_second: Spread::of(cpu.map(|micros| 1e6 / micros)),
                        instructions_per_delivery: Spread::of(
                            own.instructions.iter().filter_map(|count| *count),
                        ),
                        ratio: (n != base)
                            .then(|| ratio(&own.cpu_micros, against))
                            .flatten(),
                        last_client_ms: Spread::of(own.last_ms.iter().copied()),
                        generator_share: own_share(&own.spent),
                    }
                })
                .collect(),
        }
    };
    stands.iter().enumerate().map(server).collect()
}

impl Report {
    fn print(&self, bench: &Bench) {
        anstream::println!(
            "{} clients, {} channel{}, {} each, payloads of {} bytes; medians of {} rounds (least–most)",
            thousands(self.clients.into()),
            thousands(self.channels.into()),
            if self.channels == 1 { "" } else { "s" },
            self.channels_per_client,
            self.payload_bytes,
            self.rounds
        );
        let abouts: Vec<_> = self.servers.iter().map(|s| &s.about).collect();
        let against = against_base("×", &abouts);
        let mut head = vec![
            "at a time",
            "server",
            "CPU each, us",
            "per CPU-second",
            "last client, ms",
            "benchmark",
            "memory",
        ];
        let mut batches = self.servers.iter().flat_map(|server| &server.batches);
        let are_counted = batches.any(|batch| batch.instructions_per_delivery.is_some());
        head.extend(are_counted.then_some("instructions each"));
        head.extend(against.as_deref());
        let mut table = Table::new(&head, 1);
        let sizes = self.servers.first().map_or(0, |s| s.batches.len());
        for size in 0..sizes {
            for server in &self.servers {
                let batch = &server.batches[size];
                let each = batch.deliveries_per_cpu_second.map(|spread| spread.median);
                let mut cells = vec![
                    thousands(batch.events.into()),
                    server.about.name.clone(),
                    spread(batch.cpu_micros_per_delivery),
                    number(each),
                    spread(batch.last_client_ms),
                    percent(batch.generator_share),
                    megabytes(server.about.rss_bytes),
                ];
                cells.extend(are_counted.then(|| spread(batch.instructions_per_delivery)));
                cells.extend(against.iter().map(|_| server.about.against(batch.ratio)));
                table.line(cells);
            }
        }
        table.print();
        print_verdict(bench, &abouts);
        let share = |server: &Server| {
            let shares = server.batches.iter().filter_map(|b| b.generator_share);
            (server.about.name.clone(), shares.reduce(f64::max))
        };
        let shares: Vec<_> = self.servers.iter().map(share).collect();
        print_notes(&shares);
    }

    fn bars(&self) -> Bars {
        Bars {
            title: format!("Fan-out to {} clients", thousands(self.clients.into())),
            axis: "deliveries per second of server CPU",
            groups: self.servers.first().map_or(Vec::new(), |server| {
                let batches = server.batches.iter();
                batches
                    .map(|batch| format!("{} at a time", thousands(batch.events.into())))
                    .collect()
            }),
            servers: self
                .servers
                .iter()
                .map(|server| {
                    let batches = server.batches.iter();
                    (
                        server.about.name.clone(),
                        batches
                            .map(|batch| batch.deliveries_per_cpu_second)
                            .collect(),
                    )
                })
                .collect(),
        }
    }
}
