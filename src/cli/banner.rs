//! What a server says when it is ready: where it is, what it reads, and the lines to paste to see an event arrive.

use std::io::{IsTerminal as _, stderr};

use anstyle::{AnsiColor, Style};

use crate::config::Config;
use crate::server::Server;
use crate::source::DatabaseConfig;

const NAME: Style = AnsiColor::Cyan.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// Prints the banner on a terminal, or logs the same as fields elsewhere.
pub(super) fn print(server: &Server, config: &Config) {
    let database = config.database.as_ref();
    let address = server.address();
    let cursor = server.broadcaster().cursor();
    let (ws, http) = if server.is_encrypted() {
        ("wss", "https")
    } else {
        ("ws", "http")
    };
    let schema = database.and_then(|database| database.schema.as_deref());
    let table = match schema {
        Some(schema) => format!("{schema}.events"),
        None => "events".to_owned(),
    };
    let url = database.map_or_else(|| "none".to_owned(), |database| database.url.to_string());
    let stream = config.stream.as_ref().map_or_else(
        || "none".to_owned(),
        |stream| format!("{} at {}", stream.name, stream.url),
    );
    let admin = server
        .admin_address()
        .map_or_else(|| "off".to_owned(), |address| format!("http://{address}"));
    let endpoints: Vec<_> = server
        .endpoints()
        .iter()
        .map(|(path, preset)| (format!("{ws}://{address}{path}"), preset))
        .collect();
    let websocket = format!("{ws}://{address}/ws");
    let console = if server.has_console() {
        format!("{http}://{address}/")
    } else {
        "off".to_owned()
    };
    if !stderr().is_terminal() {
        for (url, preset) in endpoints.iter().filter(|(url, _)| *url != websocket) {
            tracing::info!(url, preset, "endpoint");
        }
        tracing::info!(
            websocket,
            console,
            health = %format_args!("{http}://{address}/healthz"),
            stats = %format_args!("{http}://{address}/api/v1/ws/stats"),
            admin,
            stream,
            database = url,
            table,
            %cursor,
            "ready"
        );
        return;
    }
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "rowcast".to_owned());
    let set_url = database.map_or_else(
        || "--database-url \"$DATABASE_URL\"".to_owned(),
        url_for_shell,
    );
    let set_schema = schema.map_or(String::new(), |schema| format!(" --schema {schema}"));
    let source = match (&config.stream, database) {
        (None, _) => format!("  Database   {url}\n  Table      {table}"),
        (Some(_), None) => format!("  Stream     {stream}"),
        (Some(_), Some(_)) => {
            format!("  Stream     {stream}\n  Database   {url}\n  Table      {table}")
        }
    };
    let line = |(url, preset): &(String, &str)| {
        format!("  WebSocket  {NAME}{url}{NAME:#} {DIM}({preset}){DIM:#}\n")
    };
    let connect = endpoints.iter().map(line).collect::<Vec<_>>().concat();
    anstream::eprintln!(
        "
  {NAME}rowcast{NAME:#} {version}

{connect}  Console    {NAME}{console}{NAME:#}
  Health     {http}://{address}/healthz
  Counters   {http}://{address}/api/v1/ws/stats
  Admin      {admin}
{source} {DIM}(from cursor {cursor} on){DIM:#}

  See events arrive:   {program} tail --url {ws}://{address}/ws
  Make one arrive:     {program} emit {set_url}{set_schema} tasks task.created '{{\"title\": \"hello\"}}'
  Or with any client:  INSERT INTO {table} (channel, type, payload) VALUES ('tasks', 'task.created', '{{}}');
",
        version = env!("CARGO_PKG_VERSION"),
    );
}

/// The flag that names this database. A URL with a password is not repeated: the user's own variable has to do.
fn url_for_shell(database: &DatabaseConfig) -> String {
    if database.url.is_shown_whole() {
        format!("--database-url '{}'", database.url)
    } else {
        "--database-url \"$DATABASE_URL\"".to_owned()
    }
}
