//! Clients of other presets beside those of the default protocol, on one server: what each event costs, who gets it, and
//! who gets in. How each preset looks is in docs/protocol, which tests/golden.rs replays.
#![cfg(feature = "sqlite")]

mod support;

use rowcast::{Config, EndpointAuth, EndpointSpec, Endpoints, PresetSpec};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use support::feed::{Client, Feed, http, ids, row, until};
use support::token::{ask_for_tokens, now, token, token_for};

fn endpoint(path: &str, preset: &str) -> EndpointSpec {
    EndpointSpec {
        path: path.to_owned(),
        preset: preset.to_owned(),
        auth: None,
        channels: None,
        grant: Vec::new(),
        cookie: None,
    }
}

fn use_endpoints(config: &mut Config, specs: &[EndpointSpec]) {
    config.endpoints =
        Endpoints::new(specs, &config.presets, config.auth.is_some()).expect("they are good");
}

/// A server with an endpoint for each preset.
async fn feed(change: impl FnOnce(&mut Config)) -> Feed {
    Feed::start_configured(|config| {
        change(config);
        let specs = [
            endpoint("/elements/ws", "elements"),
            endpoint("/user/ws", "user-stream"),
            endpoint("/topics/ws", "topic-action"),
            endpoint("/rooms/ws", "room-action"),
            endpoint("/projects/{projectId}/ws", "project-path"),
            endpoint("/cloudevents", "cloudevents"),
        ];
        use_endpoints(config, &specs);
    })
    .await
}

/// Connects, and gives the subprotocol that was taken.
async fn connect_with(
    feed: &Feed,
    path: &str,
    headers: &[(&'static str, &str)],
) -> (Client, Option<String>) {
    let url = format!("ws://{}{path}", feed.address);
    let mut request = url.into_client_request().expect("a URL");
    for (name, value) in headers {
        let value = value.parse().expect("a header");
        request.headers_mut().insert(*name, value);
    }
    let (socket, response) = Box::pin(connect_async(request)).await.expect("it opens");
    let protocol = response.headers().get("sec-websocket-protocol");
    let protocol = protocol.map(|value| value.to_str().expect("text").to_owned());
    (Client::over(socket), protocol)
}

async fn connect(feed: &Feed, path: &str) -> Client {
    connect_with(feed, path, &[]).await.0
}

/// A client of preset topic-action with these topics.
async fn with_topics(feed: &Feed, topics: &[&str]) -> Client {
    let mut client = connect(feed, "/topics/ws").await;
    for topic in topics {
        client
            .say(&json!({"action": "subscribe", "topic": topic}))
            .await;
        let frame = client.hear().await;
        assert_eq!(frame, json!({"action": "subscribed", "topic": topic}));
    }
    client
}

fn topics(frames: &[Value]) -> Vec<(&str, &Value)> {
    let seen = |frame| {
        let frame: &Value = frame;
        let topic = frame["topic"].as_str().expect("a text");
        (topic, &frame["data"]["payload"]["n"])
    };
    frames.iter().map(seen).collect()
}

async fn hear(client: &mut Client, frames: usize) -> Vec<Value> {
    let mut heard = Vec::new();
    while heard.len() < frames {
        heard.push(client.hear().await);
    }
    heard
}

async fn encoded(feed: &Feed) -> u64 {
    let stats = feed.stats().await;
    stats["eventsEncoded"].as_u64().expect("a number")
}

#[tokio::test]
async fn an_event_is_encoded_once_for_each_preset_in_use_and_for_no_other() {
    let feed = feed(|_| {}).await;
    // Nobody is there: nothing is encoded.
    feed.insert(&["team:1", "team:1"]).await;
    until("they are read", async || feed.stats().await["events"] == 2).await;
    assert_eq!(encoded(&feed).await, 0);
    let mut warm = feed.subscribe(&["team:1"]).await;
    let before = encoded(&feed).await;
    feed.insert(&["team:1"]).await;
    warm.hear_events(1).await;
    assert_eq!(encoded(&feed).await - before, 1, "one in use");
    warm.close().await;
    until("nobody is there", async || {
        feed.stats().await["connections"] == 0
    })
    .await;

    let mut rooms = Vec::new();
    let mut lists = Vec::new();
    let mut projects = Vec::new();
    for _ in 0..7 {
        let mut client = connect(&feed, "/rooms/ws").await;
        client.hear_a("connection.ack").await;
        client
            .say(&json!({"action": "subscribe", "rooms": ["team:1"]}))
            .await;
        client.say(&json!({"type": "ping"})).await;
        client.hear_a("connection.ack").await;
        rooms.push(client);
        lists.push(with_topics(&feed, &["team:1"]).await);
        projects.push(connect(&feed, "/projects/1/ws").await);
    }
    until("all are subscribed", async || {
        feed.stats().await["subscriptions"] == 21
    })
    .await;
    let before = encoded(&feed).await;
    let rows: Vec<_> = (0..10)
        .map(|n| row("team:1 project:1", &json!({ "n": n })))
        .collect();
    feed.insert_rows(&rows).await;
    for client in rooms.iter_mut().chain(&mut lists).chain(&mut projects) {
        assert_eq!(hear(client, 10).await.len(), 10);
    }
    assert_eq!(
        encoded(&feed).await - before,
        30,
        "three in use, ten events"
    );
}

#[tokio::test]
async fn a_topic_gets_its_own_message_and_no_topic_that_is_not_asked_for() {
    let feed = feed(|_| {}).await;
    let mut one = with_topics(&feed, &["list:1"]).await;
    let mut both = with_topics(&feed, &["list:1", "user:9"]).await;
    let mut parent = with_topics(&feed, &["list"]).await;
    let mut other = with_topics(&feed, &["list:2"]).await;
    // One batch with events on one channel, on two, and on none of theirs.
    feed.insert(&["list:1", "list:1 user:9", "other", "user:9 other list:2"])
        .await;
    let n = [0, 1, 2, 3].map(Value::from);
    assert_eq!(
        topics(&hear(&mut one, 2).await),
        [("list:1", &n[0]), ("list:1", &n[1])]
    );
    assert_eq!(
        topics(&hear(&mut both, 4).await),
        [
            ("list:1", &n[0]),
            ("list:1", &n[1]),
            ("user:9", &n[1]),
            ("user:9", &n[3])
        ]
    );
    assert_eq!(
        topics(&hear(&mut parent, 3).await),
        [("list:1", &n[0]), ("list:1", &n[1]), ("list:2", &n[3])]
    );
    assert_eq!(topics(&hear(&mut other, 1).await), [("list:2", &n[3])]);
    for client in [&mut one, &mut both, &mut parent, &mut other] {
        client.say(&json!({"action": "ping"})).await;
        assert_eq!(
            client.hear().await,
            json!({"action": "pong"}),
            "and nothing else"
        );
    }
}

#[tokio::test]
async fn what_is_read_again_is_told_by_topic_too() {
    let feed = feed(|_| {}).await;
    let mut first = feed.subscribe(&["list:1"]).await;
    feed.insert(&["list:1"]).await;
    let cursor = first.hear_events(1).await[0]["cursor"].clone();
    feed.insert(&["list:1 list:2", "list:3", "list:1"]).await;
    first.hear_events(2).await;
    let mut late = connect(&feed, "/topics/ws").await;
    late.say(&json!({"action": "subscribe", "topic": "list:1", "since": cursor}))
        .await;
    assert_eq!(late.hear().await["action"], "subscribed");
    let (zero, two) = (json!(0), json!(2));
    assert_eq!(
        topics(&hear(&mut late, 2).await),
        [("list:1", &zero), ("list:1", &two)],
        "and nothing of list:2"
    );
    late.say(&json!({"action": "subscribe", "topic": "list:1", "since": "yesterday"}))
        .await;
    let refusal = late.hear().await;
    assert_eq!(refusal["error"], "Invalid cursor", "{refusal}");
    // A mistake is no wish for the present.
    late.say(&json!({"action": "subscribe", "topic": "list:1", "since": 7}))
        .await;
    let refusal = late.hear().await;
    assert_eq!(refusal["error"], "Invalid message format", "{refusal}");
}

#[tokio::test]
async fn the_path_names_a_project_and_the_token_has_to_grant_it() {
    let feed = feed(ask_for_tokens).await;
    let own = token_for("ann", &["project:7"]);
    let path = |id: &str, token: &str| format!("/projects/{id}/ws?token={token}");
    let mut member = connect(&feed, &path("7", &own)).await;
    until("it is subscribed", async || {
        feed.broadcaster.stats().subscriptions == 1
    })
    .await;
    feed.insert(&["project:8", "project:7:tasks", "tasks project:7"])
        .await;
    let heard = hear(&mut member, 2).await;
    assert_eq!(
        (&heard[0]["project_id"], &heard[1]["project_id"]),
        (&json!("7"), &json!("7"))
    );
    assert_eq!(
        (&heard[0]["data"]["n"], &heard[1]["data"]["n"]),
        (&json!(1), &json!(2))
    );

    let mut stranger = connect(&feed, &path("8", &own)).await;
    let close = stranger.hear_close().await;
    assert_eq!(
        (u16::from(close.code), &*close.reason),
        (4003, "your token does not grant project:8")
    );
    let mut nobody = connect(&feed, "/projects/7/ws").await;
    assert_eq!(u16::from(nobody.hear_close().await.code), 4001);
    // What is no id is an error that a program can read, and never a wider channel.
    for id in ["", "*", "7:*", "a%20b", "%3A", "%ff"] {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            path(id, &own)
        );
        let answer = http(feed.address, &request).await;
        assert_eq!(answer.status, 400, "{id}: {}", answer.body);
        assert!(
            answer.body.contains("projectId in the path"),
            "{}",
            answer.body
        );
    }
}

#[tokio::test]
async fn an_endpoint_grants_what_it_names_and_no_more() {
    let feed = Feed::start_configured(|config| {
        ask_for_tokens(config);
        let own = EndpointSpec {
            channels: Some(vec!["news:{sub}".into(), "announcements".into()]),
            grant: vec!["team:{sub}".into()],
            cookie: Some("session".into()),
            ..endpoint("/own/ws", "default")
        };
        let open = EndpointSpec {
            auth: Some(EndpointAuth::None),
            channels: Some(vec!["board:{id}".into()]),
            ..endpoint("/boards/{id}", "elements")
        };
        use_endpoints(config, &[own, open]);
    })
    .await;
    let token = token_for("ann", &["tasks"]);
    let cookie = format!("session={token}");
    let (mut ann, _) = connect_with(&feed, "/own/ws", &[("cookie", &cookie)]).await;
    let subscribed = ann.hear_a("subscribed").await;
    assert_eq!(subscribed["channels"], json!(["news:ann", "announcements"]));
    let asked = ann.subscribe(&["team:ann", "team:bob", "tasks"]).await;
    assert_eq!(asked["channels"], json!(["team:ann", "tasks"]), "{asked}");
    let (mut wrong, _) = connect_with(&feed, "/own/ws", &[("cookie", "rowcast_token=x")]).await;
    wrong
        .say(&json!({"type": "subscribe", "channels": ["tasks"]}))
        .await;
    assert_eq!(wrong.hear_a("error").await["code"], "UNAUTHORIZED");
    // Who says who it is after the handshake is welcomed, and has the same.
    let mut late = connect(&feed, "/own/ws").await;
    late.say(&json!({"type": "hello", "token": token})).await;
    late.hear_a("welcome").await;
    let subscribed = late.hear_a("subscribed").await;
    assert_eq!(subscribed["channels"], json!(["news:ann", "announcements"]));
    // Elsewhere the token grants what it did.
    let mut plain = connect(&feed, &format!("/ws?token={token}")).await;
    let asked = plain.subscribe(&["team:ann", "tasks"]).await;
    assert_eq!(asked["channels"], json!(["tasks"]), "{asked}");

    // Whoever comes in without a token gets that and nothing else, whatever it asks for.
    let mut anybody = connect(&feed, "/boards/4").await;
    assert_eq!(
        anybody.hear_a("subscribed").await["channels"],
        json!(["board:4"])
    );
    let asked = anybody.subscribe(&["*", "board:5", "tasks"]).await;
    assert_eq!(asked["channels"], json!(["*"]), "{asked}");
    assert_eq!(asked["granted"], json!(["board:4"]), "{asked}");
    feed.insert(&["board:5", "tasks", "board:4"]).await;
    let heard = anybody.hear_events(1).await;
    assert_eq!(heard[0]["channels"], json!(["board:4"]));
}

#[tokio::test]
async fn a_subprotocol_chooses_a_preset_wherever_it_is_asked_for() {
    let feed = feed(|_| {}).await;
    let protocol = "sec-websocket-protocol";
    let (mut events, chosen) = connect_with(
        &feed,
        "/ws?channels=tasks",
        &[(protocol, "mqtt, cloudevents.json")],
    )
    .await;
    assert_eq!(chosen.as_deref(), Some("cloudevents.json"));
    let (mut rooms, chosen) =
        connect_with(&feed, "/ws", &[(protocol, "rowcast.room-action")]).await;
    assert_eq!(chosen.as_deref(), Some("rowcast.room-action"));
    rooms.hear_a("connection.ack").await;
    let (mut default, chosen) = connect_with(&feed, "/rooms/ws", &[(protocol, "rowcast.v1")]).await;
    assert_eq!(chosen.as_deref(), Some("rowcast.v1"));
    default.subscribe(&["tasks"]).await;
    let inserted = feed.insert(&["tasks"]).await;
    assert_eq!(events.hear().await["type"], "rowcast.subscribed");
    assert_eq!(events.hear().await["id"], json!(inserted[0].to_string()));
    assert_eq!(ids(&default.hear_events(1).await), inserted);
    // It names channels in the URL, or it is told to.
    let request = format!(
        "GET /cloudevents HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        feed.address
    );
    let answer = http(feed.address, &request).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.contains("name at least one channel in the URL"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_preset_that_a_client_chooses_grants_nothing() {
    let feed = Feed::start_configured(|config| {
        ask_for_tokens(config);
        let staff = r#"
            base = "default"
            channels = ["staff"]
        "#;
        let staff: PresetSpec = toml::from_str(staff).expect("TOML");
        config.presets.add("staff", &staff).expect("it is good");
        let open = EndpointSpec {
            auth: Some(EndpointAuth::None),
            channels: None,
            ..endpoint("/open/ws", "default")
        };
        use_endpoints(config, &[endpoint("/staff/ws", "staff"), open]);
    })
    .await;
    let token = token_for("ann", &["tasks"]);
    // Where the endpoint says so, it does.
    let mut own = connect(&feed, &format!("/staff/ws?token={token}")).await;
    assert_eq!(own.hear_a("subscribed").await["channels"], json!(["staff"]));
    for path in [format!("/ws?token={token}"), "/open/ws".to_owned()] {
        let chosen = [("sec-websocket-protocol", "rowcast.staff")];
        let (mut client, _) = connect_with(&feed, &path, &chosen).await;
        assert_eq!(client.hear_a("error").await["code"], "FORBIDDEN", "{path}");
        let close = client.hear_close().await;
        assert_eq!(u16::from(close.code), 4003, "{path}");
    }
}

#[tokio::test]
async fn a_preset_of_ones_own_is_spoken_and_may_close_with_codes_of_its_own() {
    let feed = Feed::start_configured(|config| {
        ask_for_tokens(config);
        let spec: PresetSpec = toml::from_str(
            r#"
            channels = ["feed:{sub}"]
            client.ping = { match = { op = "beat" } }
            server.welcome = '{"op":"ready","who":"{user_id}","until":"{expires_at?}"}'
            server.pong = '{"op":"beat"}'
            server.event = '{"op":"{name}","n":"{payload.n}","was":"{previous.n?}","text":"{kind}/{verb} #{id}","in":"{channels}"}'
            event_names.created = "NEW"
            close.unauthorized = 4401
            "#,
        )
        .expect("TOML");
        config.presets.add("mine", &spec).expect("it is good");
        use_endpoints(config, &[endpoint("/mine", "mine")]);
    })
    .await;
    let until = now() + 2;
    let path = format!("/mine?token={}", token(json!({"sub": "ann", "exp": until})));
    let mut client = connect(&feed, &path).await;
    let ready = client.hear().await;
    assert_eq!(
        (&ready["op"], &ready["who"]),
        (&json!("ready"), &json!("ann"))
    );
    client.say(&json!({"op": "beat"})).await;
    assert_eq!(client.hear().await, json!({"op": "beat"}));
    let mut created = row("feed:ann feed:bob", &json!({"n": 1}));
    created.kind = "task.created".into();
    let mut other = row("feed:ann", &json!({}));
    other.kind = "ping".into();
    let inserted = feed.insert_rows(&[created, other]).await;
    assert_eq!(
        client.hear().await,
        json!({"op": "NEW", "n": 1, "text": format!("task/created #{}", inserted[0]), "in": ["feed:ann", "feed:bob"]})
    );
    assert_eq!(
        client.hear().await,
        json!({"op": "ping", "n": null, "text": format!("/ping #{}", inserted[1]), "in": ["feed:ann"]})
    );
    let close = client.hear_close().await;
    assert_eq!(
        u16::from(close.code),
        4401,
        "the token has expired: {}",
        close.reason
    );
}

#[tokio::test]
async fn who_cannot_be_told_to_refetch_is_closed_and_comes_back() {
    let feed = feed(|hub| hub.hub.replay_events_max = Some(1)).await;
    let mut first = feed.subscribe(&["list:1"]).await;
    feed.insert(&["list:1"]).await;
    let cursor = first.hear_events(1).await[0]["cursor"].clone();
    feed.insert(&["list:1", "list:1", "list:1"]).await;
    first.hear_events(3).await;
    let mut late = connect(&feed, "/topics/ws").await;
    late.say(&json!({"action": "subscribe", "topic": "list:1", "since": cursor}))
        .await;
    late.hear().await;
    let close = late.hear_close().await;
    assert_eq!(u16::from(close.code), 1012, "{}", close.reason);
    assert!(close.reason.contains("refetch"));
}
