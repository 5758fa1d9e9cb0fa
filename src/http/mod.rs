//! The only place that knows warp: routes, and the loop that accepts connections for them.

mod accept;
mod events;
mod handshake;
mod outbox;
mod query;
mod sse;
mod ws;

use serde::Serialize;
use warp::http::StatusCode;
use warp::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, HeaderValue};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use crate::hub::Hub;

pub(crate) use accept::serve;

/// The routes of a feed, to serve alone or to mount in a warp application of yours.
///
/// | route | |
/// |---|---|
/// | `GET /ws` | the WebSocket; without an upgrade it answers 426 |
/// | `GET /sse?channels=…` | the same as server-sent events |
/// | `GET /events?channels=…&after=…` | what was committed after a cursor; `wait=30s` waits for it |
/// | `GET /cursor` | the present position |
/// | `GET /healthz` | 200 while the process lives |
/// | `GET /api/v1/ws/stats` | counters, as JSON |
#[must_use]
pub fn routes(
    hub: &Hub,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + use<> {
    let socket = warp::path!("ws").and(handshake::route(hub.clone()));
    let health = warp::path!("healthz")
        .and(warp::get())
        .map(|| json(StatusCode::OK, &Health { status: "ok" }));
    let counters = hub.counters();
    let stats = warp::path!("api" / "v1" / "ws" / "stats")
        .and(warp::get())
        .map(move || json(StatusCode::OK, &counters.snapshot()));
    let sse = warp::path!("sse").and(sse::route(hub.clone()));
    let events = warp::path!("events").and(events::route(hub.clone()));
    let cursor = warp::path!("cursor").and(events::cursor(hub.clone()));
    let plain = sse.or(events).unify().or(cursor).unify();
    // A page of any origin may open the WebSocket, which no browser asks about, so it may as well read the same here.
    let plain = plain
        .map(|reply| warp::reply::with_header(reply, ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .map(Reply::into_response);
    let feed = socket.or(plain).unify();
    feed.or(health).unify().or(stats).unify()
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// An error as JSON: what is wrong and what to do.
#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
    message: &'a str,
}

fn problem(status: StatusCode, error: &str, message: &str) -> Response {
    json(status, &Problem { error, message })
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    warp::reply::with_status(warp::reply::json(body), status).into_response()
}

/// What no route takes.
pub(crate) async fn not_found(rejection: Rejection) -> Result<Response, std::convert::Infallible> {
    let (status, error, message) = if rejection.is_not_found() {
        (
            StatusCode::NOT_FOUND,
            "not_found",
            "there are /ws, /sse, /events, /cursor, /healthz and /api/v1/ws/stats",
        )
    } else {
        (
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "every path here answers GET only",
        )
    };
    let mut response = problem(status, error, message);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET"));
    }
    Ok(response)
}
