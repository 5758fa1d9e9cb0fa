//! The same token, wherever it is carried, and the same answer to one that is not accepted.

use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::support::feed::{Client, Feed, http, ids, until};
use crate::support::token::{ask_for_tokens, token, token_for};

async fn feed() -> Feed {
    Feed::start_configured(ask_for_tokens).await
}

/// A WebSocket with this path and header. Gives the subprotocol that was taken.
async fn connect(
    feed: &Feed,
    path: &str,
    header: (&'static str, &str),
) -> (Client, Option<String>) {
    let url = format!("ws://{}{path}", feed.address);
    let mut request = url.into_client_request().expect("a URL");
    if !header.0.is_empty() {
        let value = HeaderValue::from_str(header.1).expect("a header");
        request.headers_mut().insert(header.0, value);
    }
    let (socket, response) = connect_async(request).await.expect("it opens");
    let protocol = response.headers().get("sec-websocket-protocol");
    let protocol = protocol.map(|value| value.to_str().expect("text").to_owned());
    (Client::over(socket), protocol)
}

#[tokio::test]
async fn a_websocket_takes_its_token_from_anywhere() {
    let feed = feed().await;
    let token = token_for("ann", &["tasks"]);
    let none = ("", "");
    let bearer = format!("Bearer {token}");
    let cookie = format!("a=b; rowcast_token={token}");
    let offered = format!("rowcast.v1, rowcast.bearer.{token}");
    for (path, header) in [
        ("/ws".to_owned(), ("authorization", &*bearer)),
        ("/ws".to_owned(), ("cookie", &*cookie)),
        ("/ws".to_owned(), ("sec-websocket-protocol", &*offered)),
        (format!("/ws?token={token}"), none),
    ] {
        let (mut client, protocol) = connect(&feed, &path, header).await;
        assert_eq!(
            protocol.as_deref(),
            (header.0 == "sec-websocket-protocol").then_some("rowcast.v1"),
            "and never the token"
        );
        client.subscribe(&["tasks"]).await;
        let inserted = feed.insert(&["tasks"]).await;
        assert_eq!(ids(&client.hear_events(1).await), inserted);
    }
}

#[tokio::test]
async fn a_websocket_that_is_not_let_in_is_closed_with_a_reason() {
    let feed = feed().await;
    let expired = token(json!({"sub": "ann", "exp": 1000}));
    // One that permits a channel, and opens no connection.
    let odd = token(json!({"sub": "ann", "channel": "tasks"}));
    for (token, reason) in [
        (&*odd, "not accepted"),
        (&*expired, "expired"),
        ("nonsense", "not accepted"),
        ("a.b.c", "not accepted"),
    ] {
        let (mut client, _) = connect(&feed, &format!("/ws?token={token}"), ("", "")).await;
        assert_eq!(client.hear_a("error").await["code"], "UNAUTHORIZED");
        let close = client.hear_close().await;
        assert_eq!(u16::from(close.code), 4001);
        assert!(close.reason.contains(reason), "{}", close.reason);
        assert!(!close.reason.contains(token), "{}", close.reason);
        client.end().await;
    }
}

async fn get(feed: &Feed, path: &str, header: &str) -> (u16, Vec<String>, Value) {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{header}\r\n",
        feed.address
    );
    let answer = http(feed.address, &request).await;
    let body = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    (answer.status, answer.headers, body)
}

#[tokio::test]
async fn plain_requests_are_asked_as_well() {
    let feed = feed().await;
    let past = feed
        .insert(&["tasks", "secret", "inbox:ann", "inbox:bob"])
        .await;
    until("the feed has seen them", async || {
        feed.broadcaster.cursor().id() >= past.last().copied()
    })
    .await;
    for path in ["/cursor", "/events?channels=tasks", "/sse?channels=tasks"] {
        let (status, head, body) = get(&feed, path, "").await;
        assert_eq!(status, 401, "{path}");
        assert_eq!(body["error"], "unauthorized");
        let challenge = "www-authenticate: bearer realm=\"rowcast\"".to_owned();
        assert!(head.contains(&challenge), "{head:?}");
        let (status, head, _) = get(&feed, path, "Authorization: Bearer a.b.c\r\n").await;
        assert_eq!(status, 401, "{path}");
        let challenge = format!("{challenge}, error=\"invalid_token\"");
        assert!(head.contains(&challenge), "{head:?}");
    }
    let bearer = format!("Authorization: Bearer {}\r\n", token_for("ann", &["tasks"]));
    let (status, _, body) = get(&feed, "/cursor", &bearer).await;
    assert_eq!(status, 200, "{body}");
    let (status, _, body) = get(&feed, "/events?channels=*,secret&after=earliest", &bearer).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        ids(body["events"].as_array().expect("a list")),
        [past[0], past[2]]
    );
    assert_eq!(body["rejected"], json!(["secret"]));
    for path in ["/events?channels=secret", "/sse?channels=secret,inbox:bob"] {
        let (status, _, body) = get(&feed, path, &bearer).await;
        assert_eq!(
            (status, &body["error"]),
            (403, &json!("forbidden")),
            "{path}: {body}"
        );
    }
    // Numbers are for those who are let in, and of a project for those who may see it.
    let own = format!(
        "Authorization: Bearer {}\r\n",
        token_for("ann", &["project:7"])
    );
    let _member = {
        let path = format!("/ws?token={}", token_for("bob", &["project:7"]));
        let (mut client, _) = connect(&feed, &path, ("", "")).await;
        client.subscribe(&["project:7"]).await;
        client
    };
    for (path, header, status) in [
        ("/api/v1/ws/stats", "", 401),
        ("/api/v1/ws/stats", &*bearer, 200),
        ("/api/v1/ws/stats?project_id=7", &*bearer, 403),
        ("/api/v1/ws/stats?project_id=7", &*own, 200),
    ] {
        let (got, _, body) = get(&feed, path, header).await;
        assert_eq!(got, status, "{path}: {body}");
        if status == 200 {
            assert_eq!(body["connections"], 1, "{body}");
            // Two shapes at once, each as the front ends of another server ask for it; of rooms, one's own.
            assert_eq!(
                (&body["status"], &body["client_count"]),
                (&json!("ok"), &json!(1))
            );
            let rooms = if header == own {
                json!({"project:7": 1})
            } else {
                json!({})
            };
            let stats = &body["data"]["stats"];
            assert_eq!(stats["clientsPerRoom"], rooms, "{body}");
            let total = usize::from(header == own);
            assert_eq!(stats["totalRooms"], total, "{body}");
            assert_eq!(stats["totalClients"], 1, "{body}");
        }
    }
    // A backend decides one channel at a time.
    let permit = token(json!({"sub": "ann", "channel": "secret"}));
    let path = format!("/events?channels=secret&after=earliest&channel_token={permit}");
    let (status, _, body) = get(&feed, &path, &bearer).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(ids(body["events"].as_array().expect("a list")), [past[1]]);
}

#[tokio::test]
async fn a_stream_of_server_sent_events_ends_with_its_token() {
    let feed = feed().await;
    feed.insert(&["tasks", "secret"]).await;
    let exp = crate::support::token::now() + 2;
    let token = token(json!({"sub": "ann", "channels": ["tasks"], "exp": exp}));
    let path = format!("/sse?channels=*&since=earliest&token={token}");
    // It ends by itself.
    let (status, _, _) = get(&feed, "/cursor", "").await;
    assert_eq!(status, 401);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", feed.address);
    let answer = http(feed.address, &request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body.matches("\"type\":\"event\"").count(),
        1,
        "{}",
        answer.body
    );
    assert!(answer.body.contains("event: disconnect"), "{}", answer.body);
    assert!(answer.body.contains("TOKEN_EXPIRED"), "{}", answer.body);
    assert!(!answer.body.contains(&token), "{}", answer.body);
}
