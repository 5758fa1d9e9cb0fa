//! A database that does not take what is published: the client is told so, and nothing is half done.

use rowcast::Migrate;
use serde_json::json;

use crate::support::Database;
#[cfg(feature = "postgres")]
use crate::support::until;
use crate::{Answer, Running, event, rows};

on_both! {
    a_table_that_takes_nothing_is_said_to
    a_refusal_of_the_database_leaves_nothing
}

async fn a_table_that_takes_nothing_is_said_to(database: Database) {
    drop(database.open().await);
    let server = Running::start_with(&database, |config| config.migrate = Migrate::Off).await;
    assert_eq!(server.publish(&event("tasks", 1)).await.status, 201);
    let mut owner = database.connect().await;
    owner.run("ALTER TABLE events RENAME TO elsewhere").await;
    let answer = server.publish(&event("tasks", 2)).await;
    assert_eq!(
        (answer.status, &*answer.error()),
        (503, "database_unusable")
    );
    assert!(!answer.header("retry-after").is_empty());
    assert!(!answer.json.to_string().contains("events.db"), "{answer:?}");
    owner.run("ALTER TABLE elsewhere RENAME TO events").await;
    assert_eq!(server.publish(&event("tasks", 3)).await.status, 201);
    assert_eq!(rows(&database).await, 2);
}

async fn a_refusal_of_the_database_leaves_nothing(database: Database) {
    let server = Running::start(&database).await;
    let mut owner = database.connect().await;
    // A rule of the owner's own.
    owner
        .run("CREATE UNIQUE INDEX own_rule ON events (entity_id)")
        .await;
    let of = |entity: &str| json!({"channel": "a", "type": "t", "entityId": entity});
    for bodies in [
        json!([of("a"), of("b"), of("a")]),
        json!([event("x", 1), of("z"), of("z")]),
    ] {
        let answer = server.publish(&bodies).await;
        assert_eq!(
            (answer.status, &*answer.error()),
            (422, "event_refused"),
            "{answer:?}"
        );
        let keyed = server
            .post("/events", &bodies)
            .header("Idempotency-Key", "k");
        assert_eq!(Answer::to(keyed).await.status, 422);
    }
    assert_eq!(rows(&database).await, 0);
    assert_eq!(server.publish(&of("a")).await.status, 201);
}

/// A role that may read, and write what the feed itself writes.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_only_read_serves_a_feed() {
    let database = Database::postgres().await;
    drop(database.open().await);
    let mut owner = database.connect().await;
    let role = format!("reader_{}", fastrand::u64(..));
    owner
        .run(&format!(
            "CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
             GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}; REVOKE INSERT ON events FROM {role}"
        ))
        .await;
    let mut url = url::Url::parse(&database.url).expect("a URL");
    url.set_username(&role).expect("a name");
    let _ = url.set_password(None);
    let mut database = database;
    database.url = url.into();
    let server = Running::start_with(&database, |config| config.migrate = Migrate::Off).await;
    let answer = server.publish(&event("tasks", 1)).await;
    assert_eq!(
        (answer.status, &*answer.error()),
        (503, "database_unusable"),
        "{answer:?}"
    );
    owner
        .run(&format!("GRANT INSERT ON events TO {role}"))
        .await;
    assert_eq!(server.publish(&event("tasks", 1)).await.status, 201);
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_answered_and_passes() {
    use crate::support::Postgres;
    use std::sync::Arc;

    let postgres = Arc::new(Postgres::start());
    let database = Database::on(&postgres).await;
    let server = Running::start(&database).await;
    let first = server.publish(&event("tasks", 1)).await.ids();
    // A connection that was cut while nobody used it.
    postgres.terminate_all().await;
    let send = async |n: i64| {
        let request = server.post("/events", &event("tasks", n));
        Answer::to(request.header("Idempotency-Key", format!("key {n}"))).await
    };
    until("the next event to be taken", async || {
        let answer = send(2).await;
        assert!(matches!(answer.status, 200 | 201 | 503), "{answer:?}");
        (answer.status < 300).then_some(())
    })
    .await;
    let stopping = Arc::clone(&postgres);
    let stopped = tokio::task::spawn_blocking(move || stopping.stop());
    stopped.await.expect("it stops");
    let down = send(3).await;
    assert_eq!(down.status, 503, "{down:?}");
    assert!(!down.header("retry-after").is_empty());
    let notice = json!({"channel": "tasks", "event": {"type": "t"}});
    assert_eq!(
        Answer::to(server.post("/broadcast", &notice)).await.status,
        503
    );
    let starting = Arc::clone(&postgres);
    let started = tokio::task::spawn_blocking(move || starting.restart());
    started.await.expect("it starts");
    let ids = until("the next event to be taken", async || {
        let answer = send(3).await;
        (answer.status < 300).then(|| answer.ids())
    })
    .await;
    assert!(ids > first);
    assert_eq!(rows(&database).await, 3, "each once");
}

/// What waits for a lock may still be committed, after nobody waits for it any more.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_is_said_to_be_unknown() {
    let database = Database::postgres().await;
    let server = Running::start(&database).await;
    let mut owner = database.connect().await;
    owner.run("BEGIN; LOCK TABLE events IN SHARE MODE").await;
    let send = || {
        let request = server.post("/events", &event("tasks", 1));
        Answer::to(request.header("Idempotency-Key", "k"))
    };
    let answer = send().await;
    assert_eq!((answer.status, &*answer.error()), (503, "outcome_unknown"));
    assert!(answer.json.to_string().contains("Idempotency-Key"));
    owner.run("COMMIT").await;
    let again = send().await;
    assert!(matches!(again.status, 200 | 201), "{again:?}");
    assert_eq!(rows(&database).await, 1);
}
