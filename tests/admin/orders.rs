//! Orders reach every server of one database: this one at once, others within a poll interval.

use std::time::Duration;

use reqwest::StatusCode;
use rowcast::PollInterval;
use rowcast::auth::Identity;
use serde_json::json;

use crate::Running;
use crate::support::feed::Client;
use crate::support::{Database, until, within};

on_both! {
    a_revocation_reaches_every_server_and_outlives_them
    a_broadcast_reaches_the_clients_of_every_server_once
    what_cannot_be_read_is_retried_and_nobody_is_let_in_meanwhile
}

pub fn identity(user: &str, token: &str, issued_at: u64) -> Identity {
    let mut identity = Identity::anybody();
    identity.user = Some(user.into());
    identity.token_id = Some(token.into());
    identity.issued_at = Some(issued_at);
    identity
}

/// Issued long ago, and long after whatever happens here.
pub const EARLY: u64 = 1_000_000_000;
const LATE: u64 = 100_000_000_000;

async fn a_revocation_reaches_every_server_and_outlives_them(database: Database) {
    let here = Running::start(&database).await;
    let there = Running::start(&database).await;
    // Told here, it need not wait for a poll.
    let lazy = Running::start_with(&database, |config| {
        config.poll_interval = PollInterval {
            max: Duration::from_hours(1),
            min: Duration::from_millis(5),
        };
    })
    .await;
    assert!(!there.revocations.is_revoked(&identity("ann", "t1", EARLY)));
    for body in [r#"{"user": "ann"}"#, r#"{"jti": "t7", "for": "2h"}"#] {
        let answer = lazy.post("/api/v1/revoke", body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        assert!(answer.json()["command"].is_i64());
    }
    for server in [&lazy, &here, &there] {
        until("it to be told", async || {
            let revocations = &server.revocations;
            (revocations.is_revoked(&identity("ann", "t1", EARLY))
                && revocations.is_revoked(&identity("ben", "t7", LATE)))
            .then_some(())
        })
        .await;
        assert!(
            !server.revocations.is_revoked(&identity("ann", "t1", LATE)),
            "issued later"
        );
        assert!(
            !server.revocations.is_revoked(&identity("ben", "t1", EARLY)),
            "another"
        );
    }
    let later = Running::start(&database).await;
    assert!(
        later.revocations.is_revoked(&identity("ann", "t1", EARLY)),
        "from the start"
    );
    assert_eq!(later.count("rowcast_commands_total").await, 0);
    assert_eq!(there.count("rowcast_commands_total").await, 2);
}

async fn a_broadcast_reaches_the_clients_of_every_server_once(database: Database) {
    let here = Running::start(&database).await;
    let there = Running::start(&database).await;
    let mut clients = Vec::new();
    for server in [&here, &there] {
        let mut client = Client::connect(server.address).await;
        client.subscribe(&["tasks"]).await;
        clients.push(client);
    }
    for (body, status) in [
        (r#"{"message": {"type": "notice",  "text": "soon"}}"#, 202),
        (
            r#"{"channel": "plans", "message": {"type": "unheard"}}"#,
            202,
        ),
        (
            r#"{"channel": "tasks:7", "message": {"type": "heard"}}"#,
            202,
        ),
        (r#"{"user": "nobody"}"#, 400),
    ] {
        let answer = here.post("/api/v1/broadcast", body).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    }
    let disconnect = here
        .post("/api/v1/disconnect", r#"{"user": "nobody"}"#)
        .await;
    assert_eq!(disconnect.status, StatusCode::ACCEPTED);
    for client in &mut clients {
        let notice = within("the notice", client.hear_a("notice")).await;
        assert_eq!(notice, json!({"type": "notice", "text": "soon"}));
        let event = within("the event", client.hear_a("event")).await;
        assert_eq!(event["event"], json!({"type": "heard"}));
    }
    for server in [&here, &there] {
        until("all to be carried out", async || {
            (server.count("rowcast_commands_total").await == 4).then_some(())
        })
        .await;
    }
    // A server that is started later is not told what is past.
    let later = Running::start(&database).await;
    let mut late = Client::connect(later.address).await;
    late.subscribe(&["tasks"]).await;
    here.post("/api/v1/broadcast", r#"{"message": {"type": "last"}}"#)
        .await;
    clients.push(late);
    for client in &mut clients {
        let next = within("the last", client.hear()).await;
        assert_eq!(next, json!({"type": "last"}), "each was told once");
    }
}

async fn what_cannot_be_read_is_retried_and_nobody_is_let_in_meanwhile(database: Database) {
    let server = Running::start(&database).await;
    server.post("/api/v1/revoke", r#"{"user": "ann"}"#).await;
    let ann = identity("ann", "t1", EARLY);
    until("it to be told", async || {
        server.revocations.is_revoked(&ann).then_some(())
    })
    .await;
    let mut owner = database.connect().await;
    owner
        .run("ALTER TABLE rowcast_commands RENAME TO elsewhere")
        .await;
    until("the errors to be counted", async || {
        (server.metric("rowcast_command_errors_total").await >= 2.0).then_some(())
    })
    .await;
    let refused = server.post("/api/v1/revoke", r#"{"user": "ben"}"#).await;
    assert_eq!(
        refused.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{refused:?}"
    );
    assert!(refused.text.contains("`rowcast migrate`"), "{refused:?}");
    assert!(server.revocations.is_revoked(&ann), "she stays out");
    let mut config = rowcast::Config::new(database.config());
    config.listen.set_port(0);
    config.migrate = rowcast::Migrate::Off;
    let error = rowcast::Server::start(&config).await.err();
    let error = error.expect("it cannot tell whom to let in").to_string();
    assert!(error.contains("rowcast_commands"), "{error}");

    owner
        .run("ALTER TABLE elsewhere RENAME TO rowcast_commands")
        .await;
    // As another program may order it.
    owner
        .run(
            "INSERT INTO rowcast_commands (kind, subject, expires_at)
             VALUES ('revoke_user', 'ben', '2999-01-01T00:00:00Z')",
        )
        .await;
    until("the next to be told", async || {
        server
            .revocations
            .is_revoked(&identity("ben", "t2", EARLY))
            .then_some(())
    })
    .await;
    assert!(server.revocations.is_revoked(&ann));
}
