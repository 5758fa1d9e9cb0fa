//! `GET /events`: what was committed after a position, at once or as soon as there is something; and `GET /cursor`, the
//! present position. With both, a loop of plain requests misses nothing.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout, timeout_at};
use warp::http::StatusCode;
use warp::http::header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, RETRY_AFTER};
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use super::query::{Query, Refusal, query};
use super::{Gate, json, problem};
use crate::cursor::Cursor;
use crate::hub::{Hub, Reader, Step};
use crate::protocol::{ResetReason, Shape};

/// Events of an answer, unless asked otherwise, and at most.
const LIMIT: usize = 500;
const LIMIT_MAX: usize = 10_000;

/// Bytes of an answer beyond which it ends early.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longest wait for something to happen. Proxies give up after 60 s.
const WAIT_MAX: Duration = Duration::from_secs(55);

/// How long the database may take to answer, before the client is told to try again.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(10);

/// `GET /events`.
pub(super) fn route(
    hub: Hub,
    _gate: Gate,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    warp::get()
        .and(query())
        .and(warp::header::headers_cloned())
        .then(move |query: Query, headers: HeaderMap| {
            let hub = hub.clone();
            async move {
                answer(&hub, &query, &headers)
                    .await
                    .unwrap_or_else(|refusal| refusal.respond())
            }
        })
}

/// `GET /cursor`.
pub(super) fn cursor(
    hub: Hub,
    _gate: Gate,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    #[derive(Serialize)]
    struct Present<'a> {
        cursor: &'a str,
    }
    warp::get().map(move || {
        let mut response = json(
            StatusCode::OK,
            &Present {
                cursor: &hub.edge(),
            },
        );
        let never = HeaderValue::from_static("no-store");
        response.headers_mut().insert(CACHE_CONTROL, never);
        response
    })
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
}

/// What was found.
struct Found {
    events: Vec<Box<RawValue>>,
    cursor: Cursor,
    more: bool,
    reset: Option<ResetReason>,
}

async fn answer(hub: &Hub, query: &Query, headers: &HeaderMap) -> Result<Response, Refusal> {
    query.allow(&["channels", "after", "limit", "wait"])?;
    let channels = query.channels(hub.options().subscriptions_max)?;
    let after = query.since("after")?;
    let limit = query.number("limit", LIMIT, LIMIT_MAX)?;
    let deadline = Instant::now() + query.duration("wait", WAIT_MAX)?;
    let mut reader = Reader::naming_positions(hub.sources().clone());
    let adding = timeout(DATABASE_TIMEOUT, reader.add(&channels, &after));
    let found = match adding.await {
        Ok(Ok(Some(reset))) => Some(Found {
            events: Vec::new(),
            cursor: reader.cursor().clone(),
            more: false,
            reset: Some(reset),
        }),
        Ok(Ok(None)) => find(&mut reader, limit, deadline).await,
        Ok(Err(_)) | Err(_) => None,
    };
    Ok(found.map_or_else(unavailable, |found| respond(&found, headers)))
}

/// Reads until there is enough, or until there is something and no more, or until it is too late. None when the database
/// does not answer.
async fn find(reader: &mut Reader, limit: usize, deadline: Instant) -> Option<Found> {
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
                let shaped = batch.shaped(Shape::WebSocket);
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
                let _ = timeout_at(deadline, reader.grown()).await;
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

fn unavailable() -> Response {
    let mut response = problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "database_unavailable",
        "the database does not answer; try again with the same `after`, nothing is lost",
    );
    let soon = HeaderValue::from_static("2");
    response.headers_mut().insert(RETRY_AFTER, soon);
    response
}

fn respond(found: &Found, headers: &HeaderMap) -> Response {
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
