//! SQLite files that are locked, deleted and replaced.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rowcast::{DatabaseConfig, Migrate};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::support::keys::{Subscriber, check};
use super::support::process::Process;
use super::support::temp_dir;
use super::{Outage, SUBSCRIBERS, outage_length, report};

/// Longer than a statement of the server waits for a lock.
const LOCKED: Duration = Duration::from_secs(6);

/// A file, a real server on it, and its subscribers.
struct Scene {
    folder: TempDir,
    server: Process,
    subscribers: Vec<Subscriber>,
    /// The keys of all rows that have to arrive.
    keys: Vec<String>,
}

impl Scene {
    async fn start() -> Self {
        let folder = temp_dir();
        let server = Process::start(&url(&path_in(&folder)), &[]);
        let mut subscribers = Vec::new();
        for _ in 0..SUBSCRIBERS {
            subscribers.push(Subscriber::connect(&server.url, &["*"]).await);
        }
        Self {
            folder,
            server,
            subscribers,
            keys: Vec::new(),
        }
    }

    fn path(&self) -> PathBuf {
        path_in(&self.folder)
    }

    /// Inserts rows, each in a transaction of its own, and waits until they have arrived.
    async fn insert(&mut self, connection: &mut SqliteConnection, prefix: &str, count: usize) {
        for number in 0..count {
            let key = format!("{prefix}-{number}");
            insert(connection, &key).await;
            self.keys.push(key);
        }
        for subscriber in &self.subscribers {
            subscriber
                .wait(|notes| notes.keys.len() >= self.keys.len())
                .await;
        }
    }

    /// Checks that each subscriber was reset once, and received each row once.
    fn check_reset(&self) {
        for subscriber in &self.subscribers {
            let notes = subscriber.notes();
            let mut keys: Vec<_> = notes.keys.iter().map(|(key, _)| key.clone()).collect();
            let mut expected = self.keys.clone();
            keys.sort();
            expected.sort();
            assert_eq!(keys, expected);
            assert_eq!((notes.resets, notes.gone), (1, false), "(resets, gone)");
        }
    }
}

fn path_in(folder: &TempDir) -> PathBuf {
    folder.path().join("faults.db")
}

fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// Makes the tables, as `rowcast migrate` does.
async fn migrate(path: &Path) {
    let config = DatabaseConfig::new(&url(path)).expect("a good URL");
    drop(
        rowcast::source::open(&config, Migrate::Auto)
            .await
            .expect("tables are made"),
    );
}

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        // Longer than any test locks the file.
        .busy_timeout(Duration::from_mins(1))
        .connect()
        .await
        .expect("the file opens")
}

async fn insert(connection: &mut SqliteConnection, key: &str) {
    sqlx::query("INSERT INTO events (channel, type, payload) VALUES ('faults', 'fault.row', json_object('key', ?))")
        .bind(key)
        .execute(connection)
        .await
        .expect("it inserts");
}

/// Removes a database with all that belongs to it. The log first: it would be taken for that of the next one.
fn remove(path: &Path) {
    for suffix in ["-wal", "-shm", ""] {
        fs::remove_file(with(path, suffix)).expect("the server has it open");
    }
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut file = path.as_os_str().to_owned();
    file.push(suffix);
    file.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_holds_the_file() {
    let scene = Scene::start().await;
    let path = scene.path();
    let mut locker = connect(&path).await;
    locker.execute("BEGIN EXCLUSIVE").await.expect("it locks");
    insert(&mut locker, "locker").await;
    let cpu = scene.server.cpu();
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let path = path.clone();
            tokio::spawn(async move {
                let mut connection = connect(&path).await;
                for number in 0..10 {
                    insert(&mut connection, &format!("{writer}-{number}")).await;
                }
            })
        })
        .collect();
    let locked = outage_length(LOCKED);
    sleep(locked).await;
    let cpu = scene.server.cpu_since(cpu);
    locker.execute("COMMIT").await.expect("it commits");
    for writer in writers {
        writer.await.expect("writers do not panic");
    }
    let committed = (0..3)
        .flat_map(|writer| (0..10).map(move |number| format!("{writer}-{number}")))
        .chain(["locker".to_owned()])
        .map(|key| (key, 0))
        .collect();
    check(&committed, &scene.subscribers).await;
    assert!(cpu < locked / 5, "{cpu:?} of processor time in {locked:?}");
    assert_eq!(
        scene.server.lines(),
        0,
        "readers do not wait for writers, so there is nothing to say"
    );
    let seen = [format!(
        "locked {:.1} s with {:.3} s of CPU",
        locked.as_secs_f64(),
        cpu.as_secs_f64()
    )];
    report(
        "sqlite, BEGIN EXCLUSIVE",
        committed.len(),
        &scene.server,
        &seen,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_while_the_file_is_locked() {
    let folder = temp_dir();
    let path = path_in(&folder);
    migrate(&path).await;
    for mode in ["normal", "exclusive"] {
        let mut locker = connect(&path).await;
        let pragma = format!("PRAGMA locking_mode = {mode}; BEGIN EXCLUSIVE");
        locker
            .execute(AssertSqlSafe(pragma))
            .await
            .expect("it locks");
        insert(&mut locker, mode).await;
        // A lock that stays.
        let start = Instant::now();
        let output = timeout(
            Duration::from_secs(30),
            spawn_blocking({
                let mut command = Process::command(&url(&path));
                move || command.stderr(Stdio::piped()).output().expect("it runs")
            }),
        )
        .await
        .expect("it does not hang")
        .expect("it ends");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        eprintln!(
            "sqlite, started while locked ({mode}): exit {:?} after {:.1} s: {}",
            output.status.code(),
            start.elapsed().as_secs_f64(),
            text.trim()
        );
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("locked"), "{text}");
        // One that goes.
        let server = spawn_blocking({
            let url = url(&path);
            move || Process::start(&url, &[])
        });
        sleep(Duration::from_secs(1)).await;
        assert!(!server.is_finished(), "it waits");
        locker.execute("COMMIT").await.expect("it commits");
        drop(locker);
        drop(server.await.expect("it starts"));
    }
}

/// Removes the file, has the server notice, and puts there what `prepare` has made.
async fn deleted(name: &str, prepare: impl AsyncFn(&Path, &Path)) {
    let mut scene = Scene::start().await;
    let path = scene.path();
    let mut connection = connect(&path).await;
    scene.insert(&mut connection, "old", 10).await;
    let other = other(&mut scene, &mut connection, prepare).await;
    drop(connection);
    remove(&path);
    let outage = Outage::noticed(&scene.server, 1).await;
    sleep(outage_length(Duration::from_secs(1))).await;
    fs::copy(other, &path).expect("it is put there");
    let seen = outage.over(&scene.server).await;
    let mut connection = connect(&path).await;
    scene.insert(&mut connection, "new", 20).await;
    scene.check_reset();
    report(name, scene.keys.len(), &scene.server, &[seen]);
}

/// Replaces the file at once, as `mv` does, with what `prepare` has made.
async fn replaced(name: &str, prepare: impl AsyncFn(&Path, &Path)) {
    let mut scene = Scene::start().await;
    let path = scene.path();
    let mut connection = connect(&path).await;
    scene.insert(&mut connection, "old", 10).await;
    let other = other(&mut scene, &mut connection, prepare).await;
    drop(connection);
    // Its log would be taken for that of the other.
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(with(&path, suffix)).expect("the server has it open");
    }
    fs::rename(other, &path).expect("it is put there");
    for subscriber in &scene.subscribers {
        subscriber.wait(|notes| notes.resets > 0).await;
    }
    let mut connection = connect(&path).await;
    scene.insert(&mut connection, "new", 20).await;
    scene.check_reset();
    report(name, scene.keys.len(), &scene.server, &[]);
}

/// Another database, with more rows than the first, which goes on meanwhile.
async fn other(
    scene: &mut Scene,
    connection: &mut SqliteConnection,
    prepare: impl AsyncFn(&Path, &Path),
) -> PathBuf {
    let path = scene.folder.path().join("other.db");
    prepare(&scene.path(), &path).await;
    scene.insert(connection, "later", 5).await;
    let mut connection = connect(&path).await;
    for number in 0..20 {
        insert(&mut connection, &format!("other-{number}")).await;
    }
    connection.close().await.expect("all of it is in the file");
    path
}

async fn make_anew(_: &Path, other: &Path) {
    migrate(other).await;
}

/// The rows of a copy get the same ids as those that came to the first file after it was made.
async fn copy(path: &Path, other: &Path) {
    connect(path)
        .await
        .execute(AssertSqlSafe(format!("VACUUM INTO '{}'", other.display())))
        .await
        .expect("it is copied");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_deleted_and_made_anew() {
    deleted("sqlite, deleted and made anew", make_anew).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_deleted_and_a_copy_put_back() {
    deleted("sqlite, deleted, an older copy put back", copy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_replaced_by_another() {
    replaced("sqlite, replaced by another", make_anew).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_replaced_by_a_copy() {
    replaced("sqlite, replaced by an older copy", copy).await;
}
