//! Laws of channels, patterns and grants.

use serde_json::{Map, Value};

use super::super::{GrantTemplate, Grants, is_part};
use super::is_of;
use crate::event::{
    CHANNEL_BYTES_MAX, Channel, ChannelError, ChannelPattern, Channels, for_each_pattern,
};

/// Most lines that are compared with each other.
const LINES_MAX: usize = 8;

/// Each line is taken for all that it may be: channels, a pattern, a grant, claims. Then all of them are compared.
pub(crate) fn channels(text: &str) {
    let lines: Vec<&str> = text.split('\n').take(LINES_MAX).collect();
    let patterns: Vec<_> = lines.iter().filter_map(|line| pattern(line)).collect();
    let names: Vec<_> = lines.iter().flat_map(|line| names(line)).collect();
    let claims: Vec<Map<String, Value>> = lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    for line in &lines {
        template(line, &claims);
    }
    for a in &patterns {
        for b in &patterns {
            pair(a, b, &names);
        }
    }
    for name in &names {
        visits(name, &patterns);
    }
    // What is asked for, and any part of the rest as what is granted.
    for (index, asked) in patterns.iter().enumerate() {
        grants(asked, &patterns[..index], &names);
        grants(asked, &patterns[index + 1..], &names);
    }
}

fn pattern(text: &str) -> Option<ChannelPattern> {
    let channel = Channel::parse(text);
    let pattern = ChannelPattern::parse(text);
    for error in [channel.as_ref().err(), pattern.as_ref().err()] {
        let Some(error) = error else { continue };
        assert!(
            error.to_string().len() < 200,
            "an error is short: {error:?}"
        );
        if let ChannelError::Character { character } = error {
            assert!(text.contains(*character), "{character:?}");
        }
    }
    assert_eq!(
        channel.is_ok(),
        pattern.is_ok() && !text.contains('*'),
        "a channel is a pattern without a wildcard: {text:?}"
    );
    if text.len() <= CHANNEL_BYTES_MAX {
        assert_eq!(is_part(text), channel.is_ok() && !text.contains(':'));
    }
    let pattern = pattern.ok()?;
    assert_eq!(pattern.as_str(), text);
    assert!(text.len() <= CHANNEL_BYTES_MAX);
    if let Ok(channel) = channel {
        assert_eq!(channel.as_str(), text);
        assert!(pattern.matches(text), "{text:?} matches itself");
    }
    assert!(ChannelPattern::everything() == pattern || text == text.trim());
    Some(pattern)
}

fn names(text: &str) -> Vec<String> {
    let Ok(channels) = Channels::parse(text) else {
        return Vec::new();
    };
    let names: Vec<_> = channels.iter().map(ToOwned::to_owned).collect();
    assert_eq!(names.join(" "), text);
    assert_eq!(channels.as_str(), text);
    for name in &names {
        assert!(Channel::parse(name).is_ok(), "{name:?}");
    }
    names
}

fn template(text: &str, claims: &[Map<String, Value>]) {
    let Ok(template) = GrantTemplate::parse(text) else {
        assert!(
            ChannelPattern::parse(text).is_err(),
            "each pattern is a grant: {text:?}"
        );
        return;
    };
    assert_eq!(template.as_str(), text);
    for claims in claims {
        for pattern in template.expand(claims) {
            assert!(is_of(text, pattern.as_str()), "{text:?} gave {pattern:?}");
        }
    }
    if !text.contains('{') {
        let patterns = template.expand(&Map::new());
        assert_eq!(patterns, [ChannelPattern::parse(text).expect("as a grant")]);
    }
}

/// What patterns match are subtrees: one within the other, or nothing in common.
fn pair(a: &ChannelPattern, b: &ChannelPattern, names: &[String]) {
    assert!(
        !(a.is_wider_than(b) && b.is_wider_than(a)),
        "{a:?} and {b:?}"
    );
    let nested = a == b || a.is_wider_than(b) || b.is_wider_than(a);
    for name in names {
        let (in_a, in_b) = (a.matches(name), b.matches(name));
        assert!(!(in_a && in_b) || nested, "{a:?}, {b:?}, {name:?}");
        assert!(
            !a.is_wider_than(b) || !in_b || in_a,
            "{a:?}, {b:?}, {name:?}"
        );
    }
}

fn visits(name: &str, patterns: &[ChannelPattern]) {
    let mut visited = Vec::new();
    for_each_pattern(name, &mut String::new(), |pattern| {
        visited.push(pattern.to_owned());
    });
    for text in &visited {
        let pattern = ChannelPattern::parse(text).expect("what is visited is a pattern");
        assert!(pattern.matches(name), "{pattern:?} on {name:?}");
    }
    for pattern in patterns {
        let times = visited
            .iter()
            .filter(|text| *text == pattern.as_str())
            .count();
        assert_eq!(
            times,
            usize::from(pattern.matches(name)),
            "{pattern:?} on {name:?}"
        );
    }
}

/// What is received is what was asked for and is granted.
fn grants(asked: &ChannelPattern, given: &[ChannelPattern], names: &[String]) {
    let granted = Grants::new(given.iter().cloned());
    assert_eq!(Grants::new(granted.patterns().iter().cloned()), granted);
    for a in granted.patterns() {
        let within = granted.patterns().iter().any(|b| b.is_wider_than(a));
        assert!(!within, "{granted:?}");
    }
    let parts = granted.narrow(asked);
    for part in &parts {
        assert!(part == asked || asked.is_wider_than(part));
        assert_eq!(
            granted.narrow(part),
            std::slice::from_ref(part),
            "what is granted stays so"
        );
    }
    for name in names {
        let may = given.iter().any(|pattern| pattern.matches(name));
        assert_eq!(granted.cover(name), may, "{given:?} {name:?}");
        assert_eq!(
            parts.iter().any(|part| part.matches(name)),
            may && asked.matches(name),
            "{given:?}, asked {asked:?}, channel {name:?}"
        );
    }
}
