//! The console: a page at `/` of the public listener for whoever looks at a server, and what it asks the server besides the
//! feed. The page is embedded; it is made in `clients/console`.

mod connections;
mod files;
mod status;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use warp::http::StatusCode;
use warp::http::header::{
    HeaderMap, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use super::query::Refusal;
use super::{Gate, gate, head, unkept};
use crate::hub::Hub;
use crate::source::{DatabaseConfig, DatabaseKind};

use files::Files;

/// What the console says of its server besides what the server knows of itself.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    /// None where there is a stream only.
    database: Option<DatabaseKind>,
    /// The table of events, as a statement names it.
    table: String,
    /// The database's URL, if there is no secret in it.
    database_url: Option<String>,
    poll_interval: Duration,
}

impl Console {
    /// The console of a server with this database, which looks at it so often at least.
    pub fn new(database: Option<&DatabaseConfig>, poll_interval: Duration) -> Self {
        let schema = database.and_then(|database| database.schema.as_ref());
        let shown = database.filter(|database| database.url.is_shown_whole());
        Self {
            database: database.map(|database| database.url.kind()),
            table: match schema {
                Some(schema) => format!("\"{}\".events", schema.replace('"', "\"\"")),
                None => "events".to_owned(),
            },
            database_url: shown.map(|database| database.url.to_string()),
            poll_interval,
        }
    }
}

/// What answering takes.
struct Desk {
    hub: Hub,
    console: Console,
    /// When connections may be looked at next.
    next_look: Mutex<Instant>,
}

/// The page, its files, and `/console/status` and `/console/connections`.
pub(super) fn routes(
    hub: &Hub,
    gate: &Gate,
    console: Console,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + use<> {
    let desk = Arc::new(Desk {
        hub: hub.clone(),
        console,
        next_look: Mutex::new(Instant::now()),
    });
    let status = head::get(gate, &desk, async |desk: Arc<Desk>, head| {
        Ok(private(status::answer(&desk, &head).await))
    });
    let status = warp::path!("console" / "status").and(status);
    let connections = head::get(gate, &desk, async |desk: Arc<Desk>, head| {
        Ok(private(connections::answer(&desk, &head).await))
    });
    let connections = warp::path!("console" / "connections").and(connections);
    let told = status.or(connections).unify().recover(gate::turned_away);
    page().or(told.unify()).unify()
}

/// The page for those who ask for a page, and its files for everybody: there is nothing in them that is not in every copy of
/// the program.
fn page() -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + use<> {
    let files = Arc::new(Files::new());
    let reading = || warp::get().or(warp::head()).unify();
    let embedded = Arc::clone(&files);
    let index = warp::path::end()
        .and(reading())
        .and(warp::header::headers_cloned())
        .and_then(move |headers: HeaderMap| {
            let page = files::wants_a_page(&headers).then(|| embedded.page(&headers));
            std::future::ready(page.ok_or_else(warp::reject::not_found))
        });
    let file = warp::path("console")
        .and(warp::path::param())
        .and(warp::path::end())
        .and(warp::header::headers_cloned())
        .and_then(move |name: String, headers: HeaderMap| {
            let file = files.find(&name).map(|file| file.respond(&headers));
            std::future::ready(file.ok_or_else(warp::reject::not_found))
        })
        .and(reading())
        .map(|response| response);
    // Where people look for it by its name.
    let elsewhere = warp::path!("console")
        .and(warp::path::full())
        .and(reading())
        .map(|path: warp::path::FullPath| redirect(path.as_str()));
    index.or(file).unify().or(elsewhere).unify()
}

/// An answer that is one user's, and of this moment.
fn private(answer: Result<Response, Refusal>) -> Response {
    let mut response = unkept(answer.unwrap_or_else(Refusal::respond));
    harden(response.headers_mut());
    response
}

/// What browsers are told about everything of the console: it is what its type says, and tells nobody where it was.
fn harden(headers: &mut HeaderMap) {
    const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}

/// `/console` and `/console/` → `/`, in whatever folder a proxy has put the server.
fn redirect(path: &str) -> Response {
    let to = if path.ends_with('/') { "../" } else { "./" };
    let mut response = warp::reply::with_status("", StatusCode::PERMANENT_REDIRECT).into_response();
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static(to));
    harden(headers);
    response
}
