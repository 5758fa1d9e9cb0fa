//! What is no row reaches those who are connected to any server of the database, each once.

use serde_json::{Value, json};

use crate::support::Database;
use crate::support::feed::Client;
use crate::support::token::token;
use crate::{Answer, Running, rows};

on_both! {
    a_channel_a_user_and_all_are_told_once_on_every_server
    a_token_says_whom
    what_is_out_of_rule_is_not_told
}

async fn a_channel_a_user_and_all_are_told_once_on_every_server(database: Database) {
    let servers = [
        Running::guarded(&database).await,
        Running::guarded(&database).await,
    ];
    let publisher = token(json!({"publish": ["*"]}));
    let mut clients = Vec::new();
    for server in &servers {
        for (user, channels) in [
            ("ann", &["room:1"][..]),
            ("ann", &[]),
            ("ben", &["room"]),
            ("cat", &["other"]),
        ] {
            let mut client = Client::connect(server.address).await;
            let token = token(json!({"sub": user, "channels": ["*"]}));
            client
                .say(&json!({"type": "hello", "token": token, "channels": channels}))
                .await;
            client.hear_a("welcome").await;
            if !channels.is_empty() {
                client.hear_a("subscribed").await;
            }
            clients.push((user, channels, client));
        }
    }
    let told = [
        json!({"channel": "room:1", "event": {"type": "user.typing", "payload": {"x": [1]}}}),
        json!({"user": "ann", "event": {"type": "notice", "actor": "boss"}}),
        json!({"all": true, "message": {"type": "maintenance", "at": "noon"}}),
    ];
    for body in &told {
        let answer = Answer::to(servers[0].post("/broadcast", body).bearer_auth(&publisher)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    for (user, channels, client) in &mut clients {
        let mut heard = Vec::new();
        while heard.last() != Some(&told[2]["message"]) {
            heard.push(client.hear().await);
        }
        let mut expected: Vec<Value> = Vec::new();
        if channels.iter().any(|name| name.starts_with("room")) {
            expected.push(json!({"type": "event", "channels": ["room:1"],
                "event": {"type": "user.typing", "payload": {"x": [1]}}}));
        }
        if *user == "ann" {
            expected.push(json!({"type": "event", "channels": ["user:ann"],
                "event": {"type": "notice", "actor": "boss", "payload": {}}}));
        }
        expected.push(told[2]["message"].clone());
        assert_eq!(heard, expected, "{user} {channels:?}");
    }
    // Nothing comes a second time: what is told next is next.
    let last = json!({"all": true, "message": {"type": "last"}});
    let answer = Answer::to(servers[1].post("/broadcast", &last).bearer_auth(&publisher)).await;
    assert_eq!(answer.status, 202);
    for (_, _, client) in &mut clients {
        assert_eq!(client.hear().await, last["message"]);
    }
    assert_eq!(rows(&database).await, 0);
}

async fn a_token_says_whom(database: Database) {
    let server = Running::guarded(&database).await;
    let event = json!({"type": "t"});
    let channel = |name: &str| json!({"channel": name, "event": event});
    let user = |name: &str| json!({"user": name, "event": event});
    let all = json!({"all": true, "message": {}});
    for (grants, body, status) in [
        (json!([]), channel("room:1"), 403),
        (json!(["room"]), channel("room:1"), 202),
        (json!(["room:2"]), channel("room:1"), 403),
        (json!(["room:*", "user:ann"]), user("ann"), 202),
        (json!(["room:*", "user:ann"]), user("ben"), 403),
        // Not one below ann, but another user.
        (json!(["user:ann"]), user("ann:x"), 403),
        (json!(["user:*"]), user("ann:x"), 202),
        (json!(["user:*", "room"]), all.clone(), 403),
        (json!(["*"]), all, 202),
        (json!(["*"]), user("x y"), 202),
    ] {
        let token = token(json!({"publish": grants}));
        let answer = Answer::to(server.post("/broadcast", &body).bearer_auth(token)).await;
        assert_eq!(answer.status, status, "{grants} {body}: {answer:?}");
    }
    let nobody = Answer::to(server.post("/broadcast", &channel("a"))).await;
    assert_eq!(nobody.status, 401);
}

async fn what_is_out_of_rule_is_not_told(database: Database) {
    let server = Running::start(&database).await;
    let mut client = Client::connect(server.address).await;
    client.subscribe(&["*"]).await;
    for (body, status) in [
        (json!({}), 400),
        (json!([]), 400),
        (json!({"channel": "a"}), 400),
        (json!({"channel": "a", "message": {}}), 400),
        (json!({"channel": "a b", "event": {"type": "t"}}), 400),
        (
            json!({"channel": "a", "user": "u", "event": {"type": "t"}}),
            400,
        ),
        (
            json!({"channel": "a", "event": {"type": "t"}, "more": 1}),
            400,
        ),
        (json!({"user": "", "event": {"type": "t"}}), 400),
        (json!({"all": false, "message": {}}), 400),
        (json!({"all": true, "message": 1}), 400),
        (json!({"all": true, "message": {"a": "\u{0}"}}), 400),
        (json!({"channel": "a", "event": {}}), 422),
        (
            json!({"channel": "a", "event": {"type": "t", "dedupKey": "k"}}),
            422,
        ),
        (
            json!({"channel": "a", "event": {"type": "t", "payload": "x".repeat(70_000)}}),
            413,
        ),
    ] {
        let answer = Answer::to(server.post("/broadcast", &body)).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    let good = json!({"all": true, "message": {"type": "good"}});
    assert_eq!(
        Answer::to(server.post("/broadcast", &good)).await.status,
        202
    );
    assert_eq!(client.hear().await, good["message"], "nothing before it");
}
