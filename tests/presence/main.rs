//! Who is on which channel, as users notice it: real servers, real databases, real clients.
#![cfg(feature = "sqlite")]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod asked;
mod bounds;
mod config;
mod grants;
mod members;
mod servers;

use std::net::SocketAddr;

use rowcast::config::AdminListen;
use rowcast::{ChannelPattern, Config, PresenceOptions, Server};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;

use support::Database;
use support::feed::{Client, POLL_INTERVAL, soon};
use support::token::{ask_for_tokens, token_for};

/// Channels with presence, but where a test says otherwise.
const ROOMS: &str = "room:*";

/// A server in this process. It ends with the test's runtime.
struct Running {
    address: SocketAddr,
}

impl Running {
    async fn start(database: &Database) -> Self {
        Self::start_with(database, |_| {}).await
    }

    async fn start_with(database: &Database, change: impl FnOnce(&mut PresenceOptions)) -> Self {
        let mut options = presence(&[ROOMS]);
        change(&mut options);
        Self::configured(database, |config| config.presence = Some(options)).await
    }

    async fn configured(database: &Database, change: impl FnOnce(&mut Config)) -> Self {
        Self::try_start(database, change)
            .await
            .unwrap_or_else(|error| panic!("failed to {error}"))
    }

    async fn try_start(
        database: &Database,
        change: impl FnOnce(&mut Config),
    ) -> Result<Self, rowcast::Error> {
        let mut config = Config::new(database.config());
        config.listen.set_port(0);
        config.admin.listen = AdminListen::Off;
        config.poll_interval = POLL_INTERVAL;
        config.hub.shards = 2;
        ask_for_tokens(&mut config);
        change(&mut config);
        let server = Server::start(&config).await?;
        let address = server.address();
        tokio::spawn(server.run(std::future::pending()));
        Ok(Self { address })
    }

    /// A client of a user who may subscribe to these channels.
    async fn client(&self, user: &str, granted: &[&str]) -> Client {
        connect(
            &format!("ws://{}/ws", self.address),
            &token_for(user, granted),
        )
        .await
    }

    /// A user on a channel, by a client that asks for no presence.
    async fn on(&self, channel: &str, user: &str) -> Client {
        let mut client = self.client(user, &["room"]).await;
        client.subscribe(&[channel]).await;
        client
    }

    /// Somebody who looks at a channel without being there: without a user nobody is.
    async fn watcher(&self, channel: &str) -> Watcher {
        let nobody = support::token::token(json!({"channels": ["room"]}));
        let client = connect(&format!("ws://{}/ws", self.address), &nobody).await;
        Watcher::subscribe(client, channel).await
    }

    /// `GET /presence`.
    async fn presence(&self, query: &str, token: &str) -> (u16, Value) {
        let url = format!("http://{}/presence?{query}", self.address);
        let client = reqwest::Client::builder().no_proxy().build();
        let request = client.expect("a client").get(url).bearer_auth(token);
        let answer = soon("an answer", request.send()).await.expect("a server");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("text");
        (status, serde_json::from_str(&text).expect("JSON"))
    }

    /// The users on a channel, as `GET /presence` tells them.
    async fn users(&self, channel: &str) -> Vec<String> {
        let query = format!("channel={channel}");
        let (status, body) = self.presence(&query, &token_for("eye", &["room"])).await;
        assert_eq!(status, 200, "{body}");
        users(&body["channels"][channel])
    }

    /// Waits until these users are on a channel, as this server knows.
    async fn until_users(&self, channel: &str, expected: &[&str]) {
        support::feed::until(&format!("{expected:?} on {channel}"), async || {
            let mut users = self.users(channel).await;
            users.sort();
            users == expected
        })
        .await;
    }
}

fn presence(channels: &[&str]) -> PresenceOptions {
    let pattern = |text: &&str| ChannelPattern::parse(text).expect("a pattern");
    PresenceOptions {
        channels: channels.iter().map(pattern).collect(),
        ..PresenceOptions::default()
    }
}

async fn connect(url: &str, token: &str) -> Client {
    let url = format!("{url}?token={token}");
    let (socket, _) = Box::pin(soon("connect", connect_async(url)))
        .await
        .expect("a WebSocket");
    Client::over(socket)
}

/// The users of a list of members.
fn users(present: &Value) -> Vec<String> {
    let members = present["members"].as_array();
    let members = members.unwrap_or_else(|| panic!("no members: {present}"));
    let user = |member: &Value| member["user"].as_str().expect("a user").to_owned();
    members.iter().map(user).collect()
}

/// A client that is told who comes and who leaves.
struct Watcher {
    client: Client,
    /// What it was told first.
    first: Value,
}

impl Watcher {
    async fn subscribe(mut client: Client, channel: &str) -> Self {
        let subscribe = json!({"type": "subscribe", "channels": [channel], "presence": true});
        client.say(&subscribe).await;
        let mut subscribed = client.hear_a("subscribed").await;
        let first = subscribed["presence"][channel].take();
        Self { client, first }
    }

    /// What it is told next: `+ann` or `-ann`. Cursors come in between.
    async fn next(&mut self) -> String {
        loop {
            let frame = self.client.hear().await;
            let user = || frame["user"].as_str().expect("a user");
            match (frame["type"].as_str(), frame["event"].as_str()) {
                (Some("presence"), Some("join")) => return format!("+{}", user()),
                (Some("presence"), Some("leave")) => return format!("-{}", user()),
                (Some("cursor" | "heartbeat"), _) => {}
                _ => panic!("instead of presence: {frame}"),
            }
        }
    }

    /// The next so many.
    async fn nexts(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        while all.len() < count {
            all.push(self.next().await);
        }
        all
    }
}
