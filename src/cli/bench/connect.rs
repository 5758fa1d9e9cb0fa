//! `bench connect`: clients that come, each with a token and a subscription, and what that costs.

use serde::Serialize;

use super::Progress;
use super::args::ConnectArgs;
use super::plot::{self, Bars};
use super::report::{
    About, Percentiles, Spread, Table, against_base, base_of, cpu_micros_each, number, own_share,
    percent, print_json, print_notes, print_verdict, ratio, spread, thousands,
};
use super::setup::{Bench, Shape};
use super::stand::{Spent, Stand};
use crate::error::Error;

/// The first connections pay for buffers that all share.
pub(super) const WARM: usize = 200;

/// What was measured. The JSON of `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    command: &'static str,
    clients: u32,
    at_once: u32,
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
    rounds: usize,
    /// Of the server: handshake, token, subscription.
    cpu_micros_per_connect: Option<Spread>,
    connects_per_second: Option<Spread>,
    /// Milliseconds from the first packet to the answer to the subscription.
    connect_ms: Percentiles,
    /// The cost of the base by that of this server, of pairs of rounds: 1 is as good, less is dearer.
    ratio: Option<Spread>,
    /// Processor time of the benchmark by that of the server.
    generator_share: Option<f64>,
}

#[derive(Default)]
struct Samples {
    cpu_micros: Vec<Option<f64>>,
    per_second: Vec<f64>,
    spent: Vec<Spent>,
}

pub(super) async fn run(args: ConnectArgs) -> Result<(), Error> {
    let shape = Shape {
        clients: args.clients,
        channels: 1,
        channels_per_client: 1,
        payload_bytes: 0,
        together: false,
    };
    let bench = Bench::new(args.common, shape)?;
    bench.introduce();
    let progress = Progress::new(bench.servers() * (1 + args.rounds as usize));
    let mut stands = Vec::new();
    for n in 0..bench.servers() {
        let mut stand = bench.stand(n).await?;
        let openings = stand.prepare(0..WARM, None).await?;
        let warm = stand.connect_all(openings, args.at_once as usize, |_| ());
        if bench.unless_stopped(warm)?.is_none() {
            break;
        }
        stand.disconnect();
        stand.settle();
        // Those of the rounds count.
        stand.load.seen.connected_in.reset();
        progress.step();
        stands.push(stand);
    }
    let mut samples: Vec<_> = stands.iter().map(|_| Samples::default()).collect();
    'all: for round in 1..=args.rounds {
        for (stand, samples) in stands.iter_mut().zip(&mut samples) {
            let name = format!("{}, round {round} of {}", stand.name(), args.rounds);
            let say = |open| progress.say(format!("{name}: {open} clients subscribed"));
            let measured = measure(stand, args.clients, args.at_once, say, samples);
            if bench.unless_stopped(measured.await)?.is_none() {
                break 'all;
            }
            progress.step();
        }
    }
    drop(progress);
    let base = base_of(&stands);
    let servers = stands.iter().zip(&samples).enumerate();
    let servers = servers.map(|(n, (stand, own))| Server {
        about: About::new(stand, n == base),
        rounds: own.cpu_micros.len(),
        cpu_micros_per_connect: Spread::of(own.cpu_micros.iter().filter_map(|micros| *micros)),
        connects_per_second: Spread::of(own.per_second.iter().copied()),
        connect_ms: Percentiles::of(&stand.load.seen.connected_in),
        ratio: (n != base)
            .then(|| ratio(&own.cpu_micros, &samples[base].cpu_micros))
            .flatten(),
        generator_share: own_share(&own.spent),
    });
    let report = Report {
        command: "connect",
        clients: args.clients,
        at_once: args.at_once,
        rounds: args.rounds,
        stopped: bench.is_stopped(),
        servers: servers.collect(),
    };
    if bench.common.json {
        print_json(&report);
    } else {
        report.print(&bench);
    }
    if let Some(path) = &bench.common.plot {
        plot::bars(path, &report.bars())?;
    }
    Ok(())
}

async fn measure(
    stand: &mut Stand,
    clients: u32,
    at_once: u32,
    say: impl FnMut(usize),
    samples: &mut Samples,
) -> Result<(), Error> {
    let openings = stand.prepare(0..clients as usize, None).await?;
    let clocks = stand.clocks();
    stand.connect_all(openings, at_once as usize, say)?;
    let time = stand.spent(&clocks).time;
    // Tasks that end behind the last answer.
    stand.settle();
    let spent = stand.spent(&clocks);
    stand.disconnect();
    stand.settle();
    samples
        .cpu_micros
        .push(cpu_micros_each(&spent, clients.into()));
    samples
        .per_second
        .push(f64::from(clients) / time.as_secs_f64());
    samples.spent.push(spent);
    Ok(())
}

impl Report {
    fn print(&self, bench: &Bench) {
        anstream::println!(
            "{} clients, {} at a time; medians of {} rounds (least–most)",
            thousands(self.clients.into()),
            self.at_once,
            self.rounds
        );
        let abouts: Vec<_> = self.servers.iter().map(|s| &s.about).collect();
        let against = against_base("×", &abouts);
        let mut head = vec![
            "server",
            "CPU each, us",
            "connects/s",
            "p50, ms",
            "p99, ms",
            "benchmark",
        ];
        head.extend(against.as_deref());
        let mut table = Table::new(&head, 0);
        for server in &self.servers {
            let mut cells = vec![
                server.about.name.clone(),
                spread(server.cpu_micros_per_connect),
                number(server.connects_per_second.map(|spread| spread.median)),
                number(Some(server.connect_ms.p50)),
                number(Some(server.connect_ms.p99)),
                percent(server.generator_share),
            ];
            cells.extend(against.iter().map(|_| server.about.against(server.ratio)));
            table.line(cells);
        }
        table.print();
        print_verdict(bench, &abouts);
        let share = |server: &Server| (server.about.name.clone(), server.generator_share);
        let shares: Vec<_> = self.servers.iter().map(share).collect();
        print_notes(&shares);
    }

    fn bars(&self) -> Bars {
        Bars {
            title: format!("{} clients that come", thousands(self.clients.into())),
            axis: "microseconds of server CPU for each",
            groups: vec!["connect".into()],
            servers: self
                .servers
                .iter()
                .map(|s| (s.about.name.clone(), vec![s.cpu_micros_per_connect]))
                .collect(),
        }
    }
}
