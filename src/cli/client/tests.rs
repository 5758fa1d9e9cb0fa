//! A client against a server that says what the test has it say.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::{Client, Update, Wanted};

/// Longest wait for anything that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    listener: TcpListener,
}

struct Peer(WebSocketStream<TcpStream>);

impl Server {
    async fn start() -> (Self, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wanted = Wanted {
            url: format!("ws://{}/ws", listener.local_addr().unwrap()),
            channels: vec!["tasks".to_owned()],
            since: "earliest".to_owned(),
            token: None,
            name: "test",
        };
        (Self { listener }, Client::new(wanted))
    }

    /// The next connection, and the `since` of its hello.
    async fn accept(&self) -> (Peer, String) {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        let mut peer = Peer(accept_async(stream).await.unwrap());
        let hello = peer.hear().await;
        assert_eq!(hello["type"], "hello", "{hello}");
        assert_eq!(hello["channels"], json!(["tasks"]));
        (peer, hello["since"].as_str().unwrap().to_owned())
    }
}

impl Peer {
    async fn say(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let message = soon(self.0.next()).await.unwrap().unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    /// An event, whose cursor is its id, unless it has none.
    async fn event(&mut self, id: i64, cursor: bool) {
        let mut frame = json!({"type": "event", "channels": ["tasks"], "event": {
            "id": id, "type": "t", "payload": {}, "createdAt": "2026-01-01T00:00:00.000Z"}});
        if cursor {
            frame["cursor"] = id.to_string().into();
        }
        self.say(frame).await;
    }
}

async fn soon<T>(happens: impl Future<Output = T>) -> T {
    timeout(PATIENCE, happens)
        .await
        .expect("it has to happen soon")
}

/// What the client says next, an event as its id.
async fn update(client: &mut Client) -> Result<i64, Update> {
    match soon(client.next()).await.expect("trying again helps") {
        Update::Event(text) => {
            let frame: Value = serde_json::from_str(&text).unwrap();
            Ok(frame["event"]["id"].as_i64().unwrap())
        }
        other => Err(other),
    }
}

#[tokio::test]
async fn it_comes_back_to_its_place_and_drops_what_it_had() {
    let (server, mut client) = Server::start().await;
    let serve = tokio::spawn(async move {
        let (mut peer, since) = server.accept().await;
        assert_eq!(since, "earliest");
        peer.say(json!({"type": "subscribed", "cursor": "0"})).await;
        peer.event(1, true).await;
        peer.event(2, false).await;
        peer.event(3, false).await;
        drop(peer);
        let (mut peer, since) = server.accept().await;
        assert_eq!(since, "1", "the last cursor, not the last event");
        peer.say(json!({"type": "subscribed", "cursor": "1", "recovered": true}))
            .await;
        for id in [2, 3, 4] {
            peer.event(id, false).await;
        }
        peer.say(json!({"type": "caught_up", "cursor": "4"})).await;
        drop(peer);
        let (mut peer, since) = server.accept().await;
        assert_eq!(since, "4");
        peer.say(json!({"type": "subscribed", "cursor": "9"})).await;
        peer.say(json!({"type": "reset", "reason": "epoch", "cursor": "9"}))
            .await;
        // What is no row has nothing to be told from others by.
        for _ in 0..2 {
            peer.say(json!({"type": "event", "channels": ["tasks"], "event": {"id": 4}}))
                .await;
        }
        drop(peer);
        let (mut peer, since) = server.accept().await;
        assert_eq!(since, "9");
        peer.say(json!({"type": "subscribed"})).await;
        peer
    });
    let mut heard = Vec::new();
    while heard.len() < 16 {
        heard.push(match update(&mut client).await {
            Err(Update::Disconnected(_)) => Err(Update::Disconnected(String::new())),
            other => other,
        });
    }
    let gone = || Err(Update::Disconnected(String::new()));
    assert_eq!(
        heard,
        [
            Err(Update::Subscribed),
            Ok(1),
            Ok(2),
            Ok(3),
            gone(),
            Err(Update::Subscribed),
            Err(Update::Repeat),
            Err(Update::Repeat),
            Ok(4),
            Err(Update::CaughtUp),
            gone(),
            Err(Update::Subscribed),
            Err(Update::Reset("epoch".into())),
            Ok(4),
            Ok(4),
            gone(),
        ]
    );
    assert_eq!(update(&mut client).await, Err(Update::Subscribed));
    drop(serve.await.unwrap());
}

#[tokio::test]
async fn it_waits_as_long_as_it_is_told_to() {
    let (server, mut client) = Server::start().await;
    let serve = tokio::spawn(async move {
        let (mut peer, _) = server.accept().await;
        peer.say(json!({"type": "subscribed", "cursor": "1"})).await;
        peer.say(json!({"type": "disconnect", "code": "SERVER_SHUTDOWN", "reconnect": true, "retryAfterMs": 900}))
            .await;
        peer.0.close(None).await.unwrap();
        let told = Instant::now();
        let (mut peer, _) = server.accept().await;
        peer.say(json!({"type": "subscribed", "cursor": "1"})).await;
        told.elapsed()
    });
    while !serve.is_finished() {
        update(&mut client).await.unwrap_err();
    }
    let waited = serve.await.unwrap();
    assert!(waited > Duration::from_millis(850), "{waited:?}");
}

#[tokio::test]
async fn a_server_that_does_not_want_it_ends_it() {
    for (frame, words) in [
        (
            json!({"type": "error", "code": "CURSOR_INVALID", "message": "no such place"}),
            "no such place (CURSOR_INVALID)",
        ),
        (
            json!({"type": "disconnect", "code": "FORBIDDEN", "reconnect": false}),
            "FORBIDDEN",
        ),
    ] {
        let (server, mut client) = Server::start().await;
        let serve = tokio::spawn(async move {
            let (mut peer, _) = server.accept().await;
            peer.say(frame).await;
            peer
        });
        let error = soon(client.next()).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        drop(serve.await.unwrap());
    }
}

/// A peer that vanishes says nothing, and neither does its host.
#[tokio::test]
async fn a_connection_that_is_silent_is_given_up() {
    let (server, mut client) = Server::start().await;
    let serve = tokio::spawn(async move {
        let (mut peer, _) = server.accept().await;
        peer.say(json!({"type": "subscribed", "cursor": "1"})).await;
        // A live one answers and is kept.
        assert_eq!(peer.hear().await["type"], "ping");
        peer.say(json!({"type": "pong", "cursor": "2"})).await;
        assert_eq!(peer.hear().await["type"], "ping");
        let (other, since) = server.accept().await;
        assert_eq!(since, "2");
        (peer, other)
    });
    assert_eq!(update(&mut client).await, Err(Update::Subscribed));
    assert_eq!(
        update(&mut client).await,
        Err(Update::Disconnected("no answer".into()))
    );
    tokio::select! {
        _ = client.next() => panic!("nothing is said"),
        peers = serve => drop(peers.unwrap()),
    }
}
