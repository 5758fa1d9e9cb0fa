//! How a server is started, spoken to and published to: a table `[[server]]` of a file, or rowcast itself. Templates
//! become bytes here.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::frames::{Opcode, push_frame};
use crate::config::{ConfigFile, Placed};
use crate::error::Error;

/// What stands before the number of an event, unless told.
const MARKER: &str = "\"n\":";

/// What is known to this file as a server; `--help` shows one.
const TABLE: &str = "server";

/// A server and what it speaks.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dialect {
    /// In tables.
    pub name: String,
    /// Ratios are against it.
    #[serde(default)]
    pub limit: bool,
    /// Starts it. Without it, it runs already.
    #[serde(default)]
    pub command: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What it writes when it is ready, where that it listens does not say so.
    pub ready: Option<String>,
    /// How long it may take to be ready.
    #[serde(default = "ten")]
    pub ready_seconds: u32,
    /// Its process, where it runs already.
    pub pid: Option<u32>,
    pub url: String,
    pub subprotocol: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Frames of a client after the handshake.
    #[serde(default)]
    pub subscribe: Vec<String>,
    /// What a frame contains that says that a subscription holds.
    pub subscribed: Option<String>,
    pub pong: Option<Pong>,
    pub message: Option<Message>,
    #[serde(default = "marker")]
    pub marker: String,
    pub publish: Option<PublishSpec>,
    /// What frames contain that say that something is refused.
    #[serde(skip)]
    pub refused: &'static [&'static str],
    /// What channels are called before their number.
    #[serde(skip)]
    pub prefix: &'static str,
}

/// An answer that keeps a connection alive, beside the pings of RFC 6455.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pong {
    /// How the message begins that asks for it.
    pub when: String,
    pub send: String,
}

/// What a client may send at any time, and what its answer contains.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    pub send: String,
    pub answer: String,
}

/// Where events are sent by POST.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishSpec {
    pub url: String,
    #[serde(default = "payload")]
    pub body: String,
    pub many: Option<Many>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// How several events are sent.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Many {
    /// A line for each: `channel payload`.
    Lines,
    /// As `POST /events` takes them.
    #[serde(skip)]
    Rowcast,
}

fn ten() -> u32 {
    10
}

fn marker() -> String {
    MARKER.to_owned()
}

fn payload() -> String {
    "{payload}".to_owned()
}

/// The values of a template.
#[derive(Clone, Copy, Default)]
pub(super) struct Values<'a> {
    pub port: u16,
    pub channel: &'a str,
    /// All channels of a client.
    pub channels: &'a [String],
    pub client: usize,
    pub payload: &'a str,
}

impl Values<'_> {
    pub(super) fn fill(&self, template: &str) -> String {
        let mut text = template.to_owned();
        let mut replace = |name: &str, value: &dyn Fn() -> String| {
            if text.contains(name) {
                text = text.replace(name, &value());
            }
        };
        replace("{port}", &|| self.port.to_string());
        replace("{client}", &|| self.client.to_string());
        replace("{channels}", &|| {
            // Names are letters, digits and - : . only.
            let quoted: Vec<_> = self.channels.iter().map(|c| format!("\"{c}\"")).collect();
            quoted.join(",")
        });
        replace("{channel}", &|| self.channel.to_owned());
        replace("{payload}", &|| self.payload.to_owned());
        text
    }

    /// Appends a frame: text, or after `hex:` the bytes of a binary one, with texts between apostrophes.
    fn push_frame(&self, template: &str, to: &mut Vec<u8>) {
        match template.strip_prefix("hex:") {
            None => push_frame(to, Opcode::Text, self.fill(template).as_bytes()),
            Some(hex) => {
                let bytes = binary(&self.fill(hex)).unwrap_or_default();
                push_frame(to, Opcode::Binary, &bytes);
            }
        }
    }
}

/// Hexadecimal digits in pairs, and texts: `82 14 'text'`. A name in braces outside of apostrophes is a text, too.
fn binary(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for (n, part) in text.split('\'').enumerate() {
        if n % 2 == 1 {
            bytes.extend(part.as_bytes());
            continue;
        }
        let digits: Vec<_> = part.chars().filter(|c| !c.is_whitespace()).collect();
        for pair in digits.chunks(2) {
            let pair: String = pair.iter().collect();
            let byte = (pair.len() == 2).then(|| u8::from_str_radix(&pair, 16).ok());
            let byte = byte.flatten().ok_or_else(|| {
                format!("{pair:?} is no byte; after hex: write two digits for each, and texts between apostrophes")
            })?;
            bytes.push(byte);
        }
    }
    Ok(bytes)
}

impl Dialect {
    /// rowcast at this URL.
    pub(super) fn rowcast(url: String) -> Self {
        Self {
            name: "rowcast".into(),
            limit: false,
            command: Vec::new(),
            env: BTreeMap::new(),
            ready: Some("websocket=".into()),
            ready_seconds: 30,
            pid: None,
            url,
            subprotocol: None,
            headers: BTreeMap::new(),
            subscribe: vec![r#"{"type":"subscribe","channels":[{channels}]{since}}"#.into()],
            subscribed: Some("\"type\":\"subscribed\"".into()),
            pong: None,
            message: Some(Message {
                send: r#"{"type":"ping"}"#.into(),
                answer: "\"type\":\"pong\"".into(),
            }),
            marker: MARKER.into(),
            publish: None,
            refused: &[
                "\"type\":\"error\"",
                "\"type\":\"reset\"",
                "\"type\":\"disconnect\"",
                "\"rejected\":[",
            ],
            prefix: "rowcast.bench:",
        }
    }

    /// The servers of a file, in their order.
    pub(super) fn read(path: &Path) -> Result<Vec<Self>, Error> {
        let about = |error: Error| Error::Config(format!("--beside {error}"));
        if !path.exists() {
            return Err(Error::Config(format!(
                "--beside {}: there is no such file; `rowcast bench fanout --help` shows one",
                path.display()
            )));
        }
        let file = ConfigFile::read(path).map_err(about)?;
        file.only_tables(TABLE).map_err(about)?;
        let placed = file.tables::<Self>(TABLE).map_err(about)?;
        if placed.is_empty() {
            return Err(Error::Config(format!(
                "--beside {}: there is no [[server]] in it",
                path.display()
            )));
        }
        let mut dialects: Vec<Self> = Vec::new();
        for mut one in placed {
            one.value.prefix = "bench-";
            check(&one, &dialects).map_err(about)?;
            dialects.push(one.value);
        }
        Ok(dialects)
    }

    /// What channels are called.
    pub(super) fn channel(&self, run: &str, number: u32) -> String {
        format!("{}{run}-{number:05}", self.prefix)
    }

    /// Whether a client can have several channels.
    pub(super) fn can_have_many(&self) -> bool {
        !self.url.contains("{channel}")
    }

    /// The frames of a client of these channels, and how many of them are answered as `subscribed`.
    pub(super) fn opening(&self, values: Values<'_>, since: Option<&str>) -> (Vec<u8>, u32) {
        let (mut bytes, mut asked) = (Vec::new(), 0);
        let since = since.map_or(String::new(), |since| format!(",\"since\":\"{since}\""));
        for template in &self.subscribe {
            let template = template.replace("{since}", &since);
            if template.contains("{channel}") {
                for channel in values.channels {
                    Values { channel, ..values }.push_frame(&template, &mut bytes);
                    asked += 1;
                }
            } else {
                asked += u32::from(template.contains("{channels}"));
                values.push_frame(&template, &mut bytes);
            }
        }
        (bytes, asked.max(1))
    }

    /// The message that is answered by another, and that other as a frame.
    pub(super) fn pong_frame(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let pong = self.pong.as_ref()?;
        let mut frame = Vec::new();
        Values::default().push_frame(&pong.send, &mut frame);
        Some((pong.when.clone().into_bytes(), frame))
    }

    /// What a client sends to be answered, as a frame.
    pub(super) fn message_frame(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        match &self.message {
            Some(message) => Values::default().push_frame(&message.send, &mut frame),
            None => push_frame(&mut frame, Opcode::Ping, b""),
        }
        frame
    }
}

/// What serde cannot see.
fn check(one: &Placed<Dialect>, before: &[Dialect]) -> Result<(), Error> {
    let dialect = &one.value;
    if dialect.name.is_empty() || before.iter().any(|other| other.name == dialect.name) {
        return Err(one.error("name", "each server needs a name of its own"));
    }
    if dialect.limit && before.iter().any(|other| other.limit) {
        return Err(one.error(
            "limit",
            "only one server can be what others are compared with",
        ));
    }
    if dialect.command.is_empty() && dialect.url.contains("{port}") {
        return Err(one.error(
            "url",
            "{port} is a port of a server that is started here; add the command, or write the port",
        ));
    }
    if dialect.marker.is_empty() {
        return Err(one.error(
            "marker",
            "it is what stands before the number of an event, as in \"n\":1",
        ));
    }
    let answer = dialect.pong.iter().map(|pong| ("pong", &pong.send));
    let message = dialect.message.iter().map(|one| ("message", &one.send));
    let frames = dialect.subscribe.iter().map(|frame| ("subscribe", frame));
    for (key, template) in frames.chain(answer).chain(message) {
        let Some(hex) = template.strip_prefix("hex:") else {
            continue;
        };
        let values = Values {
            channel: "00",
            ..Values::default()
        };
        binary(&values.fill(hex)).map_err(|error| one.error(key, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::frames::{Frame, next_frame};

    #[test]
    fn templates_become_frames() {
        let channels = ["a-1".to_owned(), "a-2".to_owned()];
        let values = Values {
            channels: &channels,
            client: 7,
            ..Values::default()
        };
        let mut dialect = Dialect::rowcast(String::new());
        let texts = |dialect: &Dialect, since| {
            let (mut bytes, asked) = dialect.opening(values, since);
            let mut texts = Vec::new();
            while !bytes.is_empty() {
                // Without its mask it is one of a server.
                let head = if bytes[1] == 0xfe { 4 } else { 2 };
                bytes[1] &= 0x7f;
                bytes.drain(head..head + 4);
                let (frame, end) = next_frame(&bytes).expect("good").expect("whole");
                let Frame::Data { payload, .. } = frame else {
                    panic!("{frame:?}");
                };
                texts.push(payload.to_vec());
                bytes.drain(..end);
            }
            (texts, asked)
        };
        assert_eq!(
            texts(&dialect, None),
            (
                vec![br#"{"type":"subscribe","channels":["a-1","a-2"]}"#.to_vec()],
                1
            )
        );
        assert_eq!(
            texts(&dialect, Some("AgF")).0,
            [br#"{"type":"subscribe","channels":["a-1","a-2"],"since":"AgF"}"#]
        );
        dialect.subscribe = vec!["40".into(), "hex: 10 'c{client}' ff '{channel}' 0 0".into()];
        assert_eq!(
            texts(&dialect, None),
            (
                vec![
                    b"40".to_vec(),
                    b"\x10c7\xffa-1\0".to_vec(),
                    b"\x10c7\xffa-2\0".to_vec()
                ],
                2
            )
        );
    }

    #[test]
    fn what_is_no_hexadecimal_is_said() {
        assert_eq!(binary(" 1f'it''s'00"), Ok(b"\x1fits\0".to_vec()));
        for text in ["1", "1 2 3", "xy", "ä"] {
            let error = binary(text).expect_err(text);
            assert!(error.contains("two digits"), "{error}");
        }
    }
}
