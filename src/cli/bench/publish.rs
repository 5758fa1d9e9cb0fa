//! Where numbered events go: into a table by SQL, or to a server by POST, over one connection and in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use super::dialect::{Many, PublishSpec, Values};
use super::target::resolve;
use crate::error::Error;
use crate::event::{Channels, NewEvent};
use crate::source::Insert;

/// A server that does not answer is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Most events of one transaction or request.
const EVENTS_MAX: usize = 1000;

/// Largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The type of the events.
pub(super) const KIND: &str = "rowcast.bench";

/// Numbered events, in order: the nth is on channel n modulo the number of channels.
pub(super) struct Publisher {
    to: To,
    names: Arc<[String]>,
    payload_bytes: usize,
    next: u64,
}

enum To {
    Sql(Arc<dyn Insert>),
    Http(Box<Http>),
}

/// When a number of events was on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Published {
    /// SQL: the answer to COMMIT came. HTTP: the request began to be sent, as a server may give events to clients before
    /// it answers.
    pub at: Instant,
}

impl Publisher {
    pub(super) fn sql(insert: Arc<dyn Insert>, names: Arc<[String]>, payload_bytes: usize) -> Self {
        Self::new(To::Sql(insert), names, payload_bytes)
    }

    /// By POST. The port is that of a server that was started here.
    pub(super) fn http(
        spec: &PublishSpec,
        port: u16,
        names: Arc<[String]>,
        payload_bytes: usize,
    ) -> Result<Self, Error> {
        let http = Http::new(spec, port)?;
        Ok(Self::new(To::Http(Box::new(http)), names, payload_bytes))
    }

    fn new(to: To, names: Arc<[String]>, payload_bytes: usize) -> Self {
        Self {
            to,
            names,
            payload_bytes,
            next: 0,
        }
    }

    /// Whether events count from when they begin to be sent, and not from when they are answered.
    pub(super) fn counts_from_request(&self) -> bool {
        matches!(self.to, To::Http(_))
    }

    /// The number of the next event.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Publishes so many events, in as few transactions or requests as can be.
    pub(super) async fn publish(&mut self, count: usize) -> Result<Published, Error> {
        let first = self.next;
        self.next += count as u64;
        let mut at = Instant::now();
        let numbers: Vec<_> = (first..self.next).collect();
        // What is committed at once is sent at once: a round is not cut without need.
        let size = match &self.to {
            To::Sql(_) => count.max(1),
            To::Http(_) => EVENTS_MAX,
        };
        for numbers in numbers.chunks(size) {
            let channels = self.names.len() as u64;
            let events = numbers.iter().map(|&number| {
                let name = &*self.names[(number % channels) as usize];
                (name, payload(number, self.payload_bytes))
            });
            at = match &mut self.to {
                To::Sql(insert) => {
                    let events: Vec<_> = events.map(|(name, json)| event(name, json)).collect();
                    insert.insert(&events).await.map_err(Error::from)?;
                    Instant::now()
                }
                To::Http(http) => {
                    let events: Vec<_> = events.collect();
                    timeout(ANSWER_TIMEOUT, http.post(&events))
                        .await
                        .unwrap_or(Err(Error::Timeout {
                            doing: "publish events",
                            seconds: ANSWER_TIMEOUT.as_secs(),
                        }))?
                }
            };
        }
        Ok(Published { at })
    }
}

fn event(channel: &str, json: String) -> NewEvent {
    NewEvent::new(
        Channels::parse(channel).expect("a prefix, digits and a dash are a channel"),
        KIND,
        RawValue::from_string(json).expect("a number and a text are JSON"),
    )
}

/// The number first, and then as many bytes as are left.
pub(super) fn payload(number: u64, bytes: usize) -> String {
    let head = format!("{{\"n\":{number},\"text\":\"");
    let rest = bytes.saturating_sub(head.len() + 2);
    format!("{head}{}\"}}", "x".repeat(rest))
}

/// A connection that requests are sent over, one behind the other without waiting: answers come in order.
struct Http {
    spec: PublishSpec,
    url: String,
    port: u16,
    head: String,
    address: std::net::SocketAddr,
    stream: Option<TcpStream>,
    answers: Answers,
}

impl Http {
    fn new(spec: &PublishSpec, port: u16) -> Result<Self, Error> {
        let text = spec.url.replace("{port}", &port.to_string());
        let wrong = |why: &str| Error::Config(format!("the URL to publish to: {why}"));
        let url = Url::parse(&text).map_err(|error| wrong(&error.to_string()))?;
        if url.scheme() != "http" {
            return Err(wrong(
                "it begins with http://; the benchmark does not speak TLS",
            ));
        }
        let address = resolve(&url).map_err(|why| wrong(&why))?;
        // Not from the URL that was read: the braces of a channel would be escaped there.
        let (_, rest) = text.split_once("://").unwrap_or_default();
        let path_start = rest.find('/');
        let path = path_start.map_or("/", |start| &rest[start..]).to_owned();
        let host = &rest[..path_start.unwrap_or(rest.len())];
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let mut head = format!("Host: {host}\r\n");
        for (name, value) in &spec.headers {
            if [name, value].iter().any(|text| text.contains(['\r', '\n'])) {
                return Err(wrong("a header has one line"));
            }
            head.extend([name, ": ", value, "\r\n"]);
        }
        Ok(Self {
            spec: spec.clone(),
            url: path,
            port,
            head,
            address,
            stream: None,
            answers: Answers::default(),
        })
    }

    /// Sends all, and waits until all are answered. When it began to.
    async fn post(&mut self, events: &[(&str, String)]) -> Result<Instant, Error> {
        let (requests, count) = self.requests(events);
        let failed = |source| Error::Io {
            doing: "publish events".into(),
            source,
        };
        let fresh = self.stream.is_none();
        let sent = match self.exchange(&requests, count).await {
            // A server may close a connection on which nothing was said for a while. Nothing is sent twice: it had read
            // nothing.
            Err(error) if !fresh && self.answers.heard == 0 && is_cut(&error) => {
                self.stream = None;
                self.exchange(&requests, count).await
            }
            sent => sent,
        };
        sent.map_err(failed)
    }

    async fn exchange(&mut self, requests: &[u8], count: usize) -> std::io::Result<Instant> {
        self.answers = Answers::default();
        let mut stream = if let Some(stream) = self.stream.take() {
            stream
        } else {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            stream
        };
        let begun = Instant::now();
        let (mut reader, mut writer) = stream.split();
        let write = writer.write_all(requests);
        let answers = &mut self.answers;
        let read = async {
            let mut buffer = vec![0; 64 * 1024];
            while answers.count < count {
                let length = reader.read(&mut buffer).await?;
                if length == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                answers
                    .take(&buffer[..length])
                    .map_err(std::io::Error::other)?;
            }
            Ok(())
        };
        tokio::try_join!(write, read)?;
        if !self.answers.ends {
            self.stream = Some(stream);
        }
        Ok(begun)
    }

    /// All requests in one piece, and how many they are.
    fn requests(&self, events: &[(&str, String)]) -> (Vec<u8>, usize) {
        let mut bytes = Vec::new();
        match self.spec.many {
            None => {
                for (channel, payload) in events {
                    let values = Values {
                        port: self.port,
                        channel,
                        payload,
                        ..Values::default()
                    };
                    let path = values.fill(&self.url);
                    self.push_request(&mut bytes, &path, "", &values.fill(&self.spec.body));
                }
                (bytes, events.len())
            }
            Some(Many::Lines) => {
                let lines = events.iter().map(|(name, json)| format!("{name} {json}\n"));
                let body: String = lines.collect();
                self.push_request(&mut bytes, &self.url, "", &body);
                (bytes, 1)
            }
            Some(Many::Rowcast) => {
                let events = events.iter().map(|(name, payload)| {
                    let payload = RawValue::from_string(payload.clone()).ok();
                    json!({ "channel": name, "type": KIND, "payload": payload })
                });
                let body = json!({ "events": events.collect::<Vec<_>>() }).to_string();
                let kind = "Content-Type: application/json\r\n";
                self.push_request(&mut bytes, &self.url, kind, &body);
                (bytes, 1)
            }
        }
    }

    fn push_request(&self, to: &mut Vec<u8>, path: &str, head: &str, body: &str) {
        let length = body.len();
        let own = &self.head;
        to.extend(
            format!("POST {path} HTTP/1.1\r\n{own}{head}Content-Length: {length}\r\n\r\n{body}")
                .as_bytes(),
        );
    }
}

fn is_cut(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    [
        BrokenPipe,
        ConnectionAborted,
        ConnectionReset,
        UnexpectedEof,
    ]
    .contains(&error.kind())
}

/// Answers of a server to POST, as they come in pieces.
#[derive(Default)]
struct Answers {
    rest: Vec<u8>,
    /// How many came whole.
    count: usize,
    /// Bytes that came at all.
    heard: usize,
    /// The server closes the connection behind the last.
    ends: bool,
}

impl Answers {
    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.heard += bytes.len();
        self.rest.extend(bytes);
        while let Some(length) = self.first()? {
            self.rest.drain(..length);
            self.count += 1;
        }
        Ok(())
    }

    /// The length of the first answer, if it is all there.
    fn first(&mut self) -> Result<Option<usize>, String> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut answer = httparse::Response::new(&mut headers);
        let parsed = answer
            .parse(&self.rest)
            .map_err(|error| format!("the server's answer is no HTTP: {error}"))?;
        let httparse::Status::Complete(head) = parsed else {
            if self.rest.len() > HEAD_BYTES_MAX {
                return Err("the head of the server's answer is longer than 16 KiB".into());
            }
            return Ok(None);
        };
        let header = |name: &str| {
            let mut headers = answer.headers.iter();
            let found = headers.find(|header| header.name.eq_ignore_ascii_case(name));
            found.map(|header| String::from_utf8_lossy(header.value).to_lowercase())
        };
        let status = answer.code.unwrap_or_default();
        let ends = header("connection").is_some_and(|value| value.contains("close"));
        let body = &self.rest[head..];
        let length = if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            chunked(body)?
        } else {
            let length = header("content-length").and_then(|length| length.trim().parse().ok());
            // 204 has no body and says nothing about it.
            Some(length.unwrap_or(0))
        };
        let Some(length) = length.filter(|&length| body.len() >= length) else {
            return Ok(None);
        };
        if !(200..300).contains(&status) {
            let text = String::from_utf8_lossy(&body[..length.min(300)]);
            return Err(format!("the server answered {status}: {}", text.trim()));
        }
        self.ends = ends;
        Ok(Some(head + length))
    }
}

/// The length of a body in chunks, if it is all there.
fn chunked(body: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        match httparse::parse_chunk_size(&body[at..]) {
            Ok(httparse::Status::Complete((head, size))) => {
                // Each chunk ends with an empty line, and so does the last, which is empty.
                at = at.saturating_add(head + 2).saturating_add(size as usize);
                if body.len() < at {
                    return Ok(None);
                }
                if size == 0 {
                    return Ok(Some(at));
                }
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("the chunks of the server's answer are no HTTP".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_begin_with_their_number() {
        for (number, bytes) in [(0, 180), (9_999_999, 180), (7, 30)] {
            let text = payload(number, bytes);
            assert_eq!(text.len(), bytes);
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(json["n"], number);
            assert!(text.starts_with("{\"n\":"));
        }
        // Less than it takes.
        assert!(payload(1, 0).starts_with("{\"n\":1,"));
    }

    #[test]
    fn answers_may_be_cut_anywhere() {
        let text = "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc\
            HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
            HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        for cut in 0..=text.len() {
            let mut answers = Answers::default();
            let (before, after) = text.as_bytes().split_at(cut);
            answers.take(before).expect("good");
            answers.take(after).expect("good");
            assert_eq!((answers.count, answers.ends), (4, true), "{cut}");
        }
    }

    #[test]
    fn refusals_are_said() {
        for (text, words) in [
            (
                "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nslow",
                "429: slow",
            ),
            ("SSH-2.0-OpenSSH\r\n", "no HTTP"),
        ] {
            let mut answers = Answers::default();
            let error = answers.take(text.as_bytes()).expect_err(text);
            assert!(error.contains(words), "{error}");
        }
    }
}
