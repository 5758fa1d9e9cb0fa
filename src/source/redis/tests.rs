//! Windows of the stream against a model of a database: whatever positions they lie between, and wherever they are read
//! from, they have the rows that a table would give. With a real Redis.

mod lost_end;
mod positions;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::*;
use crate::cursor::{Epoch, Position, Snapshot, Within};
use crate::event::{Channels, Event, EventId};
use crate::source::StreamRetain;

/// A Redis of its own, on a free port.
struct Server {
    process: Child,
    config: StreamConfig,
    _folder: TempDir,
}

impl Server {
    /// One that says itself that it listens: another one may have the port, and would answer in its place.
    fn start() -> Self {
        for _ in 0..20 {
            let folder = tempfile::tempdir().expect("a folder");
            // Below those that systems hand out to outgoing connections.
            let port = fastrand::u16(20_000..32_000);
            let mut process = Command::new("redis-server")
                .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
                .args(["--save", "", "--dir"])
                .arg(folder.path())
                .stdout(Stdio::piped())
                .spawn()
                .expect("redis-server is installed: apt-get install redis-server");
            let says = process.stdout.take().expect("it was asked to be a pipe");
            let mut lines = BufReader::new(says).lines().map_while(Result::ok);
            let is_ready = lines.any(|line| line.contains("eady to accept connections"));
            let server = Self {
                process,
                config: StreamConfig::new(&format!("redis://127.0.0.1:{port}"), "test")
                    .expect("a URL"),
                _folder: folder,
            };
            if is_ready {
                return server;
            }
        }
        panic!("redis-server does not start");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const KEEP: StreamRetain = StreamRetain {
    keep: Duration::from_hours(1),
    entries_max: 1_000_000,
};

/// Transactions that overlap, rows whose ids are given before their commits, and what of it was seen at some moments.
struct Model {
    random: fastrand::Rng,
    next_xid: u64,
    open: Vec<u64>,
    /// In the order of their ids.
    rows: Vec<Event>,
}

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            next_xid: 10,
            open: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Some transactions begin, write, and end.
    fn go_on(&mut self) {
        for _ in 0..self.random.usize(1..8) {
            if self.open.len() < 4 {
                self.open.push(self.next_xid);
                self.next_xid += 1;
            }
            let writer = self.random.usize(..self.open.len());
            for _ in 0..self.random.usize(..4) {
                let id = self.rows.len() as i64 + 1;
                self.rows.push(event(
                    id,
                    self.open[writer],
                    ["a", "b:1", "b:2"][self.random.usize(..3)],
                ));
            }
            if self.random.bool() {
                self.open.swap_remove(writer);
            }
        }
    }

    fn look(&self) -> Snapshot {
        let mut in_flight = self.open.clone();
        in_flight.sort_unstable();
        Snapshot {
            xmin: in_flight.first().copied().unwrap_or(self.next_xid),
            xmax: self.next_xid,
            in_flight,
            durable: self.next_xid,
        }
    }

    /// What a table would give, with the ids above.
    fn ids(&self, window: &Window, channel: Option<&str>) -> Vec<i64> {
        let rows = self.rows.iter().filter(|row| {
            window.resume_after.is_none_or(|after| row.id > after)
                && !window.after.covers(row.id, row.transaction)
                && window.upto.covers(row.id, row.transaction)
                && channel.is_none_or(|channel| row.channels.as_str().starts_with(channel))
        });
        rows.map(|row| row.id.0).collect()
    }
}

fn event(id: i64, xid: u64, channel: &str) -> Event {
    Event {
        id: EventId(id),
        channels: Channels::parse(channel).expect("a good name"),
        kind: "t".into(),
        entity_id: None,
        actor: None,
        payload: RawValue::from_string(format!("{{\"n\":{id}}}")).expect("JSON"),
        previous: None,
        trace_id: None,
        origin: None,
        transaction: Some(xid),
        created_at: "2026-01-01T00:00:00.000Z".into(),
    }
}

fn at(position: Position) -> Cursor {
    let epoch = Epoch { number: 1, tag: 7 };
    Cursor { epoch, position }
}

fn snapshot(xmax: u64) -> Cursor {
    at(Position::Snapshot(Snapshot {
        xmin: xmax,
        xmax,
        in_flight: Vec::new(),
        durable: xmax,
    }))
}

async fn ids_of(rows: BoxStream<'_, Result<Row, Error>>) -> Vec<i64> {
    let rows: Vec<Row> = rows.try_collect().await.expect("the window is there");
    rows.iter()
        .map(|row| row.as_ref().expect("an event").id.0)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_window_has_the_rows_that_a_table_would_give() {
    let server = Server::start();
    let stream = Stream::new(&server.config).expect("a stream");
    let seed = fastrand::u64(..);
    let mut model = Model::new(seed);
    let begin = at(Position::Snapshot(model.look()));
    // What says where it begins, and that it has come to the present.
    let first = [Joint::Left, Joint::Whole].map(|joint| Entry {
        upto: begin.clone(),
        events: Vec::new(),
        joint,
    });
    let appended = stream
        .append(None, &first, &KEEP)
        .await
        .expect("Redis answers");
    assert_eq!(appended, Appended::Done);
    let live = RedisSource::open(&server.config, None, Migrate::Off)
        .await
        .expect("a stream");

    // What whoever relays has read, and positions of others, who looked at other moments.
    let (mut edges, mut others) = (vec![begin], Vec::new());
    for _ in 0..120 {
        model.go_on();
        others.push(at(Position::Snapshot(model.look())));
        model.go_on();
        let end = edges.last().expect("it has begun").clone();
        let next = at(Position::Snapshot(model.look()));
        let window = Window {
            after: end.clone(),
            upto: next.clone(),
            resume_after: None,
        };
        let rows: Vec<Arc<Event>> = model
            .ids(&window, None)
            .into_iter()
            .map(|id| Arc::new(model.rows[id as usize - 1].clone()))
            .collect();
        // Large windows come in parts.
        let mut entries: Vec<Entry> = Vec::new();
        let parts = rows.chunks(3).map(<[_]>::to_vec);
        for events in parts {
            let last = events.last().expect("no part is empty").id;
            let (upto, joint) = (window.after_row(last), Joint::Whole);
            entries.push(Entry {
                upto,
                events,
                joint,
            });
        }
        match entries.last_mut() {
            Some(last) => last.upto = next.clone(),
            None => entries.push(Entry {
                upto: next.clone(),
                events: Vec::new(),
                joint: Joint::Whole,
            }),
        }
        let appended = stream
            .append(Some(&end), &entries, &KEEP)
            .await
            .expect("Redis answers");
        assert_eq!(appended, Appended::Done);
        let again = stream
            .append(Some(&end), &entries, &KEEP)
            .await
            .expect("Redis answers");
        // An entry with events moves the end; one that does not may be there twice.
        let is_moved = again == Appended::Moved;
        assert_eq!(is_moved, next != end, "who comes second appends nothing");
        edges.push(next);
        // So that bisection has something to do.
        sleep(Duration::from_millis(3)).await;
    }
    let end = edges.last().expect("there are some").clone();
    assert_eq!(
        stream.end().await.expect("Redis answers").as_ref(),
        Some(&end)
    );
    let followed = async {
        while live.edge().await.expect("it is written to") != end {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), followed)
        .await
        .expect("it is followed");
    let late = RedisSource::open(&server.config, None, Migrate::Off)
        .await
        .expect("a stream");

    let patterns = [ChannelPattern::parse("b:*").expect("a pattern")];
    let mut rows = 0;
    for turn in 0..150 {
        let random = &mut model.random;
        let from = random.usize(..edges.len() - 1);
        let upto = random.usize(from..edges.len());
        let mut window = Window {
            after: edges[from].clone(),
            upto: edges[upto].clone(),
            resume_after: None,
        };
        if random.bool() && from < others.len() {
            window.after = others[from].clone();
        }
        if !window.upto.reaches(&window.after) {
            continue;
        }
        // A place in the midst of a window of somebody else's.
        if turn % 3 == 0
            && let (Position::Snapshot(after), Position::Snapshot(upto)) =
                (&window.after.position, &window.upto.position)
        {
            let id = random.i64(0..=model.rows.len() as i64);
            let place = Within {
                after: after.clone(),
                upto: upto.clone(),
                id,
            };
            window = Window::on_the_way(&at(Position::Within(Box::new(place))), &end);
        }
        let (all, some) = (model.ids(&window, None), model.ids(&window, Some("b:")));
        rows += all.len();
        for source in [&live, &late] {
            assert!(source.retains(&window.after).await.expect("Redis answers"));
            assert_eq!(
                ids_of(source.rows(window.clone())).await,
                all,
                "seed {seed}: {window:?}"
            );
            let found = ids_of(source.rows_on(window.clone(), &patterns)).await;
            assert_eq!(found, some, "seed {seed}: {window:?}");
        }
    }
    assert!(rows > 500, "seed {seed}: {rows} rows");

    // Trimmed away, and no table to ask.
    let short = StreamRetain {
        keep: Duration::ZERO,
        entries_max: 1,
    };
    let next = at(Position::Snapshot(Snapshot {
        durable: 0,
        ..model.look()
    }));
    let mut last = end.clone();
    for _ in 0..300 {
        let entry = Entry {
            upto: next.clone(),
            events: Vec::new(),
            joint: Joint::Whole,
        };
        stream
            .append(Some(&last), &[entry], &short)
            .await
            .expect("Redis answers");
        last = next.clone();
    }
    let window = Window {
        after: edges[0].clone(),
        upto: edges[3].clone(),
        resume_after: None,
    };
    assert!(!late.retains(&edges[0]).await.expect("Redis answers"));
    let gone: Result<Vec<_>, _> = late.rows(window).try_collect().await;
    assert!(matches!(gone, Err(Error::Gone)), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_entry_of_ours_is_not_taken_for_one() {
    let server = Server::start();
    let mut connection = Stream::new(&server.config)
        .expect("a stream")
        .redis()
        .connect()
        .await
        .expect("it answers");
    let () = redis::cmd("XADD")
        .arg(&["{test}:feed", "*", "message", "hello"])
        .query_async(&mut connection)
        .await
        .expect("it takes it");
    let stream = Stream::new(&server.config).expect("a stream");
    let error = stream
        .last("read the stream")
        .await
        .expect_err("it is none of ours")
        .to_string();
    assert!(
        error.contains("{test}:feed") && error.contains("--stream"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_has_forgotten_the_script_appends_in_order() {
    let server = Server::start();
    let stream = Stream::new(&server.config).expect("a stream");
    let mut connection = stream.redis().connect().await.expect("it answers");
    let mut end = None;
    for _ in 0..500 {
        let () = redis::cmd("SCRIPT")
            .arg(&["FLUSH", "SYNC"])
            .query_async(&mut connection)
            .await
            .expect("it forgets");
        end = Some(append_three(&stream, end).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_is_taught_the_script_once() {
    let server = Server::start();
    let stream = Stream::new(&server.config).expect("a stream");
    let mut end = None;
    for _ in 0..20 {
        end = Some(append_three(&stream, end).await);
    }
    let mut connection = stream.redis().connect().await.expect("it answers");
    let said: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut connection)
        .await
        .expect("it tells");
    assert!(said.contains("cmdstat_script|load:calls=1,"), "{said}");
    // Three more than came in: those that failed as it was not known.
    assert!(said.contains("cmdstat_evalsha:calls=63,"), "{said}");
}

/// Appends three entries behind the end, and gives where the stream ends now.
async fn append_three(stream: &Stream, end: Option<u64>) -> u64 {
    let at = end.unwrap_or(10);
    let entries = [1, 2, 3].map(|n| Entry {
        upto: snapshot(at + n),
        events: Vec::new(),
        joint: Joint::Whole,
    });
    let from = end.map(snapshot);
    let appended = stream.append(from.as_ref(), &entries, &KEEP).await;
    assert_eq!(appended.expect("it answers"), Appended::Done, "{at}");
    at + 3
}
