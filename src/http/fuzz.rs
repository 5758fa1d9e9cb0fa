//! Laws of what comes over a connection, for fuzzing: the frames of a WebSocket, and the heads of requests.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tungstenite::error::Error as WsError;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::{Message, protocol::frame::coding::CloseCode};
use url::Url;
use warp::http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};

use super::marks::{Marks, Unmarked};
use super::origin::{self, OriginRule, Strictness};
use super::query::Query;
use super::{codec, peer, token, ws};
use crate::protocol::ClientFrame;

/// Limit of a message, in bytes. Small, so that short inputs go beyond it.
const MESSAGE_BYTES_MAX: usize = 300;

/// A frame of a message or a control frame is two bytes at least, and each is answered with one of its size at most.
const ANSWER_BYTES_MAX: usize = 256;

/// A socket that gives its bytes in pieces, and takes all.
struct Pieces<'a> {
    rest: &'a [u8],
    size: usize,
    /// Whether nothing has come yet since the last look.
    dry: bool,
    written: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.dry = !self.dry;
        if self.dry && !self.rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (piece, rest) = self.rest.split_at(self.size.min(self.rest.len()));
        let read = Read::read(&mut { piece }, buffer)?;
        self.rest = &self.rest[read..];
        debug_assert!(rest.len() <= self.rest.len());
        Ok(read)
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whatever bytes come, in whatever pieces: messages keep to the limit, the answers are short, and there is an end. How
/// they are cut does not decide what is in them.
pub(crate) fn codec(data: &[u8]) {
    for compression in [false, true] {
        let whole = messages(data, data.len().max(1), compression);
        for size in [1, 7, 200] {
            let found = messages(data, size, compression);
            assert_eq!(found, whole, "in pieces of {size}, {compression}");
        }
    }
}

fn messages(data: &[u8], size: usize, compression: bool) -> Vec<Message> {
    let mut marks = compression.then(Marks::default);
    let mut codec = codec::context(MESSAGE_BYTES_MAX);
    let mut wire = Pieces {
        rest: data,
        size,
        dry: false,
        written: 0,
    };
    let mut found = Vec::new();
    // Each read takes a byte, gives a message, or ends; every other one finds the wire dry.
    for _ in 0..4 * data.len() + 8 {
        let read = match &mut marks {
            None => codec.read(&mut wire),
            Some(marks) => {
                let wire = &mut wire;
                let read = codec.read(&mut Unmarked { wire, marks });
                read.and_then(|message| codec::unpacked(message, marks, &codec))
            }
        };
        match read {
            Ok(message) => {
                let bytes = message.len();
                assert!(bytes <= MESSAGE_BYTES_MAX, "a message of {bytes} bytes");
                // The codec itself writes the reason of a close whose code is none.
                let is_close = message.is_close();
                assert!(
                    is_close || compression || bytes <= data.len(),
                    "more came out than went in"
                );
                if let Message::Text(text) = &message {
                    let _ = ClientFrame::parse(text);
                }
                found.push(message);
            }
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                let reason = ws::reason(&error);
                let close = CloseFrame {
                    code: CloseCode::Protocol,
                    reason: reason.into(),
                };
                let _ = codec.close(&mut wire, Some(close));
                let answers = (found.len() + 1) * ANSWER_BYTES_MAX;
                assert!(wire.written <= answers, "{} bytes written", wire.written);
                return found;
            }
        }
    }
    panic!("the codec does not come to an end");
}

/// The first line is a query, the second a network of proxies, and the others are headers: `name: value`.
pub(crate) fn request(text: &str) {
    let mut lines = text.split('\n');
    let (query, network) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or(("x-forwarded-for", line));
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    }
    parameters(query);
    token_of(&headers, query);
    address(&headers, network);
    for line in text.split('\n') {
        if let Ok(rule) = line.parse::<OriginRule>() {
            page(&headers, rule);
        }
    }
    page(&headers, "https://app.example.com".parse().expect("a rule"));
    page(&headers, "https://*.example.com".parse().expect("a rule"));
}

fn parameters(query: &str) {
    let query = Query::parse(query);
    let _ = query.allow(&["channels", "after", "wait", "limit"]);
    for limit in [1, 4] {
        if let Ok(channels) = query.channels(limit) {
            assert!((1..=limit).contains(&channels.len()));
        }
    }
    let _ = query.since("after");
    let _ = query.has("stream");
    if let Ok(number) = query.number("limit", 100, 1000) {
        assert!((1..=1000).contains(&number));
    }
    let most = Duration::from_mins(1);
    if let Ok(duration) = query.duration("wait", most) {
        assert!(duration <= most);
    }
}

fn token_of(headers: &HeaderMap, query: &str) {
    let found = token::of_request(headers, query, Some("session"));
    let without = token::of_request(headers, query, None);
    assert!(found.as_ref().is_none_or(|token| !token.is_empty()));
    assert!(
        without.is_none() || without == found,
        "a cookie is looked at last"
    );
}

/// An address is the peer's own, or one that a trusted proxy has named.
fn address(headers: &HeaderMap, network: &str) {
    let peers: [IpAddr; 3] = [
        [10, 0, 0, 1].into(),
        [203, 0, 113, 9].into(),
        [0xfd00, 0, 0, 0, 0, 0, 0, 1].into(),
    ];
    let trusted: Vec<IpNet> = network.split(' ').filter_map(|n| n.parse().ok()).collect();
    let named: Vec<String> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
        .collect();
    for own in peers {
        assert_eq!(peer::client(own, headers, &[]), own);
        let found = peer::client(own, headers, &trusted);
        assert_eq!(found, found.to_canonical());
        if found != own {
            assert!(trusted.iter().any(|network| network.contains(&own)));
            assert!(!named.is_empty(), "{found} is of nowhere");
        }
    }
}

/// A page that passes by name is one that is listed, or the server's own.
fn page(headers: &HeaderMap, rule: OriginRule) {
    let (loopback, open) = (
        Strictness {
            loopback: true,
            own_name: true,
        },
        Strictness {
            loopback: false,
            own_name: false,
        },
    );
    let rules = [rule];
    for tls in [false, true] {
        let _ = origin::check(headers, &[&rules], loopback, tls).map_err(|why| why.to_string());
        let passed = match origin::check(headers, &[&rules], open, tls) {
            Ok(passed) => passed,
            Err(why) => {
                assert!(why.to_string().len() < 600, "{why}");
                continue;
            }
        };
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let Some(origin) = text(ORIGIN) else { continue };
        if !passed.explicit {
            continue;
        }
        let url = Url::parse(origin).expect("an origin that passes is a URL");
        let host = url.host_str().unwrap_or_default();
        let own = text(HOST).is_some_and(|own| {
            own.to_ascii_lowercase().starts_with(host) && (!tls || url.scheme() == "https")
        });
        let listed = match &rules[0] {
            OriginRule::Exact(site) => format!("{site:?}").contains(&format!("{host:?}")),
            OriginRule::Below(_) => host.contains('.'),
            OriginRule::Any | OriginRule::Null => false,
        };
        assert!(own || listed, "{origin} passes by {:?}", rules[0]);
    }
}
