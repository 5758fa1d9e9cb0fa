//! The fields of an event as JSON: which there are, and what each may be.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::shown;
use crate::event::{Channel, Channels, KIND_BYTES_MAX, NewEvent, is_kind};

/// Longest text of a field, in bytes. A key and the user whose it is fit into an index of either database with it.
pub(crate) const FIELD_BYTES_MAX: usize = 1000;

/// Takes down what is wrong, and with which field.
pub(super) type Note<'a> = dyn FnMut(Option<&'static str>, String) + 'a;

/// The fields of an object, in order.
pub(super) struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Takes an object apart.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(json: &'a RawValue) -> Result<Self, String> {
        struct Object;
        impl<'a> Visitor<'a> for Object {
            type Value = Fields<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Fields<'a>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        if !json.get().starts_with('{') {
            return Err(
                "an event is an object, as in {\"channel\": \"tasks\", \"type\": \"task.created\"}"
                    .to_owned(),
            );
        }
        let mut deserializer = serde_json::Deserializer::from_str(json.get());
        deserializer
            .deserialize_map(Object)
            .map_err(|error| format!("it is not an object that can be read: {error}"))
    }

    /// A field that has to be alone where it is there; else another.
    pub fn only(&self, name: &str) -> Option<Result<&'a RawValue, String>> {
        let (_, value) = self.0.iter().find(|(own, _)| own == name)?;
        let mut others = self.0.iter().filter(|(own, _)| own != name);
        Some(match others.next() {
            None if self.0.len() > 1 => Err(format!("another `{name}`")),
            None => Ok(value),
            Some((other, _)) => Err(format!("`{}`", shown(other))),
        })
    }
}

/// Values of the fields of an event.
#[derive(Default)]
struct Values<'a> {
    channel: Option<&'a RawValue>,
    channels: Option<&'a RawValue>,
    kind: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
    previous: Option<&'a RawValue>,
    entity_id: Option<&'a RawValue>,
    actor: Option<&'a RawValue>,
    trace_id: Option<&'a RawValue>,
    origin: Option<&'a RawValue>,
    dedup_key: Option<&'a RawValue>,
}

impl<'a> Values<'a> {
    /// Sorts fields, of which those of rows are known only where it `is_row`. None where there is nothing to go on with.
    fn sort(json: &'a RawValue, is_row: bool, note: &mut Note<'_>) -> Option<Self> {
        let fields = match Fields::parse(json) {
            Ok(fields) => fields,
            Err(wrong) => {
                note(None, wrong);
                return None;
            }
        };
        let mut values = Self::default();
        for (name, value) in fields.0 {
            let place = match name.as_str() {
                "channel" if is_row => &mut values.channel,
                "channels" if is_row => &mut values.channels,
                "dedupKey" if is_row => &mut values.dedup_key,
                "type" => &mut values.kind,
                "payload" => &mut values.payload,
                "previous" => &mut values.previous,
                "entityId" => &mut values.entity_id,
                "actor" => &mut values.actor,
                "traceId" => &mut values.trace_id,
                "origin" => &mut values.origin,
                other => {
                    let own = if is_row {
                        "channel, channels, dedupKey, "
                    } else {
                        ""
                    };
                    note(
                        None,
                        format!(
                            "there is no field {:?}; there are {own}type, payload, previous, entityId, actor, traceId and \
                             origin",
                            shown(other)
                        ),
                    );
                    continue;
                }
            };
            if place.replace(value).is_some() {
                note(None, format!("the field {name:?} is there twice"));
            }
        }
        Some(values)
    }
}

/// An event to be inserted.
pub(super) struct Row;

impl Row {
    /// None where something is wrong, which is noted then.
    pub fn read(json: &RawValue, note: &mut Note<'_>) -> Option<NewEvent> {
        let values = Values::sort(json, true, note)?;
        let channels = channels(&values, note);
        let told = Told::of(&values, note);
        let dedup_key = text("dedupKey", values.dedup_key, note);
        let (channels, told) = (channels?, told?);
        let mut event = NewEvent::new(channels, told.kind, told.payload);
        event.previous = told.previous;
        event.entity_id = told.entity_id;
        event.actor = told.actor;
        event.trace_id = told.trace_id;
        event.origin = told.origin;
        event.dedup_key = dedup_key;
        Some(event)
    }
}

/// An event that will be no row.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Told {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    pub payload: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

impl Told {
    /// None where something is wrong, which is noted then; where something is noted it may be some.
    pub(super) fn read(json: &RawValue, note: &mut Note<'_>) -> Option<Self> {
        Self::of(&Values::sort(json, false, note)?, note)
    }

    fn of(values: &Values<'_>, note: &mut Note<'_>) -> Option<Self> {
        let kind = kind(values.kind, note);
        let payload = json("payload", values.payload, note);
        let previous = json("previous", values.previous, note);
        Some(Self {
            entity_id: text("entityId", values.entity_id, note),
            actor: text("actor", values.actor, note),
            trace_id: text("traceId", values.trace_id, note),
            origin: text("origin", values.origin, note),
            kind: kind?,
            payload: payload.unwrap_or_else(empty),
            previous,
        })
    }
}

fn empty() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).expect("an object is JSON")
}

fn channels(values: &Values<'_>, note: &mut Note<'_>) -> Option<Channels> {
    let (field, joined) = match (values.channel, values.channels) {
        (Some(_), Some(_)) => {
            note(
                Some("channels"),
                "it has `channel`, too; name all in one of them".to_owned(),
            );
            return None;
        }
        (None, None) => {
            note(
                Some("channel"),
                "it is missing: where the event is to go, for example \"tasks\"".to_owned(),
            );
            return None;
        }
        (Some(one), None) => {
            let Ok(names) = serde_json::from_str::<String>(one.get()) else {
                let wrong = "it is not a text; several names go into `channels`";
                note(Some("channel"), wrong.to_owned());
                return None;
            };
            ("channel", names)
        }
        (None, Some(list)) => {
            let Ok(names) = serde_json::from_str::<Vec<String>>(list.get()) else {
                note(Some("channels"), "it is not an array of texts".to_owned());
                return None;
            };
            let mut are_good = true;
            for (n, name) in names.iter().enumerate() {
                if let Err(error) = Channel::parse(name) {
                    note(
                        Some("channels"),
                        format!("name {n}, {:?}: {error}", shown(name)),
                    );
                    are_good = false;
                }
            }
            if !are_good {
                return None;
            }
            ("channels", names.join(" "))
        }
    };
    match Channels::parse(&joined) {
        Ok(channels) => Some(channels),
        Err(error) => {
            note(Some(field), format!("{:?}: {error}", shown(&joined)));
            None
        }
    }
}

fn kind(value: Option<&RawValue>, note: &mut Note<'_>) -> Option<String> {
    let Some(value) = value else {
        note(
            Some("type"),
            "it is missing: what happened, for example \"task.created\"".to_owned(),
        );
        return None;
    };
    match serde_json::from_str::<String>(value.get()) {
        Ok(kind) if is_kind(&kind) => Some(kind),
        Ok(kind) => {
            let kind = shown(&kind);
            note(
                Some("type"),
                format!(
                    "{kind:?} is not a word of 1 to {KIND_BYTES_MAX} bytes, such as task.created"
                ),
            );
            None
        }
        Err(_) => {
            note(Some("type"), "it is not a text".to_owned());
            None
        }
    }
}

/// None where it is left out, or wrong.
fn text(field: &'static str, value: Option<&RawValue>, note: &mut Note<'_>) -> Option<String> {
    let wrong = match serde_json::from_str::<Option<String>>(value?.get()) {
        Ok(None) => return None,
        Ok(Some(text)) if text.contains('\0') => {
            "it has a NUL, which databases do not take".to_owned()
        }
        Ok(Some(text)) if (1..=FIELD_BYTES_MAX).contains(&text.len()) => return Some(text),
        Ok(Some(text)) => format!(
            "it has {} bytes, and 1 to {FIELD_BYTES_MAX} are allowed; leave it out where there is nothing to say",
            text.len()
        ),
        Err(_) => "it is not a text".to_owned(),
    };
    note(Some(field), wrong);
    None
}

/// None where it is left out, or wrong.
fn json(
    field: &'static str,
    value: Option<&RawValue>,
    note: &mut Note<'_>,
) -> Option<Box<RawValue>> {
    let value = value?;
    match storable(value) {
        Ok(()) => Some(value.to_owned()),
        Err(wrong) => {
            note(Some(field), wrong);
            None
        }
    }
}

/// Whether both databases take it.
pub(super) fn storable(json: &RawValue) -> Result<(), String> {
    let stored: Result<Storable, _> = serde_json::from_str(json.get());
    stored
        .map(drop)
        .map_err(|error| format!("it cannot be stored: {error}"))
}

/// JSON that both databases take: Postgres has neither NUL nor half of a surrogate pair in its texts. The reader is one that
/// follows 127 levels of nesting.
struct Storable;

impl<'de> Deserialize<'de> for Storable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Looking)
    }
}

struct Looking;

impl<'de> DeserializeSeed<'de> for Looking {
    type Value = Storable;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Storable, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Looking {
    type Value = Storable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Storable, E> {
        Ok(Storable)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Storable, E> {
        Ok(Storable)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Storable, E> {
        Ok(Storable)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Storable, E> {
        Ok(Storable)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Storable, E> {
        Ok(Storable)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Storable, E> {
        if text.contains('\0') {
            return Err(E::custom("a text has \\u0000, which databases do not take"));
        }
        Ok(Storable)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Storable, A::Error> {
        while list.next_element::<Storable>()?.is_some() {}
        Ok(Storable)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Storable, A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            if key.contains('\0') {
                return Err(A::Error::custom(
                    "a key has \\u0000, which databases do not take",
                ));
            }
            map.next_value_seed(Looking)?;
        }
        Ok(Storable)
    }
}
