//! A schema file: which channels there are, and what the payloads of their events are. Every mistake is told with the
//! file, the line and the key.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::channel::Pattern;
use super::expression;
use super::model::{ChannelKind, Feed, Member, Type};
use super::print::key;
use crate::config::{Lines, closest, error_at, syntax_error};
use crate::error::Error;
use crate::event::is_kind;

/// Larger ones, in bytes, are no schema.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What there is in one.
const SECTIONS: [&str; 3] = ["channels", "types", "events"];

/// Names that the generated file has already.
const TAKEN: [&str; 4] = ["Array", "Channels", "Events", "Record"];

/// Reads a schema.
pub(super) fn read(path: &Path) -> Result<Feed, Error> {
    let wrong = |why: &str| Error::Config(format!("{}: {why}", path.display()));
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(wrong("this is a folder; name the schema in it"));
        }
        Ok(found) if found.len() > FILE_BYTES_MAX => {
            return Err(wrong("a schema has 1 MiB at most; is it another file?"));
        }
        _ => {}
    }
    let text = fs::read_to_string(path).map_err(|error| {
        wrong(&format!(
            "it cannot be read: {error}; `rowcast gen types --help` shows one, and without a file types are learnt from the table"
        ))
    })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Feed, Error> {
    let root = DeTable::parse(text)
        .map_err(|error| syntax_error(path, text, &error, "title = \"string\""))?;
    let schema = Schema {
        path,
        text,
        lines: Lines::of(text.as_bytes()),
    };
    schema.feed(root.get_ref())
}

/// A key with its value, and where it is.
type Entry<'a, 'b> = (&'a Spanned<Cow<'b, str>>, &'a Spanned<DeValue<'b>>);

struct Schema<'a> {
    path: &'a Path,
    text: &'a str,
    lines: Lines,
}

impl Schema<'_> {
    fn feed(&self, root: &DeTable<'_>) -> Result<Feed, Error> {
        let mut feed = Feed::default();
        let name = self.path.file_name().unwrap_or_default();
        feed.origin = format!("{}. Change that, and run it again.", name.display());
        let mut channels = Vec::new();
        for (section, value) in in_order(root) {
            let entries = |example| self.table(section, section.get_ref(), value, example);
            match section.get_ref().as_ref() {
                "types" => {
                    for entry in entries("[types.Task]")? {
                        feed.types.push(self.named_type(entry)?);
                    }
                }
                "events" => {
                    for entry in entries("[events.\"task.created\"]")? {
                        feed.events.push(self.event(entry)?);
                    }
                }
                "channels" => channels = entries("[channels]")?,
                other => {
                    return Err(self.error(
                        section,
                        other,
                        suggest(
                            "a schema has [channels], [types] and [events]",
                            other,
                            SECTIONS,
                        ),
                    ));
                }
            }
        }
        for entry in channels {
            let kind = self.channel(entry, &feed)?;
            feed.channels.push(kind);
        }
        self.check_names(root, &feed)?;
        if feed.events.is_empty() {
            return Err(Error::Config(format!(
                "{}: there are no events; write for example [events.\"task.created\"] and below it id = \"string\"",
                self.path.display()
            )));
        }
        Ok(feed)
    }

    fn named_type(&self, (name, value): Entry<'_, '_>) -> Result<Member, Error> {
        let text = name.get_ref();
        let place = format!("types.{}", key(text));
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !text.starts_with(|c: char| c.is_ascii_uppercase()) || !text.chars().all(is_word) {
            let why = "the name of a type begins with a capital letter and has letters, digits and _ only, as Task";
            return Err(self.error(name, &place, why));
        }
        if TAKEN.contains(&text.as_ref()) {
            return Err(self.error(name, &place, "this name is taken; choose another"));
        }
        Ok(Member {
            name: text.to_string(),
            is_optional: false,
            about: self.about(name),
            r#type: self.value(name, &place, value)?,
        })
    }

    fn event(&self, (name, value): Entry<'_, '_>) -> Result<Member, Error> {
        let text = name.get_ref();
        let place = format!("events.{}", key(text));
        if !is_kind(text) {
            let why = "the type of an event is one word of up to 200 bytes, as task.created";
            return Err(self.error(name, &place, why));
        }
        Ok(Member {
            name: text.to_string(),
            is_optional: false,
            about: self.about(name),
            r#type: self.value(name, &place, value)?,
        })
    }

    fn channel(&self, (name, value): Entry<'_, '_>, feed: &Feed) -> Result<ChannelKind, Error> {
        let text = name.get_ref();
        let place = format!("channels.{}", key(text));
        if matches!(text.as_ref(), "*") {
            return Err(self.error(name, &place, "* is there without being said: every event"));
        }
        let pattern = Pattern::parse(text).map_err(|why| self.error(name, &place, why))?;
        if let Some(other) = feed
            .channels
            .iter()
            .find(|other| other.pattern.is_like(&pattern))
        {
            let why = format!("these are the same channels as {}", other.pattern.as_str());
            return Err(self.error(name, &place, why));
        }
        let how = "write a list of types of events: [\"task.created\", \"task.updated\"]";
        let DeValue::Array(items) = value.get_ref() else {
            return Err(self.error(name, &place, how));
        };
        let mut events = BTreeSet::new();
        for item in items {
            let DeValue::String(event) = item.get_ref() else {
                return Err(self.error(item, &place, how));
            };
            if !feed.events.iter().any(|known| known.name == event.as_ref()) {
                let why = unknown_event(event, feed);
                return Err(self.error(item, &place, why));
            }
            events.insert(event.to_string());
        }
        Ok(ChannelKind {
            pattern,
            about: self.about(name),
            events,
        })
    }

    /// A type: a text, or a table of members.
    fn value(
        &self,
        name: &Spanned<Cow<'_, str>>,
        place: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Type, Error> {
        match value.get_ref() {
            DeValue::String(text) => {
                expression::parse(text).map_err(|why| self.error(value, place, why))
            }
            DeValue::Table(table) => {
                let mut members: Vec<Member> = Vec::new();
                for entry in in_order(table) {
                    let member = self.member(place, entry)?;
                    if members.iter().any(|other| other.name == member.name) {
                        let why = "it is there twice, once with and once without a ?; keep one";
                        return Err(self.error(entry.0, &format!("{place}.{}", key(&member.name)), why));
                    }
                    members.push(member);
                }
                Ok(Type::Object(members))
            }
            DeValue::Array(_) => Err(self.error(
                name,
                place,
                "an array is written as a text, \"string[]\"; one of objects as \"Task[]\", with [types.Task]",
            )),
            _ => Err(self.error(
                name,
                place,
                "a type is a text, as \"number\", or a table of members",
            )),
        }
    }

    fn member(&self, place: &str, (name, value): Entry<'_, '_>) -> Result<Member, Error> {
        let written = name.get_ref();
        let (text, is_optional) = written
            .strip_suffix('?')
            .map_or((written.as_ref(), false), |text| (text, true));
        let place = format!("{place}.{}", key(text));
        Ok(Member {
            name: text.to_owned(),
            is_optional,
            about: self.about(name),
            r#type: self.value(name, &place, value)?,
        })
    }

    fn table<'a, 'b>(
        &self,
        name: &Spanned<Cow<'b, str>>,
        place: &str,
        value: &'a Spanned<DeValue<'b>>,
        example: &str,
    ) -> Result<Vec<Entry<'a, 'b>>, Error> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(in_order(table)),
            _ => Err(self.error(name, place, format!("write it as a table: {example}"))),
        }
    }

    /// Every type that is named is there, and none is itself without anything between.
    fn check_names(&self, root: &DeTable<'_>, feed: &Feed) -> Result<(), Error> {
        let types: BTreeMap<_, _> = feed
            .types
            .iter()
            .map(|named| (named.name.as_str(), named))
            .collect();
        for (section, members) in [("types", &feed.types), ("events", &feed.events)] {
            for member in members {
                let mut unknown = None;
                expression::names(&member.r#type, true, &mut |name| {
                    if !types.contains_key(name) && unknown.is_none() {
                        unknown = Some(name.to_owned());
                    }
                });
                if let Some(name) = unknown {
                    let why = unknown_type(&name, types.keys().copied());
                    return Err(self.error_about(root, section, &member.name, &name, &why));
                }
            }
        }
        for named in &feed.types {
            if reaches(named, &named.name, &types, &mut BTreeSet::new()) {
                let why = format!(
                    "{0} is made of itself; put it into an array or a table of members, as in {0}[]",
                    named.name
                );
                return Err(self.error_about(root, "types", &named.name, &named.name, &why));
            }
        }
        Ok(())
    }

    /// An error about a word within the definition of a type or an event, with the line of the first value that has it.
    fn error_about(
        &self,
        root: &DeTable<'_>,
        section: &str,
        name: &str,
        word: &str,
        why: &str,
    ) -> Error {
        let table = in_order(root)
            .into_iter()
            .find(|(found, _)| found.get_ref() == section);
        let entries = table.map_or_else(Vec::new, |(_, value)| match value.get_ref() {
            DeValue::Table(table) => in_order(table),
            _ => Vec::new(),
        });
        let entry = entries
            .into_iter()
            .find(|(found, _)| found.get_ref() == name);
        let place = format!("{section}.{}", key(name));
        let found = entry.and_then(|(_, value)| find_word(&place, value, word));
        let itself = entry.map_or(0, |(name, _)| name.span().start);
        let (place, start) = found.unwrap_or((place, itself));
        error_at(
            self.path,
            self.lines.at(start),
            format_args!("{place}: {why}"),
        )
    }

    fn error<T>(&self, at: &Spanned<T>, place: &str, why: impl fmt::Display) -> Error {
        error_at(
            self.path,
            self.lines.at(at.span().start),
            format_args!("{place}: {why}"),
        )
    }

    /// The comment above a key.
    fn about(&self, name: &Spanned<impl Sized>) -> Vec<String> {
        let span = name.span();
        let line_start = self.text[..span.start].rfind('\n').map_or(0, |end| end + 1);
        let behind = self.text[span.end..]
            .trim_start_matches(['"', '\''])
            .trim_start_matches(' ');
        // Neither of a line with several keys nor for the parents of a key.
        if self.text[line_start..span.start].contains(['=', '{']) || !behind.starts_with(['=', ']'])
        {
            return Vec::new();
        }
        let above = self.text[..line_start].lines().rev();
        let mut lines: Vec<_> = above
            .map_while(|line| line.trim().strip_prefix('#'))
            .map(|line| line.trim().to_owned())
            .collect();
        lines.reverse();
        lines
    }
}

/// The entries of a table as they are written, one after the other.
fn in_order<'a, 'b>(table: &'a DeTable<'b>) -> Vec<Entry<'a, 'b>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// Where the first type that mentions a name is written.
fn find_word(place: &str, value: &Spanned<DeValue<'_>>, word: &str) -> Option<(String, usize)> {
    match value.get_ref() {
        DeValue::String(text) => {
            let mut found = false;
            if let Ok(parsed) = expression::parse(text) {
                expression::names(&parsed, true, &mut |name| found |= name == word);
            }
            found.then(|| (place.to_owned(), value.span().start))
        }
        DeValue::Table(table) => in_order(table).into_iter().find_map(|(name, value)| {
            let name = name.get_ref();
            let name = key(name.strip_suffix('?').unwrap_or(name));
            find_word(&format!("{place}.{name}"), value, word)
        }),
        _ => None,
    }
}

/// Whether a type is made of the one with this name, without an array or an object between.
fn reaches<'a>(
    from: &'a Member,
    name: &str,
    types: &BTreeMap<&str, &'a Member>,
    seen: &mut BTreeSet<&'a str>,
) -> bool {
    if !seen.insert(&from.name) {
        return false;
    }
    let mut next = Vec::new();
    expression::names(&from.r#type, false, &mut |named| {
        next.push(named.to_owned());
    });
    next.iter().any(|named| {
        named == name
            || types
                .get(named.as_str())
                .is_some_and(|of| reaches(of, name, types, seen))
    })
}

fn unknown_event(event: &str, feed: &Feed) -> String {
    let mut text = suggest(
        &format!("there is no event {event:?} in [events]"),
        event,
        feed.events.iter().map(|known| known.name.as_str()),
    );
    let parent = event.split('.').next().unwrap_or_default();
    if event.contains('.') && feed.events.iter().any(|known| known.name == parent) {
        let _ = write!(
            text,
            "; a name with a dot stands in quotes: [events.{event:?}]"
        );
    }
    text
}

fn unknown_type<'a>(name: &str, types: impl Iterator<Item = &'a str>) -> String {
    match expression::advice(name) {
        Some(advice) => format!("there is no type {name}; {advice}"),
        None => suggest(
            &format!("there is no type {name}"),
            name,
            expression::words().chain(types),
        ),
    }
}

fn suggest<'a>(text: &str, word: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    match closest(word, words) {
        Some(meant) => format!("{text}; did you mean {meant}?"),
        None => text.to_owned(),
    }
}
