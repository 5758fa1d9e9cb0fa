//! A server that reads the stream, and a client of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::task::JoinHandle;

use super::scene::Scene;
use super::support::feed::Client;
use super::support::process::{Process, free_port};
use super::support::until;

pub struct Listener {
    _server: Process,
    frames: Arc<Mutex<Vec<Value>>>,
    listening: JoinHandle<()>,
}

impl Listener {
    /// Of a server that has no table, and of one that has.
    pub async fn both(scene: &Scene) -> [Self; 2] {
        let table = ["--database-url".to_owned(), scene.database.url.clone()];
        [
            Self::start(scene, &[]).await,
            Self::start(scene, &table).await,
        ]
    }

    async fn start(scene: &Scene, flags: &[String]) -> Self {
        let port = free_port();
        let source = ["--source".to_owned(), scene.redis.url()];
        let flags: Vec<_> = source.iter().chain(flags).cloned().collect();
        let server = Process::serve_on(port, &flags);
        let mut client = Client::connect(SocketAddr::from(([127, 0, 0, 1], port))).await;
        client.subscribe(&["tasks"]).await;
        let frames = Arc::<Mutex<Vec<Value>>>::default();
        let to = Arc::clone(&frames);
        let listening = tokio::spawn(async move {
            loop {
                let frame = client.hear().await;
                to.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(frame);
            }
        });
        Self {
            _server: server,
            frames,
            listening,
        }
    }

    fn frames(&self) -> Vec<Value> {
        let frames = self.frames.lock();
        frames.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks that the client has each event of the table once, and was never told to refetch. The time counts too: a
    /// database that has lost some gives out their ids again.
    pub async fn check(self, scene: &Scene) {
        let mut connection = scene.connect().await;
        let all = "SELECT id || ' ' || to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM events ORDER BY id";
        let committed = connection.texts(all).await;
        let last = committed.last().expect("there are some").clone();
        let heard = until("the client to hear the last event", async || {
            assert!(!self.listening.is_finished(), "the connection was closed");
            let frames = self.frames();
            let heard: Vec<String> = frames.iter().filter_map(event).collect();
            heard.contains(&last).then_some(heard)
        })
        .await;
        self.listening.abort();
        let once: BTreeSet<_> = heard.iter().collect();
        assert_eq!(once.len(), heard.len(), "some came twice");
        let missing: Vec<_> = committed
            .iter()
            .filter(|event| !once.contains(event))
            .collect();
        assert!(missing.is_empty(), "missing: {missing:?}");
        let frames = self.frames();
        let reset = frames.iter().find(|frame| frame["type"] == "reset");
        assert_eq!(reset, None, "nobody has to refetch anything");
    }
}

fn event(frame: &Value) -> Option<String> {
    let event = &frame["event"];
    Some(format!("{} {}", event["id"], event["createdAt"].as_str()?))
}
