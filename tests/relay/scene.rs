//! A database, a Redis, and relays between them; and what is in the stream.

use std::collections::{BTreeMap, BTreeSet};

use redis::streams::{StreamId, StreamRangeReply};
use serde_json::Value;

use super::support::redis::Redis;
use super::support::relay::Relay;
use super::support::{Connection, Database, Postgres, until};

/// The key of the stream.
pub const FEED: &str = "{rowcast}:feed";

pub struct Scene {
    pub database: Database,
    pub redis: Redis,
}

/// An entry of the stream.
#[derive(Debug, Clone)]
pub struct Entry {
    pub after: String,
    pub upto: String,
    pub joint: String,
    /// The events, as they were told.
    pub ids: Vec<i64>,
    /// When they were inserted. A database that has lost some gives out their ids again.
    times: Vec<String>,
}

impl Scene {
    pub async fn new(redis: Redis) -> Self {
        Self::on(Postgres::shared(), redis).await
    }

    pub async fn on(postgres: &Postgres, redis: Redis) -> Self {
        let database = Database::on(postgres).await;
        // With tables in it.
        database.open().await;
        Self { database, redis }
    }

    pub fn relay(&self) -> Relay {
        Relay::start(&self.database.url, &self.redis.url(), &[])
    }

    /// A relay that leads, and one that stands by.
    pub async fn relays(&self) -> [Relay; 2] {
        let leader = self.relay();
        leader.says("this relay leads", 1).await;
        let other = self.relay();
        other.says("another relay leads", 1).await;
        [leader, other]
    }

    pub async fn connect(&self) -> Connection {
        self.database.connect().await
    }

    /// The entries of the stream, in their order.
    pub fn entries(&self) -> Vec<Entry> {
        let reply: StreamRangeReply = self.redis.run(&["XRANGE", FEED, "-", "+"]);
        reply.ids.iter().map(entry).collect()
    }

    /// Waits until all that is in the table is in the stream.
    pub async fn caught_up(&self) {
        let mut connection = self.connect().await;
        // What commits from now on is behind all that has.
        connection.insert(0).await;
        let last = connection.numbers("SELECT max(id) FROM events").await;
        until("the stream to have the last event", async || {
            let reply: StreamRangeReply =
                self.redis
                    .run(&["XREVRANGE", FEED, "+", "-", "COUNT", "20"]);
            let entries: Vec<_> = reply.ids.iter().map(entry).collect();
            let mut ids = entries.iter().flat_map(|entry| &entry.ids);
            ids.any(|id| last.contains(id)).then_some(())
        })
        .await;
    }

    /// Checks that the stream is joined together, and has each event of the table once. Gives its entries.
    pub async fn check(&self) -> Vec<Entry> {
        let (entries, missing) = self.look(false).await;
        assert!(missing.is_empty(), "missing: {missing:?}");
        entries
    }

    /// The same where the database may have lost what it had committed, and what it kept may be told again.
    pub async fn check_but_what_postgres_lost(&self) -> Vec<Entry> {
        let (entries, missing) = self.look(true).await;
        assert!(missing.is_empty(), "missing: {missing:?}");
        entries
    }

    /// The same of a stream that began anew: what it does not have, the one before it had.
    pub async fn check_after(&self, before: &[Entry]) -> Vec<Entry> {
        let (entries, missing) = self.look(false).await;
        let had: BTreeSet<_> = before.iter().flat_map(|entry| &entry.ids).collect();
        let lost: Vec<_> = missing.iter().filter(|id| !had.contains(id)).collect();
        assert!(lost.is_empty(), "missing: {lost:?}");
        entries
    }

    /// Checks that the stream is joined together, and has no event twice. Gives its entries, and which events are not in it.
    async fn look(&self, forgets: bool) -> (Vec<Entry>, Vec<i64>) {
        self.caught_up().await;
        let entries = self.entries();
        assert_eq!(entries[0].after, "");
        for pair in entries.windows(2) {
            assert_eq!(
                pair[0].upto, pair[1].after,
                "one begins where the one before ends"
            );
        }
        let received: Vec<i64> = entries.iter().flat_map(|entry| entry.ids.clone()).collect();
        let mut known = BTreeSet::new();
        for entry in &entries {
            // After a crash the feed goes on from a place before the last event that was read.
            if forgets && entry.joint == "left" {
                known.clear();
            }
            for event in entry.ids.iter().zip(&entry.times) {
                assert!(known.insert(event), "in the stream twice: {event:?}");
            }
        }
        let once: BTreeSet<i64> = received.iter().copied().collect();
        let mut connection = self.connect().await;
        let ids = connection
            .numbers("SELECT id FROM events ORDER BY id")
            .await;
        let xids = connection
            .numbers("SELECT xid::text::bigint FROM events ORDER BY id")
            .await;
        let xids: BTreeMap<i64, i64> = ids.into_iter().zip(xids).collect();
        // Rows of one transaction are in the order of their ids.
        let mut last = BTreeMap::new();
        for id in &received {
            let Some(xid) = xids.get(id).filter(|_| !forgets) else {
                assert!(forgets, "{id} was never committed");
                continue;
            };
            let before = last.insert(xid, id);
            assert!(
                before < Some(id),
                "{id} came after {before:?} of the same transaction"
            );
        }
        let missing: Vec<_> = xids.into_keys().filter(|id| !once.contains(id)).collect();
        eprintln!(
            "{} events in {} entries, {} of these without; {} not in it",
            received.len(),
            entries.len(),
            entries.iter().filter(|entry| entry.ids.is_empty()).count(),
            missing.len()
        );
        (entries, missing)
    }
}

fn entry(id: &StreamId) -> Entry {
    let field = |name| id.get::<String>(name).expect("it has it");
    let events: Vec<Value> = serde_json::from_str(&field("e")).expect("JSON");
    let ids = events.iter().map(|event| event[0].as_i64().expect("an id"));
    Entry {
        after: field("a"),
        upto: field("u"),
        joint: field("j"),
        ids: ids.collect(),
        times: events.iter().map(|event| event[10].to_string()).collect(),
    }
}
