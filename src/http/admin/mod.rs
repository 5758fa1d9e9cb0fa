//! The administration: a listener of its own, on this machine unless told, for whoever runs the server. What it tells and
//! takes lives here; who may speak to it in `guard`.

mod guard;
mod orders;
mod why;

use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use warp::Filter as _;
use warp::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::{Health, body, json, problem};
use crate::commands::Desk;
use crate::error::Error;
use crate::hub::{Checks, Hub, Stuck};
use crate::metrics::{CONTENT_TYPE as METRICS, Metrics};
use guard::Guard;

/// Largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long the head of a request may take, and its body.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections at the same time. The others wait: whoever scrapes and administers needs a few.
const CONNECTIONS_MAX: usize = 64;

/// Wait after the system refused a connection for want of file descriptors.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(200);

/// Channels of which the clients are told, those with the most first. A feed may have a million.
const CHANNELS_MAX: usize = 1000;

const PATHS: &str = "there are GET /metrics, /healthz, /readyz, /api/v1/ws/stats and /api/v1/why, and POST /api/v1/disconnect, /api/v1/revoke \
                     and /api/v1/broadcast";

/// What the administration needs.
pub(crate) struct Admin {
    hub: Hub,
    desk: Desk,
    metrics: Metrics,
    guard: Guard,
}

impl Admin {
    /// With a token it asks for that; without, it must listen where only this machine reaches it.
    pub fn new(hub: &Hub, desk: Desk, token: Option<Arc<[u8]>>) -> Self {
        Self {
            hub: hub.clone(),
            desk,
            metrics: Metrics::new(&hub.counters()),
            guard: Guard { token },
        }
    }

    /// Serves until it is dropped.
    pub async fn serve(self, listener: TcpListener) {
        let admin = Arc::new(self);
        let routes = warp::method()
            .and(warp::path::full())
            .and(warp::header::headers_cloned())
            .and(warp::query::raw().or(warp::any().map(String::new)).unify())
            .and(warp::body::stream())
            .then(
                move |method, path: warp::path::FullPath, headers, query: String, body| {
                    let admin = Arc::clone(&admin);
                    async move {
                        let path = path.as_str();
                        admin.answer(&method, path, &headers, &query, body).await
                    }
                },
            );
        let service = TowerToHyperService::new(warp::service(routes));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        // They end with this.
        let mut connections = JoinSet::new();
        loop {
            // It is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            let Ok((stream, _address)) = listener.accept().await else {
                sleep(EXHAUSTED_WAIT).await;
                continue;
            };
            while connections.try_join_next().is_some() {}
            let connection = http.serve_connection(TokioIo::new(stream), service.clone());
            connections.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the administration ended early");
                }
                drop(place);
            });
        }
    }

    async fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        query: &str,
        body: impl Stream<Item = Result<impl warp::Buf, warp::Error>>,
    ) -> Response {
        if let Some(refusal) = self.guard.refuse(method, path, headers) {
            return refusal;
        }
        let mut response = match (path, method.as_str()) {
            ("/metrics", "GET") => self.metrics().await,
            ("/healthz", "GET" | "HEAD") => json(StatusCode::OK, &Health { status: "ok" }),
            ("/readyz", "GET" | "HEAD") => self.ready().await,
            ("/api/v1/ws/stats", "GET") => self.stats(query).await,
            ("/api/v1/why", "GET") => why::answer(&self.hub, &self.desk, query).await,
            ("/api/v1/disconnect", "POST") => self.order(body, orders::disconnect).await,
            ("/api/v1/revoke", "POST") => self.order(body, orders::revoke).await,
            ("/api/v1/broadcast", "POST") => self.order(body, orders::broadcast).await,
            ("/metrics" | "/healthz" | "/readyz" | "/api/v1/ws/stats" | "/api/v1/why", _) => {
                other_method("GET")
            }
            ("/api/v1/disconnect" | "/api/v1/revoke" | "/api/v1/broadcast", _) => {
                other_method("POST")
            }
            _ => problem(StatusCode::NOT_FOUND, "not_found", PATHS),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    async fn metrics(&self) -> Response {
        let is_ready = self.hub.readiness().check().await.are_fine();
        let mut response = Response::new(self.metrics.text(is_ready).into());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(METRICS));
        response
    }

    async fn ready(&self) -> Response {
        let checks = self.hub.readiness().check().await;
        let answer = Ready {
            status: status(&checks),
            checks: Some(Each {
                database: (&checks.database).into(),
                pipeline: (&checks.pipeline).into(),
            }),
        };
        json(code(&checks), &answer)
    }

    async fn stats(&self, query: &str) -> Response {
        let Some(census) = self.hub.census().await else {
            return problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "stuck",
                "a shard did not say who is connected to it; /readyz tells more",
            );
        };
        let project = url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "project_id")
            .map(|(_, id)| {
                let clients = census.channels.get(format!("project:{id}").as_str());
                Project {
                    clients: clients.copied().unwrap_or_default(),
                    id: id.into_owned(),
                }
            });
        let mut channels: Vec<_> = census
            .channels
            .iter()
            .map(|(channel, &clients)| Subscribed { channel, clients })
            .collect();
        channels.sort_unstable_by(|a, b| (b.clients, a.channel).cmp(&(a.clients, b.channel)));
        let left_out = channels.len().saturating_sub(CHANNELS_MAX);
        channels.truncate(CHANNELS_MAX);
        json(
            StatusCode::OK,
            &Stats {
                clients: census.clients,
                channels: census.channels.len(),
                clients_per_channel: channels,
                channels_left_out: left_out,
                project,
                counters: self.hub.counters().snapshot(),
            },
        )
    }

    async fn order(
        &self,
        body: impl Stream<Item = Result<impl warp::Buf, warp::Error>>,
        read: fn(&[u8]) -> orders::Read,
    ) -> Response {
        let body = match body::read(body, BODY_BYTES_MAX, BODY_TIMEOUT).await {
            Ok(body) => body,
            Err(answer) => return *answer,
        };
        let (order, valid) = match read(&body) {
            Ok(read) => read,
            Err(wrong) => return problem(StatusCode::BAD_REQUEST, "bad_request", &wrong),
        };
        match self.desk.issue(order, valid).await {
            Ok(command) => json(StatusCode::ACCEPTED, &Accepted { command }),
            Err(error @ Error::Config(_)) => {
                let message = format!("failed to {error}");
                problem(StatusCode::BAD_REQUEST, "bad_request", &message)
            }
            Err(error) => {
                let message = format!("failed to {error}; it may or may not have been ordered");
                tracing::warn!("{message}");
                problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "database_unavailable",
                    &message,
                )
            }
        }
    }
}

/// The answer of the public listener: whether, and not why.
pub(super) async fn is_ready(hub: &Hub) -> Response {
    let checks = hub.readiness().check().await;
    let status = status(&checks);
    let checks_told = None;
    json(
        code(&checks),
        &Ready {
            status,
            checks: checks_told,
        },
    )
}

fn status(checks: &Checks) -> &'static str {
    if checks.are_fine() {
        "ready"
    } else {
        "not_ready"
    }
}

fn code(checks: &Checks) -> StatusCode {
    if checks.are_fine() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn other_method(method: &'static str) -> Response {
    let mut response = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        &format!("this path takes {method} only; {PATHS}"),
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(method));
    response
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Each>,
}

#[derive(Serialize)]
struct Each {
    database: Check,
    pipeline: Check,
}

#[derive(Serialize)]
struct Check {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl From<&Result<(), Stuck>> for Check {
    fn from(check: &Result<(), Stuck>) -> Self {
        let stuck = check.as_ref().err();
        let since = stuck.map(|stuck| humantime::format_rfc3339_millis(stuck.since));
        Self {
            ok: check.is_ok(),
            since: since.map(|since| since.to_string()),
            message: stuck.map(|stuck| stuck.message.clone()),
        }
    }
}

#[derive(Serialize)]
struct Accepted {
    /// Its id in `rowcast_commands`.
    command: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats<'a, C> {
    clients: usize,
    /// Channels and patterns that somebody subscribes to.
    channels: usize,
    clients_per_channel: Vec<Subscribed<'a>>,
    /// How many of them are not told.
    channels_left_out: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<Project>,
    counters: C,
}

#[derive(Serialize)]
struct Subscribed<'a> {
    channel: &'a str,
    clients: usize,
}

#[derive(Serialize)]
struct Project {
    id: String,
    clients: usize,
}
