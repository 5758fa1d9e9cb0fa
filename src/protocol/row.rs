//! The JSON of a row in the default protocol. It is written by hand: serde looks at each byte of each key and name for
//! what has to be escaped, and that is half of what a batch costs.

use std::io::Write as _;

use crate::event::Event;

/// Appends the frame's text. The tests compare it with that of serde.
pub(super) fn push_row(to: &mut Vec<u8>, event: &Event, cursor: Option<&str>) {
    to.extend_from_slice(br#"{"type":"event","channels":["#);
    for (n, channel) in event.channels.iter().enumerate() {
        to.extend_from_slice(if n == 0 { b"\"" } else { b",\"" });
        // Names have no characters that are escaped.
        to.extend_from_slice(channel.as_bytes());
        to.push(b'"');
    }
    to.extend_from_slice(br#"],"event":{"id":"#);
    // Writing into memory does not fail.
    let _ = write!(to, "{}", event.id);
    push_text(to, br#","type":"#, Some(&event.kind));
    push_text(to, br#","entityId":"#, event.entity_id.as_deref());
    push_text(to, br#","actor":"#, event.actor.as_deref());
    to.extend_from_slice(br#","payload":"#);
    to.extend_from_slice(event.payload.get().as_bytes());
    if let Some(previous) = &event.previous {
        to.extend_from_slice(br#","previous":"#);
        to.extend_from_slice(previous.get().as_bytes());
    }
    push_text(to, br#","traceId":"#, event.trace_id.as_deref());
    push_text(to, br#","origin":"#, event.origin.as_deref());
    push_text(to, br#","createdAt":"#, Some(&event.created_at));
    to.push(b'}');
    push_text(to, br#","cursor":"#, cursor);
    to.push(b'}');
}

/// Appends a text where there is one, behind its key.
fn push_text(to: &mut Vec<u8>, key: &[u8], text: Option<&str>) {
    let Some(text) = text else { return };
    to.extend_from_slice(key);
    // Numbers, and no way out of the loop: so it looks at sixteen bytes at a time.
    let escaped = text.bytes().fold(0, |any, byte| {
        any | u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\')
    });
    if escaped > 0 {
        serde_json::to_writer(to, text).expect("texts are JSON, and memory takes them");
        return;
    }
    to.push(b'"');
    to.extend_from_slice(text.as_bytes());
    to.push(b'"');
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::value::RawValue;

    use super::*;
    use crate::event::{Channels, EventId};

    #[derive(Serialize)]
    struct Frame<'a> {
        r#type: &'static str,
        channels: Vec<&'a str>,
        event: Fields<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields<'a> {
        id: i64,
        r#type: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        entity_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        actor: Option<&'a str>,
        payload: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        previous: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        trace_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        origin: Option<&'a str>,
        created_at: &'a str,
    }

    /// Texts with everything that JSON escapes or might, at any place.
    fn text(random: &mut fastrand::Rng) -> String {
        let odd = [
            '"', '\\', '\n', '\r', '\t', '\0', '\u{1f}', '\u{7f}', '\u{2028}', '/', 'é', '🦀',
        ];
        (0..random.usize(..40))
            .map(|_| match random.u8(..12) {
                0 => odd[random.usize(..odd.len())],
                _ => random.alphanumeric(),
            })
            .collect()
    }

    #[test]
    fn a_row_is_the_json_that_serde_makes_of_it() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..5000 {
            let maybe = |random: &mut fastrand::Rng| random.bool().then(|| text(random));
            let json = |random: &mut fastrand::Rng| {
                RawValue::from_string(format!(" {{\"a\": {:?} }}", random.u32(..))).expect("JSON")
            };
            let channels = ["tasks", "a:b:c user:ann@example.org", "a-b_c.d/e"];
            let event = Event {
                id: EventId(random.i64(..)),
                channels: Channels::parse(channels[random.usize(..3)]).expect("good names"),
                kind: text(&mut random),
                entity_id: maybe(&mut random),
                actor: maybe(&mut random),
                payload: json(&mut random),
                previous: random.bool().then(|| json(&mut random)),
                trace_id: maybe(&mut random),
                origin: maybe(&mut random),
                transaction: None,
                created_at: text(&mut random),
            };
            let cursor = maybe(&mut random);
            let frame = Frame {
                r#type: "event",
                channels: event.channels.iter().collect(),
                event: Fields {
                    id: event.id.0,
                    r#type: &event.kind,
                    entity_id: event.entity_id.as_deref(),
                    actor: event.actor.as_deref(),
                    payload: &event.payload,
                    previous: event.previous.as_deref(),
                    trace_id: event.trace_id.as_deref(),
                    origin: event.origin.as_deref(),
                    created_at: &event.created_at,
                },
                cursor: cursor.as_deref(),
            };
            let mut row = Vec::new();
            push_row(&mut row, &event, cursor.as_deref());
            let expected = serde_json::to_string(&frame).expect("JSON");
            assert_eq!(
                String::from_utf8(row).expect("UTF-8"),
                expected,
                "seed {seed}"
            );
        }
    }
}
