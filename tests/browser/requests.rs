//! `GET /events` as a page's loop of `fetch` reads it.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::front::Fate;
use crate::scene::{Scene, seed};
use crate::support::until;

/// Requests of which the answers are lost, in whole or in part.
const CUTS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_of_fetches_that_fail_gets_every_event_once() {
    let mut random = seed("a_loop_of_fetches_that_fail_gets_every_event_once");
    let mut scene = Scene::start(include_str!("requests.js")).await;
    scene.noted("cursor", 1).await;

    scene
        .front
        .storm((0..CUTS).map(|_| Fate::draw(&mut random)));
    while scene.front.fates_left() > 0 {
        let count = random.usize(1..20);
        let channels: Vec<_> = (0..count)
            .map(|_| ["tasks", "plans"][random.usize(..2)])
            .collect();
        scene.insert(&channels).await;
        sleep(Duration::from_millis(random.u64(20..200))).await;
    }
    scene.insert(&["tasks"]).await;

    let expected = scene.ids(|channel| channel == "tasks");
    let events = scene.noted("event", expected.len()).await;
    let ids: Vec<_> = events.iter().filter_map(|note| note[1].as_i64()).collect();
    assert_eq!(ids, expected);
    assert!(!scene.notes("lost").is_empty());
    for answer in scene.notes("answer") {
        assert_eq!((&answer[1], &answer[3]), (&Value::from(200), &Value::Null));
    }

    // When nothing happens it asks the same again, and the browser has the answer: it adds If-None-Match by itself.
    let unchanged = async || {
        let passages = scene.front.passages();
        let mut answers = passages.iter().map(|it| &it.passed);
        answers.find(|it| it.starts_with(b"HTTP/1.1 304")).map(drop)
    };
    until("an answer that is known", unchanged).await;
    let answers = scene.notes("answer").len();
    let last = scene.noted("answer", answers + 1).await;
    assert_eq!(last[answers], serde_json::json!(["answer", 200, 0, null]));
    scene.insert(&["tasks"]).await;
    scene.noted("event", expected.len() + 1).await;
}
