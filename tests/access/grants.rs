//! What a token grants is what its bearer receives, whatever it asks for.

use serde_json::{Value, json};

use crate::support::feed::{Client, Feed, ids, until};
use crate::support::token::{ask_for_tokens, now, token, token_for};

async fn feed() -> Feed {
    Feed::start_configured(ask_for_tokens).await
}

/// A client who has said who it is.
async fn connect(feed: &Feed, token: &str) -> Client {
    let mut client = feed.connect().await;
    client.say(&json!({"type": "hello", "token": token})).await;
    client.hear_a("welcome").await;
    client
}

async fn subscribe(client: &mut Client, channels: &[&str]) -> Value {
    client.subscribe(channels).await
}

/// Inserts on each of these channels, and tells which of them the client hears of.
async fn heard(feed: &Feed, client: &mut Client, channels: &[&str]) -> Vec<String> {
    let inserted = feed.insert(channels).await;
    let witness = feed.insert(&["witness"]).await[0];
    let mut heard = Vec::new();
    loop {
        let frame = client.hear().await;
        if frame["type"] == "cursor" {
            continue;
        }
        assert_eq!(frame["type"], "event", "{frame}");
        let id = frame["event"]["id"].as_i64().expect("an id");
        if id == witness {
            return heard;
        }
        let n = inserted.iter().position(|&inserted| inserted == id);
        heard.push(channels[n.expect("one of these")].to_owned());
    }
}

const ALL: [&str; 9] = [
    "tasks",
    "tasks:1",
    "inbox:ann",
    "inbox:bob",
    "inbox:annabel",
    "inbox",
    "user:ann",
    "inbox:ann inbox:bob",
    "secret:7",
];

#[tokio::test]
async fn whatever_ann_asks_for_she_gets_what_is_hers() {
    let feed = feed().await;
    let token = token_for("ann", &["tasks", "witness"]);
    for asked in [
        vec!["*"],
        vec!["inbox", "inbox:*", "tasks", "user", "secret", "*"],
    ] {
        let mut ann = connect(&feed, &token).await;
        let mut asked = asked;
        asked.push("witness");
        subscribe(&mut ann, &asked).await;
        assert_eq!(
            heard(&feed, &mut ann, &ALL).await,
            [
                "tasks",
                "tasks:1",
                "inbox:ann",
                "user:ann",
                "inbox:ann inbox:bob"
            ],
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn a_subscribe_tells_what_is_refused_and_what_is_narrowed() {
    let feed = feed().await;
    let mut ann = connect(&feed, &token_for("ann", &["tasks"])).await;
    let answer = subscribe(&mut ann, &["tasks", "inbox:bob", "inbox:*", "inbox:bob:x"]).await;
    assert_eq!(answer["channels"], json!(["tasks", "inbox:*"]));
    assert_eq!(answer["granted"], json!(["inbox:ann", "tasks"]));
    let rejected = answer["rejected"].as_array().expect("a list");
    let names: Vec<_> = rejected
        .iter()
        .map(|rejected| &rejected["channel"])
        .collect();
    assert_eq!(names, ["inbox:bob", "inbox:bob:x"]);
    assert!(
        rejected
            .iter()
            .all(|rejected| rejected["code"] == "FORBIDDEN")
    );

    // Nothing of it: it is said, and the connection goes on.
    let answer = subscribe(&mut ann, &["secret"]).await;
    assert_eq!(answer["channels"], json!([]));
    assert_eq!(answer["rejected"][0]["channel"], "secret");
    // What is wholly granted needs no word.
    let answer = subscribe(&mut ann, &["tasks:1"]).await;
    assert_eq!(answer.get("rejected"), None);
    assert_eq!(answer.get("granted"), None);
}

#[tokio::test]
async fn history_is_granted_like_the_present() {
    let feed = feed().await;
    let past = feed
        .insert(&["tasks", "inbox:bob", "inbox:ann", "secret"])
        .await;
    until("the feed has seen them", async || {
        feed.broadcaster.cursor().id() >= past.last().copied()
    })
    .await;
    let mut ann = connect(&feed, &token_for("ann", &["tasks"])).await;
    let asked = json!({"type": "subscribe", "channels": ["*"], "since": "earliest"});
    ann.say(&asked).await;
    ann.hear_a("subscribed").await;
    let events = ann.hear_events(2).await;
    assert_eq!(ids(&events), [past[0], past[2]]);
    let mut last = ann.hear().await;
    if last["type"] == "cursor" {
        last = ann.hear().await;
    }
    assert_eq!(last["type"], "caught_up");
}

#[tokio::test]
async fn unsubscribing_takes_away_what_was_asked_for_and_no_more() {
    let feed = feed().await;
    let mut ann = connect(&feed, &token_for("ann", &["tasks", "witness"])).await;
    subscribe(&mut ann, &["tasks", "*"]).await;
    ann.say(&json!({"type": "unsubscribe", "channels": ["*"]}))
        .await;
    ann.hear_a("unsubscribed").await;
    subscribe(&mut ann, &["witness"]).await;
    assert_eq!(heard(&feed, &mut ann, &ALL).await, ["tasks", "tasks:1"]);

    subscribe(&mut ann, &["*"]).await;
    ann.say(&json!({"type": "unsubscribe", "channels": ["tasks"]}))
        .await;
    ann.hear_a("unsubscribed").await;
    assert_eq!(
        heard(&feed, &mut ann, &["tasks", "inbox:ann"]).await,
        ["tasks", "inbox:ann"]
    );
}

#[tokio::test]
async fn a_fresh_token_takes_away_what_it_does_not_cover_and_says_so() {
    let feed = feed().await;
    let first = token_for("ann", &["tasks", "plans", "witness"]);
    let mut ann = connect(&feed, &first).await;
    subscribe(&mut ann, &["tasks", "plans:1", "witness", "*"]).await;
    let second = token_for("ann", &["tasks", "notes", "witness"]);
    ann.say(&json!({"type": "auth", "id": 5, "token": second}))
        .await;
    let lost = ann.hear_a("unsubscribed").await;
    assert_eq!(lost["channels"], json!(["plans", "plans:1"]));
    assert_eq!(lost["code"], "FORBIDDEN");
    let answer = ann.hear_a("auth_ok").await;
    assert_eq!(
        (&answer["id"], &answer["userId"]),
        (&json!(5), &json!("ann"))
    );
    assert!(
        answer["expiresAt"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z'))
    );
    // What `*` means has grown, too.
    let all = ["tasks", "plans", "plans:1", "notes", "secret"];
    assert_eq!(heard(&feed, &mut ann, &all).await, ["tasks", "notes"]);

    // What was lost is not there again by itself, with a token that covers it.
    ann.say(&json!({"type": "auth", "token": first})).await;
    assert_eq!(
        ann.hear_a("unsubscribed").await["channels"],
        json!(["notes"])
    );
    ann.hear_a("auth_ok").await;
    ann.say(&json!({"type": "unsubscribe", "channels": ["*"]}))
        .await;
    ann.hear_a("unsubscribed").await;
    assert_eq!(heard(&feed, &mut ann, &all).await, ["tasks"]);
}

#[tokio::test]
async fn a_token_that_is_refused_in_band_changes_nothing() {
    let feed = feed().await;
    let mut ann = connect(&feed, &token_for("ann", &["tasks", "witness"])).await;
    subscribe(&mut ann, &["tasks", "witness"]).await;
    for bad in [
        "nonsense",
        &token_for("bob", &["*"]),
        &token(json!({"sub": "ann", "exp": 1000})),
    ] {
        ann.say(&json!({"type": "auth", "id": "x", "token": bad}))
            .await;
        let error = ann.hear_a("error").await;
        assert_eq!(error["id"], "x");
        assert!(!error.to_string().contains(bad), "{error}");
    }
    assert_eq!(heard(&feed, &mut ann, &ALL).await, ["tasks", "tasks:1"]);
}

#[tokio::test]
async fn a_token_for_one_channel_opens_that_channel_to_that_user() {
    let feed = feed().await;
    let mut ann = connect(&feed, &token_for("ann", &["witness"])).await;
    let permit = token(json!({"sub": "ann", "channel": "messages:42"}));
    let asked = json!({"type": "subscribe", "id": 1, "channels": ["messages:42", "messages:43", "witness"], "tokens": [permit]});
    ann.say(&asked).await;
    let answer = ann.hear_a("subscribed").await;
    assert_eq!(answer["channels"], json!(["messages:42", "witness"]));
    assert_eq!(answer["rejected"][0]["channel"], "messages:43");
    let all = [
        "messages:42",
        "messages:43",
        "messages:42:typing",
        "messages",
    ];
    assert_eq!(
        heard(&feed, &mut ann, &all).await,
        ["messages:42", "messages:42:typing"]
    );
    // A fresh token of the connection leaves it.
    ann.say(&json!({"type": "auth", "token": token_for("ann", &["witness"])}))
        .await;
    ann.hear_a("auth_ok").await;
    assert_eq!(
        heard(&feed, &mut ann, &all).await,
        ["messages:42", "messages:42:typing"]
    );

    // Somebody else's is refused, and so is one to connect with.
    let mut bob = connect(&feed, &token_for("bob", &[])).await;
    for bad in [permit, token_for("bob", &["messages:42"])] {
        let asked =
            json!({"type": "subscribe", "id": 2, "channels": ["messages:42"], "tokens": [bad]});
        bob.say(&asked).await;
        let error = bob.hear_a("error").await;
        assert_eq!(
            (&error["code"], &error["id"]),
            (&json!("FORBIDDEN"), &json!(2)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_token_for_one_channel_ends_alone() {
    let feed = feed().await;
    let mut ann = connect(&feed, &token_for("ann", &["witness"])).await;
    let permit = token(json!({"sub": "ann", "channel": "messages:42", "exp": now() + 2}));
    let asked =
        json!({"type": "subscribe", "channels": ["messages:42", "witness"], "tokens": [permit]});
    ann.say(&asked).await;
    ann.hear_a("subscribed").await;
    let lost = ann.hear_a("unsubscribed").await;
    assert_eq!(lost["channels"], json!(["messages:42"]));
    assert_eq!(lost["code"], "TOKEN_EXPIRED");
    assert_eq!(
        heard(&feed, &mut ann, &["messages:42"]).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn messages_to_everybody_wait_for_who_has_said_who_it_is() {
    let feed = feed().await;
    let mut stranger = feed.connect().await;
    let mut ann = connect(&feed, &token_for("ann", &[])).await;
    feed.broadcaster
        .broadcast_to_all(&json!({"type": "notice"}))
        .await
        .expect("JSON");
    ann.hear_a("notice").await;
    stranger
        .say(&json!({"type": "hello", "token": token_for("bob", &[])}))
        .await;
    // The first it hears.
    assert_eq!(stranger.hear().await["type"], "welcome");
}
