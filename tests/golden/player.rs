//! Replays an exchange against a server that runs in this process.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rowcast::{ChannelPattern, PresenceOptions};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::exchange::{Exchange, Guest, Server, Step};
use crate::pattern::{Seen, compare, fill};
use crate::support::feed::{Client, Feed, PATIENCE, http, soon};
use crate::support::presets::endpoints;
use crate::support::token;

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// A server with the endpoints of docs/protocol/rowcast.toml, somebody who receives everything, and who is on channels.
pub struct Scene {
    feed: tokio::sync::Mutex<Feed>,
    witness: tokio::sync::Mutex<Client>,
    guests: tokio::sync::Mutex<Vec<(Guest, Client)>>,
}

impl Scene {
    pub async fn start(server: &Server) -> Self {
        let feed = Feed::start_configured(|config| {
            token::ask_for_tokens(config);
            config.endpoints = endpoints(&config.presets);
            config.hub.messages_per_minute_max = Some(server.messages_per_minute.unwrap_or(100));
            config.hub.ping_interval = Some(Duration::from_millis(
                server.ping_interval_ms.unwrap_or(30_000),
            ));
            config.presence = server.presence.as_deref().map(|pattern| PresenceOptions {
                channels: vec![ChannelPattern::parse(pattern).expect("a pattern")],
                ..PresenceOptions::default()
            });
            // All come from one address.
            config.network.auth_failures_max = 0;
            if let Some(ms) = server.grace_period_ms {
                config.grace_period = Duration::from_millis(ms);
            }
        })
        .await;
        let token = token::token_for("witness", &["*"]);
        let url = format!("ws://{}/ws?token={token}", feed.address);
        let (socket, _) = connect_async(url).await.expect("a WebSocket");
        let mut witness = Client::over(socket);
        witness.subscribe(&["*"]).await;
        Self {
            feed: feed.into(),
            witness: witness.into(),
            guests: Vec::new().into(),
        }
    }

    /// Somebody comes to a channel; returns once he is there.
    async fn enter(&self, guest: &Guest) {
        let address = self.feed.lock().await.address;
        let Guest { user, channel } = guest;
        let token = token::token_for(user, &[channel]);
        let url = format!("ws://{address}/ws?token={token}");
        let (socket, _) = connect_async(url).await.expect("a WebSocket");
        let mut client = Client::over(socket);
        client
            .say(&json!({"type": "subscribe", "channels": [channel], "presence": true}))
            .await;
        let told = client.hear_a("subscribed").await;
        let members = told["presence"][channel]["members"].as_array();
        let mut is_there = members
            .expect("presence")
            .iter()
            .any(|m| m["user"] == **user);
        while !is_there {
            is_there = client.hear_a("presence").await["user"] == **user;
        }
        self.guests.lock().await.push((guest.clone(), client));
    }

    /// One connection of somebody on a channel ends.
    async fn exit(&self, guest: &Guest) -> Result<(), String> {
        let mut guests = self.guests.lock().await;
        let is_meant = |(other, _): &(Guest, Client)| other == guest;
        let n = guests.iter().position(is_meant);
        let n = n.ok_or_else(|| format!("{} is not there", guest.user))?;
        guests.remove(n).1.close().await;
        Ok(())
    }

    /// Tells a channel something, and waits until it is delivered.
    async fn broadcast(&self, body: &Value) -> Result<(), String> {
        let address = self.feed.lock().await.address;
        let token = token::token(json!({"publish": ["*"]}));
        let body = body.to_string();
        let request = format!(
            "POST /broadcast HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = http(address, &request).await;
        if answer.status != 202 {
            return Err(format!("{}: {}", answer.status, answer.body));
        }
        self.witness.lock().await.hear_events(1).await;
        Ok(())
    }

    /// Inserts rows, and waits until they are delivered.
    async fn insert(&self, sql: &str, count: usize) {
        self.feed.lock().await.run(sql).await;
        self.witness.lock().await.hear_events(count).await;
    }
}

/// Replays it. The error says at which step it is not as written.
pub async fn play(exchange: &Exchange, scene: &Scene) -> Result<(), String> {
    let mut socket = connect(exchange, scene, &exchange.path).await?;
    let mut seen = Seen::new();
    let mut is_over = false;
    for (n, step) in exchange.steps.iter().enumerate() {
        let at = |error: String| format!("step {}: {error}", n + 1);
        match step {
            Step::Client { client, .. } => {
                let text = fill(&signed(client).to_string(), &seen);
                say(&mut socket, &text).await.map_err(at)?;
            }
            Step::ClientText { client_text } => {
                say(&mut socket, client_text).await.map_err(at)?;
            }
            Step::Server { server, .. } => {
                let found = hear(&mut socket).await.map_err(at)?;
                compare(server, &found, &mut seen)
                    .map_err(|error| at(format!("{error}, in {found}")))?;
            }
            Step::Insert { insert } => scene.insert(&insert.sql(), insert.count()).await,
            Step::Broadcast { broadcast } => {
                scene.broadcast(broadcast).await.map_err(at)?;
            }
            Step::Enter { enter } => scene.enter(enter).await,
            Step::Exit { exit } => scene.exit(exit).await.map_err(at)?,
            Step::Nothing { nothing } => silence(&mut socket, scene)
                .await
                .map_err(|error| at(format!("{nothing}: {error}")))?,
            Step::Close { close } => {
                let found = hear_close(&mut socket).await.map_err(at)?;
                let (code, reason) = (u16::from(found.code), json!(found.reason.as_str()));
                if code != close.code {
                    return Err(at(format!("closed with {code} {reason}")));
                }
                compare(&close.reason, &reason, &mut seen).map_err(at)?;
                is_over = true;
            }
            Step::Disconnect { .. } => {
                socket.close(None).await.map_err(|e| at(e.to_string()))?;
                while let Some(Ok(_)) = soon("the end", socket.next()).await {}
            }
            Step::Connect { connect: path } => {
                let path = fill(path, &seen);
                socket = connect(exchange, scene, &path).await.map_err(at)?;
            }
            Step::Stop { .. } => scene.feed.lock().await.begin_shutdown(),
        }
    }
    if !is_over {
        silence(&mut socket, scene)
            .await
            .map_err(|error| format!("at its end: {error}"))?;
    }
    Ok(())
}

async fn connect(exchange: &Exchange, scene: &Scene, path: &str) -> Result<Socket, String> {
    let address = scene.feed.lock().await.address;
    let mut url = format!("ws://{address}{path}");
    if let Some(claims) = &exchange.token {
        url.push(if path.contains('?') { '&' } else { '?' });
        url.push_str("token=");
        url.push_str(&sign(claims));
    }
    let mut request = url.into_client_request().map_err(|e| e.to_string())?;
    if let Some(name) = &exchange.subprotocol {
        let name = name.parse().map_err(|_| "a subprotocol")?;
        request.headers_mut().insert("sec-websocket-protocol", name);
    }
    let connected = Box::pin(soon("connect", connect_async(request))).await;
    Ok(connected.map_err(|error| format!("handshake: {error}"))?.0)
}

/// A token with these claims. `expires_in_s` stands for `exp`.
fn sign(claims: &Value) -> String {
    let mut claims = claims.clone();
    let fields = claims.as_object_mut().expect("claims are an object");
    if let Some(seconds) = fields.remove("expires_in_s").and_then(|s| s.as_i64()) {
        let exp = token::now().saturating_add_signed(seconds);
        fields.insert("exp".into(), exp.into());
    }
    token::token(claims)
}

/// What a client says, with a token where claims are written.
fn signed(message: &Value) -> Value {
    let mut message = message.clone();
    if let Some(claims) = message.get_mut("token").filter(|token| token.is_object()) {
        *claims = sign(claims).into();
    }
    message
}

async fn say(socket: &mut Socket, text: &str) -> Result<(), String> {
    let sent = socket.send(Message::text(text)).await;
    sent.map_err(|error| format!("cannot be sent: {error}"))
}

async fn next(socket: &mut Socket) -> Result<Message, String> {
    loop {
        match timeout(PATIENCE, socket.next()).await {
            Ok(Some(Ok(Message::Ping(_)))) => {}
            Ok(Some(Ok(message))) => return Ok(message),
            Ok(other) => return Err(format!("instead of a message: {other:?}")),
            Err(_) => return Err(format!("nothing for {PATIENCE:?}")),
        }
    }
}

async fn hear(socket: &mut Socket) -> Result<Value, String> {
    match next(socket).await? {
        Message::Text(text) => serde_json::from_str(&text).map_err(|e| format!("{text}: {e}")),
        other => Err(format!("instead of a frame: {other:?}")),
    }
}

async fn hear_close(socket: &mut Socket) -> Result<CloseFrame, String> {
    match next(socket).await? {
        Message::Close(Some(frame)) => Ok(frame),
        other => Err(format!("instead of a close with a code: {other:?}")),
    }
}

/// Everything the server has for the client by now, which has to be nothing. What the client has said is read when its
/// ping is answered; it is done, and all rows are delivered, when the witness, who has the same shard, has a later row;
/// and it is all on the socket before a second ping is answered.
async fn silence(socket: &mut Socket, scene: &Scene) -> Result<(), String> {
    ping(socket).await?;
    scene.insert(MARK, 1).await;
    ping(socket).await
}

/// A row that nobody but the witness receives.
const MARK: &str = "INSERT INTO events (channel, type) VALUES ('golden:mark', 'mark.set')";

async fn ping(socket: &mut Socket) -> Result<(), String> {
    let sent = socket.send(Message::Ping("silence".into())).await;
    sent.map_err(|error| format!("cannot be sent: {error}"))?;
    match next(socket).await? {
        Message::Pong(_) => Ok(()),
        other => Err(format!("instead of nothing: {other:?}")),
    }
}
