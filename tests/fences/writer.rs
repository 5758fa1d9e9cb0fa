//! A backend that writes to Postgres, and asks it things.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::support::until;

/// A backend's connection, as soon as there is a server that gives one.
pub async fn connect(url: &str) -> PgConnection {
    until("a connection", async || {
        PgConnection::connect(url).await.ok()
    })
    .await
}

/// Inserts an event for each key, each in a transaction of its own.
pub async fn insert(connection: &mut PgConnection, keys: impl AsRef<[String]>) {
    for key in keys.as_ref() {
        sqlx::query(
            "INSERT INTO events (channel, type, payload) VALUES ('fences', 't', jsonb_build_object('key', $1))",
        )
        .bind(key)
        .execute(&mut *connection)
        .await
        .unwrap_or_else(|error| panic!("{key}: {error}"));
    }
}

pub async fn run(connection: &mut PgConnection, sql: &str) {
    connection
        .execute(AssertSqlSafe(sql))
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The first column, of type text, of all rows.
pub async fn texts(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

pub async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The present transaction id: the next one is at least that.
pub async fn next_xid(connection: &mut PgConnection) -> i64 {
    let sql = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    number(connection, sql).await
}

/// Uses up transaction ids without a row.
pub async fn use_up(connection: &mut PgConnection, count: usize) {
    for _ in 0..count {
        run(connection, "SELECT pg_current_xact_id()").await;
    }
}
