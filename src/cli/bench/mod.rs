//! `rowcast bench`: thousands of clients in one thread, and what they cost a server: rowcast, or any other that speaks
//! WebSocket. Each client checks what it receives, so that nothing is fast by leaving something out.

mod args;
mod catchup;
mod client;
mod connect;
mod dialect;
mod fanout;
mod frames;
mod idle;
mod instructions;
mod latency;
mod load;
mod measure;
mod plot;
mod publish;
mod report;
mod setup;
mod stand;
mod tally;
mod target;
mod times;

use std::io::{IsTerminal as _, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::Error;
pub(super) use args::BenchArgs;
use args::Command;
use setup::Bench;
use stand::Stand;

pub(super) async fn run(args: BenchArgs) -> Result<(), Error> {
    match args.command {
        None => fanout::run(args.fanout).await,
        Some(Command::Fanout(args)) => fanout::run(*args).await,
        Some(Command::Latency(args)) => latency::run(*args).await,
        Some(Command::Connect(args)) => connect::run(*args).await,
        Some(Command::Catchup(args)) => catchup::run(*args).await,
        Some(Command::Idle(args)) => idle::run(*args).await,
    }
}

/// How far it is, on a terminal; nothing elsewhere.
struct Progress(ProgressBar);

impl Progress {
    fn new(steps: usize) -> Self {
        if !stderr().is_terminal() {
            return Self(ProgressBar::with_draw_target(
                None,
                ProgressDrawTarget::hidden(),
            ));
        }
        let style = ProgressStyle::with_template("{bar:40.cyan} {elapsed}, {msg}")
            .expect("the template is a constant");
        Self(ProgressBar::new(steps as u64).with_style(style))
    }

    fn say(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }

    fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// All servers, started, with their clients, each of which has received an event.
async fn ready_stands(bench: &Bench, progress: &Progress) -> Result<Vec<Stand>, Error> {
    let mut stands: Vec<Stand> = Vec::new();
    for n in 0..bench.servers() {
        let mut stand = bench.stand(n).await?;
        let ready = bench.unless_stopped(ready(&mut stand, progress).await)?;
        if ready.is_none() {
            break;
        }
        progress.step();
        stands.push(stand);
        for stand in &mut stands {
            stand.load.tend()?;
        }
    }
    Ok(stands)
}

async fn ready(stand: &mut Stand, progress: &Progress) -> Result<(), Error> {
    let name = stand.name().to_owned();
    let say = |open| progress.say(format!("{name}: {open} clients subscribed"));
    stand.connect(say).await?;
    progress.say(format!("{name}: warming up"));
    stand.warm_up().await
}

/// Deletes what was written, and gives what was wrong with the first server of which something was.
async fn finish(bench: &Bench, stands: &mut [Stand]) -> Result<(), Error> {
    for stand in stands.iter_mut() {
        stand.clean_up().await;
    }
    if bench.is_stopped() {
        // Servers of a terminal end with it, and clients are cut off.
        return Ok(());
    }
    stands.iter().try_for_each(Stand::result)
}
