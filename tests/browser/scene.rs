//! All that a test here needs: a table, a server on it, what the browser takes for the server, and the browser.

use std::net::SocketAddr;

use fastrand::Rng;
use serde_json::Value;

use crate::chromium::Chromium;
use crate::front::{Front, Passage};
use crate::support::feed::http;
use crate::support::process::Process;
use crate::support::{Connection, Database, until};

pub struct Scene {
    // First, so that it goes first.
    _chromium: Chromium,
    pub front: Front,
    server: Option<Process>,
    writer: Connection,
    database: Database,
    /// Ids and channels of all rows, in their order.
    pub rows: Vec<(i64, String)>,
}

impl Scene {
    /// Opens a page with this script.
    pub async fn start(script: &str) -> Self {
        Self::start_with(&[], |_| script.to_owned()).await
    }

    /// The same, with flags for the server, of which the script is told the address.
    pub async fn start_with(flags: &[&str], script: impl FnOnce(&str) -> String) -> Self {
        let database = Database::sqlite().await;
        let server = Process::start(&database.url, flags);
        let address = address_of(&server);
        let front = Front::start(address, &script(&address.to_string())).await;
        Self {
            _chromium: Chromium::open(&front.page()),
            server: Some(server),
            writer: database.connect().await,
            front,
            database,
            rows: Vec::new(),
        }
    }

    /// Inserts rows on these channels, in one transaction.
    pub async fn insert(&mut self, channels: &[&str]) {
        let values: Vec<_> = channels
            .iter()
            .map(|channel| {
                let kind = channel.split(':').next().unwrap_or_default();
                format!("('{channel}', '{kind}.created', '{{\"text\":\"häuser\"}}')")
            })
            .collect();
        let values = values.join(", ");
        let sql =
            format!("INSERT INTO events (channel, type, payload) VALUES {values} RETURNING id");
        let ids = self.writer.numbers(&sql).await;
        let channels = channels.iter().map(|&channel| channel.to_owned());
        self.rows.extend(ids.into_iter().zip(channels));
    }

    /// The ids of the rows on channels like these.
    pub fn ids(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<i64> {
        let rows = self.rows.iter();
        let wanted = rows.filter(|(_, channel)| is_wanted(channel));
        wanted.map(|&(id, _)| id).collect()
    }

    /// Kills the server, and starts another one on the same table, elsewhere.
    pub fn restart_server(&mut self) {
        drop(self.server.take());
        let server = Process::start(&self.database.url, &[]);
        self.front.passes_on_to(address_of(&server));
        self.server = Some(server);
    }

    /// The position of the server, once it has seen all rows.
    pub async fn cursor(&self) -> String {
        let address = address_of(self.server.as_ref().expect("it runs"));
        let last = self.rows.last().map(|&(id, _)| id);
        until("the server has seen the last row", async || {
            let answer = http(
                address,
                "GET /cursor HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            )
            .await;
            let body: Value = serde_json::from_str(&answer.body).expect("JSON");
            let text = body["cursor"].as_str().expect("a cursor");
            let cursor: rowcast::Cursor = text.parse().expect("a cursor");
            (cursor.id() >= last).then(|| text.to_owned())
        })
        .await
    }

    /// What the page has noted by this name, once there are so many. Fails if the page has made a mistake.
    pub async fn noted(&self, name: &str, count: usize) -> Vec<Value> {
        until(&format!("{count} notes of {name:?}"), async || {
            let found = self.notes(name);
            (found.len() >= count).then_some(found)
        })
        .await
    }

    /// What the page has noted by this name so far.
    pub fn notes(&self, name: &str) -> Vec<Value> {
        let notes = self.front.notes();
        let mistake = notes.iter().find(|note| note[0] == "mistake");
        assert!(mistake.is_none(), "{mistake:?}");
        notes.into_iter().filter(|note| note[0] == name).collect()
    }

    /// The nth connection for the feed, once it is as it should be.
    pub async fn passage(&self, n: usize, is_so: impl Fn(&Passage) -> bool) -> Passage {
        until(&format!("connection {n}"), async || {
            self.front.passages().get(n).filter(|it| is_so(it)).cloned()
        })
        .await
    }
}

fn address_of(server: &Process) -> SocketAddr {
    let url = server.url.trim_start_matches("ws://");
    let address = url.split('/').next().unwrap_or_default();
    address.parse().expect("the server tells where it listens")
}

/// The seed of a test: a new one, or the one asked for.
pub fn seed(test: &str) -> Rng {
    let seed = std::env::var("ROWCAST_SEED").map_or_else(
        |_| fastrand::u64(..1_000_000),
        |seed| seed.parse().expect("ROWCAST_SEED is a number"),
    );
    eprintln!("{test}: ROWCAST_SEED={seed}");
    Rng::with_seed(seed)
}
