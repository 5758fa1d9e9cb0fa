//! What clients say. Reading is strict about types and says what is wrong; it ignores fields it does not know.

use serde_json::{Map, Value};

use super::ErrorCode;
use crate::cursor::{Cursor, CursorError};
use crate::event::ChannelPattern;

/// A number or short text a client gives a request, so as to know its answer.
pub(crate) type RequestId = Value;

/// Longest text as request id, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// One frame of a client.
#[derive(Debug, PartialEq)]
pub(crate) struct ClientFrame {
    pub id: Option<RequestId>,
    pub request: ClientRequest,
}

/// What is asked for.
#[derive(Debug, PartialEq)]
pub(crate) enum ClientRequest {
    Hello {
        token: Option<Secret>,
        /// None where it has no channels.
        subscribe: Option<Subscribe>,
    },
    Subscribe(Subscribe),
    Unsubscribe {
        channels: Vec<ChannelPattern>,
    },
    /// A fresh token.
    Auth {
        token: Secret,
    },
    Ping,
}

/// What a client wants to receive from now on, or from a position on.
#[derive(Debug, PartialEq)]
pub(crate) struct Subscribe {
    pub channels: Vec<ChannelPattern>,
    pub since: Since,
    /// Tokens that permit a channel each.
    pub tokens: Vec<Secret>,
    /// Whether it is to be told who is on the channels.
    pub presence: bool,
}

/// A text that is shown to nobody.
#[derive(Clone, PartialEq)]
pub(crate) struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// From where a subscription is to start.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Since {
    /// With what is committed from now on.
    Now,
    /// With the oldest event there is.
    Earliest,
    /// With what came after this position.
    Cursor(Cursor),
}

impl Since {
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        match text {
            "now" => Ok(Self::Now),
            "earliest" => Ok(Self::Earliest),
            cursor => cursor.parse().map(Self::Cursor),
        }
    }
}

/// Why a frame is refused. The message is for the author of the client.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    pub id: Option<RequestId>,
    pub code: ErrorCode,
    pub message: String,
}

/// What clients may say.
const TYPES: &str = "hello, subscribe, unsubscribe, auth and ping";

impl ClientFrame {
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let invalid = |message: String| Refusal {
            id: None,
            code: ErrorCode::InvalidMessage,
            message,
        };
        let value: Value =
            serde_json::from_str(text).map_err(|error| invalid(format!("not JSON: {error}")))?;
        let Value::Object(fields) = value else {
            return Err(invalid(format!(
                "a message is a JSON object, and this is {}",
                name_of(&value)
            )));
        };
        let id = request_id(&fields).map_err(invalid)?;
        let fields = Fields(&fields);
        let request = match fields.text("type") {
            Ok(Some("hello")) => fields.hello(),
            Ok(Some("subscribe")) => fields.subscribe(true).map(ClientRequest::Subscribe),
            Ok(Some("unsubscribe")) => fields
                .channels(true)
                .map(|channels| ClientRequest::Unsubscribe { channels }),
            Ok(Some("auth")) => fields.auth(),
            Ok(Some("ping")) => Ok(ClientRequest::Ping),
            Ok(Some(other)) => Err((
                ErrorCode::InvalidMessage,
                format!("unknown type {}; there are {TYPES}", excerpt(other)),
            )),
            Ok(None) => Err((
                ErrorCode::InvalidMessage,
                format!("\"type\" is missing; there are {TYPES}"),
            )),
            Err(error) => Err(error),
        };
        match request {
            Ok(request) => Ok(Self { id, request }),
            Err((code, message)) => Err(Refusal { id, code, message }),
        }
    }
}

/// What a client gave the request, so as to know its answer.
pub(super) fn request_id(fields: &Map<String, Value>) -> Result<Option<RequestId>, String> {
    match fields.get("id") {
        None | Some(Value::Null) => Ok(None),
        Some(id @ Value::Number(_)) => Ok(Some(id.clone())),
        Some(Value::String(id)) if id.len() <= REQUEST_ID_BYTES_MAX => {
            Ok(Some(Value::String(id.clone())))
        }
        Some(Value::String(_)) => Err(format!(
            "\"id\" is longer than {REQUEST_ID_BYTES_MAX} bytes"
        )),
        Some(other) => Err(format!(
            "\"id\" is a number or a text, and this is {}",
            name_of(other)
        )),
    }
}

type FieldError = (ErrorCode, String);

/// The channels that a member of a message lists. Where one alone may stand there, it may be a text too.
pub(super) fn channels_in(
    fields: &Map<String, Value>,
    key: &str,
    required: bool,
    or_one: bool,
) -> Result<Vec<ChannelPattern>, FieldError> {
    let invalid = |text: String| (ErrorCode::InvalidMessage, text);
    let list = match fields.get(key) {
        None | Some(Value::Null) if !required => return Ok(Vec::new()),
        None | Some(Value::Null) => {
            return Err(invalid(format!(
                "\"{key}\" is missing; name at least one, for example [\"tasks\"]"
            )));
        }
        Some(Value::Array(list)) if required && list.is_empty() => {
            return Err(invalid(format!(
                "\"{key}\" is empty; name at least one, for example [\"tasks\"]"
            )));
        }
        Some(Value::Array(list)) => list,
        Some(one @ Value::String(_)) if or_one => std::slice::from_ref(one),
        Some(other) => {
            return Err(invalid(format!(
                "\"{key}\" is a list of texts, and this is {}",
                name_of(other)
            )));
        }
    };
    list.iter()
        .map(|channel| match channel {
            Value::String(name) => ChannelPattern::parse(name).map_err(|error| {
                let text = format!("{}: {error}", excerpt(name));
                (ErrorCode::InvalidChannel, text)
            }),
            other => Err(invalid(format!(
                "\"{key}\" is a list of texts, and one of it is {}",
                name_of(other)
            ))),
        })
        .collect()
}

/// From where a message asks for what it asks for; from now on, where it does not say.
pub(super) fn since_in(fields: &Map<String, Value>) -> Result<Since, FieldError> {
    Fields(fields).since()
}

struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn text(&self, name: &str) -> Result<Option<&'a str>, FieldError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err((
                ErrorCode::InvalidMessage,
                format!("{name:?} is a text, and this is {}", name_of(other)),
            )),
        }
    }

    fn hello(&self) -> Result<ClientRequest, FieldError> {
        let subscribe = self.subscribe(false)?;
        Ok(ClientRequest::Hello {
            token: self.secret("token")?,
            subscribe: Some(subscribe).filter(|subscribe| !subscribe.channels.is_empty()),
        })
    }

    fn auth(&self) -> Result<ClientRequest, FieldError> {
        match self.secret("token")? {
            Some(token) => Ok(ClientRequest::Auth { token }),
            None => Err((
                ErrorCode::InvalidMessage,
                "\"token\" is missing; send the fresh token".into(),
            )),
        }
    }

    fn subscribe(&self, required: bool) -> Result<Subscribe, FieldError> {
        Ok(Subscribe {
            channels: self.channels(required)?,
            since: self.since()?,
            tokens: self.tokens()?,
            presence: self.presence()?,
        })
    }

    fn presence(&self) -> Result<bool, FieldError> {
        match self.0.get("presence") {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(presence)) => Ok(*presence),
            Some(other) => Err((
                ErrorCode::InvalidMessage,
                format!(
                    "\"presence\" is true or false, and this is {}",
                    name_of(other)
                ),
            )),
        }
    }

    fn secret(&self, name: &str) -> Result<Option<Secret>, FieldError> {
        Ok(self.text(name)?.map(|text| Secret(text.to_owned())))
    }

    fn tokens(&self) -> Result<Vec<Secret>, FieldError> {
        let list = match self.0.get("tokens") {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(other) => {
                return Err((
                    ErrorCode::InvalidMessage,
                    format!(
                        "\"tokens\" is a list of texts, and this is {}",
                        name_of(other)
                    ),
                ));
            }
        };
        list.iter()
            .map(|item| match item {
                Value::String(text) => Ok(Secret(text.clone())),
                other => Err((
                    ErrorCode::InvalidMessage,
                    format!(
                        "\"tokens\" is a list of texts, and one of it is {}",
                        name_of(other)
                    ),
                )),
            })
            .collect()
    }

    fn channels(&self, required: bool) -> Result<Vec<ChannelPattern>, FieldError> {
        channels_in(self.0, "channels", required, false)
    }

    fn since(&self) -> Result<Since, FieldError> {
        let text = self.text("since")?.unwrap_or("now");
        Since::parse(text).map_err(|error| {
            (
                ErrorCode::CursorInvalid,
                format!("\"since\" is \"now\", \"earliest\" or a cursor, and this is {error}"),
            )
        })
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What was sent, quoted, and not all of it: an answer must not be longer than its question.
fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    let mut excerpt: String = text.chars().take(CHARS_MAX).collect();
    if excerpt.len() < text.len() {
        excerpt.push('…');
    }
    format!("{excerpt:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> (ErrorCode, String) {
        let refusal = ClientFrame::parse(text).expect_err(text);
        (refusal.code, refusal.message)
    }

    #[test]
    fn the_shortest_frames_are_enough() {
        let frame =
            ClientFrame::parse(r#"{"type":"subscribe","channels":["tasks","messages:*","*"]}"#)
                .expect("valid");
        let pattern = |text| ChannelPattern::parse(text).expect("valid");
        let channels = vec![pattern("tasks"), pattern("messages:*"), pattern("*")];
        assert_eq!(
            frame,
            ClientFrame {
                id: None,
                request: ClientRequest::Subscribe(Subscribe {
                    channels,
                    since: Since::Now,
                    tokens: vec![],
                    presence: false,
                })
            }
        );
        let frame =
            ClientFrame::parse(r#"{"type":"ping","id":7,"future":{"field":[]}}"#).expect("valid");
        assert_eq!(
            frame,
            ClientFrame {
                id: Some(7.into()),
                request: ClientRequest::Ping
            }
        );
        let hello = ClientFrame::parse(r#"{"type":"hello","protocol":1}"#).expect("valid");
        assert_eq!(
            hello.request,
            ClientRequest::Hello {
                token: None,
                subscribe: None,
            }
        );
    }

    #[test]
    fn a_refusal_says_what_is_wrong() {
        for (text, part) in [
            ("nonsense", "not JSON"),
            ("[1]", "a list"),
            ("{}", "\"type\" is missing"),
            (r#"{"type":1}"#, "a number"),
            (r#"{"type":"subscripe"}"#, "\"subscripe\""),
            (r#"{"type":"subscribe"}"#, "\"channels\" is missing"),
            (r#"{"type":"subscribe","channels":[]}"#, "empty"),
            (r#"{"type":"subscribe","channels":"tasks"}"#, "a text"),
            (r#"{"type":"subscribe","channels":["tasks",7]}"#, "a number"),
            (r#"{"type":"ping","id":{}}"#, "an object"),
            (r#"{"type":"auth"}"#, "\"token\" is missing"),
            (r#"{"type":"hello","token":7}"#, "a number"),
            (
                r#"{"type":"subscribe","channels":["a"],"tokens":"x"}"#,
                "a text",
            ),
            (
                r#"{"type":"subscribe","channels":["a"],"presence":"yes"}"#,
                "a text",
            ),
        ] {
            let (code, message) = refusal(text);
            assert_eq!(code, ErrorCode::InvalidMessage, "{text}");
            assert!(message.contains(part), "{text}: {message}");
        }
        let (code, message) = refusal(r#"{"type":"subscribe","channels":["a b"]}"#);
        assert_eq!(code, ErrorCode::InvalidChannel);
        assert!(
            message.contains("\"a b\"") && message.contains("' '"),
            "{message}"
        );
        let (code, _) = refusal(r#"{"type":"subscribe","channels":["tasks"],"since":"yesterday"}"#);
        assert_eq!(code, ErrorCode::CursorInvalid);
    }

    #[test]
    fn a_token_is_not_shown() {
        let text = r#"{"type":"hello","token":"very.secret.indeed"}"#;
        let frame = ClientFrame::parse(text).expect("valid");
        assert!(!format!("{frame:?}").contains("secret"));
    }

    #[test]
    fn a_refusal_keeps_the_request_id_and_does_not_echo_floods() {
        let refusal =
            ClientFrame::parse(r#"{"type":"nope","id":"q-1"}"#).expect_err("unknown type");
        assert_eq!(refusal.id, Some("q-1".into()));
        let long = format!(r#"{{"type":"{}"}}"#, "x".repeat(60_000));
        assert!(
            super::ClientFrame::parse(&long)
                .expect_err("unknown type")
                .message
                .len()
                < 200
        );
        let deep = "[".repeat(60_000);
        assert_eq!(self::refusal(&deep).0, ErrorCode::InvalidMessage);
    }
}
