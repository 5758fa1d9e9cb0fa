//! `GET /console/connections`: who is connected, for those who may know: everybody on this machine where nobody is asked
//! for a token; elsewhere each user of his own.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep_until, timeout};
use warp::http::StatusCode;
use warp::reply::Response;

use super::Desk;
use crate::http::head::Head;
use crate::http::query::Refusal;
use crate::http::{json, unavailable};
use crate::hub::{Entry, Roll, Standing, Whose};

/// Connections are not looked at oftener: it costs the shards a look at all of theirs, whoever asks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How long whoever asks waits for others who do.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    /// All connections of the server.
    total: u64,
    /// Those that whoever asks may know of; of more than a thousand, the thousand for which the most waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    connections: Vec<Told<'a>>,
    /// Why they are not told, or not all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    transport: &'static str,
    preset: &'a str,
    since: String,
    channels: &'a [String],
    channel_count: usize,
    queued_bytes: usize,
    state: &'static str,
}

pub(super) async fn answer(desk: &Desk, head: &Head) -> Result<Response, Refusal> {
    let (identity, _place) = head.identity().await?;
    head.query(&[])?;
    let (whose, why) = if head.gate.authenticator.anonymous().is_none() {
        match &identity.user {
            Some(user) => (
                Some(Whose::User(user.clone())),
                "a token shows the connections of its own user; /metrics and `rowcast why` of the administration tell of all",
            ),
            None => (
                None,
                "your token names no user (claim `sub`), and shows no connections",
            ),
        }
    } else if head.is_of_this_machine() {
        (Some(Whose::All), "")
    } else {
        (
            None,
            "this server can be reached by others and asks nobody for a token, so it tells nobody who is connected; start it \
             with a key (--jwt-secret-file), and everybody sees his own connections",
        )
    };
    let roll = match &whose {
        Some(whose) => Some(look(desk, whose).await?),
        None => None,
    };
    let total = desk.hub.counters().connections.get();
    let why = Some(why).filter(|why| !why.is_empty());
    Ok(json(
        StatusCode::OK,
        &Answer {
            total,
            count: roll.as_ref().map(|roll| roll.count),
            connections: roll
                .iter()
                .flat_map(|roll| &roll.entries)
                .map(tell)
                .collect(),
            why,
        },
    ))
}

/// Looks at connections, when it is this one's turn.
async fn look(desk: &Desk, whose: &Whose) -> Result<Roll, Refusal> {
    let looking = timeout(TURN_TIMEOUT, async {
        let mut next = desk.next_look.lock().await;
        sleep_until(*next).await;
        *next = Instant::now() + LOOK_INTERVAL;
        desk.hub.roll(whose).await
    });
    looking.await.ok().flatten().ok_or_else(|| {
        let message = "the server has too much to do to say who is connected; try again";
        unavailable("busy", message)
    })
}

fn tell(entry: &Entry) -> Told<'_> {
    let since = std::time::UNIX_EPOCH + Duration::from_secs(entry.opened_at);
    Told {
        id: format!("c{}", entry.connection),
        user: entry.user.as_deref(),
        transport: if entry.is_web_socket {
            "websocket"
        } else {
            "sse"
        },
        preset: entry.preset.as_deref().unwrap_or("default"),
        since: humantime::format_rfc3339_seconds(since).to_string(),
        channels: &entry.channels,
        channel_count: entry.channel_count,
        queued_bytes: entry.queued_bytes,
        state: match entry.standing {
            Standing::NoToken => "no_token",
            Standing::Idle => "idle",
            Standing::CatchingUp => "catching_up",
            Standing::Live => "live",
        },
    }
}
