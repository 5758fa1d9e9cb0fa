//! `GET /sse`, as a browser's `EventSource` reads it.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::feed::{Feed, http, ids, soon, until};

/// What the HTML standard makes of a stream.
#[derive(Debug, Default, PartialEq)]
struct Message {
    name: String,
    data: String,
    id: String,
}

/// An `EventSource`, made of bytes.
pub struct Source {
    stream: BufReader<TcpStream>,
    head: Vec<String>,
    last_id: String,
    retry: Option<String>,
    left: Vec<u8>,
}

impl Source {
    pub async fn open(address: SocketAddr, query: &str, last_id: Option<&str>) -> Self {
        let mut stream = BufReader::new(TcpStream::connect(address).await.expect("a server"));
        let last = last_id.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!(
            "GET /sse?{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{last}\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            soon("a head", stream.read_line(&mut line))
                .await
                .expect("read");
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_ascii_lowercase());
        }
        assert!(head[0].contains(" 200 "), "{head:?}");
        Self {
            stream,
            head,
            last_id: String::new(),
            retry: None,
            left: Vec::new(),
        }
    }

    /// A line of the body, which comes in chunks.
    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.left.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.left.drain(..=end).collect();
                return Some(
                    String::from_utf8(line)
                        .expect("UTF-8")
                        .trim_end_matches('\n')
                        .to_owned(),
                );
            }
            let mut size = String::new();
            if soon("a chunk", self.stream.read_line(&mut size))
                .await
                .ok()?
                == 0
            {
                return None;
            }
            let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
            let mut chunk = vec![0; size + 2];
            tokio::io::AsyncReadExt::read_exact(&mut self.stream, &mut chunk)
                .await
                .ok()?;
            if size == 0 {
                return None;
            }
            self.left.extend(&chunk[..size]);
        }
    }

    /// The next message; None at the end of the stream.
    async fn next(&mut self) -> Option<Message> {
        let mut message = Message::default();
        let mut has_data = false;
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                if has_data {
                    message.id.clone_from(&self.last_id);
                    return Some(message);
                }
                message = Message::default();
                continue;
            }
            let (field, value) = line.split_once(": ").unwrap_or((&line, ""));
            match field {
                "data" => {
                    if has_data {
                        message.data.push('\n');
                    }
                    has_data = true;
                    message.data.push_str(value);
                }
                "event" => value.clone_into(&mut message.name),
                "id" => value.clone_into(&mut self.last_id),
                "retry" => self.retry = Some(value.to_owned()),
                _ => panic!("{line}"),
            }
        }
    }

    /// The next so many events of the feed.
    pub async fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            let message = self.next().await.expect("more");
            if message.name.is_empty() {
                events.push(serde_json::from_str(&message.data).expect("JSON"));
            }
        }
        events
    }

    async fn control(&mut self, name: &str) -> Value {
        let message = self.next().await.expect("more");
        assert_eq!(message.name, name, "{message:?}");
        serde_json::from_str(&message.data).expect("JSON")
    }
}

#[tokio::test]
async fn events_come_as_messages_and_the_last_id_resumes_all_channels() {
    let feed = Feed::start().await;
    let mut source = Source::open(feed.address, "channels=tasks,messages:*", None).await;
    for header in [
        "content-type: text/event-stream",
        "cache-control: no-cache, no-transform",
        "x-accel-buffering: no",
        "vary: origin",
    ] {
        assert!(
            source.head.contains(&header.to_owned()),
            "{:?}",
            source.head
        );
    }
    let subscribed = source.control("subscribed").await;
    assert_eq!(subscribed["channels"][1], "messages:*");
    let retry: u32 = source.retry.clone().expect("a time").parse().expect("ms");
    assert!((500..2500).contains(&retry));
    let rows = feed
        .insert(&["tasks", "plans", "messages:1", "plans"])
        .await;
    let events = source.events(2).await;
    assert_eq!(ids(&events), [rows[0], rows[2]]);
    assert_eq!(
        events[0]["event"]["payload"]["n"], 0,
        "the frame of the WebSocket"
    );
    // The position behind a batch whose last event was for others comes alone.
    let feed_is_at = feed.broadcaster.cursor();
    let behind = {
        feed.insert(&["plans", "tasks"]).await;
        source.events(1).await;
        source.last_id.clone()
    };
    assert!(behind.parse::<rowcast::Cursor>().expect("a cursor").id() > feed_is_at.id());
    drop(source);

    // The browser comes back: it repeats the URL, and tells the last id.
    let missed = feed.insert(&["messages:2", "tasks", "plans"]).await;
    until("the feed has seen them", async || {
        feed.broadcaster.cursor().id() >= missed.last().copied()
    })
    .await;
    let query = "channels=tasks,messages:*&since=now";
    let mut source = Source::open(feed.address, query, Some(&behind)).await;
    assert_eq!(source.control("subscribed").await["recovered"], true);
    assert_eq!(ids(&source.events(2).await), missed[..2]);
    source.control("caught_up").await;
    let live = feed.insert(&["tasks"]).await;
    assert_eq!(ids(&source.events(1).await), live);
}

#[tokio::test]
async fn a_browser_with_an_id_of_elsewhere_is_told_to_refetch_and_is_live() {
    let feed = Feed::start().await;
    let foreign = rowcast::Cursor::after_id(9, 9).to_string();
    for id in ["42", foreign.as_str()] {
        let mut source = Source::open(feed.address, "channels=tasks", Some(id)).await;
        let mut names = [source.next().await, source.next().await].map(|message| {
            let message = message.expect("more");
            (message.name, message.id)
        });
        names.sort();
        assert_eq!(
            names.each_ref().map(|(name, _)| &**name),
            ["reset", "subscribed"]
        );
        let live = feed.insert(&["tasks"]).await;
        assert_eq!(ids(&source.events(1).await), live);
        assert_ne!(source.last_id, id);
    }
}

#[tokio::test]
async fn events_may_be_named_by_their_type() {
    let feed = Feed::start().await;
    let mut source = Source::open(feed.address, "channels=tasks&named=1", None).await;
    source.control("subscribed").await;
    feed.insert(&["tasks"]).await;
    let message = source.next().await.expect("more");
    assert_eq!(message.name, "test.row");
    assert!(!message.id.is_empty());
}

#[tokio::test]
async fn a_payload_with_line_ends_stays_one_message() {
    let feed = Feed::start().await;
    let mut source = Source::open(feed.address, "channels=tasks", None).await;
    source.control("subscribed").await;
    feed.rows_text(
        "INSERT INTO events (channel, type, payload) VALUES ('tasks', 'x', '{' || char(10) || '\"a\":' || char(13) || char(10) || '1}')",
    )
    .await;
    let event = source.events(1).await.remove(0);
    assert_eq!(event["event"]["payload"]["a"], 1);
}

#[tokio::test]
async fn a_slow_reader_misses_nothing_and_one_who_leaves_is_forgotten() {
    let feed = Feed::start_with(|hub| {
        hub.outbox_bytes_max = 64 * 1024;
        hub.recent_bytes_max = 256 * 1024;
    })
    .await;
    let mut slow = Source::open(feed.address, "channels=*", None).await;
    slow.control("subscribed").await;
    let mut all = Vec::new();
    while feed.broadcaster.stats().slow_connections == 0 || all.len() < 20_000 {
        all.extend(feed.insert(&vec!["tasks"; 1000]).await);
        assert!(all.len() < 200_000, "it is still being waited for");
    }
    assert_eq!(ids(&slow.events(all.len()).await), all);
    drop(slow);
    until("it is gone", async || feed.broadcaster.client_count() == 0).await;
}

#[tokio::test]
async fn a_shutdown_ends_the_stream_after_a_word() {
    let feed = Feed::start().await;
    let mut source = Source::open(feed.address, "channels=tasks", None).await;
    source.control("subscribed").await;
    let running = feed.shut_down();
    let disconnect = source.control("disconnect").await;
    assert_eq!(disconnect["reconnect"], true);
    assert!(source.next().await.is_none());
    drop(source);
    soon("the end", running).await.expect("ended well");
}

#[tokio::test]
async fn mistakes_in_the_url_are_told() {
    let feed = Feed::start().await;
    for (query, part) in [
        ("", "channels"),
        ("channels=", "at least one character"),
        ("channels=a%20b", "' '"),
        (
            "channels=tasks&since=yesterday",
            "since is now, earliest or a cursor",
        ),
        ("chanels=tasks", "chanels"),
    ] {
        let request =
            format!("GET /sse?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = http(feed.address, &request).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.contains(part), "{query}: {}", answer.body);
    }
}

/// Whoever is cut off again and again in the midst of a large transaction gets on: there are positions in it.
#[tokio::test]
async fn a_browser_on_a_poor_line_gets_through_a_large_transaction() {
    let feed = Feed::start().await;
    let mut source = Source::open(feed.address, "channels=tasks", None).await;
    source.control("subscribed").await;
    let mut last = source.last_id.clone();
    drop(source);
    let channels: Vec<_> = (0..1000).map(|n| ["tasks", "plans"][n % 2]).collect();
    let rows = feed.insert(&channels).await;
    let mut missing: std::collections::BTreeSet<_> = rows.iter().copied().step_by(2).collect();
    for _ in 0..100 {
        let mut source = Source::open(feed.address, "channels=tasks", Some(&last)).await;
        source.control("subscribed").await;
        // About six kilobytes.
        for _ in 0..40 {
            for id in ids(&source.events(1).await) {
                missing.remove(&id);
            }
            if missing.is_empty() {
                return;
            }
        }
        last = source.last_id.clone();
    }
    panic!("{} events are out of reach", missing.len());
}
