//! `bench catchup`: clients that come back with a cursor, and how fast they have what they missed.

use serde::{Deserialize, Serialize};
use url::Url;

use super::args::CatchupArgs;
use super::plot::{self, Bars};
use super::report::{
    About, Spread, Table, number, own_share, percent, print_json, print_notes, print_verdict,
    spread, thousands,
};
use super::setup::{Bench, Shape};
use super::stand::{Spent, Stand, joined};
use super::{Progress, finish};
use crate::error::Error;

/// Events of one transaction.
const TRANSACTION_EVENTS: usize = 1000;

/// What was measured. The JSON of `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    command: &'static str,
    clients: u32,
    events: u32,
    payload_bytes: u32,
    rounds: usize,
    /// Whether it was ended before its time.
    stopped: bool,
    /// One.
    servers: Vec<About>,
    events_per_second: Option<Spread>,
    events_per_cpu_second: Option<Spread>,
    cpu_micros_per_event: Option<Spread>,
    /// Processor time of the benchmark by that of the server.
    generator_share: Option<f64>,
}

#[derive(Deserialize)]
struct Place {
    cursor: String,
}

pub(super) async fn run(args: CatchupArgs) -> Result<(), Error> {
    if args.common.beside.is_some() {
        return Err(Error::Config(
            "--beside: a cursor is rowcast's own; catchup measures nothing else".into(),
        ));
    }
    let shape = Shape {
        clients: args.clients,
        channels: 1,
        channels_per_client: 1,
        payload_bytes: args.payload_bytes,
        together: false,
    };
    let bench = Bench::new(args.common, shape)?;
    bench.check_publishing()?;
    bench.introduce();
    let written = args.events as usize / TRANSACTION_EVENTS;
    let progress = Progress::new(written + 1 + args.rounds as usize);
    let mut stand = bench.stand(0).await?;
    let cursor = cursor(&stand).await?;
    let first = stand.publisher()?.lock().await.next();
    let mut left = args.events as usize;
    while left > 0 && !bench.is_stopped() {
        progress.say(format!("{} events to write", thousands(left as u64)));
        let count = left.min(TRANSACTION_EVENTS);
        joined(stand.publish(count).await?).await?;
        left -= count;
        progress.step();
    }
    // It has read them once by now: what is measured is what comes back.
    stand.settle();
    let mut spent: Vec<Spent> = Vec::new();
    for round in 1..=args.rounds {
        if bench.is_stopped() {
            break;
        }
        progress.say(format!("round {round} of {}", args.rounds));
        let openings = stand
            .prepare(0..args.clients as usize, Some((&cursor, first)))
            .await?;
        stand.expected = stand.load.seen.deliveries;
        stand.expect(first, args.events as usize);
        let clocks = stand.clocks();
        let connected = stand.connect_all(openings, args.clients as usize, |_| ());
        if bench.unless_stopped(connected)?.is_none() {
            break;
        }
        stand.receive()?;
        let round = stand.spent(&clocks);
        stand.close_books().await?;
        if bench.is_stopped() {
            break;
        }
        spent.push(round);
        progress.step();
        if stand.faults.any() || !stand.load.seen.gone.is_empty() {
            break;
        }
        stand.disconnect();
        stand.settle();
    }
    drop(progress);
    let events = f64::from(args.events) * f64::from(args.clients);
    let cpu = spent.iter().filter_map(|spent| spent.cpu);
    let cpu = cpu.map(|cpu| cpu.as_secs_f64());
    let report = Report {
        command: "catchup",
        clients: args.clients,
        events: args.events,
        payload_bytes: args.payload_bytes,
        rounds: spent.len(),
        stopped: bench.is_stopped(),
        servers: vec![About::new(&stand, true)],
        events_per_second: Spread::of(spent.iter().map(|s| events / s.time.as_secs_f64())),
        events_per_cpu_second: Spread::of(cpu.clone().map(|cpu| events / cpu)),
        cpu_micros_per_event: Spread::of(cpu.map(|cpu| cpu * 1e6 / events)),
        generator_share: own_share(&spent),
    };
    if bench.common.json {
        print_json(&report);
    } else {
        report.print(&bench);
    }
    if let Some(path) = &bench.common.plot {
        plot::bars(path, &report.bars())?;
    }
    finish(&bench, std::slice::from_mut(&mut stand)).await
}

/// The present position of the feed.
async fn cursor(stand: &Stand) -> Result<String, Error> {
    let failed = |why: String| Error::Io {
        doing: "ask for the cursor".into(),
        source: std::io::Error::other(why),
    };
    let url = stand.target.dialect.url.replacen("ws://", "http://", 1);
    let mut url = Url::parse(&url).map_err(|error| failed(error.to_string()))?;
    url.set_path("/cursor");
    url.set_query(None);
    let mut request = reqwest::Client::new().get(url);
    if let Some(token) = stand.token(0)? {
        request = request.bearer_auth(token);
    }
    // The URL of the error would be repeated.
    let explain = |error: reqwest::Error| failed(error.without_url().to_string());
    let answer = request.send().await.map_err(explain)?;
    let answer = answer.error_for_status().map_err(explain)?;
    let text = answer.text().await.map_err(explain)?;
    let place: Place = serde_json::from_str(&text)
        .map_err(|error| failed(format!("the answer is none of rowcast: {error}")))?;
    Ok(place.cursor)
}

impl Report {
    fn print(&self, bench: &Bench) {
        anstream::println!(
            "{} client{} that missed {} events of {} bytes; medians of {} rounds (least–most)",
            thousands(self.clients.into()),
            if self.clients == 1 { "" } else { "s" },
            thousands(self.events.into()),
            self.payload_bytes,
            self.rounds
        );
        let mut table = Table::new(
            &[
                "server",
                "events/s",
                "events per CPU-second",
                "CPU each, us",
                "benchmark",
            ],
            0,
        );
        table.line(vec![
            self.servers[0].name.clone(),
            spread(self.events_per_second),
            spread(self.events_per_cpu_second),
            number(self.cpu_micros_per_event.map(|spread| spread.median)),
            percent(self.generator_share),
        ]);
        table.print();
        print_verdict(bench, &[&self.servers[0]]);
        print_notes(&[(self.servers[0].name.clone(), self.generator_share)]);
    }

    fn bars(&self) -> Bars {
        Bars {
            title: format!(
                "{} events for {} clients that come back",
                thousands(self.events.into()),
                thousands(self.clients.into())
            ),
            axis: "events",
            groups: vec!["per second".into(), "per second of server CPU".into()],
            servers: vec![(
                self.servers[0].name.clone(),
                vec![self.events_per_second, self.events_per_cpu_second],
            )],
        }
    }
}
