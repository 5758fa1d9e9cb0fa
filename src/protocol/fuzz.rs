//! Laws of frames of clients, for fuzzing.

use std::sync::LazyLock;

use serde_json::Value;

use super::client::ClientFrame;
use super::{ClientRequest, Presets, Since};

/// Longest message of a refusal, in bytes: 40 characters that are quoted, each as `\u{10ffff}` at worst, and a sentence.
const MESSAGE_BYTES_MAX: usize = 600;

/// All that a text may be said to.
static PRESETS: LazyLock<Presets> = LazyLock::new(Presets::default);

/// Stands for every token of a frame.
const CANARY: &str = "canary-of-a-token";

/// A frame is read or refused; a refusal is short and shows no token.
pub(crate) fn frame(text: &str) {
    let found = ClientFrame::parse(text);
    match &found {
        Ok(frame) => valid(frame),
        Err(refusal) => {
            let bytes = refusal.message.len();
            assert!(bytes <= MESSAGE_BYTES_MAX, "{bytes} bytes of refusal");
        }
    }
    for preset in PRESETS.all() {
        if let Err(refusal) = preset.read(text) {
            let bytes = refusal.message.len();
            assert!(
                bytes <= MESSAGE_BYTES_MAX,
                "{}: {bytes} bytes of refusal",
                preset.name
            );
        }
    }
    let id = |found: &Result<ClientFrame, super::client::Refusal>| match found {
        Ok(frame) => frame.id.clone(),
        Err(refusal) => refusal.id.clone(),
    };
    if let Some(id) = id(&found) {
        assert!(
            id.as_str().is_none_or(|id| id.len() <= 64) && (id.is_string() || id.is_number()),
            "an id is short: {id}"
        );
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_str(text) else {
        return;
    };
    // What is the canary elsewhere is no secret.
    if Value::Object(fields.clone()).to_string().contains(CANARY) {
        return;
    }
    if let Some(token @ Value::String(_)) = fields.get_mut("token") {
        *token = CANARY.into();
    }
    if let Some(Value::Array(tokens)) = fields.get_mut("tokens") {
        for token in tokens.iter_mut().filter(|token| token.is_string()) {
            *token = CANARY.into();
        }
    }
    let text = Value::Object(fields).to_string();
    let again = ClientFrame::parse(&text);
    assert_eq!(again.is_ok(), found.is_ok(), "the text of a token decides");
    let shown = match again {
        Ok(frame) => format!("{frame:?}"),
        Err(refusal) => refusal.message,
    };
    assert!(!shown.contains(CANARY), "a token is shown: {shown}");
}

fn valid(frame: &ClientFrame) {
    let (channels, since) = match &frame.request {
        ClientRequest::Hello { subscribe, .. } => match subscribe {
            None => return,
            Some(subscribe) => (&subscribe.channels, &subscribe.since),
        },
        ClientRequest::Subscribe(subscribe) => (&subscribe.channels, &subscribe.since),
        ClientRequest::Unsubscribe { channels } => (channels, &Since::Now),
        ClientRequest::Auth { .. } | ClientRequest::Ping => return,
    };
    assert!(!channels.is_empty(), "channels that are none");
    for channel in channels {
        let again = crate::event::ChannelPattern::parse(channel.as_str());
        assert_eq!(again.as_ref(), Ok(channel));
    }
    if let Since::Cursor(cursor) = since {
        let text = cursor.to_string();
        assert!(text.parse::<crate::cursor::Cursor>().is_ok(), "{text}");
    }
}
