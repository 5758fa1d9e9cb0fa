//! Events of others, by every way in.

use serde_json::{Value, json};

use crate::support::feed::{Feed, http, ids, row, until};
use crate::support::raw::Raw;
use crate::support::token::{ask_for_tokens, now, token, token_for};

/// What bob has, and what ann has. One row is both's.
const ROWS: [&str; 8] = [
    "inbox:bob",
    "inbox",
    "inbox:bob:drafts",
    "tasks",
    "user:bob",
    "tasks:7 inbox:bob",
    "inbox:annabel",
    "inbox:bob user:ann",
];
const ANNS: [usize; 3] = [3, 5, 7];

/// What ann asks for.
const ASKED: [&str; 5] = [
    "*",
    "inbox,tasks,user",
    "inbox:*,tasks,user:*",
    "inbox:bob,*",
    "inbox:ann,tasks,user:ann",
];

/// The ids of the events in a stream of server-sent events.
fn ids_of_stream(body: &str) -> Vec<i64> {
    let frames = body.lines().filter_map(|line| line.strip_prefix("data:"));
    let frames = frames.filter_map(|text| serde_json::from_str::<Value>(text).ok());
    frames
        .filter_map(|frame| frame["event"]["id"].as_i64())
        .collect()
}

#[tokio::test]
async fn nobody_elses_inbox_comes_by_pattern_parent_row_or_star_on_any_transport() {
    let feed = Feed::start_configured(ask_for_tokens).await;
    let before = feed.broadcaster.cursor().to_string();
    let rows = feed.insert(&ROWS).await;
    until("the feed has seen them", async || {
        feed.broadcaster.cursor().id() >= rows.last().copied()
    })
    .await;
    let anns = ANNS.map(|n| rows[n]);
    let get = async |path: String, token: &str, lines: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{lines}\r\n"
        );
        let answer = http(feed.address, &request).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    };
    for asked in ASKED {
        let long = token_for("ann", &["tasks"]);
        // A stream ends with its token.
        let short = token(json!({"sub": "ann", "channels": ["tasks"], "exp": now() + 2}));
        for since in ["earliest", &before] {
            let body = get(format!("/events?channels={asked}&after={since}"), &long, "").await;
            let body: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(
                ids(body["events"].as_array().expect("a list")),
                anns,
                "{asked}"
            );

            let mut client = feed.connect().await;
            let channels: Vec<_> = asked.split(',').collect();
            client
                .say(&json!({"type": "hello", "token": long, "channels": channels, "since": since}))
                .await;
            client.hear_a("welcome").await;
            client.hear_a("subscribed").await;
            let mut heard = Vec::new();
            loop {
                let frame = client.hear().await;
                match frame["type"].as_str() {
                    Some("event") => heard.push(frame),
                    Some("caught_up") => break,
                    _ => assert_eq!(frame["type"], "cursor", "{frame}"),
                }
            }
            assert_eq!(ids(&heard), anns, "{asked}");
        }
        let (url, id, live) = (
            format!("/sse?channels={asked}&since=earliest"),
            format!("Last-Event-ID: {before}\r\n"),
            format!("/events?channels={asked}&wait=20s"),
        );
        let resumed = format!("/sse?channels={asked}");
        let (first, second, waited) = tokio::join!(
            get(url, &short, ""),
            get(resumed, &short, &id),
            get(live, &short, "")
        );
        assert_eq!(ids_of_stream(&first), anns, "{asked}");
        assert_eq!(ids_of_stream(&second), anns, "{asked}");
        let waited: Value = serde_json::from_str(&waited).expect("JSON");
        assert_eq!(waited["events"], json!([]), "{asked}");
    }
}

/// Inserts large rows until a client that reads nothing has fallen behind. Gives the ids, by channel.
async fn until_behind(feed: &Feed, channels: [&str; 2]) -> [Vec<i64>; 2] {
    let fill = "x".repeat(4 * 1024);
    let rows: Vec<_> = (0..8)
        .map(|n| row(channels[n % 2], &json!({ "fill": fill })))
        .collect();
    let mut all = [Vec::new(), Vec::new()];
    for rounds in 0.. {
        assert!(rounds < 4000, "it is still being waited for");
        for (n, id) in feed.insert_rows(&rows).await.into_iter().enumerate() {
            all[n % 2].push(id);
        }
        // Many more than the buffers take, so that most of it is read from memory or the table later.
        if feed.broadcaster.stats().slow_connections > 0 && rounds % 100 == 99 {
            break;
        }
    }
    all
}

async fn slow(feed: &Feed, token: &str, channels: &[&str]) -> Raw {
    let mut slow = Raw::connect_narrow(feed.address).await;
    slow.say(&json!({"type": "hello", "token": token, "channels": channels}))
        .await;
    assert_eq!(slow.hear_json().await["type"], "welcome");
    assert_eq!(slow.hear_json().await["type"], "subscribed");
    slow
}

async fn narrow_feed() -> Feed {
    Feed::start_configured(|config| {
        ask_for_tokens(config);
        config.hub.outbox_bytes_max = 64 * 1024;
    })
    .await
}

#[tokio::test]
async fn who_reads_slowly_gets_what_is_his_and_no_more() {
    let feed = narrow_feed().await;
    let mut ann = slow(&feed, &token_for("ann", &[]), &["*"]).await;
    let [anns, bobs] = until_behind(&feed, ["inbox:ann", "inbox:bob"]).await;
    let mut heard = Vec::new();
    while heard.len() < anns.len() {
        let frame = ann.hear_json().await;
        if let Some(id) = frame["event"]["id"].as_i64() {
            assert!(!bobs.contains(&id), "{}", frame["channels"]);
            heard.push(id);
        }
    }
    assert_eq!(heard, anns);
}

#[tokio::test]
async fn a_fresh_token_counts_at_once_for_who_is_behind() {
    let feed = narrow_feed().await;
    let first = token_for("ann", &["tasks", "plans"]);
    let mut ann = slow(&feed, &first, &["tasks", "plans"]).await;
    let [tasks, _] = until_behind(&feed, ["tasks", "plans"]).await;
    let second = token_for("ann", &["tasks"]);
    ann.say(&json!({"type": "auth", "token": second})).await;
    let mut is_lost = false;
    let mut heard = Vec::new();
    while heard.len() < tasks.len() {
        let frame = ann.hear_json().await;
        is_lost |= frame["type"] == "unsubscribed";
        if frame["channels"] == json!(["tasks"]) && frame["type"] == "event" {
            heard.push(frame["event"]["id"].as_i64().expect("an id"));
        } else if frame["type"] == "event" {
            assert!(
                !is_lost,
                "an event of plans after it was told that it is lost"
            );
        }
    }
    assert!(is_lost, "it was told");
    assert_eq!(heard, tasks, "and lost nothing else");
}
