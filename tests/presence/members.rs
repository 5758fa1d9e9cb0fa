//! Who is a member: comes, leaves, has several tabs, loads a page anew.

use serde_json::json;

use crate::support::Database;
use crate::support::feed::soon;
use crate::support::token::token_for;
use crate::{Running, Watcher, users};

on_both! {
    another_server_tells_who_comes_and_who_leaves
    tabs_count_once_on_whatever_server
    a_page_that_is_loaded_anew_neither_leaves_nor_joins
    who_unsubscribes_leaves
    subscribers_to_patterns_and_strangers_are_no_members
    names_of_users_may_be_anything
    a_stream_of_server_sent_events_counts
}

async fn another_server_tells_who_comes_and_who_leaves(database: Database) {
    let (here, there) = (
        Running::start(&database).await,
        Running::start(&database).await,
    );
    let mut watcher = there.watcher("room:1").await;
    assert_eq!(watcher.first, json!({"count": 0, "members": []}));
    let ann = here.on("room:1", "ann").await;
    assert_eq!(watcher.next().await, "+ann");
    let _ben = there.on("room:1", "ben").await;
    assert_eq!(watcher.next().await, "+ben");
    here.until_users("room:1", &["ann", "ben"]).await;
    // Somebody who looks later is told all of it, since when, and in which order they came.
    let later = here.watcher("room:1").await;
    assert_eq!(later.first["count"], 2);
    assert_eq!(users(&later.first), ["ann", "ben"]);
    let since = later.first["members"][0]["since"].as_str().expect("a time");
    assert!(
        humantime::parse_rfc3339(since).is_ok() && since.ends_with('Z'),
        "{since}"
    );
    ann.close().await;
    assert_eq!(watcher.next().await, "-ann");
    here.until_users("room:1", &["ben"]).await;
    assert!(here.users("room:2").await.is_empty());
}

async fn tabs_count_once_on_whatever_server(database: Database) {
    let (here, there) = (
        Running::start(&database).await,
        Running::start(&database).await,
    );
    let mut watcher = here.watcher("room:1").await;
    let first = here.on("room:1", "ann").await;
    assert_eq!(watcher.next().await, "+ann");
    let second = here.on("room:1", "ann").await;
    let third = there.on("room:1", "ann").await;
    // Whoever is told of these two was told of all that came before.
    let ben = there.on("room:1", "ben").await;
    assert_eq!(watcher.next().await, "+ben");
    first.close().await;
    second.close().await;
    ben.close().await;
    assert_eq!(watcher.next().await, "-ben", "ann has a tab elsewhere");
    third.close().await;
    assert_eq!(watcher.next().await, "-ann");
}

async fn a_page_that_is_loaded_anew_neither_leaves_nor_joins(database: Database) {
    let (here, there) = (
        Running::start(&database).await,
        Running::start(&database).await,
    );
    let mut watcher = here.watcher("room:1").await;
    let ann = here.on("room:1", "ann").await;
    assert_eq!(watcher.next().await, "+ann");
    let eve = here.on("room:1", "eve").await;
    assert_eq!(watcher.next().await, "+eve");
    // To the same server, and then to another.
    ann.close().await;
    let ann = here.on("room:1", "ann").await;
    ann.close().await;
    let _ann = there.on("room:1", "ann").await;
    // Who leaves later is told of: so would be who left before.
    eve.close().await;
    assert_eq!(watcher.next().await, "-eve");
    assert_eq!(here.users("room:1").await, ["ann"]);
}

async fn who_unsubscribes_leaves(database: Database) {
    let server = Running::start(&database).await;
    let mut watcher = server.watcher("room:1").await;
    let mut ann = Watcher::subscribe(server.client("ann", &["room"]).await, "room:1").await;
    assert_eq!(watcher.next().await, "+ann");
    assert_eq!(ann.next().await, "+ann", "she is told of herself, too");
    let unsubscribe = json!({"type": "unsubscribe", "channels": ["room:1"]});
    ann.client.say(&unsubscribe).await;
    ann.client.hear_a("unsubscribed").await;
    assert_eq!(watcher.next().await, "-ann");
    let told = ann.client.hear_all().await;
    let told: Vec<_> = told.iter().map(|frame| &frame["type"]).collect();
    assert!(!told.contains(&&json!("presence")), "she asked no more");
}

async fn subscribers_to_patterns_and_strangers_are_no_members(database: Database) {
    let server = Running::start(&database).await;
    let mut watcher = server.watcher("room:1").await;
    let mut narrow = server.client("nick", &["room:1"]).await;
    // Of both he receives what is granted, which is room:1; he asked for something else.
    narrow.subscribe(&["*"]).await;
    narrow.subscribe(&["room:*"]).await;
    let mut wide = server.client("will", &["*"]).await;
    wide.subscribe(&["*", "room", "room:*", "room:1:deeper"])
        .await;
    let _watcher_too = server.watcher("room:1").await;
    let _last = server.on("room:1", "last").await;
    assert_eq!(watcher.next().await, "+last");
    assert_eq!(server.users("room:1").await, ["last"]);
    narrow.subscribe(&["room:1"]).await;
    assert_eq!(watcher.next().await, "+nick", "now he asked for it");
}

async fn names_of_users_may_be_anything(database: Database) {
    let (here, there) = (
        Running::start(&database).await,
        Running::start(&database).await,
    );
    let mut watcher = there.watcher("room:1").await;
    let longest = "\u{1F600}".repeat(63);
    let names = [
        "ann 'o' \"x\" \\ $1 ?",
        "{\"a\":[1]},null",
        "\u{2028}%s%00\\u0000",
        "e\u{301}\u{202e}\u{fffd}",
        " ",
        &longest,
    ];
    let mut clients = Vec::new();
    for name in names {
        clients.push(here.on("room:1", name).await);
        assert_eq!(watcher.next().await, format!("+{name}"));
    }
    let ben = here.on("room:1", "ben").await;
    assert_eq!(watcher.next().await, "+ben");
    let told = here.users("room:1").await;
    assert_eq!(told.len(), names.len() + 1, "{told:?}");
    ben.close().await;
    assert_eq!(watcher.next().await, "-ben");
}

async fn a_stream_of_server_sent_events_counts(database: Database) {
    let server = Running::start(&database).await;
    let mut watcher = server.watcher("room:1").await;
    let token = token_for("ann", &["room"]);
    let url = format!(
        "http://{}/sse?channels=room:1&presence=1&token={token}",
        server.address
    );
    let client = reqwest::Client::builder().no_proxy().build();
    let asking = client.expect("a client").get(url).send();
    let mut stream = soon("a stream", asking).await.expect("a server");
    assert_eq!(stream.status(), 200);
    assert_eq!(watcher.next().await, "+ann");
    let ben = server.on("room:1", "ben").await;
    let mut text = String::new();
    let is_told = r#"{"type":"presence","channel":"room:1","event":"join","user":"ben","since":""#;
    while !text.contains(is_told) {
        let chunk = soon("more of the stream", stream.chunk()).await;
        let chunk = chunk.expect("a stream").expect("it does not end");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(text.contains("event: presence\ndata: {"), "{text}");
    assert!(
        text.contains(r#""presence":{"room:1":{"count":0,"members":[]}}"#),
        "{text}"
    );
    drop(stream);
    ben.close().await;
    let mut left = [
        watcher.next().await,
        watcher.next().await,
        watcher.next().await,
    ];
    left.sort();
    assert_eq!(left, ["+ben", "-ann", "-ben"]);
}
