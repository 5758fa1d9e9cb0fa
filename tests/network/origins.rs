//! Pages of other origins, and names that were rebound to this machine.

use rowcast::OriginRule;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::feed::{Answer, Feed, http};
use crate::support::temp_dir;

fn rules(texts: &[&str]) -> Vec<OriginRule> {
    let rules = texts.iter().map(|text| text.parse());
    rules.collect::<Result<_, _>>().expect("rules")
}

/// A server that anybody may call by any name.
async fn public(origins: &[&str]) -> Feed {
    let origins = rules(origins);
    Feed::start_configured(|config| {
        config.network.public = true;
        config.network.origins = origins;
        // As one that is reached from elsewhere: pages of this machine are as foreign as others.
        config.listen = "0.0.0.0:0".parse().expect("an address");
    })
    .await
}

/// Header lines as they are sent.
fn head(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [*line, "\r\n"]).collect()
}

/// Asks for a path with these header lines.
async fn ask(feed: &Feed, method: &str, path: &str, lines: &[&str]) -> Answer {
    let lines = head(lines);
    let request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{lines}\r\n");
    let address = format!("127.0.0.1:{}", feed.address.port());
    http(address.parse().expect("an address"), &request).await
}

/// Sends a whole opening handshake.
async fn shake_hands(feed: &Feed, lines: &[&str]) -> Answer {
    let lines = head(lines);
    // The close behind it ends what it opens.
    let request = format!(
        "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    );
    let address = format!("127.0.0.1:{}", feed.address.port());
    let address: std::net::SocketAddr = address.parse().expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("up");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    let head = String::from_utf8(head).expect("text");
    let mut body = String::new();
    if !head.starts_with("HTTP/1.1 101") {
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut bytes = vec![0; length.expect("a length")];
        stream.read_exact(&mut bytes).await.expect("a body");
        body = String::from_utf8(bytes).expect("text");
    }
    Answer {
        status: head[9..12].parse().expect("a status"),
        headers: head.lines().skip(1).map(str::to_ascii_lowercase).collect(),
        body,
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let mut found = answer.headers.iter().filter_map(|line| {
        let (known, value) = line.split_once(": ")?;
        (known == name).then_some(value)
    });
    let value = found.next();
    assert!(found.next().is_none(), "{name} is there twice");
    value
}

const CREDENTIALS: &str = "access-control-allow-credentials";
const ALLOWED: &str = "access-control-allow-origin";

#[tokio::test]
async fn a_page_of_elsewhere_opens_no_websocket() {
    let feed = public(&["https://app.example.com"]).await;
    let host = "Host: feed.example.net";
    for (origin, status) in [
        ("https://evil.example", 403),
        ("http://localhost:5173", 403),
        ("null", 403),
        ("https://app.example.com.evil.example", 403),
        ("https://app.example.com", 101),
        ("https://feed.example.net", 101),
    ] {
        let line = format!("Origin: {origin}");
        let answer = shake_hands(&feed, &[host, &line]).await;
        assert_eq!(answer.status, status, "{origin}");
        if status == 403 {
            let advice = format!("--allow-origin {origin}");
            assert!(answer.body.contains("origin_refused"), "{}", answer.body);
            assert!(answer.body.contains(&advice), "{}", answer.body);
            assert_eq!(header(&answer, ALLOWED), None);
        }
    }
    assert_eq!(shake_hands(&feed, &[host]).await.status, 101, "no browser");
    let twice = [
        host,
        "Origin: https://app.example.com",
        "Origin: https://evil.example",
    ];
    assert_eq!(shake_hands(&feed, &twice).await.status, 400);
    let hosts = ["Host: evil.example", "Host: feed.example.net"];
    assert_eq!(shake_hands(&feed, &hosts).await.status, 400);
    assert_eq!(feed.broadcaster.stats().origins_refused, 4);
    assert_eq!(feed.broadcaster.stats().malformed_requests_refused, 2);
}

#[tokio::test]
async fn answers_name_the_origin_that_may_read_them() {
    let feed = public(&["https://*.example.com", "*"]).await;
    for (path, method, status) in [
        ("/cursor", "GET", 200),
        ("/cursor", "OPTIONS", 204),
        ("/events?channels=a", "GET", 200),
        ("/events?channels=a", "OPTIONS", 204),
        ("/events?chanels=a", "GET", 400),
        ("/sse", "GET", 400),
        ("/cursor", "DELETE", 405),
        ("/nothing", "GET", 404),
        ("/ws", "GET", 426),
    ] {
        for (origin, explicit) in [
            ("https://app.example.com", true),
            ("https://other.example", false),
            ("null", false),
        ] {
            let line = format!("Origin: {origin}");
            let lines = ["Host: feed.example.net", &line];
            let answer = ask(&feed, method, path, &lines).await;
            assert_eq!(answer.status, status, "{method} {path}");
            assert_eq!(header(&answer, ALLOWED), Some(origin), "{method} {path}");
            assert_eq!(header(&answer, "vary"), Some("origin"));
            let credentials = header(&answer, CREDENTIALS);
            assert_eq!(credentials, explicit.then_some("true"), "{origin}");
        }
        let answer = ask(&feed, method, path, &["Host: feed.example.net"]).await;
        assert_eq!(header(&answer, ALLOWED), None);
        assert_eq!(header(&answer, "vary"), Some("origin"));
    }
    let lines = ["Host: feed.example.net", "Origin: https://app.example.com"];
    let preflight = ask(&feed, "OPTIONS", "/sse", &lines).await;
    let allowed = header(&preflight, "access-control-allow-headers").expect("headers");
    assert!(allowed.contains("authorization") && allowed.contains("last-event-id"));
}

#[tokio::test]
async fn a_server_for_this_machine_has_no_other_name() {
    let feed = Feed::start().await;
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1:3001", 200),
        ("[::1]:3001", 200),
        ("evil.example:3001", 403),
        ("127.0.0.1.evil.example", 403),
    ] {
        // A page of a rebound name is of the server's own origin, as far as browsers can tell.
        let lines = [format!("Host: {host}"), format!("Origin: http://{host}")];
        let lines = lines.each_ref().map(|line| &**line);
        for lines in [&lines[..], &lines[..1]] {
            for path in ["/cursor", "/api/v1/ws/stats"] {
                let answer = ask(&feed, "GET", path, lines).await;
                assert_eq!(answer.status, status, "{host}");
            }
        }
        let upgrade = shake_hands(&feed, &lines).await;
        assert_eq!(upgrade.status, if status == 200 { 101 } else { 403 });
        if status == 403 {
            assert!(upgrade.body.contains("--public"), "{}", upgrade.body);
        }
        // Whoever watches over it may know an address only.
        let health = ask(&feed, "GET", "/healthz", &lines[..1]).await;
        assert_eq!(health.status, 200);
    }
    assert_eq!(feed.broadcaster.stats().hosts_refused, 10);
    // Pages of this machine, on any port, as developers have them.
    for origin in ["http://localhost:5173", "http://127.0.0.1:8080"] {
        let line = format!("Origin: {origin}");
        let answer = ask(&feed, "GET", "/cursor", &["Host: localhost", &line]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(header(&answer, ALLOWED), Some(origin));
        assert_eq!(header(&answer, CREDENTIALS), None);
    }
}

#[tokio::test]
async fn a_file_of_origins_is_read_again() {
    let folder = temp_dir();
    let path = folder.path().join("origins");
    std::fs::write(&path, "# ours\n\nhttps://one.example # the first\n").expect("written");
    let feed = Feed::start_configured(|config| {
        config.network.origins_file = Some(path.clone());
    })
    .await;
    let allows = async |origin: &str| {
        let line = format!("Origin: {origin}");
        let answer = shake_hands(&feed, &["Host: localhost", &line]).await;
        answer.status == 101
    };
    assert!(allows("https://one.example").await);
    assert!(!allows("https://two.example").await);
    std::fs::write(&path, "https://two.example").expect("written");
    let (read, errors) = feed.reload.reload().await;
    assert_eq!((&read[..], errors.len()), (&["origins"][..], 0));
    assert!(!allows("https://one.example").await);
    assert!(allows("https://two.example").await);
    // A mistake changes nothing.
    std::fs::write(&path, "https://three.example\ntwo.example").expect("written");
    let (read, errors) = feed.reload.reload().await;
    assert!(read.is_empty());
    let text = errors[0].to_string();
    assert!(
        text.contains("origins:2") && text.contains("two.example"),
        "{text}"
    );
    assert!(allows("https://two.example").await);
    assert!(!allows("https://three.example").await);
}
