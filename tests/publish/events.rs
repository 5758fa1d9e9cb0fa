//! What is published arrives, whole and in order; what is out of rule does not, and says why.

use std::time::Duration;

use reqwest::Method;
use rowcast::PollInterval;
use serde_json::{Value, json};

use crate::support::Database;
use crate::support::feed::Client;
use crate::{Answer, Running, event, rows, text};

on_both! {
    an_event_arrives_with_all_its_fields
    many_are_one_transaction_and_in_order
    whoever_subscribes_after_the_answer_has_what_comes_after_it
    one_that_is_out_of_rule_refuses_all
    a_sleeping_feed_is_woken
    other_methods_are_told_which_there_are
}

async fn an_event_arrives_with_all_its_fields(database: Database) {
    let server = Running::start(&database).await;
    let mut client = Client::connect(server.address).await;
    client.subscribe(&["tasks", "project:7"]).await;
    let before = server.cursor().await;
    let answer = server
        .publish(&json!({
            "channels": ["tasks", "project:7"], "type": "task.updated", "entityId": "t1", "actor": "ann",
            "payload": {"title": "größer \u{1f600} 'x' \"y\"", "n": [1, -2.5, 1e30, null, true]}, "previous": {"title": null},
            "traceId": "4bf92f", "origin": "m-17", "dedupKey": "k1",
        }))
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.duplicates(), [0_i64; 0]);
    assert_eq!(answer.header("cache-control"), "no-store");
    let frame = client.hear_a("event").await;
    assert_eq!(frame["channels"], json!(["tasks", "project:7"]));
    let mut event = frame["event"].clone();
    assert!(text(&event["createdAt"]).ends_with('Z'));
    assert_eq!(server.after(&before).await, [event.clone()]);
    event.as_object_mut().expect("fields").remove("createdAt");
    assert_eq!(
        event,
        json!({
            "id": answer.ids()[0], "type": "task.updated", "entityId": "t1", "actor": "ann",
            "payload": {"title": "größer \u{1f600} 'x' \"y\"", "n": [1, -2.5, 1e30, null, true]}, "previous": {"title": null},
            "traceId": "4bf92f", "origin": "m-17",
        })
    );
    // Least.
    let answer = server
        .publish(&json!({"channel": "tasks", "type": "t", "actor": null}))
        .await;
    let event = client.hear_a("event").await["event"].clone();
    assert_eq!(event["id"], answer.ids()[0]);
    assert_eq!(event["payload"], json!({}));
    assert_eq!(event.as_object().expect("fields").len(), 4, "{event}");
}

async fn many_are_one_transaction_and_in_order(database: Database) {
    let server = Running::start(&database).await;
    let mut client = Client::connect(server.address).await;
    client.subscribe(&["*"]).await;
    let before = server.cursor().await;
    let list: Vec<Value> = (0..500).map(|n| event(&format!("a:{n}"), n)).collect();
    let first = server.publish(&json!(list)).await;
    let wrapped = json!({"events": [event("b", 500), event("b", 501)]});
    let second = server.publish(&wrapped).await;
    let ids = [first.ids(), second.ids()].concat();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    for events in [
        client
            .hear_events(502)
            .await
            .iter()
            .map(|frame| frame["event"].clone())
            .collect(),
        server.after(&before).await,
    ] {
        let events: Vec<Value> = events;
        let each = events
            .iter()
            .map(|event| (&event["id"], &event["payload"]["n"]));
        let expected = ids.iter().zip(0..502).map(|(id, n)| (json!(id), json!(n)));
        assert!(each.eq(expected.collect::<Vec<_>>().iter().map(|(id, n)| (id, n))));
    }
}

async fn whoever_subscribes_after_the_answer_has_what_comes_after_it(database: Database) {
    let here = Running::start(&database).await;
    let there = Running::start(&database).await;
    for n in 0..10 {
        let answer = here.publish(&event("tasks", n)).await;
        let cursor = text(&answer.json["cursor"]);
        // A server that may not have read the event yet.
        let mut client = Client::connect(there.address).await;
        client
            .say(&json!({"type": "subscribe", "channels": ["tasks"], "since": cursor}))
            .await;
        let later = here.publish(&event("tasks", 1000 + n)).await.ids();
        let mut frames = vec![client.hear().await];
        while frames.last().is_some_and(|frame| frame["type"] != "event") {
            frames.push(client.hear().await);
        }
        assert_eq!(frames[0]["type"], "subscribed", "{frames:?}");
        assert!(
            frames.iter().all(|frame| frame["type"] != "reset"),
            "{frames:?}"
        );
        let first = frames.last().expect("an event");
        assert_eq!(first["event"]["id"], later[0], "not what was before");
        let ids: Vec<_> = there
            .after(&cursor)
            .await
            .iter()
            .map(|e| e["id"].clone())
            .collect();
        assert_eq!(ids, [json!(later[0])]);
    }
}

async fn one_that_is_out_of_rule_refuses_all(database: Database) {
    let server = Running::start(&database).await;
    let answer = server
        .publish(&json!([
            event("tasks", 1),
            {"channel": "no,good", "type": "two words", "extra": 1},
            {"channel": "tasks", "type": "t", "payload": {"a": "\u{0}"}},
            {"type": "t", "channels": []},
            7,
        ]))
        .await;
    assert_eq!((answer.status, &*answer.error()), (422, "invalid_events"));
    let places: Vec<_> = answer.problems();
    let places: Vec<_> = places.iter().map(|(n, field)| (*n, &**field)).collect();
    assert_eq!(
        places,
        [
            (1, ""),
            (1, "channel"),
            (1, "type"),
            (2, "payload"),
            (3, "channels"),
            (4, "")
        ]
    );
    assert!(
        answer.json.to_string().contains("\\\"extra\\\""),
        "{answer:?}"
    );
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("[]", 400),
        ("{\"events\": []}", 400),
        ("{\"events\": [], \"more\": 1}", 400),
        ("\"text\"", 400),
        ("[[]]", 422),
        ("{}", 422),
        (
            "{\"channel\": \"a\", \"type\": \"t\", \"payload\": 1e999}",
            422,
        ),
        (
            "{\"channel\": \"a\", \"type\": \"t\", \"payload\": \"\\ud800\"}",
            422,
        ),
        (
            "{\"channel\": \"a\", \"type\": \"t\", \"actor\": \"\\u0000\"}",
            422,
        ),
    ] {
        let request = server.post("/events", &Value::Null).body(body.to_owned());
        let answer = Answer::to(request).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    // Hundreds of them are told by ten.
    let answer = server.publish(&json!(vec![json!({}); 300])).await;
    assert_eq!(answer.problems().len(), 10);
    assert!(
        text(&answer.json["message"]).contains("590 more"),
        "{answer:?}"
    );
    let deep = format!("{}{}", "[".repeat(300_000), "]".repeat(300_000));
    let body = format!("{{\"channel\": \"a\", \"type\": \"t\", \"payload\": {deep}}}");
    let answer = Answer::to(server.post("/events", &Value::Null).body(body)).await;
    assert_eq!(answer.status, 422, "{answer:?}");
    let known = Answer::to(server.post("/events?channels=a", &event("a", 1))).await;
    assert_eq!(known.status, 400, "a parameter of another request");
    assert_eq!(rows(&database).await, 0);
}

/// Its next look is an hour off, and writers do not wake it.
async fn a_sleeping_feed_is_woken(database: Database) {
    let server = Running::start_with(&database, |config| {
        config.database.as_mut().expect("it has a table").wake = false;
        config.poll_interval = PollInterval {
            max: Duration::from_hours(1),
            min: Duration::from_hours(1),
        };
    })
    .await;
    let mut client = Client::connect(server.address).await;
    client.subscribe(&["tasks"]).await;
    for n in 0..3 {
        let ids = server.publish(&event("tasks", n)).await.ids();
        assert_eq!(client.hear_a("event").await["event"]["id"], ids[0]);
    }
}

async fn other_methods_are_told_which_there_are(database: Database) {
    let server = Running::start(&database).await;
    for (method, path, status, allowed) in [
        (Method::DELETE, "/events", 405, "GET, POST"),
        (Method::PUT, "/events", 405, "GET, POST"),
        (Method::GET, "/broadcast", 405, "POST"),
        (Method::POST, "/cursor", 405, "GET"),
        (Method::POST, "/sse", 405, "GET"),
        (Method::POST, "/nowhere", 404, ""),
    ] {
        let answer = Answer::to(server.request(method.clone(), path)).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
    }
    for path in ["/events", "/broadcast"] {
        let preflight = server
            .request(Method::OPTIONS, path)
            .header("origin", format!("http://{}", server.address))
            .header("access-control-request-method", "POST");
        let answer = Answer::to(preflight).await;
        assert_eq!(answer.status, 204);
        let headers = answer.header("access-control-allow-headers");
        assert!(headers.contains("content-type") && headers.contains("idempotency-key"));
        assert!(
            answer
                .header("access-control-allow-methods")
                .contains("POST")
        );
    }
}
