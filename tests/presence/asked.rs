//! What is told to whom: in `subscribed`, in frames, and by `GET /presence`.

use serde_json::{Value, json};

use crate::support::Database;
use crate::support::token::token_for;
use crate::{Running, presence, users};

on_both! {
    a_request_tells_who_is_on_channels
    requests_that_are_none_are_refused
}

async fn a_request_tells_who_is_on_channels(database: Database) {
    let server = Running::start(&database).await;
    let _ann = server.on("room:1", "ann").await;
    let _ben = server.on("room:2", "ben").await;
    server.until_users("room:1", &["ann"]).await;
    server.until_users("room:2", &["ben"]).await;
    let token = token_for("eye", &["room:1", "room:2"]);
    let query = "channel=room:2&channel=room:1&channel=room:2";
    let (status, body) = server.presence(query, &token).await;
    assert_eq!(status, 200, "{body}");
    let channels = body["channels"].as_object().expect("channels");
    assert_eq!(channels.len(), 2);
    for (channel, user) in [("room:1", "ann"), ("room:2", "ben")] {
        assert_eq!(channels[channel]["count"], 1);
        assert_eq!(users(&channels[channel]), [user]);
        assert!(channels[channel].get("more").is_none());
    }
}

async fn requests_that_are_none_are_refused(database: Database) {
    let server = Running::start(&database).await;
    let off = Running::configured(&database, |_| {}).await;
    let all = token_for("eye", &["*"]);
    let narrow = token_for("eye", &["room:1:deeper", "room:2"]);
    for (server, query, token, status, error) in [
        (&server, "", &all, 400, "bad_request"),
        (&server, "channel=room:*", &all, 400, "invalid_channel"),
        (&server, "channel=*", &all, 400, "invalid_channel"),
        (&server, "channel=a+b", &all, 400, "invalid_channel"),
        (&server, "channels=room:1", &all, 400, "bad_request"),
        (&server, "channel=tasks", &all, 404, "no_presence"),
        (
            &server,
            "channel=room:1&channel=tasks",
            &all,
            404,
            "no_presence",
        ),
        (&off, "channel=room:1", &all, 404, "no_presence"),
        (&server, "channel=room:3", &narrow, 403, "forbidden"),
        (
            &server,
            "channel=room:2&channel=room:3",
            &narrow,
            403,
            "forbidden",
        ),
        // A part of what is below it is granted, and not the channel itself.
        (&server, "channel=room:1", &narrow, 403, "forbidden"),
        // Whoever may not know of a channel is not told what is kept of it.
        (&server, "channel=tasks", &narrow, 403, "forbidden"),
        (
            &server,
            "channel=room:1",
            &"nonsense".to_owned(),
            401,
            "unauthorized",
        ),
    ] {
        let (got, body) = server.presence(query, token).await;
        assert_eq!(
            (got, body["error"].as_str()),
            (status, Some(error)),
            "{query}: {body}"
        );
        assert!(body.get("channels").is_none());
    }
    let many: Vec<_> = (0..101).map(|n| format!("channel=room:{n}")).collect();
    let (status, body) = server.presence(&many.join("&"), &all).await;
    assert_eq!((status, &body["error"]), (400, &json!("channel_limit")));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_channel_is_answered_by_itself() {
    let database = Database::sqlite().await;
    let server = Running::start(&database).await;
    let mut client = server.client("ann", &["room", "tasks"]).await;
    let asked = json!({
        "type": "subscribe", "id": 1, "channels": ["room:1", "tasks", "room:*", "other:1"], "presence": true,
    });
    client.say(&asked).await;
    let answer = client.hear_a("subscribed").await;
    assert_eq!(answer["channels"], json!(["room:1", "tasks", "room:*"]));
    assert_eq!(answer["rejected"][0]["channel"], "other:1");
    let told = answer["presence"].as_object().expect("presence");
    assert_eq!(told.len(), 3, "{answer}");
    assert_eq!(told["room:1"], json!({"count": 0, "members": []}));
    for channel in ["tasks", "room:*"] {
        assert_eq!(told[channel]["code"], "NO_PRESENCE");
        let message = told[channel]["message"].as_str().expect("a text");
        assert!(message.contains("--presence"), "{message}");
    }
    // The connection goes on, and what is no answer to this question is refused.
    let asked = json!({"type": "subscribe", "channels": ["room:2"], "presence": "yes"});
    client.say(&asked).await;
    let heard = loop {
        let frame = client.hear().await;
        if frame["type"] != "presence" {
            break frame;
        }
    };
    assert_eq!(heard["code"], "INVALID_MESSAGE", "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_may_ask_for_it_too() {
    let database = Database::sqlite().await;
    let server = Running::start(&database).await;
    let _ben = server.on("room:1", "ben").await;
    server.until_users("room:1", &["ben"]).await;
    let url = format!("ws://{}/ws", server.address);
    let (socket, _) = Box::pin(tokio_tungstenite::connect_async(url))
        .await
        .expect("a WebSocket");
    let mut client = crate::Client::over(socket);
    let hello = json!({
        "type": "hello", "token": token_for("ann", &["room"]), "channels": ["room:1"], "presence": true,
    });
    client.say(&hello).await;
    client.hear_a("welcome").await;
    let subscribed = client.hear_a("subscribed").await;
    assert_eq!(users(&subscribed["presence"]["room:1"]), ["ben"]);
    let joined = client.hear_a("presence").await;
    assert_eq!(
        (&joined["event"], &joined["user"]),
        (&json!("join"), &json!("ann"))
    );
    assert_eq!(joined["channel"], "room:1");
    assert!(joined["since"].is_string());
}

/// Neither who did not ask, nor who has presence of another channel only.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_who_did_not_ask() {
    let database = Database::sqlite().await;
    let server = Running::start(&database).await;
    let mut silent = server.on("room:1", "ann").await;
    let mut other = server.watcher("room:2").await;
    other.client.subscribe(&["room:1"]).await;
    let mut watcher = server.watcher("room:1").await;
    let mut told = users(&watcher.first);
    let _ben = server.on("room:1", "ben").await;
    while !told.contains(&"+ben".to_owned()) {
        told.push(watcher.next().await);
    }
    let is_presence = |frame: &Value| frame["type"] == "presence";
    assert!(!silent.hear_all().await.iter().any(is_presence));
    assert!(!other.client.hear_all().await.iter().any(is_presence));
}

/// A server without `--presence` is as it was: it needs no tables for it, and says so to whoever asks.
#[tokio::test(flavor = "multi_thread")]
async fn off_by_default_and_nothing_of_it_is_touched() {
    for database in databases().await {
        Running::configured(&database, |_| {}).await;
        let mut tables = database.connect().await;
        tables.run("DROP TABLE rowcast_presence").await;
        tables.run("DROP TABLE rowcast_servers").await;
        let server = Running::configured(&database, |config| {
            config.migrate = rowcast::Migrate::Off;
        })
        .await;
        let mut client = server.client("ann", &["room"]).await;
        let asked = json!({"type": "subscribe", "channels": ["room:1"], "presence": true});
        client.say(&asked).await;
        let answer = client.hear_a("subscribed").await;
        assert_eq!(answer["presence"]["room:1"]["code"], "NO_PRESENCE");
        let mut plain = server.client("ben", &["room"]).await;
        let answer = plain.subscribe(&["room:1"]).await;
        assert!(answer.get("presence").is_none(), "{answer}");
        let insert = "INSERT INTO events (channel, type) VALUES ('room:1', 'it.happened')";
        tables.run(insert).await;
        for client in [&mut client, &mut plain] {
            client.hear_events(1).await;
        }
        // With it, the same database will not do.
        let error = Running::try_start(&database, |config| {
            config.migrate = rowcast::Migrate::Off;
            config.presence = Some(presence(&["room:*"]));
        })
        .await;
        let error = error.err().expect("no tables").to_string();
        assert!(error.contains("rowcast migrate"), "{error}");
    }
}

async fn databases() -> Vec<Database> {
    vec![
        Database::sqlite().await,
        #[cfg(feature = "postgres")]
        Database::postgres().await,
    ]
}
