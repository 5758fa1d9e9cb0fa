//! Events as JSON, on their way into the table: of a request, or of a line of a file. Everything that is wrong with them is
//! said at once, where it is. Who may write them is not decided here.

mod fields;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::event::NewEvent;

pub(crate) use fields::{FIELD_BYTES_MAX, Told};
use fields::{Fields, Row};

/// Most problems that are told.
const PROBLEMS_MAX: usize = 10;

/// Most bytes of what somebody sent that are sent back in a problem.
const SHOWN_BYTES_MAX: usize = 100;

/// What is wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// Which event, counted from 0.
    pub index: usize,
    /// Which of its fields; none where it is none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'static str>,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// What is wrong with the events of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Problems {
    /// The first of them.
    pub told: Vec<Problem>,
    /// How many there are.
    pub count: usize,
}

impl Problems {
    /// Notes one more.
    pub fn push(&mut self, index: usize, field: Option<&'static str>, message: impl Into<String>) {
        self.count += 1;
        if self.told.len() < PROBLEMS_MAX {
            self.told.push(Problem {
                index,
                field,
                message: message.into(),
            });
        }
    }

    /// What is wrong, if something is.
    pub fn none(self) -> Result<(), Self> {
        if self.count == 0 { Ok(()) } else { Err(self) }
    }
}

/// The events of a body: one object, an array of them, or `{"events": […]}`.
///
/// # Errors
/// When it is nothing of that; the text says what is expected.
pub(crate) fn bodies(body: &[u8]) -> Result<Vec<&RawValue>, String> {
    let expected = "send an event, an array of events, or {\"events\": […]}";
    let whole: &RawValue = serde_json::from_slice(body)
        .map_err(|error| format!("the body is not JSON: {error}; {expected}"))?;
    let list = |json: &'_ RawValue| serde_json::from_str::<Vec<&RawValue>>(json.get()).is_ok();
    let events = match whole.get().as_bytes().first() {
        Some(b'[') => whole,
        Some(b'{') => match Fields::parse(whole)?.only("events") {
            None => return Ok(vec![whole]),
            Some(Ok(events)) if list(events) => events,
            Some(Ok(_)) => return Err(format!("`events` is not an array; {expected}")),
            Some(Err(other)) => {
                return Err(format!(
                    "beside `events` there is {other}; put each event's fields into the array"
                ));
            }
        },
        _ => return Err(format!("the body is no object and no array; {expected}")),
    };
    let events: Vec<&RawValue> = serde_json::from_str(events.get()).unwrap_or_default();
    if events.is_empty() {
        return Err(format!("there is no event in the body; {expected}"));
    }
    Ok(events)
}

/// Reads events.
///
/// # Errors
/// All that is wrong with them.
pub(crate) fn events(bodies: &[&RawValue]) -> Result<Vec<NewEvent>, Problems> {
    let mut problems = Problems::default();
    let mut events = Vec::with_capacity(bodies.len());
    for (index, body) in bodies.iter().enumerate() {
        let mut note = |field, message: String| problems.push(index, field, message);
        events.extend(Row::read(body, &mut note));
    }
    problems.none().map(|()| events)
}

/// Reads one event, of a line.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn event(text: &str) -> Result<NewEvent, String> {
    let body = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    events(&[body])
        .map(|mut events| events.remove(0))
        .map_err(|problems| {
            let each = problems.told.iter().map(|problem| match problem.field {
                Some(field) => format!("{field}: {}", problem.message),
                None => problem.message.clone(),
            });
            format!("is not an event: {}", each.collect::<Vec<_>>().join("; "))
        })
}

/// An event that will be no row. It has the fields of one but those that only rows have.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn told(body: &RawValue) -> Result<Told, Problems> {
    let mut problems = Problems::default();
    let mut note = |field, message: String| problems.push(0, field, message);
    let told = Told::read(body, &mut note);
    match told {
        Some(told) if problems.count == 0 => Ok(told),
        _ => Err(problems),
    }
}

/// A frame that somebody made up: an object.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn frame(json: &RawValue) -> Result<Box<RawValue>, String> {
    if !json.get().starts_with('{') {
        return Err("it is not an object".to_owned());
    }
    fields::storable(json).map(|()| json.to_owned())
}

impl Told {
    /// As JSON, in the order of the feed.
    pub fn to_json(&self) -> Result<Box<RawValue>, String> {
        to_raw_value(self).map_err(|error| error.to_string())
    }
}

/// At most so much of what a client says is said back.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(body: &str) -> Vec<(usize, Option<&'static str>, String)> {
        let bodies = bodies(body.as_bytes()).expect("it has events");
        let problems = events(&bodies).expect_err("they are wrong");
        let each = problems.told.into_iter();
        each.map(|problem| (problem.index, problem.field, problem.message))
            .collect()
    }

    #[test]
    fn events_come_alone_and_in_lists() {
        let one = r#"{"channel": "tasks", "type": "t"}"#;
        for (body, count) in [
            (one.to_owned(), 1),
            (format!(" [{one}, {one}]"), 2),
            (format!("{{\"events\": [{one}]}}\n"), 1),
        ] {
            let bodies = bodies(body.as_bytes()).expect("it has events");
            assert_eq!(events(&bodies).expect("good").len(), count, "{body}");
        }
        for (body, said) in [
            ("", "not JSON"),
            ("{", "not JSON"),
            ("[] []", "not JSON"),
            ("[]", "no event"),
            ("{\"events\": []}", "no event"),
            ("{\"events\": {}}", "not an array"),
            ("{\"events\": [], \"type\": 1}", "`type`"),
            ("\"text\"", "no object"),
            ("null", "no object"),
            ("\u{feff}[]", "not JSON"),
        ] {
            let error = bodies(body.as_bytes()).expect_err("there are none");
            assert!(error.contains(said), "{body}: {error}");
        }
        assert!(bodies(b"[\"\xff\"]").is_err());
    }

    #[test]
    fn fields_are_taken_as_they_are() {
        let body = r#"{"channels": ["tasks", "project:7"], "type": "task.updated", "payload": {"a": 1.50},
            "previous": null, "entityId": "t1", "actor": "ann", "traceId": "x", "origin": "o", "dedupKey": "k"}"#;
        let event = event(body).expect("good");
        assert_eq!(event.channels.as_str(), "tasks project:7");
        assert_eq!(event.kind, "task.updated");
        assert_eq!(event.payload.get(), "{\"a\": 1.50}");
        assert_eq!(event.previous.expect("null is a value").get(), "null");
        assert_eq!(event.entity_id.as_deref(), Some("t1"));
        assert_eq!(event.actor.as_deref(), Some("ann"));
        assert_eq!(event.trace_id.as_deref(), Some("x"));
        assert_eq!(event.origin.as_deref(), Some("o"));
        assert_eq!(event.dedup_key.as_deref(), Some("k"));
        let least = super::event(r#"{"channel": "a b", "type": "t", "actor": null}"#);
        let least = least.expect("good");
        assert_eq!((least.payload.get(), least.actor), ("{}", None));
    }

    #[test]
    fn every_problem_is_told_where_it_is() {
        let found = problems(
            r#"[{"channel": "tasks", "type": "t"}, {"channel": "no,good", "type": "two words", "extra": 1}, 7,
                {"type": "t"}, {"channel": "a", "channels": ["b"], "type": "t"}, {"channel": "a", "channel": "a", "type": "t"}]"#,
        );
        let places: Vec<_> = found.iter().map(|(n, field, _)| (*n, *field)).collect();
        assert_eq!(
            places,
            [
                (1, None),
                (1, Some("channel")),
                (1, Some("type")),
                (2, None),
                (3, Some("channel")),
                (4, Some("channels")),
                (5, None),
            ],
            "{found:?}"
        );
        assert!(found[0].2.contains("\"extra\""), "{found:?}");
        let many = format!("[{}]", vec!["1"; 50].join(","));
        assert_eq!(problems(&many).len(), PROBLEMS_MAX);
    }

    #[test]
    fn what_no_database_takes_is_refused() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        for (field, json, good) in [
            ("payload", "\"a\\u0000b\"".to_owned(), false),
            ("payload", "{\"a\\u0000\": 1}".to_owned(), false),
            ("payload", "\"\\\\u0000\"".to_owned(), true),
            ("payload", "\"\\ud800\"".to_owned(), false),
            ("payload", "\"\\ud83d\\ude00\"".to_owned(), true),
            ("payload", "1e400".to_owned(), false),
            ("payload", "[1e300, -0.0]".to_owned(), true),
            ("payload", deep(120), true),
            ("previous", deep(200), false),
            ("payload", deep(100_000), false),
            ("actor", "\"\"".to_owned(), false),
            ("actor", "\"a\\u0000\"".to_owned(), false),
            ("actor", "7".to_owned(), false),
            (
                "entityId",
                format!("\"{}\"", "x".repeat(FIELD_BYTES_MAX)),
                true,
            ),
            (
                "entityId",
                format!("\"{}é\"", "x".repeat(FIELD_BYTES_MAX - 1)),
                false,
            ),
            ("channels", "[]".to_owned(), false),
            ("channels", "[\"a b\"]".to_owned(), false),
            ("channels", "\"a\"".to_owned(), false),
        ] {
            let channel = if field == "channels" {
                ""
            } else {
                "\"channel\": \"a\","
            };
            let text = format!("{{{channel} \"type\": \"t\", \"{field}\": {json}}}");
            let result = event(&text);
            assert_eq!(result.is_ok(), good, "{}", shown(&text));
            if let Err(wrong) = result {
                assert!(wrong.contains(field), "{wrong}");
                assert!(wrong.len() < 400, "{wrong}");
            }
        }
    }

    #[test]
    fn what_will_be_no_row_has_no_fields_of_rows() {
        let told = |text: &str| {
            let json: &RawValue = serde_json::from_str(text).expect("JSON");
            told(json)
        };
        let good = told(r#"{"payload": [1], "type": "user.typing", "actor": "ann"}"#);
        let json = good.expect("good").to_json().expect("JSON");
        assert_eq!(
            json.get(),
            r#"{"type":"user.typing","actor":"ann","payload":[1]}"#
        );
        for bad in [
            r#"{"type": "t", "dedupKey": "k"}"#,
            r#"{"type": "t", "channel": "c"}"#,
            r#"{"payload": 1}"#,
            "[]",
        ] {
            assert!(told(bad).is_err(), "{bad}");
        }
    }
}
