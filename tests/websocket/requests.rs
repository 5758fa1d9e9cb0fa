//! What a client asks, and what it is answered.

use serde_json::{Value, json};

use crate::support::feed::{Client, Feed};

#[tokio::test]
async fn a_client_that_only_subscribes_and_pings_is_served_and_told_nothing_else() {
    let feed = Feed::start().await;
    let mut client = feed.connect().await;
    // Nothing comes before it has said something: the first frame is the answer to its own.
    client
        .say(&json!({"type": "subscribe", "channels": ["tasks", "messages:c1"]}))
        .await;
    let subscribed = client.hear_a("subscribed").await;
    assert_eq!(subscribed["channels"], json!(["tasks", "messages:c1"]));
    assert_eq!(subscribed.get("id"), None, "no id was given");
    client.say(&json!({"type": "ping"})).await;
    let pong = client.hear_a("pong").await;
    assert_eq!(pong.get("id"), None, "no id was given");

    let ids = feed.insert(&["tasks"]).await;
    let event = client.hear_a("event").await;
    assert_eq!(event["channels"], json!(["tasks"]));
    let fields = &event["event"];
    assert_eq!(fields["id"], ids[0]);
    assert_eq!(fields["type"], "test.row");
    assert_eq!(fields["payload"], json!({"n": 0}));
    let time = fields["createdAt"].as_str().expect("a time");
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");

    client
        .say(&json!({"type": "unsubscribe", "channels": ["tasks"]}))
        .await;
    let unsubscribed = client.hear_a("unsubscribed").await;
    assert_eq!(unsubscribed["channels"], json!(["tasks"]));
}

#[tokio::test]
async fn answers_carry_the_ids_of_their_requests_and_keep_their_order() {
    let feed = Feed::start().await;
    let mut client = feed.connect().await;
    let requests = [
        (json!({"type": "hello"}), "welcome"),
        (
            json!({"type": "subscribe", "channels": ["a"]}),
            "subscribed",
        ),
        (json!({"type": "ping"}), "pong"),
        (
            json!({"type": "unsubscribe", "channels": ["a"]}),
            "unsubscribed",
        ),
        (
            json!({"type": "unsubscribe", "channels": ["never:subscribed"]}),
            "unsubscribed",
        ),
    ];
    let ids = [json!(7), json!("q-1"), json!(-1), json!(1.5), json!("")];
    for id in &ids {
        for (request, _) in &requests {
            let mut request = request.clone();
            request["id"] = id.clone();
            client.say(&request).await;
        }
    }
    for id in &ids {
        for (_, answer) in &requests {
            let answer = client.hear_a(answer).await;
            assert_eq!(&answer["id"], id, "{answer}");
        }
    }
}

#[tokio::test]
async fn hello_is_welcomed_with_what_a_client_needs_to_know() {
    let feed = Feed::start_with(|hub| {
        hub.subscriptions_max = 7;
        hub.message_bytes_max = 4321;
    })
    .await;
    let mut client = feed.connect().await;
    client
        .say(&json!({"type": "hello", "protocol": 1, "client": {"name": "test"}}))
        .await;
    let welcome = client.hear_a("welcome").await;
    assert_eq!(welcome["protocol"], 1);
    assert_eq!(
        welcome["limits"],
        json!({"channels": 7, "messageBytes": 4321, "messagesPerMinute": 100})
    );
    let server = welcome["server"].as_str().expect("a name");
    assert!(server.starts_with("rowcast/"), "{server}");

    let mut other = feed.connect().await;
    other
        .say(&json!({"type": "hello", "id": 1, "channels": ["tasks"]}))
        .await;
    let second = other.hear_a("welcome").await;
    assert_ne!(welcome["connectionId"], second["connectionId"]);
    let subscribed = other.hear_a("subscribed").await;
    assert_eq!(subscribed["id"], 1);
    assert_eq!(subscribed["channels"], json!(["tasks"]));
    feed.insert(&["tasks"]).await;
    other.hear_a("event").await;
}

#[tokio::test]
async fn subscribing_twice_is_subscribing_once() {
    let feed = Feed::start_with(|hub| hub.subscriptions_max = 1).await;
    let mut client = feed.connect().await;
    client.subscribe(&["tasks", "tasks"]).await;
    client.subscribe(&["tasks"]).await;
    assert_eq!(feed.stats().await["subscriptions"], 1);
    let inserted = feed.insert(&["tasks"]).await;
    client.hear_events(1).await;
    client
        .say(&json!({"type": "unsubscribe", "channels": ["tasks"]}))
        .await;
    client.hear_a("unsubscribed").await;
    assert_eq!(feed.stats().await["subscriptions"], 0);
    assert_eq!(inserted.len(), 1);
    feed.insert(&["tasks"]).await;
    let mut witness = feed.subscribe(&["*"]).await;
    feed.insert(&["other"]).await;
    witness.hear_events(1).await;
    assert_eq!(client.hear_all().await, [] as [Value; 0]);
}

#[tokio::test]
async fn every_mistake_is_answered_and_the_connection_lives() {
    let feed = Feed::start_with(|hub| hub.subscriptions_max = 3).await;
    let mut client = feed.subscribe(&["tasks", "messages:*"]).await;
    let long = "x".repeat(201);
    let subscribe = |channels: Value| json!({"type": "subscribe", "id": 9, "channels": channels});
    let since =
        |since: Value| json!({"type": "subscribe", "id": 9, "channels": ["tasks"], "since": since});
    let cases: Vec<(Value, &str, &[&str])> = vec![
        // What is no object at all.
        (json!([1]), "INVALID_MESSAGE", &["a JSON object", "a list"]),
        (json!("subscribe"), "INVALID_MESSAGE", &["a text"]),
        (json!(null), "INVALID_MESSAGE", &["null"]),
        // Types.
        (
            json!({"id": 9}),
            "INVALID_MESSAGE",
            &["\"type\" is missing", "subscribe"],
        ),
        (
            json!({"id": 9, "type": 5}),
            "INVALID_MESSAGE",
            &["\"type\" is a text", "a number"],
        ),
        (
            json!({"id": 9, "type": "subscripe"}),
            "INVALID_MESSAGE",
            &["\"subscripe\"", "hello, subscribe"],
        ),
        (
            json!({"type": "ping", "id": [9]}),
            "INVALID_MESSAGE",
            &["\"id\"", "a list"],
        ),
        (
            json!({"type": "ping", "id": "i".repeat(65)}),
            "INVALID_MESSAGE",
            &["\"id\"", "64 bytes"],
        ),
        // Channels.
        (
            json!({"type": "subscribe", "id": 9}),
            "INVALID_MESSAGE",
            &["\"channels\" is missing"],
        ),
        (subscribe(json!([])), "INVALID_MESSAGE", &["empty"]),
        (
            subscribe(json!("tasks")),
            "INVALID_MESSAGE",
            &["a list of texts", "a text"],
        ),
        (
            subscribe(json!(["fine", 7])),
            "INVALID_MESSAGE",
            &["a list of texts", "a number"],
        ),
        (
            json!({"type": "unsubscribe", "id": 9, "channels": [{}]}),
            "INVALID_MESSAGE",
            &["an object"],
        ),
        (subscribe(json!([""])), "INVALID_CHANNEL", &["at least one"]),
        (
            subscribe(json!(["fine", "two words"])),
            "INVALID_CHANNEL",
            &["\"two words\"", "' '", "allowed are"],
        ),
        (subscribe(json!(["a::b"])), "INVALID_CHANNEL", &["\"a::b\""]),
        (subscribe(json!(["a*"])), "INVALID_CHANNEL", &["'*'"]),
        (subscribe(json!(["*:a"])), "INVALID_CHANNEL", &["'*'"]),
        (subscribe(json!(["Käse"])), "INVALID_CHANNEL", &["'ä'"]),
        (subscribe(json!([long])), "INVALID_CHANNEL", &["201", "200"]),
        (
            json!({"type": "unsubscribe", "id": 9, "channels": ["a b"]}),
            "INVALID_CHANNEL",
            &["\"a b\""],
        ),
        (
            subscribe(json!(["one", "two"])),
            "CHANNEL_LIMIT",
            &["at most 3", "has 2", "2 more"],
        ),
        // Cursors.
        (
            since(json!(5)),
            "INVALID_MESSAGE",
            &["\"since\"", "a number"],
        ),
        (
            since(json!("yesterday")),
            "CURSOR_INVALID",
            &["\"now\"", "\"earliest\"", "not a cursor"],
        ),
        (
            since(json!("A".repeat(4097))),
            "CURSOR_INVALID",
            &["4096 bytes"],
        ),
        (
            json!({"type": "hello", "id": 9, "channels": ["tasks"], "since": "?"}),
            "CURSOR_INVALID",
            &["\"since\""],
        ),
    ];
    for (request, code, parts) in &cases {
        client.say(request).await;
        expect_error(&mut client, &request.to_string(), code, parts).await;
        let limit = (*code == "CHANNEL_LIMIT").then_some(3);
        client.say(request).await;
        let error = client.hear_a("error").await;
        assert_eq!(error["limit"].as_u64(), limit, "{error}");
        let readable = request["id"] == 9;
        assert_eq!(error["id"] == 9, readable, "{error}");
    }
    for (text, part) in [
        ("", "not JSON"),
        ("ping", "not JSON"),
        (r#"{"type":"ping""#, "not JSON"),
        (r#"{"type":"ping"} {"type":"ping"}"#, "not JSON"),
        ("\u{0}\u{feff}", "not JSON"),
        (&"[".repeat(50_000), "not JSON"),
    ] {
        client.send(text.into()).await;
        expect_error(&mut client, text, "INVALID_MESSAGE", &[part]).await;
    }
    client.send_binary(br#"{"type":"ping"}"#).await;
    expect_error(&mut client, "binary", "INVALID_MESSAGE", &["binary frame"]).await;

    let mistakes = 2 * cases.len() as u64 + 7;
    assert_eq!(feed.stats().await["clientErrors"], mistakes);
    // Nothing of the refused was taken over, nothing of before was lost.
    let inserted = feed.insert(&["one", "fine", "tasks", "messages:1"]).await;
    let events = client.hear_events(2).await;
    assert_eq!(crate::support::feed::ids(&events), inserted[2..]);
    assert_eq!(client.hear_all().await, [] as [Value; 0]);
}

async fn expect_error(client: &mut Client, request: &str, code: &str, parts: &[&str]) {
    let error = client.hear_a("error").await;
    let request: String = request.chars().take(100).collect();
    assert_eq!(error["code"], code, "{request}: {error}");
    let message = error["message"].as_str().expect("a message");
    for part in parts {
        assert!(message.contains(part), "{request}: {message}");
    }
    assert!(message.len() < 400, "an answer is short: {message}");
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let feed = Feed::start().await;
    let mut client = feed.connect().await;
    client
        .say(&json!({"type": "subscribe", "channels": ["a"], "since": null, "id": null, "x": {"y": [1]}}))
        .await;
    client.hear_a("subscribed").await;
    client.say(&json!({"type": "ping", "later": true})).await;
    client.hear_a("pong").await;
}
