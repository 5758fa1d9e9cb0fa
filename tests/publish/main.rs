//! Publishing over HTTP as a client does it: real servers, real databases, requests over sockets.
#![cfg(feature = "sqlite")]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod broadcast;
mod crash;
mod events;
mod faults;
mod grants;
mod keys;
mod limits;

use std::net::SocketAddr;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use rowcast::{Config, Server};
use serde_json::{Value, json};

use support::Database;
use support::feed::POLL_INTERVAL;

/// A server in this process. It ends with the test's runtime.
struct Running {
    address: SocketAddr,
}

impl Running {
    async fn start(database: &Database) -> Self {
        Self::start_with(database, |_| {}).await
    }

    async fn start_with(database: &Database, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(database.config());
        config.listen.set_port(0);
        config.admin.listen = rowcast::config::AdminListen::Off;
        config.poll_interval = POLL_INTERVAL;
        config.hub.shards = 2;
        change(&mut config);
        let server = Server::start(&config)
            .await
            .unwrap_or_else(|error| panic!("failed to {error}"));
        let address = server.address();
        tokio::spawn(server.run(std::future::pending()));
        Self { address }
    }

    /// One that asks for tokens.
    async fn guarded(database: &Database) -> Self {
        Self::start_with(database, support::token::ask_for_tokens).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        request(method, &format!("http://{}{path}", self.address))
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.request(Method::POST, path);
        request
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    /// Publishes as anybody.
    async fn publish(&self, body: &Value) -> Answer {
        Answer::to(self.post("/events", body)).await
    }

    /// Publishes with the token of somebody.
    async fn publish_as(&self, token: &str, body: &Value) -> Answer {
        Answer::to(self.post("/events", body).bearer_auth(token)).await
    }

    /// The present position.
    async fn cursor(&self) -> String {
        let answer = Answer::to(self.request(Method::GET, "/cursor")).await;
        text(&answer.json["cursor"])
    }

    /// What was committed after a position, as `GET /events` has it.
    async fn after(&self, cursor: &str) -> Vec<Value> {
        let path = format!("/events?channels=*&after={cursor}&limit=10000");
        let answer = Answer::to(self.request(Method::GET, &path)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let events = answer.json["events"].as_array().expect("events").iter();
        events.map(|frame| frame["event"].clone()).collect()
    }
}

fn request(method: Method, url: &str) -> RequestBuilder {
    let client = reqwest::Client::builder().no_proxy().build();
    client.expect("a client").request(method, url)
}

/// An answer, which is JSON unless it is empty.
#[derive(Debug)]
struct Answer {
    status: u16,
    json: Value,
    headers: HeaderMap,
}

impl Answer {
    async fn to(request: RequestBuilder) -> Self {
        Self::try_to(request).await.expect("a server")
    }

    async fn try_to(request: RequestBuilder) -> Result<Self, reqwest::Error> {
        let answer = support::within("an answer", request.send()).await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.text().await?;
        let json = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
        };
        Ok(Self {
            status,
            json,
            headers,
        })
    }

    /// The ids of what was published.
    fn ids(&self) -> Vec<i64> {
        assert!(matches!(self.status, 200 | 201), "{self:?}");
        numbers(&self.json["ids"])
    }

    fn duplicates(&self) -> Vec<i64> {
        numbers(&self.json["duplicates"])
    }

    fn error(&self) -> String {
        text(&self.json["error"])
    }

    /// What is wrong: with which event, and which field of it.
    fn problems(&self) -> Vec<(u64, String)> {
        let problems = self.json["problems"].as_array().expect("problems").iter();
        problems
            .map(|problem| {
                let field = problem["field"].as_str().unwrap_or_default();
                (problem["index"].as_u64().expect("an index"), field.into())
            })
            .collect()
    }

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("text"))
    }
}

fn numbers(list: &Value) -> Vec<i64> {
    let list = list.as_array().expect("a list").iter();
    list.map(|n| n.as_i64().expect("a number")).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// An event on a channel, whose payload is a number.
fn event(channel: &str, n: i64) -> Value {
    json!({"channel": channel, "type": "test.row", "payload": {"n": n}})
}

/// How many rows there are.
async fn rows(database: &Database) -> i64 {
    let mut connection = database.connect().await;
    connection.numbers("SELECT count(*) FROM events").await[0]
}
