//! Where a request may carry its token, and the answer to one that carries none that is accepted.

use warp::http::StatusCode;
use warp::http::header::{
    AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE,
};
use warp::reply::Response;

use super::problem;
use crate::auth::AuthError;

/// The parameter of a URL that has a token. URLs end up in logs of others, so every other way is better.
pub(super) const PARAMETER: &str = "token";

/// The subprotocol of the WebSocket that rowcast speaks.
pub(super) const SUBPROTOCOL: &str = "rowcast.v1";

/// What a subprotocol begins with that is a token. The constructor of a browser's WebSocket takes subprotocols, and no
/// headers.
const SUBPROTOCOL_PREFIX: &str = "rowcast.bearer.";

/// The token of a request: from `Authorization`, else a subprotocol, else the URL, else the cookie of this name.
pub(super) fn of_request(headers: &HeaderMap, query: &str, cookie: Option<&str>) -> Option<String> {
    bearer(headers)
        .or_else(|| subprotocols(headers).find_map(|name| name.strip_prefix(SUBPROTOCOL_PREFIX)))
        .map(str::to_owned)
        .or_else(|| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            let (_, token) = pairs.find(|(name, _)| name == PARAMETER)?;
            Some(token.into_owned())
        })
        .or_else(|| of_cookie(headers, cookie?))
        .filter(|token| !token.is_empty())
}

/// The subprotocols that a client offers.
pub(super) fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

fn of_cookie(headers: &HeaderMap, wanted: &str) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == wanted)
        .map(|(_, token)| token.trim_matches('"').to_owned())
}

/// The answer to a request that is not let in (RFC 6750, section 3).
pub(super) fn refuse(error: &AuthError) -> Response {
    let message = error.to_string();
    if *error == AuthError::Unavailable {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &message);
    }
    let mut response = problem(StatusCode::UNAUTHORIZED, "unauthorized", &message);
    let challenge = match error {
        AuthError::Missing => "Bearer realm=\"rowcast\"",
        AuthError::Expired => {
            "Bearer realm=\"rowcast\", error=\"invalid_token\", error_description=\"expired\""
        }
        _ => "Bearer realm=\"rowcast\", error=\"invalid_token\"",
    };
    let challenge = HeaderValue::from_static(challenge);
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(headers: &[(&'static str, &'static str)], query: &str) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        of_request(&map, query, Some("session"))
    }

    #[test]
    fn a_token_is_found_wherever_it_may_be() {
        let text = |token: &str| Some(token.to_owned());
        assert_eq!(
            found(&[("authorization", "Bearer a.b.c")], ""),
            text("a.b.c")
        );
        assert_eq!(
            found(&[("authorization", "bearer  a.b.c ")], ""),
            text("a.b.c")
        );
        let offered = ("sec-websocket-protocol", "rowcast.v1, rowcast.bearer.a.b.c");
        assert_eq!(found(&[offered], ""), text("a.b.c"));
        assert_eq!(found(&[], "channels=x&token=a%2Eb.c"), text("a.b.c"));
        let cookies = ("cookie", "theme=dark; session=a.b.c; x=y");
        assert_eq!(found(&[cookies], ""), text("a.b.c"));
        let quoted = ("cookie", "session=\"a.b.c\"");
        assert_eq!(found(&[quoted], ""), text("a.b.c"));
        // What is sent on purpose comes before what a browser sends by itself.
        assert_eq!(
            found(&[cookies, ("authorization", "Bearer d")], "token=e"),
            text("d")
        );
        assert_eq!(found(&[cookies], "token=e"), text("e"));
    }

    #[test]
    fn what_is_no_token_is_none() {
        assert_eq!(found(&[], ""), None);
        assert_eq!(found(&[], "token="), None);
        assert_eq!(found(&[("authorization", "Basic YTpi")], ""), None);
        assert_eq!(found(&[("authorization", "Bearer")], ""), None);
        assert_eq!(found(&[("cookie", "other=a; asession=b")], ""), None);
        assert_eq!(found(&[("sec-websocket-protocol", "graphql-ws")], ""), None);
    }
}
