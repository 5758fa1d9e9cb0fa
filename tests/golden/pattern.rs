//! Patterns: JSON in which a text such as `<time>` stands for what differs each time.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// What `<cursor:NAME>` stood for, to be said by the client later.
pub type Seen = HashMap<String, String>;

/// Compares what came with what is written. The error says where they differ.
pub fn compare(pattern: &Value, found: &Value, seen: &mut Seen) -> Result<(), String> {
    compare_at("", pattern, found, seen)
}

fn compare_at(at: &str, pattern: &Value, found: &Value, seen: &mut Seen) -> Result<(), String> {
    match (pattern, found) {
        (Value::Object(wanted), Value::Object(members)) => objects(at, wanted, members, seen),
        (Value::Array(wanted), Value::Array(items)) if wanted.len() == items.len() => {
            let mut pairs = wanted.iter().zip(items).enumerate();
            pairs.try_for_each(|(n, (wanted, item))| {
                compare_at(&format!("{at}[{n}]"), wanted, item, seen)
            })
        }
        (Value::String(text), _) if text.starts_with('<') && text.ends_with('>') => {
            let name = &text[1..text.len() - 1];
            if stands_for(name, found) {
                if let Some(text) = found.as_str() {
                    seen.insert(name.to_owned(), text.to_owned());
                }
                return Ok(());
            }
            Err(format!("{at} is {found}, which is no {text}"))
        }
        _ if pattern == found => Ok(()),
        _ => Err(format!("{at} is {found} instead of {pattern}")),
    }
}

fn objects(
    at: &str,
    wanted: &Map<String, Value>,
    members: &Map<String, Value>,
    seen: &mut Seen,
) -> Result<(), String> {
    if let Some(more) = members.keys().find(|key| !wanted.contains_key(*key)) {
        return Err(format!("{at}.{more} is there: {}", members[more]));
    }
    wanted.iter().try_for_each(|(key, wanted)| {
        let found = members
            .get(key)
            .ok_or_else(|| format!("{at}.{key} is missing"))?;
        compare_at(&format!("{at}.{key}"), wanted, found, seen)
    })
}

fn stands_for(name: &str, found: &Value) -> bool {
    let kind = name.split(':').next().unwrap_or(name);
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match (kind, found) {
        ("id" | "ms", Value::Number(number)) => number.as_u64().is_some_and(|number| number > 0),
        ("id as text" | "ms as text", Value::String(text)) => is_digits(text),
        ("text", Value::String(text)) => !text.is_empty(),
        ("time", Value::String(text)) => humantime::parse_rfc3339(text).is_ok(),
        ("cursor", Value::String(text)) => text.parse::<rowcast::Cursor>().is_ok(),
        _ => false,
    }
}

/// A text of the client, with what was seen in place of what it names.
pub fn fill(text: &str, seen: &Seen) -> String {
    let mut text = text.to_owned();
    for (name, value) in seen.iter().filter(|(name, _)| name.contains(':')) {
        text = text.replace(&format!("<{name}>"), value);
    }
    text
}
