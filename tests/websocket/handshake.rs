//! HTTP up to the 101, and everything that does not get that far.

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::feed::{Feed, http};
use crate::support::raw::{HANDSHAKE, Raw, text};

#[tokio::test]
async fn what_is_no_handshake_is_told_so_in_json() {
    const VERSION: &str = "sec-websocket-version: 13";
    let feed = Feed::start().await;
    let without = |header: &str| {
        let lines = HANDSHAKE.trim_end().split("\r\n");
        let kept: Vec<_> = lines.filter(|line| !line.starts_with(header)).collect();
        kept.join("\r\n") + "\r\nX: y\r\n\r\n"
    };
    let with = |from: &str, to: &str| {
        assert!(HANDSHAKE.contains(from), "{from}");
        HANDSHAKE.replace(from, to)
    };
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let cases: Vec<(String, u16, &str, &[&str])> = vec![
        (
            "GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
            426,
            "WebSocket endpoint",
            &["upgrade: websocket", VERSION, "connection: upgrade"],
        ),
        (without("Upgrade:"), 426, "WebSocket endpoint", &[]),
        (without("Connection:"), 426, "WebSocket endpoint", &[]),
        (with("websocket", "h2c"), 426, "WebSocket endpoint", &[]),
        (
            with("Version: 13", "Version: 8"),
            426,
            "Sec-WebSocket-Version must be 13",
            &["upgrade: websocket", VERSION],
        ),
        (
            without("Sec-WebSocket-Version:"),
            426,
            "Version must be 13",
            &[VERSION],
        ),
        (with(key, "c2hvcnQ="), 400, "16 bytes in base64", &[]),
        (with(key, "%%%"), 400, "16 bytes in base64", &[]),
        (without("Sec-WebSocket-Key:"), 400, "16 bytes", &[]),
        (
            with("GET", "POST"),
            405,
            "answers GET only",
            &["allow: get"],
        ),
        (
            "POST /ws HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".into(),
            405,
            "GET only",
            &["allow: get"],
        ),
        (
            "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
            404,
            "there are /ws",
            &[],
        ),
        (
            "GET /ws/ HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
            426,
            "WebSocket endpoint",
            &[],
        ),
        (
            "GET /ws/more HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
            404,
            "there are /ws",
            &[],
        ),
    ];
    for (request, status, message, headers) in cases {
        // The last of a kept-alive connection, so that the answer ends.
        let request = request.trim_end().to_owned() + "\r\nConnection: close\r\n\r\n";
        let answer = http(feed.address, &request).await;
        assert_eq!(answer.status, status, "{request}{}", answer.body);
        let body: Value = serde_json::from_str(&answer.body).expect("errors are JSON");
        let told = body["message"].as_str().unwrap_or_default();
        assert!(told.contains(message), "{request}{body}");
        for header in headers {
            assert!(
                answer.headers.iter().any(|line| line.starts_with(header)),
                "{request}{:?}",
                answer.headers
            );
        }
    }
    assert_eq!(feed.broadcaster.client_count(), 0);
}

#[tokio::test]
async fn header_lists_and_letter_case_do_not_matter() {
    let feed = Feed::start().await;
    let request = HANDSHAKE
        .replace("Upgrade: websocket", "UPGRADE: h2c, WebSocket")
        .replace("Connection: Upgrade", "connection: keep-alive, upgrade");
    let stream = TcpStream::connect(feed.address).await.unwrap();
    let mut raw = Raw {
        stream,
        bytes_read: 0,
    };
    raw.send(request.as_bytes()).await;
    raw.hear_handshake().await;
    raw.say(&json!({"type": "ping"})).await;
    assert_eq!(raw.hear_json().await["type"], "pong");
}

#[tokio::test]
async fn frames_sent_with_the_request_are_answered() {
    let feed = Feed::start().await;
    let subscribe = text(r#"{"type":"subscribe","id":1,"channels":["tasks"]}"#);
    let ping = text(r#"{"type":"ping","id":2}"#);
    let stream = TcpStream::connect(feed.address).await.unwrap();
    let mut raw = Raw::shake_hands_and(stream, &[subscribe, ping].concat()).await;
    let (first, second) = (raw.hear_json().await, raw.hear_json().await);
    assert_eq!(
        (&first["type"], &first["id"]),
        (&json!("subscribed"), &json!(1))
    );
    assert_eq!(
        (&second["type"], &second["id"]),
        (&json!("pong"), &json!(2))
    );

    // Half a frame with the request, the rest later.
    let ping = text(r#"{"type":"ping","id":3}"#);
    let (early, late) = ping.split_at(7);
    let stream = TcpStream::connect(feed.address).await.unwrap();
    let mut raw = Raw::shake_hands_and(stream, early).await;
    raw.send(late).await;
    assert_eq!(raw.hear_json().await["id"], 3);
}
