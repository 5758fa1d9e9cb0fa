//! What only SQLite has: values of any type in any column, tables without row numbers, REPLACE.

use serde_json::json;

use super::program::{rowcast, take, told, with_table};
use super::support::Database;

#[tokio::test(flavor = "multi_thread")]
async fn no_value_makes_a_statement_fail() {
    let database = Database::sqlite().await;
    let mut writer = with_table(
        &database,
        "CREATE TABLE things (name TEXT PRIMARY KEY COLLATE NOCASE, a, j JSON, r REAL, on_sale BOOLEAN,
                              twice GENERATED ALWAYS AS (name || name)) WITHOUT ROWID",
    )
    .await;
    rowcast(
        &database,
        &[
            "attach",
            "things",
            "--channel",
            "x:{a}",
            "--channel",
            "things",
            "--apply",
        ],
        0,
    );
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    for (a, j) in [
        ("x'00ff'", "'{\"k\": [1, \"\\u0000\"]}'"),
        ("CAST(x'ff41' AS TEXT)", "'{broken'"),
        ("'nul' || char(0) || 'behind'", "x'00'"),
        ("9e999", "NULL"),
        ("-9e999", "'1,2'"),
        ("1.5", &format!("'{deep}'")),
        ("9223372036854775807", "5"),
    ] {
        writer
            .run(&format!(
                "INSERT INTO things (name, a, j, r, on_sale) VALUES ('n', {a}, {j}, 9e999, true)"
            ))
            .await;
        writer.run("UPDATE things SET name = 'N'").await;
        writer.run("DELETE FROM things").await;
    }
    let text =
        "SELECT payload FROM events WHERE type = 'thing.created' AND entity_id = 'n' ORDER BY id";
    let sent: Vec<serde_json::Value> = {
        // One has a text that is not UTF-8.
        let all = writer
            .texts(&text.replace(
                "payload",
                "CASE WHEN instr(CAST(payload AS BLOB), x'ff') THEN '0' ELSE payload END",
            ))
            .await;
        all.iter()
            .map(|row| serde_json::from_str(row).expect("JSON"))
            .collect()
    };
    assert_eq!(sent.len(), 7);
    assert_eq!(
        sent[0],
        json!({"name": "n", "a": "00ff", "j": {"k": [1, "\0"]}, "r": "Infinity", "on_sale": 1, "twice": "nn"})
    );
    assert_eq!(
        (&sent[3]["a"], &sent[4]["a"]),
        (&json!("Infinity"), &json!("-Infinity"))
    );
    assert_eq!(
        (&sent[4]["j"], &sent[5]["j"]),
        (&json!("1,2"), &json!(deep))
    );
    assert_eq!(
        (&sent[6]["a"], &sent[6]["j"]),
        (&json!(i64::MAX), &json!(5))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_row_is_told_of_where_sqlite_tells() {
    let database = Database::sqlite().await;
    let mut writer = with_table(
        &database,
        "CREATE TABLE tasks (id INTEGER PRIMARY KEY, title TEXT)",
    )
    .await;
    let said = rowcast(
        &database,
        &["attach", "tasks", "--channel", "tasks", "--apply"],
        0,
    );
    assert!(said.err.contains("recursive_triggers"), "{}", said.err);
    writer.run("INSERT INTO tasks VALUES (1, 'a')").await;
    writer
        .run("INSERT OR REPLACE INTO tasks VALUES (1, 'b')")
        .await;
    writer.run("PRAGMA recursive_triggers = ON").await;
    writer
        .run("INSERT OR REPLACE INTO tasks VALUES (1, 'c')")
        .await;
    writer.run("DELETE FROM tasks").await;
    let rows = take(&mut writer).await;
    let kinds: Vec<_> = told(&rows);
    assert_eq!(
        kinds,
        [
            "task.created 1 on tasks",
            "task.created 1 on tasks",
            "task.deleted 1 on tasks",
            "task.created 1 on tasks",
            "task.deleted 1 on tasks"
        ]
    );
}

/// The trigger for changed ids is only there for statements that name the id, by whatever name.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_id_is_told_of_however_it_is_named() {
    let database = Database::sqlite().await;
    let mut writer = with_table(
        &database,
        "CREATE TABLE tasks (id INTEGER PRIMARY KEY, title TEXT);
         CREATE TABLE parts (a TEXT, b TEXT, name TEXT GENERATED ALWAYS AS (a || '-' || b), task INTEGER);
         CREATE TABLE notes (task INTEGER UNIQUE REFERENCES tasks (id) ON UPDATE CASCADE, body TEXT)",
    )
    .await;
    for (table, id) in [("tasks", "id"), ("parts", "name"), ("notes", "task")] {
        let attach = ["attach", table, "--channel", "all", "--id", id, "--apply"];
        rowcast(&database, &attach, 0);
    }
    writer
        .run("PRAGMA foreign_keys = ON; INSERT INTO tasks VALUES (1, 'a'); INSERT INTO parts (a, b) VALUES ('x', 'y')")
        .await;
    take(&mut writer).await;
    let statements = [
        "UPDATE tasks SET id = 2",
        "UPDATE tasks SET rowid = 3, title = 'b'",
        "UPDATE tasks SET OID = 4",
        "UPDATE tasks SET _rowid_ = 5",
        r#"UPDATE tasks SET "Id" = 6"#,
        "INSERT INTO tasks VALUES (6, 'c') ON CONFLICT (id) DO UPDATE SET id = 7",
    ];
    for (statement, new) in statements.into_iter().zip(2..) {
        writer.run(statement).await;
        assert_eq!(
            told(&take(&mut writer).await),
            [
                format!("task.deleted {} on all", new - 1),
                format!("task.created {new} on all")
            ],
            "{statement}"
        );
    }
    writer.run("UPDATE tasks SET id = id").await;
    writer.run("UPDATE tasks SET id = id, title = 'd'").await;
    writer.run("UPDATE parts SET b = 'z'").await;
    writer.run("UPDATE parts SET task = 1").await;
    assert_eq!(
        told(&take(&mut writer).await),
        [
            "task.updated 7 on all",
            "part.deleted x-y on all",
            "part.created x-z on all",
            "part.updated x-z on all"
        ]
    );
    writer.run("INSERT INTO notes VALUES (7, 'n')").await;
    writer.run("UPDATE tasks SET id = 8").await;
    let rows = told(&take(&mut writer).await);
    for row in ["note.deleted 7 on all", "note.created 8 on all"] {
        assert!(rows.iter().any(|told| told == row), "{rows:?}");
    }
    // Schemas with such triggers can still be changed.
    writer
        .run(
            "ALTER TABLE tasks RENAME COLUMN title TO name; ALTER TABLE notes ADD COLUMN more TEXT",
        )
        .await;
    let attach = [
        "attach",
        "notes",
        "--channel",
        "all",
        "--id",
        "task",
        "--on",
        "insert",
        "--apply",
    ];
    rowcast(&database, &attach, 0);
    writer.run("UPDATE notes SET task = NULL").await;
    assert!(take(&mut writer).await.is_empty());
    for table in ["tasks", "parts", "notes"] {
        rowcast(&database, &["detach", table, "--apply"], 0);
    }
    let left = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'";
    assert_eq!(writer.numbers(left).await, [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sqlite_has_not_is_refused() {
    let database = Database::sqlite().await;
    let _writer = with_table(
        &database,
        "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE VIRTUAL TABLE f USING fts5(x)",
    )
    .await;
    for (arguments, code, why) in [
        (
            &[
                "attach",
                "t",
                "--channel",
                "t",
                "--actor",
                "setting:app.user",
            ][..],
            64,
            "which Postgres has",
        ),
        (
            &["attach", "t", "--channel", "t", "--on", "truncate"],
            64,
            "SQLite has no TRUNCATE",
        ),
        (&["attach", "f", "--channel", "t"], 1, "is a virtual table"),
        (
            &["attach", "sqlite_master", "--channel", "t"],
            1,
            "is a system table",
        ),
    ] {
        let said = rowcast(&database, arguments, code);
        assert!(said.err.contains(why), "{}", said.err);
    }
}
