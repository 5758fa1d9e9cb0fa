//! Rows that are told apart by a key in their payload, subscribers that note which they received, and the comparison
//! of the two.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

/// How long the last rows may take. Generous: nothing but a lost row takes that long.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);

pub fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_micros() as u64
}

/// A client that stays connected and notes what it hears.
pub struct Subscriber(Arc<Heard>);

#[derive(Default)]
struct Heard {
    notes: Mutex<Notes>,
    changed: watch::Sender<()>,
}

/// What one subscriber has heard.
#[derive(Default)]
pub struct Notes {
    /// The key of each event, and when it came, in microseconds of the wall clock.
    pub keys: Vec<(String, u64)>,
    /// How often it was told to refetch its state.
    pub resets: usize,
    /// Whether the connection has ended.
    pub gone: bool,
}

impl Subscriber {
    pub async fn connect(url: &str, channels: &[&str]) -> Self {
        let (mut socket, _) = Box::pin(connect_async(url))
            .await
            .expect("the server accepts");
        let subscribe = json!({"type": "subscribe", "channels": channels});
        socket
            .send(Message::text(subscribe.to_string()))
            .await
            .expect("the server reads");
        let answer = socket.next().await.expect("an answer").expect("a message");
        assert!(
            answer
                .to_text()
                .is_ok_and(|text| text.contains("subscribed")),
            "{answer}"
        );
        let heard = Arc::<Heard>::default();
        let to = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                let at = now_us();
                let frame: Value =
                    serde_json::from_str(message.to_text().unwrap_or_default()).unwrap_or_default();
                if let Some(key) = frame["event"]["payload"]["key"].as_str() {
                    to.notes().keys.push((key.to_owned(), at));
                } else if frame["type"] == "reset" {
                    to.notes().resets += 1;
                }
                to.changed.send_replace(());
            }
            to.notes().gone = true;
            to.changed.send_replace(());
        });
        Self(heard)
    }

    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.notes()
    }

    /// Waits until it is so, or gives up: what is wrong then is seen by comparing.
    pub async fn wait(&self, is_so: impl Fn(&Notes) -> bool) {
        let mut changed = self.0.changed.subscribe();
        let _ = timeout(ARRIVAL_TIMEOUT, async {
            while !is_so(&self.notes()) {
                changed.changed().await.expect("the notes are ours");
            }
        })
        .await;
    }
}

impl Heard {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until each subscriber has all of `committed`, and checks that it has each row once and nothing else, and was
/// neither reset nor disconnected. Gives the times from commit to socket, in milliseconds, ascending.
pub async fn check(committed: &HashMap<String, u64>, subscribers: &[Subscriber]) -> Vec<f64> {
    let mut delays = Vec::new();
    for subscriber in subscribers {
        subscriber
            .wait(|notes| notes.keys.len() >= committed.len())
            .await;
        let notes = subscriber.notes();
        let keys: HashSet<_> = notes.keys.iter().map(|(key, _)| key).collect();
        let lost: Vec<_> = committed.keys().filter(|key| !keys.contains(key)).collect();
        let alien = keys
            .iter()
            .filter(|key| !committed.contains_key(**key))
            .count();
        let (total, doubled) = (committed.len(), notes.keys.len() - keys.len());
        assert_eq!(
            (lost.len(), doubled, alien, notes.resets, notes.gone),
            (0, 0, 0, 0, false),
            "(lost, doubled, never committed, resets, gone) of {total} committed rows; lost: {:?}",
            &lost[..lost.len().min(5)]
        );
        delays.extend(
            notes
                .keys
                .iter()
                .map(|(key, at)| at.saturating_sub(committed[key]) as f64 / 1000.0),
        );
    }
    delays.sort_by(f64::total_cmp);
    delays
}
