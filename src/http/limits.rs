//! What a client is told over HTTP for whom a limit leaves no room.

use warp::http::StatusCode;
use warp::http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use warp::reply::Response;

use super::problem;
use crate::limits::{Limit, OverLimit};

/// The answer, with the numbers in headers, too.
pub(super) fn respond(over: &OverLimit) -> Response {
    let status = match over.limit {
        Limit::Server => StatusCode::SERVICE_UNAVAILABLE,
        Limit::Address | Limit::User | Limit::AuthFailures | Limit::Publishes => {
            StatusCode::TOO_MANY_REQUESTS
        }
    };
    let mut response = problem(status, over.code(), &over.message());
    let headers = response.headers_mut();
    let seconds = HeaderValue::from(over.retry_after_seconds());
    if over.limit != Limit::Server {
        let mut set = |name, value| headers.insert(HeaderName::from_static(name), value);
        set("ratelimit-limit", HeaderValue::from(over.max));
        set("ratelimit-remaining", HeaderValue::from(0));
        set("ratelimit-reset", seconds.clone());
    }
    headers.insert(RETRY_AFTER, seconds);
    response
}
