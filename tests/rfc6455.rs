//! RFC 6455, byte by byte: what a client may and must not send, and how each connection ends.
#![cfg(feature = "sqlite")]

mod support;

use std::time::Duration;

use serde_json::json;
use support::feed::{Feed, timed};
use support::raw::{
    BINARY, CLOSE, CONTINUATION, FIN, Heard, PING, PONG, Raw, TEXT, close, frame,
    frame_with_length, text,
};
use tokio::io::AsyncWriteExt as _;

const MESSAGE_BYTES_MAX: usize = 4096;
const RSV1: u8 = 0x40;
const RSV2: u8 = 0x20;
const RSV3: u8 = 0x10;

/// What a connection has to do after some bytes.
enum Then {
    /// Answer these frames, in this order, and live on.
    Answers(Vec<Heard>),
    /// Close with this code, and end.
    Closes(u16),
}

use Then::{Answers, Closes};

async fn feed() -> Feed {
    Feed::start_with(|hub| hub.message_bytes_max = MESSAGE_BYTES_MAX).await
}

/// Sends the bytes at once, and once more byte by byte: TCP knows no frames.
async fn check(cases: Vec<(&str, Vec<Vec<u8>>, Then)>) {
    let feed = feed().await;
    for (name, frames, then) in cases {
        for at_once in [true, false] {
            println!("{name}, {}", if at_once { "at once" } else { "in pieces" });
            let mut raw = Raw::connect(feed.address).await;
            let bytes = frames.concat();
            if at_once {
                raw.send(&bytes).await;
            } else {
                raw.stream.set_nodelay(true).expect("an option of TCP");
                // Long ones in pieces of another odd size: enough to break every frame somewhere.
                let piece = if bytes.len() < 1000 { 1 } else { 101 };
                for piece in bytes.chunks(piece) {
                    // The server may have closed after the first of it.
                    if raw.stream.write_all(piece).await.is_err() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            match &then {
                Closes(code) => raw.hear_close(*code).await,
                Answers(answers) => {
                    for answer in answers {
                        assert_eq!(&raw.hear().await, answer);
                    }
                    expect_alive(&mut raw).await;
                    raw.send(&close(1000, b"")).await;
                    raw.hear_close(1000).await;
                }
            }
        }
    }
}

async fn expect_alive(raw: &mut Raw) {
    raw.say(&json!({"type": "ping", "id": "alive"})).await;
    let pong = raw.hear_json().await;
    assert_eq!(
        (&pong["type"], &pong["id"]),
        (&json!("pong"), &json!("alive"))
    );
}

/// A message that is answered with an error that has its id, whatever else it has.
fn unknown(id: &str) -> (String, Heard) {
    let message = json!({"type": "é€🦀", "id": id}).to_string();
    let answer = json!({
        "type": "error",
        "id": id,
        "code": "INVALID_MESSAGE",
        "message": "unknown type \"é€🦀\"; there are hello, subscribe, unsubscribe, auth and ping",
    });
    // The server's order of fields.
    let answer = format!(
        r#"{{"type":"error","id":{},"code":{},"message":{}}}"#,
        answer["id"], answer["code"], answer["message"]
    );
    (message, Heard::Text(answer))
}

fn pong(payload: &[u8]) -> Heard {
    Heard::Pong(payload.to_vec())
}

#[tokio::test]
async fn frames_that_are_out_of_rule_close_with_1002() {
    let mut unmasked = vec![FIN | TEXT, 2];
    unmasked.extend(b"{}");
    let mut unmasked_ping = vec![FIN | PING, 1];
    unmasked_ping.push(b'x');
    let mut cases = vec![
        ("an unmasked text", vec![unmasked], Closes(1002)),
        ("an unmasked ping", vec![unmasked_ping], Closes(1002)),
        (
            "a ping of 126 bytes",
            vec![frame(FIN | PING, &[b'x'; 126])],
            Closes(1002),
        ),
        (
            "a pong of 126 bytes",
            vec![frame(FIN | PONG, &[b'x'; 126])],
            Closes(1002),
        ),
        (
            "a close of 126 bytes",
            vec![close(1000, &[b'x'; 124])],
            Closes(1002),
        ),
        (
            "a fragmented ping",
            vec![frame(PING, b"x"), frame(FIN | CONTINUATION, b"y")],
            Closes(1002),
        ),
        (
            "a fragmented close",
            vec![frame(CLOSE, &1000_u16.to_be_bytes())],
            Closes(1002),
        ),
        (
            "a last fragment without a first",
            vec![frame(FIN | CONTINUATION, b"x")],
            Closes(1002),
        ),
        (
            "a fragment without a first",
            vec![frame(CONTINUATION, b"x")],
            Closes(1002),
        ),
        (
            "a new text within a message",
            vec![frame(TEXT, b"{"), text("{}")],
            Closes(1002),
        ),
        (
            "a binary within a text",
            vec![frame(TEXT, b"{"), frame(FIN | BINARY, b"}")],
            Closes(1002),
        ),
    ];
    for bits in [RSV1, RSV2, RSV3, RSV1 | RSV2 | RSV3] {
        for opcode in [TEXT, BINARY, PING, PONG, CLOSE] {
            let first = FIN | bits | opcode;
            cases.push(("reserved bits", vec![frame(first, b"")], Closes(1002)));
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        for payload in [&b""[..], b"x"] {
            let name = "a reserved opcode";
            cases.push((name, vec![frame(FIN | opcode, payload)], Closes(1002)));
        }
    }
    check(cases).await;
}

#[tokio::test]
async fn a_continuation_behind_a_whole_message_closes_after_the_answer() {
    let feed = feed().await;
    let mut raw = Raw::connect(feed.address).await;
    let (message, answer) = unknown("1");
    let (head, tail) = message.as_bytes().split_at(9);
    raw.send(&frame(TEXT, head)).await;
    raw.send(&frame(FIN | CONTINUATION, tail)).await;
    assert_eq!(raw.hear().await, answer);
    raw.send(&frame(FIN | CONTINUATION, b"x")).await;
    raw.hear_close(1002).await;
}

#[tokio::test]
async fn fragments_make_messages() {
    let (message, answer) = unknown("whole");
    let message = message.as_bytes();
    let in_pieces = |size: usize| {
        let mut frames = vec![frame(TEXT, b"")];
        frames.extend(message.chunks(size).map(|piece| frame(CONTINUATION, piece)));
        frames.push(frame(FIN | CONTINUATION, b""));
        frames
    };
    let mut with_pings = in_pieces(7);
    let mut answers = Vec::new();
    for n in (1..with_pings.len()).rev() {
        with_pings.insert(n, frame(FIN | PING, &[n as u8; 125]));
        answers.insert(0, pong(&[n as u8; 125]));
    }
    answers.push(unknown("whole").1);
    let mut with_a_pong = in_pieces(3);
    with_a_pong.insert(2, frame(FIN | PONG, b"nobody asked"));
    check(vec![
        (
            "one byte in a fragment, which splits characters too",
            in_pieces(1),
            Answers(vec![answer]),
        ),
        (
            "fragments of five bytes",
            in_pieces(5),
            Answers(vec![unknown("whole").1]),
        ),
        ("pings between fragments", with_pings, Answers(answers)),
        (
            "a pong between fragments",
            with_a_pong,
            Answers(vec![unknown("whole").1]),
        ),
        (
            "a close within a message",
            vec![frame(TEXT, b"{"), close(1000, b"enough")],
            Closes(1000),
        ),
    ])
    .await;
}

#[tokio::test]
async fn pings_are_answered_with_their_payload() {
    check(vec![
        (
            "empty",
            vec![frame(FIN | PING, b"")],
            Answers(vec![pong(b"")]),
        ),
        (
            "text",
            vec![frame(FIN | PING, b"hello")],
            Answers(vec![pong(b"hello")]),
        ),
        (
            "the longest, and no text",
            vec![frame(FIN | PING, &[0xff; 125])],
            Answers(vec![pong(&[0xff; 125])]),
        ),
        (
            "ten",
            (0..10).map(|n| frame(FIN | PING, &[n])).collect(),
            Answers((0..10).map(|n| pong(&[n])).collect()),
        ),
        (
            "pongs are not answered",
            vec![
                frame(FIN | PONG, b""),
                frame(FIN | PONG, &[0xff; 125]),
                frame(FIN | PING, b"x"),
            ],
            Answers(vec![pong(b"x")]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn texts_are_utf_8_or_close_with_1007() {
    let mut cases = Vec::new();
    let invalid: [&[u8]; 9] = [
        b"\xff",
        b"\xc3",
        b"\xc3(",
        // Longer than need be.
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        // A surrogate, and beyond the last character.
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        // Good until the end, which is missing.
        "κόσμε".as_bytes().split_last().unwrap().1,
        b"{\"type\":\"ping\"}\x80",
    ];
    for bytes in invalid {
        cases.push(("in one frame", vec![frame(FIN | TEXT, bytes)], Closes(1007)));
        let mut fragments = vec![frame(TEXT, b"{\"x\":\"")];
        fragments.extend(bytes.iter().map(|&byte| frame(CONTINUATION, &[byte])));
        fragments.push(frame(FIN | CONTINUATION, b"\"}"));
        cases.push(("split across fragments", fragments, Closes(1007)));
    }
    // In a binary frame anything may be; it is refused, and the connection lives.
    let refused = r#"{"type":"error","code":"INVALID_MESSAGE","message":"a message is JSON in a text frame, and this is a binary frame"}"#;
    cases.push((
        "in a binary frame",
        vec![frame(FIN | BINARY, b"\xff\xfe")],
        Answers(vec![Heard::Text(refused.to_owned())]),
    ));
    check(cases).await;
}

#[tokio::test]
async fn messages_over_the_limit_close_with_1009() {
    let longest = format!(
        r#"{{"type":"ping","x":"{}"}}"#,
        "x".repeat(MESSAGE_BYTES_MAX - 22)
    );
    assert_eq!(longest.len(), MESSAGE_BYTES_MAX);
    let too_long = vec![b'x'; MESSAGE_BYTES_MAX + 1];
    let huge = vec![b'x'; 300_000];
    check(vec![
        (
            "one byte more",
            vec![frame(FIN | TEXT, &too_long)],
            Closes(1009),
        ),
        ("binary", vec![frame(FIN | BINARY, &too_long)], Closes(1009)),
        (
            "in fragments that are each short enough",
            vec![
                frame(TEXT, &too_long[..3000]),
                frame(FIN | CONTINUATION, &too_long[3000..]),
            ],
            Closes(1009),
        ),
        (
            "in fragments that never end",
            (0..50)
                .map(|n| frame(if n == 0 { TEXT } else { CONTINUATION }, &[b'x'; 125]))
                .collect(),
            Closes(1009),
        ),
        ("much more", vec![frame(FIN | TEXT, &huge)], Closes(1009)),
        (
            "the largest length there is, and none of it",
            vec![frame_with_length(
                FIN | TEXT,
                &[127, 0x7f, 255, 255, 255, 255, 255, 255, 255],
                b"",
            )],
            Closes(1009),
        ),
    ])
    .await;
    let feed = feed().await;
    let mut raw = Raw::connect(feed.address).await;
    raw.send(&text(&longest)).await;
    assert_eq!(raw.hear_json().await["type"], "pong");
}

/// A length must be in its shortest form (section 5.2), and the codec takes any. That harms nobody: it means the same.
#[tokio::test]
async fn a_length_that_is_longer_than_need_be_is_understood() {
    let feed = feed().await;
    let mut raw = Raw::connect(feed.address).await;
    let ping = br#"{"type":"ping","id":5}"#;
    let length = ping.len() as u8;
    for length in [&[126, 0, length][..], &[127, 0, 0, 0, 0, 0, 0, 0, length]] {
        raw.send(&frame_with_length(FIN | TEXT, length, ping)).await;
        let answer = raw.hear_json().await;
        assert_eq!(
            (&answer["type"], &answer["id"]),
            (&json!("pong"), &json!(5))
        );
    }
    expect_alive(&mut raw).await;
}

#[tokio::test]
async fn closes_are_answered_with_their_code() {
    let mut cases = vec![
        ("half a code", vec![frame(FIN | CLOSE, &[3])], Closes(1002)),
        (
            "a reason that is not UTF-8",
            vec![close(1000, b"\xff")],
            Closes(1007),
        ),
        (
            "half a character as reason",
            vec![close(1000, b"ok \xf0\x9f\xa6")],
            Closes(1007),
        ),
        (
            "the longest reason",
            vec![close(1000, "é".repeat(61).as_bytes())],
            Closes(1000),
        ),
    ];
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999,
    ] {
        cases.push(("a valid code", vec![close(code, b"bye")], Closes(code)));
    }
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        cases.push(("an invalid code", vec![close(code, b"")], Closes(1002)));
    }
    check(cases).await;

    let feed = feed().await;
    let mut raw = Raw::connect(feed.address).await;
    raw.send(&frame(FIN | CLOSE, b"")).await;
    assert_eq!(raw.hear().await, Heard::Close(None), "no code, as asked");
    assert_eq!(raw.hear().await, Heard::End);
}

#[tokio::test]
async fn what_comes_after_a_close_is_ignored_and_does_not_reset_the_stream() {
    let feed = feed().await;
    for first in [close(1000, b""), close(1005, b""), frame(FIN | 3, b"")] {
        let mut raw = Raw::connect(feed.address).await;
        let mut bytes = first.clone();
        // More than one read takes: it is still in the socket when the server is done.
        for _ in 0..2000 {
            bytes.extend(text(r#"{"type":"ping","id":"after"}"#));
            bytes.extend(frame(FIN | PING, b"after"));
        }
        raw.send(&bytes).await;
        let code = if first == close(1000, b"") {
            1000
        } else {
            1002
        };
        raw.hear_close(code).await;
        // It may talk on: the server reads until it stops.
        raw.send(&text(r#"{"type":"ping"}"#)).await;
        assert_eq!(raw.hear().await, Heard::End);
    }
}

#[tokio::test]
async fn a_close_is_answered_though_the_client_has_stopped_sending() {
    let feed = feed().await;
    let mut raw = Raw::connect(feed.address).await;
    raw.send(&close(1000, b"")).await;
    raw.stream.shutdown().await.unwrap();
    raw.hear_close(1000).await;
}

#[tokio::test]
async fn a_close_behind_a_full_queue_is_answered() {
    let feed = Feed::start().await;
    let mut witness = feed.subscribe(&["a"]).await;
    for (goodbye, code) in [(close(4000, b"enough"), 4000), (frame(FIN | 3, b""), 1002)] {
        let mut raw = Raw::connect_narrow(feed.address).await;
        raw.say(&json!({"type": "subscribe", "channels": ["a"]}))
            .await;
        raw.hear_json().await;
        // More than the sockets take, so that something waits in the server.
        let queued = feed.broadcaster.stats().writes_queued;
        while feed.broadcaster.stats().writes_queued == queued {
            let fill = json!("x".repeat(500_000));
            feed.insert_rows(&[support::feed::row("a", &fill)]).await;
            witness.hear_events(1).await;
            // Its answer comes after the row was given to both.
            witness.hear_all().await;
        }
        raw.send(&goodbye).await;
        let (heard, took) = timed(async {
            loop {
                match raw.hear().await {
                    Heard::Text(_) => {}
                    other => break other,
                }
            }
        })
        .await;
        assert_eq!(heard, Heard::Close(Some(code)));
        assert_eq!(raw.hear().await, Heard::End);
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}

#[tokio::test]
async fn after_the_handshake_of_closing_the_server_hangs_up_first() {
    let feed = feed().await;
    let mut raw = Raw::connect(feed.address).await;
    raw.send(&close(1000, b"bye")).await;
    let ((), took) = timed(raw.hear_close(1000)).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    // It waits for the client to hang up too, but not for ever.
    let ((), took) = timed(support::feed::until("it is gone", async || {
        feed.broadcaster.client_count() == 0
    }))
    .await;
    assert!(took < Duration::from_secs(6), "{took:?}");
    drop(raw);
}

#[tokio::test]
async fn a_client_that_never_answers_a_close_is_cut_off() {
    let feed = feed().await;
    let mut mute = Raw::connect(feed.address).await;
    expect_alive(&mut mute).await;
    let running = feed.shut_down();
    assert_eq!(mute.hear_json().await["type"], "disconnect");
    assert_eq!(mute.hear().await, Heard::Close(Some(1012)));
    // Talking is not answering.
    mute.send(&text(r#"{"type":"ping"}"#)).await;
    let (end, took) = timed(mute.hear()).await;
    assert_eq!(end, Heard::End);
    let (least, most) = (Duration::from_secs(3), Duration::from_secs(6));
    assert!(took > least && took < most, "{took:?}");
    running.await.expect("ended well");
}

#[tokio::test]
async fn both_may_close_at_the_same_time() {
    let feed = feed().await;
    let mut raw = Raw::connect(feed.address).await;
    expect_alive(&mut raw).await;
    let running = feed.shut_down();
    raw.send(&close(1000, b"")).await;
    let code = loop {
        match raw.hear().await {
            Heard::Text(_) => {}
            Heard::Close(code) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(code, Some(1000 | 1001)), "{code:?}");
    assert_eq!(raw.hear().await, Heard::End);
    drop(raw);
    let (ended, took) = timed(running).await;
    ended.expect("ended well");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn clients_that_hang_up_at_any_point_leave_nothing_behind() {
    let feed = feed().await;
    let bytes = [
        text(r#"{"type":"subscribe","channels":["a"]}"#),
        frame(TEXT, b"{"),
        frame(FIN | PING, b"x"),
        frame(FIN | CONTINUATION, b"}"),
        close(1000, b"bye"),
    ]
    .concat();
    for length in 0..bytes.len() {
        let mut raw = Raw::connect(feed.address).await;
        raw.send(&bytes[..length]).await;
        if length % 2 == 0 {
            // A reset instead of an end.
            socket_linger_zero(&raw);
        }
    }
    support::feed::until("all are gone", async || {
        let stats = feed.stats().await;
        stats["connections"] == 0 && stats["subscriptions"] == 0
    })
    .await;
    expect_alive(&mut Raw::connect(feed.address).await).await;
}

fn socket_linger_zero(raw: &Raw) {
    socket2::SockRef::from(&raw.stream)
        .set_linger(Some(Duration::ZERO))
        .expect("an option every socket has");
}
