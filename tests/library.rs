//! rowcast as a library: listeners in this process, and its routes mounted in an application of the user's.
#![cfg(feature = "sqlite")]

mod support;

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rowcast::source::{Insert, Row, Window, open, open_insert};
use rowcast::{
    Authenticator, Broadcaster, Channels, Cursor, Error, Event, EventId, Gate, Hub, HubOptions,
    Migrate, PollInterval, Source,
};
use serde_json::json;
use serde_json::value::RawValue;
use support::feed::{POLL_INTERVAL, database_in, http, insert_into, row, soon, timed, until};
use support::raw::{CONTINUATION, FIN, Heard, Raw, TEXT, close, frame, text};
use tokio::io::{AsyncRead, AsyncWrite, BufStream, DuplexStream};
use tokio::sync::Notify;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter as _, Reply as _};

/// Batches a listener may lie behind: see `QUEUE_BATCHES` in src/broadcaster/mod.rs.
const QUEUE_BATCHES: usize = 64;

struct Library {
    broadcaster: Broadcaster,
    insert: Arc<dyn Insert>,
    _folder: tempfile::TempDir,
}

impl Library {
    async fn start() -> Self {
        Self::start_with(|source| source, POLL_INTERVAL).await
    }

    async fn start_with(
        wrap: impl FnOnce(Arc<dyn Source>) -> Arc<dyn Source>,
        interval: PollInterval,
    ) -> Self {
        let folder = support::temp_dir();
        let database = database_in(&folder);
        let source = open(&database, Migrate::Auto).await.expect("a fresh file");
        let insert = open_insert(&database, Migrate::Off)
            .await
            .expect("tables are there");
        let broadcaster = Broadcaster::start(wrap(source), interval)
            .await
            .expect("a feed");
        Self {
            broadcaster,
            insert,
            _folder: folder,
        }
    }

    async fn insert(&self, count: usize) -> Vec<i64> {
        let rows: Vec<_> = (0..count).map(|n| row("a", &json!({ "n": n }))).collect();
        insert_into(&self.insert, &rows).await
    }

    /// Inserts transactions one after the other, each a window of its own.
    async fn insert_windows(&self, windows: usize, rows: usize) -> Vec<i64> {
        let mut witness = Box::pin(self.broadcaster.listen());
        let mut all = Vec::new();
        for _ in 0..windows {
            let inserted = self.insert(rows).await;
            assert_eq!(take(&mut witness, rows).await, inserted);
            all.extend(inserted);
        }
        all
    }
}

type Events = Pin<Box<dyn Stream<Item = Arc<Event>> + Send>>;

async fn next(events: &mut (impl Stream<Item = Arc<Event>> + Unpin)) -> Arc<Event> {
    soon("an event", events.next())
        .await
        .expect("the feed goes on")
}

async fn take(events: &mut (impl Stream<Item = Arc<Event>> + Unpin), count: usize) -> Vec<i64> {
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        ids.push(next(events).await.id.0);
    }
    ids
}

#[tokio::test]
async fn a_listener_has_every_event_from_now_on_in_order_and_once() {
    let library = Library::start().await;
    library.insert_windows(1, 3).await;
    let mut first = Box::pin(library.broadcaster.listen());
    let mut all = library.insert_windows(20, 1).await;
    let mut second = Box::pin(library.broadcaster.clone().listen());
    let late = library.insert(3500).await;
    all.extend(&late);
    assert_eq!(take(&mut second, late.len()).await, late);
    assert_eq!(take(&mut first, all.len()).await, all);
    let event = {
        library.insert(1).await;
        next(&mut first).await
    };
    assert_eq!(event.kind, "test.row");
    assert_eq!(event.channels.as_str(), "a");
    assert_eq!(event.payload.get(), r#"{"n":0}"#);
    assert_eq!(library.broadcaster.stats().listeners, 2);
    drop(first);
    assert_eq!(library.broadcaster.stats().listeners, 1);
    assert_eq!(library.broadcaster.stats().listeners_lagged, 0);
}

#[tokio::test]
async fn a_callback_is_called_until_its_handle_is_dropped() {
    let library = Library::start().await;
    let (sent, heard) = mpsc::channel();
    let (entered_tx, mut entered) = tokio::sync::mpsc::unbounded_channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let handle = library.broadcaster.add_listener(move |event| {
        sent.send(event.id.0).unwrap();
        entered_tx.send(()).unwrap();
        wait.recv().ok();
    });
    assert_eq!(library.broadcaster.stats().listeners, 1);
    let inserted = library.insert(10).await;
    for _ in 0..3 {
        soon("a call", entered.recv()).await.expect("called");
        go_on.send(()).unwrap();
    }
    // It is in its fourth call, and six events wait.
    soon("a call", entered.recv()).await.expect("called");
    drop(handle);
    go_on.send(()).unwrap();
    // The callback is dropped, and the sender with it.
    let all = tokio::task::spawn_blocking(move || heard.iter().collect::<Vec<_>>());
    let all = soon("the end of the listener", all).await.unwrap();
    assert_eq!(all, inserted[..4], "and none after the drop");
    until("unregistered", async || {
        library.broadcaster.stats().listeners == 0
    })
    .await;
}

#[tokio::test]
async fn a_listener_that_panics_is_counted_and_goes_on_as_do_others() {
    let library = Library::start().await;
    let (sent, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let _clumsy = library.broadcaster.add_listener(move |event| {
        sent.send(event.id.0).unwrap();
        assert!(event.id.0 % 3 != 0, "on purpose");
    });
    let mut other = Box::pin(library.broadcaster.listen());
    let inserted = library.insert(9).await;
    for id in &inserted {
        let got = soon("a call", heard.recv()).await;
        assert_eq!(got, Some(*id), "also after a panic");
    }
    assert_eq!(take(&mut other, 9).await, inserted);
    until("three panics", async || {
        library.broadcaster.stats().listener_panics == 3
    })
    .await;
    let more = library.insert(1).await;
    assert_eq!(soon("a call", heard.recv()).await, Some(more[0]));
}

#[tokio::test]
async fn listeners_that_block_delay_nobody() {
    let library = Library::start().await;
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = Arc::new(Mutex::new(blocked));
    let calls = Arc::new(AtomicUsize::new(0));
    // More of them than the runtime has threads.
    let handles: Vec<_> = (0..8)
        .map(|_| {
            let (blocked, calls) = (Arc::clone(&blocked), Arc::clone(&calls));
            library.broadcaster.add_listener(move |_| {
                calls.fetch_add(1, Ordering::SeqCst);
                let _ = blocked.lock().unwrap().recv();
            })
        })
        .collect();
    let mut quick = Box::pin(library.broadcaster.listen());
    for _ in 0..2 * QUEUE_BATCHES {
        let inserted = library.insert(1).await;
        let (got, took) = timed(take(&mut quick, 1)).await;
        assert_eq!(got, inserted);
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 8, "each is in its first call");
    drop(release);
    until("they catch up", async || {
        calls.load(Ordering::SeqCst) == 8 * 2 * QUEUE_BATCHES
    })
    .await;
    drop(handles);
}

#[tokio::test]
async fn a_slow_reader_misses_nothing_and_repeats_nothing() {
    let library = Library::start().await;
    let mut slow = Box::pin(library.broadcaster.listen());
    let mut all = library.insert_windows(QUEUE_BATCHES + 20, 2).await;
    assert_eq!(library.broadcaster.stats().listeners_lagged, 1);
    // It has read a part of its queue when more comes, a part of the table when more comes, and so on.
    let mut got = Vec::new();
    for part in [5, 2 * QUEUE_BATCHES - 10, 11, 1] {
        got.extend(take(&mut slow, part).await);
        all.extend(library.insert_windows(3, 3).await);
    }
    got.extend(take(&mut slow, all.len() - got.len()).await);
    assert_eq!(got, all);
    // It is back in the live feed as soon as it waits there, and can fall behind again.
    for _ in 0..3 {
        let (inserted, got) = tokio::join!(library.insert(1), take(&mut slow, 1));
        assert_eq!(got, inserted);
    }
    all = library.insert_windows(QUEUE_BATCHES + 1, 1).await;
    assert_eq!(take(&mut slow, all.len()).await, all);
    assert_eq!(library.broadcaster.stats().listeners_lagged, 2);
    all = library.insert_windows(3, 1).await;
    assert_eq!(take(&mut slow, all.len()).await, all);
    assert_eq!(library.broadcaster.stats().listeners_lagged, 2);
}

#[tokio::test]
async fn a_reader_that_falls_behind_within_a_window_misses_and_repeats_nothing() {
    // Each batch has at most about 1 MiB of payload: a row of more makes a batch of its own.
    const ROWS: usize = QUEUE_BATCHES + 10;
    let library = Library::start().await;
    let mut slow = Box::pin(library.broadcaster.listen());
    let mut other = Box::pin(library.broadcaster.listen());
    let mut all = library.insert_windows(1, 1).await;
    let large = json!("x".repeat(1 << 20));
    let rows: Vec<_> = (0..ROWS).map(|_| row("a", &large)).collect();
    all.extend(insert_into(&library.insert, &rows).await);
    until("the window is too large for its queue", async || {
        library.broadcaster.stats().listeners_lagged == 2
    })
    .await;
    assert_eq!(take(&mut other, all.len()).await, all);
    let mut got = take(&mut slow, 20).await;
    all.extend(library.insert(1).await);
    take(&mut other, 1).await;
    got.extend(take(&mut slow, all.len() - got.len()).await);
    assert_eq!(got, all);
    let more = library.insert(1).await;
    assert_eq!(take(&mut slow, 1).await, more);
}

#[tokio::test]
async fn readers_that_stop_while_catching_up_hold_up_no_other() {
    let library = Library::start().await;
    let listen = || -> Events { Box::pin(library.broadcaster.listen()) };
    let mut stopped: Vec<_> = (0..4).map(|_| listen()).collect();
    let mut other = listen();
    let rows = 3000;
    let mut all = library.insert_windows(QUEUE_BATCHES + 1, 1).await;
    all.extend(library.insert_windows(1, rows).await);
    // They are past their queues, within the large window, and are not read any more.
    for reader in &mut stopped {
        let part = QUEUE_BATCHES + 10;
        assert_eq!(take(reader, part).await, all[..part]);
    }
    assert_eq!(take(&mut other, all.len()).await, all);
    // Whenever they are read again, they go on.
    for reader in &mut stopped {
        let rest = &all[QUEUE_BATCHES + 10..];
        assert_eq!(take(reader, rest.len()).await, rest);
    }
}

#[tokio::test]
async fn streams_end_when_the_last_broadcaster_is_dropped() {
    let library = Library::start().await;
    let mut waiting = Box::pin(library.broadcaster.listen());
    let mut queued = Box::pin(library.broadcaster.listen());
    let mut lagging = Box::pin(library.broadcaster.listen());
    let ended = Arc::new(AtomicBool::new(false));
    let mark = OnDrop(Arc::clone(&ended));
    let _handle = library.broadcaster.add_listener(move |_| {
        let _ = &mark;
    });
    let all = library.insert_windows(QUEUE_BATCHES + 5, 1).await;
    assert_eq!(take(&mut waiting, all.len()).await, all);
    assert_eq!(take(&mut queued, all.len() - 2).await, all[..all.len() - 2]);
    let clone = library.broadcaster.clone();
    drop(library);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), waiting.next())
            .await
            .is_err(),
        "there is a clone"
    );
    drop(clone);
    assert!(soon("the end", waiting.next()).await.is_none());
    soon("the end", queued.for_each(async |_| {})).await;
    soon("the end", lagging.by_ref().for_each(async |_| {})).await;
    until("the callback is gone", async || {
        ended.load(Ordering::SeqCst)
    })
    .await;
}

struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A source that fails on demand: every so many rows, and whenever it is asked where it is.
struct Flaky {
    inner: Arc<dyn Source>,
    fails_after_rows: usize,
    edges: AtomicUsize,
}

fn failure() -> Error {
    Error::Unusable("a test has it fail".into())
}

impl Source for Flaky {
    fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
        if self.edges.fetch_add(1, Ordering::SeqCst) % 3 == 1 {
            return Box::pin(std::future::ready(Err(failure())));
        }
        self.inner.edge()
    }

    fn rows(&self, window: Window) -> BoxStream<'_, Result<Row, Error>> {
        let good = self.inner.rows(window).take(self.fails_after_rows);
        // A window that ends before it fails has ended well.
        let mut count = 0;
        let limit = self.fails_after_rows;
        good.map(move |row| {
            count += 1;
            if count == limit { Err(failure()) } else { row }
        })
        .boxed()
    }

    fn rebase<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Option<Cursor>, Error>> {
        self.inner.rebase(cursor)
    }
}

#[tokio::test]
async fn a_source_of_the_users_own_may_fail_at_any_row() {
    let wrap = |inner| -> Arc<dyn Source> {
        Arc::new(Flaky {
            inner,
            fails_after_rows: 60,
            edges: AtomicUsize::new(0),
        })
    };
    let library = Library::start_with(wrap, POLL_INTERVAL).await;
    let mut events = Box::pin(library.broadcaster.listen());
    let rows: Vec<_> = (0..150).map(|n| row("a", &json!({ "n": n }))).collect();
    let inserted = insert_into(&library.insert, &rows).await;
    assert_eq!(take(&mut events, rows.len()).await, inserted);
    assert!(library.broadcaster.stats().poll_errors >= 2);
}

/// An application with routes of its own beside ours.
fn application(hub: &Hub) -> BoxedFilter<(Response,)> {
    let own = warp::path!("hello" / String).map(|name| format!("hello {name}").into_response());
    own.or(rowcast::routes(hub, &Gate::new(Authenticator::open())))
        .unify()
        .boxed()
}

#[tokio::test]
async fn routes_work_beside_those_of_an_application() {
    let library = Library::start().await;
    let hub = Hub::start(&library.broadcaster, HubOptions::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(warp::serve(application(&hub)).incoming(listener).run());

    let hello = "GET /hello/world HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = http(address, hello).await;
    assert_eq!((answer.status, &*answer.body), (200, "hello world"));
    let health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(http(address, health).await.status, 200);

    let mut client = support::feed::Client::connect(address).await;
    client.subscribe(&["a"]).await;
    let inserted = library.insert(2500).await;
    let events = client.hear_events(2500).await;
    assert_eq!(support::feed::ids(&events), inserted);
    client.close().await;
    until("it is gone", async || {
        library.broadcaster.client_count() == 0
    })
    .await;
}

#[tokio::test]
async fn clients_are_sent_away_when_the_broadcaster_ends() {
    let library = Library::start().await;
    let hub = Hub::start(&library.broadcaster, HubOptions::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(warp::serve(application(&hub)).incoming(listener).run());
    let mut client = support::feed::Client::connect(address).await;
    client.subscribe(&["a"]).await;
    drop(library);
    assert_eq!(client.hear_a("disconnect").await["reconnect"], true);
    assert_eq!(u16::from(client.hear_close().await.code), 1012);
    client.end().await;
}

/// Serves the application over any stream, as servers of TLS or Unix sockets do.
fn serve_over(hub: &Hub, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = TowerToHyperService::new(warp::service(application(hub)));
    tokio::spawn(async move {
        auto::Builder::new(TokioExecutor::new())
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .await
            .expect("served");
    });
}

async fn connect_over_pipe(hub: &Hub, bytes: usize) -> Raw<DuplexStream> {
    let (near, far) = tokio::io::duplex(bytes);
    serve_over(hub, far);
    Raw::shake_hands(near).await
}

#[tokio::test]
async fn any_stream_will_do() {
    let library = Library::start().await;
    let hub = Hub::start(&library.broadcaster, HubOptions::default());
    let folder = support::temp_dir();
    let path = folder.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();

    let unix = tokio::net::UnixStream::connect(&path).await.unwrap();
    serve_over(&hub, listener.accept().await.unwrap().0);
    exercise(&library, Raw::shake_hands(unix).await).await;

    // A pipe so narrow that every frame is cut.
    exercise(&library, connect_over_pipe(&hub, 64).await).await;

    // One that keeps what it was given until it is flushed, as TLS may.
    let (near, far) = tokio::io::duplex(1 << 16);
    serve_over(&hub, BufStream::with_capacity(1 << 16, 1 << 16, far));
    exercise(&library, Raw::shake_hands(near).await).await;
}

async fn exercise<S: AsyncRead + AsyncWrite + Unpin>(library: &Library, mut raw: Raw<S>) {
    raw.say(&json!({"type": "subscribe", "channels": ["a"]}))
        .await;
    assert_eq!(raw.hear_json().await["type"], "subscribed");
    assert_eq!(library.broadcaster.client_count(), 1);
    raw.send(&frame(FIN | 0x9, b"ping")).await;
    assert_eq!(raw.hear().await, Heard::Pong(b"ping".to_vec()));
    let inserted = library.insert(1).await;
    assert_eq!(raw.hear_json().await["event"]["id"], inserted[0]);

    let large = json!("x".repeat(500_000));
    insert_into(&library.insert, &[row("a", &large)]).await;
    assert_eq!(raw.hear_json().await["event"]["payload"], large);
    let ids = library.insert(1500).await;
    for id in ids {
        assert_eq!(raw.hear_json().await["event"]["id"], id);
    }
    // A large message of the client, in fragments.
    let padding = "x".repeat(30_000);
    let message = format!(r#"{{"type":"ping","id":7,"x":"{padding}"}}"#);
    let (head, tail) = message.as_bytes().split_at(20_000);
    raw.send(&frame(TEXT, head)).await;
    raw.send(&frame(FIN | CONTINUATION, tail)).await;
    assert_eq!(raw.hear_json().await["id"], 7);
    raw.send(&text("nonsense")).await;
    assert_eq!(raw.hear_json().await["code"], "INVALID_MESSAGE");

    raw.send(&[close(4321, b"bye"), text(r#"{"type":"ping"}"#)].concat())
        .await;
    raw.hear_close(4321).await;
    drop(raw);
    until("it is gone", async || {
        library.broadcaster.client_count() == 0
    })
    .await;
}

#[tokio::test]
async fn over_any_stream_errors_are_told_and_slow_clients_miss_nothing() {
    let library = Library::start().await;
    let options = HubOptions {
        outbox_bytes_max: 64 * 1024,
        shards: 1,
        ..HubOptions::default()
    };
    let hub = Hub::start(&library.broadcaster, options);
    let mut wrong = connect_over_pipe(&hub, 1024).await;
    // More behind it than the pipe holds.
    let many = [frame(FIN | 3, b""), text("{}").repeat(1000)].concat();
    let (mut reader, mut writer) = tokio::io::split(wrong.stream);
    let sending = tokio::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut writer, &many)
            .await
            .expect("it is read until the end");
        writer
    });
    let mut heard = vec![0; 2];
    soon(
        "a close",
        tokio::io::AsyncReadExt::read_exact(&mut reader, &mut heard),
    )
    .await
    .unwrap();
    assert_eq!(heard[0], 0x88, "a close");
    let writer = soon("all is read", sending).await.unwrap();
    wrong = Raw {
        stream: reader.unsplit(writer),
        bytes_read: 0,
    };
    drop(wrong);

    let mut slow = connect_over_pipe(&hub, 1024).await;
    let mut quick = connect_over_pipe(&hub, 1024).await;
    for raw in [&mut slow, &mut quick] {
        raw.say(&json!({"type": "subscribe", "channels": ["a"]}))
            .await;
        raw.hear_json().await;
    }
    let mut rows = 0;
    while library.broadcaster.stats().slow_connections == 0 || rows < 20 {
        assert!(rows < 100, "it is still being waited for");
        let fill = json!([rows, "x".repeat(30_000)]);
        insert_into(&library.insert, &[row("a", &fill)]).await;
        assert_eq!(quick.hear_json().await["event"]["payload"], fill);
        rows += 1;
    }
    let mut heard = 0;
    while heard < rows {
        let frame = slow.hear_json().await;
        if frame["type"] == "event" {
            assert_eq!(frame["event"]["payload"][0], heard, "in order, and once");
            heard += 1;
        }
    }
    slow.send(&close(1000, b"")).await;
    slow.hear_close(1000).await;
    drop(slow);
    until("it is gone", async || {
        library.broadcaster.client_count() == 1
    })
    .await;
}

/// Rows in memory. The first to read the gated window, which is the tail, stops in its middle until the gate opens.
struct Gated {
    committed: AtomicI64,
    window_to: i64,
    stop_at: i64,
    tail_came: AtomicBool,
    at_the_gate: Notify,
    gate: Notify,
}

impl Source for Gated {
    fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
        Box::pin(async { Ok(Cursor::after_id(0, self.committed.load(Ordering::Relaxed))) })
    }

    fn rows(&self, window: Window) -> BoxStream<'_, Result<Row, Error>> {
        let (after, upto) = (
            window.after.id().expect("an id"),
            window.upto.id().expect("an id"),
        );
        let after = window.resume_after.map_or(after, |id| id.0.max(after));
        let gated = upto == self.window_to && !self.tail_came.swap(true, Ordering::Relaxed);
        futures_util::stream::iter(after + 1..=upto)
            .then(move |id| async move {
                if gated && id == self.stop_at {
                    self.at_the_gate.notify_one();
                    self.gate.notified().await;
                }
                Ok(Ok(Arc::new(Event {
                    id: EventId(id),
                    channels: Channels::parse("tasks").expect("a good name"),
                    kind: "task.created".into(),
                    entity_id: None,
                    actor: None,
                    payload: RawValue::from_string("{}".into()).expect("JSON"),
                    previous: None,
                    trace_id: None,
                    origin: None,
                    transaction: None,
                    created_at: String::new(),
                })))
            })
            .boxed()
    }

    fn rebase<'a>(&'a self, _cursor: &'a Cursor) -> BoxFuture<'a, Result<Option<Cursor>, Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// A listener that catches up while the first part only of a window was handed out hears that part from the table, and
/// the rest from the feed.
#[tokio::test]
async fn a_reader_catches_up_within_a_window() {
    let few = QUEUE_BATCHES as i64 + 6;
    let many = few + 3000;
    let source = Arc::new(Gated {
        committed: AtomicI64::new(0),
        window_to: many,
        stop_at: few + 1500,
        tail_came: AtomicBool::new(false),
        at_the_gate: Notify::new(),
        gate: Notify::new(),
    });
    let interval = PollInterval {
        max: Duration::from_millis(1),
        min: Duration::from_millis(1),
    };
    let broadcaster = Broadcaster::start(Arc::clone(&source) as Arc<dyn Source>, interval)
        .await
        .expect("a feed");
    let mut events = Box::pin(broadcaster.listen());
    for id in 1..=few {
        source.committed.store(id, Ordering::Relaxed);
        until("the feed has read it", async || {
            broadcaster.cursor().id() == Some(id)
        })
        .await;
    }
    assert_eq!(broadcaster.stats().listeners_lagged, 1);
    source.committed.store(many, Ordering::Relaxed);
    soon("the tail stops", source.at_the_gate.notified()).await;
    let handed_out = few + 1000;
    let ids = take(&mut events, usize::try_from(handed_out).expect("small")).await;
    assert_eq!(ids, (1..=handed_out).collect::<Vec<_>>());
    // Asked for more it finds that it has caught up, and waits: nothing must come.
    let more = tokio::time::timeout(Duration::from_millis(200), events.next()).await;
    assert!(more.is_err(), "{more:?}");
    source.gate.notify_one();
    until("the rest is handed out", async || {
        broadcaster.cursor().id() == Some(many)
    })
    .await;
    source.committed.store(many + 1, Ordering::Relaxed);
    let ids = take(
        &mut events,
        usize::try_from(many + 1 - handed_out).expect("small"),
    )
    .await;
    assert_eq!(ids, (handed_out + 1..=many + 1).collect::<Vec<_>>());
}
