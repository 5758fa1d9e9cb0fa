//! What clients are sent: every event whole and in order, compressed once for all of them.

use rowcast::{EndpointSpec, Endpoints};
use serde_json::{Value, json};

use crate::client::{Client, feed, feed_with};
use crate::support::feed::{Feed, ids, row, until};

/// What most events are like: 300 bytes and more.
fn task(n: usize) -> Value {
    let title = format!("Write to customer {n} about the order, and again about the invoice");
    json!({
        "id": format!("task-{n}"), "title": title, "status": "open", "assignee": format!("user-{}", n % 7),
        "labels": ["urgent", "customer", "order"], "description": format!("{title}. {title}."),
    })
}

async fn insert(feed: &Feed, channels: &str, payloads: &[Value]) -> Vec<i64> {
    let rows: Vec<_> = payloads
        .iter()
        .map(|payload| row(channels, payload))
        .collect();
    feed.insert_rows(&rows).await
}

async fn compressed(feed: &Feed) -> u64 {
    feed.stats().await["eventsCompressed"]
        .as_u64()
        .expect("a number")
}

#[tokio::test]
async fn every_event_arrives_whole_whatever_its_size() {
    let feed = feed().await;
    let mut plain = feed.subscribe(&["tasks"]).await;
    let mut client = Client::subscribe(&feed, &["tasks"]).await;
    let mut random = fastrand::Rng::with_seed(1);
    let noise: String = (0..2000)
        .map(|_| random.char('\u{4e00}'..'\u{9f00}'))
        .collect();
    let payloads = [
        json!({}),
        task(1),
        json!({ "noise": noise }),
        json!((0..10).map(task).collect::<Vec<_>>()),
        json!("häuser "),
        json!("häuser ".repeat(20_000)),
        task(2),
    ];
    let (before, others) = (client.bytes, client.compressed + client.plain);
    let inserted = insert(&feed, "tasks", &payloads).await;
    let events = client.hear_events(payloads.len()).await;
    assert_eq!(ids(&events), inserted);
    for (event, payload) in events.iter().zip(&payloads) {
        assert_eq!(&event["event"]["payload"], payload);
    }
    assert_eq!(
        plain.hear_events(payloads.len()).await,
        events,
        "the same, but for its size"
    );
    // Two are too short to be worth it.
    assert_eq!(client.compressed, 5);
    assert_eq!(client.compressed + client.plain - others, payloads.len());
    let text: usize = events.iter().map(|event| event.to_string().len()).sum();
    assert!(
        (client.bytes - before) * 10 < text,
        "{} bytes of {text}",
        client.bytes - before
    );
    // Each by itself: they arrive one after the other as well.
    for n in 0..3 {
        let inserted = insert(&feed, "tasks", &[task(n)]).await;
        let events = client.hear_events(1).await;
        assert_eq!(ids(&events), inserted);
        assert_eq!(events[0]["event"]["payload"], task(n));
    }
    assert_eq!(client.compressed, 8);
}

#[tokio::test]
async fn an_event_is_compressed_once_for_all_who_receive_it_and_for_nobody_else() {
    let feed = feed().await;
    let mut plain = feed.subscribe(&["tasks", "secret"]).await;
    let mut clients = Vec::new();
    for n in 0..7 {
        // Some by one topic, some by several, some with more than others.
        let channels: &[&str] = [&["tasks"][..], &["*", "tasks"], &["tasks", "notes"]][n % 3];
        clients.push((Client::subscribe(&feed, channels).await, n % 3));
    }
    let tasks: Vec<_> = (0..10).map(task).collect();
    insert(&feed, "tasks", &tasks).await;
    for (client, _) in &mut clients {
        assert_eq!(client.hear_events(10).await.len(), 10);
    }
    plain.hear_events(10).await;
    assert_eq!(compressed(&feed).await, 10);
    let stats = feed.stats().await;
    let bytes = |name: &str| stats[name].as_u64().expect("a number");
    let (before, after) = (
        bytes("bytesBeforeCompression"),
        bytes("bytesAfterCompression"),
    );
    assert!(
        after > 1000 && after * 3 < before * 2,
        "{before} to {after}"
    );

    // Of a batch, only what one of them receives.
    let rows = ["tasks", "secret", "notes", "secret"].map(|channel| row(channel, &task(1)));
    feed.insert_rows(&rows).await;
    plain.hear_events(3).await;
    for (client, kind) in &mut clients {
        let events = client.hear_events([1, 4, 2][*kind]).await;
        assert_eq!(events[0]["channels"], json!(["tasks"]));
    }
    assert_eq!(
        compressed(&feed).await,
        14,
        "those who subscribe to * receive all"
    );
    clients.retain(|(_, kind)| *kind != 1);
    until("they are gone", async || {
        feed.stats().await["connections"] == clients.len() + 1
    })
    .await;
    feed.insert_rows(&rows).await;
    plain.hear_events(3).await;
    for (client, kind) in &mut clients {
        client.hear_events([1, 4, 2][*kind]).await;
    }
    assert_eq!(compressed(&feed).await, 16);
}

#[tokio::test]
async fn what_was_missed_comes_from_memory_as_it_was_compressed_and_from_the_table() {
    for recent_bytes_max in [32 * 1024 * 1024, 0] {
        let feed = feed_with(|config| config.hub.recent_bytes_max = recent_bytes_max).await;
        let mut live = Client::subscribe(&feed, &["tasks"]).await;
        let from = feed.stats().await["cursor"].clone();
        let tasks: Vec<_> = (0..700).map(task).collect();
        let inserted = insert(&feed, "tasks", &tasks).await;
        assert_eq!(ids(&live.hear_events(700).await), inserted);
        let once = compressed(&feed).await;
        assert_eq!(once, 700, "{from}");
        for since in ["earliest"; 3] {
            let mut client = Client::connect(&feed).await;
            client
                .say(&json!({"type": "subscribe", "channels": ["tasks"], "since": since}))
                .await;
            assert_eq!(client.hear().await["type"], "subscribed");
            let events = client.hear_events(700).await;
            assert_eq!(ids(&events), inserted);
            assert!(
                events
                    .iter()
                    .zip(&tasks)
                    .all(|(event, task)| event["event"]["payload"] == *task)
            );
            assert_eq!(client.compressed, 700);
            let mut next = client.hear().await;
            if next["type"] == "cursor" {
                next = client.hear().await;
            }
            assert_eq!(next["type"], "caught_up");
        }
        let again = if recent_bytes_max == 0 { 3 } else { 0 };
        assert_eq!(compressed(&feed).await - once, again * 700);
    }
}

#[tokio::test]
async fn a_slow_client_has_everything_in_the_end() {
    let feed = feed_with(|config| config.hub.outbox_bytes_max = 65_536).await;
    let mut client = Client::subscribe(&feed, &["tasks"]).await;
    let mut inserted = Vec::new();
    // More than the buffers of the sockets take. Noise, so that it stays as long as it is; and what gets shorter.
    let mut random = fastrand::Rng::with_seed(2);
    let mut noise = || -> String { (0..10_000).map(|_| random.alphanumeric()).collect() };
    while feed.stats().await["slowConnections"] == 0 {
        let of = |n| if n % 2 == 0 { task(n) } else { json!(noise()) };
        let payloads: Vec<_> = (0..100).map(of).collect();
        inserted.extend(insert(&feed, "tasks", &payloads).await);
        assert!(inserted.len() < 10_000, "some 40 MB have to be too much");
    }
    let events = client.hear_events(inserted.len()).await;
    assert_eq!(ids(&events), inserted);
    let last = insert(&feed, "tasks", &[task(0)]).await;
    assert_eq!(ids(&client.hear_events(1).await), last);
}

#[tokio::test]
async fn clients_of_presets_have_theirs_compressed_too() {
    let feed = feed_with(|config| {
        let topics = EndpointSpec {
            path: "/topics/ws".to_owned(),
            preset: "topic-action".to_owned(),
            auth: None,
            channels: None,
            grant: Vec::new(),
            cookie: None,
        };
        config.endpoints = Endpoints::new(&[topics], &config.presets, false).expect("it is good");
    })
    .await;
    let mut one = Client::connect_to(&feed, "/topics/ws").await;
    let mut two = Client::connect_to(&feed, "/topics/ws").await;
    for (client, topics) in [(&mut one, &["a"][..]), (&mut two, &["a", "b"])] {
        for topic in topics {
            client
                .say(&json!({"action": "subscribe", "topic": topic}))
                .await;
            let answer = json!({"action": "subscribed", "topic": topic});
            assert_eq!(client.hear().await, answer);
        }
    }
    let mut default = Client::subscribe(&feed, &["a"]).await;
    // An event has a message for each of its channels.
    let rows = [
        row("a b c", &task(1)),
        row("a b", &json!(1)),
        row("b", &task(2)),
        row("c", &task(3)),
    ];
    feed.insert_rows(&rows).await;
    let told = async |client: &mut Client, count: usize| -> Vec<(Value, Value)> {
        let mut told = Vec::new();
        while told.len() < count {
            let frame = client.hear().await;
            told.push((frame["topic"].clone(), frame["data"]["payload"].clone()));
        }
        told
    };
    let (a, b) = (
        |payload| (json!("a"), payload),
        |payload| (json!("b"), payload),
    );
    assert_eq!(told(&mut one, 2).await, [a(task(1)), a(json!(1))]);
    let all = [a(task(1)), b(task(1)), a(json!(1)), b(json!(1)), b(task(2))];
    assert_eq!(told(&mut two, 5).await, all);
    assert_eq!((one.compressed, two.compressed), (1, 3));
    assert_eq!(default.hear_events(2).await[0]["event"]["payload"], task(1));
}

#[tokio::test]
async fn what_is_no_row_is_compressed_too() {
    let feed = feed().await;
    let mut client = Client::subscribe(&feed, &["tasks"]).await;
    let mut plain = feed.subscribe(&["tasks"]).await;
    let event = json!({"type": "user.typing", "payload": task(1)});
    let body = json!({"channel": "tasks", "event": event}).to_string();
    let request = format!(
        "POST /broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(
        crate::support::feed::http(feed.address, &request)
            .await
            .status,
        202
    );
    let heard = client.hear().await;
    assert_eq!(heard["event"], event);
    assert_eq!(client.compressed, 1);
    assert_eq!(plain.hear().await, heard);
}
