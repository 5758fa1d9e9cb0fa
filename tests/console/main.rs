//! The console from the outside: the page and what browsers are told about it, and who is told what of the server.
#![cfg(feature = "sqlite")]

#[path = "../support/mod.rs"]
mod support;

mod page;
mod program;
mod told;

use serde_json::Value;
use support::feed::{Answer, Feed, http};

/// Asks a server by a name of this machine, with these header lines.
async fn ask(feed: &Feed, method: &str, path: &str, lines: &[&str]) -> Answer {
    ask_as(feed, "localhost", method, path, lines).await
}

/// The same by whatever name.
async fn ask_as(feed: &Feed, host: &str, method: &str, path: &str, lines: &[&str]) -> Answer {
    let lines: String = lines.iter().flat_map(|line| [*line, "\r\n"]).collect();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n");
    http(feed.address, &request).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find_map(|line| {
        let (known, value) = line.split_once(": ")?;
        (known == name).then_some(value)
    })
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
}
