//! What clients may send compressed, and what ends their connection. As tests/rfc6455.rs, byte by byte.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::client::{OFFER, RSV1, deflate, feed_with, shake_hands};
use crate::support::raw::{BINARY, CONTINUATION, FIN, Heard, PING, PONG, TEXT, close, frame, text};

const MESSAGE_BYTES_MAX: usize = 4096;
const RSV2: u8 = 0x20;
const RSV3: u8 = 0x10;

/// What has to come of some frames.
enum Then {
    /// These pongs, in this order, of pings in JSON or not.
    Pongs(Vec<Value>),
    Closes(u16),
}

use Then::{Closes, Pongs};

fn ping(id: &str) -> Vec<u8> {
    json!({"type": "ping", "id": id}).to_string().into_bytes()
}

fn deflated_ping(id: &str) -> Vec<u8> {
    deflate(&ping(id))
}

/// Sends the frames at once, and once more byte by byte.
async fn check(cases: Vec<(&str, Vec<Vec<u8>>, Then)>) {
    let feed = feed_with(|config| config.hub.message_bytes_max = MESSAGE_BYTES_MAX).await;
    for (name, frames, then) in cases {
        for at_once in [true, false] {
            println!("{name}, {}", if at_once { "at once" } else { "in pieces" });
            let (mut raw, head) = shake_hands(&feed, "/ws", OFFER, &[]).await;
            assert!(head.contains("permessage-deflate"), "{head}");
            let bytes = frames.concat();
            raw.stream.set_nodelay(true).expect("an option of TCP");
            let piece = match (at_once, bytes.len()) {
                (true, _) => bytes.len(),
                (false, 0..1000) => 1,
                (false, _) => 101,
            };
            for piece in bytes.chunks(piece) {
                // The server may have closed after the first of it.
                if raw.stream.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            match &then {
                Closes(code) => raw.hear_close(*code).await,
                Pongs(pongs) => {
                    for expected in pongs {
                        match raw.hear().await {
                            Heard::Text(text) => {
                                let pong: Value = serde_json::from_str(&text).expect("JSON");
                                let told = if pong["type"] == "error" {
                                    &pong["code"]
                                } else {
                                    &pong["id"]
                                };
                                assert_eq!(told, expected, "{pong}");
                            }
                            Heard::Pong(payload) => {
                                assert_eq!(
                                    &json!(String::from_utf8(payload).expect("text")),
                                    expected
                                );
                            }
                            other => panic!("instead of {expected}: {other:?}"),
                        }
                    }
                    raw.send(&text(&json!({"type": "ping", "id": "alive"}).to_string()))
                        .await;
                    assert_eq!(raw.hear_json().await["id"], "alive");
                    raw.send(&close(1000, b"")).await;
                    raw.hear_close(1000).await;
                }
            }
        }
    }
}

fn pongs(ids: &[&str]) -> Then {
    Pongs(ids.iter().map(|id| json!(id)).collect())
}

#[tokio::test]
async fn compressed_messages_are_understood_beside_others() {
    const FIRST: u8 = RSV1 | TEXT;
    let whole = deflated_ping("whole");
    let (head, rest) = whole.split_at(7);
    let (middle, tail) = rest.split_at(9);
    let long = json!({"type": "ping", "id": "long", "more": "häuser ".repeat(400)}).to_string();
    let noise: String = (0..300)
        .map(|n| char::from(b'!' + (n * n % 90) as u8))
        .collect();
    let noisy = json!({"type": "ping", "id": "noisy", "more": noise}).to_string();
    let stored = {
        // A block that is not compressed, and one of nothing.
        let text = ping("stored");
        let length = text.len() as u16;
        [
            &[0][..],
            &length.to_le_bytes(),
            &(!length).to_le_bytes(),
            &text,
            &[0],
        ]
        .concat()
    };
    let cases = vec![
        ("one", vec![frame(FIN | FIRST, &whole)], pongs(&["whole"])),
        (
            "a plain one",
            vec![frame(FIN | TEXT, &ping("plain"))],
            pongs(&["plain"]),
        ),
        (
            "both, again and again",
            (0..60)
                .map(|n| match n % 2 {
                    0 => frame(FIN | FIRST, &deflated_ping(&n.to_string())),
                    _ => frame(FIN | TEXT, &ping(&n.to_string())),
                })
                .collect(),
            Pongs((0..60).map(|n| json!(n.to_string())).collect()),
        ),
        (
            "in fragments, of which the first is marked",
            vec![
                frame(FIRST, head),
                frame(CONTINUATION, middle),
                frame(CONTINUATION, b""),
                frame(FIN | CONTINUATION, tail),
                frame(FIN | TEXT, &ping("plain")),
            ],
            pongs(&["whole", "plain"]),
        ),
        (
            "with pings between them",
            vec![
                frame(FIRST, head),
                frame(FIN | PING, b"first"),
                frame(CONTINUATION, middle),
                frame(FIN | PONG, b"unasked"),
                frame(FIN | PING, b"second"),
                frame(FIN | CONTINUATION, tail),
            ],
            pongs(&["first", "second", "whole"]),
        ),
        (
            "plain fragments between compressed messages",
            vec![
                frame(FIN | FIRST, &deflated_ping("a")),
                frame(TEXT, &ping("b")[..5]),
                frame(FIN | CONTINUATION, &ping("b")[5..]),
                frame(FIN | FIRST, &deflated_ping("c")),
            ],
            pongs(&["a", "b", "c"]),
        ),
        (
            "of two bytes of length",
            vec![frame(FIN | FIRST, &deflate(noisy.as_bytes()))],
            pongs(&["noisy"]),
        ),
        (
            "longer than it looks",
            vec![frame(FIN | FIRST, &deflate(long.as_bytes()))],
            pongs(&["long"]),
        ),
        (
            "blocks that are not compressed",
            vec![frame(FIN | FIRST, &stored)],
            pongs(&["stored"]),
        ),
        (
            "binary, compressed or not: an answer, and no end",
            vec![
                frame(FIN | RSV1 | BINARY, &deflated_ping("no")),
                frame(FIN | BINARY, &ping("no")),
                frame(FIN | RSV1 | BINARY, &[0xff; 20]),
                frame(FIN | FIRST, &deflated_ping("yes")),
            ],
            pongs(&[
                "INVALID_MESSAGE",
                "INVALID_MESSAGE",
                "INVALID_MESSAGE",
                "yes",
            ]),
        ),
        (
            "nothing",
            vec![frame(FIN | FIRST, &[0])],
            pongs(&["INVALID_MESSAGE"]),
        ),
    ];
    check(cases).await;
}

#[tokio::test]
async fn marks_that_are_out_of_rule_close_with_1002() {
    let whole = deflated_ping("no");
    let (head, tail) = whole.split_at(7);
    let mut cases = vec![
        (
            "a marked continuation",
            vec![
                frame(RSV1 | TEXT, head),
                frame(FIN | RSV1 | CONTINUATION, tail),
            ],
            Closes(1002),
        ),
        (
            "a marked continuation of a plain message",
            vec![
                frame(TEXT, &ping("no")[..5]),
                frame(FIN | RSV1 | CONTINUATION, &ping("no")[5..]),
            ],
            Closes(1002),
        ),
        (
            "a message within another",
            vec![frame(RSV1 | TEXT, head), frame(FIN | RSV1 | TEXT, &whole)],
            Closes(1002),
        ),
        (
            "a marked continuation of nothing",
            vec![frame(FIN | RSV1 | CONTINUATION, &whole)],
            Closes(1002),
        ),
        (
            "an unmasked one",
            vec![vec![FIN | RSV1 | TEXT, 1, 0]],
            Closes(1002),
        ),
    ];
    for opcode in [PING, PONG, 0x8, 0x3, 0xb] {
        cases.push((
            "marked, and no message",
            vec![frame(FIN | RSV1 | opcode, b"")],
            Closes(1002),
        ));
    }
    for bits in [RSV2, RSV3, RSV1 | RSV2, RSV1 | RSV3, RSV1 | RSV2 | RSV3] {
        cases.push((
            "other bits",
            vec![frame(FIN | bits | TEXT, &whole)],
            Closes(1002),
        ));
    }
    check(cases).await;
}

#[tokio::test]
async fn what_is_no_deflate_data_or_no_utf_8_closes_with_1007() {
    let whole = deflated_ping("no");
    let no_text = deflate(b"{\"type\":\"ping\",\"id\":\"\xff\xfe\"}");
    let cut = deflate("{\"type\":\"ping\",\"id\":\"h\u{e4}".as_bytes());
    let half = deflate(&"h\u{e4}".as_bytes()[..2]);
    let cases = vec![
        (
            "made up",
            vec![frame(FIN | RSV1 | TEXT, &[0xff; 40])],
            Closes(1007),
        ),
        (
            "plain, and marked",
            vec![frame(FIN | RSV1 | TEXT, &ping("no"))],
            Closes(1007),
        ),
        ("no byte", vec![frame(FIN | RSV1 | TEXT, b"")], Closes(1007)),
        (
            "cut off",
            vec![frame(FIN | RSV1 | TEXT, &whole[..whole.len() - 3])],
            Closes(1007),
        ),
        (
            "with more behind it",
            vec![frame(FIN | RSV1 | TEXT, &[&whole[..], b"more"].concat())],
            Closes(1007),
        ),
        (
            "no UTF-8",
            vec![frame(FIN | RSV1 | TEXT, &no_text)],
            Closes(1007),
        ),
        (
            "half a letter",
            vec![frame(FIN | RSV1 | TEXT, &half)],
            Closes(1007),
        ),
        (
            "UTF-8 that is no JSON",
            vec![frame(FIN | RSV1 | TEXT, &cut)],
            pongs(&["INVALID_MESSAGE"]),
        ),
    ];
    check(cases).await;
}

#[tokio::test]
async fn the_limit_of_a_message_is_that_of_what_is_inflated() {
    let padded = |bytes: usize| {
        let start = "{\"type\":\"ping\",\"id\":\"most\",\"more\":\"";
        let text = format!("{start}{}\"}}", "x".repeat(bytes - start.len() - 2));
        assert_eq!(text.len(), bytes);
        deflate(text.as_bytes())
    };
    let bomb = deflate(&vec![b' '; 3_000_000]);
    let (head, tail) = bomb.split_at(2000);
    let cases = vec![
        (
            "the most",
            vec![frame(FIN | RSV1 | TEXT, &padded(MESSAGE_BYTES_MAX))],
            pongs(&["most"]),
        ),
        (
            "a byte more",
            vec![frame(FIN | RSV1 | TEXT, &padded(MESSAGE_BYTES_MAX + 1))],
            Closes(1009),
        ),
        (
            "a thousand times as much",
            vec![frame(FIN | RSV1 | TEXT, &deflate(&vec![0; 3_500_000]))],
            Closes(1009),
        ),
        (
            "the same in fragments",
            vec![frame(RSV1 | TEXT, head), frame(FIN | CONTINUATION, tail)],
            Closes(1009),
        ),
        (
            "more on the wire",
            vec![frame(FIN | RSV1 | TEXT, &[0; MESSAGE_BYTES_MAX + 1])],
            Closes(1009),
        ),
    ];
    check(cases).await;
}
