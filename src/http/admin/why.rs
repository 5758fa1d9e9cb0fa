//! `GET /api/v1/why?event=42&user=ann`: how far an event has come for somebody, and what has kept it from going further.

use serde::Serialize;
use warp::http::StatusCode;
use warp::reply::Response;

use super::{json, problem};
use crate::commands::Desk;
use crate::event::EventId;
use crate::hub::{Account, Hub, Verdict};
use crate::source::Committed;

/// What of a list is told.
const LISTED_MAX: usize = 50;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    event: i64,
    /// Whether the row is there and committed, and what it says.
    committed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<Row<'a>>,
    /// Whether this server's feed has read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    read: Option<bool>,
    /// In a sentence, where there is no connection to tell of.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    connections: Vec<Told<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    channels: Vec<&'a str>,
    r#type: &'a str,
    created_at: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    connection: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    verdict: &'static str,
    message: String,
    matched: &'a [String],
    subscriptions: &'a [String],
    grants: &'a [String],
}

pub(super) async fn answer(hub: &Hub, desk: &Desk, query: &str) -> Response {
    let mut event = None;
    let mut user = None;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "event" => event = value.parse().ok().map(EventId),
            "user" => user = Some(value.into_owned()),
            _ => {}
        }
    }
    let Some(id) = event else {
        let message = "name the event by its id, as in ?event=42&user=ann";
        return problem(StatusCode::BAD_REQUEST, "bad_request", message);
    };
    let row = match desk.find(id).await {
        Ok(row) => row,
        Err(error) => {
            let message = format!("cannot {error}");
            return problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "database_unavailable",
                &message,
            );
        }
    };
    let Some(row) = row else {
        let message = format!(
            "there is no event {} in the table: its transaction has not been committed, was rolled back, or the event \
             has been deleted since",
            id.0
        );
        return json(
            StatusCode::OK,
            &Answer {
                event: id.0,
                committed: false,
                row: None,
                read: None,
                message: Some(message),
                connections: Vec::new(),
            },
        );
    };
    let user = user.as_deref();
    let Some(explained) = hub.explain(id, row.transaction, &row.channels, user).await else {
        let message = "a shard did not say what it knows; /readyz tells more";
        return problem(StatusCode::SERVICE_UNAVAILABLE, "stuck", message);
    };
    let whose = user.map_or_else(String::new, |user| format!(" of {user}"));
    let message = explained.accounts.is_empty().then(|| {
        format!("there is no connection{whose} to this server; there may be to another of the same database")
    });
    json(
        StatusCode::OK,
        &Answer {
            event: id.0,
            committed: true,
            row: Some(Row {
                channels: row.channels.split(' ').collect(),
                r#type: &row.kind,
                created_at: &row.created_at,
            }),
            read: Some(explained.is_read),
            message,
            connections: explained
                .accounts
                .iter()
                .map(|account| told(account, &row))
                .collect(),
        },
    )
}

fn told<'a>(account: &'a Account, row: &Committed) -> Told<'a> {
    let (verdict, message) = words(account, row);
    Told {
        connection: format!("c{}", account.connection),
        user: account.user.as_deref(),
        verdict,
        message,
        matched: first(&account.matched),
        subscriptions: first(&account.subscriptions),
        grants: first(&account.grants),
    }
}

fn first(all: &[String]) -> &[String] {
    &all[..all.len().min(LISTED_MAX)]
}

fn words(account: &Account, row: &Committed) -> (&'static str, String) {
    let list = |all: &[String]| match all {
        [] => "nothing".to_owned(),
        all if all.len() > LISTED_MAX => format!(
            "{} and {} more",
            first(all).join(", "),
            all.len() - LISTED_MAX
        ),
        all => all.join(", "),
    };
    let channels = row.channels.replace(' ', ", ");
    let (grants, matched) = (list(&account.grants), list(&account.matched));
    let subscriptions = list(&account.subscriptions);
    match account.verdict {
        Verdict::NoToken => ("no_token", "it has yet to say who it is".to_owned()),
        Verdict::NotGranted => (
            "denied",
            format!("its token grants {grants}, and none of that covers {channels}"),
        ),
        Verdict::NotSubscribed => (
            "not_subscribed",
            format!("it may receive {channels}, and has not asked for it; it subscribes to {subscriptions}"),
        ),
        Verdict::NotRead => (
            "not_read",
            "the feed has not read it yet: /readyz says whether it looks at the table".to_owned(),
        ),
        Verdict::CatchingUp => (
            "catching_up",
            "the client is behind, as it was away or reads slowly; it is being sent what it missed, and this is, or \
             will be, among it"
                .to_owned(),
        ),
        Verdict::TooLongAgo => (
            "too_long_ago",
            format!("it was handed out before what is in memory (--max-recent-bytes); the client subscribes to {matched}"),
        ),
        Verdict::NotYet => ("handing_out", "it has been read and is about to be handed out".to_owned()),
        Verdict::OpenedLater => (
            "opened_later",
            "the connection was opened after it had been handed out; the client had it only if it came back with a cursor \
             from before it"
                .to_owned(),
        ),
        Verdict::Queued => (
            "queued",
            format!("it matched {matched}; the client's socket has yet to take what waits for it"),
        ),
        Verdict::Written => ("written", format!("it matched {matched}, and the socket has it")),
    }
}
