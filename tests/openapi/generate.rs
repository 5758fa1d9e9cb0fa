//! Values made up from schemas: good ones, and ones with one thing wrong.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::document::{Document, Parameter};

/// A value that a schema takes.
pub fn make(document: &Document, schema: &Value, random: &mut Rng) -> Value {
    let schema = document.resolve(schema);
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(format) = schema["format"].as_str() {
        return json!(formatted(format, random));
    }
    let choices = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let chosen = random.choice(&choices);
    // Which of its fields an object has to have, or another schema.
    let required = chosen.and_then(|choice| choice.get("required"));
    match (schema.get("properties"), chosen, &schema["type"]) {
        (Some(properties), _, _) => {
            object(document, schema, properties, &choices, required, random)
        }
        (None, Some(choice), _) => make(document, choice, random),
        (None, None, Value::Array(_)) if random.u8(..4) == 0 => Value::Null,
        (None, None, Value::Array(types)) => json!(text(schema, types[0] == "string", random)),
        (None, None, Value::String(kind)) => match kind.as_str() {
            "string" => json!(text(schema, true, random)),
            "object" => json!({"type": "made.up", "n": any(random, 3)}),
            "array" => {
                let least = schema["minItems"].as_u64().unwrap_or(0);
                let items = least..=least + 4;
                let items =
                    (0..random.u64(items)).map(|_| make(document, &schema["items"], random));
                items.collect()
            }
            other => panic!("nothing makes up {other}"),
        },
        _ => any(random, 4),
    }
}

fn object(
    document: &Document,
    schema: &Value,
    properties: &Value,
    choices: &[Value],
    chosen: Option<&Value>,
    random: &mut Rng,
) -> Value {
    let has = |list: Option<&Value>, name: &str| {
        let list = list.and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|own| own == name))
    };
    let mut fields = Map::new();
    for (name, property) in properties.as_object().expect("properties") {
        let is_of_a_choice = choices
            .iter()
            .any(|choice| has(choice.get("required"), name));
        let is_required = has(schema.get("required"), name) || has(chosen, name);
        if is_required || (!is_of_a_choice && random.bool()) {
            let mut value = make(document, property, random);
            if name == "dedupKey" && value.is_string() {
                // No other event has it.
                value = json!(format!("{}", random.u64(..)));
            }
            fields.insert(name.clone(), value);
        }
    }
    Value::Object(fields)
}

fn formatted(format: &str, random: &mut Rng) -> String {
    let part = |random: &mut Rng| -> String {
        let length = if random.u8(..20) == 0 {
            40
        } else {
            random.usize(1..8)
        };
        let letters = b"abcXYZ019_.@/-";
        (0..length)
            .map(|_| char::from(letters[random.usize(..letters.len())]))
            .collect()
    };
    let channel = |random: &mut Rng| {
        let parts: Vec<_> = (0..random.usize(1..4)).map(|_| part(random)).collect();
        parts.join(":")
    };
    let several = |random: &mut Rng, between: &str| {
        let names: Vec<_> = (0..random.usize(1..4)).map(|_| channel(random)).collect();
        names.join(between)
    };
    match format {
        "part" => part(random),
        "channel" => channel(random),
        "channels" => several(random, " "),
        "patterns" => match random.u8(..3) {
            0 => "*".to_owned(),
            1 => format!("{}:*", channel(random)),
            _ => several(random, ","),
        },
        "since" | "cursor" => (*random.choice(["now", "earliest"]).expect("some")).to_owned(),
        "wait" => (*random.choice(["0", "0s", "1ms"]).expect("some")).to_owned(),
        "kind" => {
            let word = unicode(random, 20);
            let word = word.replace(|c: char| c.is_whitespace() || c.is_control(), "");
            format!("t{word}")
        }
        other => panic!("nothing makes up the format {other}"),
    }
}

fn text(schema: &Value, is_string: bool, random: &mut Rng) -> String {
    assert!(is_string, "only texts may be null");
    if let Some(values) = schema["enum"].as_array() {
        return random
            .choice(values)
            .and_then(Value::as_str)
            .expect("texts")
            .to_owned();
    }
    let most = schema["maxLength"].as_u64().unwrap_or(50) as usize;
    // Four bytes each, at most.
    let text = unicode(random, (most / 4).min(250));
    format!("x{}", text.replace('\0', ""))
}

/// Of all planes, with what is special to JSON, SQL and HTML.
fn unicode(random: &mut Rng, most: usize) -> String {
    let length = match random.u8(..10) {
        0 => most - 1,
        _ => random.usize(..most.min(20)),
    };
    (0..length)
        .map(|_| match random.u8(..6) {
            0 => *random
                .choice(&[
                    '"', '\\', '\'', '<', '&', '\n', '\u{7f}', '\u{2028}', '%', '$',
                ])
                .expect("some"),
            1 => random.char(..),
            2 => '\u{1f600}',
            _ => random.alphanumeric(),
        })
        .filter(|&c| c != '\0')
        .collect()
}

/// Any JSON that every database takes.
fn any(random: &mut Rng, depth: usize) -> Value {
    match random.u8(..if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(random.bool()),
        2 => json!(random.i64(..)),
        3 => json!((random.f64() - 0.5) * 10_f64.powi(random.i32(-30..30))),
        4 => json!(random.u64(..)),
        5 => json!(unicode(random, 100)),
        6 => (0..random.usize(..4))
            .map(|_| any(random, depth - 1))
            .collect(),
        _ => {
            let fields = (0..random.usize(..4)).map(|n| {
                let name = format!("{n}{}", unicode(random, 10));
                (name, any(random, depth - 1))
            });
            Value::Object(fields.collect())
        }
    }
}

/// A value that a schema takes, with one thing done to it, after which it does not; none where it still does.
pub fn break_it(document: &Document, schema: &Value, random: &mut Rng) -> Option<Value> {
    let mut value = make(document, schema, random);
    let mut places = Vec::new();
    list_places(&value, &mut String::new(), &mut places);
    let place = random.choice(&places).expect("there is the whole").clone();
    let target = value.pointer_mut(&place).expect("it was listed");
    match random.u8(..9) {
        0 => *target = Value::Null,
        1 => *target = json!(random.i32(..)),
        2 => *target = json!([]),
        3 => *target = json!({}),
        4 => *target = json!(""),
        5 => *target = json!("x".repeat(2001)),
        6 => *target = json!("two words,\u{0}"),
        7 => {
            if let Some(fields) = target.as_object_mut() {
                let name = random.choice(fields.keys().cloned().collect::<Vec<_>>());
                name.and_then(|name| fields.remove(&name));
            }
        }
        _ => {
            if let Some(fields) = target.as_object_mut() {
                fields.insert("madeUp".to_owned(), json!(1));
            }
        }
    }
    (!document.is_valid(schema, &value)).then_some(value)
}

/// Pointers to all parts of a value, but for those within what may be anything.
fn list_places(value: &Value, at: &mut String, places: &mut Vec<String>) {
    places.push(at.clone());
    let length = at.len();
    let mut visit = |name: String, inner: &Value| {
        at.push('/');
        at.push_str(&name);
        list_places(inner, at, places);
        at.truncate(length);
    };
    match value {
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                visit(n.to_string(), item);
            }
        }
        Value::Object(fields) => {
            for (name, inner) in fields {
                if !matches!(name.as_str(), "payload" | "previous" | "message") {
                    visit(name.clone(), inner);
                }
            }
        }
        _ => {}
    }
}

pub fn good_parameter(
    document: &Document,
    parameter: &Parameter,
    random: &mut Rng,
) -> Option<String> {
    let schema = document.resolve(&parameter.schema);
    if schema["type"] == "integer" {
        let range = schema["minimum"].as_i64()?..=schema["maximum"].as_i64()?;
        return Some(random.i64(range).to_string());
    }
    make(document, schema, random).as_str().map(str::to_owned)
}

/// None where nothing is bad.
pub fn bad_parameter(parameter: &Parameter, random: &mut Rng) -> Option<String> {
    let values: &[&str] = match parameter.name.as_str() {
        "channels" => &["", "a b", "größe", "a,,b", "a:*:b", "\u{0}"],
        "channel" => &["", "a b", "größe", "a,b", "a:*", "*", "\u{0}"],
        "after" | "since" => &["yesterday", "!", "A", "\u{0}", "s.0.1"],
        "limit" => &["", "0", "-1", "10001", "x", "1e3"],
        "wait" => &["", "x", "56s", "1h", "-1s"],
        _ => return None,
    };
    random.choice(values).map(|value| (*value).to_owned())
}

/// Holds what came back to what was sent.
pub fn assert_equal(frame: &Value, sent: &Value) {
    let sent = sent.as_object().expect("an object");
    let channels = match (sent.get("channel"), sent.get("channels")) {
        (Some(Value::String(names)), _) => names.split(' ').map(Value::from).collect(),
        (_, Some(names)) => names.clone(),
        _ => panic!("no channels"),
    };
    assert_eq!(frame["channels"], channels);
    let event = frame["event"].as_object().expect("an object");
    for field in ["type", "entityId", "actor", "traceId", "origin"] {
        let wanted = sent.get(field).filter(|value| !value.is_null());
        assert_eq!(event.get(field), wanted, "{field}");
    }
    let payload = sent.get("payload").cloned().unwrap_or(json!({}));
    assert!(
        is_same(&event["payload"], &payload),
        "{} {payload}",
        event["payload"]
    );
    match (event.get("previous"), sent.get("previous")) {
        (None, None) => {}
        (Some(have), Some(wanted)) => assert!(is_same(have, wanted), "{have} {wanted}"),
        other => panic!("{other:?}"),
    }
}

/// Whether two values are the same JSON: a database may write 1e2 as 100.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (Some(x), Some(y)) = (a.as_f64(), b.as_f64()) else {
                return false;
            };
            a == b || (x - y).abs() <= x.abs().max(y.abs()) * 1e-12
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let is_there = |(name, value): (&String, &Value)| {
                b.get(name).is_some_and(|other| is_same(value, other))
            };
            a.len() == b.len() && a.iter().all(is_there)
        }
        _ => a == b,
    }
}
