//! `rowcast emit`: inserts events, one from the command line or many from standard input.

use std::io::{BufRead as _, IsTerminal as _, stdin};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::config::DatabaseArgs;
use crate::error::Error;
use crate::event::{Channels, NewEvent};
use crate::source::{self, Insert, Migrate};

/// Events of one transaction: few enough that others get their turn, many enough to be fast.
const TRANSACTION_EVENTS_MAX: usize = 500;

/// Lines read ahead of the database.
const READ_AHEAD_LINES: usize = 2000;

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rowcast emit tasks task.created '{\"id\": 1}'
  rowcast emit 'tasks project:7' task.updated '{\"id\": 1, \"done\": true}'
  cat tasks.jsonl | rowcast emit tasks task.created -")]
pub(super) struct EmitArgs {
    /// The channel; several names in quotes address several.
    channel: String,

    /// What happened, for example task.created.
    #[arg(value_name = "TYPE")]
    kind: String,

    /// The payload as JSON, or - to read one payload from every line of standard input.
    #[arg(value_name = "JSON", default_value = "{}")]
    payload: String,

    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(args: EmitArgs) -> Result<(), Error> {
    let config = args.database.config()?;
    let channels = Channels::parse(&args.channel)
        .map_err(|error| Error::Config(format!("CHANNEL {:?}: {error}", args.channel)))?;
    if args.kind.is_empty()
        || args.kind.len() > 200
        || args
            .kind
            .contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err(Error::Config(format!(
            "TYPE {:?} is not a word of up to 200 bytes, such as task.created",
            args.kind
        )));
    }
    let event = |payload| NewEvent {
        channels: channels.clone(),
        kind: args.kind.clone(),
        payload,
    };
    if args.payload != "-" {
        let payload = RawValue::from_string(args.payload.clone()).map_err(|error| {
            Error::Config(format!(
                "JSON {:?} is not JSON ({error}); in most shells it goes into single quotes",
                args.payload
            ))
        })?;
        let database = source::open_insert(&config, Migrate::Auto).await?;
        let ids = database.insert(&[event(payload)]).await?;
        for id in ids {
            anstream::println!("inserted event {id} into {}", config.url);
        }
        return Ok(());
    }
    let database = source::open_insert(&config, Migrate::Auto).await?;
    let progress = progress();
    let result = insert_lines(database.as_ref(), event, &progress).await;
    progress.finish_and_clear();
    let inserted = progress.position();
    result.map_err(|cause| Error::BrokenOff {
        cause: Box::new(cause),
        inserted,
    })?;
    anstream::println!("inserted {inserted} events into {}", config.url);
    Ok(())
}

/// Inserts one event for every line, in transactions of up to 500. Whatever is there is inserted at once: a slow
/// producer does not wait for a full transaction.
async fn insert_lines(
    database: &dyn Insert,
    event: impl Fn(Box<RawValue>) -> NewEvent,
    progress: &ProgressBar,
) -> Result<(), Error> {
    let (lines_tx, mut lines) = mpsc::channel(READ_AHEAD_LINES);
    // A thread of its own: reading standard input cannot be waited for otherwise.
    std::thread::spawn(move || {
        for line in stdin().lock().lines() {
            if lines_tx.blocking_send(line).is_err() {
                break;
            }
        }
    });
    let mut number = 0;
    let mut received = Vec::new();
    loop {
        received.clear();
        if lines.recv_many(&mut received, TRANSACTION_EVENTS_MAX).await == 0 {
            return Ok(());
        }
        let mut events = Vec::with_capacity(received.len());
        let mut problem = None;
        for line in received.drain(..) {
            number += 1;
            match line {
                Ok(line) if line.trim().is_empty() => {}
                Ok(line) => match RawValue::from_string(line) {
                    Ok(payload) => events.push(event(payload)),
                    Err(error) => {
                        problem = Some(Error::Config(format!(
                            "line {number} of standard input is not JSON: {error}"
                        )));
                        break;
                    }
                },
                Err(source) => {
                    problem = Some(Error::Io {
                        doing: format!("read line {number} of standard input"),
                        source,
                    });
                    break;
                }
            }
        }
        if !events.is_empty() {
            database.insert(&events).await?;
            progress.inc(events.len() as u64);
        }
        if let Some(problem) = problem {
            return Err(problem);
        }
    }
}

/// A line that counts, on a terminal; nothing elsewhere.
fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style =
        ProgressStyle::with_template("{spinner} {human_pos} events inserted, {per_sec}, {elapsed}")
            .expect("the template is a constant");
    let progress = ProgressBar::new_spinner().with_style(style);
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}
