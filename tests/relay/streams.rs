//! What may become of Redis, while events are written; and what a relay says of a Redis, or a database, that will not do.

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

use super::scene::Scene;
use super::support::redis::Redis;
use super::support::relay::Relay;
use super::support::{Database, temp_dir};
use super::writers::Writers;

const BACK: &str = "Redis is back";

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lost_its_last_second() {
    let scene = Scene::new(Redis::durable()).await;
    let [leader, _other] = scene.relays().await;
    let writers = Writers::start(&scene.database.url);
    for count in 1..=2 {
        writers.write(400).await;
        scene.redis.kill_9();
        writers.write(100).await;
        shorten(&scene.redis);
        scene.redis.restart();
        leader.says(BACK, count).await;
    }
    writers.write(200).await;
    writers.stop().await;
    scene.check().await;
    // Once each, and whoever brings orders says so, too, if it asked meanwhile.
    let said = leader.said("is it running");
    assert!((2..=4).contains(&said), "{said} times: {}", leader.text());
}

/// What the system has not written yet when the power fails: the end of the log, here some bytes behind one of the last entries, in
/// the midst of what came next.
fn shorten(redis: &Redis) {
    let folder = redis.folder().join("appendonlydir");
    let files = std::fs::read_dir(folder).expect("it has a log").flatten();
    let log = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "aof"))
        .max_by_key(|path| path.metadata().expect("it is there").len())
        .expect("it has a log");
    let text = std::fs::read(&log).expect("it is ours");
    let find = |what: &[u8], from: usize| {
        let found = text[from..].windows(what.len()).position(|it| it == what);
        from + found.expect("it writes entries")
    };
    let entry = find(b"\r\nXADD\r\n", text.len() - text.len() / 10);
    let next = find(b"\r\n*", entry);
    let file = std::fs::File::options()
        .write(true)
        .open(log)
        .expect("it is ours");
    file.set_len(next as u64 + 4).expect("it is ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgot_everything() {
    let scene = Scene::new(Redis::forgetful()).await;
    let [leader, _other] = scene.relays().await;
    let writers = Writers::start(&scene.database.url);
    writers.write(600).await;
    scene.caught_up().await;
    let before = scene.entries();
    scene.redis.kill_9();
    writers.write(100).await;
    scene.redis.restart();
    leader.says(BACK, 1).await;
    writers.write(300).await;
    writers.stop().await;
    let after = scene.check_after(&before).await;
    assert_eq!((after[0].joint.as_str(), after[0].ids.len()), ("left", 0));
    // Less than a minute has passed: the new stream has all that was read since the relay began.
    let ids: BTreeSet<_> = after.iter().flat_map(|entry| &entry.ids).collect();
    let mut known = before.iter().flat_map(|entry| &entry.ids);
    assert!(
        known.all(|id| ids.contains(id)),
        "its readers find their place in it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgot_everything_and_a_relay_that_never_knew() {
    let scene = Scene::new(Redis::forgetful()).await;
    let relays = scene.relays().await;
    let writers = Writers::start(&scene.database.url);
    writers.write(600).await;
    scene.caught_up().await;
    let before = scene.entries();
    drop(relays);
    scene.redis.kill_9();
    scene.redis.restart();
    let relay = scene.relay();
    relay.says("this relay leads", 1).await;
    writers.write(300).await;
    writers.stop().await;
    let after = scene.check_after(&before).await;
    let ids: BTreeSet<_> = after.iter().flat_map(|entry| &entry.ids).collect();
    let mut known = before.iter().flat_map(|entry| &entry.ids);
    assert!(
        known.all(|id| ids.contains(id)),
        "readers of the old stream find their place in the new one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_does_not_answer_for_a_while() {
    let scene = Scene::new(Redis::forgetful()).await;
    let [leader, _other] = scene.relays().await;
    let writers = Writers::start(&scene.database.url);
    writers.write(300).await;
    scene.redis.pause();
    // It gives up what is under way, and does not know what became of it.
    leader.says("trying again until it works", 1).await;
    scene.redis.resume();
    leader.says(BACK, 1).await;
    writers.write(300).await;
    writers.stop().await;
    scene.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_to_write() {
    let scene = Scene::new(Redis::forgetful()).await;
    let leader = scene.relay();
    leader.says("this relay leads", 1).await;
    let writers = Writers::start(&scene.database.url);
    let run = |command: &[&str]| scene.redis.run::<String>(command);
    let refusals: [(&[&str], &[&str], &str); 2] = [
        (
            &["CONFIG", "SET", "maxmemory", "1"],
            &["CONFIG", "SET", "maxmemory", "0"],
            "it is full: raise its maxmemory",
        ),
        (
            &["REPLICAOF", "127.0.0.1", "1"],
            &["REPLICAOF", "NO", "ONE"],
            "it is a replica, which nobody can write to",
        ),
    ];
    for (count, (refuse, allow, said)) in (1..).zip(refusals) {
        writers.write(100).await;
        run(refuse);
        leader.says(said, 1).await;
        writers.write(300).await;
        run(allow);
        leader.says(BACK, count).await;
        assert_eq!(leader.said(said), 1, "once: {}", leader.text());
    }
    writers.stop().await;
    scene.check().await;
}

/// Runs the command with what it cannot work with, to its end.
fn refused(flags: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_rowcast"))
        .arg("relay")
        .args(flags)
        .env_remove("DATABASE_URL")
        .current_dir(temp_dir().path())
        .stdin(Stdio::null())
        .output()
        .expect("rowcast starts");
    assert!(
        !String::from_utf8_lossy(&output.stderr).contains("n33dle"),
        "{output:?}"
    );
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_ends_at_start() {
    let database = Database::postgres().await;
    let redis = Redis::start(&["--requirepass", "open sesame"]);
    let (postgres, right) = (
        &database.url,
        format!("redis://:open%20sesame@127.0.0.1:{}", redis.port()),
    );
    let wrong = format!("redis://:n33dle@127.0.0.1:{}", redis.port());
    let none = redis.url();
    let cases: [(&[&str], &str); 7] = [
        (
            &["--database-url", postgres, "--to", &wrong],
            "log in to Redis at redis://:***@127.0.0.1",
        ),
        (
            &["--database-url", postgres, "--to", &none],
            "log in to Redis at redis://127.0.0.1",
        ),
        (&["--database-url", postgres], "--to is missing"),
        (
            &[
                "--database-url",
                postgres,
                "--to",
                "http://:n33dle@localhost",
            ],
            "the Redis URL has the scheme",
        ),
        (
            &["--database-url", "sqlite://events.db", "--to", &right],
            "a SQLite file is on one machine",
        ),
        (
            &[
                "--database-url",
                postgres,
                "--to",
                &right,
                "--stream-retain",
                "10",
            ],
            "--stream-retain",
        ),
        (
            &[
                "--database-url",
                postgres,
                "--to",
                &right,
                "--stream",
                "a b",
            ],
            "--stream \"a b\"",
        ),
    ];
    for (flags, said) in cases {
        let output = refused(flags);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{flags:?}: {text}");
        assert!(text.contains(said), "{flags:?}: {text}");
    }
    let mut relay = Relay::start(postgres, &right, &[]);
    relay.says("this relay leads", 1).await;
    assert!(relay.terminate().success());
    assert!(!relay.text().contains("sesame"), "{}", relay.text());
}

/// A relay that starts before Redis does waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_later() {
    let scene = Scene::new(Redis::forgetful()).await;
    scene.redis.stop();
    let relay = scene.relay();
    relay.says("is it running, and is the URL right?", 1).await;
    scene.redis.restart();
    relay.says(BACK, 1).await;
    let writers = Writers::start(&scene.database.url);
    writers.write(100).await;
    writers.stop().await;
    scene.check_after(&[]).await;
}
