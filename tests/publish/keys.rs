//! Of what is published with a key there is one, whoever sends it how often.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::Database;
use crate::support::token::token;
use crate::{Answer, Running, event, rows};

on_both! {
    a_key_is_good_for_one_event
    a_request_with_a_key_may_be_sent_again
    a_key_for_something_else_is_refused
    keys_of_users_are_their_own
    many_at_once_make_one_row
    the_same_keys_in_another_order_are_taken
}

fn keyed(channel: &str, key: &str) -> Value {
    json!({"channel": channel, "type": "test.row", "dedupKey": key})
}

async fn a_key_is_good_for_one_event(database: Database) {
    let server = Running::start(&database).await;
    let first = server.publish(&keyed("tasks", "k")).await;
    assert_eq!(first.status, 201);
    let again = server.publish(&keyed("tasks", "k")).await;
    assert_eq!((again.status, again.ids()), (200, first.ids()));
    assert_eq!(again.duplicates(), first.ids());
    assert!(again.json["cursor"].is_string());
    let mixed = server
        .publish(&json!([
            keyed("tasks", "new"),
            event("tasks", 1),
            keyed("tasks", "k"),
            keyed("tasks", "new"),
            event("tasks", 2)
        ]))
        .await;
    assert_eq!(mixed.status, 201, "some are new");
    let ids = mixed.ids();
    assert_eq!(ids[2], first.ids()[0]);
    assert_eq!(ids[3], ids[0], "the same within the request");
    assert!(ids[0] < ids[1] && ids[1] < ids[4], "{ids:?}");
    assert_eq!(mixed.duplicates(), [ids[2], ids[3]]);
    assert_eq!(rows(&database).await, 4);
}

async fn a_request_with_a_key_may_be_sent_again(database: Database) {
    let server = Running::start(&database).await;
    let body = json!([event("tasks", 1), event("tasks", 2), keyed("tasks", "own")]);
    let send = async |key: &str| {
        let request = server.post("/events", &body);
        Answer::to(request.header("Idempotency-Key", key)).await
    };
    let first = send("request 1").await;
    let again = send("request 1").await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(again.ids(), first.ids());
    assert_eq!(again.duplicates(), first.ids());
    let other = send("request 2").await;
    assert_eq!(other.status, 201);
    assert_eq!(other.duplicates(), [first.ids()[2]], "its own key counts");
    // A key of an event is none of a request.
    let event = server.publish(&keyed("tasks", "request 1:0")).await;
    assert_eq!(event.status, 201);
    assert_eq!(rows(&database).await, 6);
    for bad in ["", " ", &"x".repeat(1001)] {
        assert_eq!(send(bad).await.status, 400, "{bad:?}");
    }
    let twice = server.post("/events", &body).header("Idempotency-Key", "a");
    let twice = Answer::to(twice.header("Idempotency-Key", "b")).await;
    assert_eq!(twice.status, 400);
}

async fn a_key_for_something_else_is_refused(database: Database) {
    let server = Running::start(&database).await;
    let ids = server.publish(&keyed("tasks", "k")).await.ids();
    let other_type = json!({"channel": "tasks", "type": "other", "dedupKey": "k"});
    let other_entity =
        json!({"channel": "tasks", "type": "test.row", "entityId": "e", "dedupKey": "k"});
    for (body, index) in [
        (json!([event("tasks", 1), keyed("plans", "k")]), 1),
        (other_type, 0),
        (other_entity, 0),
        (
            json!([keyed("tasks", "n"), event("a", 1), keyed("plans", "n")]),
            2,
        ),
    ] {
        let answer = server.publish(&body).await;
        assert_eq!((answer.status, &*answer.error()), (422, "dedup_key_reused"));
        assert_eq!(answer.problems(), [(index, "dedupKey".into())]);
    }
    assert_eq!(rows(&database).await, 1, "nothing is left of them");
    assert_eq!(server.publish(&keyed("tasks", "k")).await.ids(), ids);
}

async fn keys_of_users_are_their_own(database: Database) {
    let server = Running::guarded(&database).await;
    let publishers = [Some("ann"), Some("1:ann"), Some("ann:event"), None];
    let mut all = Vec::new();
    for user in publishers {
        let mut claims = json!({"publish": ["*"]});
        if let Some(user) = user {
            claims["sub"] = json!(user);
        }
        let token = token(claims);
        for key in ["k", "event:k", "ann:event:k"] {
            let answer = server.publish_as(&token, &keyed("tasks", key)).await;
            assert_eq!(answer.status, 201, "{user:?} {key}: {answer:?}");
            all.extend(answer.ids());
            let again = server.publish_as(&token, &keyed("tasks", key)).await;
            assert_eq!(again.ids(), answer.ids());
        }
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 12, "nobody has the event of another");
    // A writer of rows is not found out either.
    let mut backend = database.connect().await;
    backend
        .run("INSERT INTO events (channel, type, dedup_key) VALUES ('tasks', 'test.row', 'secret')")
        .await;
    let token = token(json!({"publish": ["*"], "sub": "ann"}));
    let answer = server.publish_as(&token, &keyed("tasks", "secret")).await;
    assert_eq!(answer.status, 201);
}

async fn many_at_once_make_one_row(database: Database) {
    const AT_ONCE: usize = 12;
    let servers = [
        Running::start(&database).await,
        Running::start(&database).await,
    ];
    for round in 0..5 {
        let barrier = Arc::new(Barrier::new(AT_ONCE));
        let sending = (0..AT_ONCE).map(|n| {
            let request = servers[n % 2].post("/events", &event("tasks", round));
            let request = request.header("Idempotency-Key", format!("round {round}"));
            let barrier = Arc::clone(&barrier);
            tokio::spawn(async move {
                barrier.wait().await;
                Answer::to(request).await
            })
        });
        let mut answers = Vec::new();
        for sent in sending.collect::<Vec<_>>() {
            answers.push(sent.await.expect("it does not panic"));
        }
        let ids: Vec<_> = answers.iter().flat_map(Answer::ids).collect();
        assert_eq!(ids, [ids[0]; AT_ONCE]);
        let made = answers.iter().filter(|answer| answer.status == 201);
        assert_eq!(made.count(), 1, "one of them inserted it");
        assert_eq!(rows(&database).await, round + 1);
    }
}

/// Two that wait for each other are no error.
async fn the_same_keys_in_another_order_are_taken(database: Database) {
    const KEYS: usize = 100;
    let server = Running::start_with(&database, |config| {
        config.network.publish.events_per_minute_max = 0;
    })
    .await;
    for round in 0..3 {
        let mut events: Vec<_> = (0..KEYS)
            .map(|n| keyed("tasks", &format!("{round}-{n}")))
            .collect();
        let forth = server.post("/events", &json!(events));
        events.reverse();
        let back = server.post("/events", &json!(events));
        let forth = tokio::spawn(Answer::to(forth));
        let back = tokio::spawn(Answer::to(back));
        let forth = forth.await.expect("it does not panic").ids();
        let mut back = back.await.expect("it does not panic").ids();
        back.reverse();
        assert_eq!(forth, back);
    }
    assert_eq!(rows(&database).await, 3 * KEYS as i64);
}
