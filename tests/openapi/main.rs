//! `docs/openapi.yaml` against the running server: requests made up from it, good and bad, are answered as it says. Which
//! requests are random; a failure prints the seed, and `ROWCAST_SEED` replays it.
#![cfg(feature = "sqlite")]

#[path = "../support/mod.rs"]
mod support;

mod document;
mod generate;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use fastrand::Rng;
use reqwest::{Method, RequestBuilder};
use rowcast::{ChannelPattern, Config, PresenceOptions, Server};
use serde_json::{Value, json};

use document::Document;
use generate::{break_it, make};
use support::token::{ask_for_tokens, token};
use support::{Database, until, within};

/// Requests of each kind. A seed of one's own makes ten times as many.
const ROUNDS: usize = 150;

/// What the document says about itself, without a server.
#[test]
fn examples_are_valid() {
    let document = Document::read();
    let mut count = 0;
    for operation in document.operations() {
        for example in document.examples(&operation) {
            let body = document.body(&operation).expect("it has a body");
            document.check(&body, &example, &operation.id);
            count += 1;
        }
    }
    assert!(count >= 6, "{count} examples");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_as_documented_with_sqlite() {
    answered_as_documented(Database::sqlite().await).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_as_documented_with_postgres() {
    answered_as_documented(Database::postgres().await).await;
}

async fn answered_as_documented(database: Database) {
    let given = std::env::var("ROWCAST_SEED").ok();
    let seed = given.as_ref().map_or_else(
        || fastrand::u64(..),
        |seed| seed.parse().expect("ROWCAST_SEED is a number"),
    );
    eprintln!("ROWCAST_SEED={seed}");
    let rounds = ROUNDS * if given.is_some() { 10 } else { 1 };
    let tester = Tester::start(database).await;
    let mut random = Rng::with_seed(seed);
    tester.send_examples().await;
    for _ in 0..rounds {
        tester.publish_good(&mut random).await;
        tester.publish_bad(&mut random).await;
        tester.broadcast(&mut random).await;
        tester.ask(&mut random).await;
    }
    tester.other_methods().await;
    tester.without_a_token().await;
    let seen = tester.seen.into_inner().expect("no panic");
    for met in [
        "POST /events 201",
        "POST /events 200",
        "POST /events 400",
        "POST /events 422",
        "POST /events 401",
        "POST /broadcast 202",
        "POST /broadcast 400",
        "GET /events 200",
        "GET /events 400",
        "GET /sse 200",
        "GET /cursor 200",
        "GET /presence 200",
        "GET /presence 400",
        "GET /readyz 200",
        "GET /api/v1/ws/stats 200",
    ] {
        assert!(seen.contains(met), "{met} was never met: {seen:?}");
    }
}

/// A server, and the document that it is held to.
struct Tester {
    document: Document,
    database: Database,
    address: SocketAddr,
    client: reqwest::Client,
    token: String,
    seen: std::sync::Mutex<BTreeSet<String>>,
    /// The position after what was published last, as its answer said.
    position: std::sync::Mutex<String>,
}

impl Tester {
    async fn start(database: Database) -> Self {
        let mut config = Config::new(database.config());
        config.listen.set_port(0);
        config.admin.listen = rowcast::config::AdminListen::Off;
        config.network.publish.events_per_minute_max = 0;
        config.hub.shards = 1;
        config.presence = Some(PresenceOptions {
            channels: vec![ChannelPattern::everything()],
            ..PresenceOptions::default()
        });
        ask_for_tokens(&mut config);
        let server = Server::start(&config)
            .await
            .unwrap_or_else(|error| panic!("failed to {error}"));
        let address = server.address();
        tokio::spawn(server.run(std::future::pending()));
        Self {
            document: Document::read(),
            database,
            address,
            client: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
            // Without a user it may name any actor.
            token: token(json!({"channels": ["*"], "publish": ["*"]})),
            seen: std::sync::Mutex::default(),
            position: std::sync::Mutex::new("earliest".to_owned()),
        }
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let url = format!("http://{}{path}", self.address);
        self.client.request(method, url).bearer_auth(&self.token)
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request("POST", path)
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    /// Sends a request, and holds its answer to what is documented for its status. Gives both.
    async fn send(
        &self,
        method: &str,
        path: &str,
        request: RequestBuilder,
        why: &str,
    ) -> (u16, Value) {
        let mut answer = within("an answer", request.send()).await.expect("a server");
        let status = answer.status().as_u16();
        let case = format!("{method} {path} {status}: {why}");
        assert!(status < 500, "{case}");
        let documented = self.document.response(method, path, status);
        let documented = documented.unwrap_or_else(|| panic!("undocumented: {case}"));
        self.seen
            .lock()
            .expect("no panic")
            .insert(format!("{method} {path} {status}"));
        let kind = answer.headers().get("content-type");
        let kind = kind.map(|kind| kind.to_str().expect("text").to_owned());
        let essence = kind.as_deref().unwrap_or_default().split(';').next();
        let essence = essence.unwrap_or_default();
        let Some((documented_kind, schema)) = documented.content else {
            return (status, Value::Null);
        };
        assert_eq!(essence, documented_kind, "{case}");
        for name in documented.headers {
            let value = answer.headers().get(&name);
            assert!(value.is_some(), "no {name}: {case}");
        }
        if documented_kind == "text/event-stream" {
            let first = within("an event", answer.chunk()).await;
            assert!(first.expect("it streams").is_some(), "{case}");
            return (status, Value::Null);
        }
        let text = within("a body", answer.text()).await.expect("text");
        let body = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {case}"));
        self.document.check(&schema, &body, &case);
        (status, body)
    }

    /// Notes the position after what was published; gives the one before.
    fn advance(&self, answer: &Value) -> String {
        let after = answer["cursor"].as_str().expect("a cursor").to_owned();
        std::mem::replace(&mut self.position.lock().expect("no panic"), after)
    }

    async fn rows(&self) -> i64 {
        let mut connection = self.database.connect().await;
        connection.numbers("SELECT count(*) FROM events").await[0]
    }

    async fn send_examples(&self) {
        for operation in self.document.operations() {
            for example in self.document.examples(&operation) {
                let request = self.post(&operation.path, &example);
                let why = example.to_string();
                let (status, body) = self.send("POST", &operation.path, request, &why).await;
                assert!(matches!(status, 201 | 202), "{example}: {body}");
                if status == 201 {
                    self.advance(&body);
                }
            }
        }
    }

    /// What is valid is taken, and comes back equal.
    async fn publish_good(&self, random: &mut Rng) {
        let operation = self.document.operation("publishEvents");
        let schema = self.document.body(&operation).expect("it has a body");
        let body = make(&self.document, &schema, random);
        self.document.check(&schema, &body, "what was made up");
        let mut request = self.post("/events", &body);
        let key = random.bool().then(|| format!("key {}", random.u64(..)));
        if let Some(key) = &key {
            request = request.header("Idempotency-Key", key);
        }
        let why = body.to_string();
        let (status, answer) = self.send("POST", "/events", request, &why).await;
        assert_eq!(status, 201, "{body}: {answer}");
        let before = self.advance(&answer);
        let events = match &body {
            Value::Array(events) => events.clone(),
            Value::Object(fields) => match fields.get("events") {
                Some(Value::Array(events)) => events.clone(),
                _ => vec![body.clone()],
            },
            _ => panic!("no events: {body}"),
        };
        let ids: Vec<_> = answer["ids"].as_array().expect("ids").iter().collect();
        assert_eq!(ids.len(), events.len(), "{body}");
        let frames = until("the events to be read", async || {
            let path = format!("/events?channels=*&after={before}&limit=10000&wait=10");
            let request = self.request("GET", &path);
            let (_, read) = self.send("GET", "/events", request, &path).await;
            let frames = read["events"].as_array().expect("events").clone();
            (frames.len() >= events.len()).then_some(frames)
        })
        .await;
        assert_eq!(frames.len(), events.len(), "nobody else writes");
        for ((frame, event), id) in frames.iter().zip(&events).zip(ids) {
            assert_eq!(&frame["event"]["id"], id);
            generate::assert_equal(frame, event);
        }
        if let Some(key) = key {
            let again = self.post("/events", &body).header("Idempotency-Key", key);
            let (status, repeated) = self.send("POST", "/events", again, &why).await;
            assert_eq!((status, &repeated["ids"]), (200, &answer["ids"]), "{body}");
        }
    }

    /// What is invalid is refused, and leaves nothing.
    async fn publish_bad(&self, random: &mut Rng) {
        let operation = self.document.operation("publishEvents");
        let schema = self.document.body(&operation).expect("it has a body");
        let Some(body) = break_it(&self.document, &schema, random) else {
            return;
        };
        let before = self.rows().await;
        let request = self.post("/events", &body);
        let why = body.to_string();
        let (status, answer) = self.send("POST", "/events", request, &why).await;
        assert!(matches!(status, 400 | 422), "{status} {body}: {answer}");
        assert_eq!(self.rows().await, before, "{body}");
        // What is no JSON at all.
        let mut text = make(&self.document, &schema, random)
            .to_string()
            .into_bytes();
        let end = random.usize(..text.len());
        text.truncate(end);
        if random.bool() {
            text.push(random.u8(..));
        }
        if serde_json::from_slice::<Value>(&text).is_err() {
            let request = self.post("/events", &Value::Null).body(text.clone());
            let why = String::from_utf8_lossy(&text);
            let (status, _) = self.send("POST", "/events", request, &why).await;
            assert_eq!(status, 400, "{why}");
            assert_eq!(self.rows().await, before, "{why}");
        }
    }

    async fn broadcast(&self, random: &mut Rng) {
        let operation = self.document.operation("broadcast");
        let schema = self.document.body(&operation).expect("it has a body");
        let good = make(&self.document, &schema, random);
        let request = self.post("/broadcast", &good);
        let (status, answer) = self
            .send("POST", "/broadcast", request, &good.to_string())
            .await;
        assert_eq!(status, 202, "{good}: {answer}");
        if let Some(bad) = break_it(&self.document, &schema, random) {
            let request = self.post("/broadcast", &bad);
            let (status, answer) = self
                .send("POST", "/broadcast", request, &bad.to_string())
                .await;
            assert!(matches!(status, 400 | 422), "{status} {bad}: {answer}");
        }
    }

    /// Plain requests, with parameters that are good, missing, of another kind, or unknown.
    async fn ask(&self, random: &mut Rng) {
        for operation in self.document.operations() {
            if operation.method != "GET" {
                continue;
            }
            let mut pairs = url::form_urlencoded::Serializer::new(String::new());
            let mut is_good = true;
            for parameter in self.document.query(&operation) {
                let is_left_out = random.u8(..3) == 0;
                if is_left_out {
                    is_good &= !parameter.is_required;
                    continue;
                }
                let value = match random.u8(..8) {
                    0 => generate::bad_parameter(&parameter, random),
                    _ => None,
                };
                is_good &= value.is_none();
                let value =
                    value.or_else(|| generate::good_parameter(&self.document, &parameter, random));
                if let Some(value) = value {
                    pairs.append_pair(&parameter.name, &value);
                }
            }
            let path = format!("{}?{}", operation.path, pairs.finish());
            let request = self.request("GET", &path);
            let (status, answer) = self.send("GET", &operation.path, request, &path).await;
            if is_good {
                assert_eq!(status, 200, "{path}: {answer}");
            } else {
                assert_eq!(status, 400, "{path}: {answer}");
            }
        }
    }

    async fn other_methods(&self) {
        for path in self.document.paths() {
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
                if self.document.has(method, &path) {
                    continue;
                }
                let sent = self.request(method, &path).send();
                let answer = within("an answer", sent).await.expect("a server");
                assert_eq!(answer.status(), 405, "{method} {path}");
                let allowed = answer.headers().get("allow").expect("what is allowed");
                let allowed = allowed.to_str().expect("text");
                for method in allowed.split(", ") {
                    assert!(self.document.has(method, &path), "{method} {path}");
                }
            }
        }
    }

    async fn without_a_token(&self) {
        for operation in self.document.operations() {
            let (method, path) = (&*operation.method, &*operation.path);
            let request = self.client.request(
                Method::from_bytes(method.as_bytes()).expect("a method"),
                format!("http://{}{path}", self.address),
            );
            let (status, _) = self.send(method, path, request, "no token").await;
            assert_eq!(status == 401, operation.is_guarded, "{method} {path}");
        }
    }
}
