//! Postgres killed, in whole and in part, restarted, its connections ended, its processes stopped.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::support::Postgres;
use super::support::keys::{Subscriber, check};
use super::support::postgres::signal;
use super::support::process::Process;
use super::{FAILED, Outage, SUBSCRIBERS, outage_length, report};

/// How long a database is away: some attempts of the server, which doubles its wait after each.
const AWAY: Duration = Duration::from_secs(3);

/// How long a writer writes before something happens to it.
const CALM: Duration = Duration::from_millis(700);

/// Connections that write at the same time.
const WRITERS: usize = 6;

/// A new connection is tried this often, while there is no server.
const RECONNECT: Duration = Duration::from_millis(20);

/// A cluster of its own, a real server on it, and its subscribers.
struct Scene {
    postgres: Arc<Postgres>,
    url: String,
    server: Process,
    subscribers: Vec<Subscriber>,
}

impl Scene {
    async fn start() -> Self {
        let postgres = Arc::new(Postgres::start());
        let url = postgres.create_database().await;
        let server = Process::start(&url, &[]);
        let mut subscribers = Vec::new();
        for _ in 0..SUBSCRIBERS {
            subscribers.push(Subscriber::connect(&server.url, &["*"]).await);
        }
        Self {
            postgres,
            url,
            server,
            subscribers,
        }
    }

    /// A connection, as soon as there is a server that gives one.
    async fn connect(&self) -> PgConnection {
        connect(&self.url).await
    }

    /// Kills one process, which is a crash for all, and returns a connection in the life after it.
    async fn crash(&self, mut connection: PgConnection, process: u32) -> PgConnection {
        let life =
            "SELECT (extract(epoch FROM stats_reset) * 1000000)::bigint FROM pg_stat_bgwriter";
        let before = number(&mut connection, life).await;
        signal("KILL", &[process]);
        loop {
            // The postmaster may not have noticed yet.
            let mut connection = self.connect().await;
            if let Ok(row) = connection.fetch_one(life).await
                && row.get::<i64, _>(0) != before
            {
                return connection;
            }
        }
    }

    /// Does something to the cluster that takes its time.
    async fn cluster(&self, does: impl FnOnce(&Postgres) + Send + 'static) {
        let postgres = Arc::clone(&self.postgres);
        spawn_blocking(move || does(&postgres))
            .await
            .expect("it does");
    }

    /// Compares what the table has with what writers know and subscribers received.
    async fn finish(self, name: &str, written: Written, seen: &[String]) {
        let mut connection = self.connect().await;
        // What was committed before it is delivered before it, so waiting for it is waiting for all.
        insert(&mut connection, "last").await.expect("it inserts");
        let rows = connection
            .fetch_all("SELECT payload->>'key' FROM events")
            .await
            .expect("rows");
        let table: HashMap<String, u64> = rows.iter().map(|row| (row.get(0), 0)).collect();
        assert_eq!(table.len(), rows.len(), "keys are unique");
        let forgotten = written.sure.iter().find(|key| !table.contains_key(*key));
        assert_eq!(forgotten, None, "a commit that was answered is kept");
        let undone = table.keys().find(|key| {
            *key != "last" && !written.sure.contains(*key) && !written.maybe.contains(*key)
        });
        assert_eq!(undone, None, "what was rolled back is not kept");
        check(&table, &self.subscribers).await;
        report(name, table.len(), &self.server, seen);
    }
}

/// What writers know of their rows.
#[derive(Default)]
struct Written {
    /// Committed, and told so.
    sure: HashSet<String>,
    /// The answer to COMMIT got lost.
    maybe: HashSet<String>,
}

impl Written {
    fn add(&mut self, other: Self) {
        self.sure.extend(other.sure);
        self.maybe.extend(other.maybe);
    }
}

/// Writers that go on whatever happens to their connections.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Written>>,
}

impl Writers {
    fn start(url: &str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let tasks = (0..WRITERS)
            .map(|writer| tokio::spawn(write(url.to_owned(), writer, Arc::clone(&stop))))
            .collect();
        Self { stop, tasks }
    }

    async fn stop(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        let mut written = Written::default();
        for task in self.tasks {
            written.add(task.await.expect("writers do not panic"));
        }
        assert!(written.sure.len() > 50, "the writers have written");
        written
    }
}

async fn write(url: String, writer: usize, stop: Arc<AtomicBool>) -> Written {
    let mut random = fastrand::Rng::with_seed(writer as u64);
    let mut written = Written::default();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut connection = connect(&url).await;
        while !stop.load(Ordering::Relaxed) {
            let keys: Vec<_> = (0..random.usize(1..=3))
                .map(|_| {
                    number += 1;
                    format!("{writer}-{number}")
                })
                .collect();
            if transaction(&mut connection, &keys, &mut random, &mut written)
                .await
                .is_err()
            {
                break;
            }
        }
    }
    written
}

/// Some rows, committed or rolled back.
async fn transaction(
    connection: &mut PgConnection,
    keys: &[String],
    random: &mut fastrand::Rng,
    written: &mut Written,
) -> Result<(), sqlx::Error> {
    connection.execute("BEGIN").await?;
    for key in keys {
        insert(connection, key).await?;
        sleep(Duration::from_micros(random.u64(..5000))).await;
    }
    if random.u8(..5) == 0 {
        connection.execute("ROLLBACK").await?;
        return Ok(());
    }
    let result = connection.execute("COMMIT").await;
    let keys = keys.iter().cloned();
    match result {
        Ok(_) => written.sure.extend(keys),
        Err(_) => written.maybe.extend(keys),
    }
    result.map(drop)
}

async fn connect(url: &str) -> PgConnection {
    loop {
        // A server that is stopped takes connections and says nothing.
        match timeout(Duration::from_secs(5), PgConnection::connect(url)).await {
            Ok(Ok(connection)) => return connection,
            _ => sleep(RECONNECT).await,
        }
    }
}

async fn insert(connection: &mut PgConnection, key: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO events (channel, type, payload) VALUES ('faults', 'fault.row', jsonb_build_object('key', $1))")
        .bind(key)
        .execute(connection)
        .await
        .map(drop)
}

async fn number(connection: &mut PgConnection, select: &str) -> i64 {
    connection
        .fetch_one(AssertSqlSafe(select))
        .await
        .expect("one row")
        .get(0)
}

/// Waits until a condition in SQL holds.
async fn until_sql(connection: &mut PgConnection, condition: &str) {
    timeout(Duration::from_secs(20), async {
        while number(
            connection,
            &format!("SELECT (SELECT {condition})::int::bigint"),
        )
        .await
            == 0
        {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never so: {condition}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_killed_twice() {
    let scene = Scene::start().await;
    let writers = Writers::start(&scene.url);
    let mut prepared = scene.connect().await;
    let mut seen = Vec::new();
    for number in 1..=2 {
        // It outlives what happens to everybody else.
        let key = format!("prepared-{number}");
        // A transaction that has notified cannot be prepared.
        prepared
            .execute("SET rowcast.wake = off; BEGIN")
            .await
            .expect("it begins");
        insert(&mut prepared, &key).await.expect("it inserts");
        prepared
            .execute(AssertSqlSafe(format!("PREPARE TRANSACTION '{key}'")))
            .await
            .expect("it is prepared");
        sleep(CALM).await;
        scene.cluster(Postgres::kill_9).await;
        let outage = Outage::noticed(&scene.server, number).await;
        sleep(outage_length(AWAY)).await;
        scene.cluster(Postgres::restart).await;
        seen.push(outage.over(&scene.server).await);
        sleep(CALM).await;
        prepared = scene.connect().await;
        prepared
            .execute(AssertSqlSafe(format!("COMMIT PREPARED '{key}'")))
            .await
            .expect("it is still there");
    }
    let mut written = writers.stop().await;
    written
        .sure
        .extend([1, 2].map(|number| format!("prepared-{number}")));
    scene
        .finish("postgres, kill -9 of all, twice", written, &seen)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_backend_is_killed_three_times() {
    let scene = Scene::start().await;
    let writers = Writers::start(&scene.url);
    let mut seen = Vec::new();
    for number in 1..=3 {
        let mut victim = scene.connect().await;
        let process = self::number(&mut victim, "SELECT pg_backend_pid()::bigint").await;
        let boot = "SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint";
        let booted = self::number(&mut victim, boot).await;
        sleep(CALM).await;
        // Transaction ids that nobody waits to see on the disk.
        roll_back(&mut victim, 500).await;
        signal("KILL", &[process as u32]);
        let outage = Outage::noticed(&scene.server, number).await;
        seen.push(outage.over(&scene.server).await);
        let mut connection = scene.connect().await;
        assert_eq!(
            self::number(&mut connection, boot).await,
            booted,
            "the postmaster stays"
        );
    }
    sleep(CALM).await;
    let written = writers.stop().await;
    scene
        .finish(
            "postgres, kill -9 of one backend, three times",
            written,
            &seen,
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_terminated_for_three_seconds() {
    let scene = Scene::start().await;
    let writers = Writers::start(&scene.url);
    sleep(CALM).await;
    let cpu = scene.server.cpu();
    let end = Instant::now() + outage_length(AWAY);
    let mut rounds = 0;
    while Instant::now() < end {
        scene.postgres.terminate_all().await;
        rounds += 1;
        sleep(Duration::from_millis(50)).await;
    }
    sleep(CALM).await;
    let written = writers.stop().await;
    let cpu = scene.server.cpu_since(cpu);
    let said = scene.server.logged(FAILED).len();
    assert!(said <= rounds, "{said} outages said of {rounds}");
    let seen = [format!(
        "terminated {rounds} times, said {said} times; {:.3} s of CPU",
        cpu.as_secs_f64()
    )];
    scene
        .finish("postgres, connections terminated", written, &seen)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_restarted_cleanly_twice() {
    let scene = Scene::start().await;
    let writers = Writers::start(&scene.url);
    let mut seen = Vec::new();
    for number in 1..=2 {
        sleep(CALM).await;
        scene.cluster(Postgres::restart).await;
        let outage = Outage::noticed(&scene.server, number).await;
        seen.push(outage.over(&scene.server).await);
    }
    sleep(CALM).await;
    let written = writers.stop().await;
    scene
        .finish("postgres, restart -m fast, twice", written, &seen)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_hangs() {
    let scene = Scene::start().await;
    let writers = Writers::start(&scene.url);
    sleep(CALM).await;
    scene.cluster(Postgres::pause).await;
    let cpu = scene.server.cpu();
    let away = outage_length(AWAY);
    sleep(away).await;
    let cpu = scene.server.cpu_since(cpu);
    scene.cluster(Postgres::resume).await;
    assert!(cpu < away / 5, "{cpu:?} of processor time in {away:?}");
    sleep(CALM).await;
    let written = writers.stop().await;
    assert_eq!(
        scene.server.logged(FAILED),
        Vec::<String>::new(),
        "a database that is slow is not away"
    );
    let seen = [format!(
        "silent {:.1} s with {:.3} s of CPU",
        away.as_secs_f64(),
        cpu.as_secs_f64()
    )];
    scene.finish("postgres, SIGSTOP", written, &seen).await;
}

/// What happens between a crash that forgets transaction ids and the server's next look at them.
struct Unseen {
    name: &'static str,
    /// Everything: so many rows that the ids pass those that were forgotten.
    all: bool,
    /// A checkpoint, so that where the new life began can no longer be read from the last one.
    checkpoint: bool,
    /// Another crash, so that a whole life of the cluster was never looked at.
    crash: bool,
}

/// Gives out transaction ids that are never on the disk, has the server see them, crashes, gives them out again.
#[tokio::test(flavor = "multi_thread")]
async fn forgotten_ids_are_given_out_again() {
    let cases = [
        ("seen", false, false, false),
        ("unseen", true, false, false),
        ("checkpoint", true, true, false),
        ("crash", true, false, true),
        ("crash and checkpoint", true, true, true),
    ];
    let scene = Scene::start().await;
    let mut written = Written::default();
    let mut seen = Vec::new();
    for (number, (name, all, checkpoint, crash)) in (1..).zip(cases) {
        let unseen = Unseen {
            name,
            all,
            checkpoint,
            crash,
        };
        let forgotten = give_out_again(&scene, number, &unseen, &mut written).await;
        seen.push(format!("{name}: {forgotten} ids again"));
    }
    scene
        .finish("postgres, transaction ids again", written, &seen)
        .await;
}

/// Returns how many ids were given out a second time.
async fn give_out_again(
    scene: &Scene,
    number: usize,
    unseen: &Unseen,
    written: &mut Written,
) -> i64 {
    let mut connection = scene.connect().await;
    for row in 0..10 {
        let key = format!("{}, before {row}", unseen.name);
        insert(&mut connection, &key).await.expect("it inserts");
        written.sure.insert(key);
    }
    for subscriber in &scene.subscribers {
        let count = written.sure.len();
        subscriber.wait(|notes| notes.keys.len() >= count).await;
    }
    // While events flow the server extends a lease, and to do so commits. It is quiet when the lease has run out.
    until_sql(
        &mut connection,
        "last_value < extract(epoch FROM clock_timestamp()) * 1000 FROM rowcast_lease",
    )
    .await;
    // The one process that would write a rollback to the disk.
    let wal_writer = "SELECT pid::bigint FROM pg_stat_activity WHERE backend_type = 'walwriter'";
    let wal_writer = self::number(&mut connection, wal_writer).await as u32;
    signal("STOP", &[wal_writer]);
    roll_back(&mut connection, 200).await;
    let xmax = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    let forgotten = self::number(&mut connection, xmax).await;
    let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let now = self::number(&mut connection, now).await;
    // The server has seen that they ended.
    until_sql(
        &mut connection,
        &format!(
            "count(*) > 0 FROM pg_stat_activity WHERE application_name = 'rowcast' AND state = 'idle'
                AND query LIKE '%pg_current_snapshot%' AND extract(epoch FROM query_start) * 1000000 > {now}"
        ),
    )
    .await;
    if unseen.all {
        signal("STOP", &[scene.server.id()]);
    }
    connection = scene.crash(connection, wal_writer).await;
    let again = self::number(&mut connection, xmax).await;
    assert!(
        again < forgotten - 100,
        "{forgotten} ids before the crash and {again} after it: none is given out again"
    );
    for row in 0..300 {
        if row == 100 && unseen.crash {
            let process = self::number(&mut connection, "SELECT pg_backend_pid()::bigint").await;
            connection = scene.crash(connection, process as u32).await;
        }
        let key = format!("{}, after {row}", unseen.name);
        insert(&mut connection, &key).await.expect("it inserts");
        written.sure.insert(key);
    }
    assert!(self::number(&mut connection, xmax).await > forgotten);
    if unseen.checkpoint {
        connection.execute("CHECKPOINT").await.expect("it is made");
    }
    if unseen.all {
        signal("CONT", &[scene.server.id()]);
    }
    let outage = Outage::noticed(&scene.server, number).await;
    outage.over(&scene.server).await;
    forgotten - again
}

/// Gives out transaction ids for nothing.
async fn roll_back(connection: &mut PgConnection, times: usize) {
    connection
        .execute(AssertSqlSafe(format!(
            "DO $$ BEGIN FOR n IN 1..{times} LOOP PERFORM pg_current_xact_id(); ROLLBACK; END LOOP; END $$"
        )))
        .await
        .expect("all is undone");
}
