//! What `rowcast doctor` finds, says and leaves alone.

use super::expect;
use super::scene::keys;
use super::support::{Postgres, temp_dir};
use super::writer::{connect, insert, number, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_database_is_well_and_left_alone() {
    let server = Postgres::start();
    let url = server.create_database().await;
    expect(&["migrate"], &url, 0, &[]);
    let mut writer = connect(&url).await;
    insert(&mut writer, &keys("row", 20)).await;
    let state = "SELECT (SELECT count(*) FROM rowcast_epochs) * 1000 + (SELECT max(xmin::text::bigint) FROM rowcast_epochs)";
    let before = number(&mut writer, state).await;
    for command in [&["doctor"][..], &["doctor", "--repair"]] {
        let found = expect(
            command,
            &url,
            0,
            &["PostgreSQL", "a primary", "all is well"],
        );
        for word in ["problem", "hint", "repaired"] {
            assert!(!found.contains(word), "{found}");
        }
    }
    assert_eq!(number(&mut writer, state).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_named_with_what_to_do() {
    let server = Postgres::start();
    let url = server.create_database().await;
    expect(
        &["doctor"],
        &url,
        1,
        &["no table events", "rowcast migrate", "1 problem"],
    );
    expect(
        &["doctor", "--schema", "feed"],
        &url,
        1,
        &["in the schema feed"],
    );
    let mut owner = connect(&url).await;
    run(&mut owner, "CREATE TABLE events (id int, name text)").await;
    expect(
        &["doctor", "--repair"],
        &url,
        1,
        &["lacks columns: channel, type", "--schema"],
    );
    run(&mut owner, "DROP TABLE events").await;
    expect(&["migrate"], &url, 0, &[]);
    for (fault, remedy, code, words) in [
        (
            "DROP INDEX events_one_channel",
            "CREATE INDEX events_one_channel ON events (xid, id) WHERE (position(' ' IN channel) > 0) IS NOT TRUE",
            1,
            &[
                "no valid index by xid of rows on one channel",
                "CREATE INDEX CONCURRENTLY",
                "1 problem",
            ][..],
        ),
        (
            "DROP INDEX events_several_channels",
            "CREATE INDEX events_several_channels ON events (xid, id)",
            1,
            &[
                "no valid index by xid of rows on several channels",
                "CREATE INDEX CONCURRENTLY",
                "1 problem",
            ],
        ),
        (
            "ALTER TABLE events DISABLE TRIGGER rowcast_wake",
            "ALTER TABLE events ENABLE TRIGGER rowcast_wake",
            0,
            &["hint", "trigger rowcast_wake"],
        ),
        (
            "ALTER TABLE rowcast_commands DISABLE TRIGGER rowcast_wake_commands",
            "ALTER TABLE rowcast_commands ENABLE TRIGGER rowcast_wake_commands",
            0,
            &["hint", "trigger rowcast_wake_commands"],
        ),
        (
            "GRANT INSERT ON events TO PUBLIC",
            "REVOKE INSERT ON events FROM PUBLIC",
            0,
            &["hint", "may supply the xid", "PUBLIC"],
        ),
        (
            "ALTER TABLE rowcast_epochs RENAME TO elsewhere",
            "ALTER TABLE elsewhere RENAME TO rowcast_epochs",
            1,
            &["not there: rowcast_epochs"],
        ),
        (
            "ALTER SEQUENCE events_id_seq CACHE 20",
            "ALTER SEQUENCE events_id_seq CACHE 1",
            0,
            &["hint", "has a cache", "CACHE 1"],
        ),
        (
            "UPDATE rowcast_retention SET pruned_xid = '9000000'",
            "UPDATE rowcast_retention SET pruned_xid = '0'",
            1,
            &["watermark of retention is xid 9000000"],
        ),
        (
            "DELETE FROM _rowcast_migrations WHERE version > 2",
            "SELECT 1",
            1,
            &["are not applied", "rowcast migrate"],
        ),
    ] {
        run(&mut owner, fault).await;
        let found = expect(&["doctor"], &url, code, words);
        assert_eq!(found.contains("all is well"), code == 0, "{found}");
        run(&mut owner, remedy).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_at_is_said_without_secrets() {
    let server = Postgres::start();
    let url = server.create_database().await;
    expect(&["migrate"], &url, 0, &[]);
    let mut owner = connect(&url).await;
    run(
        &mut owner,
        "CREATE ROLE doctor_visitor LOGIN PASSWORD 'ver7secret'; GRANT SELECT ON events TO doctor_visitor",
    )
    .await;
    let visitor = url.replace("//rowcast@", "//doctor_visitor:ver7secret@");
    let nobody = url.replace("//rowcast@", "//nobody:ver7secret@");
    let nowhere = "postgres://rowcast:ver7secret@127.0.0.1:1/x";
    let texts = [
        expect(&["doctor"], &visitor, 1, &["failed to"]),
        expect(&["doctor"], &nobody, 1, &["nobody"]),
        expect(
            &["doctor"],
            nowhere,
            1,
            &["failed to connect", "is it running"],
        ),
        expect(
            &["doctor"],
            "mysql://root:ver7secret@localhost/db",
            64,
            &["Postgres and SQLite"],
        ),
        expect(&["doctor", "--fix"], &url, 64, &["--fix"]),
    ];
    for text in texts {
        assert!(!text.contains("ver7secret"), "{text}");
    }
    let folder = temp_dir();
    let file = format!("sqlite://{}/none.db", folder.path().display());
    expect(
        &["doctor", "--repair"],
        &file,
        1,
        &["does not exist", "rowcast migrate"],
    );
    assert_eq!(
        folder.path().read_dir().expect("a folder").count(),
        0,
        "no file was made"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_not_for_a_feed() {
    let primary = Postgres::start();
    let url = primary.create_database().await;
    expect(&["migrate"], &url, 0, &[]);
    let standby = primary.standby();
    let name = url.rsplit('/').next().expect("a path");
    for command in [&["doctor"][..], &["doctor", "--repair"]] {
        expect(
            command,
            &standby.url(name),
            1,
            &["it is a standby", "give the URL of the primary"],
        );
    }
    standby.promote().await;
    expect(
        &["doctor"],
        &standby.url(name),
        0,
        &["a primary", "all is well"],
    );
}
