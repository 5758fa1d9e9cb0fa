//! Who may speak to the administration: whoever is on this machine and no web page, or whoever has the token.

use std::net::IpAddr;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;
use warp::http::header::{
    AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, WWW_AUTHENTICATE,
};
use warp::http::uri::Authority;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::http::{body, problem};

/// Browsers say with it whose page it is that sends a request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what may not be answered.
pub(super) struct Guard {
    /// Without one whoever reaches the listener is let in, which only this machine does.
    pub token: Option<Arc<[u8]>>,
}

impl Guard {
    /// The answer to a request that is refused.
    pub fn refuse(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
        // A browser takes pages of others to this machine's ports.
        let site = headers.get(SEC_FETCH_SITE);
        let is_own = |site: &HeaderValue| site == "none" || site == "same-origin";
        if headers.contains_key(ORIGIN) || site.is_some_and(|site| !is_own(site)) {
            return Some(problem(
                StatusCode::FORBIDDEN,
                "origin",
                "web pages may not use the administration; send the request without an Origin header, from a program",
            ));
        }
        if self.token.is_none() && !headers.get(HOST).is_some_and(is_host_of_this_machine) {
            return Some(problem(
                StatusCode::FORBIDDEN,
                "host",
                "the Host header must be an IP address or localhost, as a name may be anybody's; with --admin-token any is taken",
            ));
        }
        // Whoever watches over the process asks this alone, and learns nothing else.
        if path != "/healthz" && !self.is_let_in(headers) {
            let mut response = problem(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "send the token of --admin-token as `Authorization: Bearer …`",
            );
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Some(response);
        }
        // A form of a web page cannot be of this type.
        if method == Method::POST && !body::is_json(headers) {
            return Some(body::not_json());
        }
        None
    }

    fn is_let_in(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let Some((scheme, given)) = headers
            .get(AUTHORIZATION)
            .and_then(|header| header.to_str().ok())
            .and_then(|header| header.split_once(' '))
        else {
            return false;
        };
        // How long it takes tells the length of the token at most.
        scheme.eq_ignore_ascii_case("bearer") && bool::from(given.trim().as_bytes().ct_eq(token))
    }
}

/// A page that has its own name point here (DNS rebinding) has that name in its requests.
fn is_host_of_this_machine(host: &HeaderValue) -> bool {
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let name = authority.host();
    // The parser takes more than a name and a port.
    let is_whole = match authority.as_str().strip_prefix(name) {
        Some("") => true,
        Some(port) => port.starts_with(':') && authority.port().is_some(),
        None => false,
    };
    if !is_whole {
        return false;
    }
    let name = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}
