//! `rowcast emit`: inserts events, one from the command line or many from standard input.

use std::io::{BufRead as _, IsTerminal as _, stdin};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::config::DatabaseArgs;
use crate::draft;
use crate::error::Error;
use crate::event::{Channels, KIND_BYTES_MAX, NewEvent, is_kind};
use crate::source::{self, DatabaseConfig, Insert, Inserted, Migrate};

/// Events of one transaction: few enough that others get their turn, many enough to be fast.
const TRANSACTION_EVENTS_MAX: usize = 500;

/// Lines read ahead of the database.
const READ_AHEAD_LINES: usize = 2000;

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rowcast emit tasks task.created '{\"id\": 1}'
  rowcast emit 'tasks project:7' task.updated '{\"id\": 1, \"done\": true}' --entity-id 1 --actor ann
  cat tasks.jsonl | rowcast emit tasks task.created -
  cat events.jsonl | rowcast emit --events    # {\"channel\": \"tasks\", \"type\": \"task.created\", \"payload\": {}}")]
pub(super) struct EmitArgs {
    /// The channel; several names in quotes address several.
    #[arg(required_unless_present = "events")]
    channel: Option<String>,

    /// What happened, for example task.created.
    #[arg(value_name = "TYPE", required_unless_present = "events")]
    kind: Option<String>,

    /// The payload as JSON, or - to read one payload from every line of standard input.
    #[arg(value_name = "JSON", default_value = "{}")]
    payload: String,

    /// Read a whole event from every line of standard input, with the fields that POST /events takes.
    #[arg(
        long,
        conflicts_with_all = ["channel", "kind", "payload", "entity_id", "actor", "previous", "trace_id", "origin", "dedup_key"]
    )]
    events: bool,

    /// What it happened to.
    #[arg(long, value_name = "ID")]
    entity_id: Option<String>,

    /// Who did it.
    #[arg(long, value_name = "ID")]
    actor: Option<String>,

    /// The old value, as JSON.
    #[arg(long, value_name = "JSON")]
    previous: Option<String>,

    /// Ties the event to a trace of the backend.
    #[arg(long, value_name = "ID")]
    trace_id: Option<String>,

    /// The mutation of the client that caused it.
    #[arg(long, value_name = "ID")]
    origin: Option<String>,

    /// Insert it only if the table has no event with this key. With -, the key of each line is this, a colon, and the number
    /// of the line.
    #[arg(long, value_name = "KEY")]
    dedup_key: Option<String>,

    #[command(flatten)]
    database: DatabaseArgs,
}

/// What is wrong with a line of standard input.
type Wrong = String;

pub(super) async fn run(args: EmitArgs) -> Result<(), Error> {
    let config = args.database.config()?;
    if args.events {
        let read = |_, line: String| draft::event(&line);
        return emit_lines(&config, read).await;
    }
    let template = template(&args)?;
    if args.payload == "-" {
        let key = template.dedup_key.clone();
        let read = |number, line: String| {
            let mut event = template.clone();
            event.payload =
                RawValue::from_string(line).map_err(|error| format!("is not JSON: {error}"))?;
            event.dedup_key = key.as_ref().map(|key| format!("{key}:{number}"));
            Ok(event)
        };
        return emit_lines(&config, read).await;
    }
    let database = source::open_insert(&config, Migrate::Auto).await?;
    for Inserted { id, is_duplicate } in database.insert(&[template]).await? {
        if is_duplicate {
            anstream::println!("event {id} with this key is in {} already", config.url);
        } else {
            anstream::println!("inserted event {id} into {}", config.url);
        }
    }
    Ok(())
}

/// The event of the command line; where payloads are read from lines, without one.
fn template(args: &EmitArgs) -> Result<NewEvent, Error> {
    let channel = args.channel.as_deref().unwrap_or_default();
    let channels = Channels::parse(channel)
        .map_err(|error| Error::Config(format!("CHANNEL {channel:?}: {error}")))?;
    let kind = args.kind.as_deref().unwrap_or_default();
    if !is_kind(kind) {
        return Err(Error::Config(format!(
            "TYPE {kind:?} is not a word of up to {KIND_BYTES_MAX} bytes, such as task.created"
        )));
    }
    let json = |what: &str, text: &str| {
        RawValue::from_string(text.to_owned()).map_err(|error| {
            Error::Config(format!(
                "{what} {text:?} is not JSON ({error}); in most shells it goes into single quotes"
            ))
        })
    };
    let payload = match args.payload.as_str() {
        "-" => RawValue::NULL.to_owned(),
        text => json("JSON", text)?,
    };
    let mut event = NewEvent::new(channels, kind, payload);
    let previous = args.previous.as_deref();
    event.previous = previous.map(|text| json("--previous", text)).transpose()?;
    event.entity_id.clone_from(&args.entity_id);
    event.actor.clone_from(&args.actor);
    event.trace_id.clone_from(&args.trace_id);
    event.origin.clone_from(&args.origin);
    event.dedup_key.clone_from(&args.dedup_key);
    Ok(event)
}

async fn emit_lines(
    config: &DatabaseConfig,
    read: impl Fn(u64, String) -> Result<NewEvent, Wrong>,
) -> Result<(), Error> {
    let database = source::open_insert(config, Migrate::Auto).await?;
    let progress = progress();
    let mut duplicates = 0;
    let result = insert_lines(database.as_ref(), read, &progress, &mut duplicates).await;
    progress.finish_and_clear();
    let inserted = progress.position();
    result.map_err(|cause| Error::BrokenOff {
        cause: Box::new(cause),
        inserted,
    })?;
    anstream::println!("inserted {inserted} events into {}", config.url);
    if duplicates > 0 {
        anstream::println!("{duplicates} were there already");
    }
    Ok(())
}

/// Inserts one event for every line, in transactions of up to 500. Whatever is there is inserted at once: a slow
/// producer does not wait for a full transaction.
async fn insert_lines(
    database: &dyn Insert,
    read: impl Fn(u64, String) -> Result<NewEvent, Wrong>,
    progress: &ProgressBar,
    duplicates: &mut u64,
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
                Ok(line) => match read(number, line) {
                    Ok(event) => events.push(event),
                    Err(wrong) => {
                        problem = Some(Error::Config(format!(
                            "line {number} of standard input {wrong}"
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
            let inserted = database.insert(&events).await?;
            let there = inserted.iter().filter(|row| row.is_duplicate).count() as u64;
            *duplicates += there;
            progress.inc(events.len() as u64 - there);
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
