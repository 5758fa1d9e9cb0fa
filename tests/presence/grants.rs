//! Only who may subscribe to a channel is on it, and is told who is.

use serde_json::json;

use crate::support::Database;
use crate::support::token::{now, token, token_for};
use crate::{Running, Watcher};

/// A token for one channel is as good as one for all, and its end is the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_channel_will_do() {
    let database = Database::sqlite().await;
    let server = Running::start(&database).await;
    let permit = token(json!({"sub": "ann", "channel": "room:1"}));
    let mut ann = server.client("ann", &["tasks"]).await;
    let asked = json!({
        "type": "subscribe", "channels": ["room:1"], "tokens": [permit], "presence": true,
    });
    ann.say(&asked).await;
    let answer = ann.hear_a("subscribed").await;
    assert_eq!(answer["presence"]["room:1"]["count"], 0);
    assert_eq!(ann.hear_a("presence").await["user"], "ann");
    let query = format!("channel=room:1&channel_token={permit}");
    let (status, body) = server.presence(&query, &token_for("ann", &["tasks"])).await;
    assert_eq!(
        (status, &body["channels"]["room:1"]["count"]),
        (200, &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_refused_a_channel_is_told_nothing_of_it() {
    let database = Database::sqlite().await;
    let server = Running::start(&database).await;
    let mut watcher = server.watcher("room:1").await;
    let mut eve = server.client("eve", &["room:2", "room:1:deeper"]).await;
    let asked =
        json!({"type": "subscribe", "channels": ["room:1", "room:3", "room:2"], "presence": true});
    eve.say(&asked).await;
    let answer = eve.hear_a("subscribed").await;
    assert_eq!(answer["rejected"][0]["channel"], "room:3");
    let told = answer["presence"].as_object().expect("presence");
    assert!(!told.contains_key("room:3"), "{answer}");
    // What she receives of it is what is below.
    assert_eq!(told["room:1"]["code"], "NO_PRESENCE");
    assert_eq!(eve.hear_a("presence").await["channel"], "room:2");
    let _ann = server.on("room:1", "ann").await;
    assert_eq!(watcher.next().await, "+ann");
    assert_eq!(server.users("room:1").await, ["ann"]);
    assert!(eve.hear_all().await.is_empty());
}

/// A fresh token that grants less takes the user off the channel, and tells it nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_fresh_token_takes_away_is_left() {
    let database = Database::sqlite().await;
    let server = Running::start(&database).await;
    let mut watcher = server.watcher("room:1").await;
    let client = server.client("ann", &["room"]).await;
    let mut ann = Watcher::subscribe(client, "room:1").await;
    assert_eq!(watcher.next().await, "+ann");
    assert_eq!(ann.next().await, "+ann");
    let fresh = token_for("ann", &["room:2"]);
    ann.client
        .say(&json!({"type": "auth", "token": fresh}))
        .await;
    assert_eq!(
        ann.client.hear_a("unsubscribed").await["channels"],
        json!(["room:1"])
    );
    ann.client.hear_a("auth_ok").await;
    let _ben = server.on("room:1", "ben").await;
    assert_eq!(watcher.nexts(2).await, ["+ben", "-ann"]);
    assert!(ann.client.hear_all().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_token_expires_leaves() {
    let database = Database::sqlite().await;
    let server = Running::start(&database).await;
    let mut watcher = server.watcher("room:1").await;
    let short = token(json!({"sub": "ann", "channels": ["room"], "exp": now() + 4}));
    let url = format!("ws://{}/ws", server.address);
    let mut ann = crate::connect(&url, &short).await;
    ann.subscribe(&["room:1"]).await;
    assert_eq!(watcher.nexts(2).await, ["+ann", "-ann"]);
}
