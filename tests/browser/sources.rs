//! `GET /sse` as Chromium's own `EventSource` reads it, and comes back to it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::front::Fate;
use crate::scene::{Scene, seed};
use crate::support::until;

/// Connections that are cut, of all sources together.
const CUTS: usize = 24;

/// What a page listens to, the names of its events, and which channels that are.
type Wish = (&'static str, &'static [&'static str], fn(&str) -> bool);

/// No more than four: a browser has six connections to a host, and the page's notes need one.
const WISHES: [Wish; 4] = [
    ("/sse?channels=tasks", &[], |channel| channel == "tasks"),
    ("/sse?channels=*", &[], |_| true),
    (
        "/sse?channels=messages:*,plans&named=1",
        &["messages.created", "plans.created"],
        |channel| channel != "tasks",
    ),
    // Most of what is committed is for others.
    ("/sse?channels=plans", &[], |channel| channel == "plans"),
];

fn script(wishes: &[Wish], renews: bool) -> String {
    let sources = wishes
        .iter()
        .map(|(url, names, _)| json!({"url": url, "names": names, "renews": renews}));
    let sources = Value::Array(sources.collect());
    format!("const SOURCES = {sources};{}", include_str!("sources.js"))
}

/// An event as a page received it.
#[derive(Debug, Clone, PartialEq)]
struct Arrival {
    /// How many times its source had connected.
    connection: u64,
    id: i64,
    last_event_id: String,
}

fn arrivals(scene: &Scene, source: usize) -> Vec<Arrival> {
    let notes = scene.notes("event").into_iter();
    notes
        .filter(|note| note[1] == source)
        .map(|note| Arrival {
            connection: note[2].as_u64().expect("a count"),
            id: note[3].as_i64().expect("events have ids"),
            last_event_id: note[4].as_str().expect("a text").to_owned(),
        })
        .collect()
}

/// What arrived, without repeats.
fn firsts(arrivals: &[Arrival]) -> Vec<i64> {
    let mut seen = BTreeSet::new();
    let ids = arrivals.iter().map(|arrival| arrival.id);
    ids.filter(|&id| seen.insert(id)).collect()
}

/// Holds what arrived to the promise: in order within a connection, and nothing again that the browser had a position
/// behind. Gives the number of repeats.
fn check_repeats(arrivals: &[Arrival]) -> usize {
    let mut known = BTreeSet::new();
    let mut settled = 0;
    let mut repeats = 0;
    for (n, arrival) in arrivals.iter().enumerate() {
        if let Some(before) = n.checked_sub(1).map(|n| &arrivals[n]) {
            let is_same = before.connection == arrival.connection;
            assert!(
                !is_same || before.id < arrival.id,
                "{before:?}, then {arrival:?} without a cut between them"
            );
            // The new position is this event's own or one before it, and in any case after the last.
            if before.last_event_id != arrival.last_event_id {
                settled = known.last().copied().unwrap_or_default();
            }
        }
        assert!(
            arrival.id > settled,
            "{arrival:?} again, though {settled} was behind the browser"
        );
        repeats += usize::from(!known.insert(arrival.id));
    }
    repeats
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_whose_connections_are_cut_misses_nothing() {
    let mut random = seed("a_page_whose_connections_are_cut_misses_nothing");
    let mut scene = Scene::start(&script(&WISHES, false)).await;
    scene.noted("subscribed", WISHES.len()).await;

    let fates: Vec<_> = (0..CUTS).map(|_| Fate::draw(&mut random)).collect();
    scene.front.storm(fates);
    let mut is_first_server = true;
    while scene.front.fates_left() > 0 {
        let count = random.usize(1..6);
        let channels: Vec<_> = (0..count)
            .map(|_| {
                [
                    "tasks",
                    "tasks",
                    "tasks",
                    "messages:1",
                    "messages:2",
                    "plans",
                ][random.usize(..6)]
            })
            .collect();
        scene.insert(&channels).await;
        if is_first_server && scene.front.fates_left() < CUTS / 2 {
            is_first_server = false;
            scene.restart_server();
        }
        sleep(Duration::from_millis(random.u64(5..50))).await;
    }
    scene.insert(&["tasks", "messages:1", "plans"]).await;

    let mut repeats = 0;
    for (source, (url, _, is_wanted)) in WISHES.iter().enumerate() {
        let expected = scene.ids(is_wanted);
        until(&format!("the last row at {url}"), async || {
            let last = expected.last();
            arrivals(&scene, source)
                .iter()
                .find(|it| Some(&it.id) == last)
                .map(drop)
        })
        .await;
        let arrived = arrivals(&scene, source);
        assert_eq!(firsts(&arrived), expected, "{url}");
        repeats += check_repeats(&arrived);
    }
    assert_eq!(scene.notes("reset"), [] as [Value; 0]);
    assert_eq!(scene.notes("closed"), [] as [Value; 0], "a source gave up");

    let passages = scene.front.passages();
    let cut: Vec<_> = passages.iter().filter(|it| it.is_cut).collect();
    let torn = cut.iter().filter(|it| it.is_torn()).count();
    eprintln!(
        "{} rows, {} connections, {} cut, {torn} of them within a message, {repeats} events repeated",
        scene.rows.len(),
        passages.len(),
        cut.len()
    );
    assert!(cut.len() >= 20 && torn >= 5, "too calm a day");
    // It is the browser that resumes: the page has but the URL.
    for (n, passage) in passages.iter().enumerate().skip(WISHES.len()) {
        let last = passage
            .last_event_id
            .as_deref()
            .expect("it has an id since it subscribed");
        let mut before = passages[..n].iter().filter(|it| it.path == passage.path);
        let line = format!("id: {last}\n");
        assert!(
            before.any(|it| String::from_utf8_lossy(&it.passed).contains(&line)),
            "{last} was not sent to {}",
            passage.path
        );
    }
}

/// The position after events for others comes as an `id:` without data. It makes no message, and is remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_comes_back_with_the_id_of_no_message() {
    let mut scene = Scene::start(&script(&WISHES[..1], false)).await;
    scene.noted("subscribed", 1).await;

    // Behind events of ours, and after a while in which there was nothing for us.
    for (n, channels) in [&["tasks", "plans"][..], &["plans"]]
        .into_iter()
        .enumerate()
    {
        scene.insert(channels).await;
        let cursor = scene.cursor().await;
        let alone = format!("\n\nid: {cursor}\n\n");
        // The end of what one chunk has, or all of it.
        let after_size = format!("\r\nid: {cursor}\n\n");
        let passage = scene
            .passage(n, |it| {
                let passed = String::from_utf8_lossy(&it.passed);
                passed.contains(&alone) || passed.contains(&after_size)
            })
            .await;
        assert_ne!(passage.last_event_id.as_ref(), Some(&cursor));
        scene.front.storm([]);
        let next = scene.passage(n + 1, |_| true).await;
        assert_eq!(next.last_event_id, Some(cursor.clone()));
        // And the page is told by what comes next.
        let subscribed = &scene.noted("subscribed", n + 2).await[n + 1];
        assert_eq!(subscribed[4], cursor.as_str());
        let frame: Value =
            serde_json::from_str(subscribed[3].as_str().expect("text")).expect("JSON");
        assert_eq!(frame["recovered"], true);
    }
    scene.insert(&["tasks"]).await;
    scene.noted("event", 2).await;
    let arrived = arrivals(&scene, 0);
    assert_eq!(firsts(&arrived), scene.ids(|channel| channel == "tasks"));
    assert_eq!(check_repeats(&arrived), 0);
}

/// An answer without the right content type, such as a 502 of a proxy whose server restarts, is the end of a source. The
/// page opens another, with the last id in the URL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_whose_source_gives_up_opens_another_since_its_last_id() {
    let mut scene = Scene::start(&script(&WISHES[..1], true)).await;
    scene.noted("subscribed", 1).await;
    for round in 1..=2 {
        scene.insert(&["tasks", "plans", "tasks"]).await;
        scene.noted("event", 4 * round - 2).await;
        scene.front.storm([Fate::GIVE_UP]);
        scene.insert(&["tasks", "plans", "tasks"]).await;
        scene.noted("closed", round).await;
        scene.noted("event", 4 * round).await;
    }
    let arrived = arrivals(&scene, 0);
    assert_eq!(firsts(&arrived), scene.ids(|channel| channel == "tasks"));
    check_repeats(&arrived);
    assert_eq!(scene.notes("reset"), [] as [Value; 0]);
}
