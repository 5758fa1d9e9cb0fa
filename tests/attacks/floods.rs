//! Clients that send too much, too little at a time, or without end; and what it costs the server.

use std::fmt::Write as _;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::support::feed::{Client, Feed, soon};
use crate::support::process::Process;
use crate::support::raw::{CONTINUATION, FIN, Heard, PONG, Raw, TEXT, frame, text};
use crate::support::temp_dir;
use crate::support::token::{ask_for_tokens, token_for};

/// A server in a process of its own, so that its memory can be measured, and where it listens.
fn start(folder: &tempfile::TempDir) -> (Process, std::net::SocketAddr) {
    let url = format!("sqlite://{}", folder.path().join("feed.db").display());
    let server = Process::start(&url, &[]);
    let address = server
        .url
        .trim_start_matches("ws://")
        .trim_end_matches("/ws");
    let address = address.parse().expect("an address");
    (server, address)
}

/// Whoever behaves is answered.
async fn assert_served(address: std::net::SocketAddr) {
    let mut good = Client::connect(address).await;
    good.subscribe(&["tasks"]).await;
    good.hear_all().await;
    good.close().await;
}

/// Sends this again and again until the server closes, and gives the code.
async fn until_closed(raw: Raw, bytes: Vec<u8>) -> Option<u16> {
    let (reader, mut writer) = raw.stream.into_split();
    let writing = tokio::spawn(async move { while writer.write_all(&bytes).await.is_ok() {} });
    let mut reader = reader;
    let mut heard = Vec::new();
    // It may be cut off in the end, as it never stops.
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = soon("the end", reader.read(&mut buffer)).await {
        heard.extend(&buffer[..read]);
    }
    writing.abort();
    // The frame of a close, with a code that this server uses.
    let at = heard.windows(4).rposition(|four| {
        four[0] == 0x88
            && four[1] >= 2
            && matches!(u16::from_be_bytes([four[2], four[3]]), 1000..5000)
    })?;
    Some(u16::from_be_bytes([heard[at + 2], heard[at + 3]]))
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_without_end_are_ended_and_keep_nobody_waiting() {
    let folder = temp_dir();
    let (server, address) = start(&folder);
    assert_served(address).await;
    let before = server.rss_bytes();
    let mut attackers = JoinSet::new();
    // More than the server has threads, each with more empty fragments than it can read.
    for _ in 0..2 * std::thread::available_parallelism().map_or(2, usize::from) {
        let mut raw = Raw::connect(address).await;
        raw.send(&frame(TEXT, b"{")).await;
        attackers.spawn(until_closed(raw, frame(CONTINUATION, b"").repeat(10_000)));
    }
    for _ in 0..10 {
        assert_served(address).await;
    }
    while let Some(code) = attackers.join_next().await {
        assert_eq!(code.expect("it ran"), Some(1009));
    }
    let grown = server.rss_bytes().saturating_sub(before);
    assert!(grown < 32 * 1024 * 1024, "{grown} bytes");
}

#[tokio::test]
async fn messages_that_are_never_finished_cost_little_memory() {
    const CLIENTS: usize = 200;
    let folder = temp_dir();
    let (server, address) = start(&folder);
    assert_served(address).await;
    let before = server.rss_bytes();
    let fragments = frame(CONTINUATION, b"a").repeat(60_000);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut raw = Raw::connect(address).await;
        raw.send(&frame(TEXT, b"{")).await;
        raw.send(&fragments).await;
        // Answered once all before it is read.
        raw.send(&frame(FIN | 0x9, b"read?")).await;
        assert_eq!(raw.hear().await, Heard::Pong(b"read?".to_vec()));
        clients.push(raw);
    }
    let grown = server.rss_bytes().saturating_sub(before) as usize;
    eprintln!("{CLIENTS} unfinished messages: {} KiB more", grown / 1024);
    // A message has 64 KiB at most; a buffer that grows may have twice that.
    assert!(grown < CLIENTS * 160 * 1024, "{grown} bytes");
    assert_served(address).await;
}

#[tokio::test]
async fn a_message_that_comes_byte_by_byte_is_understood_and_holds_nobody_up() {
    let feed = Feed::start().await;
    let mut slow = Raw::connect(feed.address).await;
    let bytes = text(&json!({"type": "ping", "id": "slow"}).to_string());
    for byte in &bytes[..bytes.len() - 1] {
        slow.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_served(feed.address).await;
    slow.send(&bytes[bytes.len() - 1..]).await;
    let pong = slow.hear_json().await;
    assert_eq!(
        (&pong["type"], &pong["id"]),
        (&json!("pong"), &json!("slow"))
    );
}

#[tokio::test]
async fn pongs_that_nobody_asked_for_are_limited() {
    let feed = Feed::start().await;
    let flood = Raw::connect(feed.address).await;
    let code = until_closed(flood, frame(FIN | PONG, &[b'p'; 125]).repeat(100)).await;
    assert_eq!(code, Some(4429));
    assert_served(feed.address).await;
}

#[tokio::test]
async fn thousands_of_names_in_one_message_are_one_refusal() {
    let feed = Feed::start_configured(ask_for_tokens).await;
    let mut ann = feed.connect().await;
    let granted: Vec<_> = (0..500).map(|n| format!("g{n}")).collect();
    let granted: Vec<_> = granted.iter().map(String::as_str).collect();
    let token = token_for("ann", &granted);
    ann.say(&json!({"type": "hello", "token": token})).await;
    ann.hear_a("welcome").await;
    let names: Vec<_> = (0..8000).map(|n| format!("n{n}")).collect();
    ann.say(&json!({"type": "subscribe", "id": 1, "channels": names}))
        .await;
    let error = ann.hear_a("error").await;
    assert_eq!(error["code"], "CHANNEL_LIMIT", "{error}");
    assert_eq!((&error["id"], &error["limit"]), (&json!(1), &json!(1000)));
    assert_eq!(feed.broadcaster.stats().subscriptions, 0);
    // The same name again and again is one name.
    let stars = vec!["*"; 8000];
    assert_eq!(
        ann.subscribe(&stars).await["granted"]
            .as_array()
            .map(Vec::len),
        Some(502)
    );
}

#[tokio::test]
async fn subscribing_over_and_over_leaves_nothing_behind() {
    let feed = Feed::start_configured(|config| {
        ask_for_tokens(config);
        config.hub.messages_per_minute_max = None;
    })
    .await;
    let mut good = feed.connect().await;
    let hello = |user: &str, channels: &[&str]| json!({"type": "hello", "token": token_for(user, channels)});
    good.say(&hello("good", &["tasks"])).await;
    good.hear_a("welcome").await;
    good.subscribe(&["tasks"]).await;
    let mut storm = feed.connect().await;
    storm.say(&hello("storm", &["*"])).await;
    storm.hear_a("welcome").await;
    let names: Vec<_> = (0..999).map(|n| format!("storm:{n}")).collect();
    for round in 0..30 {
        for kind in ["subscribe", "subscribe", "unsubscribe"] {
            storm.say(&json!({"type": kind, "channels": names})).await;
            storm
                .say(&json!({"type": kind, "channels": ["*", "storm:*", "storm"]}))
                .await;
            let answers = if kind == "subscribe" {
                ["subscribed", "error"]
            } else {
                ["unsubscribed"; 2]
            };
            storm.hear_a(answers[0]).await;
            storm.hear_a(answers[1]).await;
        }
        let inserted = feed.insert(&["tasks"]).await;
        assert_eq!(
            good.hear_events(1).await[0]["event"]["id"],
            inserted[0],
            "round {round}"
        );
    }
    assert_eq!(
        feed.broadcaster.stats().subscriptions,
        1,
        "that of the other"
    );
}

#[tokio::test]
async fn a_list_of_rubbish_tokens_is_one_failure_and_eleven_are_too_many() {
    let feed = Feed::start_configured(ask_for_tokens).await;
    let mut ann = feed.connect().await;
    ann.say(&json!({"type": "hello", "token": token_for("ann", &["tasks"])}))
        .await;
    ann.hear_a("welcome").await;
    let good = token_for("ann", &["x"]);
    let (signed, _) = good.rsplit_once('.').expect("three parts");
    let mut rubbish = Vec::new();
    for n in 0..300 {
        let mut token = signed.to_owned();
        write!(token, ".{n:043}").expect("text");
        rubbish.push(token);
    }
    let asked = json!({"type": "subscribe", "channels": ["secret"], "tokens": rubbish});
    for n in 1..=10 {
        ann.say(&asked).await;
        assert_eq!(ann.hear_a("error").await["code"], "FORBIDDEN", "{n}");
        assert_eq!(feed.broadcaster.stats().auth_failures, n);
    }
    ann.say(&asked).await;
    assert_eq!(ann.hear_a("error").await["code"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(u16::from(ann.hear_close().await.code), 4429);
    // Others of the address with good tokens are let in.
    let mut bob = feed.connect().await;
    bob.say(&json!({"type": "hello", "token": token_for("bob", &["tasks"])}))
        .await;
    bob.hear_a("welcome").await;
}

#[tokio::test]
async fn nothing_is_decompressed() {
    let feed = Feed::start().await;
    let mut stream = tokio::net::TcpStream::connect(feed.address)
        .await
        .expect("up");
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    let handshake = crate::support::raw::HANDSHAKE.replacen("\r\n\r\n", &format!("\r\n{offer}"), 1);
    stream
        .write_all(handshake.as_bytes())
        .await
        .expect("written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("a head", stream.read_u8()).await.expect("an answer"));
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(!head.contains("extensions"), "{head}");
    // A compressed frame all the same.
    let mut raw = Raw {
        stream,
        bytes_read: 0,
    };
    raw.send(&frame(FIN | 0x40 | TEXT, &[0xaa, 0x56, 0x2a, 0xa9]))
        .await;
    raw.hear_close(1002).await;
    assert_served(feed.address).await;
}
