//! The opening handshake (RFC 6455, section 4.2). We answer it ourselves, because warp's own WebSocket allocates
//! 128 KiB for every connection; what follows the handshake is in `ws.rs`.

use std::sync::Arc;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade;
use tokio::net::TcpStream;
use tungstenite::handshake::derive_accept_key;
use warp::http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::gate::Admission;
use super::query::raw_query;
use super::token;
use super::{Gate, problem, ws};
use crate::hub::Hub;
use crate::limits::Place;
use crate::session::Entrance;

/// The only version there is.
const VERSION: &str = "13";

/// Answers a handshake and starts the session.
pub(super) fn route(
    hub: Hub,
    gate: &Gate,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    let gate = gate.clone();
    warp::get()
        .and(gate.admission())
        .and(warp::header::headers_cloned())
        .and(raw_query())
        .and(warp::ext::optional::<OnUpgrade>())
        .then(
            move |admission: Admission,
                  headers: HeaderMap,
                  query: String,
                  upgrade: Option<OnUpgrade>| {
                let (hub, gate) = (hub.clone(), gate.clone());
                async move { answer(hub, &gate, &admission, &headers, &query, upgrade).await }
            },
        )
}

async fn answer(
    hub: Hub,
    gate: &Gate,
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
    let protocol = match subprotocol(headers) {
        Ok(protocol) => protocol,
        Err(refusal) => return *refusal,
    };
    // A browser cannot read why a handshake was refused: it succeeds, and the connection is closed with a reason.
    let entrance = gate.entrance(admission, headers, query).await;
    let place = admission.place();
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
    response
        .body("")
        .map(warp::reply::Reply::into_response)
        .expect("the header is base64")
}

/// The subprotocol to speak. A browser that offers some gives up if none of them is taken, and one that is a token must
/// not come back in an answer.
fn subprotocol(headers: &HeaderMap) -> Result<Option<&'static str>, Box<Response>> {
    let mut offered = token::subprotocols(headers).peekable();
    if offered.peek().is_none() {
        return Ok(None);
    }
    if offered.any(|name| name == token::SUBPROTOCOL) {
        return Ok(Some(token::SUBPROTOCOL));
    }
    Err(Box::new(problem(
        StatusCode::BAD_REQUEST,
        "unknown_subprotocol",
        "the subprotocol here is rowcast.v1: offer it, beside one with a token if there is one, or offer none",
    )))
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
