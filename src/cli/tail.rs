//! `rowcast tail`: a client that prints what it receives: coloured lines on a terminal, JSON lines in a pipe.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::sleep;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::error::Error;
use crate::event::ChannelPattern;

/// First and longest wait before connecting again; between them it doubles, with full jitter.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rowcast tail
  rowcast tail tasks 'messages:*'
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
    follow(&args.url, &channels, &mut printer).await
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

/// What of a frame is printed.
#[derive(Deserialize)]
struct Frame<'a> {
    r#type: String,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(borrow)]
    event: Option<EventFields<'a>>,
    cursor: Option<String>,
    reason: Option<String>,
    code: Option<String>,
    message: Option<String>,
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

/// Prints the events of these channels until enough are printed, connecting again whenever the connection ends.
pub(super) async fn follow(
    url: &str,
    channels: &[String],
    printer: &mut Printer,
) -> Result<(), Error> {
    let mut cursor: Option<String> = None;
    let mut retry = RETRY_FIRST;
    loop {
        match connect_async(url).await {
            Ok((mut socket, _)) => {
                retry = RETRY_FIRST;
                let subscribe = json!({
                    "type": "hello", "client": {"name": "rowcast tail", "version": env!("CARGO_PKG_VERSION")},
                    "channels": channels, "since": cursor.as_deref().unwrap_or("now"),
                });
                let mut ended = socket
                    .send(Message::text(subscribe.to_string()))
                    .await
                    .err();
                while ended.is_none() {
                    match socket.next().await {
                        Some(Ok(Message::Text(text))) => {
                            if printer.print(&text, &mut cursor)? {
                                // The server need not know why we go.
                                let _ = socket.close(None).await;
                                return Ok(());
                            }
                        }
                        Some(Ok(_)) => {}
                        Some(Err(error)) => ended = Some(error),
                        None => break,
                    }
                }
                tracing::warn!("the connection to {url} ended; connecting again");
            }
            // The URL is wrong, or what answers there is no rowcast: trying again cannot help.
            Err(error @ (WsError::Url(_) | WsError::Http(_) | WsError::HttpFormat(_))) => {
                return Err(Error::Config(format!(
                    "--url {url}: {error}; it is the WebSocket that the server's banner shows"
                )));
            }
            Err(error) if cursor.is_none() => {
                return Err(Error::Io {
                    doing: format!("connect to {url}"),
                    source: std::io::Error::other(format!(
                        "{error} (is the server running? start it with `rowcast`)"
                    )),
                });
            }
            Err(error) => tracing::debug!(%error, "failed to connect to {url}"),
        }
        sleep(retry.mul_f64(fastrand::f64())).await;
        retry = (retry * 2).min(RETRY_MAX);
    }
}

const TIME: Style = Style::new().dimmed();
const CHANNEL: Style = AnsiColor::Cyan.on_default();
const KIND: Style = AnsiColor::Green.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default();

impl Printer {
    /// Prints a frame, and notes its cursor. Gives whether it was the last one wanted.
    fn print(&mut self, text: &str, cursor: &mut Option<String>) -> Result<bool, Error> {
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else {
            tracing::warn!(text, "the server sent something that is no frame of ours");
            return Ok(false);
        };
        if let Some(seen) = frame.cursor {
            *cursor = Some(seen);
        }
        match (frame.r#type.as_str(), frame.event) {
            ("event", Some(event)) => {
                self.print_event(text, &frame.channels, &event)?;
                self.left = self.left.map(|left| left.saturating_sub(1));
            }
            ("error", _) => {
                let (code, message) = (
                    frame.code.unwrap_or_default(),
                    frame.message.unwrap_or_default(),
                );
                anstream::eprintln!("{WARNING}the server refuses: {message} ({code}){WARNING:#}");
            }
            ("reset", _) => {
                let reason = frame.reason.unwrap_or_default();
                anstream::eprintln!("{WARNING}events may be missing here ({reason}){WARNING:#}");
            }
            _ => {}
        }
        Ok(self.left == Some(0))
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
