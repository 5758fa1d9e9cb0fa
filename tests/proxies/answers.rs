//! What passes a proxy passes as it was: at once, whole, with its status; and by the other server where one is gone.

use std::net::Ipv4Addr;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::authority::Authority;
use crate::fleet::{Fleet, Http, answer_to, hear_a};
use crate::front::{Front, Kind};
use crate::settings;
use crate::support::token::{token, token_for};
use crate::support::{DEADLINE, within};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A megabyte, in bytes.
const LARGE: usize = 1 << 20;

/// If each waited for the next sign of life, which comes after 15 s, they would take longer than anybody waits.
const ROUNDS: i64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn events_pass_at_once_and_whole() {
    for kind in Kind::BOTH {
        let fleet = Fleet::start(kind, &[]).await;
        let http = fleet.http(HERE);
        let mut writer = fleet.writer().await;
        let mut socket = fleet.web_socket("tasks").await;
        let mut stream = Stream::new(answer_to(http.get("/sse?channels=tasks")).await);
        stream.hear("\"type\":\"subscribed\"").await;
        assert!(15 * ROUNDS as u64 > DEADLINE.as_secs());
        within("events, one after the other", async {
            for number in 1..=ROUNDS {
                writer.insert(number).await;
                let event = hear_a(&mut socket, "event").await;
                assert_eq!(event["event"]["payload"], number, "{kind:?}");
                stream.hear(&format!("\"payload\":{number},")).await;
            }
        })
        .await;

        // Counted, so that a hole in it shows.
        let numbers: Vec<_> = (0..LARGE / 8).map(|n| format!("{n:08}")).collect();
        let text = numbers.concat();
        writer
            .run(&format!(
                "INSERT INTO events (channel, type, payload) VALUES ('tasks', 'large', '\"{text}\"')"
            ))
            .await;
        let event = hear_a(&mut socket, "event").await;
        assert!(event["event"]["payload"] == text.as_str(), "{kind:?}");
        stream.hear(&text).await;
        let answer = answer_to(http.get("/events?channels=tasks&after=earliest")).await;
        let body = answer.text().await.expect("all of it");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let events = body["events"].as_array().expect("events");
        assert_eq!(events.len() as i64, ROUNDS + 1);
        assert!(events[ROUNDS as usize]["event"]["payload"] == text.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_costs_nobody_anything() {
    for kind in Kind::BOTH {
        let mut fleet = Fleet::start(kind, &[]).await;
        let http = fleet.http(HERE);
        fleet.kill_server(0);
        // Most come before the proxy has found out, and some of them would have been the dead one's.
        let token = token_for("ann", &["tasks"]);
        for _ in 0..5 {
            // The worst way to say who one is first: the logs of the proxy are looked through in the end.
            for request in [
                http.bare(&format!("/sse?channels=tasks&token={token}")),
                http.bare(&format!("/events?channels=tasks&token={token}")),
                http.get("/sse?channels=tasks"),
            ] {
                assert_eq!(
                    answer_to(request).await.status(),
                    StatusCode::OK,
                    "{kind:?}"
                );
            }
            fleet.web_socket("tasks").await;
        }
        // The other way round.
        fleet.start_server(0);
        fleet.stop_server(1);
        crate::support::until("the proxy to find the one that is back", async || {
            let answer = answer_to(http.get("/events?channels=tasks")).await;
            (answer.status() == StatusCode::OK).then_some(())
        })
        .await;
        fleet.web_socket("tasks").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rowcast_says_is_what_clients_hear() {
    for kind in Kind::BOTH {
        let fleet = Fleet::start(kind, &[]).await;
        let http = fleet.http(HERE);
        let status = async |request: reqwest::RequestBuilder| {
            let answer = answer_to(request).await;
            let status = answer.status().as_u16();
            (status, answer.text().await.expect("a body"))
        };
        assert_eq!(status(http.get("/readyz")).await.0, 200);
        assert_eq!(status(http.get("/nothing/here")).await.0, 404);
        assert_eq!(status(http.get("/ws")).await.0, 426);
        assert_eq!(status(http.get("/sse?channels=plans")).await.0, 403);
        let wrong = http.bare("/sse?channels=tasks").bearer_auth("nonsense");
        assert_eq!(status(wrong).await.0, 401);

        // No request waits for as long as the proxy does.
        for silence in settings::silences(kind) {
            let path = format!("/events?channels=tasks&wait={}s", silence.as_secs());
            let (code, text) = status(http.get(&path)).await;
            assert_eq!(code, 400, "{kind:?}: {text}");
            assert!(text.contains("wait"), "{kind:?}: {text}");
        }

        // A page of this very name and port, and those of others.
        for (origin, expected) in [
            ("https://feed.example.com:8443", 200),
            ("https://feed.example.com", 403),
            ("https://elsewhere.example", 403),
        ] {
            let request = http.get("/events?channels=tasks").header("Origin", origin);
            let request = request.header("Host", "feed.example.com:8443");
            assert_eq!(status(request).await.0, expected, "{kind:?}: {origin}");
        }

        // The longest token there may be.
        let channels: Vec<_> = (0..320).map(|n| format!("messages:{n:06}")).collect();
        let padded = |n| token(json!({"sub": "ann", "channels": channels, "pad": "x".repeat(n)}));
        let tokens = (0..).map(padded);
        let long = tokens.take_while(|token| token.len() <= 8_192).last();
        let long = long.expect("it has room");
        assert!(long.len() > 8_180, "{}", long.len());
        for (path, bearer) in [
            ("/events?channels=messages:000007".to_owned(), long.clone()),
            (
                format!("/events?channels=messages:000007&token={long}"),
                String::new(),
            ),
        ] {
            let mut request = http.bare(&path);
            if !bearer.is_empty() {
                request = request.bearer_auth(bearer);
            }
            let (code, text) = status(request).await;
            assert_eq!(code, 200, "{kind:?}: {text}");
        }

        // A publication as large as there may be, and one that is larger.
        let publisher = token(json!({"sub": "app", "publish": ["tasks"]}));
        for (bytes, expected) in [(LARGE - 100, 201), (LARGE + 1, 413)] {
            let head = r#"{"channel":"tasks","type":"large","payload":""#;
            let body = format!("{head}{}\"}}", "x".repeat(bytes - head.len() - 2));
            let request = http
                .post("/events")
                .bearer_auth(&publisher)
                .header("Content-Type", "application/json")
                .body(body);
            let (code, text) = status(request).await;
            assert_eq!(code, expected, "{kind:?}: {text}");
        }

        // Without TLS there is nothing.
        let answer = answer_to(http.plain(fleet.front.plain, "/ws?channels=tasks")).await;
        assert_eq!(answer.status().as_u16(), 308, "{kind:?}");
        let location = answer.headers()["location"].to_str().expect("text");
        assert!(location.starts_with("https://localhost"), "{location}");
        assert!(location.ends_with("/ws?channels=tasks"), "{location}");
    }
}

/// Servers that die when they have read a request: nobody knows whether it was done. What only reads is asked of the
/// other one; what writes is for its sender to repeat.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_may_have_happened_is_not_repeated() {
    for kind in Kind::BOTH {
        let authority = Authority::new();
        let (heard_tx, mut heard) = mpsc::unbounded_channel();
        let mut servers = [0, 0];
        for port in &mut servers {
            let listener = TcpListener::bind((HERE, 0)).await.expect("a port");
            *port = listener.local_addr().expect("it is bound").port();
            tokio::spawn(die_of_requests(listener, heard_tx.clone()));
        }
        let front = Front::start(kind, &authority, servers).await;
        // Each over a connection of its own: a proxy may close one over which it has told of an error.
        let http = || Http::new(&authority, front.address, HERE);
        // The proxy has given up when it has answered.
        let mut tries = async |request| {
            let status = answer_to(request).await.status();
            assert!(status.is_server_error(), "{kind:?}: {status}");
            std::iter::from_fn(|| heard.try_recv().ok()).count()
        };
        assert_eq!(
            tries(http().post("/events").body("{}")).await,
            1,
            "{kind:?}"
        );
        assert!(tries(http().get("/events")).await > 1, "{kind:?}");
    }
}

/// Is well for as long as it is asked nothing else.
async fn die_of_requests(listener: TcpListener, heard: mpsc::UnboundedSender<()>) {
    loop {
        let (mut stream, _) = listener.accept().await.expect("it is open");
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                break;
            }
        }
        if head.starts_with(b"GET /readyz ") {
            let well = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.write_all(well).await;
        } else if !head.is_empty() {
            // Before the proxy can know of it.
            let _ = heard.send(());
        }
    }
}

/// The text of a stream of events, as it comes.
struct Stream {
    answer: Response,
    text: String,
}

impl Stream {
    fn new(answer: Response) -> Self {
        assert_eq!(answer.status(), StatusCode::OK);
        Self {
            answer,
            text: String::new(),
        }
    }

    /// Reads until this has come, and forgets all until then.
    async fn hear(&mut self, what: &str) {
        within("a part of the stream", async {
            loop {
                if let Some(start) = self.text.find(what) {
                    self.text.drain(..start + what.len());
                    return;
                }
                let chunk = self.answer.chunk().await.expect("a stream");
                let chunk = chunk.expect("it does not end");
                self.text.push_str(str::from_utf8(&chunk).expect("ASCII"));
            }
        })
        .await;
    }
}
