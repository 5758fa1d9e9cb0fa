//! What may stand between the braces of a template, and what stands there then.

use std::borrow::Cow;
use std::time::SystemTime;

use serde_json::{Map, Value as Json};

use crate::protocol::server::{ErrorCode, ServerFrame};

/// What a frame is, as far as its template knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol) enum Of {
    Event,
    Welcome,
    Subscribed,
    Unsubscribed,
    Pong,
    Error,
    Cursor,
    CaughtUp,
    Reset,
    Heartbeat,
    Disconnect,
    AuthOk,
    AuthExpiring,
    Presence,
}

impl Of {
    pub const COUNT: usize = 14;

    /// How the frame is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Welcome => "welcome",
            Self::Subscribed => "subscribed",
            Self::Unsubscribed => "unsubscribed",
            Self::Pong => "pong",
            Self::Error => "error",
            Self::Cursor => "cursor",
            Self::CaughtUp => "caught_up",
            Self::Reset => "reset",
            Self::Heartbeat => "heartbeat",
            Self::Disconnect => "disconnect",
            Self::AuthOk => "auth_ok",
            Self::AuthExpiring => "auth_expiring",
            Self::Presence => "presence",
        }
    }

    /// What its template may name beside `{now}`: members of the frame as the default protocol has it.
    fn words(self) -> &'static [&'static str] {
        match self {
            // No preset has presence.
            Self::Event | Self::Presence => &[],
            Self::Welcome => &["id", "connection_id", "user_id", "expires_at", "cursor"],
            Self::Subscribed => &["id", "channel", "channels", "cursor"],
            Self::Unsubscribed => &["id", "channel", "channels", "code", "message"],
            Self::Error => &["id", "code", "title", "message", "limit", "retry_after_ms"],
            Self::Pong | Self::Cursor | Self::CaughtUp | Self::Heartbeat => &["id", "cursor"],
            Self::Reset => &["reason", "cursor"],
            Self::Disconnect => &["code", "reconnect", "retry_after_ms", "cursor"],
            Self::AuthOk => &["id", "user_id", "expires_at"],
            Self::AuthExpiring => &["in_ms"],
        }
    }
}

/// What a placeholder names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::protocol) enum Name {
    /// Of an event: the number of its row, or the time in ms where it has none.
    Id,
    /// `task.created`.
    Type,
    /// What the preset calls the event.
    Called,
    /// `task` of `task.created`.
    Kind,
    /// `created`.
    Verb,
    /// `CREATED`.
    VerbUpper,
    EntityId,
    Actor,
    Payload,
    /// A member of the payload.
    PayloadMember(Box<str>),
    Previous,
    PreviousMember(Box<str>),
    /// The payload; none where the event is a deletion.
    NewValue,
    TraceId,
    Origin,
    CreatedAt,
    Channels,
    Cursor,
    /// Of any frame: the channel that it is about.
    Channel,
    /// Its nth part, from 1.
    ChannelPart(usize),
    Now,
    /// Of any frame but an event: a member as the default protocol has it.
    Member(Box<str>),
}

/// Names of what events have.
const EVENT_WORDS: &[(&str, Name)] = &[
    ("id", Name::Id),
    ("type", Name::Type),
    ("name", Name::Called),
    ("kind", Name::Kind),
    ("verb", Name::Verb),
    ("VERB", Name::VerbUpper),
    ("entity_id", Name::EntityId),
    ("actor", Name::Actor),
    ("payload", Name::Payload),
    ("previous", Name::Previous),
    ("value", Name::NewValue),
    ("trace_id", Name::TraceId),
    ("origin", Name::Origin),
    ("created_at", Name::CreatedAt),
    ("channel", Name::Channel),
    ("channels", Name::Channels),
    ("cursor", Name::Cursor),
    ("now", Name::Now),
];

impl Name {
    /// Reads a name that may stand in the template of such a frame.
    pub fn parse(text: &str, of: Of) -> Result<Self, String> {
        if of == Of::Event {
            return Self::of_event(text).ok_or_else(|| {
                let words: Vec<_> = EVENT_WORDS.iter().map(|(word, _)| *word).collect();
                format!(
                    "{{{text}}} is nothing that an event has; it has {}, payload.MEMBER, previous.MEMBER, and channel.1, \
                     channel.2 …",
                    words.join(", ")
                )
            });
        }
        match text {
            "now" => Ok(Self::Now),
            text if !of.words().contains(&text) => Err(format!(
                "{{{text}}} is nothing that {} has; it has {}, now",
                of.name(),
                of.words().join(", ")
            )),
            "channel" => Ok(Self::Channel),
            text => Ok(Self::Member(camel(text).into())),
        }
    }

    fn of_event(text: &str) -> Option<Self> {
        match text.split_once('.') {
            None => {
                let mut words = EVENT_WORDS.iter();
                words
                    .find(|(word, _)| *word == text)
                    .map(|(_, name)| name.clone())
            }
            Some(("payload", member)) => Some(Self::PayloadMember(member.into())),
            Some(("previous", member)) => Some(Self::PreviousMember(member.into())),
            Some(("channel", part)) => {
                let part = part.parse().ok()?;
                (part > 0).then_some(Self::ChannelPart(part))
            }
            Some(_) => None,
        }
    }

    /// Whether it is about one channel of several.
    pub fn is_of_one_channel(&self) -> bool {
        matches!(self, Self::Channel | Self::ChannelPart(_))
    }
}

/// A name as members are called: `userId`.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        text.push_str(&first.to_uppercase());
        text.push_str(rest);
    }
    text
}

/// What a placeholder stands for.
pub(in crate::protocol) enum Value<'a> {
    Missing,
    Text(Cow<'a, str>),
    /// JSON of whatever type.
    Json(Cow<'a, str>),
    Texts(Cow<'a, [&'a str]>),
}

impl<'a> Value<'a> {
    pub fn text(text: &'a str) -> Self {
        Self::Text(text.into())
    }

    pub fn json(json: &impl ToString) -> Self {
        Self::Json(json.to_string().into())
    }

    /// A text that may not be there.
    pub fn of(text: Option<&'a str>) -> Self {
        text.map_or(Self::Missing, Self::text)
    }

    /// Now, as times are written here.
    pub fn now() -> Self {
        Self::Text(
            humantime::format_rfc3339_millis(SystemTime::now())
                .to_string()
                .into(),
        )
    }
}

/// Knows what placeholders stand for.
pub(in crate::protocol) trait Scope {
    fn value(&self, name: &Name) -> Value<'_>;
}

/// Where nothing stands for anything.
pub(in crate::protocol) struct Nothing;

impl Scope for Nothing {
    fn value(&self, _: &Name) -> Value<'_> {
        Value::Missing
    }
}

/// A frame that is no event, as the default protocol has it; with the channel that it is about, if it is about one.
pub(in crate::protocol) struct ControlScope<'a> {
    members: Map<String, Json>,
    channel: Option<&'a str>,
}

impl<'a> ControlScope<'a> {
    pub fn new(frame: &ServerFrame<'_>) -> Self {
        let members = match serde_json::to_value(frame) {
            Ok(Json::Object(mut members)) => {
                if let ServerFrame::Error { code, .. } = frame {
                    members.insert("title".to_owned(), title(*code).into());
                }
                members
            }
            _ => Map::new(),
        };
        Self {
            members,
            channel: None,
        }
    }

    /// The same frame for one of its channels.
    pub fn for_channel(&mut self, channel: &'a str) {
        self.channel = Some(channel);
    }

    /// The position alone.
    pub fn of_cursor(cursor: &str) -> Self {
        Self {
            members: Map::from_iter([("cursor".to_owned(), cursor.into())]),
            channel: None,
        }
    }
}

impl Scope for ControlScope<'_> {
    fn value(&self, name: &Name) -> Value<'_> {
        match name {
            Name::Now => Value::now(),
            Name::Channel => Value::of(self.channel),
            Name::Member(key) => match self.members.get(&**key) {
                None => Value::Missing,
                Some(Json::String(text)) => Value::text(text),
                Some(Json::Array(items)) if items.iter().all(Json::is_string) => {
                    Value::Texts(items.iter().filter_map(Json::as_str).collect())
                }
                Some(other) => Value::json(other),
            },
            _ => Value::Missing,
        }
    }
}

/// What an error is called where there is room for a few words.
fn title(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidMessage => "Invalid message format",
        ErrorCode::InvalidChannel => "Invalid channel",
        ErrorCode::ChannelLimit => "Too many channels",
        ErrorCode::NoPresence => "No presence",
        ErrorCode::CursorInvalid => "Invalid cursor",
        ErrorCode::Forbidden => "Forbidden",
        ErrorCode::RateLimitExceeded => "Rate limit exceeded",
        ErrorCode::TokenExpired => "Token expired",
        ErrorCode::Unauthorized => "Unauthorized",
        ErrorCode::Unavailable => "Service unavailable",
    }
}
