//! Clients that open connections and do not get to the point, and heads that mean one thing to one and another to others.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::feed::{Client, Feed, soon, until};
use crate::support::process::Process;
use crate::support::temp_dir;

/// What comes back until the server hangs up. A reset counts as the end.
async fn answer_to(feed: &Feed, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(feed.address).await.expect("up");
    stream.write_all(bytes).await.expect("written");
    let mut answer = Vec::new();
    let _ = soon("the end", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn heads_that_contradict_themselves_are_refused_and_the_connection_ends() {
    let feed = Feed::start().await;
    let next = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let hosts = "Host: localhost\r\n";
    for head in [
        "GET /cursor HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n",
        "GET /cursor HTTP/1.1\r\nContent-Length: 4, 5\r\n",
        "GET /cursor HTTP/1.1\r\nContent-Length: +4\r\n",
        "GET /cursor HTTP/1.1\r\nContent-Length: -1\r\n",
        "GET /cursor HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n",
        "GET /cursor HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "GET /cursor HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "GET /cursor HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
        "GET /cursor HTTP/1.1\r\nTransfer-Encoding: gzip\r\n",
        "GET /cursor HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n",
        "GET /cursor HTTP/1.1\r\nTransfer-Encoding : chunked\r\n",
        "GET /cursor HTTP/1.1\r\nX-A: 1\r\n folded\r\n",
        "GET /cursor HTTP/1.1\r\n Host: folded\r\n",
        "GET /cursor HTTP/1.1\r\nX-A: a\0b\r\n",
        "GET /cursor HTTP/1.1\r\nX\0A: b\r\n",
        "GET /cursor HTTP/1.1\r\nX-A: a\rX-B: b\r\n",
        "GET /cur\rsor HTTP/1.1\r\n",
        "GET /cur\0sor HTTP/1.1\r\n",
        "GET /cursor HTTP/1.1\r\nno colon\r\n",
        "GET /cursor HTTP/1.1\r\n: no name\r\n",
        "GET /cursor HTTP/9.9\r\n",
        "GET  /cursor  HTTP/1.1\r\n",
    ] {
        let answer = answer_to(&feed, format!("{head}{hosts}\r\n{next}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{head:?}: {answer}");
    }
    // A lone line feed ends a line (RFC 9112, section 2.2): what follows is a header of its own, never part of a value.
    let split =
        "GET /cursor HTTP/1.1\r\nX-A: a\nTransfer-Encoding: chunked\r\nHost: localhost\r\n\r\n";
    let answer = answer_to(&feed, split.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn a_head_has_a_largest_size() {
    let feed = Feed::start().await;
    let long = "a".repeat(20_000);
    let many = "X-A: b\r\n".repeat(100);
    for head in [
        format!("GET /cursor?{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET /cursor HTTP/1.1\r\nHost: localhost\r\nX-A: {long}\r\n\r\n"),
        format!("GET /cursor HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
    ] {
        let answer = answer_to(&feed, head.as_bytes()).await;
        let refused = ["HTTP/1.1 431", "HTTP/1.1 414", "HTTP/1.1 400"];
        assert!(
            refused.iter().any(|start| answer.starts_with(start)),
            "{answer}"
        );
    }
    let fits = "b".repeat(8000);
    let head = format!(
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {fits}\r\n\r\n"
    );
    let answer = answer_to(&feed, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn who_does_not_get_to_the_point_is_cut_off() {
    let feed = Feed::start_configured(|config| {
        config.network.handshake_timeout = Duration::from_millis(200);
    })
    .await;
    for begun in [
        "",
        "PRI * HT",
        "GET",
        "GET /ws HTTP/1.1\r\nHost: localhost\r\n",
    ] {
        assert!(
            !answer_to(&feed, begun.as_bytes()).await.contains("200"),
            "{begun}"
        );
    }
    // Idle after an answer.
    let asked = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = answer_to(&feed, asked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // One byte at a time is no progress.
    let mut slow = TcpStream::connect(feed.address).await.expect("up");
    soon("it is cut off", async {
        while slow.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// How many files a process has open.
fn open_files(process: &Process) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", process.id()));
    files.expect("a Linux system").count()
}

/// Thousands of half-open handshakes keep nobody out, and what they cost is bounded.
#[tokio::test(flavor = "multi_thread")]
async fn half_open_handshakes_keep_nobody_out() {
    // What the server keeps waiting, and what is beyond it.
    const WAITING_MAX: usize = 4096;
    let files = rlimit::increase_nofile_limit(u64::MAX).expect("a limit") as usize;
    let attackers = (WAITING_MAX + 1000).min(files - 500);
    let folder = temp_dir();
    let url = format!("sqlite://{}", folder.path().join("feed.db").display());
    let server = Process::start(&url, &["--handshake-timeout", "30s"]);
    let address = server
        .url
        .trim_start_matches("ws://")
        .trim_end_matches("/ws")
        .parse()
        .expect("an address");
    // Once, so that what is allocated at the first use is there.
    Client::connect(address).await.close().await;
    let (files_before, memory_before) = (open_files(&server), server.rss_bytes());
    let mut half_open = Vec::new();
    let half = "GET /ws HTTP/1.1\r\nHost: localhost\r\nX-A: ";
    let filling = "a".repeat(4000);
    for n in 0..attackers {
        let mut stream = TcpStream::connect(address).await.expect("up");
        stream.write_all(half.as_bytes()).await.expect("written");
        stream.write_all(filling.as_bytes()).await.expect("written");
        half_open.push(stream);
        if n % 500 == 0 {
            // A good one in between.
            let mut client = Client::connect(address).await;
            client.subscribe(&["tasks"]).await;
            client.close().await;
        }
    }
    let mut client = Client::connect(address).await;
    client.subscribe(&["tasks"]).await;
    let waiting = open_files(&server) - files_before;
    assert!(waiting <= WAITING_MAX + 20, "{waiting} wait");
    let grown = server.rss_bytes().saturating_sub(memory_before);
    eprintln!(
        "{attackers} half-open: {waiting} wait, {} KiB more",
        grown / 1024
    );
    assert!(grown < 4096 * 40 * 1024, "{grown} bytes for those who wait");
    drop(half_open);
    until("they are forgotten", async || {
        open_files(&server) <= files_before + 20
    })
    .await;
    client.close().await;
}
