//! What `/console/status` and `/console/connections` tell, and whom.

use rowcast::{EndpointSpec, Endpoints};
use serde_json::{Value, json};

use crate::support::feed::{Client, Feed, until};
use crate::support::token::{ask_for_tokens, token, token_for};
use crate::{ask, ask_as, header, json as body};

async fn connections(feed: &Feed, lines: &[&str]) -> Value {
    let answer = ask(feed, "GET", "/console/connections", lines).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(header(&answer, "cache-control"), Some("no-store"));
    body(&answer)
}

async fn status(feed: &Feed, lines: &[&str]) -> Value {
    let answer = ask(feed, "GET", "/console/status", lines).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(header(&answer, "cache-control"), Some("no-store"));
    assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
    body(&answer)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// A client of this user that subscribes to these channels.
async fn user(feed: &Feed, token: &str, channels: &[&str]) -> Client {
    let mut client = feed.connect().await;
    client.say(&json!({"type": "hello", "token": token})).await;
    client.hear_a("welcome").await;
    client.subscribe(channels).await;
    client
}

/// What is told of the users of connections, in order.
fn users(answer: &Value) -> Vec<Option<&str>> {
    let all = answer["connections"].as_array().expect("a list");
    all.iter().map(|one| one["user"].as_str()).collect()
}

/// A server that asks nobody for a token and that others can reach.
async fn public() -> Feed {
    Feed::start_configured(|config| config.network.public = true).await
}

#[tokio::test]
async fn on_this_machine_without_a_key_all_is_told() {
    let feed = Feed::start().await;
    let mut one = feed.connect().await;
    one.say(&json!({"type": "hello", "channels": ["tasks", "messages:*"]}))
        .await;
    let welcome = one.hear_a("welcome").await;
    let _two = feed.subscribe(&["tasks"]).await;
    let _idle = feed.connect().await;
    until("three connections", async || {
        connections(&feed, &[]).await["count"] == 3
    })
    .await;
    let answer = connections(&feed, &[]).await;
    assert_eq!(answer["total"], 3);
    assert_eq!(answer.get("why"), None, "{answer}");
    let all = answer["connections"].as_array().expect("a list");
    let first = all
        .iter()
        .find(|one| one["id"] == welcome["connectionId"])
        .expect("it is called as in its welcome");
    assert_eq!(first["transport"], "websocket");
    assert_eq!(first["preset"], "default");
    assert_eq!(first["channels"], json!(["messages:*", "tasks"]));
    assert_eq!(first["channelCount"], 2);
    assert_eq!(first["queuedBytes"], 0);
    assert_eq!(first["state"], "live");
    let since = first["since"].as_str().expect("a time");
    let since = humantime::parse_rfc3339(since).expect("a time");
    assert!(since.elapsed().expect("the past").as_secs() < 60);
    let idle = all.iter().filter(|one| one["state"] == "idle");
    assert_eq!(idle.count(), 1, "{answer}");
    assert!(!answer.to_string().contains("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn of_many_channels_some_are_told_and_the_number_of_all() {
    let feed = Feed::start().await;
    let names: Vec<_> = (0..20).map(|n| format!("room:{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let _client = feed.subscribe(&names).await;
    let answer = connections(&feed, &[]).await;
    let one = &answer["connections"][0];
    assert_eq!(one["channelCount"], 20);
    let told = one["channels"].as_array().expect("a list");
    assert!((1..20).contains(&told.len()), "{one}");
}

#[tokio::test]
async fn those_come_first_for_which_the_most_waits() {
    let feed = Feed::start_with(|options| options.outbox_bytes_max = 1024 * 1024).await;
    let _quick = feed.subscribe(&["quiet"]).await;
    let _slow = feed.subscribe(&["loud"]).await;
    let large = json!({ "text": "x".repeat(64 * 1024) });
    let rows: Vec<_> = (0..64)
        .map(|_| crate::support::feed::row("loud", &large))
        .collect();
    until("the slow one has something waiting", async || {
        feed.insert_rows(&rows).await;
        let answer = connections(&feed, &[]).await;
        let first = &answer["connections"][0];
        first["queuedBytes"].as_u64() > Some(0) && first["channels"] == json!(["loud"])
    })
    .await;
}

#[tokio::test]
async fn with_a_key_a_token_is_needed_and_shows_the_connections_of_its_user() {
    let feed = Feed::start_configured(ask_for_tokens).await;
    let (ann, bob) = (token_for("ann", &["tasks"]), token_for("bob", &["tasks"]));
    let nobody = token(json!({"channels": ["*"], "publish": ["*"]}));
    let mut clients = Vec::new();
    for token in [&ann, &ann, &bob, &nobody] {
        clients.push(user(&feed, token, &["tasks"]).await);
    }
    for path in ["/console/status", "/console/connections"] {
        for lines in [vec![], vec![bearer("nonsense")], vec![bearer("")]] {
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let refused = ask(&feed, "GET", path, &lines).await;
            assert_eq!(refused.status, 401, "{path} {lines:?}");
            assert_eq!(header(&refused, "cache-control"), Some("no-store"));
            let text = &refused.body;
            for secret in ["counters", "connections", "ann", "sqlite"] {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
    }
    let of_ann = connections(&feed, &[&bearer(&ann)]).await;
    assert_eq!(users(&of_ann), [Some("ann"), Some("ann")]);
    assert_eq!((&of_ann["count"], &of_ann["total"]), (&json!(2), &json!(4)));
    let of_bob = connections(&feed, &[&bearer(&bob)]).await;
    assert_eq!(users(&of_bob), [Some("bob")]);
    // A token of nobody is not one for all who are nobody.
    let of_nobody = connections(&feed, &[&bearer(&nobody)]).await;
    assert_eq!(users(&of_nobody), [] as [Option<&str>; 0]);
    let why = of_nobody["why"].as_str().expect("why");
    assert!(why.contains("sub"), "{why}");
}

#[tokio::test]
async fn without_a_key_others_are_told_counts_only_and_why() {
    let feed = public().await;
    let _client = feed.subscribe(&["secrets"]).await;
    until("it is counted", async || {
        connections(&feed, &[]).await["total"] == 1
    })
    .await;
    let answer = connections(&feed, &[]).await;
    assert_eq!(answer["connections"], json!([]));
    assert_eq!(answer.get("count"), None);
    assert!(!answer.to_string().contains("secrets"), "{answer}");
    let why = answer["why"].as_str().expect("why");
    assert!(why.contains("--jwt-secret-file"), "{why}");
    let status = status(&feed, &[]).await;
    assert_eq!(status.get("databaseUrl"), None, "{status}");
    assert_eq!(status["publish"], json!([]), "{status}");
}

#[tokio::test]
async fn a_page_that_is_let_in_by_a_star_is_not_of_this_machine() {
    let feed = Feed::start_configured(|config| {
        config.network.origins = vec!["*".parse().expect("an origin")];
    })
    .await;
    let _client = feed.subscribe(&["secrets"]).await;
    let answer = connections(&feed, &["Origin: https://evil.example"]).await;
    assert_eq!(answer["connections"], json!([]), "{answer}");
    let own = connections(&feed, &[&format!("Origin: http://{}", feed.address)]).await;
    assert_eq!(own["count"], 1, "{own}");
    let status = status(&feed, &["Origin: https://evil.example"]).await;
    assert_eq!(status.get("databaseUrl"), None, "{status}");
}

#[tokio::test]
async fn a_name_that_is_listed_reaches_the_server_and_is_not_of_this_machine() {
    // As a proxy of this machine does that serves others.
    let feed = Feed::start_configured(|config| {
        config.network.origins = vec!["https://app.example.com".parse().expect("an origin")];
    })
    .await;
    let _client = feed.subscribe(&["secrets"]).await;
    let answer = ask_as(&feed, "app.example.com", "GET", "/console/connections", &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(body(&answer)["connections"], json!([]), "{}", answer.body);
}

#[tokio::test]
async fn the_status_says_what_the_page_needs() {
    let feed = Feed::start().await;
    let _client = feed.subscribe(&["*"]).await;
    let before = status(&feed, &[]).await;
    assert_eq!(
        before["server"],
        concat!("rowcast/", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(before["asksForTokens"], false);
    assert_eq!(before["channels"], json!(["*"]));
    assert_eq!(before["publish"], json!(["*"]));
    assert_eq!(before["database"], "sqlite");
    assert_eq!(before["pollIntervalMs"], 50);
    let url = before["databaseUrl"].as_str().expect("a URL");
    assert!(url.starts_with("sqlite://"), "{url}");
    let insert = before["insert"].as_str().expect("a statement");
    feed.run(insert).await;
    until("the row that it says to insert is delivered", async || {
        status(&feed, &[]).await["counters"]["deliveries"] == 1
    })
    .await;
    let after = status(&feed, &[]).await;
    assert_eq!(after["counters"]["events"], 1);
    assert_eq!(after["lag"]["batches"], 1);
    let late = after["lag"]["totalMs"].as_f64().expect("a time");
    assert!((0.0..60_000.0).contains(&late), "{late}");
    let time = after["time"].as_str().expect("a time");
    assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
}

#[tokio::test]
async fn the_status_says_what_a_token_may() {
    let feed = Feed::start_configured(ask_for_tokens).await;
    let token = token(json!({"sub": "ann", "channels": ["tasks"], "publish": ["tasks"]}));
    let answer = status(&feed, &[&bearer(&token)]).await;
    assert_eq!(answer["asksForTokens"], true);
    assert_eq!(answer["user"], "ann");
    assert_eq!(
        answer["channels"],
        json!(["inbox:ann", "tasks", "user:ann"])
    );
    assert_eq!(answer["publish"], json!(["tasks"]));
    assert!(answer["expiresAt"].as_u64() > Some(crate::support::token::now()));
    assert_eq!(answer.get("databaseUrl"), None, "{answer}");
    let reader = status(&feed, &[&bearer(&token_for("bob", &["tasks"]))]).await;
    assert_eq!(reader["publish"], json!([]));
}

#[tokio::test]
async fn an_endpoint_whose_path_differs_does_not_take_its_place() {
    let spec = EndpointSpec {
        path: "/{room}/{id}".to_owned(),
        preset: "default".to_owned(),
        auth: None,
        channels: None,
        grant: Vec::new(),
        cookie: None,
    };
    let feed = Feed::start_configured(|config| {
        config.endpoints = Endpoints::new(&[spec], &config.presets, false).expect("in rule");
    })
    .await;
    status(&feed, &[]).await;
    let other = ask(&feed, "GET", "/rooms/7", &[]).await;
    assert_eq!(other.status, 426, "{}", other.body);
}

#[tokio::test]
async fn mistyped_parameters_are_refused() {
    let feed = Feed::start().await;
    for path in ["/console/status?verbose=1", "/console/connections?user=ann"] {
        let answer = ask(&feed, "GET", path, &[]).await;
        assert_eq!(answer.status, 400, "{path}");
    }
}

#[tokio::test]
async fn many_who_ask_at_once_are_all_answered() {
    let feed = Feed::start().await;
    let _client = feed.subscribe(&["tasks"]).await;
    let asking = (0..16).map(|_| connections(&feed, &[]));
    for answer in futures_util::future::join_all(asking).await {
        assert_eq!(answer["count"], 1);
    }
}
