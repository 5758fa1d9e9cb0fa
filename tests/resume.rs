//! Coming back on Postgres: cursors of a backend's own statement, of another server, from within a transaction, and such
//! as nobody was given. The servers are real ones; what they say is asked for by plain requests.
#![cfg(feature = "postgres")]

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use support::process::Process;
use support::{Database, within};

/// What `GET /events` answers.
struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    fn payloads(&self) -> Vec<i64> {
        let events = self.body["events"].as_array().expect("a list of events");
        events
            .iter()
            .map(|frame| frame["event"]["payload"].as_i64().expect("a number"))
            .collect()
    }

    fn cursor(&self) -> String {
        self.body["cursor"].as_str().expect("a cursor").to_owned()
    }
}

async fn get(server: &Process, path: &str) -> Answer {
    let address = server
        .url
        .split("://")
        .last()
        .and_then(|rest| rest.split('/').next());
    let mut stream = TcpStream::connect(address.expect("an address"))
        .await
        .expect("a server");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer))
        .await
        .expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer {
        status: status.expect("a status"),
        body: serde_json::from_str(body).expect("JSON"),
    }
}

async fn cursor(server: &Process) -> String {
    get(server, "/cursor").await.cursor()
}

/// Asks on until a number has come; gives all that came, and the position after it.
async fn until_number(server: &Process, after: &str, last: i64) -> (Vec<i64>, String) {
    let mut after = after.to_owned();
    let mut got = Vec::new();
    while !got.contains(&last) {
        let path = format!("/events?channels=tasks&after={after}&wait=10s");
        let answer = get(server, &path).await;
        assert_eq!((answer.status, &answer.body["reset"]), (200, &Value::Null));
        got.extend(answer.payloads());
        after = answer.cursor();
    }
    (got, after)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_reads_its_state_and_the_cursor_in_one_snapshot() {
    let database = Database::postgres().await;
    let server = Process::start(&database.url, &[]);
    let mut backend = database.connect().await;
    let (mut slow, mut quick) = (database.connect().await, database.connect().await);
    // Begins before the snapshot, and commits after it.
    slow.run("BEGIN").await;
    slow.insert(1).await;
    quick.insert(2).await;
    backend
        .run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await;
    let since = backend.texts("SELECT rowcast_cursor()").await.remove(0);
    quick.insert(3).await;
    slow.run("COMMIT").await;
    let state = "SELECT payload::text::bigint FROM events";
    assert_eq!(
        backend.numbers(state).await,
        [2],
        "the state of the snapshot"
    );
    backend.run("COMMIT").await;
    quick.insert(4).await;
    let (mut got, _) = until_number(&server, &since, 4).await;
    // 3 was committed before 1: a feed that looked in between has them in that order.
    got.sort_unstable();
    assert_eq!(got, [1, 3, 4], "and nothing that is in the state");

    // Both in one statement, and by whoever may do no more than insert.
    backend
        .run("CREATE ROLE page LOGIN; GRANT SELECT ON events TO page; SET ROLE page")
        .await;
    let row = backend
        .texts("SELECT rowcast_cursor() || ' ' || (SELECT count(*) FROM events)")
        .await
        .remove(0);
    let (since, count) = row.split_once(' ').expect("two values");
    assert_eq!(count, "4");
    quick.insert(5).await;
    assert_eq!(until_number(&server, since, 5).await.0, [5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_end_within_a_transaction_and_nothing_comes_twice() {
    let database = Database::postgres().await;
    let server = Process::start(&database.url, &["--max-recent-bytes", "0"]);
    let mut after = cursor(&server).await;
    let (mut slow, mut quick) = (database.connect().await, database.connect().await);
    slow.run("BEGIN; SELECT pg_current_xact_id()").await;
    quick
        .run("INSERT INTO events (channel, type, payload) SELECT 'tasks', 'x', to_jsonb(n) FROM generate_series(1, 3000) n")
        .await;
    let mut got = Vec::new();
    for page in 0.. {
        let path = format!("/events?channels=tasks&after={after}&limit=70&wait=10s");
        let answer = get(&server, &path).await;
        assert_eq!((answer.status, &answer.body["reset"]), (200, &Value::Null));
        got.extend(answer.payloads());
        after = answer.cursor();
        // What was in flight all the time is committed while the pages are read.
        if page == 10 {
            slow.insert(5000).await;
            slow.run("COMMIT").await;
        }
        if got.contains(&5000) && got.len() == 3001 {
            break;
        }
        assert!(page < 100, "{} came", got.len());
    }
    let once: BTreeSet<_> = got.iter().collect();
    assert_eq!(once.len(), 3001, "each once");
    let rest = get(&server, &format!("/events?channels=tasks&after={after}")).await;
    assert_eq!(rest.payloads(), [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_one_server_is_good_on_another() {
    let database = Database::postgres().await;
    let servers = [
        Process::start(&database.url, &[]),
        Process::start(&database.url, &["--poll-interval-min", "3ms"]),
    ];
    let mut after = cursor(&servers[0]).await;
    let mut writers = Vec::new();
    for writer in 0..4_i64 {
        let url = database.url.clone();
        writers.push(tokio::spawn(async move {
            let mut connection = support::Connection::open(&url).await;
            for n in 0..60 {
                connection.run("BEGIN").await;
                connection.insert(writer * 1000 + n).await;
                tokio::time::sleep(std::time::Duration::from_millis(fastrand::u64(..25))).await;
                connection.run("COMMIT").await;
            }
        }));
    }
    let mut got = Vec::new();
    for round in 0.. {
        let server = &servers[round % 2];
        let path = format!("/events?channels=tasks&after={after}&limit=9&wait=1s");
        let answer = get(server, &path).await;
        assert_eq!(
            (answer.status, &answer.body["reset"]),
            (200, &Value::Null),
            "{}",
            answer.body
        );
        got.extend(answer.payloads());
        after = answer.cursor();
        let done = writers.iter().all(tokio::task::JoinHandle::is_finished);
        if done && got.len() >= 240 {
            break;
        }
        assert!(round < 2000, "{} came", got.len());
    }
    let once: BTreeSet<_> = got.iter().collect();
    assert_eq!((once.len(), got.len()), (240, 240), "each once");
}

/// Whoever makes up a cursor is told so, or told to refetch, or is where the cursor says; the server does not mind.
#[tokio::test(flavor = "multi_thread")]
async fn made_up_cursors_do_no_harm() {
    let database = Database::postgres().await;
    let server = Process::start(&database.url, &[]);
    let mut writer = database.connect().await;
    for n in 0..5 {
        writer.insert(n).await;
    }
    let epoch = writer
        .texts("SELECT epoch || '.' || tag FROM rowcast_epochs ORDER BY epoch DESC LIMIT 1")
        .await
        .remove(0);
    let present = writer
        .numbers("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        .await[0];
    let future = present + 1_000_000;
    for position in [
        format!("0.{future}.{future}."),
        format!("0.5.{future}.5"),
        format!("0.5.{}.5-6-7", i64::MAX),
    ] {
        let path = format!("/events?channels=tasks&after=s.{epoch}.{position}");
        let answer = get(&server, &path).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["reset"], "epoch", "{position}: {}", answer.body);
    }
    // Real ones, with a few bytes of them changed.
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    // The feed has seen all of them.
    let (_, present) = until_number(&server, "earliest", 4).await;
    let mut real = vec![present];
    let first = get(&server, "/events?channels=tasks&after=earliest&limit=2").await;
    real.push(first.cursor());
    let mut refused = 0;
    for _ in 0..300 {
        let mut bytes = random.choice(&real).expect("two").clone().into_bytes();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = random.alphanumeric() as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, random.alphanumeric() as u8),
            }
        }
        let text = String::from_utf8(bytes).expect("ASCII");
        let answer = get(&server, &format!("/events?channels=tasks&after={text}")).await;
        assert!(
            answer.status == 400 || answer.status == 200,
            "seed {seed}, {text}: {}",
            answer.body
        );
        refused += usize::from(answer.status == 400);
    }
    assert!(refused > 250, "{refused} of 300 were refused, seed {seed}");
    writer.insert(9).await;
    let (got, _) = until_number(&server, &real[0], 9).await;
    assert_eq!(got, [9]);
}
