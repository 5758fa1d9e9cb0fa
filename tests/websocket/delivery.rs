//! Who receives which events, in which order, and with which cursors.

use serde_json::{Value, json};

use crate::support::feed::{Client, Feed, ids, row, until};

#[tokio::test]
async fn channels_parents_patterns_and_everything() {
    let feed = Feed::start().await;
    let channels = [
        "tasks",
        "tasks:1",
        "taskss",
        "project:7",
        "project:7:tasks",
        "project:7:tasks:9",
        "project:77",
        "a.b/c@d-e_F:x",
    ];
    let cases: [(&[&str], &[usize]); 12] = [
        (&["*"], &[0, 1, 2, 3, 4, 5, 6, 7]),
        (&["tasks"], &[0, 1]),
        (&["tasks:*"], &[1]),
        (&["tasks:1"], &[1]),
        (&["project"], &[3, 4, 5, 6]),
        (&["project:*"], &[3, 4, 5, 6]),
        (&["project:7"], &[3, 4, 5]),
        (&["project:7:*"], &[4, 5]),
        (&["project:7:tasks"], &[4, 5]),
        (&["project:7:tasks:9", "taskss"], &[2, 5]),
        (&["a.b/c@d-e_F"], &[7]),
        (&["*", "tasks", "tasks:*"], &[0, 1, 2, 3, 4, 5, 6, 7]),
    ];
    let mut clients = Vec::new();
    for (patterns, _) in cases {
        clients.push(feed.subscribe(patterns).await);
    }
    let inserted = feed.insert(&channels).await;
    for ((patterns, wanted), client) in cases.iter().zip(&mut clients) {
        let wanted: Vec<_> = wanted.iter().map(|&n| inserted[n]).collect();
        let events = client.hear_events(wanted.len()).await;
        assert_eq!(ids(&events), wanted, "{patterns:?}");
        let more = client.hear_all().await;
        assert!(
            more.iter().all(|frame| frame["type"] == "cursor"),
            "{patterns:?}: {more:?}"
        );
    }
}

#[tokio::test]
async fn a_row_on_several_channels_arrives_once_and_names_them_all() {
    let feed = Feed::start().await;
    let several = "team:1 issue:2 issue:3";
    let mut all = feed
        .subscribe(&["team:1", "issue:2", "issue", "issue:*", "*"])
        .await;
    let mut two = feed.subscribe(&["issue:2", "issue:3"]).await;
    let mut one = feed.subscribe(&["issue:3"]).await;
    let mut none = feed.subscribe(&["issue:4"]).await;
    let inserted = feed.insert(&[several, "issue:2", several]).await;
    for (client, wanted) in [
        (&mut all, &[0, 1, 2][..]),
        (&mut two, &[0, 1, 2]),
        (&mut one, &[0, 2]),
    ] {
        let wanted: Vec<_> = wanted.iter().map(|&n| inserted[n]).collect();
        let events = client.hear_events(wanted.len()).await;
        assert_eq!(ids(&events), wanted);
        assert_eq!(
            events[0]["channels"],
            json!(["team:1", "issue:2", "issue:3"])
        );
        assert_eq!(client.hear_all().await, [] as [Value; 0]);
    }
    assert_eq!(none.hear_all().await, [] as [Value; 0]);
}

#[tokio::test]
async fn the_last_frame_of_a_batch_has_the_cursor_or_a_frame_of_its_own_does() {
    let feed = Feed::start().await;
    let mut everything = feed.subscribe(&["*"]).await;
    let mut last = feed.subscribe(&["c"]).await;
    let mut last_and_more = feed.subscribe(&["b", "c"]).await;
    let mut not_last = feed.subscribe(&["a"]).await;
    let mut not_last_either = feed.subscribe(&["b"]).await;
    let mut several_not_last = feed.subscribe(&["a", "b"]).await;
    let mut nothing = feed.subscribe(&["d"]).await;
    let mut witness = feed.subscribe(&["c"]).await;
    feed.insert(&["a", "b", "a", "c"]).await;
    witness.hear_a("event").await;

    let mut cursors = Vec::new();
    for (client, events, own_frame) in [
        (&mut everything, 4, false),
        (&mut last, 1, false),
        (&mut last_and_more, 2, false),
        (&mut not_last, 2, true),
        (&mut not_last_either, 1, true),
        (&mut several_not_last, 3, true),
    ] {
        let frames = client.hear_all().await;
        assert_eq!(frames.len(), events + usize::from(own_frame), "{frames:?}");
        let (end, before) = frames.split_last().expect("some");
        let of_end = if own_frame { "cursor" } else { "event" };
        assert_eq!(end["type"], of_end, "{frames:?}");
        for frame in before {
            assert_eq!(frame["type"], "event", "{frames:?}");
            assert_eq!(frame.get("cursor"), None, "only the last: {frames:?}");
        }
        cursors.push(end["cursor"].as_str().expect("a cursor").to_owned());
    }
    assert_eq!(nothing.hear_all().await, [] as [Value; 0]);
    let edge = feed.broadcaster.cursor().to_string();
    assert_eq!(cursors, vec![edge.clone(); 6]);
    nothing.say(&json!({"type": "ping"})).await;
    assert_eq!(nothing.hear_a("pong").await["cursor"], edge);
}

#[tokio::test]
async fn a_large_transaction_arrives_whole_and_in_order_at_everybody() {
    const ROWS: usize = 5000;
    /// Which rows a client is to have.
    type Receives = fn(usize) -> bool;
    let feed = Feed::start().await;
    let mut clients: Vec<(Client, Receives)> = vec![
        (feed.subscribe(&["*"]).await, |_| true),
        (feed.subscribe(&["seven:*"]).await, |n| n % 7 == 0),
        (feed.subscribe(&["seven", "odd:1"]).await, |n| {
            n % 7 == 0 || n % 10 == 1
        }),
        // In the first chunk of the window only, and in a middle one only.
        (feed.subscribe(&["once"]).await, |n| n == 3),
        (feed.subscribe(&["odd:3"]).await, |n| n == 2503),
    ];
    let rows: Vec<_> = (0..ROWS)
        .map(|n| {
            let channels = match n {
                3 => "once".to_owned(),
                2503 => "odd:3".to_owned(),
                n if n % 7 == 0 && n % 10 == 1 => format!("seven:{n} odd:1"),
                n if n % 7 == 0 => format!("seven:{n}"),
                n if n % 10 == 1 => "odd:1".to_owned(),
                n => format!("other:{n}"),
            };
            row(&channels, &json!({ "n": n }))
        })
        .collect();
    let inserted = feed.insert_rows(&rows).await;
    for (n, (client, receives)) in clients.iter_mut().enumerate() {
        let wanted: Vec<_> = (0..ROWS).filter(|&n| receives(n)).collect();
        let events = client.hear_events(wanted.len()).await;
        let wanted: Vec<_> = wanted.into_iter().map(|n| inserted[n]).collect();
        assert_eq!(ids(&events), wanted, "client {n}");
        // A position behind it, either with the last event or after it.
        let edge = match events.last().and_then(|frame| frame.get("cursor")) {
            Some(cursor) => cursor.clone(),
            None => client.hear_a("cursor").await["cursor"].clone(),
        };
        let edge: rowcast::Cursor = edge.as_str().expect("a text").parse().expect("a cursor");
        assert!(edge.id() >= wanted.last().copied(), "client {n}: {edge:?}");
        assert_eq!(client.hear_all().await, [] as [Value; 0], "client {n}");
    }
}

#[tokio::test]
async fn transactions_follow_each_other_in_the_order_of_ids() {
    let feed = Feed::start().await;
    let mut client = feed.subscribe(&["*"]).await;
    let mut inserted = Vec::new();
    for n in 0..100 {
        let channels = vec!["a"; n % 7 + 1];
        inserted.extend(feed.insert(&channels).await);
    }
    let events = client.hear_events(inserted.len()).await;
    assert_eq!(ids(&events), inserted);
    assert!(inserted.is_sorted());
}

#[tokio::test]
async fn payloads_of_every_size_and_kind_arrive_as_they_are() {
    let feed = Feed::start().await;
    let mut client = feed.subscribe(&["a"]).await;
    // The lengths around which frames and buffers change their form, and one beyond 64 KiB.
    let texts = [0, 1, 100, 125, 126, 127, 65_400, 65_535, 65_536, 300_000];
    let mut payloads: Vec<_> = texts.iter().map(|&n| json!("x".repeat(n))).collect();
    payloads.extend([
        json!(null),
        json!([1, 2.5, -3e9, true]),
        json!({"ä \"\\": "\u{0}\u{1f}\u{2028}🦀"}),
        json!(9_007_199_254_740_993_i64),
    ]);
    for payload in &payloads {
        feed.insert_rows(&[row("a", payload)]).await;
        let event = client.hear_a("event").await;
        assert_eq!(&event["event"]["payload"], payload);
    }
}

#[tokio::test]
async fn whoever_has_unsubscribed_hears_nothing_more() {
    let feed = Feed::start().await;
    let mut client = feed.subscribe(&["a", "b:*", "c"]).await;
    let mut witness = feed.subscribe(&["*"]).await;
    let first = feed.insert(&["a", "b:1", "c"]).await;
    assert_eq!(ids(&client.hear_events(3).await), first);
    client
        .say(&json!({"type": "unsubscribe", "channels": ["a", "b:*"]}))
        .await;
    client.hear_a("unsubscribed").await;
    let second = feed.insert(&["a", "b:1", "c"]).await;
    assert_eq!(ids(&client.hear_events(1).await), [second[2]]);
    client
        .say(&json!({"type": "unsubscribe", "channels": ["c"]}))
        .await;
    client.hear_a("unsubscribed").await;
    feed.insert(&["a", "b:1", "c"]).await;
    witness.hear_events(9).await;
    assert_eq!(client.hear_all().await, [] as [Value; 0]);
    assert_eq!(feed.stats().await["subscriptions"], 1, "the witness");
}

#[tokio::test]
async fn two_hundred_clients_come_and_go() {
    let feed = Feed::start_with(|hub| hub.shards = 4).await;
    let mut clients = Vec::new();
    for n in 0..200 {
        let own = format!("own:{n}");
        clients.push(feed.subscribe(&["all", &own]).await);
    }
    let stats = feed.stats().await;
    assert_eq!(stats["connections"], 200);
    assert_eq!(stats["subscriptions"], 400);
    assert_eq!(feed.broadcaster.client_count(), 200);
    let inserted = feed.insert(&["all", "own:17"]).await;
    for (n, client) in clients.iter_mut().enumerate() {
        let wanted = if n == 17 {
            &inserted[..]
        } else {
            &inserted[..1]
        };
        let events = client.hear_events(wanted.len()).await;
        assert_eq!(ids(&events), wanted);
    }
    for (n, client) in clients.into_iter().enumerate() {
        if n % 2 == 0 {
            client.close().await;
        } else {
            // Without a goodbye, as when a laptop's lid is shut.
            drop(client);
        }
    }
    until("everybody is gone", async || {
        let stats = feed.stats().await;
        stats["connections"] == 0 && stats["subscriptions"] == 0
    })
    .await;
    assert_eq!(feed.broadcaster.client_count(), 0);
    // The feed goes on for whoever comes next.
    let mut next = feed.subscribe(&["all"]).await;
    feed.insert(&["all"]).await;
    next.hear_a("event").await;
}

#[tokio::test]
async fn messages_without_a_row_reach_whom_they_are_for() {
    let feed = Feed::start().await;
    let mut bob = feed.subscribe(&["inbox:bob"]).await;
    let mut everybody = feed.subscribe(&["inbox"]).await;
    let mut alice = feed.subscribe(&["inbox:alice"]).await;
    let mut silent = feed.connect().await;
    silent.hear_all().await;
    assert_eq!(feed.broadcaster.client_count(), 4);

    let notice = json!({"type": "notice", "text": "back at noon", "to": ["all"]});
    feed.broadcaster.broadcast_to_all(&notice).await.unwrap();
    for client in [&mut bob, &mut everybody, &mut alice, &mut silent] {
        assert_eq!(client.hear().await, notice);
    }

    let event = json!({"type": "inbox.item", "entityId": "m1", "payload": {"subject": "hello"}});
    let sent = feed.broadcaster.broadcast_inbox_event("bob", &event).await;
    sent.unwrap();
    for client in [&mut bob, &mut everybody] {
        let frame = client.hear_a("event").await;
        assert_eq!(frame["channels"], json!(["inbox:bob"]));
        assert_eq!(frame["event"], event);
        assert_eq!(frame.get("cursor"), None, "it has no place in the feed");
    }
    for client in [&mut alice, &mut silent] {
        assert_eq!(client.hear_all().await, [] as [Value; 0]);
    }
    let error = feed.broadcaster.broadcast_inbox_event("b ob", &event).await;
    let error = error.expect_err("no channel").to_string();
    assert!(
        error.contains("\"b ob\"") && error.contains("' '"),
        "{error}"
    );
}
