//! `bench idle`: clients that do nothing, and what they cost all the same.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::Progress;
use super::args::IdleArgs;
use super::connect::WARM;
use super::plot::{self, Bars};
use super::report::{
    About, Spread, Table, megabytes, number, print_json, print_notes, print_verdict, thousands,
};
use super::setup::{Bench, Shape};
use super::stand::Stand;
use crate::error::Error;

/// Between two steps of the progress.
const STEP: Duration = Duration::from_millis(100);

/// Handshakes under way at a time.
const AT_ONCE: usize = 64;

/// What was measured. The JSON of `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    command: &'static str,
    clients: u32,
    seconds: f64,
    /// Whether it was ended before its time.
    stopped: bool,
    servers: Vec<Server>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    #[serde(flatten)]
    about: About,
    /// Memory of the server for each client, in bytes.
    rss_bytes_per_client: Option<f64>,
    /// Processor time of the server, in milliseconds of each second.
    cpu_ms_per_second: Option<f64>,
}

pub(super) async fn run(args: IdleArgs) -> Result<(), Error> {
    let shape = Shape {
        clients: args.clients + WARM as u32,
        channels: 1,
        channels_per_client: 1,
        payload_bytes: 0,
        together: false,
    };
    let bench = Bench::new(args.common, shape)?;
    bench.introduce();
    let steps = args.length.as_millis() / STEP.as_millis();
    let progress = Progress::new(bench.servers() * steps as usize);
    let (mut servers, mut verdict) = (Vec::new(), Ok(()));
    for n in 0..bench.servers() {
        let mut stand = bench.stand(n).await?;
        let measured = measure(&mut stand, args.clients, args.length, &progress).await;
        let Some(server) = bench.unless_stopped(measured)? else {
            break;
        };
        servers.push(server);
        if bench.is_stopped() {
            break;
        }
        verdict = stand.result();
        if verdict.is_err() {
            break;
        }
    }
    drop(progress);
    let report = Report {
        command: "idle",
        clients: args.clients,
        seconds: args.length.as_secs_f64(),
        stopped: bench.is_stopped(),
        servers,
    };
    if bench.common.json {
        print_json(&report);
    } else {
        report.print(&bench);
    }
    if let Some(path) = &bench.common.plot {
        plot::bars(path, &report.bars())?;
    }
    verdict
}

async fn measure(
    stand: &mut Stand,
    clients: u32,
    length: Duration,
    progress: &Progress,
) -> Result<Server, Error> {
    let name = stand.name().to_owned();
    let say = |open| progress.say(format!("{name}: {open} clients subscribed"));
    let openings = stand.prepare(0..WARM, None).await?;
    stand.connect_all(openings, AT_ONCE, say)?;
    stand.settle();
    let before = stand.rss_bytes();
    let openings = stand.prepare(WARM..WARM + clients as usize, None).await?;
    stand.connect_all(openings, AT_ONCE, say)?;
    stand.settle();
    progress.say(format!("{name}: {clients} clients do nothing"));
    let clocks = stand.clocks();
    let start = Instant::now();
    while start.elapsed() < length && !stand.load.is_stopped() {
        let step = Instant::now();
        while step.elapsed() < STEP {
            stand.load.turn(STEP / 2)?;
        }
        progress.step();
    }
    let spent = stand.spent(&clocks);
    let after = stand.rss_bytes();
    let memory = after.zip(before);
    Ok(Server {
        about: About::new(stand, true),
        rss_bytes_per_client: memory
            .map(|(after, before)| after.saturating_sub(before) as f64 / f64::from(clients)),
        cpu_ms_per_second: spent
            .cpu
            .map(|cpu| cpu.as_secs_f64() * 1e3 / spent.time.as_secs_f64()),
    })
}

impl Report {
    fn print(&self, bench: &Bench) {
        anstream::println!(
            "{} clients that do nothing for {} s",
            thousands(self.clients.into()),
            number(Some(self.seconds))
        );
        let mut table = Table::new(
            &[
                "server",
                "bytes of memory each",
                "memory",
                "CPU, ms per second",
            ],
            0,
        );
        for server in &self.servers {
            table.line(vec![
                server.about.name.clone(),
                number(server.rss_bytes_per_client),
                megabytes(server.about.rss_bytes),
                number(server.cpu_ms_per_second),
            ]);
        }
        table.print();
        let abouts: Vec<_> = self.servers.iter().map(|s| &s.about).collect();
        print_verdict(bench, &abouts);
        let known = |server: &Server| {
            let known = server.cpu_ms_per_second.map(|_| 0.0);
            (server.about.name.clone(), known)
        };
        let known: Vec<_> = self.servers.iter().map(known).collect();
        print_notes(&known);
    }

    fn bars(&self) -> Bars {
        let exactly = |value: f64| Spread {
            median: value,
            min: value,
            max: value,
        };
        Bars {
            title: format!("{} idle clients", thousands(self.clients.into())),
            axis: "bytes of server memory for each",
            groups: vec!["idle".into()],
            servers: self
                .servers
                .iter()
                .map(|s| {
                    let each = s.rss_bytes_per_client.map(exactly);
                    (s.about.name.clone(), vec![each])
                })
                .collect(),
        }
    }
}
