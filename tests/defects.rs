//! Defects of the five systems whose front ends the presets serve, each with a test that ours behaves.
//!
//! | defect | here |
//! |---|---|
//! | Ids were handed out before commit: a row whose transaction ended late was never sent. | `a_row_that_commits_late_is_sent` |
//! | The poller read at most 100 rows each 500 ms. | `a_large_transaction_is_not_held_back` |
//! | With nobody connected the poller stood still: the first client was sent old rows as live. | `old_rows_are_not_sent_as_live` |
//! | Deletions, and messages whose member was called otherwise, never reached `messages:<id>`. | `a_deletion_reaches_the_channel_of_what_it_deletes` |
//! | A client in two rooms got an event twice. | `a_client_in_two_rooms_gets_an_event_once` |
//! | Everybody could enter every room. | `rooms_are_entered_by_those_who_may` |
//! | With a full queue events were dropped, or the client was. | `who_reads_slowly_loses_nothing` |
//! | Hooks subscribed twice, and unsubscribed in between: events came twice, or not at all. | `subscribing_twice_is_subscribing_once`, `whoever_subscribes_in_a_loop_ends_as_it_said_last` |
//! | Changed channels were ignored. | `whoever_subscribes_in_a_loop_ends_as_it_said_last` |
//! | A tab refetched for each of its own changes. | `a_tab_knows_its_own_echo` |
//! | The backend named topics otherwise than the pages. | `one_row_is_on_topics_of_two_names` |
//! | Failed authentications were to be limited, and were not. | `failed_authentications_are_limited` |
//! | Pages of whatever origin could connect with the user's cookie. | `a_page_of_elsewhere_is_refused` |
//! | A refusal before the handshake reached pages as 1006, upon which they came back for ever. | docs/protocol/*-token.json |
//!
//! What a client library does by itself (a socket that comes back after it was closed for good, handlers registered twice,
//! refetching at each keystroke) is for ours to do better; here is what a server can do about it.
#![cfg(feature = "sqlite")]

mod support;

use serde_json::{Value, json};
use support::feed::{Client, Feed, PATIENCE, soon};
use support::{presets, token};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

async fn feed() -> Feed {
    feed_with(|_| {}).await
}

async fn feed_with(change: impl FnOnce(&mut rowcast::Config)) -> Feed {
    Feed::start_configured(|config| {
        token::ask_for_tokens(config);
        config.endpoints = presets::endpoints(&config.presets);
        change(config);
    })
    .await
}

/// A client at an endpoint, with a token for these channels.
async fn client(feed: &Feed, path: &str, channels: &[&str]) -> Client {
    let token = token::token_for("ann", channels);
    let url = format!("ws://{}{path}?token={token}", feed.address);
    let (socket, _) = Box::pin(soon("connect", connect_async(url)))
        .await
        .expect("a WebSocket");
    Client::over(socket)
}

/// Inserts an event of a type on channels, with a number as payload.
async fn insert(feed: &Feed, channels: &str, kind: &str, number: u32) {
    feed.run(&format!(
        "INSERT INTO events (channel, type, payload) VALUES ('{channels}', '{kind}', '{number}')"
    ))
    .await;
}

/// A client in rooms, which is known to be in them.
async fn in_rooms(feed: &Feed, channels: &[&str], rooms: &[&str]) -> Client {
    let mut client = client(feed, "/issues/ws", channels).await;
    client.hear_a("connection.ack").await;
    enter(&mut client, "subscribe", rooms).await;
    client
}

async fn enter(client: &mut Client, action: &str, rooms: &[&str]) {
    client.say(&json!({"action": action, "rooms": rooms})).await;
    client.say(&json!({"type": "ping"})).await;
    let pong = client.hear_a("connection.ack").await;
    assert_eq!(pong["payload"]["message"], "pong");
}

/// The payloads of what comes until this one, which is the last that was inserted.
async fn payloads_until(client: &mut Client, last: u32) -> Vec<Value> {
    let mut payloads = Vec::new();
    while payloads.last() != Some(&json!(last)) {
        payloads.push(client.hear().await["payload"].clone());
    }
    payloads
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_commits_late_is_sent() {
    let database = support::Database::postgres().await;
    let server = support::process::Process::start(&database.url, &[]);
    let (socket, _) = connect_async(&server.url).await.expect("a WebSocket");
    let mut client = Client::over(socket);
    client.subscribe(&["tasks"]).await;
    let (mut slow, mut quick) = (database.connect().await, database.connect().await);
    slow.run("BEGIN").await;
    slow.insert(1).await;
    quick.insert(2).await;
    let first = client.hear_events(1).await.remove(0);
    assert_eq!(first["event"]["payload"], 2);
    slow.run("COMMIT").await;
    let late = client.hear_events(1).await.remove(0);
    assert_eq!(late["event"]["payload"], 1);
    assert!(late["event"]["id"].as_i64() < first["event"]["id"].as_i64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_is_not_held_back() {
    const ROWS: u32 = 5000;
    // With a hundred rows a look this would take fifty looks, half of the patience apart.
    let feed = feed_with(|config| {
        config.poll_interval.max = PATIENCE / 2;
        config.poll_interval.min = PATIENCE / 2;
    })
    .await;
    let mut client = client(&feed, "/ws", &["tasks"]).await;
    client.subscribe(&["tasks"]).await;
    feed.run(&format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS}) \
         INSERT INTO events (channel, type, payload) SELECT 'tasks', 'task.created', n FROM n"
    ))
    .await;
    let events = soon("all of them", client.hear_events(ROWS as usize)).await;
    let wanted = 1..=ROWS;
    assert!(
        events
            .iter()
            .zip(wanted)
            .all(|(frame, n)| frame["event"]["payload"] == n)
    );
}

#[tokio::test]
async fn old_rows_are_not_sent_as_live() {
    let feed = feed().await;
    // The server looks at them while nobody is connected.
    let mut listener = Box::pin(feed.broadcaster.listen());
    insert(&feed, "tasks", "task.created", 1).await;
    let seen = soon("a look", futures_util::StreamExt::next(&mut listener)).await;
    assert!(seen.is_some());
    drop(listener);
    let mut client = client(&feed, "/elements/ws", &[]).await;
    client.subscribe(&["tasks"]).await;
    insert(&feed, "tasks", "task.created", 2).await;
    let frame = client.hear_a("event").await;
    assert_eq!(frame["event"]["newValue"], 2);
}

#[tokio::test]
async fn a_deletion_reaches_the_channel_of_what_it_deletes() {
    let feed = feed().await;
    let mut client = client(&feed, "/elements/ws", &[]).await;
    client.subscribe(&["messages:c1"]).await;
    // The channel is the row's, not a guess from its values.
    feed.run(
        "INSERT INTO events (channel, type, entity_id, previous) \
         VALUES ('messages:c1', 'message.deleted', 'm1', '{\"channelId\":\"c1\"}')",
    )
    .await;
    let frame = client.hear_a("event").await;
    assert_eq!(frame["event"]["eventType"], "deleted");
    assert_eq!(frame["event"]["newValue"], Value::Null);
    assert_eq!(frame["event"]["oldValue"], json!({"channelId": "c1"}));
}

#[tokio::test]
async fn a_client_in_two_rooms_gets_an_event_once() {
    let feed = feed().await;
    let rooms = ["team:t", "issue:i"];
    let mut client = in_rooms(&feed, &rooms, &rooms).await;
    insert(&feed, "team:t issue:i", "issue.updated", 1).await;
    insert(&feed, "issue:i", "issue.updated", 2).await;
    assert_eq!(payloads_until(&mut client, 2).await, [1, 2]);
}

#[tokio::test]
async fn rooms_are_entered_by_those_who_may() {
    let feed = feed().await;
    let mut client = client(&feed, "/issues/ws", &["team:t"]).await;
    client.hear_a("connection.ack").await;
    client
        .say(&json!({"action": "subscribe", "rooms": ["team:secret"]}))
        .await;
    let error = client.hear_a("error").await;
    assert_eq!(error["payload"]["code"], "FORBIDDEN");
    enter(&mut client, "subscribe", &["team:t"]).await;
    insert(&feed, "team:secret", "issue.created", 1).await;
    insert(&feed, "team:t", "issue.created", 2).await;
    assert_eq!(payloads_until(&mut client, 2).await, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_slowly_loses_nothing() {
    const ROWS: u32 = 3000;
    // The original's queue had 256 messages.
    let feed = feed_with(|config| config.hub.outbox_bytes_max = 64 * 1024).await;
    let path = "/api/v1/projects/p/ws";
    let mut slow = client(&feed, path, &["project:p"]).await;
    let mut witness = client(&feed, "/ws", &["project:p"]).await;
    witness.subscribe(&["project:p"]).await;
    let padding = "x".repeat(10_000);
    feed.run(&format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS}) \
         INSERT INTO events (channel, type, payload) \
         SELECT 'project:p', 'task.created', json_object('n', n, 'padding', '{padding}') FROM n"
    ))
    .await;
    // 30 MB, of which the slow one has read nothing when another has read everything.
    witness.hear_events(ROWS as usize).await;
    for n in 1..=ROWS {
        let frame = slow.hear().await;
        assert_eq!(frame["data"]["n"], n);
    }
    insert(&feed, "project:p", "task.created", 7).await;
    assert_eq!(slow.hear().await["data"], 7, "and it goes on");
}

#[tokio::test]
async fn subscribing_twice_is_subscribing_once() {
    let feed = feed().await;
    let mut client = in_rooms(&feed, &["team:t", "team:u"], &["team:t", "team:u"]).await;
    enter(&mut client, "subscribe", &["team:t"]).await;
    insert(&feed, "team:t", "issue.created", 1).await;
    insert(&feed, "team:t", "issue.created", 2).await;
    assert_eq!(payloads_until(&mut client, 2).await, [1, 2]);
    // And so is its end: what counts is what was said last.
    enter(&mut client, "unsubscribe", &["team:t"]).await;
    insert(&feed, "team:t", "issue.created", 3).await;
    insert(&feed, "team:u", "issue.created", 4).await;
    assert_eq!(payloads_until(&mut client, 4).await, [4]);
}

#[tokio::test]
async fn whoever_subscribes_in_a_loop_ends_as_it_said_last() {
    let feed = feed().await;
    let topics = ["list:1", "list:2"];
    let mut client = client(&feed, "/gifts/ws", &topics).await;
    for n in 0..20 {
        let topic = topics[n % 2];
        for action in ["subscribe", "unsubscribe"] {
            client.say(&json!({"action": action, "topic": topic})).await;
            let answer = client.hear().await;
            assert_eq!(
                answer,
                json!({"action": format!("{action}d"), "topic": topic})
            );
        }
    }
    client
        .say(&json!({"action": "subscribe", "topic": "list:2"}))
        .await;
    client.hear().await;
    insert(&feed, "list:1", "item.created", 1).await;
    insert(&feed, "list:2", "item.created", 2).await;
    insert(&feed, "list:2", "item.created", 3).await;
    for n in [2, 3] {
        let frame = client.hear().await;
        assert_eq!(
            (&frame["topic"], &frame["data"]["payload"]),
            (&json!("list:2"), &json!(n))
        );
    }
}

#[tokio::test]
async fn a_tab_knows_its_own_echo() {
    let feed = feed().await;
    let mut client = client(&feed, "/ws", &["tasks"]).await;
    client.subscribe(&["tasks"]).await;
    feed.run(
        "INSERT INTO events (channel, type, origin) VALUES ('tasks', 'task.updated', 'tab-7/1'), \
         ('tasks', 'task.updated', NULL)",
    )
    .await;
    let events = client.hear_events(2).await;
    let origins: Vec<_> = events
        .iter()
        .map(|frame| &frame["event"]["origin"])
        .collect();
    assert_eq!(origins, [&json!("tab-7/1"), &Value::Null]);
}

#[tokio::test]
async fn one_row_is_on_topics_of_two_names() {
    let feed = feed().await;
    for topic in ["list:1", "list-items:1"] {
        let mut client = client(&feed, "/gifts/ws", &["list:1", "list-items:1"]).await;
        client
            .say(&json!({"action": "subscribe", "topic": topic}))
            .await;
        client.hear().await;
        insert(&feed, "list:1 list-items:1", "item.created", 1).await;
        let frame = client.hear().await;
        assert_eq!(
            (&frame["topic"], &frame["event"]),
            (&json!(topic), &json!("ADDED"))
        );
    }
}

#[tokio::test]
async fn failed_authentications_are_limited() {
    let feed = feed_with(|config| config.network.auth_failures_max = 3).await;
    let mut codes = Vec::new();
    for _ in 0..5 {
        let url = format!("ws://{}/planner/ws?token=guess", feed.address);
        let (socket, _) = connect_async(url).await.expect("a WebSocket");
        let close = Client::over(socket).hear_close().await;
        codes.push(u16::from(close.code));
    }
    assert_eq!(codes, [4001, 4001, 4001, 4429, 4429]);
}

#[tokio::test]
async fn a_page_of_elsewhere_is_refused() {
    let feed = feed().await;
    for path in ["/elements/ws", "/api/v1/projects/p/ws"] {
        let url = format!("ws://{}{path}", feed.address);
        let mut request = url.into_client_request().expect("a URL");
        let headers = request.headers_mut();
        headers.insert(
            "origin",
            "https://elsewhere.example".parse().expect("a name"),
        );
        let token = token::token_for("ann", &["project:p"]);
        let cookie = format!("token={token}").parse().expect("a cookie");
        headers.insert("cookie", cookie);
        match connect_async(request).await {
            Err(WsError::Http(answer)) => assert_eq!(answer.status(), 403, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
}
