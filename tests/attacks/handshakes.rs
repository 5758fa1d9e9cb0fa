//! Ten thousand clients that begin a handshake and never end it, and heads that name two senders.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use crate::support::feed::{Client, Feed, http};
use crate::support::process::Process;
use crate::support::temp_dir;
use crate::support::token::{ask_for_tokens, token_for};

/// Set for the processes that attack: where, and with how many connections. Each has a limit of open files of its own.
const ATTACKER: &str = "ROWCAST_HALF_OPEN";

const ATTACKERS: usize = 2;
const EACH: usize = 5000;

/// Ten thousand half-open handshakes, from two processes. Takes 15,000 open files of the machine; for some 10 s.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as many ports and files as machines have; run it alone with --ignored"]
async fn ten_thousand_half_open_handshakes_keep_nobody_out() {
    let folder = temp_dir();
    let url = format!("sqlite://{}", folder.path().join("feed.db").display());
    let server = Process::start(&url, &["--handshake-timeout", "5m"]);
    let address = server
        .url
        .trim_start_matches("ws://")
        .trim_end_matches("/ws");
    let address: SocketAddr = address.parse().expect("an address");
    Client::connect(address).await.close().await;
    let before = server.rss_bytes();
    let mut attackers: Vec<_> = (0..ATTACKERS)
        .map(|_| {
            Command::new(env::current_exe().expect("this program"))
                .args(["--exact", "handshakes::attacker", "--nocapture"])
                .env(ATTACKER, address.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("an attacker starts")
        })
        .collect();
    for attacker in &mut attackers {
        let stdout = attacker.stdout.take().expect("piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let opened = lines.find_map(|line| {
            let (_, number) = line.split_once("opened ")?;
            number.trim().parse::<usize>().ok()
        });
        assert_eq!(opened, Some(EACH));
        // While they hold what they have.
        let mut good = Client::connect(address).await;
        good.subscribe(&["tasks"]).await;
        good.hear_all().await;
        good.close().await;
    }
    let grown = server.rss_bytes().saturating_sub(before);
    eprintln!("{} half-open: {} KiB more", ATTACKERS * EACH, grown / 1024);
    assert!(grown < 200 * 1024 * 1024, "{grown} bytes");
    for mut attacker in attackers {
        drop(attacker.stdin.take());
        attacker.wait().expect("it ends");
    }
}

/// Runs in processes of their own.
#[test]
fn attacker() {
    let Ok(address) = env::var(ATTACKER) else {
        return;
    };
    rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    let address: SocketAddr = address.parse().expect("an address");
    let mut half_open = Vec::new();
    for _ in 0..EACH {
        let mut stream = TcpStream::connect(address).expect("up");
        // The server may hang up on it at any time.
        let _ = stream.write_all(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nX-A: ");
        half_open.push(stream);
    }
    println!("opened {}", half_open.len());
    // Until it is told to go.
    let _ = std::io::stdin().lines().next();
}

#[tokio::test]
async fn a_request_has_one_sender() {
    let feed = Feed::start_configured(ask_for_tokens).await;
    let (ann, bob) = (token_for("ann", &["tasks"]), token_for("bob", &["tasks"]));
    let ask = async |lines: &str| {
        let head = "GET /cursor HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        http(feed.address, &format!("{head}{lines}\r\n")).await
    };
    assert_eq!(
        ask(&format!("Authorization: Bearer {ann}\r\n"))
            .await
            .status,
        200
    );
    for lines in [
        format!("Authorization: Bearer {ann}\r\nAuthorization: Bearer {bob}\r\n"),
        format!("Authorization: Basic YTpi\r\nAuthorization: Bearer {ann}\r\n"),
        format!("authorization: Bearer {ann}\r\nAUTHORIZATION: Bearer {ann}\r\n"),
    ] {
        let answer = ask(&lines).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(!answer.body.contains("eyJ"), "{}", answer.body);
    }
    // Two in one line are no token.
    let answer = ask(&format!("Authorization: Bearer {ann}, Bearer {bob}\r\n")).await;
    assert_eq!(answer.status, 401, "{}", answer.body);
}
