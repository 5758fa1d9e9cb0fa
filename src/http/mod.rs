//! The only place that knows warp: routes, and the loop that accepts connections for them.

mod accept;
mod admin;
#[cfg(any(test, feature = "bench"))]
pub(crate) mod bench;
mod body;
mod codec;
mod console;
mod endpoint;
mod events;
mod extension;
mod front;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gate;
mod granted;
mod handshake;
mod head;
mod limits;
mod lobby;
mod marks;
mod options;
mod origin;
mod outbox;
mod peer;
mod presence;
mod publish;
mod query;
mod sse;
mod stats;
mod tls;
mod token;
mod wire;
mod ws;

use std::sync::Arc;

use serde::Serialize;
use warp::http::StatusCode;
use warp::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, ALLOW,
    CACHE_CONTROL, HeaderValue, RETRY_AFTER,
};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use crate::hub::Hub;
use crate::publisher::Publisher;

use head::Head;
use query::Refusal;

pub(crate) use accept::{Offers, serve};
pub(crate) use admin::Admin;
pub(crate) use console::Console;
pub use endpoint::{EndpointAuth, EndpointError, EndpointSpec, Endpoints};
pub use gate::Gate;
pub(crate) use gate::connections_of_open_files;
pub use options::{NetworkOptions, PublishOptions, TlsFiles};
pub(crate) use origin::read as read_origins;
pub use origin::{OriginRule, Site};
pub(crate) use tls::{Tls, check as check_tls};

/// The routes of a feed, to serve alone or to mount in a warp application of yours.
///
/// | route | |
/// |---|---|
/// | `GET /ws` | the WebSocket; without an upgrade it answers 426 |
/// | `GET /sse?channels=…` | the same as server-sent events |
/// | `GET /events?channels=…&after=…` | what was committed after a cursor; `wait=30s` waits for it |
/// | `GET /cursor` | the present position |
/// | `GET /presence?channel=…` | who is on a channel, where that is kept |
/// | `GET /healthz` | 200 while the process lives |
/// | `GET /readyz` | 200 while the feed moves: the table is read, and events come through |
/// | `GET /api/v1/ws/stats` | counters, as JSON; `project_id=7` adds the clients of `project:7` |
#[must_use]
pub fn routes(
    hub: &Hub,
    gate: &Gate,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + use<> {
    routes_with(hub, gate, &Endpoints::default())
}

/// The same with these endpoints, whose presets the hub has.
#[must_use]
pub fn routes_with(
    hub: &Hub,
    gate: &Gate,
    endpoints: &Endpoints,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + use<> {
    let gate = gate.counting(hub);
    let socket = handshake::route(hub.clone(), &gate, endpoints);
    let health = warp::path!("healthz")
        // Those who watch over servers ask with HEAD.
        .and(warp::get().or(warp::head()).unify())
        .map(|| json(StatusCode::OK, &Health { status: "ok" }));
    let readiness = hub.clone();
    let ready = warp::path!("readyz")
        .and(warp::get().or(warp::head()).unify())
        .then(move || {
            let hub = readiness.clone();
            async move { admin::is_ready(&hub).await }
        });
    let counted = (hub.clone(), Arc::default());
    let stats = warp::path!("api" / "v1" / "ws" / "stats");
    let stats = stats.and(head::get(&gate, &counted, stats::answer));
    let sse = warp::path!("sse").and(head::get(&gate, hub, sse::answer));
    let events = warp::path!("events").and(head::get(&gate, hub, events::answer));
    let cursor = warp::path!("cursor").and(head::get(&gate, hub, events::cursor));
    let presence = warp::path!("presence").and(head::get(&gate, hub, presence::answer));
    let plain = sse.or(events).unify().or(cursor).unify();
    let plain = plain.or(presence).unify();
    let asking = |methods| {
        head::by(&gate, warp::options()).then(move |head: Head| {
            head::respond(head.admission, std::future::ready(Ok(allow(methods))))
        })
    };
    let preflight = warp::path!("sse")
        .or(warp::path!("cursor"))
        .unify()
        .or(warp::path!("presence"))
        .unify()
        .and(asking("GET"))
        .or(warp::path!("events").and(asking("GET, POST")))
        .unify()
        .or(warp::path!("broadcast").and(asking("POST")))
        .unify();
    let feed = socket.or(plain).unify().or(preflight).unify();
    let feed = feed.or(stats).unify().recover(gate::turned_away).unify();
    feed.or(health).unify().or(ready).unify()
}

/// What a browser is told that asks whether a page of another origin may send headers of its own.
fn allow(methods: &'static str) -> Response {
    let mut response = warp::reply::with_status("", StatusCode::NO_CONTENT).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, methods),
        (
            ACCESS_CONTROL_ALLOW_HEADERS,
            if methods == "GET" {
                "authorization, cache-control, if-none-match, last-event-id"
            } else {
                "authorization, cache-control, content-type, idempotency-key, if-none-match, last-event-id"
            },
        ),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
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

/// The answer where something does not answer us. It is to be tried again soon.
fn unavailable(error: &str, message: &str) -> Refusal {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, error, message);
    let soon = HeaderValue::from_static("2");
    response.headers_mut().insert(RETRY_AFTER, soon);
    response.into()
}

/// An answer that is of this moment.
fn unkept(mut response: Response) -> Response {
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, never);
    response
}

/// The routes that publish, beside those of a feed.
pub(crate) fn publishing(
    hub: &Hub,
    gate: &Gate,
    publisher: Publisher,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + use<> {
    publish::routes(&gate.counting(hub), publisher)
}

/// The console, beside those.
pub(crate) fn watching(
    hub: &Hub,
    gate: &Gate,
    console: Console,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + use<> {
    console::routes(hub, &gate.counting(hub), console)
}

/// What no route takes.
pub(crate) async fn not_found(rejection: Rejection) -> Result<Response, std::convert::Infallible> {
    let (status, error, message) = if rejection.is_not_found() {
        (
            StatusCode::NOT_FOUND,
            "not_found",
            "there are /ws, /sse, /events, /cursor, /presence, /broadcast, /healthz, /readyz and /api/v1/ws/stats",
        )
    } else {
        (
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this path answers GET only",
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
