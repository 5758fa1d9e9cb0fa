//! `GET /console/status`: what the page shows of its server, for whoever gets past the gate.

use std::time::SystemTime;

use serde::Serialize;
use warp::http::StatusCode;
use warp::reply::Response;

use super::{Console, Desk};
use crate::auth::Grants;
use crate::http::head::Head;
use crate::http::query::Refusal;
use crate::http::{json, publish};
use crate::source::DatabaseKind;
use crate::stats::Stats;

/// The row that the page suggests to insert.
const SAMPLE_PAYLOAD: &str = r#"{"id": 1, "title": "Order coffee"}"#;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    server: &'static str,
    /// Whether clients are asked for tokens.
    asks_for_tokens: bool,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    /// What whoever asks may receive, and publish to.
    channels: Vec<&'a str>,
    publish: Vec<&'a str>,
    /// When the token expires, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    database: &'static str,
    /// A statement to paste that makes an event arrive.
    insert: String,
    /// The database's URL for programs of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    database_url: Option<&'a str>,
    poll_interval_ms: u128,
    /// The server's time, as events have it.
    time: String,
    /// How long ago the table was looked at.
    looked_ms_ago: u128,
    lag: Lag,
    counters: Stats,
}

/// Since the start: two readings give the mean between them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Lag {
    batches: u64,
    total_ms: f64,
}

pub(super) async fn answer(desk: &Desk, head: &Head) -> Result<Response, Refusal> {
    let (identity, _place) = head.identity().await?;
    head.query(&[])?;
    let publish = publish::grants_of(head, &identity);
    let asks_for_tokens = head.gate.authenticator.anonymous().is_none();
    // With a key a server may be behind a proxy of this machine that serves others.
    let is_ours = !asks_for_tokens && head.is_of_this_machine();
    let counters = desk.hub.counters();
    let (batches, late) = counters.lag.sum();
    let status = Status {
        server: concat!("rowcast/", env!("CARGO_PKG_VERSION")),
        asks_for_tokens,
        user: identity.user.as_deref(),
        channels: texts(&identity.grants),
        publish: publish.as_ref().map(texts).unwrap_or_default(),
        expires_at: identity.expires_at,
        database: match desk.console.database {
            // What it goes back to is of this kind.
            Some(DatabaseKind::Postgres) | None => "postgres",
            Some(DatabaseKind::Sqlite) => "sqlite",
        },
        insert: insert(&desk.console, is_ours),
        database_url: desk.console.database_url.as_deref().filter(|_| is_ours),
        poll_interval_ms: desk.console.poll_interval.as_millis(),
        time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        looked_ms_ago: counters.looked.age().as_millis(),
        lag: Lag {
            batches,
            total_ms: late.as_secs_f64() * 1000.0,
        },
        counters: counters.snapshot(),
    };
    Ok(json(StatusCode::OK, &status))
}

fn texts(grants: &Grants) -> Vec<&str> {
    let all = grants.patterns().iter();
    all.map(crate::event::ChannelPattern::as_str).collect()
}

/// The statement to paste. How the operator has named a schema is told on this machine only.
fn insert(console: &Console, is_ours: bool) -> String {
    let table = if is_ours { &console.table } else { "events" };
    format!(
        "INSERT INTO {table} (channel, type, payload) VALUES ('tasks', 'task.created', '{SAMPLE_PAYLOAD}');"
    )
}
