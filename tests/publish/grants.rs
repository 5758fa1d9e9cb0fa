//! Who may publish, where to, and as whom.

use reqwest::Method;
use rowcast::{Config, OriginRule};
use serde_json::{Value, json};

use crate::support::Database;
use crate::support::feed::Client;
use crate::support::token::{SECRET, ask_for_tokens, now, token, token_for};
use crate::{Answer, Running, event, rows};

on_both! {
    a_token_says_where_to
    the_actor_is_the_user_of_the_token
    pages_of_others_cannot_publish_with_cookies
    without_tokens_only_this_machine_may
    everybody_may_where_that_was_said
}

async fn a_token_says_where_to(database: Database) {
    let server = Running::guarded(&database).await;
    let body = event("tasks", 1);
    let nobody = server.publish(&body).await;
    assert_eq!(nobody.status, 401);
    assert!(nobody.header("www-authenticate").starts_with("Bearer"));
    let expired = token(json!({"publish": ["*"], "exp": now() - 3600}));
    assert_eq!(server.publish_as(&expired, &body).await.status, 401);
    // Who may read may not write.
    let reader = server.publish_as(&token_for("ann", &["*"]), &body).await;
    assert_eq!((reader.status, &*reader.error()), (403, "forbidden"));
    let writer = token(json!({"sub": "ann", "publish": ["tasks", "room:*"]}));
    for (channels, allowed) in [
        (json!("tasks"), true),
        (json!("tasks:7"), true),
        (json!("room:1 tasks"), true),
        (json!("room"), false),
        (json!("tasksx"), false),
        (json!("tasks secret"), false),
    ] {
        let body = json!([event("tasks", 1), {"channel": channels, "type": "t"}]);
        let answer = server.publish_as(&writer, &body).await;
        assert_eq!(answer.status, if allowed { 201 } else { 403 }, "{channels}");
        if !allowed {
            assert_eq!(answer.problems(), [(1, "channel".into())]);
        }
    }
    assert_eq!(rows(&database).await, 6, "all or none");
    let answer = Answer::to(server.post(&format!("/events?token={writer}"), &body)).await;
    assert_eq!(answer.status, 201);
    assert!(!answer.json.to_string().contains(SECRET));
}

async fn the_actor_is_the_user_of_the_token(database: Database) {
    let server = Running::guarded(&database).await;
    let ann = token(json!({"sub": "ann", "publish": ["*"], "channels": ["*"]}));
    let backend = token(json!({"publish": ["*"]}));
    let as_actor = |actor: Value| json!({"channel": "tasks", "type": "t", "actor": actor});
    for (token, actor, stored) in [
        (&ann, Value::Null, Some("ann")),
        (&ann, json!("ann"), Some("ann")),
        (&ann, json!("ben"), None),
        (&backend, json!("ben"), Some("ben")),
    ] {
        let answer = server.publish_as(token, &as_actor(actor)).await;
        if stored.is_some() {
            assert_eq!(answer.status, 201, "{answer:?}");
        } else {
            assert_eq!(answer.status, 403);
            assert_eq!(answer.problems(), [(0, "actor".into())]);
        }
    }
    let mut reader = database.connect().await;
    let actors = reader.texts("SELECT actor FROM events ORDER BY id").await;
    assert_eq!(actors, ["ann", "ann", "ben"]);
    let broadcast = json!({"channel": "tasks", "event": as_actor(json!("ben"))});
    let mut broadcast = broadcast;
    broadcast["event"]
        .as_object_mut()
        .expect("fields")
        .remove("channel");
    let answer = server.post("/broadcast", &broadcast).bearer_auth(&ann);
    assert_eq!(Answer::to(answer).await.status, 403);
    let mut client = Client::connect(server.address).await;
    client
        .say(&json!({"type": "hello", "token": ann, "channels": ["tasks"]}))
        .await;
    client.hear_a("welcome").await;
    client.hear_a("subscribed").await;
    broadcast["event"]
        .as_object_mut()
        .expect("fields")
        .remove("actor");
    let answer = server.post("/broadcast", &broadcast).bearer_auth(&ann);
    assert_eq!(Answer::to(answer).await.status, 202);
    assert_eq!(client.hear_a("event").await["event"]["actor"], "ann");
}

async fn pages_of_others_cannot_publish_with_cookies(database: Database) {
    let allow = |config: &mut Config, rules: &[&str]| {
        let rules = rules.iter().map(|rule| rule.parse::<OriginRule>());
        config.network.origins = rules.map(|rule| rule.expect("a rule")).collect();
    };
    let server = Running::start_with(&database, |config| {
        ask_for_tokens(config);
        allow(config, &["*", "https://app.example.com"]);
    })
    .await;
    let cookie = format!(
        "rowcast_token={}",
        token(json!({"sub": "ann", "publish": ["*"]}))
    );
    let own = format!("http://{}", server.address);
    for (origin, status) in [
        (Some("https://evil.example"), 401),
        (Some("null"), 401),
        (Some("https://app.example.com"), 201),
        (Some(own.as_str()), 201),
        (None, 201),
    ] {
        for path in ["/events", "/broadcast"] {
            let body = match path {
                "/events" => event("tasks", 1),
                _ => json!({"channel": "tasks", "event": {"type": "t"}}),
            };
            let mut request = server.post(path, &body).header("cookie", &cookie);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let answer = Answer::to(request).await;
            let expected = if status == 201 && path == "/broadcast" {
                202
            } else {
                status
            };
            assert_eq!(answer.status, expected, "{origin:?} {path}");
        }
    }
    // What a form or a plain `fetch` of a page can send.
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
    ] {
        let request = server
            .request(Method::POST, "/events")
            .header("cookie", &cookie);
        let request = request
            .header("content-type", kind)
            .body(event("tasks", 1).to_string());
        let answer = Answer::to(request).await;
        assert_eq!(
            (answer.status, &*answer.error()),
            (415, "content_type"),
            "{kind}"
        );
    }
    assert_eq!(rows(&database).await, 3);
    let strict = Running::guarded(&database).await;
    let request = strict
        .post("/events", &event("tasks", 1))
        .header("cookie", &cookie);
    let answer = Answer::to(request.header("origin", "https://evil.example")).await;
    assert_eq!((answer.status, &*answer.error()), (403, "origin_refused"));
}

async fn without_tokens_only_this_machine_may(database: Database) {
    let open = Running::start_with(&database, |config| {
        let rules = ["*", "https://feed.example.com"].map(str::parse::<OriginRule>);
        config.network.origins = rules.map(|rule| rule.expect("a rule")).into();
    })
    .await;
    let public = Running::start_with(&database, |config| config.network.public = true).await;
    for (server, headers, status) in [
        (&open, &[][..], 201),
        (&open, &[("host", "localhost:3001")], 201),
        (&open, &[("origin", "http://localhost:5173")], 201),
        (&open, &[("origin", "https://feed.example.com")], 201),
        (&open, &[("origin", "https://evil.example")], 403),
        (&open, &[("origin", "null")], 403),
        (&open, &[("sec-fetch-site", "cross-site")], 403),
        // Through a proxy on this machine.
        (&open, &[("host", "feed.example.com")], 403),
        (&open, &[("host", "evil.example")], 403),
        (&public, &[], 403),
    ] {
        for (path, body) in [
            ("/events", event("tasks", 1)),
            (
                "/broadcast",
                json!({"channel": "tasks", "event": {"type": "t"}}),
            ),
        ] {
            let mut request = server.post(path, &body);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = Answer::to(request).await;
            let expected = if status == 201 && path == "/broadcast" {
                202
            } else {
                status
            };
            assert_eq!(answer.status, expected, "{headers:?} {path}: {answer:?}");
        }
    }
    assert_eq!(rows(&database).await, 4);
}

async fn everybody_may_where_that_was_said(database: Database) {
    let server = Running::start_with(&database, |config| {
        config.network.public = true;
        config.network.publish.public = true;
    })
    .await;
    let request = server.post("/events", &event("tasks", 1));
    let answer = Answer::to(request.header("host", "feed.example.com")).await;
    assert_eq!(answer.status, 201);
}
