//! The administration as whoever runs a server uses it: real servers, real databases, HTTP over sockets.
#![cfg(feature = "sqlite")]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod metrics;
mod orders;
mod readiness;
mod refusals;
mod shut_out;
#[cfg(feature = "postgres")]
mod wakes;

use std::net::SocketAddr;

use reqwest::{Method, RequestBuilder, StatusCode};
use rowcast::auth::Revocations;
use rowcast::{Broadcaster, Config, Server};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use support::Database;
use support::feed::POLL_INTERVAL;

/// A server in this process.
struct Running {
    address: SocketAddr,
    admin: SocketAddr,
    broadcaster: Broadcaster,
    revocations: Revocations,
    shutdown: Option<oneshot::Sender<()>>,
    _task: JoinHandle<()>,
}

impl Running {
    async fn start(database: &Database) -> Self {
        Self::start_with(database, |_| {}).await
    }

    async fn start_with(database: &Database, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(database.config());
        config.listen.set_port(0);
        config.poll_interval = POLL_INTERVAL;
        config.hub.shards = 2;
        change(&mut config);
        let server = Server::start(&config)
            .await
            .unwrap_or_else(|error| panic!("failed to {error}"));
        let (shutdown, asked) = oneshot::channel();
        Self {
            address: server.address(),
            admin: server.admin_address().expect("it is not off"),
            broadcaster: server.broadcaster().clone(),
            revocations: server.authenticator().revocations(),
            shutdown: Some(shutdown),
            _task: tokio::spawn(server.run(async {
                if asked.await.is_err() {
                    std::future::pending::<()>().await;
                }
            })),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        Answer::to(request(Method::GET, self.admin, path)).await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        Answer::to(post(self.admin, path, body)).await
    }

    /// The same, where it is a whole number.
    async fn count(&self, name: &str) -> u64 {
        self.metric(name).await as u64
    }

    /// The value of a metric: of one without labels.
    async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.text;
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("{name} is not in:\n{text}"));
        value.parse().expect("a number")
    }
}

fn request(method: Method, address: SocketAddr, path: &str) -> RequestBuilder {
    let url = format!("http://{address}{path}");
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client")
        .request(method, url)
}

fn post(address: SocketAddr, path: &str, body: &str) -> RequestBuilder {
    request(Method::POST, address, path)
        .header("content-type", "application/json")
        .body(body.to_owned())
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    text: String,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    async fn to(request: RequestBuilder) -> Self {
        let answer = support::within("an answer", request.send()).await;
        let answer = answer.expect("a server");
        Self {
            status: answer.status(),
            headers: answer.headers().clone(),
            text: answer.text().await.expect("text"),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
