//! The exchanges of docs/protocol, replayed to the letter: a real server with all presets at once, a real client, and rows
//! that SQL inserts. docs/protocol/README.md explains their format.
#![cfg(feature = "sqlite")]

#[path = "../support/mod.rs"]
mod support;

mod exchange;
mod pattern;
mod player;

use std::collections::BTreeSet;

use exchange::{Exchange, Step};
use futures_util::future::{join, join_all};
use player::{Scene, play};
use rowcast::Presets;

/// Frames of the default protocol, by what they are called in presets.
const DEFAULT_FRAMES: &[&str] = &[
    "auth_expiring",
    "auth_ok",
    "caught_up",
    "cursor",
    "disconnect",
    "error",
    "event",
    "heartbeat",
    "pong",
    "presence",
    "reset",
    "subscribed",
    "unsubscribed",
    "welcome",
];

#[tokio::test]
async fn every_exchange_goes_as_it_is_written() {
    let all = Exchange::all();
    let (own, shared): (Vec<_>, Vec<_>) = all
        .iter()
        .partition(|(_, exchange)| exchange.has_own_server());
    let shared = async {
        let scene = Scene::start(&exchange::Server::default()).await;
        let mut wrong = Vec::new();
        for (name, exchange) in shared {
            wrong.extend(wrong_with(name, play(exchange, &scene).await));
        }
        wrong
    };
    let own = join_all(own.into_iter().map(async |(name, exchange)| {
        let scene = Scene::start(&exchange.server).await;
        wrong_with(name, play(exchange, &scene).await)
    }));
    let (mut wrong, more) = join(shared, own).await;
    wrong.extend(more.into_iter().flatten());
    assert!(
        wrong.is_empty(),
        "{} of {} are not as written:\n{}",
        wrong.len(),
        all.len(),
        wrong.join("\n")
    );
}

fn wrong_with(name: &str, played: Result<(), String>) -> Option<String> {
    played.err().map(|error| format!("{name}: {error}"))
}

#[test]
fn every_preset_has_an_exchange_with_each_of_its_frames() {
    let all = Exchange::all();
    let presets = Presets::default();
    let known: BTreeSet<_> = presets.names().collect();
    for (name, exchange) in &all {
        let preset = &*exchange.preset;
        assert!(known.contains(preset), "{name}: there is no {preset:?}");
        assert!(
            name.starts_with(preset),
            "{name}: its name begins with its preset's, {preset}"
        );
    }
    for preset in presets.names() {
        let shown: BTreeSet<_> = all
            .iter()
            .filter(|(_, exchange)| exchange.preset == preset)
            .flat_map(|(_, exchange)| &exchange.steps)
            .filter_map(|step| match step {
                Step::Server { frame, .. } => Some(frame.as_str()),
                _ => None,
            })
            .collect();
        for frame in frames_of(preset) {
            assert!(
                shown.contains(&*frame),
                "no exchange of {preset} shows its `{frame}`"
            );
        }
    }
}

/// What a preset writes down, or all there is where it is the default protocol.
fn frames_of(preset: &str) -> Vec<String> {
    let source = Presets::source(preset).expect("it is one of ours");
    let table: toml::Table = source.parse().expect("TOML");
    let server = table["preset"][preset].get("server");
    match server.and_then(toml::Value::as_table) {
        Some(server) => server.keys().cloned().collect(),
        None => DEFAULT_FRAMES.iter().map(|&frame| frame.into()).collect(),
    }
}
