//! Many members, and many changes at once.

use serde_json::json;

use crate::support::Database;
use crate::support::token::token_for;
use crate::{Running, users};

on_both! {
    of_more_than_are_kept_who_came_first_is_told
    a_storm_is_told_whole
}

async fn of_more_than_are_kept_who_came_first_is_told(database: Database) {
    let server = Running::start_with(&database, |options| options.members_max = 2).await;
    let mut watcher = server.watcher("room:1").await;
    let ann = server.on("room:1", "ann").await;
    assert_eq!(watcher.next().await, "+ann");
    let _ben = server.on("room:1", "ben").await;
    assert_eq!(watcher.next().await, "+ben");
    let _cid = server.on("room:1", "cid").await;
    let _dan = server.on("room:1", "dan").await;
    crate::support::feed::until("it is known that there are more", async || {
        let (_, body) = server
            .presence("channel=room:1", &token_for("eye", &["room"]))
            .await;
        let told = &body["channels"]["room:1"];
        assert_eq!(told["count"], 2);
        assert_eq!(users(told), ["ann", "ben"]);
        told["more"] == json!(true)
    })
    .await;
    // A place is free for who waited for it.
    ann.close().await;
    assert_eq!(watcher.next().await, "-ann");
    let next = watcher.next().await;
    assert!(["+cid", "+dan"].contains(&next.as_str()), "{next}");
}

/// Each is told once, and none is missing, whoever writes and reads meanwhile.
async fn a_storm_is_told_whole(database: Database) {
    const USERS: usize = 150;
    let (here, there) = (
        Running::start(&database).await,
        Running::start(&database).await,
    );
    let mut watcher = here.watcher("room:1").await;
    let servers = [&here, &there];
    let mut clients = Vec::new();
    for n in 0..USERS {
        // Half of them come to both.
        let user = format!("user {n:03}");
        clients.push(servers[n % 2].on("room:1", &user).await);
        if n % 4 < 2 {
            clients.push(servers[(n + 1) % 2].on("room:1", &user).await);
        }
    }
    let mut joined = watcher.nexts(USERS).await;
    joined.sort();
    let expected =
        |sign: &str| -> Vec<String> { (0..USERS).map(|n| format!("{sign}user {n:03}")).collect() };
    assert_eq!(joined, expected("+"));
    for client in clients {
        client.close().await;
    }
    let mut left = watcher.nexts(USERS).await;
    left.sort();
    assert_eq!(left, expected("-"));
    there.until_users("room:1", &[]).await;
}
