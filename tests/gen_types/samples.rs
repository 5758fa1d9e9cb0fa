//! From the events in a table.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use super::support::Database;
use super::{generated, golden};

/// What a small team's backend has inserted.
pub fn rows() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        (
            "tasks",
            "task.created",
            json!({"id": "t1", "title": "a", "labels": [], "due": null}),
        ),
        (
            "tasks project:7",
            "task.created",
            json!({"id": "t2", "title": "b", "labels": ["x"], "due": "2026-01-01", "by": {"name": "ann", "age": 7}}),
        ),
        (
            "tasks",
            "task.created",
            json!({"id": 3, "title": "c", "labels": ["y"], "due": null, "by": {"name": "bob"}}),
        ),
        ("tasks", "task.done", json!(true)),
        (
            "messages:42",
            "message.created",
            json!({"text": "hi", "reactions": {"8d0f6f0e-3c1a-4c58-9c0a-1b2c3d4e5f60": 1, "9d0f6f0e-3c1a-4c58-9c0a-1b2c3d4e5f61": 2}}),
        ),
        (
            "messages:general",
            "message.created",
            json!({"text": "ho", "reactions": {}}),
        ),
        (
            "inbox:ann@example.org",
            "inbox.added",
            json!([{"from": "bob"}, {"from": null, "unread": 2}]),
        ),
        (
            "project:7:tasks",
            "task.moved",
            json!({"to": [1, "two", null, {"x": 1}]}),
        ),
        ("project:8:tasks", "task.moved", json!({"to": []})),
        ("board:1", "card.moved", json!({})),
    ]
}

pub async fn insert(database: &Database, rows: &[(&str, &str, Value)]) {
    drop(database.open().await);
    let mut connection = database.connect().await;
    let mut sql = String::new();
    for (channel, kind, payload) in rows {
        let quote = |text: &str| text.replace('\'', "''");
        let _ = writeln!(
            sql,
            "INSERT INTO events (channel, type, payload) VALUES ('{}', '{}', '{}');",
            quote(channel),
            quote(kind),
            quote(&payload.to_string()),
        );
    }
    connection.run(&sql).await;
}

async fn rows_become_types(database: Database) {
    insert(&database, &rows()).await;
    let text = generated(golden(), &["--database-url", &database.url]);
    let path = golden().join("samples.ts");
    let wanted = fs::read_to_string(&path).expect("it is here");
    assert_eq!(text, wanted, "{}", path.display());

    // Two of the newest rows only.
    let text = generated(
        golden(),
        &["--database-url", &database.url, "--samples", "2"],
    );
    assert!(text.contains("from the newest 2 rows"), "{text}");
    assert!(
        text.contains("\"card.moved\"") && !text.contains("\"task.created\""),
        "{text}"
    );
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn rows_of_sqlite_become_types() {
    rows_become_types(Database::sqlite().await).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn rows_of_postgres_become_types() {
    rows_become_types(Database::postgres().await).await;
}
