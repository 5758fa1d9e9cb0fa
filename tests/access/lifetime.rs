//! How connections end by themselves: tokens that expire, pings that are not answered, too many messages.

use std::time::Duration;

use serde_json::json;

use crate::support::feed::{Client, Feed, soon};
use tokio_tungstenite::tungstenite::Message;

use crate::support::raw::{FIN, Heard, Raw, frame};
use crate::support::token::{ask_for_tokens, now, token, token_for};

const PING: u8 = 0x9;
const PONG: u8 = 0xa;

#[tokio::test]
async fn a_connection_ends_with_its_token_unless_a_fresh_one_comes() {
    let feed = Feed::start_configured(ask_for_tokens).await;
    let connect = async |seconds: u64| {
        let mut client = feed.connect().await;
        let exp = now() + seconds;
        let token = token(json!({"sub": "ann", "channels": ["tasks"], "exp": exp}));
        client
            .say(&json!({"type": "hello", "token": token, "channels": ["tasks"]}))
            .await;
        let welcome = client.hear_a("welcome").await;
        assert_eq!(welcome["userId"], "ann");
        assert!(welcome["expiresAt"].is_string(), "{welcome}");
        client.hear_a("subscribed").await;
        (client, exp)
    };
    let (mut ends, exp) = connect(3).await;
    let (mut refreshed, _) = connect(3).await;
    let warning = ends.hear_a("auth_expiring").await;
    assert!(
        warning["inMs"].as_u64().is_some_and(|ms| ms <= 3000),
        "{warning}"
    );
    refreshed.hear_a("auth_expiring").await;
    let fresh = token_for("ann", &["tasks"]);
    refreshed
        .say(&json!({"type": "auth", "token": fresh}))
        .await;
    refreshed.hear_a("auth_ok").await;

    let disconnect = ends.hear_a("disconnect").await;
    assert_eq!(disconnect["code"], "TOKEN_EXPIRED");
    assert_eq!(disconnect["reconnect"], false);
    assert!(
        disconnect["cursor"].is_string(),
        "where to go on: {disconnect}"
    );
    let close = ends.hear_close().await;
    assert_eq!(u16::from(close.code), 4001);
    assert_eq!(close.reason.as_str(), "the token has expired");
    assert!(now() >= exp, "not before its time");
    ends.end().await;

    feed.insert(&["tasks"]).await;
    refreshed.hear_events(1).await;
}

#[tokio::test]
async fn a_client_that_does_not_say_who_it_is_is_sent_away() {
    let feed = Feed::start_configured(|config| {
        ask_for_tokens(config);
        config.hub.hello_timeout = Duration::from_secs(1);
    })
    .await;
    let mut silent = feed.connect().await;
    let close = silent.hear_close().await;
    assert_eq!(u16::from(close.code), 4001);
    assert!(close.reason.contains("no token"), "{}", close.reason);
    silent.end().await;

    // Nothing else is listened to.
    let mut eager = feed.connect().await;
    eager
        .say(&json!({"type": "subscribe", "id": 1, "channels": ["*"]}))
        .await;
    let error = eager.hear_a("error").await;
    assert_eq!(
        (&error["code"], &error["id"]),
        (&json!("UNAUTHORIZED"), &json!(1))
    );
    assert_eq!(u16::from(eager.hear_close().await.code), 4001);
    eager.end().await;
}

/// A feed that pings every 200 ms.
async fn pinging() -> Feed {
    Feed::start_with(|hub| hub.ping_interval = Some(Duration::from_millis(200))).await
}

#[tokio::test]
async fn a_client_that_answers_nothing_is_dead_and_one_that_answers_is_not() {
    let feed = pinging().await;
    let mut dead = Raw::connect(feed.address).await;
    let mut alive = Raw::connect(feed.address).await;
    let living = tokio::spawn(async move {
        // Answered by hand: some twenty of them.
        for _ in 0..20 {
            match alive.hear().await {
                Heard::Ping(payload) => alive.send(&frame(FIN | PONG, &payload)).await,
                other => panic!("{other:?}"),
            }
        }
        alive
    });
    let mut pings = 0;
    loop {
        match dead.hear().await {
            Heard::Ping(_) => pings += 1,
            Heard::Close(code) => {
                assert_eq!(code, Some(4408));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pings, 2, "it had two to answer");
    let _alive = soon("pings", living).await.expect("it was not closed");
    assert_eq!(feed.broadcaster.stats().heartbeats_missed, 1);
}

#[tokio::test]
async fn whoever_said_hello_sees_that_the_line_lives() {
    let feed = pinging().await;
    let mut modern = feed.connect().await;
    modern
        .say(&json!({"type": "hello", "channels": ["tasks"]}))
        .await;
    let welcome = modern.hear_a("welcome").await;
    assert_eq!(welcome["pingIntervalMs"], 200);
    modern.hear_a("subscribed").await;
    let heartbeat = modern.hear_a("heartbeat").await;
    assert_eq!(heartbeat["cursor"], feed.broadcaster.cursor().to_string());

    // Older clients never hear of it.
    let mut older = Raw::connect(feed.address).await;
    older
        .say(&json!({"type": "subscribe", "channels": ["tasks"]}))
        .await;
    assert_eq!(older.hear_json().await["type"], "subscribed");
    for _ in 0..3 {
        match older.hear().await {
            Heard::Ping(payload) => older.send(&frame(FIN | PONG, &payload)).await,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn too_many_messages_are_refused_with_the_time_to_wait_and_a_flood_is_closed() {
    let feed = Feed::start_with(|hub| hub.messages_per_minute_max = Some(5)).await;
    let mut client = feed.connect().await;
    for n in 0..5 {
        client.say(&json!({"type": "ping", "id": n})).await;
        assert_eq!(client.hear_a("pong").await["id"], n);
    }
    client
        .say(&json!({"type": "subscribe", "channels": ["tasks"]}))
        .await;
    let error = client.hear_a("error").await;
    assert_eq!(error["code"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(error["limit"], 5);
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|text| text.contains('5'))
    );
    let wait = error["retryAfterMs"].as_u64().expect("a time");
    assert!((1..=60_001).contains(&wait), "{wait}");
    assert_eq!(
        feed.broadcaster.stats().subscriptions,
        0,
        "it was not looked at"
    );
    // Others have limits of their own.
    feed.subscribe(&["tasks"]).await;

    for _ in 0..50 {
        client.say(&json!({"type": "ping"})).await;
    }
    closed_for(&mut client, 4429).await;

    // Pings of the protocol count as well.
    let mut pinging = Raw::connect(feed.address).await;
    pinging.send(&frame(FIN | PING, b"").repeat(100)).await;
    loop {
        match pinging.hear().await {
            Heard::Close(code) => break assert_eq!(code, Some(4429)),
            Heard::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn closed_for(client: &mut Client, code: u16) {
    loop {
        match client.next_message().await {
            Message::Close(Some(close)) => {
                assert_eq!(u16::from(close.code), code);
                return;
            }
            Message::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_shutdown_goes_on_delivering_until_each_is_closed() {
    let mut feed = Feed::start().await;
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(feed.subscribe(&["tasks"]).await);
    }
    feed.begin_shutdown();
    // All are told at once, and closed one after the other.
    for client in &mut clients {
        client.hear_a("disconnect").await;
    }
    let id = feed.insert(&["tasks"]).await[0];
    let mut received = 0;
    for client in &mut clients {
        loop {
            match client.next_message().await {
                Message::Text(text) => {
                    received += usize::from(text.contains(&format!("\"id\":{id},")));
                }
                Message::Close(_) => break,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(received > 0, "some were there still");
    drop(clients);
    soon("the end", feed.ended()).await;
}
