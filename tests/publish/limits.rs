//! How much may be published at a time, and in a minute.

use serde_json::{Value, json};

use crate::support::Database;
use crate::support::token::{ask_for_tokens, token};
use crate::{Answer, Running, event, rows};

on_both! {
    a_body_has_so_many_bytes
    a_request_has_so_many_events
    a_user_has_so_many_in_a_minute
    so_has_an_address_without_one
}

async fn a_body_has_so_many_bytes(database: Database) {
    let server = Running::start_with(&database, |config| {
        config.network.publish.bytes_max = 4096;
    })
    .await;
    let of = |bytes: usize| {
        let empty = json!({"channel": "a", "type": "t", "payload": ""}).to_string();
        let payload = "x".repeat(bytes - empty.len());
        json!({"channel": "a", "type": "t", "payload": payload})
    };
    assert_eq!(server.publish(&of(4096)).await.status, 201);
    for bytes in [4097, 1_000_000, 8_000_000] {
        let answer = server.publish(&of(bytes)).await;
        assert_eq!(
            (answer.status, &*answer.error()),
            (413, "too_large"),
            "{bytes}"
        );
    }
    let pieces = format!("64\r\n{}\r\n", "x".repeat(100)).repeat(100);
    let request = format!(
        "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n{pieces}0\r\n\r\n"
    );
    let answer = crate::support::feed::http(server.address, &request).await;
    assert_eq!(answer.status, 413, "without a length");
    assert_eq!(rows(&database).await, 1);
}

async fn a_request_has_so_many_events(database: Database) {
    let server = Running::start_with(&database, |config| {
        config.network.publish.events_per_minute_max = 0;
    })
    .await;
    let list = |n: i64| (0..n).map(|n| event("a", n)).collect::<Value>();
    let answer = server.publish(&list(1001)).await;
    assert_eq!((answer.status, &*answer.error()), (422, "too_many_events"));
    assert_eq!(server.publish(&list(1000)).await.ids().len(), 1000);
    assert_eq!(rows(&database).await, 1000);
}

async fn a_user_has_so_many_in_a_minute(database: Database) {
    let server = Running::start_with(&database, |config| {
        ask_for_tokens(config);
        config.network.publish.events_per_minute_max = 10;
    })
    .await;
    let of = |user: &str| token(json!({"sub": user, "publish": ["*"]}));
    let list = |n: i64| (0..n).map(|n| event("a", n)).collect::<Value>();
    let (ann, ben) = (of("ann"), of("ben"));
    let answer = server.publish_as(&ann, &list(11)).await;
    assert_eq!(answer.status, 422, "they would never fit: {answer:?}");
    assert_eq!(server.publish_as(&ann, &list(8)).await.status, 201);
    // One was for the request that did not fit.
    let over = server.publish_as(&ann, &list(2)).await;
    assert_eq!((over.status, &*over.error()), (429, "publish_rate_limit"));
    assert_eq!(over.header("ratelimit-limit"), "10");
    assert_eq!(over.header("ratelimit-remaining"), "0");
    let wait: u64 = over.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(over.header("ratelimit-reset"), over.header("retry-after"));
    // Each counts, broadcasts as well.
    let notice = json!({"channel": "a", "event": {"type": "t"}});
    let notice = server.post("/broadcast", &notice).bearer_auth(&ann);
    assert_eq!(Answer::to(notice).await.status, 429);
    assert_eq!(server.publish_as(&ben, &list(10)).await.status, 201);
    assert_eq!(rows(&database).await, 18);
}

async fn so_has_an_address_without_one(database: Database) {
    let server = Running::start_with(&database, |config| {
        config.network.publish.events_per_minute_max = 3;
    })
    .await;
    for status in [201, 201, 201, 429] {
        assert_eq!(server.publish(&event("a", 1)).await.status, status);
    }
    let other = reqwest::Client::builder()
        .local_address(Some([127, 0, 0, 2].into()))
        .no_proxy()
        .build()
        .expect("a client");
    let url = format!("http://{}/events", server.address);
    let request = other.post(url).header("content-type", "application/json");
    let answer = Answer::to(request.body(event("a", 1).to_string())).await;
    assert_eq!(answer.status, 201, "another address");
}
