//! Servers that read the stream in Redis, with a table behind it and without: what clients get from them, what becomes of
//! them while Redis is away, and that a client may go from one to the other. All of it real.
#![cfg(all(feature = "postgres", feature = "sqlite", feature = "redis"))]

#[path = "../network/authority.rs"]
#[expect(dead_code, reason = "no client of this file speaks TLS itself")]
mod authority;
mod failover;
mod handover;
mod security;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use support::feed::{Answer, Client, http, ids};
use support::process::Process;
use support::redis::Redis;
use support::relay::Relay;
use support::{Connection, Database, until, within};

/// A server that reads the stream.
fn edge(redis: &Redis, database: Option<&Database>, flags: &[&str]) -> Process {
    edge_of(&redis.url(), database, flags)
}

fn edge_of(url: &str, database: Option<&Database>, flags: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--source", url]);
    command.env_remove("DATABASE_URL");
    if let Some(database) = database {
        command.args(["--database-url", &database.url]);
    }
    command.args(flags);
    Process::spawn(command).expect("it says where it listens")
}

fn address(server: &Process) -> SocketAddr {
    let url: url::Url = server.url.parse().expect("a URL");
    let port = url.port().expect("it has one");
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn client(server: &Process, since: Option<&str>) -> Client {
    let mut client = Client::connect(address(server)).await;
    client
        .say(&json!({"type": "subscribe", "channels": ["tasks"], "since": since}))
        .await;
    client
}

/// A client of each, which is told of what comes from now on.
async fn listeners<'a>(servers: impl IntoIterator<Item = &'a Process>) -> Vec<Client> {
    let mut listeners = Vec::new();
    for server in servers {
        let mut listener = client(server, None).await;
        listener.hear_a("subscribed").await;
        listeners.push(listener);
    }
    listeners
}

async fn insert(backend: &mut Connection, numbers: std::ops::RangeInclusive<i64>) {
    for number in numbers {
        backend.insert(number).await;
    }
}

/// The next events, from memory, the table, or live.
async fn hear_events(client: &mut Client, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    while events.len() < count {
        let frame = client.hear().await;
        match frame["type"].as_str() {
            Some("event") => events.push(frame),
            Some("cursor" | "caught_up") => {}
            _ => panic!("instead of an event: {frame}"),
        }
    }
    events
}

fn numbers(events: &[Value]) -> Vec<i64> {
    let number = |frame: &Value| frame["event"]["payload"].as_i64().expect("a number");
    events.iter().map(number).collect()
}

fn last_cursor(events: &[Value]) -> String {
    let last = events.last().expect("there are some");
    last["cursor"]
        .as_str()
        .expect("the last of a batch names a position")
        .to_owned()
}

async fn post(url: &str, path: &str, body: &Value) -> Answer {
    let url: url::Url = url.parse().expect("a URL");
    let address = SocketAddr::from(([127, 0, 0, 1], url.port().expect("it has one")));
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close",
        body.len()
    );
    http(address, &format!("{head}\r\n\r\n{body}")).await
}

async fn status(url: &str, path: &str) -> u16 {
    let url: url::Url = url.parse().expect("a URL");
    let address = SocketAddr::from(([127, 0, 0, 1], url.port().expect("it has one")));
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    http(address, &request).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_go_to_any_server_with_what_it_was_told_by_another() {
    let database = Database::postgres().await;
    let redis = Redis::forgetful();
    let direct = Process::start(&database.url, &[]);
    let mut backend = database.connect().await;
    let mut first = client(&direct, None).await;
    first.hear_a("subscribed").await;
    insert(&mut backend, 1..=3).await;
    let before = last_cursor(&hear_events(&mut first, 3).await);
    insert(&mut backend, 4..=6).await;
    hear_events(&mut first, 3).await;

    // The stream begins here: what came more than a minute before is not in it.
    backend
        .run("UPDATE events SET created_at = created_at - interval '2 minutes'")
        .await;
    let _relay = Relay::start(&database.url, &redis.url(), &[]);
    let lone = edge(&redis, None, &[]);
    let backed = edge(&redis, Some(&database), &[]);
    let mut listeners = listeners([&lone, &backed]).await;
    insert(&mut backend, 7..=9).await;
    let mut cursors = vec![last_cursor(&hear_events(&mut first, 3).await)];
    for listener in &mut listeners {
        let events = hear_events(listener, 3).await;
        assert_eq!(numbers(&events), [7, 8, 9]);
        cursors.push(last_cursor(&events));
    }
    insert(&mut backend, 10..=12).await;
    for cursor in &cursors {
        for server in [&direct, &lone, &backed] {
            let mut resumed = client(server, Some(cursor)).await;
            let subscribed = resumed.hear_a("subscribed").await;
            assert_eq!(subscribed["recovered"], true, "{subscribed}");
            assert_eq!(numbers(&hear_events(&mut resumed, 3).await), [10, 11, 12]);
        }
    }
    // Older than the stream: read in the table, where there is one.
    let mut resumed = client(&backed, Some(&before)).await;
    assert_eq!(resumed.hear_a("subscribed").await["recovered"], true);
    assert_eq!(
        numbers(&hear_events(&mut resumed, 9).await),
        [4, 5, 6, 7, 8, 9, 10, 11, 12]
    );
    let mut reset = client(&lone, Some(&before)).await;
    let frames = [reset.hear().await, reset.hear().await];
    assert!(
        frames.iter().any(|frame| frame["type"] == "reset"),
        "{frames:?}"
    );
    insert(&mut backend, 13..=13).await;
    assert_eq!(numbers(&hear_events(&mut reset, 1).await), [13]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_the_table_is_read_or_clients_wait() {
    let database = Database::postgres().await;
    let redis = Redis::forgetful();
    let _relay = Relay::start(&database.url, &redis.url(), &[]);
    let lone = edge(&redis, None, &[]);
    let backed = edge(&redis, Some(&database), &[]);
    let mut backend = database.connect().await;
    let (mut waits, mut goes_on) = (client(&lone, None).await, client(&backed, None).await);
    for listener in [&mut waits, &mut goes_on] {
        listener.hear_a("subscribed").await;
    }
    insert(&mut backend, 1..=2).await;
    for listener in [&mut waits, &mut goes_on] {
        assert_eq!(numbers(&hear_events(listener, 2).await), [1, 2]);
    }

    redis.kill_9();
    insert(&mut backend, 3..=5).await;
    assert_eq!(numbers(&hear_events(&mut goes_on, 3).await), [3, 4, 5]);
    backed
        .wait_logged("the feed comes from the table meanwhile", 1)
        .await;
    until("the other one not to be ready", async || {
        (status(&lone.admin, "/readyz").await == 503).then_some(())
    })
    .await;
    assert_eq!(status(&backed.admin, "/readyz").await, 200);
    assert_eq!(
        waits.hear_all().await,
        Vec::<Value>::new(),
        "it is answered, and told nothing"
    );

    // Empty, as it keeps nothing. Nobody is told anything twice, or misses anything.
    redis.restart();
    backed
        .wait_logged("the feed comes from Redis again", 1)
        .await;
    insert(&mut backend, 6..=8).await;
    assert_eq!(
        numbers(&hear_events(&mut waits, 6).await),
        [3, 4, 5, 6, 7, 8]
    );
    assert_eq!(numbers(&hear_events(&mut goes_on, 3).await), [6, 7, 8]);
    until("it to be ready again", async || {
        (status(&lone.admin, "/readyz").await == 200).then_some(())
    })
    .await;
    for listener in [&mut waits, &mut goes_on] {
        let rest = listener.hear_all().await;
        assert!(
            rest.iter().all(|frame| frame["type"] == "cursor"),
            "{rest:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_and_what_is_told_reach_all_servers() {
    let database = Database::postgres().await;
    let redis = Redis::forgetful();
    let _relay = Relay::start(&database.url, &redis.url(), &[]);
    let direct = Process::start(&database.url, &[]);
    let lone = edge(&redis, None, &[]);
    let backed = edge(&redis, Some(&database), &[]);
    let servers = [&direct, &lone, &backed];
    let mut listeners = Vec::new();
    for server in servers {
        let mut listener = client(server, None).await;
        listener.hear_a("subscribed").await;
        listeners.push(listener);
    }
    for (n, server) in servers.iter().enumerate() {
        let told = json!({"channel": "tasks", "event": {"type": "typing", "payload": n}});
        let answer = post(&server.url, "/broadcast", &told).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        for listener in &mut listeners {
            let heard = within("what was told", listener.hear_a("event")).await;
            assert_eq!(heard["event"]["payload"], n, "{heard}");
        }
    }
    // Each was told once.
    for listener in &mut listeners {
        let rest = listener.hear_all().await;
        assert!(
            rest.iter().all(|frame| frame["type"] == "cursor"),
            "{rest:?}"
        );
    }
    for (server, user) in servers.iter().zip(["ann", "ben", "cyd"]) {
        let answer = post(&server.admin, "/api/v1/revoke", &json!({"user": user})).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    // They are in the table, from where those that start later have them.
    let mut owner = database.connect().await;
    until("all of them to be in the table", async || {
        let revoked = "SELECT subject FROM rowcast_commands WHERE kind = 'revoke_user' ORDER BY 1";
        (owner.texts(revoked).await == ["ann", "ben", "cyd"]).then_some(())
    })
    .await;
    for server in servers {
        server
            .wait_logged("a revocation counts from now on", 3)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_table_publishes_and_one_without_says_that_it_cannot() {
    let database = Database::postgres().await;
    let redis = Redis::forgetful();
    let _relay = Relay::start(&database.url, &redis.url(), &[]);
    let lone = edge(&redis, None, &[]);
    let backed = edge(&redis, Some(&database), &[]);
    let event = json!({"channel": "tasks", "type": "task.created", "payload": 1});
    let refused = post(&lone.url, "/events", &event).await;
    assert_eq!(refused.status, 501, "{}", refused.body);
    assert!(refused.body.contains("has no database"), "{}", refused.body);

    let published = post(&backed.url, "/events", &event).await;
    assert_eq!(published.status, 201, "{}", published.body);
    let body: Value = serde_json::from_str(&published.body).expect("JSON");
    // The position is behind the event, wherever the server's own feed is.
    let after = body["cursor"].as_str().expect("it names a position");
    let next = json!({"channel": "tasks", "type": "task.created", "payload": 2});
    for server in [&backed, &lone] {
        let mut resumed = client(server, Some(after)).await;
        assert_eq!(resumed.hear_a("subscribed").await["recovered"], true);
        assert_eq!(post(&backed.url, "/events", &next).await.status, 201);
        let events = hear_events(&mut resumed, 1).await;
        assert_eq!(
            numbers(&events),
            [2],
            "and not the one before: {:?}",
            ids(&events)
        );
        resumed.close().await;
    }
}

#[test]
fn what_cannot_be_read_is_said_at_start() {
    let serve = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(flags);
        command.env_remove("DATABASE_URL");
        let output = command.output().expect("rowcast runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    for (flags, says) in [
        (&["--source", "http://a-secret@host"][..], "rediss://"),
        (&["--source", "redis://host", "--stream", "a b"], "--stream"),
        (
            &["--source", "redis://host", "--retain", "7d"],
            "--database-url",
        ),
        (
            &[
                "--source",
                "redis://:a-secret@127.0.0.1:1",
                "--database-url",
                "nonsense",
            ],
            "scheme",
        ),
    ] {
        let (code, text) = serve(flags);
        assert_eq!(code, Some(64), "{flags:?}: {text}");
        assert!(
            text.contains(says) && !text.contains("a-secret"),
            "{flags:?}: {text}"
        );
    }
}
