//! The promises of `rowcast::source::Presences`, kept by every implementation.

use std::sync::Arc;
use std::time::Duration;

use rowcast::source::{Place, PresenceChanges, Presences, ServerMark, open_presences};

use crate::support::{Database, until};

on_both! {
    what_was_written_is_read_whole_or_from_a_version_on
    who_moves_between_servers_has_been_there_all_the_time
    a_server_that_is_not_known_writes_nothing
    a_server_that_is_not_renewed_expires
    many_changes_are_one_write
    an_error_is_explained
}

const HOUR: Duration = Duration::from_hours(1);

fn open(database: &Database) -> Arc<dyn Presences> {
    open_presences(&database.config()).expect("a database of ours")
}

fn place(channel: &str, user: &str) -> Place {
    Place {
        channel: channel.into(),
        user: user.into(),
    }
}

fn changes(entered: &[(&str, &str)], left: &[(&str, &str)]) -> PresenceChanges {
    let places = |list: &[(&str, &str)]| list.iter().map(|(c, u)| place(c, u)).collect();
    PresenceChanges {
        entered: places(entered),
        left: places(left),
        forget_upto: None,
    }
}

async fn write(table: &Arc<dyn Presences>, server: &str, changes: &PresenceChanges) -> i64 {
    let version = table.write(server, HOUR, changes).await;
    let version = version.unwrap_or_else(|error| panic!("failed to {error}"));
    version.expect("it is known")
}

/// What is read of a server: `room:1 +ann` or `room:1 -ann`.
async fn read(table: &Arc<dyn Presences>, server: &str, after: Option<i64>) -> Vec<String> {
    let rows = table.members(server, after).await;
    let rows = rows.unwrap_or_else(|error| panic!("failed to {error}"));
    let text = |row: &rowcast::source::MemberRow| {
        let sign = if row.since.is_some() { '+' } else { '-' };
        format!("{} {sign}{}", row.place.channel, row.place.user)
    };
    rows.iter().map(text).collect()
}

async fn marks(table: &Arc<dyn Presences>) -> Vec<(String, i64, i64)> {
    let marks = table.marks().await;
    let marks = marks.unwrap_or_else(|error| panic!("failed to {error}"));
    let parts = |mark: ServerMark| (mark.server, mark.version, mark.forgotten);
    marks.into_iter().map(parts).collect()
}

async fn what_was_written_is_read_whole_or_from_a_version_on(database: Database) {
    database.open().await;
    let (here, there) = (open(&database), open(&database));
    here.register("a", HOUR).await.expect("tables");
    assert_eq!(marks(&there).await, [("a".to_owned(), 0, 0)]);
    let odd = "ann 'o' \"x\" \\ {\"a\":1} \u{1F600}";
    let come = changes(&[("room:1", odd), ("room:2", "ben"), ("room:2", odd)], &[]);
    let first = write(&here, "a", &come).await;
    let second = write(
        &here,
        "a",
        &changes(&[("room:1", "cid")], &[("room:2", "ben")]),
    )
    .await;
    assert!(second > first);
    assert_eq!(
        write(&here, "a", &changes(&[], &[])).await,
        second,
        "nothing"
    );
    assert_eq!(marks(&there).await, [("a".to_owned(), second, 0)]);
    let all = [
        format!("room:1 +{odd}"),
        "room:1 +cid".into(),
        format!("room:2 +{odd}"),
    ];
    assert_eq!(read(&there, "a", None).await, all);
    assert_eq!(
        read(&there, "a", Some(first)).await,
        ["room:1 +cid", "room:2 -ben"]
    );
    assert!(read(&there, "a", Some(second)).await.is_empty());
    assert!(read(&there, "b", None).await.is_empty());
    // Again, as after an answer that was lost.
    let again = changes(&[("room:1", "cid")], &[("room:2", "ben")]);
    let third = write(&here, "a", &again).await;
    assert_eq!(read(&there, "a", Some(second)).await, ["room:1 +cid"]);
    assert_eq!(read(&there, "a", None).await, all);
    // Who has left is not told of for ever.
    let mut forget = changes(&[], &[]);
    forget.forget_upto = Some(second);
    write(&here, "a", &forget).await;
    assert_eq!(marks(&there).await, [("a".to_owned(), third, second)]);
    assert_eq!(read(&there, "a", Some(0)).await, all);
}

async fn who_moves_between_servers_has_been_there_all_the_time(database: Database) {
    database.open().await;
    let table = open(&database);
    let since = async |server: &str| {
        let rows = table.members(server, None).await.expect("tables");
        rows[0].since.clone().expect("it is there")
    };
    for server in ["a", "b", "c"] {
        table.register(server, HOUR).await.expect("tables");
    }
    let come = changes(&[("room:1", "ann")], &[]);
    write(&table, "a", &come).await;
    let first = since("a").await;
    assert!(
        humantime::parse_rfc3339(&first).is_ok() && first.len() == 24,
        "{first}"
    );
    until("another millisecond", async || {
        write(&table, "c", &changes(&[("room:2", "ann")], &[])).await;
        let later = since("c").await;
        write(&table, "c", &changes(&[], &[("room:2", "ann")])).await;
        (later > first).then_some(())
    })
    .await;
    write(&table, "b", &come).await;
    write(&table, "a", &changes(&[], &[("room:1", "ann")])).await;
    write(&table, "b", &come).await;
    assert_eq!(since("b").await, first);
    write(&table, "b", &changes(&[], &[("room:1", "ann")])).await;
    write(&table, "b", &come).await;
    assert!(since("b").await > first, "she was away");
}

async fn a_server_that_is_not_known_writes_nothing(database: Database) {
    database.open().await;
    let table = open(&database);
    let come = changes(&[("room:1", "ann")], &[]);
    let written = table.write("nobody", HOUR, &come).await;
    assert_eq!(written.expect("tables"), None);
    assert!(marks(&table).await.is_empty());
    assert!(read(&table, "nobody", None).await.is_empty());
}

async fn a_server_that_is_not_renewed_expires(database: Database) {
    database.open().await;
    let table = open(&database);
    table.register("a", HOUR).await.expect("tables");
    let short = Duration::from_millis(20);
    table.register("b", short).await.expect("tables");
    write(&table, "a", &changes(&[("room:1", "ann")], &[])).await;
    until("its end", async || {
        (marks(&table).await.len() == 1).then_some(())
    })
    .await;
    // It was late, and is there again.
    let come = changes(&[("room:1", "ben")], &[]);
    write(&table, "b", &come).await;
    assert_eq!(marks(&table).await.len(), 2);
    assert_eq!(
        table.forget().await.expect("tables"),
        0,
        "none has been gone for long"
    );
    let mut tables = database.connect().await;
    tables
        .run(
            "UPDATE rowcast_servers SET expires_at = '2026-01-01T00:00:00.000Z' WHERE server = 'b'",
        )
        .await;
    assert_eq!(table.forget().await.expect("tables"), 1);
    assert!(read(&table, "b", None).await.is_empty());
    let rows = tables
        .numbers("SELECT count(*) FROM rowcast_presence")
        .await;
    assert_eq!(rows, [1], "and its members with it");
}

async fn many_changes_are_one_write(database: Database) {
    database.open().await;
    let table = open(&database);
    table.register("a", HOUR).await.expect("tables");
    let many = PresenceChanges {
        entered: (0..5000)
            .map(|n| place(&format!("room:{}", n % 7), &format!("user {n}")))
            .collect(),
        ..PresenceChanges::default()
    };
    let version = write(&table, "a", &many).await;
    assert_eq!(read(&table, "a", None).await.len(), 5000);
    let gone = PresenceChanges {
        left: many.entered,
        ..PresenceChanges::default()
    };
    assert_eq!(write(&table, "a", &gone).await, version + 1);
    assert!(read(&table, "a", None).await.is_empty());
}

async fn an_error_is_explained(database: Database) {
    database.open().await;
    let table = open(&database);
    let mut tables = database.connect().await;
    tables.run("DROP TABLE rowcast_presence").await;
    tables.run("DROP TABLE rowcast_servers").await;
    let error = table.marks().await.expect_err("no tables").to_string();
    assert!(error.contains("rowcast migrate"), "{error}");
    tables
        .run("CREATE TABLE rowcast_servers (server text, version bigint, forgotten bigint, expires_at text)")
        .await;
    // An error closes the connection, and the next call opens another.
    if database.url.starts_with("sqlite") {
        assert!(marks(&table).await.is_empty());
    }
}
