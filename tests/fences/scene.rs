//! A real server on a database, two subscribers, a listener in this process, and rows that are told apart by keys.

#[cfg(feature = "postgres")]
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use rowcast::{Broadcaster, DatabaseConfig, Migrate, PollInterval};
use tokio::time::sleep;

use super::support::keys::Subscriber;
use super::support::process::Process;
use super::support::{DEADLINE, until};

/// Clients of the server.
const SUBSCRIBERS: usize = 2;

/// After everything has arrived: long enough for what should not arrive to do so.
const AFTERWARDS: Duration = Duration::from_millis(700);

/// A feed, as its users have it: as clients of a server, and as a listener in their own program.
pub struct Scene {
    pub server: Process,
    subscribers: Vec<Subscriber>,
    pub broadcaster: Broadcaster,
    /// The key of every event that the listener in this process was handed.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    pub async fn start(url: &str) -> Self {
        let server = Process::start(url, &[]);
        let mut subscribers = Vec::new();
        for _ in 0..SUBSCRIBERS {
            subscribers.push(Subscriber::connect(&server.url, &["*"]).await);
        }
        let config = DatabaseConfig::new(url).expect("a URL");
        let source = rowcast::source::open(&config, Migrate::Auto)
            .await
            .unwrap_or_else(|error| panic!("failed to {error}"));
        let broadcaster = Broadcaster::start(source, PollInterval::default())
            .await
            .unwrap_or_else(|error| panic!("failed to {error}"));
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let mut events = Box::pin(broadcaster.listen());
        let to = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let payload: serde_json::Value =
                    serde_json::from_str(event.payload.get()).expect("payloads are JSON");
                let key = payload["key"].as_str().unwrap_or_default().to_owned();
                to.lock().unwrap_or_else(PoisonError::into_inner).push(key);
            }
        });
        Self {
            server,
            subscribers,
            broadcaster,
            heard,
        }
    }

    fn heard(&self) -> Vec<String> {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until everybody has had an event with this key.
    pub async fn wait(&self, key: &str) {
        for subscriber in &self.subscribers {
            subscriber
                .wait(|notes| notes.keys.iter().any(|(heard, _)| heard == key))
                .await;
        }
        let what = format!("{key} in this process");
        until(&what, async || {
            self.heard().iter().any(|heard| heard == key).then_some(())
        })
        .await;
    }

    /// Everybody has had each of these keys once, and none of any other more than once, which `may` allows; nobody was told
    /// to refetch. Gives how many of the others the first subscriber had.
    #[cfg(feature = "postgres")]
    pub async fn heard_once(&self, keys: &HashSet<String>, may: impl Fn(&str) -> bool) -> usize {
        for key in keys {
            self.wait(key).await;
        }
        sleep(AFTERWARDS).await;
        let mut all = vec![self.heard()];
        for subscriber in &self.subscribers {
            let notes = subscriber.notes();
            assert_eq!((notes.resets, notes.gone), (0, false), "(resets, gone)");
            all.push(notes.keys.iter().map(|(key, _)| key.clone()).collect());
        }
        let mut others = 0;
        for had in all {
            let once: HashSet<_> = had.iter().cloned().collect();
            let lost: Vec<_> = keys.difference(&once).collect();
            let alien: Vec<_> = once.difference(keys).filter(|key| !may(key)).collect();
            assert!(
                lost.is_empty() && alien.is_empty(),
                "lost {lost:?}, alien {alien:?}"
            );
            assert_eq!(had.len() - once.len(), 0, "none comes twice");
            others = once.difference(keys).count();
        }
        assert_eq!(self.broadcaster.stats().resets, 0);
        others
    }

    /// Everybody has had these keys, each once, and nothing else, whatever the order; and was told to refetch this often.
    pub async fn heard_exactly(&self, keys: &[String], resets: usize) {
        let mut wanted = keys.to_vec();
        wanted.sort();
        for subscriber in &self.subscribers {
            subscriber
                .wait(|notes| notes.keys.len() >= wanted.len() && notes.resets >= resets)
                .await;
        }
        let _ = tokio::time::timeout(DEADLINE, async {
            while self.heard().len() < wanted.len() {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        sleep(AFTERWARDS).await;
        for subscriber in &self.subscribers {
            let notes = subscriber.notes();
            let mut had: Vec<_> = notes.keys.iter().map(|(key, _)| key.clone()).collect();
            had.sort();
            assert_eq!(
                difference(&wanted, &had),
                (vec![], vec![]),
                "(lost, too many)"
            );
            assert_eq!(
                (notes.resets, notes.gone),
                (resets, false),
                "(resets, gone)"
            );
        }
        let mut had = self.heard();
        had.sort();
        assert_eq!(
            difference(&wanted, &had),
            (vec![], vec![]),
            "(lost, too many) in this process"
        );
        assert_eq!(self.broadcaster.stats().resets, resets as u64);
    }
}

/// What the first has and the second lacks, and what the second has and the first lacks, repeats included. Both sorted.
fn difference(wanted: &[String], had: &[String]) -> (Vec<String>, Vec<String>) {
    let without = |from: &[String], those: &[String]| {
        let mut left = those.to_vec();
        let mut rest = Vec::new();
        for key in from {
            match left.iter().position(|other| other == key) {
                Some(place) => drop(left.swap_remove(place)),
                None => rest.push(key.clone()),
            }
        }
        rest
    };
    (without(wanted, had), without(had, wanted))
}

/// Keys `prefix-0`, `prefix-1`, ….
pub fn keys(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}
