//! The opening handshake (RFC 6455, section 4.2). We answer it ourselves, because warp's own WebSocket allocates
//! 128 KiB for every connection; what follows the handshake is in `ws.rs`.

use std::sync::Arc;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade;
use tokio::net::TcpStream;
use tungstenite::handshake::derive_accept_key;
use warp::http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::endpoint::{Endpoint, Endpoints};
use super::extension::{self, Malformed};
use super::gate::Admission;
use super::query::{Refusal, raw_query};
use super::token;
use super::{Gate, problem, ws};
use crate::hub::Hub;
use crate::limits::Place;
use crate::session::{Entrance, Terms};

/// The only version there is.
const VERSION: &str = "13";

/// Answers a handshake and starts the session.
pub(super) fn route(
    hub: Hub,
    gate: &Gate,
    endpoints: &Endpoints,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    let gate = gate.clone();
    let shapes = hub.shapes();
    let plain = [
        Some(shapes.web_socket()),
        shapes.deflated(shapes.web_socket()),
    ];
    let plain: Arc<[_]> = plain
        .into_iter()
        .flatten()
        .map(|shape| Arc::new(Terms::plain(shape)))
        .collect();
    let endpoints = endpoints.clone();
    let found = warp::path::full().and_then(move |path: FullPath| {
        let found = endpoints.find(path.as_str());
        let found = found.map(|(endpoint, values)| (Arc::clone(endpoint), values));
        std::future::ready(found.ok_or_else(warp::reject::not_found))
    });
    found
        .and(warp::get())
        .and(gate.admission())
        .and(warp::header::headers_cloned())
        .and(raw_query())
        .and(warp::ext::optional::<OnUpgrade>())
        .then(
            move |(endpoint, values): (Arc<Endpoint>, Vec<String>),
                  admission: Admission,
                  headers: HeaderMap,
                  query: String,
                  upgrade: Option<OnUpgrade>| {
                let (hub, gate, plain) = (hub.clone(), gate.clone(), Arc::clone(&plain));
                async move {
                    let door = Door {
                        hub: &hub,
                        gate: &gate,
                        endpoint: &endpoint,
                        plain: &plain,
                    };
                    let answering = door.answer(values, &admission, &headers, &query, upgrade);
                    let mut response = answering.await;
                    admission.mark(response.headers_mut());
                    response
                }
            },
        )
}

/// Where a client has come to.
struct Door<'a> {
    hub: &'a Hub,
    gate: &'a Gate,
    endpoint: &'a Endpoint,
    /// The terms of clients of the default protocol, who ask for everything themselves: as it is, and compressed.
    plain: &'a [Arc<Terms>],
}

impl Door<'_> {
    async fn answer(
        &self,
        values: Vec<String>,
        admission: &Admission,
        headers: &HeaderMap,
        query: &str,
        upgrade: Option<OnUpgrade>,
    ) -> Response {
        let (true, true, Some(upgrade)) = (
            lists(headers, &UPGRADE, "websocket"),
            lists(headers, &CONNECTION, "upgrade"),
            upgrade,
        ) else {
            return upgrade_required(
                "this is a WebSocket endpoint: connect with new WebSocket(\"ws://…/ws\") or `rowcast tail`",
            );
        };
        if headers
            .get(SEC_WEBSOCKET_VERSION)
            .is_none_or(|version| version != VERSION)
        {
            return upgrade_required("Sec-WebSocket-Version must be 13");
        }
        let Some(key) = headers.get(SEC_WEBSOCKET_KEY).filter(|key| is_nonce(key)) else {
            return problem(
                StatusCode::BAD_REQUEST,
                "bad_request",
                "Sec-WebSocket-Key must be 16 bytes in base64",
            );
        };
        let accept = derive_accept_key(key.as_bytes());
        let extension = match self.extension(headers) {
            Ok(extension) => extension,
            Err(Malformed) => {
                return problem(
                    StatusCode::BAD_REQUEST,
                    "bad_request",
                    "Sec-WebSocket-Extensions is no list of extensions (RFC 6455, section 9.1)",
                );
            }
        };
        let (protocol, terms) = match self.terms(values, headers, query, extension.is_some()) {
            Ok(chosen) => chosen,
            Err(refusal) => return refusal.respond(),
        };
        // A browser cannot read why a handshake was refused: it succeeds, and the connection is closed with a reason.
        let entrance = self
            .gate
            .entrance(admission, headers, query, self.endpoint, terms)
            .await;
        let place = admission.place();
        let hub = self.hub.clone();
        tokio::spawn(async move {
            match upgrade.await {
                // In a task of its own: this one holds hyper's state until it ends, twice what a session needs.
                Ok(upgraded) => start(hub, entrance, place, upgraded),
                Err(error) => tracing::debug!(%error, "a client went away during the handshake"),
            }
        });
        let mut response = HttpResponse::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(UPGRADE, "websocket")
            .header(CONNECTION, "Upgrade")
            .header(SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(protocol) = protocol {
            response = response.header(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        if let Some(extension) = extension {
            response = response.header(SEC_WEBSOCKET_EXTENSIONS, extension);
        }
        response
            .body("")
            .map(warp::reply::Reply::into_response)
            .expect("the header is base64, or a name")
    }

    /// What is answered to extensions that are offered, where there are any.
    fn extension(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Malformed> {
        if self.hub.options().compression {
            extension::accept(headers)
        } else {
            Ok(None)
        }
    }

    /// The subprotocol to speak, and the terms. A browser that offers some gives up if none of them is taken, and one that
    /// is a token must not come back in an answer.
    fn terms<'h>(
        &self,
        values: Vec<String>,
        headers: &'h HeaderMap,
        query: &str,
        is_deflated: bool,
    ) -> Result<(Option<&'h str>, Arc<Terms>), Refusal> {
        let shapes = self.hub.shapes();
        let mut offered = token::subprotocols(headers).peekable();
        let is_offered = offered.peek().is_some();
        let shape_of = |name: &str| match name.strip_prefix("rowcast.") {
            Some(_) if name == token::SUBPROTOCOL => Some(shapes.web_socket()),
            Some(preset) => shapes.of_preset(preset),
            None => shapes.of_subprotocol(name),
        };
        let chosen = offered.find_map(|name| Some((name, shape_of(name)?)));
        let own = shapes.of_preset(&self.endpoint.preset);
        let (protocol, shape) = match chosen {
            Some((name, shape)) => (Some(name), shape),
            // The endpoints were checked against the presets.
            None if !is_offered => (None, own.unwrap_or(shapes.web_socket())),
            None => {
                let text = "the subprotocol here is rowcast.v1, or that of a preset: offer it, beside one with a token if there \
                            is one, or offer none";
                return Err(problem(StatusCode::BAD_REQUEST, "unknown_subprotocol", text).into());
            }
        };
        let is_plain = self.endpoint.is_plain() && shape == shapes.web_socket();
        // Every WebSocket has it where compression is on.
        let deflated = shapes.deflated(shape).filter(|_| is_deflated);
        let shape = deflated.unwrap_or(shape);
        if is_plain && let Some(plain) = self.plain.iter().find(|terms| terms.shape == *shape) {
            return Ok((protocol, Arc::clone(plain)));
        }
        let channels_max = self.hub.options().subscriptions_max;
        let terms = self.endpoint.terms(values, shape, query, channels_max)?;
        Ok((protocol, Arc::new(terms)))
    }
}

/// Takes the TCP stream back from hyper, so that frames are written straight to it. Whatever else the stream is (TLS,
/// in an application that mounts our routes) is served by a slower path.
fn start(hub: Hub, entrance: Entrance, place: Option<Arc<Place>>, upgraded: Upgraded) {
    // As our own server has it, and as warp's has it, in an application that mounts our routes.
    let tcp = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map(|parts| (parts.io.into_inner(), parts.read_buf))
        .or_else(|upgraded: Upgraded| {
            let parts = upgrade::downcast::<TokioIo<TcpStream>>(upgraded)?;
            Ok::<_, Upgraded>((parts.io.into_inner(), parts.read_buf))
        });
    match tcp {
        Ok((stream, early)) => {
            tokio::spawn(ws::serve_tcp(hub, entrance, place, stream, early));
        }
        Err(upgraded) => {
            let stream = TokioIo::new(upgraded);
            tokio::spawn(ws::serve_stream(hub, entrance, place, stream));
        }
    }
}

fn upgrade_required(message: &str) -> Response {
    let mut response = problem(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message);
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
    response
}

/// Whether a header's comma-separated lists have this word, in whatever case.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(word))
}

fn is_nonce(key: &HeaderValue) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(key)
        .is_ok_and(|nonce| nonce.len() == 16)
}
