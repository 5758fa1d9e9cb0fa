//! `GET /events`: what was committed after a position, at once or as soon as there is something; and `GET /cursor`, the
//! present position. With both, a loop of plain requests misses nothing.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout, timeout_at};
use warp::http::StatusCode;
use warp::http::header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use warp::reply::{Reply, Response};

use super::granted::Granted;
use super::head::{CHANNEL_TOKEN, Head};
use super::query::Refusal;
use super::{json, unavailable, unkept};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::hub::{Hub, Reader, Step};
use crate::protocol::ResetReason;

/// Events of an answer, unless asked otherwise, and at most.
const LIMIT: usize = 500;
const LIMIT_MAX: usize = 10_000;

/// Bytes of an answer beyond which it ends early.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longest wait for something to happen. Proxies give up after 60 s.
const WAIT_MAX: Duration = Duration::from_secs(55);

/// How long the database may take to answer, before the client is told to try again.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(10);

/// `GET /cursor`.
pub(super) async fn cursor(hub: Hub, head: Head) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Present<'a> {
        cursor: &'a str,
    }
    head.identity().await?;
    let cursor = &hub.edge();
    Ok(unkept(json(StatusCode::OK, &Present { cursor })))
}

/// The body of an answer.
#[derive(Serialize)]
struct Answer<'a> {
    events: Vec<&'a RawValue>,
    /// The position after them, to ask on from.
    cursor: &'a str,
    /// Whether there is more by now.
    more: bool,
    /// Why events may be missing before `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reset: Option<ResetReason>,
    /// Channels that the token does not grant.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    rejected: &'a [String],
}

/// What was found.
struct Found {
    events: Vec<Box<RawValue>>,
    cursor: Cursor,
    more: bool,
    reset: Option<ResetReason>,
}

/// `GET /events`.
pub(super) async fn answer(hub: Hub, head: Head) -> Result<Response, Refusal> {
    // It counts while it waits.
    let (identity, _place) = head.identity().await?;
    let query = &head.query(&["channels", "after", "limit", "wait", CHANNEL_TOKEN])?;
    let channels = query.channels(hub.options().subscriptions_max)?;
    let permits = head.permits(&identity, query).await?;
    let granted = Granted::of(&identity, &permits, &channels)?;
    let after = query.since("after")?;
    let limit = query.number("limit", LIMIT, LIMIT_MAX)?;
    let wait = query.duration("wait", WAIT_MAX)?.min(granted.lasts);
    let deadline = Instant::now() + wait;
    let mut reader = Reader::naming_positions(hub.sources().clone());
    let now = reader.cursor().clone();
    let adding = timeout(DATABASE_TIMEOUT, async {
        for after in &after {
            let reset = reader.add(&granted.patterns, after, &now).await?;
            if reset.is_some() {
                return Ok(reset);
            }
        }
        Ok::<_, Error>(None)
    });
    let found = match adding.await {
        Ok(Ok(Some(reset))) => Some(Found {
            events: Vec::new(),
            cursor: reader.cursor().clone(),
            more: false,
            reset: Some(reset),
        }),
        Ok(Ok(None)) => find(&hub, &mut reader, limit, deadline).await,
        Ok(Err(_)) | Err(_) => None,
    };
    head.check_again(&identity, &permits)?;
    let Some(found) = found else {
        let message =
            "the database does not answer; try again with the same `after`, nothing is lost";
        return Err(unavailable("database_unavailable", message));
    };
    Ok(respond(&found, &granted.rejected, &head.headers))
}

/// Reads until there is enough, or until there is something and no more, or until it is too late. None when the database
/// does not answer.
async fn find(
    hub: &Hub,
    reader: &mut Reader,
    limit: usize,
    mut deadline: Instant,
) -> Option<Found> {
    let mut events = Vec::new();
    let mut bytes = 0;
    let mut more = false;
    let mut reset = None;
    // The position after the events, where they end within a batch.
    let mut within = None;
    let patience = deadline + DATABASE_TIMEOUT;
    loop {
        let Ok(next) = timeout_at(patience, reader.next()).await else {
            if events.is_empty() {
                return None;
            }
            // What is there is worth more than an answer that is late.
            more = true;
            break;
        };
        match next {
            Step::Events(batch, wanted) => {
                let shaped = batch.shaped(hub.shapes().web_socket());
                let mut room = limit - events.len();
                if wanted.len() > room {
                    within = batch.position_after(wanted[room - 1]);
                    // Without a position in its midst it comes whole.
                    if within.is_none() {
                        room = wanted.len();
                    }
                }
                for &n in wanted.iter().take(room) {
                    let text = shaped.text(n);
                    bytes += text.get().len();
                    events.push(text);
                }
                if events.len() >= limit || bytes > ANSWER_BYTES_MAX {
                    more = true;
                    break;
                }
            }
            Step::End(_) if events.is_empty() && Instant::now() < deadline => {
                tokio::select! {
                    _ = timeout_at(deadline, reader.grown()) => {}
                    // The client asks on, elsewhere or later.
                    () = hub.drained() => deadline = Instant::now(),
                }
            }
            Step::End(_) => break,
            Step::Reset(reason) => {
                // What was read before it is of another history.
                events.clear();
                reset = Some(reason);
                break;
            }
            Step::Waited if events.is_empty() && Instant::now() < patience => {}
            Step::Waited if events.is_empty() => return None,
            Step::Waited => {
                more = true;
                break;
            }
        }
    }
    Some(Found {
        events,
        cursor: within.unwrap_or_else(|| reader.cursor().clone()),
        more,
        reset,
    })
}

fn respond(found: &Found, rejected: &[String], headers: &HeaderMap) -> Response {
    let cursor = found.cursor.to_string();
    let tag = format!("\"{cursor}\"");
    let unchanged = headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known == tag.as_str());
    let mut response = if unchanged && found.events.is_empty() && found.reset.is_none() {
        warp::reply::with_status("", StatusCode::NOT_MODIFIED).into_response()
    } else {
        json(
            StatusCode::OK,
            &Answer {
                events: found.events.iter().map(|event| &**event).collect(),
                cursor: &cursor,
                more: found.more,
                reset: found.reset,
                rejected,
            },
        )
    };
    let headers = response.headers_mut();
    // What comes after a position grows, so that it may be kept but has to be asked for again.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}
