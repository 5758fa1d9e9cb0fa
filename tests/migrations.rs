//! What becomes of the tables when a server starts: on both databases, beside other servers and other people's tables.

#[macro_use]
mod support;

use futures_util::future::join_all;
use rowcast::{Error, Migrate, source};
use support::Database;

on_both! {
    two_servers_start_at_once
    eight_servers_start_at_once
    a_second_run_changes_nothing
    check_refuses_what_is_not_up_to_date
    off_takes_the_tables_as_they_are
    a_table_of_somebody_else_is_left_alone
    the_migrations_of_the_application_are_left_alone
    tables_of_a_newer_rowcast_are_refused
    a_changed_migration_is_refused
}

/// The rule for channels was told in other words by a later migration: it must allow the same names. All texts of up to
/// seven characters of six kinds are tried, and each character alone.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn the_rule_for_channels_allows_what_the_first_one_did() {
    let database = Database::postgres().await;
    database.open().await;
    let mut owner = database.connect().await;
    let rule = "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE conname = 'events_channel_names'";
    let rule = owner.texts(rule).await.remove(0);
    owner
        .run(
            "CREATE TEMP TABLE names AS
             WITH RECURSIVE n (channel) AS (
                 SELECT '' UNION ALL
                 SELECT channel || c FROM n, unnest(ARRAY['a', '/', ':', ' ', 'ä', E'\\n']) AS c WHERE length(channel) < 7)
             SELECT channel FROM n UNION ALL SELECT 'a' || chr(i) || 'a' FROM generate_series(1, 1000) AS i",
        )
        .await;
    let first = r#"channel COLLATE "C" ~
        '^[A-Za-z0-9_.@/-]+(:[A-Za-z0-9_.@/-]+)*( [A-Za-z0-9_.@/-]+(:[A-Za-z0-9_.@/-]+)*)*$'"#;
    let counts = owner
        .numbers(&format!(
            "SELECT count(*) FROM names UNION ALL SELECT count(*) FROM names WHERE {first}
             UNION ALL SELECT count(*) FROM names WHERE ({rule}) IS DISTINCT FROM ({first})"
        ))
        .await;
    assert!(counts[0] > 300_000 && counts[1] > 1000, "{counts:?}");
    assert_eq!(counts[2], 0, "{rule}");
}

/// The same for SQLite's rules, of which a later migration replaced the text: the table it leaves takes the rows that the
/// first one takes, and no others.
#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_sqlite_allow_what_the_first_ones_did() {
    let database = Database::sqlite().await;
    database.open().await;
    let mut owner = database.connect().await;
    let now = "SELECT sql FROM sqlite_master WHERE name = 'events'";
    let now = owner.texts(now).await.remove(0);
    let first = include_str!("../migrations/sqlite/0001_create_events.sql");
    let first = &first[first
        .find("CREATE TABLE events (")
        .expect("it is made there")..];
    let first = first[..first.find(';').expect("it ends")].to_owned();
    assert_ne!(now, first, "a later migration has replaced it");
    let texts = "WITH RECURSIVE c (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 1000)
        SELECT t || f FROM (SELECT char(i) AS t FROM c),
             (SELECT '' AS f UNION ALL SELECT 'b' UNION ALL SELECT ' ' UNION ALL SELECT '{}')
        UNION SELECT f || t FROM (SELECT char(i) AS t FROM c),
             (SELECT 'a' AS f UNION ALL SELECT '{}' UNION ALL SELECT '[1,' UNION ALL SELECT 'null')
        UNION SELECT '\"' || char(i) || '\"' FROM c
        UNION SELECT replace(hex(zeroblob(i)), '0', 'x') FROM c WHERE i BETWEEN 95 AND 105
        UNION SELECT '' UNION SELECT '{}' || char(0) || '{}' UNION SELECT '{\"größe\":\"' || char(0) || '\"}'";
    owner
        .run(&format!(
            "{}; CREATE TEMP TABLE texts AS SELECT t FROM (SELECT NULL AS t UNION ALL SELECT * FROM ({texts}))",
            first.replacen("events", "first_events", 1)
        ))
        .await;
    for table in ["events", "first_events"] {
        for columns in [
            "'a', t, '{}', NULL",
            "'a', 'b', t, NULL",
            "'a', 'b', '{}', t",
        ] {
            owner
                .run(&format!(
                    "INSERT OR IGNORE INTO {table} (channel, type, payload, previous) SELECT {columns} FROM texts"
                ))
                .await;
        }
    }
    let rows = |table: &str| format!("SELECT type, payload, previous FROM {table}");
    let (now, first) = (rows("events"), rows("first_events"));
    let counts = owner
        .numbers(&format!(
            "SELECT count(*) FROM texts UNION ALL SELECT count(*) FROM ({first})
             UNION ALL SELECT count(*) FROM ({first} EXCEPT {now})
             UNION ALL SELECT count(*) FROM ({now} EXCEPT {first})"
        ))
        .await;
    assert!(counts[0] > 8000 && counts[1] > 3000, "{counts:?}");
    assert_eq!(counts[2..], [0, 0]);
}

async fn two_servers_start_at_once(database: Database) {
    start_at_once(2, &database).await;
}

async fn eight_servers_start_at_once(database: Database) {
    start_at_once(8, &database).await;
}

async fn start_at_once(servers: usize, database: &Database) {
    let config = database.config();
    // Tasks, so that they do not merely take turns.
    let starts = (0..servers).map(|_| {
        let config = config.clone();
        tokio::spawn(async move { source::open(&config, Migrate::Auto).await })
    });
    let mut edges = Vec::new();
    for source in support::within("the servers to start", join_all(starts)).await {
        let source = source
            .expect("it does not panic")
            .unwrap_or_else(|error| panic!("failed to {error}"));
        edges.push(source.edge().await.expect("the tables are there"));
    }
    database.connect().await.insert(1).await;
    // They have agreed on one epoch: whatever one of them hands out, all others understand.
    let count = "SELECT count(*) FROM rowcast_epochs";
    assert_eq!(database.connect().await.numbers(count).await, [1]);
    assert_eq!(edges.len(), servers);
}

/// A new file is switched to its log by whoever comes first, and for a moment nobody else may look at it.
#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread")]
async fn servers_share_new_files() {
    for _ in 0..40 {
        start_at_once(4, &Database::sqlite().await).await;
    }
}

async fn a_second_run_changes_nothing(database: Database) {
    database.open().await;
    let mut owner = database.connect().await;
    owner.insert(1).await;
    let before = schema(&database).await;
    assert!(before.iter().any(|line| line.contains("events_dedup_key")));
    for migrate in [Migrate::Auto, Migrate::Check, Migrate::Off] {
        source::open(&database.config(), migrate)
            .await
            .unwrap_or_else(|error| panic!("{migrate:?}: failed to {error}"));
    }
    assert_eq!(schema(&database).await, before);
    let count = "SELECT count(*) FROM events";
    assert_eq!(owner.numbers(count).await, [1]);
}

async fn check_refuses_what_is_not_up_to_date(database: Database) {
    // The file has to be there; tables need not.
    drop(database.connect().await);
    let before = schema(&database).await;
    let error = refused(&database, Migrate::Check).await;
    let folder = std::fs::read_dir("migrations/sqlite").expect("as many as of Postgres");
    let all = folder.count();
    assert!(
        error.contains(&format!("{all} of {all} migrations"))
            && error.contains("`rowcast migrate`"),
        "{error}"
    );
    assert_eq!(schema(&database).await, before, "nothing was made");
    database.open().await;
    source::open(&database.config(), Migrate::Check)
        .await
        .expect("now they are up to date");

    let mut owner = database.connect().await;
    owner
        .run("DELETE FROM _rowcast_migrations WHERE version = 2")
        .await;
    let error = refused(&database, Migrate::Check).await;
    let one = format!("1 of {all} migrations");
    assert!(error.contains(&one), "{error}");
}

async fn off_takes_the_tables_as_they_are(database: Database) {
    drop(database.connect().await);
    let before = schema(&database).await;
    let error = refused(&database, Migrate::Off).await;
    assert!(
        error.contains("not of the shape") && error.contains("`rowcast migrate`"),
        "{error}"
    );
    assert_eq!(schema(&database).await, before, "nothing was made");

    database.open().await;
    // Whoever runs the migrations with a tool of their own has no notes of ours.
    let mut owner = database.connect().await;
    owner.run("DROP TABLE _rowcast_migrations").await;
    source::open(&database.config(), Migrate::Off)
        .await
        .expect("the tables are there");
    let columns = "ALTER TABLE events RENAME COLUMN payload TO body";
    owner.run(columns).await;
    let error = refused(&database, Migrate::Off).await;
    assert!(
        error.contains("not of the shape") && error.contains("payload"),
        "{error}"
    );
}

async fn a_table_of_somebody_else_is_left_alone(database: Database) {
    let mut owner = database.connect().await;
    owner
        .run("CREATE TABLE events (id bigint, title text); INSERT INTO events VALUES (7, 'party')")
        .await;
    for _ in 0..2 {
        let error = refused(&database, Migrate::Auto).await;
        assert!(
            error.contains("already has a table `events` that rowcast did not make")
                && error.contains("--schema")
                && !error.contains('\n'),
            "{error}"
        );
    }
    assert_eq!(owner.texts("SELECT title FROM events").await, ["party"]);
    assert_eq!(
        schema(&database)
            .await
            .iter()
            .filter(|line| line.contains("rowcast_epochs") || line.contains("dedup"))
            .count(),
        0,
        "nothing was made by half"
    );
    let error = refused(&database, Migrate::Off).await;
    assert!(error.contains("not of the shape"), "{error}");
    #[cfg(feature = "postgres")]
    if database.url.starts_with("postgres") {
        // The way out that the error names.
        let mut config = database.config();
        config.schema = Some("rowcast".to_owned());
        source::open(&config, Migrate::Auto)
            .await
            .unwrap_or_else(|error| panic!("failed to {error}"));
    }
}

async fn the_migrations_of_the_application_are_left_alone(database: Database) {
    let mut owner = database.connect().await;
    // As sqlx makes it, with versions that are the same as ours.
    owner
        .run(
            "CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL,
                 installed_on timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, success boolean NOT NULL,
                 checksum text NOT NULL, execution_time bigint NOT NULL);
             INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (1, 'theirs', true, 'x', 1), (77, 'theirs', false, 'y', 1)",
        )
        .await;
    database.open().await;
    database.open().await;
    let all = "SELECT description || version || checksum FROM _sqlx_migrations ORDER BY version";
    assert_eq!(owner.texts(all).await, ["theirs1x", "theirs77y"]);
}

async fn tables_of_a_newer_rowcast_are_refused(database: Database) {
    database.open().await;
    let mut owner = database.connect().await;
    owner
        .run(
            "INSERT INTO _rowcast_migrations (version, description, success, checksum, execution_time)
             SELECT 9999, 'of the future', success, checksum, 1 FROM _rowcast_migrations WHERE version = 1",
        )
        .await;
    for migrate in [Migrate::Auto, Migrate::Check] {
        let error = refused(&database, migrate).await;
        assert!(
            error.contains("made by a newer rowcast (migration 9999)"),
            "{migrate:?}: {error}"
        );
    }
    source::open(&database.config(), Migrate::Off)
        .await
        .expect("the user knows better");
}

async fn a_changed_migration_is_refused(database: Database) {
    database.open().await;
    let mut owner = database.connect().await;
    owner
        .run(
            "UPDATE _rowcast_migrations SET checksum =
                 (SELECT checksum FROM _rowcast_migrations WHERE version = 2) WHERE version = 1",
        )
        .await;
    for migrate in [Migrate::Auto, Migrate::Check] {
        let error = refused(&database, migrate).await;
        assert!(
            error.contains("migration 1 was applied with another text"),
            "{migrate:?}: {error}"
        );
    }
}

/// Opens what must not be opened, and gives what is said about it.
async fn refused(database: &Database, migrate: Migrate) -> String {
    match source::open(&database.config(), migrate).await {
        Ok(_) => panic!("{migrate:?}: it was not refused"),
        Err(error @ Error::Unusable(_)) => error.to_string(),
        Err(error) => panic!("{migrate:?}: another error: {error}"),
    }
}

/// Everything that migrations could have made, and when they were noted.
async fn schema(database: &Database) -> Vec<String> {
    let mut owner = database.connect().await;
    let mut lines = if database.url.starts_with("sqlite") {
        owner
            .texts("SELECT name || coalesce(sql, '') FROM sqlite_master ORDER BY name")
            .await
    } else {
        owner
            .texts(
                "SELECT c.relname || ' ' || coalesce(string_agg(a.attname, ',' ORDER BY a.attnum), '')
                   FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid
                  WHERE c.relnamespace = 'public'::regnamespace GROUP BY c.oid, c.relname ORDER BY c.relname",
            )
            .await
    };
    if lines
        .iter()
        .any(|line| line.starts_with("_rowcast_migrations"))
    {
        let notes = "SELECT version || ' ' || CAST(installed_on AS text) FROM _rowcast_migrations ORDER BY version";
        lines.extend(owner.texts(notes).await);
    }
    lines
}
