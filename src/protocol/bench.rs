//! What frames cost: those of a batch are made, those of clients are read.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::{ClientFrame, Encoded, Presets, Shapes};
use crate::cursor;
use crate::event::{Channels, Event, EventId};
use crate::stats::Counters;
use crate::tail::Batch;

/// Makes a frame of about 300 bytes.
const PAYLOAD_BYTES: usize = 120;

/// The `at`th batch of a feed, with an event on each of these channels.
pub(crate) fn batch(at: u64, channels: &[String]) -> Batch {
    let event = |(n, channel): (usize, &String)| {
        Arc::new(Event {
            id: EventId((at * 10_000) as i64 + n as i64),
            channels: Channels::parse(channel).expect("good names"),
            kind: "message.created".into(),
            entity_id: Some("m-4711".into()),
            actor: Some("ann@example.org".into()),
            payload: RawValue::from_string(format!(
                "{{\"text\":\"{}\"}}",
                "x".repeat(PAYLOAD_BYTES)
            ))
            .expect("it is JSON"),
            previous: None,
            trace_id: None,
            origin: None,
            transaction: Some(1_000_000 + at - 1),
            created_at: "2026-01-01T00:00:00.000Z".into(),
        })
    };
    Batch {
        events: channels.iter().enumerate().map(event).collect(),
        after: Some(cursor::bench::sample(at, 2)),
        upto: cursor::bench::sample(at + 1, 2),
        reset: false,
    }
}

/// Makes the frames of a batch: of the default protocol, or of a preset.
pub(crate) fn encode(events: usize, preset: Option<&str>) -> impl FnMut() + use<> {
    let shapes = Shapes::new(&Presets::default(), false);
    let shape = match preset {
        None => shapes.web_socket(),
        Some(name) => shapes.of_preset(name).expect("it is one of ours"),
    };
    let shape = shape.clone();
    let channels: Vec<_> = (0..events).map(|n| format!("messages:{n}")).collect();
    let batch = Arc::new(batch(1, &channels));
    let counters = Arc::<Counters>::default();
    move || {
        let encoded = Encoded::new(Arc::clone(&batch), &shapes, Arc::clone(&counters));
        black_box(encoded.shaped(&shape));
    }
}

/// Reads a request to subscribe.
pub(crate) fn read(channels: usize) -> impl FnMut() {
    let mut text = String::from("{\"type\":\"subscribe\",\"id\":1,\"channels\":[");
    for n in 0..channels {
        let separator = if n == 0 { "" } else { "," };
        let _ = write!(text, "{separator}\"messages:{n}\"");
    }
    let since = cursor::bench::sample(1, 2);
    let _ = write!(text, "],\"since\":\"{since}\"}}");
    move || {
        let frame = ClientFrame::parse(black_box(&text));
        drop(black_box(frame.expect("it is a good request")));
    }
}
