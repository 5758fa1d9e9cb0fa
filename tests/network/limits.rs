//! So many connections of a server and of an address, and whose address that is.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::feed::{Answer, Feed, http, soon, until};
use crate::support::raw::Raw;

async fn ask(feed: &Feed, path: &str, line: &str) -> Answer {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{line}\r\n");
    http(feed.address, &request).await
}

/// A request whose answer does not end, once its head is there.
async fn hold(feed: &Feed, path: &str, line: &str) -> TcpStream {
    let mut stream = TcpStream::connect(feed.address).await.expect("up");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{line}\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut head = [0; 12];
    soon("a head", stream.read_exact(&mut head))
        .await
        .expect("a head");
    assert_eq!(&head, b"HTTP/1.1 200");
    stream
}

fn has(answer: &Answer, line: &str) -> bool {
    answer.headers.iter().any(|header| header == line)
}

fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).expect("JSON")
}

#[tokio::test]
async fn a_server_has_so_many_places() {
    let feed = Feed::start_configured(|config| config.network.connections_max = Some(2)).await;
    let socket = Raw::connect(feed.address).await;
    let source = hold(&feed, "/sse?channels=a", "").await;
    for path in ["/ws", "/sse?channels=a", "/events?channels=a", "/cursor"] {
        let answer = ask(&feed, path, "Origin: http://localhost:5173\r\n").await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(has(&answer, "retry-after: 5"), "{:?}", answer.headers);
        assert!(has(
            &answer,
            "access-control-allow-origin: http://localhost:5173"
        ));
        assert_eq!(body(&answer)["error"], "server_full");
        assert!(answer.body.contains("all 2 connections"), "{}", answer.body);
    }
    assert_eq!(ask(&feed, "/healthz", "").await.status, 200);
    assert_eq!(feed.broadcaster.stats().server_limit_refused, 4);
    drop(source);
    until("the stream's place is free", async || {
        ask(&feed, "/cursor", "").await.status == 200
    })
    .await;
    // It is the WebSocket that has the other.
    let source = hold(&feed, "/sse?channels=a", "").await;
    assert_eq!(ask(&feed, "/cursor", "").await.status, 503);
    drop(socket);
    until("the socket's place is free", async || {
        ask(&feed, "/cursor", "").await.status == 200
    })
    .await;
    drop(source);
}

#[tokio::test]
async fn a_request_that_waits_has_a_place() {
    let feed = Feed::start_configured(|config| config.network.connections_max = Some(1)).await;
    let mut waiting = TcpStream::connect(feed.address).await.expect("up");
    let request = "GET /events?channels=a&wait=30s HTTP/1.1\r\nHost: localhost\r\n\r\n";
    waiting
        .write_all(request.as_bytes())
        .await
        .expect("written");
    until("it waits", async || {
        ask(&feed, "/cursor", "").await.status == 503
    })
    .await;
    feed.insert(&["a"]).await;
    let mut head = [0; 12];
    soon("an answer", waiting.read_exact(&mut head))
        .await
        .expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200");
    // The connection is still open, and has no place any more.
    until("its place is free", async || {
        ask(&feed, "/cursor", "").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn an_address_has_so_many_places_and_a_trusted_proxy_says_whose() {
    let feed = Feed::start_configured(|config| {
        config.network.connections_per_ip_max = 1;
        config.network.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    let _one = hold(&feed, "/sse?channels=a", &from("1.2.3.4")).await;
    let _six = hold(&feed, "/sse?channels=a", &from("2001:db8::1")).await;
    for (address, status) in [
        ("1.2.3.4", 429),
        ("::ffff:1.2.3.4", 429),
        // What a client claims comes before what the proxy saw.
        ("9.9.9.9, 1.2.3.4", 429),
        ("1.2.3.4, 9.9.9.9", 200),
        ("9.9.9.9", 200),
        ("2001:db8::2", 429),
        ("2001:db8:0:1::1", 200),
    ] {
        let answer = ask(&feed, "/cursor", &from(address)).await;
        assert_eq!(answer.status, status, "{address}");
        if status == 429 {
            for line in [
                "retry-after: 5",
                "ratelimit-limit: 1",
                "ratelimit-remaining: 0",
                "ratelimit-reset: 5",
            ] {
                assert!(has(&answer, line), "{:?}", answer.headers);
            }
            assert_eq!(body(&answer)["error"], "ip_connection_limit");
            assert!(answer.body.contains("at most 1 connections"));
        }
    }
    assert_eq!(feed.broadcaster.stats().ip_limit_refused, 4);
}

#[tokio::test]
async fn nobody_else_says_whose_request_it_is() {
    let feed = Feed::start_configured(|config| {
        config.network.connections_per_ip_max = 1;
        config.network.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
    })
    .await;
    let _one = hold(&feed, "/sse?channels=a", "X-Forwarded-For: 1.2.3.4\r\n").await;
    let answer = ask(&feed, "/cursor", "X-Forwarded-For: 1.2.3.5\r\n").await;
    assert_eq!(answer.status, 429);
}
