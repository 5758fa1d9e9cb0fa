//! What may become of Postgres, while events are written: restarts and crashes, in which it may forget what was read.

use super::listener::Listener;
use super::scene::{Entry, Scene};
use super::support::Postgres;
use super::support::redis::Redis;
use super::writers::Writers;

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_is_restarted() {
    let postgres = Postgres::start();
    endure(&postgres, Postgres::restart, Scene::check).await;
}

/// Commits wait for no disk, so a crash loses some that may be in the stream: those are not in the table any more. What was
/// kept comes to clients once.
#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_crashes() {
    let postgres = Postgres::start_with("synchronous_commit = off");
    let crash = |postgres: &Postgres| {
        postgres.kill_9();
        postgres.restart();
    };
    endure(&postgres, crash, Scene::check_but_what_postgres_lost).await;
}

/// Two ends of the database while events are written, with clients of servers that read the stream.
async fn endure(
    postgres: &Postgres,
    end: impl Fn(&Postgres),
    check: impl AsyncFn(&Scene) -> Vec<Entry>,
) {
    let scene = Scene::on(postgres, Redis::forgetful()).await;
    let [_leader, _other] = scene.relays().await;
    let listeners = Listener::both(&scene).await;
    let writers = Writers::start(&scene.database.url);
    for _ in 0..2 {
        writers.write(300).await;
        end(postgres);
    }
    writers.write(300).await;
    writers.stop().await;
    let entries = check(&scene).await;
    assert!(
        entries.iter().all(|entry| entry.joint != "reset"),
        "nobody has to refetch anything"
    );
    for listener in listeners {
        listener.check(&scene).await;
    }
}
