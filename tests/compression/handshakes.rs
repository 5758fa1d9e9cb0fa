//! What is offered and answered. All kinds of offers are in src/http/extension.rs.

use serde_json::json;

use crate::client::{Client, OFFER, deflate, feed, shake_hands};
use crate::support::feed::{Feed, http, until};
use crate::support::raw::{FIN, HANDSHAKE, Heard, TEXT, frame, text};

const TAKEN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn extension(head: &str) -> Option<&str> {
    let mut lines = head.lines();
    lines.find_map(|line| line.strip_prefix("sec-websocket-extensions: "))
}

#[tokio::test]
async fn an_offer_is_taken_where_compression_is_on_and_nowhere_else() {
    let feed = feed().await;
    let offers = [
        (OFFER, Some(TAKEN.to_owned())),
        (
            "permessage-deflate; server_max_window_bits=15",
            Some(format!("{TAKEN}; server_max_window_bits=12")),
        ),
        ("permessage-deflate; server_max_window_bits=9", None),
        (
            "permessage-deflate; mode=fast, x-webkit-deflate-frame",
            None,
        ),
    ];
    for (offer, answer) in offers {
        let (mut raw, head) = shake_hands(&feed, "/ws", offer, &[]).await;
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert_eq!(extension(&head), answer.as_deref(), "{offer}");
        // Uncompressed messages are understood either way.
        raw.send(&text("{\"type\":\"ping\",\"id\":1}")).await;
        assert_eq!(
            raw.hear().await,
            Heard::Text("{\"type\":\"pong\",\"id\":1}".into())
        );
    }
    // Without an offer there is no answer, and a compressed message is none.
    let mut raw = crate::support::raw::Raw::connect(feed.address).await;
    raw.send(&frame(FIN | 0x40 | TEXT, &deflate(b"{\"type\":\"ping\"}")))
        .await;
    raw.hear_close(1002).await;

    let off = Feed::start().await;
    let (_, head) = shake_hands(&off, "/ws", OFFER, &[]).await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert_eq!(extension(&head), None);
}

#[tokio::test]
async fn a_header_that_is_no_list_of_extensions_is_refused() {
    let feed = feed().await;
    let handshake = |more: &str| HANDSHAKE.replacen("\r\n\r\n", more, 1);
    let broken = "\r\nSec-WebSocket-Extensions: permessage-deflate; =\r\nConnection: close\r\n\r\n";
    let answer = http(feed.address, &handshake(broken)).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.contains("Sec-WebSocket-Extensions"),
        "{}",
        answer.body
    );
    // Where nothing is taken nothing is looked at.
    let off = Feed::start().await;
    let (_, head) = shake_hands(&off, "/ws", "permessage-deflate; =", &[]).await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
}

#[tokio::test]
async fn compressed_messages_behind_the_handshake_are_read() {
    let feed = feed().await;
    let say = |id: &str| {
        let message = json!({"type": "ping", "id": id}).to_string();
        frame(FIN | 0x40 | TEXT, &deflate(message.as_bytes()))
    };
    // More than the codec reads at once, of two kinds, and the last one in two parts.
    let mut early = Vec::new();
    for n in 0..40 {
        early.extend(say(&format!("compressed {n}")));
        early.extend(text(&format!("{{\"type\":\"ping\",\"id\":\"plain {n}\"}}")));
    }
    let last = say("last");
    let (now, later) = last.split_at(9);
    early.extend(now);
    let (mut raw, head) = shake_hands(&feed, "/ws", OFFER, &early).await;
    assert_eq!(extension(&head), Some(TAKEN));
    raw.send(later).await;
    for n in 0..40 {
        for kind in ["compressed", "plain"] {
            assert_eq!(raw.hear_json().await["id"], format!("{kind} {n}"));
        }
    }
    assert_eq!(raw.hear_json().await["id"], "last");
}

#[tokio::test]
async fn a_connection_that_compresses_is_gone_as_any_other() {
    let feed = feed().await;
    let clients = [Client::connect(&feed).await, Client::connect(&feed).await];
    until("both are there", async || {
        feed.stats().await["connections"] == 2
    })
    .await;
    drop(clients);
    until("both are gone", async || {
        feed.stats().await["connections"] == 0
    })
    .await;
}
