//! Pages of which origins may use the server, and by which name: cross-site requests and rebound names are refused
//! before anything else is looked at.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use url::{Host, Origin as UrlOrigin, Url};
use warp::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN};

use crate::error::Error;

/// What browsers say about where a request comes from, where they send no origin.
const FETCH_SITE: &str = "sec-fetch-site";

/// Origins that are allowed, as an operator writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginRule {
    /// `*`: every page there is.
    Any,
    /// `null`: pages without an origin, such as files and sandboxed frames.
    Null,
    /// `https://app.example.com`.
    Exact(Site),
    /// `https://*.example.com`: every name below it.
    Below(Site),
}

/// Scheme, host and port. What URLs call a tuple origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    scheme: String,
    host: String,
    port: u16,
}

impl Site {
    fn parse(text: &str) -> Option<Self> {
        // An origin has neither path nor user, and URLs are read generously.
        let (_, rest) = text.split_once("://")?;
        if rest.is_empty() || rest.contains(['/', '?', '#', '@', '\\']) {
            return None;
        }
        match Url::parse(text).ok()?.origin() {
            UrlOrigin::Tuple(scheme, host, port) => Some(Self {
                scheme,
                host: host.to_string(),
                port,
            }),
            UrlOrigin::Opaque(_) => None,
        }
    }

    fn is_below(&self, parent: &Self) -> bool {
        let below = self.host.strip_suffix(&parent.host);
        self.scheme == parent.scheme
            && self.port == parent.port
            && below.is_some_and(|name| name.len() > 1 && name.ends_with('.'))
    }
}

impl FromStr for OriginRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = match text {
            "*" => Some(Self::Any),
            "null" => Some(Self::Null),
            _ => match text.split_once("://*.") {
                Some((scheme, parent)) => {
                    Site::parse(&format!("{scheme}://{parent}")).map(Self::Below)
                }
                None => Site::parse(text).map(Self::Exact),
            },
        };
        match rule {
            Some(Self::Below(site) | Self::Exact(site)) if site.host.contains('*') => None,
            rule => rule,
        }
        .ok_or_else(|| {
            "an origin is scheme, host and port without a path, such as https://app.example.com, https://*.example.com, \
             http://localhost:5173, * or null"
                .to_owned()
        })
    }
}

/// Reads a file of origins: one in a line, `#` begins a comment.
///
/// # Errors
/// [`Error::Config`] with the line that is wrong.
pub(crate) fn read(path: &Path) -> Result<Vec<OriginRule>, Error> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::Config(format!(
            "--allow-origin-file {shown}: {error}; it has one origin in a line"
        ))
    })?;
    let lines = text.lines().enumerate().map(|(n, line)| {
        let line = line.split('#').next().unwrap_or_default();
        (n + 1, line.trim())
    });
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(n, line)| {
            line.parse().map_err(|error| {
                Error::Config(format!(
                    "--allow-origin-file {shown}:{n}: {line:?}: {error}"
                ))
            })
        })
        .collect()
}

/// What is checked, beside the rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strictness {
    /// The server is reached from this machine only, so that pages of this machine may use it.
    pub loopback: bool,
    /// Nobody is asked for a token, so that the name by which the server is called has to be one of this machine.
    pub own_name: bool,
}

/// What an origin that may pass is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passed {
    /// It is the server's own or listed by name, so that what a browser sends unasked, as cookies, is meant.
    pub explicit: bool,
}

/// Why a request may not pass. The texts are shown to the client, and to whoever runs the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// By its origin.
    Origin(String),
    /// By the name it calls the server.
    Host(String),
    /// What it says about itself contradicts itself.
    Malformed(&'static str),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin(origin) => write!(
                f,
                "pages of {origin} may not use this server; start it with --allow-origin {origin} if they should"
            ),
            Self::Host(host) => write!(
                f,
                "this server asks nobody for a token and is for this machine only, and you called it {host:?}; start it with \
                 --allow-origin https://{host} if that is its name, or with --public"
            ),
            Self::Malformed(what) => f.write_str(what),
        }
    }
}

/// Whether a request may pass. `tls` is whether it came encrypted, where that is known.
pub(super) fn check(
    headers: &HeaderMap,
    rules: &[&[OriginRule]],
    strictness: Strictness,
    tls: bool,
) -> Result<Passed, Refused> {
    let rules = || rules.iter().copied().flatten();
    let host = only(headers, &HOST, "Host is there twice")?;
    // A proxy before us may have looked at the other.
    if headers.get_all(&AUTHORIZATION).iter().nth(1).is_some() {
        return Err(Refused::Malformed("Authorization is there twice"));
    }
    if strictness.own_name
        && let Some(host) = host
    {
        let (name, port) = split_port(host);
        let is_listed = rules().any(|rule| match rule {
            OriginRule::Exact(site) => {
                site.host.eq_ignore_ascii_case(name) && port.is_none_or(|port| port == site.port)
            }
            OriginRule::Any | OriginRule::Null | OriginRule::Below(_) => false,
        });
        if !is_loopback(name) && !is_listed {
            return Err(Refused::Host(shown(host)));
        }
    }
    let Some(origin) = only(headers, &ORIGIN, "Origin is there twice")? else {
        // Browsers send none when a page reads from its own server, and neither when it only embeds something of
        // another, but then they say so.
        let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
        let explicit = !matches!(site, Some(b"cross-site" | b"same-site"));
        return Ok(Passed { explicit });
    };
    if origin == "null" {
        let allowed = rules().any(|rule| matches!(rule, OriginRule::Null | OriginRule::Any));
        return allowed
            .then_some(Passed { explicit: false })
            .ok_or_else(|| Refused::Origin("null".into()));
    }
    let Some(site) = Site::parse(origin) else {
        return Err(Refused::Malformed("Origin is not an origin"));
    };
    let listed = rules().any(|rule| match rule {
        OriginRule::Exact(known) => *known == site,
        OriginRule::Below(parent) => site.is_below(parent),
        OriginRule::Any | OriginRule::Null => false,
    });
    if listed || host.is_some_and(|host| is_same(&site, host, tls)) {
        return Ok(Passed { explicit: true });
    }
    let any = rules().any(|rule| *rule == OriginRule::Any);
    if any || (strictness.loopback && is_loopback(&site.host)) {
        return Ok(Passed { explicit: false });
    }
    Err(Refused::Origin(shown(origin)))
}

/// The value of a header that may be there once. One that is not text is none of anybody's.
fn only<'a>(
    headers: &'a HeaderMap,
    name: &warp::http::header::HeaderName,
    twice: &'static str,
) -> Result<Option<&'a str>, Refused> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Refused::Malformed(twice));
    }
    match value.map(|value| value.to_str()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(Refused::Malformed("Host and Origin are ASCII")),
    }
}

/// Whether the page is of the server that it was sent to. A port that is left out is the scheme's, and the scheme of a
/// request is known only where the server itself speaks TLS: a proxy may.
fn is_same(site: &Site, host: &str, tls: bool) -> bool {
    let (name, port) = split_port(host);
    let scheme_port = match site.scheme.as_str() {
        "https" => 443,
        "http" => 80,
        _ => return false,
    };
    let port = match port {
        Some(port) => port,
        None if tls => 443,
        None => scheme_port,
    };
    (!tls || site.scheme == "https") && site.host.eq_ignore_ascii_case(name) && site.port == port
}

/// `name:port` → both; the port of `[::1]` is behind the bracket.
pub(super) fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') && !name.is_empty() => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (host, None),
        },
        _ => (host, None),
    }
}

pub(super) fn is_loopback(name: &str) -> bool {
    // Browsers send all names below localhost to this machine, whatever a resolver says.
    let name = name.to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    match Host::parse(&name) {
        Ok(Host::Ipv4(ip)) => ip.is_loopback(),
        Ok(Host::Ipv6(ip)) => IpAddr::from(ip).to_canonical().is_loopback(),
        _ => false,
    }
}

/// At most so much of what a client says is said back.
fn shown(text: &str) -> String {
    const SHOWN_BYTES_MAX: usize = 200;
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Strictness = Strictness {
        loopback: false,
        own_name: false,
    };
    const LOCAL: Strictness = Strictness {
        loopback: true,
        own_name: true,
    };

    fn rules(texts: &[&str]) -> Vec<OriginRule> {
        texts
            .iter()
            .map(|text| text.parse().expect("a rule"))
            .collect()
    }

    fn ask(
        lines: &[(&'static str, &str)],
        allowed: &[&str],
        strictness: Strictness,
    ) -> Result<bool, Refused> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        check(&headers, &[&rules(allowed)], strictness, false).map(|passed| passed.explicit)
    }

    #[test]
    fn the_servers_own_pages_and_listed_ones_may_use_it() {
        let listed = &["https://app.example.com", "https://*.example.org"][..];
        for (host, origin, outcome) in [
            ("feed.example.net", "https://feed.example.net", Some(true)),
            (
                "feed.example.net:443",
                "https://feed.example.net",
                Some(true),
            ),
            (
                "FEED.example.net",
                "https://feed.example.net:443",
                Some(true),
            ),
            (
                "feed.example.net:8443",
                "https://feed.example.net:8443",
                Some(true),
            ),
            ("feed.example.net:8443", "https://feed.example.net", None),
            (
                "feed.example.net",
                "https://feed.example.net.evil.com",
                None,
            ),
            ("feed.example.net", "https://app.example.com", Some(true)),
            ("feed.example.net", "http://app.example.com", None),
            ("feed.example.net", "https://app.example.com:8443", None),
            ("feed.example.net", "https://a.example.org", Some(true)),
            ("feed.example.net", "https://a.b.example.org", Some(true)),
            ("feed.example.net", "https://example.org", None),
            ("feed.example.net", "https://evilexample.org", None),
            ("feed.example.net", "https://example.org.evil.com", None),
            ("feed.example.net", "https://.example.org", None),
            ("feed.example.net", "null", None),
            ("feed.example.net", "http://localhost:5173", None),
            ("feed.example.net", "https://app.example.com/", None),
            ("feed.example.net", "https://app.example.com@evil.com", None),
            ("feed.example.net", "https://evil.com\\.example.org", None),
            ("feed.example.net", "", None),
            ("feed.example.net", "file://", None),
            (
                "[2001:db8::1]:3001",
                "http://[2001:db8::1]:3001",
                Some(true),
            ),
        ] {
            let answer = ask(&[("host", host), ("origin", origin)], listed, OPEN);
            assert_eq!(answer.ok(), outcome, "{origin} at {host}");
        }
    }

    #[test]
    fn everybody_and_nobody_can_be_listed_but_are_not_trusted_with_cookies() {
        let at =
            |origin, allowed: &[&str]| ask(&[("host", "x"), ("origin", origin)], allowed, OPEN);
        assert_eq!(at("https://a.b", &["*"]), Ok(false));
        assert_eq!(at("https://a.b", &["*", "https://a.b"]), Ok(true));
        assert_eq!(at("null", &["null"]), Ok(false));
        assert_eq!(at("null", &["*"]), Ok(false));
        assert!(at("https://a.b", &["null"]).is_err());
    }

    #[test]
    fn no_origin_is_no_browser_or_the_servers_own_page() {
        assert_eq!(ask(&[("host", "x")], &[], OPEN), Ok(true));
        for (site, explicit) in [
            ("cross-site", false),
            ("same-site", false),
            ("same-origin", true),
            ("none", true),
        ] {
            let lines = [("host", "x"), ("sec-fetch-site", site)];
            assert_eq!(ask(&lines, &[], OPEN), Ok(explicit), "{site}");
        }
    }

    #[test]
    fn a_server_for_this_machine_is_called_by_a_name_of_this_machine() {
        for (host, passes) in [
            ("localhost:3001", true),
            ("LOCALHOST", true),
            ("app.localhost:3001", true),
            ("127.0.0.1:3001", true),
            ("127.9.9.9", true),
            ("[::1]:3001", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]:3001", true),
            ("evil.com", false),
            ("evil.com:3001", false),
            ("localhost.evil.com", false),
            ("127.0.0.1.evil.com:3001", false),
            ("notlocalhost", false),
            ("192.168.1.1", false),
            ("0.0.0.0:3001", false),
            ("", false),
            ("feed.example.com", true),
            ("feed.example.com:443", true),
            ("feed.example.com:80", false),
        ] {
            let answer = ask(&[("host", host)], &["https://feed.example.com", "*"], LOCAL);
            assert_eq!(answer.is_ok(), passes, "{host}: {answer:?}");
        }
        // A page of a rebound name is of the same origin, and refused all the same.
        let rebound = [
            ("host", "evil.com:3001"),
            ("origin", "http://evil.com:3001"),
        ];
        assert!(matches!(ask(&rebound, &[], LOCAL), Err(Refused::Host(_))));
        for (origin, passes) in [
            ("http://localhost:5173", true),
            ("http://127.0.0.1:5173", true),
            ("http://[::1]:5173", true),
            ("https://evil.com", false),
            ("http://localhost.evil.com", false),
        ] {
            let answer = ask(
                &[("host", "localhost:3001"), ("origin", origin)],
                &[],
                LOCAL,
            );
            assert_eq!(answer.ok(), passes.then_some(false), "{origin}");
        }
    }

    #[test]
    fn a_contradiction_is_refused() {
        for name in ["host", "origin"] {
            let lines = [(name, "http://a.b"), (name, "http://a.c")];
            assert!(matches!(
                ask(&lines, &["*"], OPEN),
                Err(Refused::Malformed(_))
            ));
        }
    }

    #[test]
    fn who_speaks_tls_knows_the_scheme() {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("a.b"));
        headers.insert("origin", HeaderValue::from_static("http://a.b"));
        assert!(check(&headers, &[], OPEN, true).is_err());
        assert!(check(&headers, &[], OPEN, false).is_ok());
    }

    #[test]
    fn rules_out_of_rule_say_how() {
        for bad in [
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://a b",
            "https://*",
            "https://*.",
            "https://a.*.com",
            "https://*.*.com",
            "*.example.com",
            "",
            "file:///x",
            "https://user@a.b",
        ] {
            let error = bad.parse::<OriginRule>().expect_err(bad);
            assert!(error.contains("https://app.example.com"), "{error}");
        }
    }
}
