//! `rowcast tail`: a client that prints what it receives: coloured lines on a terminal, JSON lines in a pipe.

use std::io::{IsTerminal as _, Write as _, stdout};

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Client, TokenArgs, Update, Wanted};
use crate::error::Error;
use crate::event::ChannelPattern;

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rowcast tail
  rowcast tail tasks 'messages:*'
  rowcast tail --since earliest tasks
  rowcast tail --json tasks | jq .event.payload")]
pub(super) struct TailArgs {
    /// Channels and patterns to subscribe to. [default: *]
    channels: Vec<String>,

    /// The server's WebSocket.
    #[arg(
        long,
        value_name = "URL",
        default_value = "ws://127.0.0.1:3001/ws",
        env = "ROWCAST_URL"
    )]
    url: String,

    #[command(flatten)]
    token: TokenArgs,

    /// Begin with what is committed from now on, with the earliest event there is, or after a cursor that some frame
    /// had.
    #[arg(long, value_name = "now|earliest|CURSOR", default_value = "now")]
    since: String,

    /// Print whole frames as JSON lines. Done without asking where the output is not a terminal.
    #[arg(long)]
    json: bool,

    /// End after this many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

pub(super) async fn run(args: TailArgs) -> Result<(), Error> {
    let channels = if args.channels.is_empty() {
        vec!["*".to_owned()]
    } else {
        args.channels
    };
    for channel in &channels {
        ChannelPattern::parse(channel)
            .map_err(|error| Error::Config(format!("channel {channel:?}: {error}")))?;
    }
    let format = if args.json || !stdout().is_terminal() {
        Format::Json
    } else {
        Format::Lines
    };
    let mut printer = Printer {
        format,
        left: args.count,
    };
    let wanted = Wanted {
        url: args.url,
        channels,
        since: args.since,
        token: args.token.token()?,
        name: "rowcast tail",
    };
    follow(wanted, &mut printer).await
}

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Lines,
    Json,
}

pub(super) struct Printer {
    pub format: Format,
    /// How many more to print.
    pub left: Option<u64>,
}

/// What of an event's frame is printed.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(default)]
    channels: Vec<String>,
    #[serde(borrow)]
    event: EventFields<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventFields<'a> {
    r#type: String,
    entity_id: Option<String>,
    actor: Option<String>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    created_at: Option<String>,
}

/// Prints the events of these channels until enough are printed.
pub(super) async fn follow(wanted: Wanted, printer: &mut Printer) -> Result<(), Error> {
    let url = wanted.url.clone();
    let mut client = Client::new(wanted);
    loop {
        match client.next().await? {
            Update::Event(frame) => {
                if printer.print(&frame)? {
                    client.close().await;
                    return Ok(());
                }
            }
            Update::CaughtUp => printer.caught_up(),
            Update::Reset(reason) => {
                anstream::eprintln!("{WARNING}events may be missing here ({reason}){WARNING:#}");
            }
            Update::Disconnected(why) => {
                tracing::warn!(why, "the connection to {url} ended; connecting again");
            }
            Update::Subscribed | Update::Repeat => {}
        }
    }
}

const TIME: Style = Style::new().dimmed();
const CHANNEL: Style = AnsiColor::Cyan.on_default();
const KIND: Style = AnsiColor::Green.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default();

impl Printer {
    /// Prints an event. Gives whether it was the last one wanted.
    fn print(&mut self, text: &str) -> Result<bool, Error> {
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else {
            tracing::warn!(text, "the server sent an event that is none of ours");
            return Ok(false);
        };
        self.print_event(text, &frame.channels, &frame.event)?;
        self.left = self.left.map(|left| left.saturating_sub(1));
        Ok(self.left == Some(0))
    }

    /// Says where the past ends, to whoever watches.
    fn caught_up(&self) {
        if self.format == Format::Lines {
            anstream::eprintln!("{TIME}… caught up{TIME:#}");
        }
    }

    fn print_event(
        &self,
        text: &str,
        channels: &[String],
        event: &EventFields<'_>,
    ) -> Result<(), Error> {
        let line = match self.format {
            Format::Json => text.to_owned(),
            Format::Lines => {
                let time = event
                    .created_at
                    .as_deref()
                    .and_then(|time| time.get(11..23))
                    .unwrap_or("");
                let entity = event
                    .entity_id
                    .as_ref()
                    .map_or(String::new(), |entity| format!(" {entity}"));
                let actor = event
                    .actor
                    .as_ref()
                    .map_or(String::new(), |actor| format!(" {TIME}by{TIME:#} {actor}"));
                format!(
                    "{TIME}{time}{TIME:#} {CHANNEL}{}{CHANNEL:#} {KIND}{}{KIND:#}{entity}{actor} {}",
                    channels.join(" "),
                    event.r#type,
                    event.payload.map_or("", RawValue::get),
                )
            }
        };
        let mut out = anstream::stdout().lock();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            // `rowcast tail | head` has enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
            Err(source) => Err(Error::Io {
                doing: "print an event".into(),
                source,
            }),
        }
    }
}
