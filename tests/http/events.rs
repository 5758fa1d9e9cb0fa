//! `GET /events` and `GET /cursor`: what a loop of plain requests sees.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::sse::Source;
use crate::support::feed::{Answer, Feed, http, ids, timed, until};

async fn get(feed: &Feed, path: &str, header: &str) -> (Answer, Value) {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n");
    let answer = http(feed.address, &request).await;
    let body = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    (answer, body)
}

async fn cursor(feed: &Feed) -> String {
    let (answer, body) = get(feed, "/cursor", "").await;
    assert_eq!(answer.status, 200);
    body["cursor"].as_str().expect("a cursor").to_owned()
}

fn events(body: &Value) -> Vec<Value> {
    body["events"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_loop_of_requests_misses_nothing() {
    // Nothing in memory, and everything.
    for recent_bytes_max in [0, 1 << 24] {
        let feed = Feed::start_with(|hub| hub.recent_bytes_max = recent_bytes_max).await;
        let mut after = cursor(&feed).await;
        let mut inserted = Vec::new();
        let mut got = Vec::new();
        for round in 0..12_usize {
            let count = if round == 5 { 2500 } else { round };
            let channels: Vec<_> = (0..count).map(|n| ["tasks", "plans"][n % 2]).collect();
            let rows = feed.insert(&channels).await;
            inserted.extend(rows.iter().copied().step_by(2));
            until("the feed has seen them", async || {
                feed.broadcaster.cursor().id() >= rows.last().copied()
            })
            .await;
            // Pages that end within a transaction, too.
            loop {
                let path = format!("/events?channels=tasks&after={after}&limit=7");
                let (answer, body) = get(&feed, &path, "").await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                let events = events(&body);
                assert!(events.len() <= 7 && body["reset"].is_null());
                got.extend(ids(&events));
                body["cursor"]
                    .as_str()
                    .expect("a cursor")
                    .clone_into(&mut after);
                if body["more"] == false {
                    break;
                }
                assert_eq!(events.len(), 7, "more, and yet not full");
            }
        }
        assert_eq!(got, inserted);
    }
}

/// A client that adds a channel, whose state it has read at another time, asks for both positions.
#[tokio::test]
async fn of_several_positions_the_earliest_counts() {
    let feed = Feed::start().await;
    let earlier = cursor(&feed).await;
    let mut rows = feed.insert(&["tasks", "plans"]).await;
    until("the feed has seen them", async || {
        feed.broadcaster.cursor().id() >= rows.last().copied()
    })
    .await;
    let later = cursor(&feed).await;
    rows.extend(feed.insert(&["tasks"]).await);
    until("the feed has seen it", async || {
        feed.broadcaster.cursor().id() >= rows.last().copied()
    })
    .await;
    for (one, other) in [
        (&earlier, &later),
        (&later, &earlier),
        (&later, &"earliest".to_owned()),
    ] {
        let path = format!("/events?channels=tasks,plans&after={one}&after={other}");
        let (answer, body) = get(&feed, &path, "").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(ids(&events(&body)), rows, "each once");
        let path = format!("/sse?channels=tasks,plans&since={one}&since={other}");
        let mut source = Source::open(feed.address, &path["/sse?".len()..], None).await;
        assert_eq!(ids(&source.events(3).await), rows, "each once");
    }
    let many: Vec<_> = (0..17)
        .map(|n| rowcast::Cursor::after_id(1, n).to_string())
        .collect();
    let many = many.join("&after=");
    let (answer, _) = get(&feed, &format!("/events?channels=tasks&after={many}"), "").await;
    assert_eq!(answer.status, 400, "{}", answer.body);
}

#[tokio::test]
async fn a_request_waits_until_something_happens() {
    let feed = Feed::start().await;
    let after = cursor(&feed).await;
    let path = format!("/events?channels=tasks&after={after}&wait=20s");
    let ((_, body), inserted) = tokio::join!(get(&feed, &path, ""), async {
        sleep(Duration::from_millis(100)).await;
        // Others' events are not what it waits for.
        feed.insert(&["plans"]).await;
        sleep(Duration::from_millis(100)).await;
        feed.insert(&["tasks"]).await
    });
    assert_eq!(ids(&events(&body)), inserted);

    let after = body["cursor"].as_str().expect("a cursor").to_owned();
    let path = format!("/events?channels=tasks&after={after}&wait=1");
    let ((_, body), took) = timed(get(&feed, &path, "")).await;
    assert_eq!(events(&body), [] as [Value; 0]);
    assert!(took >= Duration::from_millis(900), "{took:?}");
    // Nothing new: the answer that is known still holds.
    let path = format!("/events?channels=tasks&after={after}");
    let (answer, _) = get(&feed, &path, "").await;
    let tag = answer
        .headers
        .iter()
        .find(|line| line.starts_with("etag: "));
    let tag = tag.expect("a tag").trim_start_matches("etag: ").to_owned();
    let (answer, body) = get(&feed, &path, "").await;
    let known = format!("\"{}\"", body["cursor"].as_str().expect("a cursor"));
    assert_eq!(known.to_ascii_lowercase(), tag);
    assert!(
        answer
            .headers
            .contains(&"cache-control: private, no-cache".to_owned())
    );
    let (answer, _) = get(&feed, &path, &format!("If-None-Match: {known}\r\n")).await;
    assert_eq!(answer.status, 304);
}

#[tokio::test]
async fn what_cannot_be_told_is_said_so() {
    let feed = Feed::start().await;
    let foreign = rowcast::Cursor::after_id(9, 9).to_string();
    let (answer, body) = get(&feed, &format!("/events?channels=a&after={foreign}"), "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(body["reset"], "epoch");
    assert_eq!(body["cursor"], cursor(&feed).await);
    for (query, part) in [
        ("after=now", "channels"),
        ("channels=a&after=x", "after is now, earliest or a cursor"),
        ("channels=a&limit=0", "limit is a number"),
        ("channels=a&limit=99999", "10000"),
        ("channels=a&wait=1h", "55s"),
        ("channels=a&since=now", "since"),
    ] {
        let (answer, body) = get(&feed, &format!("/events?{query}"), "").await;
        assert_eq!(answer.status, 400, "{query}");
        let message = body["message"].as_str().expect("a message");
        assert!(message.contains(part), "{query}: {message}");
    }
    let earliest = feed.insert(&["a", "a"]).await;
    until("the feed has seen them", async || {
        feed.broadcaster.cursor().id() >= earliest.last().copied()
    })
    .await;
    let (_, body) = get(&feed, "/events?channels=a&after=earliest", "").await;
    assert_eq!(ids(&events(&body)), earliest);
}

/// Read the cursor, read your state, subscribe since that cursor: what happens in between comes as an event.
#[tokio::test]
async fn state_and_stream_meet_without_a_race() {
    let feed = Feed::start().await;
    feed.rows_text("CREATE TABLE tasks (id INTEGER PRIMARY KEY)")
        .await;
    let change = "BEGIN; INSERT INTO tasks DEFAULT VALUES; \
                  INSERT INTO events (channel, type, payload) VALUES ('tasks', 'task.created', (SELECT max(id) FROM tasks)); COMMIT";
    for over_http in [true, false] {
        feed.run(change).await;
        let since = if over_http {
            cursor(&feed).await
        } else {
            feed.rows_text("SELECT cursor FROM rowcast_cursor")
                .await
                .remove(0)
        };
        feed.run(change).await;
        let state = feed.rows_text("SELECT CAST(id AS TEXT) FROM tasks").await;
        feed.run(change).await;
        let mut known: std::collections::BTreeSet<i64> = state
            .iter()
            .map(|id| id.parse().expect("a number"))
            .collect();
        let path = format!("/events?channels=tasks&after={since}&wait=5s");
        let mut after = None::<String>;
        while known.len() < state.len() + 1 {
            let path = after.as_ref().map_or(path.clone(), |after| {
                format!("/events?channels=tasks&after={after}&wait=5s")
            });
            let (_, body) = get(&feed, &path, "").await;
            for event in events(&body) {
                known.insert(event["event"]["payload"].as_i64().expect("an id"));
            }
            after = body["cursor"].as_str().map(str::to_owned);
        }
        let all = feed.rows_text("SELECT CAST(id AS TEXT) FROM tasks").await;
        assert_eq!(
            known.len(),
            all.len(),
            "what the page shows is what there is"
        );
    }
}

/// A page of another origin may send headers of its own, and those who watch over servers ask with HEAD.
#[tokio::test]
async fn browsers_and_watchers_ask_first() {
    let feed = Feed::start().await;
    for path in ["/sse?channels=a", "/cursor"] {
        let request = format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: http://localhost:5173\r\n\
             Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: if-none-match\r\n\r\n"
        );
        let answer = http(feed.address, &request).await;
        assert_eq!(answer.status, 204, "{path}");
        for header in [
            "access-control-allow-origin: http://localhost:5173",
            "vary: origin",
            "access-control-allow-methods: get",
        ] {
            assert!(
                answer.headers.contains(&header.to_owned()),
                "{:?}",
                answer.headers
            );
        }
        let allowed = "access-control-allow-headers: authorization, cache-control, if-none-match, last-event-id";
        assert!(
            answer.headers.contains(&allowed.to_owned()),
            "{:?}",
            answer.headers
        );
    }
    let request = "HEAD /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = http(feed.address, request).await;
    assert_eq!((answer.status, &*answer.body), (200, ""));
}
