//! Names of channels with parts that vary: `messages:{channelId}`, as a schema has them or as samples show them.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Channel;

/// More different words than this at one place of channels are names of things, and no kinds.
const WORDS_MAX: usize = 10;

/// Stands for any text, where names are compared. No name has it.
const ANY: char = '\u{1}';

/// A channel, or all of a kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pattern {
    /// With parameters in braces.
    written: String,
    /// With [`ANY`] for each parameter.
    shape: String,
}

impl Pattern {
    /// Reads `messages:{channelId}`. The error is a sentence.
    pub fn parse(written: &str) -> Result<Self, String> {
        let mut shape = String::new();
        let mut rest = written;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, behind)) = after.split_once('}') else {
                return Err("a { without its }; parameters are written {channelId}".into());
            };
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(is_word) {
                return Err(format!(
                    "{{{name}}}: a parameter is a word in braces, as {{channelId}}"
                ));
            }
            if behind.starts_with('{') {
                return Err("two parameters need something between them, as in {team}:{id}".into());
            }
            shape.push_str(before);
            shape.push(ANY);
            rest = behind;
        }
        shape.push_str(rest);
        Channel::parse(&shape.replace(ANY, "x")).map_err(|error| error.to_string())?;
        let written = written.to_owned();
        Ok(Self { written, shape })
    }

    /// As it is written: `messages:{channelId}`.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether both mean the same channels.
    pub fn is_like(&self, other: &Self) -> bool {
        self.shape == other.shape
    }

    pub fn has_parameters(&self) -> bool {
        self.shape.contains(ANY)
    }

    /// The text between backticks in TypeScript. Names have no character that would have to be escaped there.
    pub fn template(&self) -> String {
        self.shape.replace(ANY, "${string}")
    }

    /// Whether TypeScript takes `*` for one of its channels.
    pub fn has_everything(&self) -> bool {
        meet(&self.shape, "*")
    }

    /// Whether a subscriber of one of these channels, as TypeScript knows them, may be sent what is inserted on one of the
    /// others: because it is the same channel, or one above it.
    pub fn may_hear(&self, other: &Self) -> bool {
        let ends = other.shape.match_indices(':').map(|(colon, _)| colon);
        ends.chain([other.shape.len()])
            .any(|end| meet(&self.shape, &other.shape[..end]))
    }
}

/// Whether there is a text that both shapes allow. Parameters of the first are TypeScript's `${string}`, which may be
/// anything; those of the second are a part of a name: something without a colon. O(n · m).
fn meet(loose: &str, strict: &str) -> bool {
    let (loose, strict): (Vec<_>, Vec<_>) = (loose.chars().collect(), strict.chars().collect());
    let mut seen = BTreeSet::new();
    // Places in both that the same text leads to, and whether the parameter in the second has something already.
    let mut open = vec![(0, 0, false)];
    while let Some(place) = open.pop() {
        let (l, s, begun) = place;
        if !seen.insert(place) {
            continue;
        }
        match (loose.get(l), strict.get(s)) {
            (None, None) => return true,
            (None, Some(&ANY)) if begun => open.push((l, s + 1, false)),
            (Some(&ANY), None) => open.push((l + 1, s, false)),
            (Some(&ANY), Some(&ANY)) => {
                open.extend([(l + 1, s, begun), (l, s, true), (l, s + 1, false)]);
            }
            (Some(&ANY), Some(_)) => open.extend([(l + 1, s, false), (l, s + 1, false)]),
            (Some(&c), Some(&ANY)) => {
                if begun {
                    open.push((l, s + 1, false));
                }
                if c != ':' {
                    open.push((l + 1, s, true));
                }
            }
            (Some(one), Some(other)) if one == other => open.push((l + 1, s + 1, false)),
            _ => {}
        }
    }
    false
}

/// The kinds of channels that these names are of, with what is known of the names put together.
pub(super) fn kinds_of(
    names: &BTreeMap<String, BTreeSet<String>>,
) -> BTreeMap<Pattern, BTreeSet<String>> {
    let mut places: Vec<Vec<Option<&str>>> = names.keys().map(|name| parts_of(name)).collect();
    let deepest = places.iter().map(Vec::len).max().unwrap_or_default();
    for depth in (2..deepest).step_by(2) {
        let mut words: BTreeMap<Vec<Option<&str>>, BTreeSet<&str>> = BTreeMap::new();
        for place in &places {
            if let Some(Some(word)) = place.get(depth) {
                let above = place[..depth].to_vec();
                words.entry(above).or_default().insert(word);
            }
        }
        for place in &mut places {
            if place.len() > depth
                && words
                    .get(&place[..depth])
                    .is_some_and(|words| words.len() > WORDS_MAX)
            {
                place[depth] = None;
            }
        }
    }
    let mut kinds: BTreeMap<Pattern, BTreeSet<String>> = BTreeMap::new();
    for (place, events) in places.iter().zip(names.values()) {
        let text = |parameter: &str| {
            let parts: Vec<_> = place.iter().map(|part| part.unwrap_or(parameter)).collect();
            parts.join(":")
        };
        let pattern = Pattern {
            written: text("{id}"),
            shape: text(&ANY.to_string()),
        };
        kinds
            .entry(pattern)
            .or_default()
            .extend(events.iter().cloned());
    }
    kinds
}

/// The parts of a name; none for what varies. Names are pairs: `project:7:tasks:t1`. So the second of a pair varies
/// whatever it looks like, and the first where it looks like an id.
fn parts_of(name: &str) -> Vec<Option<&str>> {
    let parts = name.split(':').enumerate();
    parts
        .map(|(n, part)| Some(part).filter(|part| n % 2 == 0 && !is_id(part)))
        .collect()
}

/// Whether a word looks like an id, and not like a name that a programmer has given: a number, a UUID, an address, or
/// something long with digits in it.
pub(super) fn is_id(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !word.is_empty() && digits == word.len()
        || word.contains('@')
        || digits > 1 && word.len() >= 16 && word.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).expect("it is in rule")
    }

    #[test]
    fn subscribers_hear_their_channel_and_what_is_below() {
        let cases = [
            ("tasks", "tasks", true),
            ("task", "tasks", false),
            ("project", "project:{id}", true),
            ("project:{id}", "project", false),
            ("project:{id}", "project:{id}:tasks", true),
            ("project:{id}:tasks", "project:{id}", false),
            ("project:{id}", "project:7", true),
            ("project:7", "project:{id}", true),
            ("project:{id}:tasks", "project:7:tasks:{id}", true),
            ("a:{x}:b", "a:{x}:c", false),
            ("{id}:tasks", "project:{id}", true),
            ("{id}", "a:b", true),
            ("a{x}c", "a{y}b{z}c", true),
            ("a{x}", "a", true),
            ("a", "a{x}", false),
        ];
        for (one, other, wanted) in cases {
            let hears = pattern(one).may_hear(&pattern(other));
            assert_eq!(hears, wanted, "{one} {other}");
        }
        assert!(pattern("{id}").has_everything() && !pattern("{id}:a").has_everything());
    }

    #[test]
    fn channels_of_a_kind_are_found() {
        let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut add = |name: &str, kind: &str| {
            names
                .entry(name.to_owned())
                .or_default()
                .insert(kind.to_owned());
        };
        add("tasks", "a");
        add("messages:42", "b");
        add("messages:general", "c");
        add("inbox:ann@example.org", "d");
        add("project:7:tasks", "e");
        add("project:8:cycles:9", "f");
        add("8d0f6f0e-3c1a-4c58-9c0a-1b2c3d4e5f60", "g");
        for n in 0..20 {
            let word = String::from_utf8(vec![b'a' + n; 4]).expect("ASCII");
            add(&format!("team:1:{word}"), "h");
        }
        let kinds: Vec<_> = kinds_of(&names)
            .into_iter()
            .map(|(pattern, events)| {
                let events: Vec<_> = events.into_iter().collect();
                format!("{} {}", pattern.as_str(), events.join(","))
            })
            .collect();
        assert_eq!(
            kinds,
            [
                "inbox:{id} d",
                "messages:{id} b,c",
                "project:{id}:cycles:{id} f",
                "project:{id}:tasks e",
                "tasks a",
                "team:{id}:{id} h",
                "{id} g",
            ]
        );
    }
}
