//! Servers that end, and databases that are away.

#[cfg(feature = "postgres")]
use std::time::Duration;

use crate::support::Database;
use crate::support::process::Process;
use crate::support::temp_dir;
use crate::support::token::{SECRET, token_for};
use crate::{Running, connect, users};

on_both! {
    members_of_a_killed_server_are_gone_after_a_while
    a_server_that_is_restarted_keeps_its_members
}

/// A program with presence on rooms, and a folder with its key.
fn program(database: &Database, ttl: &str) -> (Process, tempfile::TempDir) {
    let folder = temp_dir();
    let key = folder.path().join("key");
    std::fs::write(&key, SECRET).expect("written");
    let flags = [
        "--jwt-secret-file",
        &key.display().to_string(),
        "--presence",
        "room:*",
        "--presence-ttl",
        ttl,
    ];
    (Process::start(&database.url, &flags), folder)
}

async fn members_of_a_killed_server_are_gone_after_a_while(database: Database) {
    let here = Running::start(&database).await;
    let (mut there, _folder) = program(&database, "5s");
    let mut watcher = here.watcher("room:1").await;
    let token = token_for("ann", &["room"]);
    let mut ann = connect(&there.url, &token).await;
    ann.subscribe(&["room:1"]).await;
    assert_eq!(watcher.next().await, "+ann");
    let _ben = here.on("room:1", "ben").await;
    assert_eq!(watcher.next().await, "+ben");
    there.kill();
    assert_eq!(watcher.next().await, "-ann");
    assert_eq!(here.users("room:1").await, ["ben"]);
}

/// Who comes back in time has been there all the time.
async fn a_server_that_is_restarted_keeps_its_members(database: Database) {
    let here = Running::start(&database).await;
    let mut watcher = here.watcher("room:1").await;
    let (mut there, _folder) = program(&database, "20s");
    let token = token_for("ann", &["room"]);
    let mut ann = connect(&there.url, &token).await;
    ann.subscribe(&["room:1"]).await;
    assert_eq!(watcher.next().await, "+ann");
    let since = watcher_since(&here).await;
    there.kill();
    let (there, _folder) = program(&database, "20s");
    let mut ann = connect(&there.url, &token).await;
    ann.subscribe(&["room:1"]).await;
    // The old server is gone for the others when what it has left is.
    crate::support::until("one server less", async || {
        let mut tables = database.connect().await;
        let alive = "SELECT count(*) FROM rowcast_servers WHERE expires_at > ";
        let now = if database.url.starts_with("sqlite") {
            "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
        } else {
            "clock_timestamp()"
        };
        (tables.numbers(&format!("{alive}{now}")).await == [2]).then_some(())
    })
    .await;
    let eve = here.on("room:1", "eve").await;
    assert_eq!(watcher.next().await, "+eve");
    eve.close().await;
    assert_eq!(watcher.next().await, "-eve");
    assert_eq!(watcher_since(&here).await, since);
}

/// Since when the first member is there.
async fn watcher_since(server: &Running) -> String {
    let watcher = server.watcher("room:1").await;
    assert_eq!(users(&watcher.first)[0], "ann");
    watcher.first["members"][0]["since"].to_string()
}

/// A crash of Postgres empties the tables. Nobody has left for that.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_database_is_no_leave() {
    let postgres = crate::support::Postgres::start();
    let database = Database::on(&postgres).await;
    let (here, there) = (
        Running::start(&database).await,
        Running::start(&database).await,
    );
    let mut watcher = here.watcher("room:1").await;
    let _ann = here.on("room:1", "ann").await;
    assert_eq!(watcher.next().await, "+ann");
    let _ben = there.on("room:1", "ben").await;
    assert_eq!(watcher.next().await, "+ben");
    postgres.kill_9();
    // Who is known stays known, and who comes meanwhile is written when the database is back.
    let _cid = there.on("room:1", "cid").await;
    assert_eq!(here.users("room:1").await, ["ann", "ben"]);
    postgres.restart();
    assert_eq!(watcher.next().await, "+cid");
    let eve = here.on("room:1", "eve").await;
    assert_eq!(watcher.next().await, "+eve");
    eve.close().await;
    assert_eq!(watcher.next().await, "-eve");
    for server in [&here, &there] {
        server.until_users("room:1", &["ann", "ben", "cid"]).await;
    }
}

/// A server that stood still for longer than it is waited for is entered again by itself.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stood_still_comes_back() {
    let database = Database::postgres().await;
    let here = Running::start(&database).await;
    let mut watcher = here.watcher("room:1").await;
    let (there, _folder) = program(&database, "4s");
    let mut ann = connect(&there.url, &token_for("ann", &["room"])).await;
    ann.subscribe(&["room:1"]).await;
    assert_eq!(watcher.next().await, "+ann");
    crate::support::postgres::signal("STOP", &[there.id()]);
    assert_eq!(watcher.next().await, "-ann");
    crate::support::postgres::signal("CONT", &[there.id()]);
    assert_eq!(watcher.next().await, "+ann");
}

/// Notices of the database hurry, and polling finds what they miss.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn without_notices_it_takes_a_poll() {
    let database = Database::postgres().await;
    let start = async |wake| {
        Running::configured(&database, |config| {
            config.presence = Some(crate::presence(&[crate::ROOMS]));
            config.database.as_mut().expect("it has a table").wake = wake;
            // Longer than anybody here waits.
            if wake {
                config.poll_interval.max = Duration::from_mins(10);
            }
        })
        .await
    };
    let (woken, polling) = (start(true).await, start(false).await);
    let mut by_poll = polling.watcher("room:1").await;
    let _ann = woken.on("room:1", "ann").await;
    assert_eq!(by_poll.next().await, "+ann");
    let (other, mut by_notice) = (start(true).await, woken.watcher("room:1").await);
    assert_eq!(users(&by_notice.first), ["ann"]);
    let _ben = other.on("room:1", "ben").await;
    assert_eq!(by_notice.next().await, "+ben");
}
