//! What only Postgres has: partitions, settings, roles, types that no JSON can be made of, MERGE, COPY, TRUNCATE.

use serde_json::{Value, json};

use super::program::{rowcast, take, told, with_table};
use super::support::Database;

const TASKS: &str =
    "CREATE TABLE tasks (id bigint PRIMARY KEY, project_id bigint, title text, updated_by text)";

#[tokio::test(flavor = "multi_thread")]
async fn no_value_makes_a_statement_fail() {
    let database = Database::postgres().await;
    let mut writer = with_table(
        &database,
        "CREATE TYPE pair AS (a json, b int);
         CREATE TABLE things (id uuid PRIMARY KEY, j json, js json[], p pair, n numeric, t timestamptz, at point, x xml, b bytea,
                              double_title text GENERATED ALWAYS AS (title || title) STORED, title text COLLATE \"C\")",
    )
    .await;
    let attach = [
        "attach",
        "things",
        "--channel",
        "things",
        "--channel",
        "x:{j}",
        "--apply",
    ];
    rowcast(&database, &attach, 0);
    let id = "00000000-0000-0000-0000-000000000001";
    writer
        .run(&format!(
            r#"INSERT INTO things (id, j, js, p, n, t, at, b, title) VALUES
               ('{id}', '{{"a": "\u0000", "b": "\ud800"}}', ARRAY['"\u0000"'::json], ROW('"\u0000"', 1)::pair, 'NaN', 'infinity', '(1,2)',
                '\x00ff', 'ab')"#
        ))
        .await;
    // Types without an equality of their own are compared all the same.
    writer.run("UPDATE things SET j = j, at = at").await;
    writer.run("UPDATE things SET j = '[1]'").await;
    let rows = take(&mut writer).await;
    assert_eq!(
        told(&rows),
        [
            format!("thing.created {id} on things"),
            format!("thing.updated {id} on things")
        ]
    );
    let sent = &rows[0].payload;
    assert_eq!(sent["j"], json!(r#"{"a": "\u0000", "b": "\ud800"}"#));
    assert_eq!(
        (&sent["n"], &sent["t"]),
        (&json!("NaN"), &json!("infinity"))
    );
    assert_eq!(
        (&sent["double_title"], &sent["b"]),
        (&json!("abab"), &json!("\\x00ff"))
    );
    assert_eq!(rows[1].payload["j"], json!([1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_needs_no_right_on_events() {
    let database = Database::postgres().await;
    let mut owner = with_table(&database, TASKS).await;
    let attach = [
        "attach",
        "tasks",
        "--channel",
        "tasks",
        "--actor",
        "setting:app.user_id",
        "--origin",
        "setting:app.mutation",
        "--apply",
    ];
    rowcast(&database, &attach, 0);
    let role = format!("writer_{}", fastrand::u64(..));
    owner
        .run(&format!(
            "CREATE ROLE {role}; GRANT ALL ON tasks TO {role}; GRANT USAGE, CREATE ON SCHEMA public TO {role}; SET ROLE {role}"
        ))
        .await;
    owner
        .run("BEGIN; SET LOCAL app.user_id = 'ann'; INSERT INTO tasks VALUES (1, 7, 'a'); COMMIT")
        .await;
    owner.run("UPDATE tasks SET title = 'b'").await;
    // Nobody else may have the function write events of a table of his.
    let refused = owner
        .try_run(
            "CREATE TABLE own (id bigint PRIMARY KEY);
             CREATE TRIGGER forge AFTER INSERT ON own REFERENCING NEW TABLE AS new_rows
                FOR EACH STATEMENT EXECUTE FUNCTION rowcast_tasks_insert()",
        )
        .await;
    assert!(refused.is_err_and(|error| error.to_string().contains("permission denied")));
    assert!(owner.try_run("SELECT FROM events").await.is_err());
    owner.run("RESET ROLE").await;
    let rows = take(&mut owner).await;
    assert_eq!(
        told(&rows),
        ["task.created 1 on tasks", "task.updated 1 on tasks"]
    );
    let actors: Vec<_> = rows.iter().map(|row| row.actor.as_deref()).collect();
    assert_eq!(actors, [Some("ann"), None]);
    assert_eq!(rows[0].origin, None);
    // Who does not own the table is told so.
    let url = database.url.replace("//rowcast@", &format!("//{role}@"));
    owner
        .run(&format!(
            "ALTER ROLE {role} LOGIN; GRANT INSERT ON events TO {role}"
        ))
        .await;
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_rowcast"))
        .args(attach)
        .args(["--database-url", &url])
        .output()
        .expect("rowcast runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("as the owner of the table"),
        "{error}"
    );
    owner
        .run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn merge_copy_and_truncate_are_captured() {
    let database = Database::postgres().await;
    let mut writer = with_table(&database, TASKS).await;
    rowcast(
        &database,
        &[
            "attach",
            "tasks",
            "--channel",
            "tasks",
            "--channel",
            "project:{project_id}",
            "--apply",
        ],
        0,
    );
    writer
        .run("INSERT INTO tasks VALUES (1, 7, 'a'), (2, 7, 'b')")
        .await;
    take(&mut writer).await;
    let version = writer
        .numbers("SELECT current_setting('server_version_num')::bigint")
        .await;
    if version[0] >= 150_000 {
        writer
            .run(
                "MERGE INTO tasks t USING (VALUES (1::bigint, 'z'), (2, 'gone'), (3, 'new')) AS s (id, title) ON s.id = t.id
                  WHEN MATCHED AND s.title = 'gone' THEN DELETE WHEN MATCHED THEN UPDATE SET title = s.title
                  WHEN NOT MATCHED THEN INSERT VALUES (s.id, 8, s.title)",
            )
            .await;
        let mut rows = told(&take(&mut writer).await);
        rows.sort();
        assert_eq!(
            rows,
            [
                "task.created 3 on tasks project:8",
                "task.deleted 2 on tasks project:7",
                "task.updated 1 on tasks project:7"
            ]
        );
    }
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(irrefutable_let_patterns, reason = "then there is no other")
    )]
    let super::support::Connection::Postgres(connection) = &mut writer else {
        panic!("this is Postgres");
    };
    let mut copy = connection
        .copy_in_raw("COPY tasks FROM STDIN")
        .await
        .expect("a copy");
    copy.send(&b"10\t7\tx\t\\N\n11\t9\ty\tbob\n"[..])
        .await
        .expect("sent");
    copy.finish().await.expect("copied");
    assert_eq!(
        told(&take(&mut writer).await),
        [
            "task.created 10 on tasks project:7",
            "task.created 11 on tasks project:9"
        ]
    );
    writer.run("TRUNCATE tasks").await;
    let rows = take(&mut writer).await;
    assert_eq!(told(&rows), ["task.truncated - on tasks"]);
    assert_eq!(rows[0].payload, json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_a_captured_table_are_captured() {
    let database = Database::postgres().await;
    let mut writer = with_table(
        &database,
        "CREATE TABLE logs (id bigint, day date, text text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
         CREATE TABLE logs_a PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
         CREATE TABLE logs_b (text text, day date NOT NULL, id bigint NOT NULL, PRIMARY KEY (id, day));
         ALTER TABLE logs ATTACH PARTITION logs_b FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
    )
    .await;
    let said = rowcast(
        &database,
        &[
            "attach",
            "logs",
            "--channel",
            "logs:{day}",
            "--id",
            "id",
            "--apply",
        ],
        0,
    );
    assert!(
        said.err
            .contains("to a partition by its own name yield no events")
    );
    writer
        .run("INSERT INTO logs VALUES (1, '2026-01-05', 'a'), (2, '2026-02-05', 'b')")
        .await;
    writer.run("UPDATE logs SET text = 'c'").await;
    writer
        .run("UPDATE logs SET day = '2026-02-06' WHERE id = 1")
        .await;
    writer
        .run("INSERT INTO logs_a VALUES (3, '2026-01-06', 'd')")
        .await;
    let mut rows = told(&take(&mut writer).await);
    rows.sort();
    assert_eq!(
        rows,
        [
            "log.created 1 on logs:2026-01-05",
            // The key of a row that moves to another partition is another.
            "log.created 1 on logs:2026-02-06",
            "log.created 2 on logs:2026-02-05",
            "log.deleted 1 on logs:2026-01-05",
            "log.updated 1 on logs:2026-01-05",
            "log.updated 2 on logs:2026-02-05",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_may_be_in_another_schema() {
    let database = Database::postgres().await;
    rowcast(&database, &["migrate", "--schema", "feed"], 0);
    let mut writer = database.connect().await;
    writer
        .run("CREATE SCHEMA shop; CREATE TABLE shop.orders (id int PRIMARY KEY, state text); CREATE TABLE orders (id int PRIMARY KEY)")
        .await;
    let said = rowcast(
        &database,
        &["attach", "shop.orders", "--channel", "orders", "--apply"],
        1,
    );
    assert!(said.err.contains("--schema says where"), "{}", said.err);
    rowcast(
        &database,
        &[
            "attach",
            "shop.orders",
            "--channel",
            "orders",
            "--schema",
            "feed",
            "--apply",
        ],
        0,
    );
    // The writer's search_path does not matter.
    writer
        .run("SET search_path = shop; CREATE TABLE events (id int); INSERT INTO orders VALUES (1, 'new'); SET search_path = feed")
        .await;
    let rows = take(&mut writer).await;
    assert_eq!(told(&rows), ["order.created 1 on orders"]);
    let said = rowcast(&database, &["detach", "orders", "--schema", "feed"], 0);
    assert!(said.out.contains(r#"ON "shop"."orders""#), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_paired_by_whatever_is_unique() {
    let database = Database::postgres().await;
    let mut writer = with_table(
        &database,
        "CREATE TABLE plain (id int, t text); CREATE TABLE members (team int, person int, role text, PRIMARY KEY (team, person))",
    )
    .await;
    let said = rowcast(
        &database,
        &["attach", "plain", "--channel", "x", "--id", "id"],
        1,
    );
    assert!(said.err.contains("--on insert,delete"), "{}", said.err);
    rowcast(
        &database,
        &[
            "attach",
            "plain",
            "--channel",
            "x",
            "--id",
            "id",
            "--on",
            "insert,delete",
            "--apply",
        ],
        0,
    );
    rowcast(
        &database,
        &[
            "attach",
            "members",
            "--channel",
            "team:{team}",
            "--id",
            "person",
            "--apply",
        ],
        0,
    );
    writer
        .run("INSERT INTO plain VALUES (1, 'a'); INSERT INTO members VALUES (1, 5, 'a'), (2, 5, 'a'), (1, 6, 'a')")
        .await;
    take(&mut writer).await;
    writer
        .run("UPDATE plain SET t = 'b'; UPDATE members SET role = 'b'")
        .await;
    let rows = take(&mut writer).await;
    assert_eq!(rows.len(), 3);
    for row in &rows {
        assert_eq!(row.kind, "member.updated");
        let previous = row.previous.as_ref().expect("an update has it");
        assert_eq!(
            (&previous["team"], &previous["person"]),
            (&row.payload["team"], &row.payload["person"])
        );
        assert_eq!(previous["role"], Value::from("a"));
    }
}

/// Functions that name columns give the same events as those that make do with a table that has changed since.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changed_since_gives_the_same_events() {
    let database = Database::postgres().await;
    // Names that the statements use themselves.
    let mut writer = with_table(
        &database,
        "CREATE TABLE tasks (id bigint PRIMARY KEY, r text, project_id int, p numeric, sent boolean, at timestamptz, n0 text,
                             old_row text, updated_by text, secret_key text, spare text)",
    )
    .await;
    let attach = [
        "attach",
        "tasks",
        "--channel",
        "tasks",
        "--channel",
        "project:{project_id}",
        "--actor",
        "{updated_by}",
        "--only",
        "id,r,project_id,p,sent,at,n0,old_row,updated_by,spare",
        "--apply",
    ];
    let statements = "
        INSERT INTO tasks (id, r, project_id, p, sent, at, n0, old_row, updated_by) VALUES
            (1, 'a', 7, 1.50, true, '2026-02-03 04:05:06.7+01', 'n', 'o', 'ann'),
            (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (3, 'c', 8, 1, false, NULL, '', '', 'eve');
        UPDATE tasks SET p = p, secret_key = 'y';
        UPDATE tasks SET project_id = 9, updated_by = NULL WHERE id = 1;
        UPDATE tasks SET project_id = NULL, r = repeat('ä', 3000) WHERE id = 3;
        UPDATE tasks SET id = id * 10 WHERE id > 1;
        UPDATE tasks SET p = 2.5 WHERE id = 1;
        DELETE FROM tasks";
    let mut first = None;
    for change in [
        "SELECT 1",
        // All that follows is told apart by the functions: no column may be presumed to be as it was.
        "ALTER TABLE tasks DROP COLUMN spare",
        "ALTER TABLE tasks ALTER project_id TYPE text",
        "ALTER TABLE tasks ALTER id TYPE int",
        "ALTER TABLE tasks DROP CONSTRAINT tasks_pkey; ALTER TABLE tasks ALTER id DROP NOT NULL",
        "ALTER TABLE tasks ADD COLUMN pin int DEFAULT 1234",
        "ALTER TABLE tasks RENAME COLUMN spare TO other",
    ] {
        rowcast(&database, &attach, 0);
        writer.run("BEGIN").await;
        writer.run(change).await;
        writer.run(statements).await;
        let mut rows = take(&mut writer).await;
        writer.run("ROLLBACK").await;
        for row in &mut rows {
            for json in [Some(&mut row.payload), row.previous.as_mut()] {
                if let Some(Value::Object(object)) = json {
                    object.remove("spare");
                    // Where the column is one of text its JSON is too.
                    if let Some(project) = object.get_mut("project_id")
                        && let Some(number) = project.as_str()
                    {
                        *project = json!(number.parse::<i64>().expect("a number"));
                    }
                }
            }
        }
        // Within a statement no order is promised.
        let mut seen: Vec<_> = rows
            .iter()
            .zip(told(&rows))
            .map(|(row, told)| {
                let (payload, previous, actor) = (&row.payload, &row.previous, &row.actor);
                format!("{told} by {actor:?}: {payload} {previous:?}")
            })
            .collect();
        seen.sort_unstable();
        assert_eq!(seen.len(), 13, "{change}: {seen:#?}");
        let first = first.get_or_insert_with(|| seen.clone());
        assert_eq!(*first, seen, "{change}");
    }
    let first = first.expect("there was a change");
    for line in [
        "task.updated 1 on tasks project:9 project:7 by None",
        "task.updated 3 on tasks project:8 by Some(\"eve\")",
        "task.deleted 1 on tasks project:9 by None",
        "task.created 20 on tasks by None",
    ] {
        assert!(
            first.iter().any(|seen| seen.starts_with(line)),
            "{line} in {first:#?}"
        );
    }
}

/// Types that the statements presume are looked at each time: what was a number may be no part of a channel today.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_became_a_text_is_no_part_of_every_channel() {
    let database = Database::postgres().await;
    let mut writer = with_table(&database, TASKS).await;
    let attach = [
        "attach",
        "tasks",
        "--channel",
        "tasks",
        "--channel",
        "project:{project_id}",
        "--apply",
    ];
    rowcast(&database, &attach, 0);
    writer.run("INSERT INTO tasks VALUES (1, 5, 't')").await;
    writer
        .run("ALTER TABLE tasks ALTER project_id TYPE text")
        .await;
    writer.run("UPDATE tasks SET project_id = 'a b'").await;
    // Rows without a key are not taken for ones that are not there.
    writer.run("ALTER TABLE tasks DROP CONSTRAINT tasks_pkey; ALTER TABLE tasks ALTER id DROP NOT NULL").await;
    writer.run("UPDATE tasks SET id = NULL").await;
    writer.run("UPDATE tasks SET title = 'u'").await;
    let rows = take(&mut writer).await;
    assert_eq!(
        told(&rows)[..2],
        [
            "task.created 1 on tasks project:5",
            "task.updated 1 on tasks project:5"
        ]
    );
    assert!(rows.len() > 2, "nothing failed");
}
