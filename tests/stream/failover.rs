//! A Redis that is replaced by its replica, which lacks what came last: a replica is told what was written after whoever wrote
//! it. Servers, relays and clients keep their URLs.

use serde_json::Value;

use super::support::forwarder::Forwarder;
use super::support::process::Process;
use super::support::redis::Redis;
use super::support::relay::Relay;
use super::support::{Database, until};
use super::{client, edge_of, hear_events, insert, last_cursor, listeners, numbers};

const FEED: &str = "{rowcast}:feed";

/// A Redis, a replica of it, an address for whichever of the two leads, and one for the way between them.
struct Pair {
    leader: Redis,
    replica: Redis,
    address: Forwarder,
    url: String,
    between: Forwarder,
}

impl Pair {
    async fn start() -> Self {
        let (leader, replica) = (Redis::forgetful(), Redis::forgetful());
        let at = |redis: &Redis| format!("redis://127.0.0.1:{}/", redis.port());
        let address = Forwarder::start(leader.port()).await;
        let between = Forwarder::start(leader.port()).await;
        let url = address.url(&at(&leader), leader.port());
        let way: url::Url = between
            .url(&at(&leader), leader.port())
            .parse()
            .expect("a URL");
        let port = way.port().expect("it has one").to_string();
        replica.run::<String>(&["REPLICAOF", "127.0.0.1", &port]);
        let pair = Self {
            leader,
            replica,
            address,
            url,
            between,
        };
        pair.replicated().await;
        pair
    }

    /// Waits until the replica has what the leader has.
    async fn replicated(&self) {
        until("the replica to be up to date", async || {
            let offset = |redis: &Redis, field: &str| {
                let info: String = redis.run(&["INFO", "replication"]);
                let mut lines = info.lines();
                let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
                value.map(str::to_owned)
            };
            let is_up = offset(&self.replica, "master_link_status").as_deref() == Some("up");
            let own = offset(&self.replica, "slave_repl_offset");
            (is_up && own == offset(&self.leader, "master_repl_offset")).then_some(())
        })
        .await;
    }

    /// From now on the replica is told nothing.
    fn fall_behind(&self) {
        // Nobody listens there.
        self.between.switch_to(1);
    }

    /// The leader dies, and the replica takes its place.
    fn fail_over(&self) {
        self.leader.kill_9();
        self.replica.run::<String>(&["REPLICAOF", "NO", "ONE"]);
        self.address.switch_to(self.replica.port());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lacks_the_last_events_takes_over() {
    let database = Database::postgres().await;
    let pair = Pair::start().await;
    let _relay = Relay::start(&database.url, &pair.url, &[]);
    let lone = edge_of(&pair.url, None, &[]);
    let backed = edge_of(&pair.url, Some(&database), &[]);
    let mut listeners = listeners([&lone, &backed]).await;
    let mut backend = database.connect().await;
    insert(&mut backend, 1..=3).await;
    let mut cursors = Vec::new();
    for listener in &mut listeners {
        let events = hear_events(listener, 3).await;
        assert_eq!(numbers(&events), [1, 2, 3]);
        cursors.push(last_cursor(&events));
    }
    pair.replicated().await;
    pair.fall_behind();
    // These are handed out, and the replica never hears of them.
    insert(&mut backend, 4..=6).await;
    let mut ahead = Vec::new();
    for listener in &mut listeners {
        let events = hear_events(listener, 3).await;
        assert_eq!(numbers(&events), [4, 5, 6]);
        ahead.push(last_cursor(&events));
    }
    let entries = |redis: &Redis| redis.run::<i64>(&["XLEN", FEED]);
    assert!(entries(&pair.replica) < entries(&pair.leader));
    pair.fail_over();
    insert(&mut backend, 7..=9).await;
    for listener in &mut listeners {
        assert_eq!(numbers(&hear_events(listener, 3).await), [7, 8, 9]);
    }
    if backed.logged("cannot be followed").len() > backed.logged("comes from Redis again").len() {
        backed
            .wait_logged("the feed comes from Redis again", 1)
            .await;
    }
    insert(&mut backend, 10..=12).await;
    for listener in &mut listeners {
        assert_eq!(numbers(&hear_events(listener, 3).await), [10, 11, 12]);
        let rest = listener.hear_all().await;
        assert!(
            rest.iter().all(|frame| frame["type"] == "cursor"),
            "{rest:?}"
        );
    }

    // Whoever was away, and knows what the replica did not, finds its place too: on any server, and on one that has begun
    // since.
    let late = edge_of(&pair.url, None, &[]);
    for server in [&lone, &backed, &late] {
        assert_resumes(server, &cursors, &(4..=12).collect::<Vec<_>>()).await;
        assert_resumes(server, &ahead, &(7..=12).collect::<Vec<_>>()).await;
    }
}

async fn assert_resumes(server: &Process, cursors: &[String], missed: &[i64]) {
    for cursor in cursors {
        let mut resumed = client(server, Some(cursor)).await;
        let subscribed = resumed.hear_a("subscribed").await;
        assert_eq!(subscribed["recovered"], true, "{subscribed}");
        let events = hear_events(&mut resumed, missed.len()).await;
        assert_eq!(numbers(&events), missed);
        let rest: Vec<Value> = resumed.hear_all().await;
        assert!(
            rest.iter().all(|frame| frame["type"] != "event"),
            "{rest:?}"
        );
    }
}
