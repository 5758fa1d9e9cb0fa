//! `Template`: JSON with placeholders in its texts, read once and written for every event.
//!
//! A text that is one placeholder becomes its value, of whatever type; `{name?}` leaves its member out where there is no
//! value, and `{name|text}` makes a text of it. In a longer text values are put in as text. `{{` and `}}` are braces.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::placeholder::{Name, Of, Scope, Value};
use crate::protocol::server::write_json;

/// JSON with placeholders.
#[derive(Debug)]
pub(super) struct Template {
    root: Node,
    per_channel: bool,
}

#[derive(Debug)]
enum Node {
    /// JSON as it is written.
    Json(Box<str>),
    Value(Placeholder),
    Text(Vec<Part>),
    /// Members, each with its key as JSON.
    Object(Vec<(Box<str>, Node)>),
    Array(Vec<Node>),
}

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    Value(Name),
}

#[derive(Debug)]
struct Placeholder {
    name: Name,
    optional: bool,
    as_text: bool,
}

impl Template {
    /// Reads a template for a frame.
    pub fn parse(text: &str, of: Of) -> Result<Self, String> {
        let json: Json = serde_json::from_str(text).map_err(|error| format!("{error}"))?;
        if !matches!(json, Json::Object(_)) {
            return Err("a message is a JSON object: {\"type\": …}".into());
        }
        let mut per_channel = false;
        let root = Node::of(json, of, &mut per_channel)?;
        Ok(Self { root, per_channel })
    }

    /// Whether it names one channel, so that there is one message for each.
    pub fn is_per_channel(&self) -> bool {
        self.per_channel
    }

    /// Appends the JSON.
    pub fn render(&self, scope: &impl Scope, to: &mut Vec<u8>) {
        self.root.render(scope, to);
    }
}

impl Node {
    fn of(json: Json, of: Of, per_channel: &mut bool) -> Result<Self, String> {
        Ok(match json {
            Json::Plain(value) => Self::Json(value.to_string().into()),
            Json::Text(text) => Self::of_text(&text, of, per_channel)?,
            Json::Array(items) => {
                let items: Result<_, _> = items
                    .into_iter()
                    .map(|item| Self::of(item, of, per_channel))
                    .collect();
                Self::Array(items?).folded()
            }
            Json::Object(members) => {
                let members: Result<_, String> = members
                    .into_iter()
                    .map(|(key, value)| {
                        Ok((quoted(&key).into(), Self::of(value, of, per_channel)?))
                    })
                    .collect();
                Self::Object(members?).folded()
            }
        })
    }

    fn of_text(text: &str, of: Of, per_channel: &mut bool) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let found = &rest[at..];
            if found.starts_with("{{") || found.starts_with("}}") {
                plain.push_str(&found[..1]);
                rest = &found[2..];
                continue;
            }
            let Some((inner, after)) = found
                .strip_prefix('{')
                .and_then(|rest| rest.split_once('}'))
            else {
                return Err(format!(
                    "{text:?}: each {{ needs its }}; a brace itself is written {{{{ or }}}}"
                ));
            };
            let placeholder = Placeholder::parse(inner, of)?;
            *per_channel |= placeholder.name.is_of_one_channel();
            if at == 0 && parts.is_empty() && plain.is_empty() && after.is_empty() {
                return Ok(Self::Value(placeholder));
            }
            if placeholder.optional || placeholder.as_text {
                return Err(format!(
                    "{text:?}: {{…?}} and {{…|text}} stand alone, as they are about the whole value"
                ));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            parts.push(Part::Value(placeholder.name));
            rest = after;
        }
        plain.push_str(rest);
        if parts.is_empty() {
            return Ok(Self::Json(quoted(&plain).into()));
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Self::Text(parts))
    }

    /// What has no placeholder in it is written down once.
    fn folded(self) -> Self {
        let is_plain = match &self {
            Self::Object(members) => members
                .iter()
                .all(|(_, value)| matches!(value, Self::Json(_))),
            Self::Array(items) => items.iter().all(|item| matches!(item, Self::Json(_))),
            _ => false,
        };
        if !is_plain {
            return self;
        }
        let mut text = Vec::new();
        self.render(&super::placeholder::Nothing, &mut text);
        Self::Json(String::from_utf8(text).expect("JSON is text").into())
    }

    fn render(&self, scope: &impl Scope, to: &mut Vec<u8>) {
        match self {
            Self::Json(json) => to.extend(json.as_bytes()),
            Self::Value(placeholder) => placeholder.render(&scope.value(&placeholder.name), to),
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Text(plain) => text.push_str(plain),
                        Part::Value(name) => text.push_str(&scope.value(name).as_text()),
                    }
                }
                write_json(to, &text);
            }
            Self::Object(members) => {
                to.push(b'{');
                let start = to.len();
                for (key, node) in members {
                    let mut value = None;
                    if let Self::Value(placeholder) = node {
                        let found = scope.value(&placeholder.name);
                        if placeholder.optional && matches!(found, Value::Missing) {
                            continue;
                        }
                        value = Some((placeholder, found));
                    }
                    if to.len() > start {
                        to.push(b',');
                    }
                    to.extend(key.as_bytes());
                    to.push(b':');
                    match value {
                        Some((placeholder, value)) => placeholder.render(&value, to),
                        None => node.render(scope, to),
                    }
                }
                to.push(b'}');
            }
            Self::Array(items) => {
                to.push(b'[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        to.push(b',');
                    }
                    item.render(scope, to);
                }
                to.push(b']');
            }
        }
    }
}

impl Placeholder {
    fn parse(text: &str, of: Of) -> Result<Self, String> {
        let (name, optional) = match text.strip_suffix('?') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let (name, as_text) = match name.split_once('|') {
            Some((name, "text")) => (name, true),
            Some((_, other)) => {
                return Err(format!(
                    "{{{text}}}: after | there is `text`, not {other:?}"
                ));
            }
            None => (name, false),
        };
        Ok(Self {
            name: Name::parse(name, of)?,
            optional,
            as_text,
        })
    }

    fn render(&self, value: &Value<'_>, to: &mut Vec<u8>) {
        match value {
            Value::Missing => to.extend(b"null"),
            value if self.as_text => write_json(to, &value.as_text()),
            Value::Text(text) => write_json(to, text),
            Value::Json(json) => to.extend(json.as_bytes()),
            Value::Texts(texts) => write_json(to, texts),
        }
    }
}

impl Value<'_> {
    fn as_text(&self) -> Cow<'_, str> {
        match self {
            Self::Missing => "".into(),
            Self::Text(text) | Self::Json(text) => (&**text).into(),
            Self::Texts(texts) => texts.join(" ").into(),
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// JSON whose members stay in their order.
enum Json {
    Plain(serde_json::Value),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyJson;

        impl<'de> Visitor<'de> for AnyJson {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Plain(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Plain(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Plain(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Plain(value.into()))
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Plain(serde_json::Value::Null))
            }

            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(Json::Array(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = members.next_entry()? {
                    all.push(member);
                }
                Ok(Json::Object(all))
            }
        }

        deserializer.deserialize_any(AnyJson)
    }
}
