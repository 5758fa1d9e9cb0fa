//! What holds on both databases, with the same statements.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::program::{rowcast, take, told, with_table};
use super::support::process::Process;
use super::support::{Connection, Database, within};

const TASKS: &str =
    "CREATE TABLE tasks (id bigint PRIMARY KEY, project_id bigint, title text, updated_by text)";

const ATTACH: [&str; 9] = [
    "attach",
    "tasks",
    "--channel",
    "tasks",
    "--channel",
    "project:{project_id}",
    "--actor",
    "{updated_by}",
    "--apply",
];

/// Runs a test on a database of each kind.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use super::Database;

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                super::super::run::$name(&Database::postgres().await).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                super::super::run::$name(&Database::sqlite().await).await;
            }
        }
    )*};
}

mod cases {
    use super::Database;

    on_both!(
        a_client_sees_what_plain_sql_changes,
        each_change_is_one_event,
        a_row_that_moves_is_on_both_channels,
        names_stand_in_the_order_that_was_said,
        what_is_no_part_of_a_name_leaves_its_channel_out,
        names_may_be_hostile,
        rolled_back_is_never_said,
        secrets_stay,
        wide_tables_are_sent_whole,
        it_is_attached_listed_and_detached,
        what_cannot_be_is_refused,
    );
}

mod run {
    use super::*;

    pub async fn a_client_sees_what_plain_sql_changes(database: &Database) {
        let mut writer = with_table(database, TASKS).await;
        writer
            .run("INSERT INTO tasks VALUES (1, 7, 'Order coffee', 'ann')")
            .await;
        rowcast(database, &ATTACH, 0);
        let server = Process::start(&database.url, &["--poll-interval", "50ms"]);
        let (mut socket, _) = Box::pin(connect_async(&server.url))
            .await
            .expect("a server");
        let subscribe = json!({"type": "subscribe", "channels": ["project:7"]}).to_string();
        socket.send(Message::text(subscribe)).await.expect("sent");
        let mut next = async |kind: &str| {
            let frame = async {
                loop {
                    let message = socket.next().await.expect("open").expect("in order");
                    let frame: Value =
                        serde_json::from_str(message.to_text().expect("text")).unwrap_or_default();
                    if frame["type"] == kind {
                        return frame;
                    }
                }
            };
            within("a frame", frame).await
        };
        next("subscribed").await;
        writer
            .run("UPDATE tasks SET title = 'Order tea', updated_by = 'bob' WHERE id = 1")
            .await;
        let frame = next("event").await;
        assert_eq!(frame["event"]["type"], "task.updated");
        assert_eq!(frame["event"]["entityId"], "1");
        assert_eq!(frame["event"]["actor"], "bob");
        assert_eq!(
            frame["event"]["payload"],
            json!({"id": 1, "project_id": 7, "title": "Order tea", "updated_by": "bob"})
        );
        assert_eq!(
            frame["event"]["previous"],
            json!({"id": 1, "project_id": 7, "title": "Order coffee", "updated_by": "ann"})
        );
    }

    pub async fn each_change_is_one_event(database: &Database) {
        let mut writer = with_table(database, TASKS).await;
        rowcast(database, &ATTACH, 0);
        writer
            .run("INSERT INTO tasks VALUES (1, 7, 'a', 'ann'), (2, 7, 'b', NULL), (3, 8, 'c', 'bob')")
            .await;
        let rows = take(&mut writer).await;
        assert_eq!(
            told(&rows),
            [
                "task.created 1 on tasks project:7",
                "task.created 2 on tasks project:7",
                "task.created 3 on tasks project:8"
            ]
        );
        assert_eq!(rows[0].actor.as_deref(), Some("ann"));
        assert_eq!((&rows[1].actor, &rows[1].previous), (&None, &None));
        assert_eq!(
            rows[1].payload,
            json!({"id": 2, "project_id": 7, "title": "b", "updated_by": null})
        );
        // What stays as it was is no event.
        writer.run("UPDATE tasks SET title = title").await;
        assert!(take(&mut writer).await.is_empty());
        writer
            .run("UPDATE tasks SET title = 'b' WHERE project_id = 7")
            .await;
        assert_eq!(
            told(&take(&mut writer).await),
            ["task.updated 1 on tasks project:7"]
        );
        // An upsert is what it turns out to be.
        writer
            .run(
                "INSERT INTO tasks VALUES (3, 8, 'd', 'eve'), (4, 8, 'e', 'eve')
                 ON CONFLICT (id) DO UPDATE SET title = excluded.title",
            )
            .await;
        let mut rows = told(&take(&mut writer).await);
        rows.sort();
        assert_eq!(
            rows,
            [
                "task.created 4 on tasks project:8",
                "task.updated 3 on tasks project:8"
            ]
        );
        // Another id is another thing.
        writer.run("UPDATE tasks SET id = 30 WHERE id = 3").await;
        let mut rows = take(&mut writer).await;
        rows.sort_by_key(|row| row.kind.clone());
        assert_eq!(
            told(&rows),
            [
                "task.created 30 on tasks project:8",
                "task.deleted 3 on tasks project:8"
            ]
        );
        writer.run("DELETE FROM tasks WHERE id = 30").await;
        let rows = take(&mut writer).await;
        assert_eq!(told(&rows), ["task.deleted 30 on tasks project:8"]);
        assert_eq!(rows[0].payload, json!({"id": 30}));
        assert_eq!(
            rows[0].previous,
            Some(json!({"id": 30, "project_id": 8, "title": "d", "updated_by": "bob"}))
        );
    }

    pub async fn a_row_that_moves_is_on_both_channels(database: &Database) {
        let mut writer = with_table(database, TASKS).await;
        let attach = [
            &ATTACH[..],
            &[
                "--channel",
                "user:{updated_by}",
                "--channel",
                "user:{title}",
            ],
        ]
        .concat();
        rowcast(database, &attach, 0);
        writer
            .run("INSERT INTO tasks VALUES (1, 7, 'ann', 'ann')")
            .await;
        // Two templates that give one name give it once.
        assert_eq!(
            told(&take(&mut writer).await),
            ["task.created 1 on tasks project:7 user:ann"]
        );
        writer
            .run("UPDATE tasks SET project_id = 8, updated_by = 'bob'")
            .await;
        assert_eq!(
            told(&take(&mut writer).await),
            ["task.updated 1 on tasks project:8 user:bob user:ann project:7"]
        );
        writer.run("UPDATE tasks SET project_id = NULL").await;
        assert_eq!(
            told(&take(&mut writer).await),
            ["task.updated 1 on tasks user:bob user:ann project:8"]
        );
    }

    /// Also before and behind one that every row is on, and where names of other columns, of other types, may be the same.
    pub async fn names_stand_in_the_order_that_was_said(database: &Database) {
        let kind = if database.url.starts_with("sqlite") {
            "text"
        } else {
            "uuid"
        };
        let table =
            format!("CREATE TABLE tasks (id bigint PRIMARY KEY, project_id bigint, token {kind})");
        let mut writer = with_table(database, &table).await;
        let mut attach = vec!["attach", "tasks", "--apply", "--include", "token"];
        for name in [
            "{project_id}",
            "{id}",
            "project:{project_id}",
            "tasks",
            "{token}",
            "tasks:{id}",
        ] {
            attach.extend(["--channel", name]);
        }
        rowcast(database, &attach, 0);
        let token = "5b0e7c1e-8c1a-4f0e-9f53-0c7a7a1f3f10";
        writer
            .run(&format!(
                "INSERT INTO tasks VALUES (1, 7, '{token}'); INSERT INTO tasks VALUES (2, 2, NULL); \
                 INSERT INTO tasks VALUES (3, NULL, NULL)"
            ))
            .await;
        writer
            .run("UPDATE tasks SET token = NULL WHERE id = 1; UPDATE tasks SET project_id = 3 WHERE id = 3")
            .await;
        let channels: Vec<_> = take(&mut writer)
            .await
            .into_iter()
            .map(|row| row.channel)
            .collect();
        assert_eq!(
            channels,
            [
                format!("7 1 project:7 tasks {token} tasks:1"),
                "2 project:2 tasks tasks:2".to_owned(),
                "3 tasks tasks:3".to_owned(),
                format!("7 1 project:7 tasks tasks:1 {token}"),
                "3 project:3 tasks tasks:3".to_owned(),
            ]
        );
    }

    pub async fn what_is_no_part_of_a_name_leaves_its_channel_out(database: &Database) {
        let mut writer = with_table(database, TASKS).await;
        rowcast(
            database,
            &["attach", "tasks", "--channel", "by:{updated_by}", "--apply"],
            0,
        );
        let long = "x".repeat(198);
        for bad in [
            "",
            "a b",
            "a:b",
            "*",
            "größe",
            "a\nb",
            "'; DROP TABLE tasks; --",
            &long,
        ] {
            let bad = bad.replace('\'', "''");
            writer
                .run(&format!("INSERT INTO tasks VALUES (1, 1, 'x', '{bad}')"))
                .await;
            writer.run("DELETE FROM tasks").await;
        }
        writer
            .run("INSERT INTO tasks VALUES (1, 1, 'x', NULL)")
            .await;
        assert!(take(&mut writer).await.is_empty(), "on no channel");
        writer.run("UPDATE tasks SET updated_by = 'ann'").await;
        writer
            .run(&format!("UPDATE tasks SET updated_by = '{}'", &long[1..]))
            .await;
        assert_eq!(
            told(&take(&mut writer).await),
            [
                "task.updated 1 on by:ann".to_owned(),
                format!("task.updated 1 on by:{} by:ann", &long[1..])
            ]
        );
        // More names than a row has room for: the later ones are left out.
        let mut attach = vec!["attach", "tasks", "--apply"];
        let names: Vec<_> = (0..12).map(|n| format!("c{n}:{{updated_by}}")).collect();
        for name in &names {
            attach.extend(["--channel", name]);
        }
        rowcast(database, &attach, 0);
        writer
            .run(&format!(
                "UPDATE tasks SET updated_by = '{}'",
                "y".repeat(190)
            ))
            .await;
        let rows = take(&mut writer).await;
        let names: Vec<_> = rows[0].channel.split(' ').collect();
        assert!(rows[0].channel.len() <= 2000 && names.len() == 10);
        assert!(names[0].starts_with("c0:") && names[9].starts_with("c9:"));
    }

    pub async fn names_may_be_hostile(database: &Database) {
        let (table, id, name) = (
            r#"we"ird; DROP TABLE events; $$ -- ü"#,
            r"select '\ $rowcast$ */ {",
            r#"n"o"#,
        );
        let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let create = format!(
            "CREATE TABLE {} ({} bigint PRIMARY KEY, {} text, \"order\" text)",
            quote(table),
            quote(id),
            quote(name)
        );
        let mut writer = with_table(database, &create).await;
        let channel = "order:{order}";
        let attach = [
            "attach",
            table,
            "--channel",
            channel,
            "--type",
            "thing",
            "--actor",
            "{n\"o}",
            "--apply",
        ];
        rowcast(database, &attach, 0);
        writer
            .run(&format!(
                "INSERT INTO {} VALUES (1, 'x''\\', 'a')",
                quote(table)
            ))
            .await;
        writer
            .run(&format!("UPDATE {} SET \"order\" = 'b'", quote(table)))
            .await;
        writer.run(&format!("DELETE FROM {}", quote(table))).await;
        let rows = take(&mut writer).await;
        assert_eq!(
            told(&rows),
            [
                "thing.created 1 on order:a",
                "thing.updated 1 on order:b order:a",
                "thing.deleted 1 on order:b"
            ]
        );
        assert_eq!(rows[0].actor.as_deref(), Some("x'\\"));
        assert_eq!(rows[0].payload, json!({id: 1, name: "x'\\", "order": "a"}));
        assert_eq!(rows[2].payload, json!({id: 1}));
        let list = rowcast(database, &["attach", "--list"], 0);
        assert!(list.out.contains(&quote(table)), "{}", list.out);
        assert!(list.out.contains("it fits"), "{}", list.out);
        rowcast(database, &["detach", table, "--apply"], 0);
        writer
            .run(&format!(
                "INSERT INTO {} VALUES (2, 'x', 'a')",
                quote(table)
            ))
            .await;
        assert!(take(&mut writer).await.is_empty());
    }

    pub async fn rolled_back_is_never_said(database: &Database) {
        let mut writer = with_table(database, TASKS).await;
        rowcast(database, &ATTACH, 0);
        writer.run("BEGIN").await;
        writer
            .run("INSERT INTO tasks VALUES (1, 7, 'a', 'ann')")
            .await;
        writer.run("ROLLBACK").await;
        assert!(take(&mut writer).await.is_empty());
        writer.run("BEGIN").await;
        writer
            .run("INSERT INTO tasks VALUES (2, 7, 'a', 'ann')")
            .await;
        writer.run("SAVEPOINT s").await;
        writer.run("UPDATE tasks SET title = 'b'").await;
        writer.run("ROLLBACK TO s").await;
        writer.run("UPDATE tasks SET title = 'c'").await;
        writer.run("COMMIT").await;
        let rows = take(&mut writer).await;
        assert_eq!(
            told(&rows),
            [
                "task.created 2 on tasks project:7",
                "task.updated 2 on tasks project:7"
            ]
        );
        assert_eq!(rows[1].payload["title"], "c");
    }

    pub async fn secrets_stay(database: &Database) {
        let mut writer = with_table(
            database,
            "CREATE TABLE users (id bigint PRIMARY KEY, name text, password_hash text, note text)",
        )
        .await;
        let attach = ["attach", "users", "--channel", "users", "--apply"];
        let said = rowcast(database, &attach, 0);
        assert!(
            said.err
                .contains("left out, as they look like secrets: password_hash"),
            "{}",
            said.err
        );
        writer
            .run("INSERT INTO users VALUES (1, 'ann', 'x', 'n')")
            .await;
        // What is not sent has not changed, for those who watch.
        writer.run("UPDATE users SET password_hash = 'y'").await;
        writer.run("ALTER TABLE users ADD COLUMN pin text").await;
        writer
            .run("UPDATE users SET pin = '1234', name = 'eve'")
            .await;
        let rows = take(&mut writer).await;
        assert_eq!(
            told(&rows),
            ["user.created 1 on users", "user.updated 1 on users"]
        );
        assert_eq!(
            rows[0].payload,
            json!({"id": 1, "name": "ann", "note": "n"})
        );
        assert_eq!(
            rows[1].payload,
            json!({"id": 1, "name": "eve", "note": "n"})
        );
        assert_eq!(rows[1].previous, Some(rows[0].payload.clone()));
        let list = rowcast(database, &["attach", "--list"], 0);
        assert!(
            list.out
                .contains("columns added or renamed since, not sent: pin"),
            "{}",
            list.out
        );
        let said = rowcast(
            database,
            &[&attach[..], &["--include", "pin", "--except", "note"]].concat(),
            0,
        );
        assert!(
            said.err
                .contains("is sent columns that look like secrets: pin"),
            "{}",
            said.err
        );
        writer.run("UPDATE users SET pin = '1', note = 'm'").await;
        let rows = take(&mut writer).await;
        assert_eq!(rows[0].payload, json!({"id": 1, "name": "eve", "pin": "1"}));
        rowcast(
            database,
            &[&attach[..], &["--only", "id,name", "--on", "update"]].concat(),
            0,
        );
        writer
            .run("INSERT INTO users VALUES (2, 'bob', 'x', 'n', '2')")
            .await;
        writer.run("UPDATE users SET note = 'o', pin = '3'").await;
        writer.run("UPDATE users SET name = 'x' WHERE id = 2").await;
        let rows = take(&mut writer).await;
        assert_eq!(told(&rows), ["user.updated 2 on users"]);
        assert_eq!(rows[0].payload, json!({"id": 2, "name": "x"}));
    }

    pub async fn wide_tables_are_sent_whole(database: &Database) {
        let columns: Vec<_> = (0..130).map(|n| format!("c{n} text")).collect();
        let create = format!(
            "CREATE TABLE wide (id bigint PRIMARY KEY, {})",
            columns.join(", ")
        );
        let mut writer = with_table(database, &create).await;
        let attach = ["attach", "wide", "--channel", "wide", "--apply"];
        rowcast(database, &attach, 0);
        writer
            .run("INSERT INTO wide (id, c0, c129) VALUES (1, '}', '{')")
            .await;
        let rows = take(&mut writer).await;
        let payload = rows[0].payload.as_object().expect("an object");
        assert_eq!(payload.len(), 131);
        assert_eq!(
            (&payload["c0"], &payload["c129"]),
            (&json!("}"), &json!("{"))
        );
    }

    pub async fn it_is_attached_listed_and_detached(database: &Database) {
        let mut writer = with_table(database, TASKS).await;
        let none = rowcast(database, &["attach", "--list"], 0);
        assert!(none.out.contains("no table is captured"));
        // Without --apply it is printed, and can be run by whoever may.
        let printed = rowcast(database, &ATTACH[..8], 0);
        assert!(printed.out.starts_with("-- ") && printed.out.contains("rowcast detach"));
        writer
            .run("INSERT INTO tasks VALUES (1, 7, 'a', 'ann')")
            .await;
        assert!(take(&mut writer).await.is_empty());
        writer.run(&printed.out).await;
        writer.run("UPDATE tasks SET title = 'b'").await;
        assert_eq!(take(&mut writer).await.len(), 1);
        // Again is instead.
        let said = rowcast(database, &ATTACH, 0);
        assert!(said.out.contains("is captured") && said.out.contains("rowcast tail 'tasks'"));
        writer.run("UPDATE tasks SET title = 'c'").await;
        assert_eq!(take(&mut writer).await.len(), 1);
        let list = rowcast(database, &["attach", "--list"], 0);
        for word in [
            "tasks",
            "insert, update, delete",
            "project:{project_id}",
            "{updated_by}",
            "it fits",
        ] {
            assert!(list.out.contains(word), "{}", list.out);
        }
        // A column that goes takes nothing with it but itself.
        writer
            .run("ALTER TABLE tasks RENAME COLUMN project_id TO board_id")
            .await;
        writer.run("UPDATE tasks SET title = 'd'").await;
        assert_eq!(take(&mut writer).await.len(), 1);
        let list = rowcast(database, &["attach", "--list"], 0);
        assert!(
            list.out.contains("gone or renamed since: project_id"),
            "{}",
            list.out
        );
        let printed = rowcast(database, &["detach", "tasks"], 0);
        writer.run("UPDATE tasks SET title = 'e'").await;
        assert_eq!(take(&mut writer).await.len(), 1);
        writer.run(&printed.out).await;
        writer.run("UPDATE tasks SET title = 'f'").await;
        assert!(take(&mut writer).await.is_empty());
        let said = rowcast(database, &["detach", "tasks", "--apply"], 1);
        assert!(
            said.err.contains("nothing is attached to tasks"),
            "{}",
            said.err
        );
    }

    pub async fn what_cannot_be_is_refused(database: &Database) {
        let mut writer: Connection = database.connect().await;
        writer.run(TASKS).await;
        let refused = |arguments: &[&str], code, why: &str| {
            let said = rowcast(database, arguments, code);
            assert!(said.err.contains(why), "{arguments:?}: {}", said.err);
            assert!(said.out.is_empty(), "{arguments:?}: {}", said.out);
        };
        refused(&ATTACH, 1, "rowcast migrate");
        rowcast(database, &["migrate"], 0);
        writer.run("CREATE VIEW v AS SELECT * FROM tasks").await;
        writer
            .run("CREATE TABLE pairs (a bigint, b bigint, PRIMARY KEY (a, b))")
            .await;
        refused(
            &["attach", "task", "--channel", "x"],
            1,
            "did you mean tasks?",
        );
        refused(
            &["attach", "zzzzzzzz", "--channel", "x"],
            1,
            "there is no table zzzzzzzz",
        );
        refused(&["attach", "v", "--channel", "x"], 1, "is a view");
        refused(
            &["attach", "events", "--channel", "x"],
            1,
            "the table of events itself",
        );
        refused(
            &["attach", "rowcast_epochs", "--channel", "x"],
            1,
            "rowcast's own",
        );
        refused(
            &["attach", "pairs", "--channel", "x"],
            64,
            "several columns (a, b)",
        );
        refused(&["attach", "tasks"], 64, "--channel");
        refused(&["attach", "tasks", "--channel", "a b"], 64, "' '");
        refused(
            &["attach", "tasks", "--channel", "p:{projectid}"],
            64,
            "did you mean project_id?",
        );
        refused(
            &["attach", "tasks", "--channel", "x", "--id", "ident"],
            64,
            "--id names the column \"ident\"",
        );
        refused(
            &["attach", "tasks", "--channel", "x", "--only", "nope"],
            64,
            "--only names",
        );
        refused(
            &["attach", "tasks", "--channel", "x", "--actor", "ann"],
            64,
            "{updated_by}",
        );
        refused(
            &[
                "attach",
                "tasks",
                "--channel",
                "x",
                "--actor",
                "setting:a b",
            ],
            64,
            "app.user_id",
        );
        refused(
            &["attach", "tasks", "--channel", "x", "--type", "a b"],
            64,
            "is not a word",
        );
        refused(&["detach", "tasks"], 1, "nor to any other table");
        // Nothing of it was installed.
        writer
            .run("INSERT INTO tasks VALUES (1, 7, 'a', 'ann')")
            .await;
        assert!(take(&mut writer).await.is_empty());
    }
}
