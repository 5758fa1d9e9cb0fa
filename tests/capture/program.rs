//! Runs `rowcast attach` and its like, and reads what is in `events`.

use std::process::Command;

use serde_json::Value;

use super::support::{Connection, Database};

/// What the program said.
pub struct Said {
    pub out: String,
    pub err: String,
}

/// Runs it, and expects this exit code.
pub fn rowcast(database: &Database, arguments: &[&str], code: i32) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_rowcast"))
        .args(arguments)
        .args(["--database-url", &database.url])
        .output()
        .expect("rowcast runs");
    let said = Said {
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    };
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}\n{}\n{}",
        said.out,
        said.err
    );
    said
}

/// A database with rowcast's tables and one of the user's, and a connection of his.
pub async fn with_table(database: &Database, table: &str) -> Connection {
    rowcast(database, &["migrate"], 0);
    let mut writer = database.connect().await;
    writer.run(table).await;
    writer
}

/// An event as it is in the table.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "postgres"),
    expect(
        dead_code,
        reason = "what is looked at of Postgres only, or of both databases"
    )
)]
pub struct Row {
    pub channel: String,
    pub kind: String,
    pub id: Option<String>,
    pub actor: Option<String>,
    pub origin: Option<String>,
    pub payload: Value,
    pub previous: Option<Value>,
}

/// The events that came since this was last asked: they are deleted.
pub async fn take(writer: &mut Connection) -> Vec<Row> {
    let object = match writer {
        #[cfg(feature = "postgres")]
        Connection::Postgres(_) => {
            "SELECT jsonb_build_array(channel, type, entity_id, actor, origin, payload, previous)::text FROM events ORDER BY id"
        }
        #[cfg(feature = "sqlite")]
        Connection::Sqlite(_) => {
            "SELECT json_array(channel, type, entity_id, actor, origin, json(payload), json(previous)) FROM events ORDER BY id"
        }
    };
    let rows = writer.texts(object).await;
    writer.run("DELETE FROM events").await;
    rows.iter()
        .map(|row| {
            let values: Vec<Value> = serde_json::from_str(row).expect("JSON");
            let text = |n: usize| values[n].as_str().map(str::to_owned);
            Row {
                channel: text(0).expect("not null"),
                kind: text(1).expect("not null"),
                id: text(2),
                actor: text(3),
                origin: text(4),
                payload: values[5].clone(),
                previous: Some(values[6].clone()).filter(|value| !value.is_null()),
            }
        })
        .collect()
}

/// Their types, ids and channels, for a glance.
pub fn told(rows: &[Row]) -> Vec<String> {
    rows.iter()
        .map(|row| {
            format!(
                "{} {} on {}",
                row.kind,
                row.id.as_deref().unwrap_or("-"),
                row.channel
            )
        })
        .collect()
}
