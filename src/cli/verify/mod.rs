//! `rowcast verify`: writes numbered rows into a database, follows the feed as a client does, and compares. What it
//! finds out holds for the very deployment it is run against.

mod receiver;
mod report;
mod rows;
mod writer;

use std::collections::HashSet;
use std::io::{IsTerminal as _, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, interval, sleep, timeout};

use super::client::{Client, Follow, TokenArgs, Wanted};
use super::signals::interrupted;
use crate::config::{self, DatabaseArgs};
use crate::error::Error;
use crate::event::{Channel, EventId};
use crate::source::{Probe, open_probe};

use receiver::Receiver;
use report::{Report, Table};
use rows::RowKey;
use writer::{write_first, writer};

/// The parent of the channels that are written to: one of them for every run, so that it disturbs nobody.
const CHANNEL: &str = "rowcast.verify";

/// How long the clients may take to subscribe.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(15);

/// How often progress is shown, and looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Between two looks at the table in the end, while rows are still on their way.
const COMPARE_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rowcast verify --database-url postgres://app@db/app --url wss://feed.example.com/ws
  rowcast verify --rate 500/s --writers 16 --for 5m     while you restart what you like
  rowcast verify --json | jq .lateMs.p99

It needs the right to INSERT into events and to SELECT from it; without DELETE the rows stay there.
Exit code 0: every committed row came once. 1: not so, or it could not be found out.")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    database: DatabaseArgs,

    /// The server's WebSocket, as clients reach it.
    #[arg(
        long,
        value_name = "URL",
        default_value = "ws://127.0.0.1:3001/ws",
        env = "ROWCAST_URL"
    )]
    url: String,

    #[command(flatten)]
    token: TokenArgs,

    /// How many rows to insert, all writers together: 50/s, or 3000/m.
    #[arg(long, value_name = "N/s", default_value = "50/s", value_parser = rate)]
    rate: Rate,

    /// How long to write.
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    length: Duration,

    /// Connections that write at the same time, in transactions that overlap.
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u32).range(1..=1000))]
    writers: u32,

    /// Clients that follow the feed. Each has to receive every row.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,

    /// How long to wait for rows that are late: a row is lost when nothing at all has come for so long. The default is
    /// longer than a server takes to notice that its database has vanished.
    #[arg(long, value_name = "DURATION", default_value = "40s", value_parser = duration)]
    patience: Duration,

    /// Leave the rows in the table.
    #[arg(long)]
    keep: bool,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Rows a second.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rate(f64);

pub(super) async fn run(args: VerifyArgs) -> Result<(), Error> {
    let config = args.database.config()?;
    let ledger = open_probe(&config)?;
    let run = format!("{:08x}", fastrand::u32(..));
    let channel = Channel::parse(&format!("{CHANNEL}:{run}"))
        .expect("a constant and hexadecimal digits are a channel");
    let first_id = ledger.last_id().await?;
    let receivers = subscribe(&args, &channel).await?;
    let stop = Arc::<AtomicBool>::default();
    // The first row is a trial: what is wrong with it is wrong with all.
    let mut written = write_first(ledger.as_ref(), &channel).await?;
    let mut writers = Vec::new();
    for number in 1..=args.writers {
        let pace = args.rate.0 / f64::from(args.writers);
        let probe = open_probe(&config)?;
        let (channel, stop) = (channel.clone(), Arc::clone(&stop));
        writers.push(tokio::spawn(writer(number, probe, channel, pace, stop)));
    }
    let start = Instant::now();
    let progress = progress(args.length);
    tokio::select! {
        () = show(&progress, start, args.length, &receivers) => {}
        () = interrupted() => {}
    }
    let length = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    progress.set_message("waiting for the last rows");
    for writer in writers {
        written.extend(writer.await.map_err(|error| Error::Io {
            doing: "write rows".into(),
            source: std::io::Error::other(error),
        })?);
    }
    let table = tokio::select! {
        table = settle(ledger.as_ref(), &channel, first_id, &receivers, args.patience) => table?,
        // Asked to stop a second time, or once while waiting.
        () = interrupted() => rows::in_table(ledger.as_ref(), &channel, first_id).await?,
    };
    for receiver in &receivers {
        receiver.stop();
    }
    // A transaction whose end nobody was told may have been committed just now, and have been received.
    let mut later = rows::in_table(ledger.as_ref(), &channel, first_id).await?;
    later.retain(|key| !table.contains(key));
    progress.finish_and_clear();
    let table = Table { rows: table, later };
    let report = {
        let notes: Vec<_> = receivers.iter().map(Receiver::notes).collect();
        let notes: Vec<_> = notes.iter().map(|notes| &**notes).collect();
        Report::new(&channel, length, &written, &table, &notes)
    };
    if !args.keep
        && let Err(error) = ledger.remove(&channel, first_id).await
    {
        tracing::warn!(
            "the rows stay in the table, on channel {}: failed to {error}",
            channel.as_str()
        );
    }
    report.print(args.json);
    report.result()
}

/// Starts the clients, and waits until all are subscribed.
async fn subscribe(args: &VerifyArgs, channel: &Channel) -> Result<Vec<Receiver>, Error> {
    let wanted = Wanted {
        url: args.url.clone(),
        channels: vec![channel.as_str().to_owned()],
        since: "now".to_owned(),
        token: args.token.token()?,
        name: "rowcast verify",
    };
    let mut receivers = Vec::new();
    for _ in 0..args.clients {
        let client: Box<dyn Follow> = Box::new(Client::new(wanted.clone()));
        receivers.push(Receiver::start(client));
    }
    for receiver in &mut receivers {
        match timeout(SUBSCRIBE_TIMEOUT, receiver.subscribed()).await {
            Ok(subscribed) => subscribed?,
            Err(_) => {
                return Err(Error::Io {
                    doing: format!("subscribe at {}", args.url),
                    source: std::io::Error::other("the server does not answer"),
                });
            }
        }
    }
    Ok(receivers)
}

/// Waits until each client has all that is in the table, or has received nothing for too long. Gives what is in the
/// table.
async fn settle(
    ledger: &dyn Probe,
    channel: &Channel,
    first_id: EventId,
    receivers: &[Receiver],
    patience: Duration,
) -> Result<HashSet<RowKey>, Error> {
    let mut progressed = Instant::now();
    let mut received = 0;
    loop {
        let now = receivers.iter().map(|receiver| receiver.notes().received());
        let (least, all) = now.fold((usize::MAX, 0), |(least, all), n| (least.min(n), all + n));
        if all > received {
            received = all;
            progressed = Instant::now();
        }
        let impatient = progressed.elapsed() > patience;
        match rows::in_table(ledger, channel, first_id).await {
            Ok(table) => {
                let has_all = |receiver: &Receiver| {
                    let notes = receiver.notes();
                    table.iter().all(|key| notes.has(*key))
                };
                if impatient || least >= table.len() && receivers.iter().all(has_all) {
                    return Ok(table);
                }
            }
            Err(error) if impatient => return Err(error),
            // It may be on its way back.
            Err(error) => tracing::debug!("failed to {error}; trying again"),
        }
        sleep(COMPARE_INTERVAL).await;
    }
}

/// Shows how it goes until the time is over.
async fn show(progress: &ProgressBar, start: Instant, length: Duration, receivers: &[Receiver]) {
    let mut look = interval(LOOK_INTERVAL);
    while start.elapsed() < length {
        look.tick().await;
        progress.set_position(start.elapsed().as_millis() as u64);
        let received = receivers.iter().map(|receiver| receiver.notes().received());
        let least = received.min().unwrap_or_default();
        progress.set_message(format!("{least} rows received"));
    }
}

/// A bar on a terminal; nothing elsewhere.
fn progress(length: Duration) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40.cyan} {elapsed}, {msg}")
        .expect("the template is a constant");
    ProgressBar::new(length.as_millis() as u64).with_style(style)
}

fn rate(text: &str) -> Result<Rate, String> {
    let (number, seconds) = match text.split_once('/') {
        None => (text, 1.0),
        Some((number, "s")) => (number, 1.0),
        Some((number, "m")) => (number, 60.0),
        Some(_) => {
            return Err("write rows a second or a minute, for example 50/s or 3000/m".into());
        }
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number / seconds <= 100_000.0 => Ok(Rate(number / seconds)),
        Ok(_) => Err("the rate is more than 0 and at most 100000/s".into()),
        Err(_) => Err("write a number of rows a second, for example 50/s".into()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text, "30s or 5m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_seconds_or_minutes() {
        assert_eq!(rate("50/s"), Ok(Rate(50.0)));
        assert_eq!(rate("50"), Ok(Rate(50.0)));
        assert_eq!(rate("30/m"), Ok(Rate(0.5)));
        for (text, words) in [
            ("50/h", "or a minute"),
            ("0", "more than 0"),
            ("-1/s", "more than 0"),
            ("inf", "at most"),
            ("NaN", "more than 0"),
            ("many/s", "a number"),
        ] {
            let error = rate(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
