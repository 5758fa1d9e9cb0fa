//! Coming back: what was missed is sent, in order, once, and what cannot be told is said so.

use rowcast::Cursor;
use serde_json::{Value, json};

use crate::support::feed::{Client, Feed, ids, until};

/// Hello with a cursor, and what comes until it has caught up.
async fn resume(feed: &Feed, channels: &[&str], since: &Value) -> (Client, Vec<Value>) {
    let mut client = feed.connect().await;
    client
        .say(&json!({"type": "subscribe", "id": "s", "channels": channels, "since": since}))
        .await;
    let subscribed = client.hear_a("subscribed").await;
    assert_eq!(subscribed["recovered"], true, "{subscribed}");
    if since != "earliest" {
        assert_eq!(&subscribed["cursor"], since, "{subscribed}");
    }
    let events = until_caught_up(&mut client, "s").await;
    (client, events)
}

async fn until_caught_up(client: &mut Client, id: impl Into<Value>) -> Vec<Value> {
    let id = id.into();
    let mut events = Vec::new();
    loop {
        let frame = client.hear().await;
        match frame["type"].as_str() {
            Some("event") => events.push(frame),
            Some("cursor") => {}
            Some("caught_up") => {
                assert_eq!(frame["id"], id, "{frame}");
                assert!(frame["cursor"].is_string(), "{frame}");
                return events;
            }
            _ => panic!("{frame}"),
        }
    }
}

/// Inserts rows and waits until the feed has seen them.
async fn insert(feed: &Feed, channels: &[&str]) -> Vec<i64> {
    let rows = feed.insert(channels).await;
    until("the feed has seen them", async || {
        feed.broadcaster.cursor().id() >= rows.last().copied()
    })
    .await;
    rows
}

#[tokio::test]
async fn what_was_missed_comes_then_the_present() {
    let feed = Feed::start().await;
    let mut client = feed.subscribe(&["tasks", "messages:*"]).await;
    feed.insert(&["tasks"]).await;
    client.hear_events(1).await;
    let seen = last_cursor_of(&feed).await;
    drop(client);
    let missed = insert(
        &feed,
        &[
            "tasks",
            "plans",
            "messages:1",
            "tasks plans",
            "messages",
            "messages:2:x",
        ],
    )
    .await;
    let (mut client, events) = resume(&feed, &["tasks", "messages:*"], &seen).await;
    let wanted = [0, 2, 3, 5].map(|n| missed[n]);
    assert_eq!(ids(&events), wanted);
    let live = feed.insert(&["tasks"]).await;
    assert_eq!(ids(&client.hear_events(1).await), live);

    // The present itself misses nothing.
    let present = last_cursor_of(&feed).await;
    let (_client, events) = resume(&feed, &["tasks"], &present).await;
    assert_eq!(events, [] as [Value; 0]);
}

/// The present position, as a client is told it.
async fn last_cursor_of(feed: &Feed) -> Value {
    let mut client = feed.connect().await;
    client.subscribe(&["nothing"]).await["cursor"].clone()
}

/// A client remembers the last cursor of any frame. If that of a frame before its subscription were the present, it
/// would lose what it missed when it is cut off right there.
#[tokio::test]
async fn a_place_is_named_only_to_who_has_subscribed() {
    let feed = Feed::start().await;
    let since = last_cursor_of(&feed).await;
    insert(&feed, &["tasks"]).await;
    let mut client = feed.connect().await;
    client.say(&json!({"type": "ping"})).await;
    assert_eq!(client.hear_a("pong").await.get("cursor"), None);
    client
        .say(&json!({"type": "hello", "channels": ["tasks"], "since": since}))
        .await;
    assert_eq!(client.hear_a("welcome").await.get("cursor"), None);
    assert_eq!(client.hear_a("subscribed").await["cursor"], since);
}

#[tokio::test]
async fn with_no_memory_it_comes_from_the_table() {
    let feed = Feed::start_with(|hub| hub.recent_bytes_max = 0).await;
    let mut witness = feed.subscribe(&["*"]).await;
    let seen = last_cursor_of(&feed).await;
    // Many windows, one of several pages.
    let mut missed = Vec::new();
    for n in 0..5 {
        let channels: Vec<_> = (0..if n == 2 { 7000 } else { 3 })
            .map(|n| if n % 3 == 0 { "tasks" } else { "plans tasks:7" })
            .collect();
        missed.extend(feed.insert(&channels).await);
        witness.hear_events(channels.len()).await;
    }
    for (channels, part) in [(["*"], 1), (["tasks"], 1), (["plans"], 0)] {
        let (_client, events) = resume(&feed, &channels, &seen).await;
        let wanted: Vec<_> = if part == 1 {
            missed.clone()
        } else {
            missed
                .iter()
                .zip([3, 3, 7000, 3, 3].into_iter().flat_map(|count| 0..count))
                .filter(|(_, n)| n % 3 != 0)
                .map(|(id, _)| *id)
                .collect()
        };
        assert_eq!(ids(&events), wanted, "{channels:?}");
        // Each frame that has a cursor can be resumed from, also in the midst of the window.
        let (at, cursor) = events
            .iter()
            .enumerate()
            .filter_map(|(n, event)| Some((n, event.get("cursor")?)))
            .nth(3)
            .expect("several cursors");
        let (_client, rest) = resume(&feed, &channels, cursor).await;
        assert_eq!(ids(&rest), wanted[at + 1..], "{channels:?}");
    }
    assert!(feed.broadcaster.stats().table_reads > 0);
}

#[tokio::test]
async fn rows_that_pour_in_meanwhile_come_once_and_in_order() {
    let feed = Feed::start_with(|hub| hub.recent_bytes_max = 20_000).await;
    let seen = last_cursor_of(&feed).await;
    let mut all = feed.insert(&vec!["tasks"; 2000]).await;
    let mut clients = Vec::new();
    for round in 0..60 {
        if round % 6 == 0 {
            let mut client = feed.connect().await;
            client
                .say(&json!({"type": "subscribe", "channels": ["tasks"], "since": seen}))
                .await;
            clients.push(client);
        }
        all.extend(feed.insert(&["tasks", "tasks", "plans"]).await[..2].iter());
    }
    for mut client in clients {
        let mut got = Vec::new();
        while got.len() < all.len() {
            let frame = client.hear().await;
            if frame["type"] == "event" {
                got.push(frame["event"]["id"].as_i64().expect("an id"));
            }
        }
        assert_eq!(got, all);
    }
    until("all are live", async || {
        feed.broadcaster.stats().catching_up == 0
    })
    .await;
    assert_eq!(feed.broadcaster.stats().client_resets, 0);
}

#[tokio::test]
async fn a_live_connection_may_ask_for_the_past_of_more_channels() {
    let feed = Feed::start().await;
    let seen = last_cursor_of(&feed).await;
    let mut client = feed.subscribe(&["tasks"]).await;
    let rows = feed
        .insert(&["tasks", "messages:1", "messages:2", "tasks"])
        .await;
    client.hear_events(2).await;
    client
        .say(&json!({"type": "subscribe", "id": 7, "channels": ["messages:1"], "since": seen}))
        .await;
    client.hear_a("subscribed").await;
    let mut events = Vec::new();
    let caught_up = loop {
        let frame = client.hear().await;
        match frame["type"].as_str() {
            Some("event") => events.push(frame),
            Some("cursor") => {}
            _ => break frame,
        }
    };
    assert_eq!(
        (&caught_up["type"], &caught_up["id"]),
        (&json!("caught_up"), &json!(7))
    );
    // What it had of its other channel does not come again.
    assert_eq!(ids(&events), rows[1..2]);
    let live = feed.insert(&["messages:1", "tasks", "messages:2"]).await;
    assert_eq!(ids(&client.hear_events(2).await), live[..2]);
}

#[tokio::test]
async fn the_past_of_a_channel_may_be_asked_for_later() {
    let feed = Feed::start().await;
    let before = insert(&feed, &["tasks", "plans"]).await;
    let mut client = feed.subscribe(&["tasks", "plans"]).await;
    let live = feed.insert(&["tasks", "plans"]).await;
    client.hear_events(2).await;
    client
        .say(&json!({"type": "subscribe", "id": 1, "channels": ["tasks"], "since": "earliest"}))
        .await;
    client.hear_a("subscribed").await;
    let events = until_caught_up(&mut client, 1).await;
    assert_eq!(ids(&events), [before[0], live[0]]);
    let next = feed.insert(&["plans", "tasks"]).await;
    assert_eq!(ids(&client.hear_events(2).await), next);
}

#[tokio::test]
async fn earliest_is_all_there_is() {
    let feed = Feed::start().await;
    let rows = insert(&feed, &["tasks", "plans", "tasks"]).await;
    let (mut client, events) = resume(&feed, &["tasks"], &json!("earliest")).await;
    assert_eq!(ids(&events), [rows[0], rows[2]]);
    let live = feed.insert(&["tasks"]).await;
    assert_eq!(ids(&client.hear_events(1).await), live);
}

#[tokio::test]
async fn a_cursor_from_elsewhere_is_told_to_refetch_and_is_live() {
    let feed = Feed::start().await;
    let other = Feed::start().await;
    feed.insert(&["tasks"; 3]).await;
    let present: Cursor = last_cursor_of(&feed)
        .await
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("a cursor");
    let future = {
        // What a client could make of a cursor if it took it apart.
        let id = present.id().expect("an id") + 1000;
        let text = feed
            .rows_text("SELECT 'i.' || epoch || '.' || tag || '.' FROM rowcast_epochs")
            .await;
        format!("{}{id}", text[0])
    };
    let foreign = last_cursor_of(&other).await;
    for since in [
        foreign,
        json!(Cursor::after_id(3, 1).to_string()),
        json!(future),
    ] {
        let mut client = feed.connect().await;
        client
            .say(&json!({"type": "hello", "id": 1, "channels": ["tasks"], "since": since}))
            .await;
        client.hear_a("welcome").await;
        client.hear_a("subscribed").await;
        let reset = client.hear_a("reset").await;
        assert_eq!(reset["reason"], "epoch", "{since}");
        assert!(reset["cursor"].is_string(), "where to go on from: {reset}");
        let live = feed.insert(&["tasks"]).await;
        assert_eq!(ids(&client.hear_events(1).await), live);
    }
    assert_eq!(feed.broadcaster.stats().client_resets, 3);
}

#[tokio::test]
async fn whoever_has_missed_more_than_is_sent_is_told_to_refetch() {
    for recent_bytes_max in [0, 1 << 20] {
        let feed = Feed::start_with(|hub| {
            hub.replay_events_max = Some(5);
            hub.recent_bytes_max = recent_bytes_max;
        })
        .await;
        let seen = last_cursor_of(&feed).await;
        let missed = insert(&feed, &["tasks", "plans"].repeat(5)).await;
        let (_client, events) = resume(&feed, &["tasks"], &seen).await;
        assert_eq!(events.len(), 5);
        let mut client = feed.connect().await;
        client
            .say(&json!({"type": "subscribe", "channels": ["*"], "since": seen}))
            .await;
        client.hear_a("subscribed").await;
        assert_eq!(client.hear_a("reset").await["reason"], "too_far");
        let live = feed.insert(&["tasks"]).await;
        assert!(live[0] > missed[9]);
        assert_eq!(ids(&client.hear_events(1).await), live);
    }
}

#[tokio::test]
async fn a_backends_own_cursor_is_as_good() {
    let feed = Feed::start().await;
    insert(&feed, &["tasks"]).await;
    let cursor = feed
        .rows_text("SELECT cursor FROM rowcast_cursor")
        .await
        .remove(0);
    let missed = insert(&feed, &["tasks", "tasks"]).await;
    let (_client, events) = resume(&feed, &["tasks"], &json!(cursor_text(&cursor))).await;
    assert_eq!(ids(&events), missed);
}

/// As the server repeats it.
fn cursor_text(cursor: &str) -> String {
    cursor.parse::<Cursor>().expect("a cursor").to_string()
}

#[tokio::test]
async fn a_client_that_comes_and_goes_misses_nothing() {
    let feed = Feed::start_with(|hub| hub.recent_bytes_max = 4000).await;
    let mut since = last_cursor_of(&feed).await;
    let mut inserted = Vec::new();
    let mut got = Vec::new();
    for round in 0..30 {
        inserted.extend(insert(&feed, &vec!["tasks"; round % 7]).await);
        let (mut client, events) = resume(&feed, &["tasks"], &since).await;
        got.extend(ids(&events));
        client.say(&json!({"type": "ping"})).await;
        since = client.hear_a("pong").await["cursor"].clone();
    }
    assert_eq!(got, inserted);
}
