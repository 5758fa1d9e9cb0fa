//! How connections end: the server's shutdown, and clients that read too slowly or not at all.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;

use crate::support::feed::{Client, Feed, ids, row, soon, timed, until};
use crate::support::raw::{CLOSE, FIN, HANDSHAKE, Heard, Raw, close, frame, text};

/// What a server promises: it is gone 5 s after it was told to. The rest is for a busy machine.
const GONE_WITHIN: Duration = Duration::from_millis(6500);

#[tokio::test]
async fn a_shutdown_tells_clients_when_to_come_back_and_closes_with_1012() {
    let feed = Feed::start_with(|hub| hub.shards = 2).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(feed.subscribe(&["tasks"]).await);
    }
    let cursor = feed.broadcaster.cursor().to_string();
    let mut cursors = vec![json!(cursor); clients.len()];
    // One that never subscribed is told as well; a place it has none.
    clients.push(feed.connect().await);
    cursors.push(json!(null));
    let address = feed.address;
    let running = feed.shut_down();
    let mut waits = Vec::new();
    let (ended, took) = timed(async {
        for (client, cursor) in clients.iter_mut().zip(&cursors) {
            let disconnect = client.hear_a("disconnect").await;
            assert_eq!(disconnect["code"], "SERVER_SHUTDOWN");
            assert_eq!(disconnect["reconnect"], true);
            assert_eq!(&disconnect["cursor"], cursor);
            waits.push(disconnect["retryAfterMs"].as_u64().expect("a time"));
            let frame = client.hear_close().await;
            assert_eq!(u16::from(frame.code), 1012);
            assert!(frame.reason.contains("shutting down"), "{}", frame.reason);
        }
        for client in clients {
            client.end().await;
        }
        running.await
    })
    .await;
    ended.expect("the server has ended, and well");
    assert!(
        took < Duration::from_secs(4),
        "nobody was waited for: {took:?}"
    );
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 1, "not all at the same moment: {waits:?}");
    assert!(waits.iter().all(|&wait| wait <= 2100), "{waits:?}");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_shutdown_waits_for_clients_to_answer_but_not_for_long() {
    let feed = Feed::start().await;
    let mut mute = Raw::connect(feed.address).await;
    mute.say(&json!({"type": "ping"})).await;
    mute.hear_json().await;
    let mut running = feed.shut_down();
    assert_eq!(mute.hear_json().await["type"], "disconnect");
    assert_eq!(mute.hear().await, Heard::Close(Some(1012)));
    // The client has yet to answer.
    let early = tokio::time::timeout(Duration::from_millis(300), &mut running).await;
    assert!(early.is_err(), "the server did not wait for the client");
    let (ended, took) = timed(running).await;
    ended.expect("the server has ended, and well");
    assert!(took < GONE_WITHIN, "{took:?}");
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_up_a_shutdown() {
    let feed = Feed::start().await;
    let mut half = TcpStream::connect(feed.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut half, b"GET /healthz HT")
        .await
        .unwrap();
    let mut mute = Raw::connect(feed.address).await;
    mute.say(&json!({"type": "ping"})).await;
    mute.hear_json().await;
    let (ended, took) = timed(feed.shut_down()).await;
    ended.expect("the server has ended, and well");
    assert!(took < GONE_WITHIN, "{took:?}");
}

#[tokio::test]
async fn a_client_that_comes_during_a_shutdown_is_sent_away_too() {
    let feed = Feed::start().await;
    let mut witness = feed.connect().await;
    witness.hear_all().await;
    let stream = TcpStream::connect(feed.address).await.unwrap();
    let mut late = Raw {
        stream,
        bytes_read: 0,
    };
    let (head, rest) = HANDSHAKE.split_at(40);
    late.send(head.as_bytes()).await;
    // Its connection is accepted before that of whoever comes after it.
    feed.stats().await;
    let running = feed.shut_down();
    witness.hear_a("disconnect").await;
    late.send(rest.as_bytes()).await;
    late.hear_handshake().await;
    assert_eq!(late.hear_json().await["type"], "disconnect");
    late.send(&close(1001, b"")).await;
    late.hear_close(1012).await;
    drop(late);
    witness.hear_close().await;
    witness.end().await;
    soon("the end", running).await.expect("ended well");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nobody_up_and_misses_nothing() {
    const ROW_BYTES: usize = 32 * 1024;
    const OUTBOX_BYTES_MAX: usize = 64 * 1024;
    /// More than the buffers of both sockets take.
    const ROUNDS_MAX: usize = 200;
    let feed = Feed::start_with(|hub| hub.outbox_bytes_max = OUTBOX_BYTES_MAX).await;
    let mut slow = Raw::connect_narrow(feed.address).await;
    slow.say(&json!({"type": "subscribe", "channels": ["*"]}))
        .await;
    slow.hear_json().await;
    let mut quick: Vec<Client> = Vec::new();
    for _ in 0..3 {
        quick.push(feed.subscribe(&["*"]).await);
    }
    let rows: Vec<_> = (0..8)
        .map(|n| row("a", &json!({"n": n, "fill": "x".repeat(ROW_BYTES)})))
        .collect();
    let mut all = Vec::new();
    let mut rounds = 0;
    while feed.broadcaster.stats().slow_connections == 0 {
        rounds += 1;
        assert!(rounds < ROUNDS_MAX, "it is still being waited for");
        let inserted = feed.insert_rows(&rows).await;
        let ((), took) = timed(async {
            for client in &mut quick {
                assert_eq!(ids(&client.hear_events(rows.len()).await), inserted);
            }
        })
        .await;
        assert!(took < Duration::from_secs(3), "held up for {took:?}");
        all.extend(inserted);
    }
    // Many more, none of which may wait for it.
    for _ in 0..20 {
        let inserted = feed.insert_rows(&rows).await;
        for client in &mut quick {
            assert_eq!(ids(&client.hear_events(rows.len()).await), inserted);
        }
        all.extend(inserted);
    }
    // When it reads on it finds everything, in order and once, and then the present.
    let live = feed.insert_rows(&rows[..1]).await;
    all.extend(live);
    let mut got = Vec::new();
    while got.len() < all.len() {
        let frame = slow.hear_json().await;
        match frame["type"].as_str() {
            Some("event") => got.push(frame["event"]["id"].as_i64().expect("an id")),
            Some("cursor") => {}
            _ => panic!("{frame}"),
        }
    }
    assert_eq!(got, all);
    until("it is live again", async || {
        feed.broadcaster.stats().catching_up == 0
    })
    .await;
    let live = feed.insert(&["a"]).await;
    loop {
        let frame = slow.hear_json().await;
        if frame["type"] == "event" {
            break assert_eq!(frame["event"]["id"], live[0]);
        }
    }
    assert_eq!(feed.broadcaster.stats().client_resets, 0);
}

#[tokio::test]
async fn a_client_that_asks_something_while_it_reads_a_large_batch_is_answered() {
    let feed = Feed::start_with(|hub| hub.outbox_bytes_max = 64 * 1024).await;
    let mut client = Raw::connect_narrow(feed.address).await;
    client
        .say(&json!({"type": "subscribe", "channels": ["tasks"]}))
        .await;
    assert_eq!(client.hear_json().await["type"], "subscribed");
    // One batch, larger than what buffers and the queue take together.
    let large = "x".repeat(64 * 1024);
    let rows: Vec<_> = (0..200)
        .map(|_| row("tasks", &json!({ "text": large })))
        .collect();
    let ids = feed.insert_rows(&rows).await;
    until("the batch waits", async || {
        feed.broadcaster.stats().writes_queued > 0
    })
    .await;
    for n in 0..10 {
        client.say(&json!({"type": "ping", "id": n})).await;
    }
    let (mut events, mut pongs) = (0, 0);
    while events < ids.len() || pongs < 10 {
        match client.hear_json().await["type"].as_str() {
            Some("event") => events += 1,
            Some("pong") => pongs += 1,
            Some("cursor") => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_that_asks_and_does_not_read_does_not_fill_the_memory() {
    for question in [
        frame(FIN | 0x9, &[b'p'; 125]),
        text(&json!({"type": "ping", "id": "p".repeat(60)}).to_string()),
        text(r#"{"type":"mistake"}"#),
    ] {
        let feed = Feed::start_with(|hub| {
            hub.outbox_bytes_max = 64 * 1024;
            hub.messages_per_minute_max = None;
        })
        .await;
        let mut flood = Raw::connect_narrow(feed.address).await;
        let many = question.repeat(200_000 / question.len());
        let mut sent = 0;
        while feed.broadcaster.stats().flooding_connections_closed == 0 {
            assert!(
                sent < 60_000_000,
                "{sent} bytes of questions, no answer read"
            );
            flood.send(&many).await;
            sent += many.len();
        }
        // Nobody else notices.
        let mut other = feed.subscribe(&["tasks"]).await;
        feed.insert(&["tasks"]).await;
        other.hear_events(1).await;
    }
}

#[tokio::test]
async fn a_client_that_never_stops_talking_is_closed_like_any_other() {
    let feed = Feed::start_with(|hub| hub.messages_per_minute_max = None).await;
    let talker = Raw::connect(feed.address).await;
    let (mut reader, mut writer) = talker.stream.into_split();
    let pings = text(r#"{"type":"ping"}"#).repeat(1000);
    let talking = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while writer.write_all(&pings).await.is_ok() {}
    });
    let reading = tokio::spawn(async move {
        use tokio::io::AsyncReadExt as _;
        let mut tail = Vec::new();
        let mut buffer = vec![0; 65_536];
        while let Ok(1..) = reader.read(&mut buffer).await.inspect(|&read| {
            tail.extend(&buffer[..read]);
            let keep = tail.len().saturating_sub(200);
            tail.drain(..keep);
        }) {}
        tail
    });
    let mut witness = feed.connect().await;
    witness.hear_all().await;
    let (ended, took) = timed(feed.shut_down()).await;
    ended.expect("the server has ended, and well");
    assert!(took < GONE_WITHIN, "{took:?}");
    let tail = soon("the talker's end", reading).await.unwrap();
    talking.abort();
    let close = [FIN | CLOSE, 2 + 27, 0x03, 0xf4];
    let told = tail.windows(4).any(|window| window == close);
    assert!(told, "no close: {}", String::from_utf8_lossy(&tail));
}
