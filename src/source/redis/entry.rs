//! An entry of the stream: a batch of the feed as Redis keeps it. Positions are told in full, so that none of them is
//! earlier than it was; payloads stay the JSON that they are.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::cursor::Cursor;
use crate::event::{Channels, Event, EventId};

/// A batch of the feed, to be appended after the end of the stream.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The position after its events.
    pub upto: Cursor,
    /// The events, in order; none where only the position moved.
    pub events: Vec<Arc<Event>>,
    /// How it is joined to what comes before it.
    pub joint: Joint,
}

/// What lies between the end of an entry and the events of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joint {
    /// Nothing.
    Whole,
    /// What is known to whoever has been at that end, and to nobody else: what a Redis that was emptied had, or how the
    /// database came into another life. Of what lies behind the place in that one some may have been handed out before.
    Left,
    /// Something that cannot be told.
    Reset,
}

/// An entry that is in the stream.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub id: EntryId,
    /// The end of the one before it, as it was then. None for the first of a stream.
    pub after: Option<Cursor>,
    pub entry: Entry,
    /// The last entry, itself included, that is not joined to the one before it. It may be trimmed away by now.
    pub joint: EntryId,
    /// What it takes.
    pub bytes: usize,
}

/// The id that Redis gave an entry: milliseconds since 1970, and a number among those of the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId {
    pub ms: u64,
    pub number: u64,
}

impl EntryId {
    pub const FIRST: Self = Self { ms: 0, number: 0 };

    /// The first id that the next one can have.
    pub fn next(self) -> Self {
        Self {
            ms: self.ms,
            number: self.number + 1,
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let (ms, number) = text.split_once('-')?;
        Some(Self {
            ms: ms.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

/// Id, channels, type, entity, actor, payload, previous (none or one), trace, origin, transaction, time.
#[derive(Serialize, Deserialize)]
struct Told<'a>(
    i64,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    Option<String>,
    Option<String>,
    #[serde(borrow)] &'a RawValue,
    // A list, as JSON's null is a value that there may have been.
    #[serde(borrow)] Vec<&'a RawValue>,
    Option<String>,
    Option<String>,
    Option<u64>,
    #[serde(borrow)] Cow<'a, str>,
);

/// The events of an entry as JSON.
pub(super) fn encode(events: &[Arc<Event>]) -> String {
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            Told(
                event.id.0,
                Cow::Borrowed(event.channels.as_str()),
                Cow::Borrowed(&event.kind),
                event.entity_id.clone(),
                event.actor.clone(),
                &event.payload,
                event.previous.iter().map(|previous| &**previous).collect(),
                event.trace_id.clone(),
                event.origin.clone(),
                event.transaction,
                Cow::Borrowed(&event.created_at),
            )
        })
        .collect();
    serde_json::to_string(&told).expect("texts, numbers and JSON are JSON")
}

/// What [`encode`] made; none where it did not.
pub(super) fn decode(json: &str) -> Option<Vec<Arc<Event>>> {
    let told: Vec<Told<'_>> = serde_json::from_str(json).ok()?;
    told.into_iter()
        .map(|told| {
            let Told(
                id,
                channels,
                kind,
                entity_id,
                actor,
                payload,
                previous,
                trace_id,
                origin,
                transaction,
                created_at,
            ) = told;
            Some(Arc::new(Event {
                id: EventId(id),
                channels: Channels::parse(&channels).ok()?,
                kind: kind.into_owned(),
                entity_id,
                actor,
                payload: payload.to_owned(),
                previous: previous.first().map(|&previous| previous.to_owned()),
                trace_id,
                origin,
                transaction,
                created_at: created_at.into_owned(),
            }))
        })
        .collect()
}

impl Kept {
    /// Whether whoever is at this position lacks no event before those of this entry.
    pub fn begins_before(&self, cursor: &Cursor) -> bool {
        self.entry.joint != Joint::Reset
            && self
                .after
                .as_ref()
                .is_some_and(|after| cursor.reaches(after))
    }

    /// Whether whoever is at this position can go on with this entry, or with the one after it.
    pub fn is_usable_from(&self, cursor: &Cursor) -> bool {
        self.begins_before(cursor) || cursor.reaches(&self.entry.upto)
    }
}

impl Joint {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Whole => "",
            Self::Left => "left",
            Self::Reset => "reset",
        }
    }

    /// A word of a later version is no joint that can be trusted.
    pub(super) fn parse(word: &str) -> Self {
        match word {
            "" => Self::Whole,
            "left" => Self::Left,
            _ => Self::Reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_back_as_it_was() {
        let raw = |json: &str| RawValue::from_string(json.into()).expect("JSON");
        let event = |previous, entity_id: Option<&str>| {
            Arc::new(Event {
                id: EventId(i64::MAX),
                channels: Channels::parse("tasks project:7").expect("good names"),
                kind: "task.\"created\"\u{1F980}".into(),
                entity_id: entity_id.map(Into::into),
                actor: Some("a\\b".into()),
                payload: raw(r#"{"b": 1.0, "a":[ 1e5 ] , "s":"\u0041\n"}"#),
                previous,
                trace_id: Some(String::new()),
                origin: None,
                transaction: Some(u64::MAX),
                created_at: "2026-01-01T00:00:00.000Z".into(),
            })
        };
        let events = [event(None, None), event(Some(raw("null")), Some("t1"))];
        let back = decode(&encode(&events)).expect("it can be read");
        assert_eq!(format!("{events:?}"), format!("{back:?}"));
        assert!(decode("[[1]]").is_none() && decode("").is_none());
        assert_eq!(decode("[]").map(|events| events.len()), Some(0));
    }
}
