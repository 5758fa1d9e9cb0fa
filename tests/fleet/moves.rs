//! A client takes its place from one server to another, whatever way it reads on each: also to one that is behind the place.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::feed::{Client, http};
use crate::support::process::Process;
use crate::support::{Database, until, within};

/// How events are read.
#[derive(Debug, Clone, Copy)]
enum Way {
    WebSocket,
    Stream,
    Poll,
}

const WAYS: [Way; 3] = [Way::WebSocket, Way::Stream, Way::Poll];

/// One connection that reads from a place on.
enum Reader {
    WebSocket(Box<Client>),
    Stream(BufReader<TcpStream>),
    Poll(SocketAddr, String),
}

impl Reader {
    /// Returns when the server has taken note of it, where that can be told.
    async fn open(way: Way, server: &Process, after: &str) -> Self {
        let address = address(server);
        match way {
            Way::WebSocket => {
                let mut client = Client::connect(address).await;
                client
                    .say(&json!({"type": "subscribe", "channels": ["tasks"], "since": after}))
                    .await;
                let subscribed = client.hear_a("subscribed").await;
                assert_eq!(subscribed["recovered"], true, "{subscribed}");
                Self::WebSocket(Box::new(client))
            }
            Way::Stream => {
                let stream = TcpStream::connect(address).await.expect("a server");
                let mut stream = BufReader::new(stream);
                let request = format!(
                    "GET /sse?channels=tasks HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {after}\r\n\r\n"
                );
                let sent = stream.write_all(request.as_bytes()).await;
                sent.expect("sent");
                let status = line(&mut stream).await;
                assert!(status.contains(" 200 "), "{status}");
                Self::Stream(stream)
            }
            Way::Poll => Self::Poll(address, after.to_owned()),
        }
    }

    /// The numbers that come until this one, and the place after them.
    async fn read_until(&mut self, last: i64) -> (Vec<i64>, String) {
        let (mut numbers, mut cursor) = (Vec::new(), String::new());
        while !numbers.contains(&last) || cursor.is_empty() {
            let frames = match self {
                Self::WebSocket(client) => vec![client.hear().await],
                Self::Stream(stream) => {
                    let line = within("a line", line(stream)).await;
                    let data = line.strip_prefix("data: ");
                    data.map(|data| serde_json::from_str(data).expect("JSON"))
                        .into_iter()
                        .collect()
                }
                Self::Poll(address, after) => {
                    let answer = poll(*address, after).await;
                    let place = answer["cursor"].as_str().expect("a cursor");
                    place.clone_into(after);
                    let mut frames = answer["events"].as_array().expect("a list").clone();
                    assert_eq!(answer["reset"], Value::Null);
                    frames.push(json!({"type": "cursor", "cursor": place}));
                    frames
                }
            };
            for frame in frames {
                assert_ne!(frame["type"], "reset", "{frame}");
                if let Some(number) = frame["event"]["payload"].as_i64() {
                    numbers.push(number);
                    cursor.clear();
                }
                if let Some(place) = frame["cursor"].as_str() {
                    place.clone_into(&mut cursor);
                }
            }
        }
        (numbers, cursor)
    }
}

pub fn address(server: &Process) -> SocketAddr {
    let rest = server.url.strip_prefix("ws://").expect("a URL");
    let host = rest.split('/').next().expect("a host");
    host.parse().expect("an address")
}

async fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.expect("a line");
    assert!(read > 0, "the server has ended it");
    line.trim_end().to_owned()
}

pub async fn poll(address: SocketAddr, after: &str) -> Value {
    let path = format!("/events?channels=tasks&after={after}&wait=10s");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = http(address, &request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

/// Has a server insert an event. It looks at the table then.
async fn publish(server: &Process, number: i64) {
    let body = json!({"channel": "tasks", "type": "t", "payload": number}).to_string();
    let mut stream = TcpStream::connect(address(server)).await.expect("a server");
    let request = format!(
        "POST /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let sent = stream.write_all(request.as_bytes()).await;
    sent.expect("sent");
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer))
        .await
        .expect("an answer");
    assert!(answer.contains(" 201 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_good_on_every_server_and_by_every_way() {
    let database = Database::postgres().await;
    let ahead = Process::start(&database.url, &[]);
    // Looks at the table when it inserts, and else not at all.
    let behind = Process::start(&database.url, &["--wake", "off", "--poll-interval", "1h"]);
    let third = Process::start(&database.url, &["--max-recent-bytes", "0"]);
    let mut backend = database.connect().await;
    let cursor = http(
        address(&ahead),
        "GET /cursor HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .await;
    let cursor: Value = serde_json::from_str(&cursor.body).expect("JSON");
    let mut place = cursor["cursor"].as_str().expect("a cursor").to_owned();
    let mut n = 0;
    for from in WAYS {
        for to in WAYS {
            eprintln!("{from:?} to {to:?}");
            let mut first = Reader::open(from, &ahead, &place).await;
            // One that stays open holds up no place, and is in none.
            let mut slow = database.connect().await;
            slow.run("BEGIN; SELECT pg_current_xact_id()").await;
            for number in n + 1..=n + 3 {
                backend.insert(number).await;
            }
            let (got, after) = first.read_until(n + 3).await;
            assert_eq!(got, [n + 1, n + 2, n + 3]);
            // It has not seen one of these three.
            let mut second = Reader::open(to, &behind, &after).await;
            let publishing = async {
                publish(&behind, n + 4).await;
                slow.insert(n + 5).await;
                slow.run("COMMIT").await;
                publish(&behind, n + 6).await;
            };
            let ((got, last), ()) = tokio::join!(second.read_until(n + 6), publishing);
            let expected = [n + 4, n + 5, n + 6];
            assert_eq!(got, expected, "on a server that was behind");
            let mut again = Reader::open(to, &third, &after).await;
            assert_eq!(again.read_until(n + 6).await.0, expected, "on a third one");
            let mut on = Reader::open(to, &third, &last).await;
            backend.insert(n + 7).await;
            let (got, end) = on.read_until(n + 7).await;
            assert_eq!(got, [n + 7], "from there on");
            (place, n) = (end, n + 7);
        }
    }
}

/// A client that is ahead of a server is told nothing twice, and what comes is there as soon as the server looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_behind_is_asked_at_once_for_what_its_client_knows() {
    let database = Database::postgres().await;
    let ahead = Process::start(&database.url, &[]);
    let behind = Process::start(&database.url, &["--wake", "off", "--poll-interval", "1h"]);
    let mut backend = database.connect().await;
    backend.insert(1).await;
    let after = until("the first server to know it", async || {
        let answer = poll(address(&ahead), "earliest").await;
        (answer["events"].as_array()?.len() == 1).then(|| answer["cursor"].clone())
    })
    .await;
    let after = after.as_str().expect("a cursor");
    // Committed, and its client does not know it.
    backend.insert(2).await;
    for way in WAYS {
        let mut reader = Reader::open(way, &behind, after).await;
        let (got, _) = within("what is in the table", reader.read_until(2)).await;
        assert_eq!(got, [2], "{way:?}");
    }
}
