//! Servers that read the stream in Redis, two with the table behind it and two without: relays that lead are killed, Redis is killed, with
//! what it knows on its disk or without, and each server in turn. Clients notice as little as in tests/fleet/restarts.rs.

use std::time::{Duration, Instant};

use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::clients::Clients;
use crate::restarts::{Load, judge};
use crate::servers::{End, Servers};
use crate::support::Database;
use crate::support::redis::Redis;
use crate::support::relay::Relay;
use crate::writers::Writers;

/// Between two deaths of relays that lead.
const LIFE: Duration = Duration::from_secs(10);

/// Between two ends of servers.
const PEACE: Duration = Duration::from_secs(7);

const LEADS: &str = "this relay leads";

async fn endure(redis: Redis) {
    let load = Load::from_environment();
    let database = Database::postgres().await;
    database.open().await;
    let relay = || Relay::start(&database.url, &redis.url(), &[]);
    let mut leader = relay();
    leader.says(LEADS, 1).await;
    let mut other = relay();
    let redis_url = redis.url();
    let from_stream = vec!["--source", &redis_url];
    let from_both = [&from_stream[..], &["--database-url", &database.url]].concat();
    let own = [
        from_both.clone(),
        from_stream.clone(),
        from_both,
        from_stream,
    ];
    let mut servers = block_in_place(|| Servers::start(&Load::FLAGS, &own));
    let clients = Clients::start(&servers.addresses(), &load.wants()).await;
    let writers = Writers::start(&database.url, load.channels()).await;

    let start = Instant::now();
    // Once in the middle of a life of a leader, and once soon after another's end.
    let mut outages = vec![load.length.mul_f64(0.7), LIFE / 2];
    let (mut killed, mut ended) = (start, start);
    let mut ends = 0;
    while start.elapsed() < load.length {
        if outages.pop_if(|at| start.elapsed() > *at).is_some() {
            redis.kill_9();
            redis.restart();
        }
        if killed.elapsed() > LIFE {
            killed = Instant::now();
            leader.kill_9();
            other.says(LEADS, 1).await;
            eprintln!("taken over after {:.1?}", killed.elapsed());
            leader = std::mem::replace(&mut other, relay());
        }
        if ended.elapsed() > PEACE {
            ended = Instant::now();
            let end = [End::Killed, End::Asked][ends / servers.count() % 2];
            let number = ends % servers.count();
            block_in_place(|| servers.restart(number, end));
            ends += 1;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(outages.is_empty(), "Redis was restarted twice");
    let counts = writers.stop().await;
    let report = clients.end(&counts).await;
    judge(&load, start.elapsed(), &counts, &report);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_misses_a_thing_where_redis_remembers() {
    endure(Redis::durable()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_misses_a_thing_where_redis_forgets() {
    endure(Redis::forgetful()).await;
}
