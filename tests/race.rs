//! The race every polling feed has to win: transactions that commit later than others which began after them, roll
//! back in part, are prepared, or stay open for seconds, while real servers deliver to real sockets.
//!
//! In the suite each race is short. `ROWCAST_RACE_SECONDS=60 cargo test --release --test race -- --nocapture` runs the
//! long ones and shows how long rows took from commit to socket.

mod support;

use std::collections::HashMap;
use std::env;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use support::keys::{Subscriber, check, now_us};
use support::process::Process;

/// Subscribers of one race.
const SUBSCRIBERS: usize = 20;

fn seconds() -> u64 {
    env::var("ROWCAST_RACE_SECONDS").map_or(4, |seconds| {
        seconds.parse().expect("ROWCAST_RACE_SECONDS is a number")
    })
}

fn report(name: &str, committed: usize, delays: &[f64]) {
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    eprintln!(
        "{name}: {committed} rows to {SUBSCRIBERS} subscribers, 0 lost, 0 doubled; commit to socket \
         p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::collections::HashSet;
    use std::sync::{Arc, Mutex};

    use futures_util::future::BoxFuture;
    use futures_util::stream::{BoxStream, StreamExt as _};
    use rowcast::source::{DatabaseConfig, Migrate, Row, Source, Window};
    use rowcast::{Broadcaster, Cursor, Event, EventId, PollInterval};
    use serde_json::Value;
    use serde_json::value::RawValue;
    use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};

    use super::support::Postgres;
    use super::*;

    const WRITERS: usize = 10;

    async fn connect(url: &str) -> PgConnection {
        PgConnection::connect(url)
            .await
            .expect("the database accepts")
    }

    async fn insert(connection: &mut PgConnection, key: &str) {
        sqlx::query("INSERT INTO events (channel, type, payload) VALUES ('race:' || (1 + random() * 5)::int, 'race.run', jsonb_build_object('key', $1))")
            .bind(key)
            .execute(connection)
            .await
            .expect("the row is good");
    }

    /// Transactions of 0-15 ms, one in ten rolled back, some in part; gives the keys of committed rows and when.
    async fn write(url: String, writer: usize, end: Instant) -> Vec<(String, u64)> {
        let mut random = fastrand::Rng::with_seed(writer as u64);
        let mut connection = connect(&url).await;
        let mut committed = Vec::new();
        let mut number = 0;
        while Instant::now() < end {
            let mut keys = Vec::new();
            connection
                .execute("BEGIN")
                .await
                .expect("a transaction begins");
            for _ in 0..random.usize(1..=3) {
                number += 1;
                let key = format!("{writer}-{number}");
                insert(&mut connection, &key).await;
                keys.push(key);
                sleep(Duration::from_micros(random.u64(..5000))).await;
            }
            if random.u8(..3) == 0 {
                connection
                    .execute("SAVEPOINT here")
                    .await
                    .expect("a savepoint is made");
                insert(&mut connection, &format!("{writer}-{number}-undone")).await;
                connection
                    .execute("ROLLBACK TO here")
                    .await
                    .expect("it is undone");
            }
            if random.u8(..10) == 0 {
                connection.execute("ROLLBACK").await.expect("all is undone");
                continue;
            }
            connection
                .execute("COMMIT")
                .await
                .expect("the transaction commits");
            // A row may arrive before its writer hears of its commit; that counts as at once.
            let at = now_us();
            committed.extend(keys.into_iter().map(|key| (key, at)));
        }
        committed
    }

    /// All writers, one prepared transaction, and one that has nothing to do with events and stays open.
    async fn write_all(url: &str, duration: Duration) -> HashMap<String, u64> {
        let end = Instant::now() + duration;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write(url.to_owned(), writer, end)))
            .collect();
        let mut prepared = connect(url).await;
        // A transaction that has notified cannot be prepared.
        prepared
            .execute("SET rowcast.wake = off")
            .await
            .expect("the setting is ours");
        prepared
            .execute("BEGIN")
            .await
            .expect("a transaction begins");
        insert(&mut prepared, "prepared").await;
        prepared
            .execute("PREPARE TRANSACTION 'race'")
            .await
            .expect("it is prepared");
        let mut unrelated = connect(url).await;
        unrelated
            .execute("BEGIN; SELECT pg_current_xact_id()")
            .await
            .expect("a transaction with a number");
        sleep((duration / 2).min(Duration::from_secs(6))).await;
        unrelated
            .execute("COMMIT")
            .await
            .expect("the transaction commits");
        prepared
            .execute("COMMIT PREPARED 'race'")
            .await
            .expect("the prepared one commits");
        let mut committed = HashMap::from([("prepared".to_owned(), now_us())]);
        for writer in writers {
            committed.extend(writer.await.expect("writers do not panic"));
        }
        committed
    }

    async fn race(name: &str, servers: usize) {
        let postgres = Postgres::start();
        let url = postgres.create_database().await;
        let servers: Vec<_> = (0..servers).map(|_| Process::start(&url, &[])).collect();
        let mut subscribers = Vec::new();
        for n in 0..SUBSCRIBERS {
            // Half by one pattern, half by what is equal to it.
            let channels: &[&str] = if n % 2 == 0 {
                &["*"]
            } else {
                &["race:*", "race:1", "race"]
            };
            subscribers.push(Subscriber::connect(&servers[n % servers.len()].url, channels).await);
        }
        let committed = write_all(&url, Duration::from_secs(seconds())).await;
        let delays = check(&committed, &subscribers).await;
        report(name, committed.len(), &delays);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_server_loses_and_doubles_nothing() {
        race("postgres, one server", 1).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn three_servers_lose_and_double_nothing() {
        race("postgres, three servers", 3).await;
    }

    /// The race would be worth nothing if the query that everybody writes first passed it.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_race_catches_id_greater_than_cursor() {
        let postgres = Postgres::start();
        let url = postgres.create_database().await;
        rowcast::source::open(
            &DatabaseConfig::new(&url).expect("a good URL"),
            Migrate::Auto,
        )
        .await
        .expect("tables are made");
        let naive = Arc::new(Naive { url: url.clone() });
        let broadcaster = Broadcaster::start(naive, PollInterval::default())
            .await
            .expect("the feed starts");
        let received = Arc::<Mutex<HashSet<String>>>::default();
        let to = Arc::clone(&received);
        let _listener = broadcaster.add_listener(move |event| {
            let payload: Value = serde_json::from_str(event.payload.get()).expect("JSON");
            to.lock()
                .expect("no panic under the lock")
                .insert(payload["key"].as_str().expect("a key").to_owned());
        });
        let committed = write_all(&url, Duration::from_secs(4)).await;
        // Everything there is has been read when a row that was inserted last has come.
        let mut last = connect(&url).await;
        insert(&mut last, "last").await;
        while !received
            .lock()
            .expect("no panic under the lock")
            .contains("last")
        {
            sleep(Duration::from_millis(10)).await;
        }
        let received = received.lock().expect("no panic under the lock");
        let lost = committed
            .keys()
            .filter(|key| !received.contains(*key))
            .count();
        eprintln!(
            "id > cursor: {lost} of {} committed rows lost",
            committed.len()
        );
        assert!(lost > 0, "this race is too easy");
    }

    /// What everybody writes first.
    struct Naive {
        url: String,
    }

    impl Source for Naive {
        fn edge(&self) -> BoxFuture<'_, Result<Cursor, rowcast::Error>> {
            Box::pin(async {
                let mut connection = connect(&self.url).await;
                let row = connection
                    .fetch_one("SELECT coalesce(max(id), 0) FROM events")
                    .await
                    .expect("one row");
                Ok(Cursor::after_id(0, row.get(0)))
            })
        }

        fn rows(&self, window: Window) -> BoxStream<'_, Result<Row, rowcast::Error>> {
            futures_util::stream::once(async move {
                let mut connection = connect(&self.url).await;
                sqlx::query("SELECT id, channel, payload::text FROM events WHERE id > $1 AND id <= $2 ORDER BY id")
                    .bind(window.after.id())
                    .bind(window.upto.id())
                    .fetch_all(&mut connection)
                    .await
                    .expect("rows")
            })
            .flat_map(|rows| {
                futures_util::stream::iter(rows.into_iter().map(|row| {
                    Ok(Ok(Arc::new(Event {
                        id: EventId(row.get(0)),
                        channels: rowcast::Channels::parse(row.get(1)).expect("a good channel"),
                        kind: "race.run".into(),
                        entity_id: None,
                        actor: None,
                        payload: RawValue::from_string(row.get(2)).expect("JSON"),
                        previous: None,
                        trace_id: None,
                        origin: None,
                        transaction: None,
                        created_at: String::new(),
                    })))
                }))
            })
            .boxed()
        }

        fn rebase<'a>(
            &'a self,
            _cursor: &'a Cursor,
        ) -> BoxFuture<'a, Result<Option<Cursor>, rowcast::Error>> {
            Box::pin(std::future::ready(Ok(None)))
        }
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::process::{Command, Stdio};

    use rowcast::source::{DatabaseConfig, Insert as _, Migrate, sqlite::SqliteInsert};
    use rowcast::{Channels, NewEvent};
    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::*;

    /// Set for the processes that write: the database, their name, and how long.
    const WRITER: &str = "ROWCAST_RACE_WRITER";

    async fn race(name: &str, flags: &[&str]) {
        let folder = super::support::temp_dir();
        let url = format!("sqlite://{}", folder.path().join("race.db").display());
        let server = Process::start(&url, flags);
        let mut subscribers = Vec::new();
        for _ in 0..SUBSCRIBERS {
            subscribers.push(Subscriber::connect(&server.url, &["*"]).await);
        }
        let writers: Vec<_> = ["ann", "bob"]
            .map(|writer| {
                Command::new(env::current_exe().expect("this program"))
                    .args(["--exact", "sqlite::writer", "--nocapture"])
                    .env(WRITER, format!("{writer} {} {url}", seconds()))
                    .stdout(Stdio::piped())
                    .spawn()
                    .expect("a writer starts")
            })
            .into();
        let mut committed = HashMap::new();
        for writer in writers {
            let output =
                tokio::task::spawn_blocking(|| writer.wait_with_output().expect("it ends"))
                    .await
                    .expect("it waits");
            let text = String::from_utf8(output.stdout).expect("text");
            committed.extend(text.lines().filter_map(|line| {
                let (key, at) = line.strip_prefix("committed ")?.split_once(' ')?;
                Some((key.to_owned(), at.parse().ok()?))
            }));
        }
        assert!(
            committed.len() > 20,
            "the writers wrote {} rows",
            committed.len()
        );
        let delays = check(&committed, &subscribers).await;
        report(name, committed.len(), &delays);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_processes_writing_lose_and_double_nothing() {
        race("sqlite, woken", &["--poll-interval", "500ms"]).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn neither_do_they_when_nothing_wakes_the_feed() {
        race(
            "sqlite, --wake off",
            &["--poll-interval", "500ms", "--wake", "off"],
        )
        .await;
    }

    /// The writing process; without its variable there is nothing to do.
    #[tokio::test]
    async fn writer() {
        let Ok(order) = env::var(WRITER) else { return };
        let [name, seconds, url] = order.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("{order}")
        };
        let end = Instant::now() + Duration::from_secs(seconds.parse().expect("a number"));
        let database = SqliteInsert::open(
            &DatabaseConfig::new(url).expect("a good URL"),
            Migrate::Auto,
        )
        .await
        .expect("it opens");
        let mut random = fastrand::Rng::new();
        for number in 0.. {
            if Instant::now() > end {
                break;
            }
            // Bursts and pauses, so that the feed is met asleep as well as awake.
            sleep(Duration::from_millis(if random.u8(..20) == 0 {
                random.u64(..2000)
            } else {
                random.u64(..20)
            }))
            .await;
            let key = format!("{name}-{number}");
            let event = NewEvent::new(
                Channels::parse("race:1").expect("a good name"),
                "race.run",
                to_raw_value(&json!({"key": key})).expect("JSON"),
            );
            database.insert(&[event]).await.expect("it is inserted");
            let at = now_us();
            println!("committed {key} {at}");
        }
    }
}
