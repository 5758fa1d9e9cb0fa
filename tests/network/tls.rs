//! TLS spoken by the server itself: every transport over it, certificates replaced, handshakes that come to nothing.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::authority::{Authority, shown};
use crate::support::feed::{Feed, http, soon, until};
use crate::support::raw::Raw;
use rowcast::{Config, DatabaseConfig, Server, TlsFiles};

async fn start(authority: &Authority) -> Feed {
    let files = authority.write();
    Feed::start_configured(|config| config.network.tls = Some(files)).await
}

async fn subscribe(authority: &Authority, feed: &Feed) -> Raw<TlsStream<TcpStream>> {
    let stream = authority.connect(feed.address).await;
    let mut client = Raw::shake_hands(stream).await;
    client
        .say(&json!({"type": "subscribe", "channels": ["tasks"]}))
        .await;
    hear_a(&mut client, "subscribed").await;
    client
}

async fn hear_a(client: &mut Raw<TlsStream<TcpStream>>, kind: &str) -> Value {
    loop {
        let frame = client.hear_json().await;
        if frame["type"] == kind {
            return frame;
        }
    }
}

#[tokio::test]
async fn every_transport_goes_over_tls() {
    let authority = Authority::new();
    let feed = start(&authority).await;
    let mut client = subscribe(&authority, &feed).await;

    let mut source = BufReader::new(authority.connect(feed.address).await);
    let request = "GET /sse?channels=tasks HTTP/1.1\r\nHost: localhost\r\n\r\n";
    source.write_all(request.as_bytes()).await.expect("written");
    let mut line = String::new();
    soon("subscribed", async {
        while !line.contains("\"subscribed\"") && !line.contains("event: subscribed") {
            line.clear();
            assert!(source.read_line(&mut line).await.expect("read") > 0);
        }
    })
    .await;

    let rows = feed.insert(&["tasks"]).await;
    let event = hear_a(&mut client, "event").await;
    assert_eq!(event["event"]["id"], rows[0]);
    soon("the event", async {
        while !line.contains("\"test.row\"") {
            line.clear();
            assert!(source.read_line(&mut line).await.expect("read") > 0);
        }
    })
    .await;

    let mut stream = authority.connect(feed.address).await;
    let request = "GET /events?channels=tasks&after=earliest HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer))
        .await
        .expect("an end that TLS vouches for");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"test.row\""), "{answer}");
}

#[tokio::test]
async fn a_large_backlog_comes_over_tls_in_order() {
    let authority = Authority::new();
    let feed = start(&authority).await;
    let mut client = subscribe(&authority, &feed).await;
    let mut rows = Vec::new();
    for _ in 0..5 {
        rows.extend(feed.insert(&vec!["tasks"; 1000]).await);
    }
    for row in rows {
        assert_eq!(hear_a(&mut client, "event").await["event"]["id"], row);
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_those_who_come_and_disturbs_nobody() {
    let authority = Authority::new();
    let feed = start(&authority).await;
    let mut old = subscribe(&authority, &feed).await;
    let first = shown(&authority.connect(feed.address).await);

    // A key that is not the certificate's: what there was stays.
    let files = authority.write();
    let (_, other_key) = authority.sign();
    std::fs::write(&files.key, other_key).expect("written");
    let (read, errors) = feed.reload.reload().await;
    assert!(read.is_empty());
    let text = errors[0].to_string();
    assert!(text.contains("is not the key of --tls-cert"), "{text}");
    assert_eq!(shown(&authority.connect(feed.address).await), first);

    authority.write();
    let (read, errors) = feed.reload.reload().await;
    assert_eq!((&read[..], errors.len()), (&["certificate"][..], 0));
    assert_ne!(shown(&authority.connect(feed.address).await), first);
    let mut new = subscribe(&authority, &feed).await;
    let rows = feed.insert(&["tasks"]).await;
    for client in [&mut old, &mut new] {
        assert_eq!(hear_a(client, "event").await["event"]["id"], rows[0]);
    }
}

#[tokio::test]
async fn handshakes_that_come_to_nothing_end() {
    let authority = Authority::new();
    let files = authority.write();
    let feed = Feed::start_configured(|config| {
        config.network.tls = Some(files);
        config.network.handshake_timeout = Duration::from_millis(300);
    })
    .await;
    // Nothing, and the first bytes of a hello.
    for begun in [&b""[..], &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]] {
        let mut stream = TcpStream::connect(feed.address).await.expect("up");
        stream.write_all(begun).await.expect("written");
        let mut answer = Vec::new();
        let _ = soon("the end", stream.read_to_end(&mut answer)).await;
    }
    // Gone in the middle of it.
    let mut stream = TcpStream::connect(feed.address).await.expect("up");
    stream
        .write_all(&[0x16, 0x03, 0x01])
        .await
        .expect("written");
    drop(stream);
    // A hello that is none.
    let mut stream = TcpStream::connect(feed.address).await.expect("up");
    stream.write_all(&[0x16; 64]).await.expect("written");
    let _ = soon("the end", stream.read_to_end(&mut Vec::new())).await;
    until("all are counted", async || {
        feed.broadcaster.stats().tls_handshakes_failed == 4
    })
    .await;
    let mut client = subscribe(&authority, &feed).await;
    let rows = feed.insert(&["tasks"]).await;
    let event = hear_a(&mut client, "event").await;
    assert_eq!(event["event"]["id"], rows[0]);
}

#[tokio::test]
async fn who_speaks_http_to_it_is_told() {
    let authority = Authority::new();
    let feed = start(&authority).await;
    let answer = http(feed.address, "GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("wss://"), "{}", answer.body);
}

#[tokio::test]
async fn files_that_are_not_good_are_told_before_anything_else_begins() {
    let authority = Authority::new();
    let good = authority.write();
    let (_, other_key) = authority.sign();
    let write = |name: &str, text: &str| {
        let path = authority.path(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let absent = authority.path("absent.pem");
    let empty = write("empty.pem", "");
    let other = write("other.pem", &other_key);
    let encrypted = write(
        "encrypted.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGj\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let with = |cert: &std::path::PathBuf, key: &std::path::PathBuf| TlsFiles {
        cert: cert.clone(),
        key: key.clone(),
    };
    for (files, words) in [
        (
            with(&absent, &good.key),
            ["--tls-cert", "absent.pem", "No such file"],
        ),
        (
            with(&good.cert, &absent),
            ["--tls-key", "absent.pem", "No such file"],
        ),
        (
            with(&empty, &good.key),
            ["--tls-cert", "empty.pem", "no certificate"],
        ),
        (
            with(&good.key, &good.key),
            ["--tls-cert", "key.pem", "no certificate"],
        ),
        (
            with(&good.cert, &empty),
            ["--tls-key", "empty.pem", "no private key"],
        ),
        (
            with(&good.cert, &good.cert),
            ["--tls-key", "cert.pem", "no private key"],
        ),
        (
            with(&good.cert, &other),
            ["--tls-key", "other.pem", "not the key of"],
        ),
        (
            with(&good.cert, &encrypted),
            ["encrypted.pem", "is encrypted", "openssl pkey"],
        ),
    ] {
        let database = authority.path("never.db");
        let url = format!("sqlite://{}", database.display());
        let mut config = Config::new(DatabaseConfig::new(&url).expect("a URL"));
        config.listen.set_port(0);
        config.network.tls = Some(files.clone());
        let Err(error) = Server::start(&config).await else {
            panic!("{files:?} is good");
        };
        assert!(error.is_config());
        let text = error.to_string();
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!text.contains("MIG"), "{text}");
        assert!(!database.exists());
    }
}
