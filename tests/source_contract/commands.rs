//! The promises of `rowcast::source::Commands`, kept by every implementation.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rowcast::source::{Command, Commands, NewCommand, Order, open_commands};
use rowcast::{Audience, Channel};
use serde_json::value::RawValue;

use crate::support::{Database, until};

on_both! {
    every_server_reads_what_was_issued
    commands_that_are_issued_at_once_are_all_found
    what_has_expired_is_not_read_and_can_be_forgotten
    an_error_is_explained_and_passes
    rows_that_are_no_commands_are_refused_or_left_out
}

const HOUR: Duration = Duration::from_hours(1);

async fn every_server_reads_what_was_issued(database: Database) {
    database.open().await;
    let (here, there) = (open(&database), open(&database));
    let before = mark(&there).await;
    assert_eq!(mark(&here).await, before, "nothing was issued");
    let channel = Channel::parse("tasks").expect("a name");
    // As JSON comes: not as a database would write it.
    let message = RawValue::from_string(r#"{"b":1,  "a":[1.0e2],"b":2}"#.into()).expect("JSON");
    let orders = [
        Order::RevokeUser("ann 'o'\u{301} \"x\"".into()),
        Order::RevokeToken("7f3a".into()),
        Order::DisconnectUser("ben".into()),
        Order::Broadcast {
            to: Audience::All,
            message: message.clone(),
        },
        Order::Broadcast {
            to: Audience::Channel(channel),
            message: message.clone(),
        },
        Order::Broadcast {
            to: Audience::User("ann 'o' x".into()),
            message,
        },
    ];
    let mut marks = BTreeSet::from([before]);
    let mut ids = Vec::new();
    for order in &orders {
        ids.push(issue(&here, order.clone(), HOUR).await);
        assert!(marks.insert(mark(&there).await), "each shows in the mark");
    }
    assert!(ids.is_sorted(), "{ids:?}");
    for commands in [&here, &there, &open(&database)] {
        let read = valid(commands).await;
        assert_eq!(
            read.iter().map(|command| command.id).collect::<Vec<_>>(),
            ids
        );
        for (command, order) in read.iter().zip(&orders) {
            assert_eq!(format!("{:?}", command.order), format!("{order:?}"));
        }
    }
    for back in 0..=ids.len() {
        let newest = here
            .valid_after(ids.get(back).copied().unwrap_or(i64::MAX))
            .await;
        let newest = newest.unwrap_or_else(|error| panic!("failed to {error}"));
        let newest: Vec<_> = newest.iter().map(|command| command.id).collect();
        assert_eq!(newest, ids.get(back + 1..).unwrap_or_default());
    }
    // By the clock of the database, which is ours.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("it is later than 1970")
        .as_millis() as i64;
    let created = valid(&there).await[0].created_at_ms;
    assert!((now - 60_000..=now + 1000).contains(&created), "{created}");
}

/// By mark and reading, as a server looks: each is found once, whichever commits first.
async fn commands_that_are_issued_at_once_are_all_found(database: Database) {
    const WRITERS: usize = 4;
    const EACH: usize = 15;
    database.open().await;
    let reader = open(&database);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let commands = open(&database);
            tokio::spawn(async move {
                for number in 0..EACH {
                    let user = format!("{writer}-{number}");
                    issue(&commands, Order::DisconnectUser(user), HOUR).await;
                }
            })
        })
        .collect();
    let (mut known, mut seen) = (String::new(), BTreeSet::new());
    until("all commands to be found", async || {
        let mark = mark(&reader).await;
        if mark != known {
            // The mark first: what is committed between the two shows in the next.
            seen.extend(valid(&reader).await.iter().map(|command| command.id));
            known = mark;
        }
        (seen.len() == WRITERS * EACH).then_some(())
    })
    .await;
    for writer in writers {
        writer.await.expect("it does not panic");
    }
}

/// An id that was given out first may be committed last.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_lower_id_that_is_committed_later_changes_the_mark() {
    let database = Database::postgres().await;
    database.open().await;
    let reader = open(&database);
    let insert = "INSERT INTO rowcast_commands (kind, subject, expires_at)
                  VALUES ('disconnect_user', 'late', now() + interval '1 hour')";
    let mut slow = database.connect().await;
    slow.run("BEGIN").await;
    slow.run(insert).await;
    let gone = issue(
        &reader,
        Order::DisconnectUser("gone".into()),
        Duration::ZERO,
    )
    .await;
    let later = issue(&reader, Order::DisconnectUser("early".into()), HOUR).await;
    assert_eq!(users(&reader).await, ["early"]);
    let before = mark(&reader).await;
    // The number of rows and the highest id stay as they are.
    slow.run("COMMIT").await;
    assert_eq!(reader.forget().await.expect("it deletes"), 1);
    assert_ne!(mark(&reader).await, before);
    assert_eq!(users(&reader).await, ["late", "early"]);
    let ids: Vec<_> = valid(&reader)
        .await
        .iter()
        .map(|command| command.id)
        .collect();
    assert!(ids[0] < gone && gone < later, "{ids:?}");
}

async fn what_has_expired_is_not_read_and_can_be_forgotten(database: Database) {
    database.open().await;
    let commands = open(&database);
    issue(&commands, Order::RevokeUser("ann".into()), HOUR).await;
    issue(
        &commands,
        Order::RevokeUser("ben".into()),
        Duration::from_millis(20),
    )
    .await;
    issue(&commands, Order::RevokeUser("cyd".into()), Duration::ZERO).await;
    until("the second to expire", async || {
        (users(&commands).await == ["ann"]).then_some(())
    })
    .await;
    let before = mark(&commands).await;
    assert_eq!(commands.forget().await.expect("it deletes"), 2);
    assert_eq!(commands.forget().await.expect("there is nothing"), 0);
    assert_ne!(mark(&commands).await, before);
    assert_eq!(users(&commands).await, ["ann"]);
    let count = "SELECT count(*) FROM rowcast_commands";
    assert_eq!(database.connect().await.numbers(count).await, [1]);
}

async fn an_error_is_explained_and_passes(database: Database) {
    database.open().await;
    let commands = open(&database);
    issue(&commands, Order::RevokeUser("ann".into()), HOUR).await;
    let mut owner = database.connect().await;
    owner
        .run("ALTER TABLE rowcast_commands RENAME TO elsewhere")
        .await;
    let order = Order::RevokeUser("ben".into());
    let command = NewCommand { order, valid: HOUR };
    let errors = [
        commands.mark().await.err(),
        commands.valid().await.err(),
        commands.forget().await.err(),
        commands.issue(&command).await.err(),
    ];
    for error in errors {
        let text = error.expect("there is no table").to_string();
        assert!(
            text.contains("rowcast_commands") && text.contains("`rowcast migrate`"),
            "{text}"
        );
    }
    owner
        .run("ALTER TABLE elsewhere RENAME TO rowcast_commands")
        .await;
    assert_eq!(users(&commands).await, ["ann"]);
    if is_postgres(&database) {
        // The connection is cut while it lies idle: at most one call fails of it.
        owner
            .run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
        let _ = commands.mark().await;
        assert_eq!(users(&commands).await, ["ann"]);
    }
    issue(&commands, Order::RevokeUser("ben".into()), HOUR).await;
    assert_eq!(users(&commands).await, ["ann", "ben"]);
}

async fn rows_that_are_no_commands_are_refused_or_left_out(database: Database) {
    database.open().await;
    let commands = open(&database);
    let mut owner = database.connect().await;
    let later = "'2999-01-01T00:00:00Z'";
    for values in [
        "'revoke_everybody', 'ann', NULL",
        "'revoke_user', NULL, NULL",
        "'revoke_user', '', NULL",
        "'revoke_user', 'ann', '{}'",
        "'broadcast', 'tasks', NULL",
        "'broadcast', NULL, '{'",
    ] {
        let insert = format!(
            "INSERT INTO rowcast_commands (kind, subject, payload, expires_at) VALUES ({values}, {later})"
        );
        assert!(owner.try_run(&insert).await.is_err(), "{values}");
    }
    let long = Order::RevokeUser("x".repeat(rowcast::source::SUBJECT_BYTES_MAX + 1));
    let command = NewCommand {
        order: long,
        valid: HOUR,
    };
    assert!(commands.issue(&command).await.is_err());
    // The channel of a broadcast may be none all the same, and a newer version may know more kinds.
    owner
        .run(&format!(
            "INSERT INTO rowcast_commands (kind, subject, payload, expires_at)
             VALUES ('broadcast', 'no channel!', '{{}}', {later}), ('revoke_user', 'ann', NULL, {later})"
        ))
        .await;
    if is_postgres(&database) {
        owner
            .run(&format!(
                "ALTER TABLE rowcast_commands DROP CONSTRAINT rowcast_commands_kind;
                 INSERT INTO rowcast_commands (kind, subject, expires_at) VALUES ('praise_user', 'ann', {later})"
            ))
            .await;
    }
    assert_eq!(users(&commands).await, ["ann"]);
}

fn is_postgres(database: &Database) -> bool {
    database.url.starts_with("postgres")
}

fn open(database: &Database) -> Arc<dyn Commands> {
    open_commands(None, Some(&database.config()))
        .unwrap_or_else(|error| panic!("failed to {error}"))
}

async fn issue(commands: &Arc<dyn Commands>, order: Order, valid: Duration) -> i64 {
    let issued = commands.issue(&NewCommand { order, valid }).await;
    issued.unwrap_or_else(|error| panic!("failed to {error}"))
}

async fn mark(commands: &Arc<dyn Commands>) -> String {
    let mark = commands.mark().await;
    mark.unwrap_or_else(|error| panic!("failed to {error}"))
}

async fn valid(commands: &Arc<dyn Commands>) -> Vec<Command> {
    let valid = commands.valid().await;
    valid.unwrap_or_else(|error| panic!("failed to {error}"))
}

/// Whom the commands are about.
async fn users(commands: &Arc<dyn Commands>) -> Vec<String> {
    let name = |command: Command| match command.order {
        Order::RevokeUser(user) | Order::DisconnectUser(user) => user,
        other => panic!("{other:?}"),
    };
    valid(commands).await.into_iter().map(name).collect()
}
