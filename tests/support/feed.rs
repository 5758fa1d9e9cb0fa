//! A server in this process on a SQLite file of its own, and a client that speaks to it in JSON.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rowcast::source::{Insert, open_insert};
use rowcast::{
    Broadcaster, Channels, Config, DatabaseConfig, EventId, HubOptions, Migrate, NewEvent,
    PollInterval, Reload, Server,
};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Longest wait for anything that has to happen: far longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Short, so that a wake-up lost costs a test nothing.
pub const POLL_INTERVAL: PollInterval = PollInterval {
    max: Duration::from_millis(50),
    min: Duration::from_millis(2),
};

/// Waits for something that has to happen.
pub async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    timeout(PATIENCE, happens)
        .await
        .unwrap_or_else(|_| panic!("{what}: nothing for {PATIENCE:?}"))
}

/// Waits for something that has to become true and that nobody announces.
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    soon(what, async {
        while !is_so().await {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A running server. What is left of it ends with the test's runtime.
pub struct Feed {
    pub address: SocketAddr,
    pub broadcaster: Broadcaster,
    pub reload: Reload,
    insert: Arc<dyn Insert>,
    running: JoinHandle<()>,
    shutdown: Option<oneshot::Sender<()>>,
    folder: tempfile::TempDir,
}

impl Feed {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With one shard, so that what one client has been sent, every client has been sent.
    pub async fn start_with(change: impl FnOnce(&mut HubOptions)) -> Self {
        Self::start_configured(|config| change(&mut config.hub)).await
    }

    /// The same, with whatever else is different.
    pub async fn start_configured(change: impl FnOnce(&mut Config)) -> Self {
        let folder = super::temp_dir();
        let database = database_in(&folder);
        let mut config = Config::new(database.clone());
        config.listen.set_port(0);
        config.poll_interval = POLL_INTERVAL;
        config.hub.shards = 1;
        change(&mut config);
        let server = Server::start(&config).await.expect("a fresh file");
        let insert = open_insert(&database, Migrate::Off)
            .await
            .expect("the server has made the tables");
        let (address, broadcaster) = (server.address(), server.broadcaster().clone());
        let reload = server.reload_handle();
        let (shutdown, asked) = oneshot::channel();
        let running = tokio::spawn(server.run(async {
            // A test that drops the feed does not ask for a shutdown.
            if asked.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        Self {
            address,
            broadcaster,
            reload,
            insert,
            running,
            shutdown: Some(shutdown),
            folder,
        }
    }

    /// Begins the shutdown; what it gives ends when the server has.
    pub fn shut_down(mut self) -> JoinHandle<()> {
        self.begin_shutdown();
        self.running
    }

    /// Begins the shutdown, while the database stays.
    pub fn begin_shutdown(&mut self) {
        let shutdown = self.shutdown.take().expect("it was not asked before");
        shutdown.send(()).expect("the server is running");
    }

    /// Inserts rows in one transaction, with their channel as type and their number in the transaction as payload.
    pub async fn insert(&self, channels: &[&str]) -> Vec<i64> {
        let rows: Vec<_> = channels
            .iter()
            .enumerate()
            .map(|(n, channels)| row(channels, &json!({ "n": n })))
            .collect();
        self.insert_rows(&rows).await
    }

    pub async fn insert_rows(&self, rows: &[NewEvent]) -> Vec<i64> {
        insert_into(&self.insert, rows).await
    }

    /// What the database says.
    pub async fn rows_text(&self, sql: &str) -> Vec<String> {
        let path = self.folder.path().join("feed.db");
        let mut connection = super::Connection::open(&format!("sqlite://{}", path.display())).await;
        connection.texts(sql).await
    }

    /// Has the database do something.
    pub async fn run(&self, sql: &str) {
        let path = self.folder.path().join("feed.db");
        let mut connection = super::Connection::open(&format!("sqlite://{}", path.display())).await;
        connection.run(sql).await;
    }

    /// Waits for the end of the server, in order.
    pub async fn ended(self) {
        self.running.await.expect("it ended well");
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    pub async fn subscribe(&self, channels: &[&str]) -> Client {
        let mut client = self.connect().await;
        client.subscribe(channels).await;
        client
    }

    /// What `/api/v1/ws/stats` says.
    pub async fn stats(&self) -> Value {
        let answer = http(
            self.address,
            "GET /api/v1/ws/stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert_eq!(answer.status, 200);
        serde_json::from_str(&answer.body).expect("stats are JSON")
    }
}

pub fn database_in(folder: &tempfile::TempDir) -> DatabaseConfig {
    let path = folder.path().join("feed.db");
    DatabaseConfig::new(&format!("sqlite://{}", path.display())).expect("a URL")
}

pub fn row(channels: &str, payload: &Value) -> NewEvent {
    NewEvent::new(
        Channels::parse(channels).expect("channels in rule"),
        "test.row",
        to_raw_value(payload).expect("JSON"),
    )
}

pub async fn insert_into(insert: &Arc<dyn Insert>, rows: &[NewEvent]) -> Vec<i64> {
    let ids = soon("insert", insert.insert(rows)).await.expect("inserts");
    ids.into_iter().map(|inserted| inserted.id.0).collect()
}

/// A WebSocket client that has seen one of everything.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pings: u64,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let url = format!("ws://{address}/ws");
        // Boxed: it is large, and every future that awaits it would be as large.
        let (socket, _) = Box::pin(soon("connect", connect_async(url)))
            .await
            .expect("a WebSocket");
        Self::over(socket)
    }

    /// Over a socket that is open.
    pub fn over(socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        Self { socket, pings: 0 }
    }

    /// Sends a frame of JSON.
    pub async fn say(&mut self, frame: &Value) {
        self.send(Message::text(frame.to_string())).await;
    }

    pub async fn send(&mut self, message: Message) {
        self.socket.send(message).await.expect("an open connection");
    }

    pub async fn send_binary(&mut self, bytes: &'static [u8]) {
        self.send(Message::Binary(Bytes::from_static(bytes))).await;
    }

    /// The next frame, as JSON.
    pub async fn hear(&mut self) -> Value {
        match self.next_message().await {
            Message::Text(text) => serde_json::from_str(&text).expect("frames are JSON"),
            other => panic!("instead of a frame: {other:?}"),
        }
    }

    /// Whatever comes next, pings apart.
    pub async fn next_message(&mut self) -> Message {
        loop {
            match soon("a frame", self.socket.next()).await {
                Some(Ok(Message::Ping(_))) => {}
                Some(Ok(message)) => return message,
                other => panic!("instead of a frame: {other:?}"),
            }
        }
    }

    /// The next frame, which is of this type.
    pub async fn hear_a(&mut self, kind: &str) -> Value {
        let frame = self.hear().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// The next so many events, with nothing but cursors among them. Gives their frames.
    pub async fn hear_events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            let frame = self.hear().await;
            match frame["type"].as_str() {
                Some("event") => events.push(frame),
                Some("cursor") => {}
                _ => panic!("instead of an event: {frame}"),
            }
        }
        events
    }

    /// Everything the server has for it by now, in order.
    pub async fn hear_all(&mut self) -> Vec<Value> {
        self.pings += 1;
        let id = format!("all-{}", self.pings);
        self.say(&json!({"type": "ping", "id": id})).await;
        let mut frames = Vec::new();
        loop {
            let frame = self.hear().await;
            if frame["type"] == "pong" && frame["id"] == id.as_str() {
                return frames;
            }
            frames.push(frame);
        }
    }

    pub async fn subscribe(&mut self, channels: &[&str]) -> Value {
        self.say(&json!({"type": "subscribe", "channels": channels}))
            .await;
        self.hear_a("subscribed").await
    }

    /// The server's close, which has to come next. Answers it.
    pub async fn hear_close(&mut self) -> CloseFrame {
        match self.next_message().await {
            Message::Close(Some(frame)) => frame,
            other => panic!("instead of a close with a code: {other:?}"),
        }
    }

    /// Closes in good manners.
    pub async fn close(mut self) {
        self.socket.close(None).await.expect("an open connection");
        self.end().await;
    }

    /// Waits for the end of a connection that is closing.
    pub async fn end(mut self) {
        while let Some(message) = soon("the answer to a close", self.socket.next()).await {
            message.expect("a proper end");
        }
    }
}

/// The ids of event frames.
pub fn ids(events: &[Value]) -> Vec<i64> {
    events
        .iter()
        .map(|frame| frame["event"]["id"].as_i64().expect("events have ids"))
        .collect()
}

/// An answer to an HTTP request.
pub struct Answer {
    pub status: u16,
    /// Header lines, in lower case.
    pub headers: Vec<String>,
    pub body: String,
}

/// Asks for something that the server answers by closing the connection.
pub async fn http(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("a server");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    soon("an HTTP answer", stream.read_to_string(&mut answer))
        .await
        .expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .expect("a status");
    Answer {
        status,
        headers: lines.map(str::to_ascii_lowercase).collect(),
        body: body.to_owned(),
    }
}

/// How long something took.
pub async fn timed<T>(happens: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let value = soon("something timed", happens).await;
    (value, start.elapsed())
}
