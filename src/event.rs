//! The words everything else is written in: events, their ids, channels and channel patterns. No I/O here.

use std::fmt;

use serde_json::value::RawValue;

/// Longest name of one channel, in bytes. Long enough for `project:<uuid>:tasks:<uuid>`; the tables check the same.
pub const CHANNEL_BYTES_MAX: usize = 200;

/// Longest `channel` column of one row, in bytes: a row may address several channels.
pub const CHANNELS_BYTES_MAX: usize = 2000;

/// Number of a row in the `events` table. Unique and ascending, with gaps; ascending is not the order of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub i64);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One row of the `events` table, as its listeners see it.
///
/// `payload` and `previous` are the JSON text of the row, byte for byte: nothing here parses them.
#[derive(Debug, Clone)]
pub struct Event {
    /// Number of the row.
    pub id: EventId,
    /// The channels the row addresses, at least one.
    pub channels: Channels,
    /// What happened, for example `task.created`.
    pub kind: String,
    /// What it happened to.
    pub entity_id: Option<String>,
    /// Who did it.
    pub actor: Option<String>,
    /// The new value, as JSON text.
    pub payload: Box<RawValue>,
    /// The old value, as JSON text.
    pub previous: Option<Box<RawValue>>,
    /// Ties the event to a trace of the backend.
    pub trace_id: Option<String>,
    /// The mutation of the client that caused it, so that its own page can ignore the echo.
    pub origin: Option<String>,
    /// Which transaction wrote the row, in a database whose writers do not take turns: with it, positions tell whether
    /// they have the event.
    pub transaction: Option<u64>,
    /// When the row was inserted: `2026-01-01T00:00:00.000Z`, always UTC, always milliseconds.
    pub created_at: String,
}

/// Longest `type` of a row, in bytes.
pub const KIND_BYTES_MAX: usize = 200;

/// An event to be inserted. The database adds the id and the time.
///
/// ```
/// let channels = rowcast::Channels::parse("tasks")?;
/// let payload = serde_json::value::to_raw_value(&true).expect("it is JSON");
/// let event = rowcast::NewEvent::new(channels, "task.done", payload).entity_id("t1").actor("ann");
/// assert_eq!(event.entity_id.as_deref(), Some("t1"));
/// # Ok::<(), rowcast::ChannelError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewEvent {
    /// The channels to address.
    pub channels: Channels,
    /// What happened, for example `task.created`.
    pub kind: String,
    /// The new value, as JSON text.
    pub payload: Box<RawValue>,
    /// The old value, as JSON text.
    pub previous: Option<Box<RawValue>>,
    /// What it happened to.
    pub entity_id: Option<String>,
    /// Who did it.
    pub actor: Option<String>,
    /// Ties the event to a trace of the backend.
    pub trace_id: Option<String>,
    /// The mutation of the client that caused it, so that its own page can ignore the echo.
    pub origin: Option<String>,
    /// Of all events with the same key the table has one: whoever inserts another is given that one.
    pub dedup_key: Option<String>,
}

impl NewEvent {
    /// An event with what every event has.
    #[must_use]
    pub fn new(
        channels: impl Into<Channels>,
        kind: impl Into<String>,
        payload: Box<RawValue>,
    ) -> Self {
        Self {
            channels: channels.into(),
            kind: kind.into(),
            payload,
            previous: None,
            entity_id: None,
            actor: None,
            trace_id: None,
            origin: None,
            dedup_key: None,
        }
    }

    /// With the old value, as JSON text.
    #[must_use]
    pub fn previous(mut self, previous: Box<RawValue>) -> Self {
        self.previous = Some(previous);
        self
    }

    /// With what it happened to.
    #[must_use]
    pub fn entity_id(mut self, entity_id: impl Into<String>) -> Self {
        self.entity_id = Some(entity_id.into());
        self
    }

    /// With who did it.
    #[must_use]
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// With what ties it to a trace of the backend.
    #[must_use]
    pub fn trace_id(mut self, trace_id: impl Into<String>) -> Self {
        self.trace_id = Some(trace_id.into());
        self
    }

    /// With the mutation of the client that caused it.
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// With a key of which the table has one event only.
    #[must_use]
    pub fn dedup_key(mut self, dedup_key: impl Into<String>) -> Self {
        self.dedup_key = Some(dedup_key.into());
        self
    }
}

/// Whether a text can be the type of an event: one word of up to [`KIND_BYTES_MAX`] bytes, as the tables ask for.
pub(crate) fn is_kind(text: &str) -> bool {
    (1..=KIND_BYTES_MAX).contains(&text.len())
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// The channels of one row: one name, or several separated by single spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channels(Box<str>);

impl Channels {
    /// Reads the text of a `channel` column.
    ///
    /// # Errors
    /// When a name is out of rule, or the whole is longer than [`CHANNELS_BYTES_MAX`].
    pub fn parse(text: &str) -> Result<Self, ChannelError> {
        if text.len() > CHANNELS_BYTES_MAX {
            return Err(ChannelError::TooLong {
                bytes: text.len(),
                limit: CHANNELS_BYTES_MAX,
            });
        }
        for name in text.split(' ') {
            check_name(name)?;
        }
        Ok(Self(text.into()))
    }

    /// `user`: what is above the channels of all users.
    pub(crate) fn of_users() -> Self {
        Self("user".into())
    }

    /// The names as the column holds them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names one by one.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ')
    }
}

/// The name of one channel: `kind`, `kind:id`, or deeper (`project:7:tasks`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Channel(Box<str>);

impl Channel {
    /// Reads a channel name.
    ///
    /// # Errors
    /// When the name is out of rule; the error says how.
    pub fn parse(name: &str) -> Result<Self, ChannelError> {
        check_name(name)?;
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Channel> for Channels {
    fn from(channel: Channel) -> Self {
        Self(channel.0)
    }
}

/// Whom something that is no row is for: whoever of them is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Everybody.
    All,
    /// The subscribers of a channel.
    Channel(Channel),
    /// Every connection of a user, whatever it subscribes to.
    User(Box<str>),
}

/// What a client subscribes to: a channel (and with it all below it), `kind:*` (all below, not itself), or `*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelPattern(Box<str>);

impl ChannelPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is neither a channel name, nor a name followed by `:*`, nor `*`.
    pub fn parse(text: &str) -> Result<Self, ChannelError> {
        if text != "*" {
            check_name(text.strip_suffix(":*").unwrap_or(text))?;
            // The longest name plus ":*" would match nothing.
            check_length(text)?;
        }
        Ok(Self(text.into()))
    }

    /// `*`: every channel there is.
    #[must_use]
    pub fn everything() -> Self {
        Self("*".into())
    }

    /// The pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this matches every channel that `other` does, and another besides.
    #[must_use]
    pub fn is_wider_than(&self, other: &Self) -> bool {
        let below = other.0.strip_suffix(":*").unwrap_or(&other.0);
        self != other && below != "*" && self.matches(below)
    }

    /// Whether an event on `channel` reaches a subscriber of this pattern.
    #[must_use]
    pub fn matches(&self, channel: &str) -> bool {
        matches(&self.0, channel)
    }
}

/// Whether an event on `channel` reaches a subscriber of a pattern, given as text.
pub(crate) fn matches(pattern: &str, channel: &str) -> bool {
    let (parent, itself) = match pattern {
        "*" => return true,
        pattern => pattern
            .strip_suffix(":*")
            .map_or((pattern, true), |parent| (parent, false)),
    };
    match channel.strip_prefix(parent) {
        Some("") => itself,
        Some(rest) => rest.starts_with(':'),
        None => false,
    }
}

impl std::borrow::Borrow<str> for ChannelPattern {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Calls `visit` with every pattern that an event on `channel` reaches, as text: `*`, each parent, each `parent:*`,
/// and the name itself. `scratch` is reused between calls, so that the hot path does not allocate.
pub(crate) fn for_each_pattern(channel: &str, scratch: &mut String, mut visit: impl FnMut(&str)) {
    for_each_pattern_above(channel, scratch, &mut visit);
    visit(channel);
}

/// The same without the name itself: what it has in common with all channels of the same parent.
pub(crate) fn for_each_pattern_above(
    channel: &str,
    scratch: &mut String,
    mut visit: impl FnMut(&str),
) {
    visit("*");
    for (colon, _) in channel.match_indices(':') {
        visit(&channel[..colon]);
        scratch.clear();
        scratch.push_str(&channel[..=colon]);
        scratch.push('*');
        visit(scratch);
    }
}

/// Why a text is not a channel name. The texts are shown to users.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// No text at all, or nothing between two colons or spaces.
    #[error("a channel name, and each part between its colons, needs at least one character")]
    Empty,
    /// Longer than the limit.
    #[error("channel name is {bytes} bytes long, the limit is {limit}")]
    TooLong {
        /// Length found, in bytes.
        bytes: usize,
        /// Longest allowed, in bytes.
        limit: usize,
    },
    /// A character that names may not have.
    #[error(
        "channel name has the character {character:?}; allowed are A-Z a-z 0-9 _ . @ / - and ':' between parts"
    )]
    Character {
        /// The first offending character.
        character: char,
    },
}

fn check_name(name: &str) -> Result<(), ChannelError> {
    check_length(name)?;
    let mut begins_part = true;
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b':' if begins_part => return Err(ChannelError::Empty),
            b':' => begins_part = true,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'@' | b'/' | b'-' => {
                begins_part = false;
            }
            _ => {
                // What is before it is ASCII, so a character begins here.
                let character = name[at..].chars().next().unwrap_or_default();
                return Err(ChannelError::Character { character });
            }
        }
    }
    if begins_part {
        return Err(ChannelError::Empty);
    }
    Ok(())
}

fn check_length(name: &str) -> Result<(), ChannelError> {
    if name.len() > CHANNEL_BYTES_MAX {
        return Err(ChannelError::TooLong {
            bytes: name.len(),
            limit: CHANNEL_BYTES_MAX,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_names_follow_the_rule_of_the_table() {
        for good in [
            "tasks",
            "messages:42",
            "project:7:tasks",
            "user:ann@example.org",
            "a/b-c_d.e",
        ] {
            assert_eq!(
                Channel::parse(good).map(|c| c.as_str().to_owned()),
                Ok(good.to_owned())
            );
        }
        for empty in ["", ":", "a:", ":a", "a::b"] {
            assert_eq!(Channel::parse(empty), Err(ChannelError::Empty), "{empty:?}");
        }
        assert_eq!(
            Channel::parse("a b"),
            Err(ChannelError::Character { character: ' ' })
        );
        assert_eq!(
            Channel::parse("größe"),
            Err(ChannelError::Character { character: 'ö' })
        );
        assert_eq!(
            Channel::parse(&"a".repeat(201)),
            Err(ChannelError::TooLong {
                bytes: 201,
                limit: 200
            })
        );
        assert!(Channel::parse(&"a".repeat(200)).is_ok());
        assert!(Channels::parse("tasks project:7").is_ok());
        for bad in ["", " tasks", "tasks ", "tasks  plans", "tasks\nplans"] {
            assert!(Channels::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_pattern_is_visited_exactly_when_it_matches() {
        let names = ["a", "b", "a:b", "a:b:c", "a:bc", "ab", "ab:c", "a:b:c:d"];
        let patterns = [
            "*",
            "a",
            "a:*",
            "a:b",
            "a:b:*",
            "a:b:c",
            "ab",
            "ab:*",
            "b",
            "b:*",
            "a:b:c:d:*",
        ];
        for name in names {
            let mut visited = Vec::new();
            for_each_pattern(name, &mut String::new(), |pattern| {
                visited.push(pattern.to_owned());
            });
            for pattern in patterns {
                let matches = ChannelPattern::parse(pattern).expect("valid").matches(name);
                assert_eq!(
                    visited.iter().any(|v| v == pattern),
                    matches,
                    "{pattern} on {name}"
                );
            }
            visited.sort();
            visited.dedup();
            assert_eq!(
                visited.len(),
                2 + 2 * name.matches(':').count(),
                "each once: {visited:?}"
            );
        }
    }

    #[test]
    fn a_wider_pattern_matches_more() {
        let names = ["a", "b", "a:b", "a:b:c", "a:c", "ab"];
        let patterns = ["*", "a", "a:*", "a:b", "a:b:*", "a:b:c", "ab", "b"]
            .map(|text| ChannelPattern::parse(text).expect("valid"));
        for wide in &patterns {
            for narrow in &patterns {
                let all = |names: &[&str]| {
                    names
                        .iter()
                        .all(|name| !narrow.matches(name) || wide.matches(name))
                };
                assert_eq!(
                    wide.is_wider_than(narrow),
                    wide != narrow && all(&names) && all(&[&format!("{}:x", narrow.as_str())]),
                    "{wide:?} {narrow:?}"
                );
            }
        }
    }

    #[test]
    fn patterns_out_of_rule_are_refused() {
        for bad in ["", "**", "a*", "a:**", "*:a", ":*", "a:*:b", "a b"] {
            assert!(ChannelPattern::parse(bad).is_err(), "{bad:?}");
        }
    }
}
