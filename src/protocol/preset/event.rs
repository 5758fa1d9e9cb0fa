//! Events as templates see them: rows, and what is none.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Names;
use super::placeholder::{Name, Scope, Value};
use crate::event::{Channels, Event};

/// What the type of a deletion ends with.
const DELETED: &str = "deleted";

/// What the type of a change ends with.
const UPDATED: &str = "updated";

/// An event, be it a row or not.
pub(in crate::protocol) struct View<'a> {
    /// The row's, or the time in milliseconds.
    id: i64,
    kind: Cow<'a, str>,
    entity_id: Option<Cow<'a, str>>,
    actor: Option<Cow<'a, str>>,
    payload: &'a RawValue,
    previous: Option<&'a RawValue>,
    trace_id: Option<Cow<'a, str>>,
    origin: Option<Cow<'a, str>>,
    created_at: Cow<'a, str>,
}

impl<'a> View<'a> {
    pub fn of(event: &'a Event) -> Self {
        let text = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
        Self {
            id: event.id.0,
            kind: (&*event.kind).into(),
            entity_id: text(&event.entity_id),
            actor: text(&event.actor),
            payload: &event.payload,
            previous: event.previous.as_deref(),
            trace_id: text(&event.trace_id),
            origin: text(&event.origin),
            created_at: (&*event.created_at).into(),
        }
    }

    /// An event that is no row. JSON that is no event is the payload of one without a type.
    pub fn ephemeral(json: &'a RawValue) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields<'a> {
            #[serde(borrow)]
            r#type: Option<Cow<'a, str>>,
            #[serde(borrow)]
            entity_id: Option<Cow<'a, str>>,
            #[serde(borrow)]
            actor: Option<Cow<'a, str>>,
            #[serde(borrow)]
            payload: Option<&'a RawValue>,
            #[serde(borrow)]
            previous: Option<&'a RawValue>,
            #[serde(borrow)]
            trace_id: Option<Cow<'a, str>>,
            #[serde(borrow)]
            origin: Option<Cow<'a, str>>,
        }
        let fields: Fields<'a> = serde_json::from_str(json.get()).unwrap_or_default();
        let now = SystemTime::now();
        let since = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            id: since.as_millis() as i64,
            payload: fields.payload.unwrap_or(json),
            kind: fields.r#type.unwrap_or_default(),
            entity_id: fields.entity_id,
            actor: fields.actor,
            previous: fields.previous,
            trace_id: fields.trace_id,
            origin: fields.origin,
            created_at: humantime::format_rfc3339_millis(now).to_string().into(),
        }
    }

    /// Its type, if it has one.
    pub fn named(&self) -> Option<&str> {
        (!self.kind.is_empty()).then_some(&*self.kind)
    }

    /// `task` and `created` of `task.created`; a word alone is the second.
    fn parts(&self) -> (Option<&str>, &str) {
        match self.kind.rsplit_once(['.', ':']) {
            Some((kind, verb)) => (Some(kind), verb),
            None => (None, &self.kind),
        }
    }
}

/// An event, for one of its channels or for all.
pub(super) struct EventScope<'a> {
    view: &'a View<'a>,
    names: &'a Names,
    channels: &'a Channels,
    channel: Option<&'a str>,
    cursor: Option<&'a str>,
    name: OnceCell<String>,
    payload: OnceCell<Members<'a>>,
    previous: OnceCell<Members<'a>>,
}

type Members<'a> = HashMap<String, &'a RawValue>;

impl<'a> EventScope<'a> {
    pub fn new(
        view: &'a View<'a>,
        names: &'a Names,
        channels: &'a Channels,
        cursor: Option<&'a str>,
    ) -> Self {
        Self {
            view,
            names,
            channels,
            channel: None,
            cursor,
            name: OnceCell::new(),
            payload: OnceCell::new(),
            previous: OnceCell::new(),
        }
    }

    /// The same event for one of its channels.
    pub fn for_channel(&mut self, channel: &'a str) {
        self.channel = Some(channel);
    }

    fn payload(&self) -> &Members<'a> {
        self.payload.get_or_init(|| members(self.view.payload))
    }

    fn previous(&self) -> &Members<'a> {
        let previous = || self.view.previous.map(members).unwrap_or_default();
        self.previous.get_or_init(previous)
    }

    fn name(&self) -> &str {
        self.name.get_or_init(|| {
            let (kind, verb) = self.view.parts();
            if verb == UPDATED
                && self.view.previous.is_some()
                && let Some(name) = self.names.of_change(|member| self.has_changed(member))
            {
                return name.to_owned();
            }
            self.names.of_type(&self.view.kind, kind, verb)
        })
    }

    fn has_changed(&self, member: &str) -> bool {
        let value = |members: &Members<'_>| {
            let json = members.get(member)?;
            serde_json::from_str::<serde_json::Value>(json.get()).ok()
        };
        value(self.payload()) != value(self.previous())
    }
}

impl Scope for EventScope<'_> {
    fn value(&self, name: &Name) -> Value<'_> {
        let view = self.view;
        match name {
            Name::Id => Value::json(&view.id),
            Name::Type => Value::text(&view.kind),
            Name::Called => Value::text(self.name()),
            Name::Kind => Value::of(view.parts().0),
            Name::Verb => Value::text(view.parts().1),
            Name::VerbUpper => Value::Text(upper(view.parts().1).into()),
            Name::EntityId => Value::of(view.entity_id.as_deref()),
            Name::Actor => Value::of(view.actor.as_deref()),
            Name::NewValue if view.parts().1 == DELETED => Value::Missing,
            Name::Payload | Name::NewValue => Value::Json(view.payload.get().into()),
            Name::Previous => view
                .previous
                .map_or(Value::Missing, |raw| Value::Json(raw.get().into())),
            Name::PayloadMember(member) => self
                .payload()
                .get(&**member)
                .map_or(Value::Missing, |raw| Value::Json(raw.get().into())),
            Name::PreviousMember(member) => self
                .previous()
                .get(&**member)
                .map_or(Value::Missing, |raw| Value::Json(raw.get().into())),
            Name::TraceId => Value::of(view.trace_id.as_deref()),
            Name::Origin => Value::of(view.origin.as_deref()),
            Name::CreatedAt => Value::text(&view.created_at),
            Name::Channel => Value::of(self.channel),
            Name::ChannelPart(n) => {
                Value::of(self.channel.and_then(|name| name.split(':').nth(n - 1)))
            }
            Name::Channels => Value::Texts(self.channels.iter().collect()),
            Name::Cursor => Value::of(self.cursor),
            Name::Now => Value::now(),
            Name::Member(_) => Value::Missing,
        }
    }
}

/// A word as constants are written: `STATUS_CHANGED`.
pub(super) fn upper(word: &str) -> String {
    word.replace('-', "_").to_uppercase()
}

/// The members of a JSON object; of anything else none.
fn members(json: &RawValue) -> Members<'_> {
    serde_json::from_str(json.get()).unwrap_or_default()
}
