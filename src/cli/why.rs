//! `rowcast why`: asks a running server how far an event has come for somebody.

use std::path::PathBuf;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;
use reqwest::Url;
use serde::Deserialize;

use crate::config::AdminToken;
use crate::error::Error;

/// The server asks its shards, and the database, which take a few seconds when they do not answer.
const TIMEOUT: Duration = Duration::from_secs(15);

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rowcast why --event 42 --user ann
  rowcast why --event 42                  for everybody who is connected

It says of each connection whether the event was denied (and what the token grants), not subscribed to, is on its way,
waits for a slow client, or has been written. The server's banner shows where its administration is.")]
pub(super) struct WhyArgs {
    /// The id of the event.
    #[arg(long, value_name = "ID")]
    event: i64,

    /// Only the connections of this user.
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// The administration of the server.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:3002",
        env = "ROWCAST_ADMIN_URL"
    )]
    admin_url: Url,

    /// The token that the administration asks for.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "ROWCAST_ADMIN_TOKEN",
        hide_env_values = true,
        conflicts_with = "admin_token_file"
    )]
    admin_token: Option<AdminToken>,

    /// The same, read from a file.
    #[arg(long, value_name = "FILE", env = "ROWCAST_ADMIN_TOKEN_FILE")]
    admin_token_file: Option<PathBuf>,

    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    committed: bool,
    row: Option<Row>,
    read: Option<bool>,
    message: Option<String>,
    connections: Vec<Told>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    channels: Vec<String>,
    r#type: String,
    created_at: String,
}

#[derive(Deserialize)]
struct Told {
    connection: String,
    user: Option<String>,
    verdict: String,
    message: String,
}

#[derive(Deserialize)]
struct Problem {
    message: String,
}

pub(super) async fn run(args: WhyArgs) -> Result<(), Error> {
    let text = ask(&args).await?;
    if args.json {
        anstream::println!("{text}");
        return Ok(());
    }
    let answer: Answer = serde_json::from_str(&text).map_err(|error| {
        failed(
            &args.admin_url,
            format!("its answer is none of ours: {error}"),
        )
    })?;
    print(args.event, &answer);
    Ok(())
}

async fn ask(args: &WhyArgs) -> Result<String, Error> {
    let mut url = args.admin_url.clone();
    url.set_path("/api/v1/why");
    url.query_pairs_mut()
        .append_pair("event", &args.event.to_string());
    if let Some(user) = &args.user {
        url.query_pairs_mut().append_pair("user", user);
    }
    let fail = |error: reqwest::Error| {
        let hint =
            "is the server running, and is this its administration? Its banner says where that is";
        failed(&args.admin_url, format!("{} ({hint})", error.without_url()))
    };
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .build()
        .map_err(fail)?;
    let mut request = client.get(url);
    if let Some(token) =
        AdminToken::of(args.admin_token.as_ref(), args.admin_token_file.as_deref())?
    {
        request = request.bearer_auth(String::from_utf8_lossy(&token.expose()));
    }
    let answer = request.send().await.map_err(fail)?;
    let status = answer.status();
    let text = answer.text().await.map_err(fail)?;
    if status.is_success() {
        return Ok(text);
    }
    let problem = serde_json::from_str::<Problem>(&text);
    let message = problem.map_or_else(|_| status.to_string(), |problem| problem.message);
    Err(failed(&args.admin_url, message))
}

fn failed(url: &Url, message: String) -> Error {
    Error::Io {
        doing: format!("ask {url}"),
        source: std::io::Error::other(message),
    }
}

fn print(event: i64, answer: &Answer) {
    let step = |is_so: Option<bool>, name: &str, text: &str| {
        let (style, word) = match is_so {
            Some(true) => (GOOD, "yes"),
            Some(false) => (BAD, "no"),
            None => (Style::new(), "-"),
        };
        anstream::println!("{name:<10} {style}{word:<3}{style:#} {text}");
    };
    let row = answer.row.as_ref().map_or_else(String::new, |row| {
        format!(
            "{} on {}, {}",
            row.r#type,
            row.channels.join(", "),
            row.created_at
        )
    });
    anstream::println!("event {event}");
    step(Some(answer.committed), "committed", &row);
    if let Some(read) = answer.read {
        step(Some(read), "read", "");
    }
    if let Some(message) = &answer.message {
        anstream::println!("{message}");
    }
    for told in &answer.connections {
        let good = matches!(
            told.verdict.as_str(),
            "written" | "queued" | "catching_up" | "handing_out"
        );
        let style = if good { GOOD } else { BAD };
        let user = told.user.as_deref().unwrap_or("-");
        anstream::println!(
            "{:<6} {user}  {style}{}{style:#}: {}",
            told.connection,
            told.verdict.replace('_', " "),
            told.message
        );
    }
}
