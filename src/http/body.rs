//! Bodies of requests: read up to a size and within a time, whatever becomes of the rest.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tokio::time::timeout;
use warp::http::StatusCode;
use warp::http::header::{CONTENT_TYPE, HeaderMap};
use warp::reply::Response;

use super::problem;

/// Of a body that is too large, how much is read and dropped. Whoever sends on while nobody reads does not see the answer.
const DROPPED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Whether a body says that it is JSON. A form of a web page cannot.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let kind = kinds.next().and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next());
    kinds.next().is_none()
        && essence.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// The answer to a body that does not say so.
pub(super) fn not_json() -> Response {
    problem(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "content_type",
        "send `Content-Type: application/json`, and a body that is JSON",
    )
}

/// All of a body of so many bytes at most, or the answer to one that is too large, too slow, or breaks off.
pub(super) async fn read(
    body: impl Stream<Item = Result<impl warp::Buf, warp::Error>>,
    bytes_max: usize,
    longest: Duration,
) -> Result<Vec<u8>, Box<Response>> {
    match timeout(longest, collect(body, bytes_max)).await {
        Ok(Ok(Some(body))) => Ok(body),
        Ok(Ok(None)) => Err(Box::new(problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            &format!("a body has at most {bytes_max} bytes"),
        ))),
        Ok(Err(_)) => Err(Box::new(problem(
            StatusCode::BAD_REQUEST,
            "bad_request",
            "the body broke off",
        ))),
        Err(_) => Err(Box::new(problem(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "the body did not come in time",
        ))),
    }
}

/// None where it is too large.
async fn collect(
    body: impl Stream<Item = Result<impl warp::Buf, warp::Error>>,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, warp::Error> {
    let mut body = std::pin::pin!(body);
    let mut all = Vec::new();
    let mut dropped = 0;
    while let Some(piece) = body.next().await {
        let mut piece = piece?;
        if dropped > 0 || all.len() + piece.remaining() > bytes_max {
            dropped += all.len() + piece.remaining();
            all = Vec::new();
            if dropped > DROPPED_BYTES_MAX {
                break;
            }
            continue;
        }
        while piece.has_remaining() {
            let chunk = piece.chunk();
            all.extend_from_slice(chunk);
            let length = chunk.len();
            piece.advance(length);
        }
    }
    Ok((dropped == 0).then_some(all))
}
