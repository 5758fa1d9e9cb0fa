//! Orders reach other servers on Postgres at once: they are told that there is one, and need not look.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;
use rowcast::{Config, PollInterval};
use serde_json::{Value, json};

use super::orders::{EARLY, identity};
use crate::Running;
use crate::support::feed::Client;
use crate::support::{Database, until, within};

/// By itself it looks at nothing while a test runs.
fn lazy(config: &mut Config) {
    config.poll_interval = PollInterval {
        max: Duration::from_hours(1),
        min: Duration::from_millis(5),
    };
}

async fn client(server: &Running) -> Client {
    let mut client = Client::connect(server.address).await;
    client.subscribe(&["tasks"]).await;
    client
}

async fn broadcast(server: &Running, message: &Value) {
    let body = json!({ "message": message }).to_string();
    let answer = server.post("/api/v1/broadcast", &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_wakes_servers_that_do_not_look() {
    let database = Database::postgres().await;
    let here = Running::start_with(&database, lazy).await;
    let there = Running::start_with(&database, lazy).await;
    let mut listener = client(&there).await;
    for n in 0..3 {
        broadcast(&here, &json!({"type": "notice", "n": n})).await;
        let notice = within("the notice", listener.hear_a("notice")).await;
        assert_eq!(notice["n"], n);
    }
    here.post("/api/v1/revoke", r#"{"user": "ann"}"#).await;
    until("it to be told", async || {
        let ann = identity("ann", "t1", EARLY);
        there.revocations.is_revoked(&ann).then_some(())
    })
    .await;
    // As another program may order it, which may do nothing else; one statement, several rows.
    let mut owner = database.connect().await;
    owner
        .run(
            "CREATE ROLE only_orders; GRANT INSERT ON rowcast_commands TO only_orders; SET ROLE only_orders;
             INSERT INTO rowcast_commands (kind, subject, expires_at)
             SELECT 'revoke_user', name, '2999-01-01T00:00:00Z' FROM unnest(ARRAY['ben', 'cyd']) AS name",
        )
        .await;
    until("both to be told", async || {
        let is_revoked = |user| there.revocations.is_revoked(&identity(user, "t1", EARLY));
        (is_revoked("ben") && is_revoked("cyd") && is_revoked("ann")).then_some(())
    })
    .await;
}

/// The connection that listens is cut. What is ordered meanwhile is heard of when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_listens_again_has_missed_nothing() {
    let database = Database::postgres().await;
    let here = Running::start(&database).await;
    let there = Running::start_with(&database, lazy).await;
    let mut listener = client(&there).await;
    let mut owner = database.connect().await;
    // Waking is held up, so that nobody is told but by coming back.
    owner
        .run("ALTER TABLE rowcast_commands DISABLE TRIGGER rowcast_wake_commands")
        .await;
    broadcast(&here, &json!({"type": "notice", "n": 1})).await;
    let ended = owner
        .numbers(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
              WHERE datname = current_database() AND query LIKE 'LISTEN %'",
        )
        .await;
    assert_eq!(ended, [2], "each server has one connection that listens");
    let notice = within("the notice", listener.hear_a("notice")).await;
    assert_eq!(notice["n"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_waking_orders_are_found_by_looking() {
    let database = Database::postgres().await;
    let here = Running::start(&database).await;
    let there = Running::start_with(&database, |config| {
        config.database.as_mut().expect("it has a table").wake = false;
    })
    .await;
    let mut listener = client(&there).await;
    let listening = "SELECT count(*) FROM pg_stat_activity
                      WHERE datname = current_database() AND query LIKE 'LISTEN %'";
    assert_eq!(database.connect().await.numbers(listening).await, [1]);
    broadcast(&here, &json!({"type": "notice", "n": 1})).await;
    within("the notice", listener.hear_a("notice")).await;
}

/// Wake-ups run into each other, and into looks of the servers' own; ids commit in any order.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_ordered_in_bursts_is_told_once() {
    const EACH: usize = 100;
    let database = Database::postgres().await;
    let servers = [
        Running::start(&database).await,
        Running::start(&database).await,
        Running::start_with(&database, lazy).await,
    ];
    let mut clients = Vec::new();
    for server in &servers {
        clients.push(client(server).await);
    }
    join_all(servers.iter().enumerate().map(async |(number, server)| {
        for n in 0..EACH {
            broadcast(server, &json!({"type": "n", "n": number * EACH + n})).await;
        }
    }))
    .await;
    for client in &mut clients {
        let mut told = BTreeSet::new();
        for _ in 0..servers.len() * EACH {
            let frame = within("what was ordered", client.hear_a("n")).await;
            let is_new = told.insert(frame["n"].as_u64().expect("a number"));
            assert!(is_new, "twice: {frame}");
        }
    }
    broadcast(&servers[0], &json!({"type": "last"})).await;
    for client in &mut clients {
        let next = within("the last", client.hear()).await;
        assert_eq!(next, json!({"type": "last"}), "each was told once");
    }
}

/// Its id was given out long before others', and it is seen last.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_commits_late_is_told_all_the_same() {
    let database = Database::postgres().await;
    let server = Running::start(&database).await;
    let mut listener = client(&server).await;
    let mut slow = database.connect().await;
    slow.run("BEGIN").await;
    slow.run(
        "INSERT INTO rowcast_commands (kind, payload, expires_at)
         VALUES ('broadcast', '{\"type\": \"late\"}', now() + interval '1 hour')",
    )
    .await;
    for n in 0..50 {
        broadcast(&server, &json!({"type": "notice", "n": n})).await;
        within("a notice", listener.hear_a("notice")).await;
    }
    slow.run("COMMIT").await;
    within("the late one", listener.hear_a("late")).await;
    broadcast(&server, &json!({"type": "last"})).await;
    within("the last", listener.hear_a("last")).await;
}
