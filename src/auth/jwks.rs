//! `Jwks`: the key set behind a URL. Fetched at start, every ten minutes, and when a token names a key that is not in
//! it; while it cannot be fetched, the last one that could stays good.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::redirect::Policy;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::jwk::{self, Origin};
use super::keys::Key;
use super::options::JwksUrl;
use crate::error::Error;

/// How often the set is fetched without a cause; up to a tenth earlier, so that servers do not ask all at once.
const INTERVAL: Duration = Duration::from_mins(10);

/// Least time between two fetches that tokens cause. Anybody can make up ids of keys.
const ASKED_INTERVAL_MIN: Duration = Duration::from_secs(30);

/// How long a token waits for a fetch.
const WAIT: Duration = Duration::from_secs(5);

/// How long a fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Pauses between the attempts at start, about 10 s in all: a provider that is started beside us needs a moment.
const START_PAUSES: [Duration; 6] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(3),
];

/// Longest key set, in bytes.
const SET_BYTES_MAX: usize = 1 << 20;

/// Redirects that are followed, all to the same host.
const REDIRECTS_MAX: usize = 3;

/// A key set that is kept fresh until this is dropped.
pub(super) struct Jwks {
    shared: Arc<Shared>,
    refreshing: AbortHandle,
}

struct Shared {
    url: JwksUrl,
    client: reqwest::Client,
    keys: ArcSwap<Vec<Key>>,
    asked: Notify,
    state: Mutex<State>,
    /// Changes when a fetch has ended.
    fetched: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// When a token caused a fetch for the last time.
    asked_at: Option<Instant>,
    under_way: bool,
    /// Whether the last fetch failed.
    failed: bool,
}

impl Jwks {
    /// Fetches the set and begins to keep it fresh.
    pub(super) async fn start(url: JwksUrl) -> Result<Self, Error> {
        let client = client(&url).map_err(|error| failure(&url, &text_of(&error)))?;
        let mut pauses = START_PAUSES.into_iter();
        let keys = loop {
            match fetch(&client, &url).await {
                Ok(keys) => break keys,
                Err(why) => match pauses.next() {
                    Some(pause) => {
                        tracing::debug!(%url, why, "no key set yet");
                        sleep(pause).await;
                    }
                    None => return Err(failure(&url, &why)),
                },
            }
        };
        tracing::info!(%url, keys = keys.len(), "fetched the keys of tokens");
        let shared = Arc::new(Shared {
            url,
            client,
            keys: ArcSwap::from_pointee(keys),
            asked: Notify::new(),
            state: Mutex::default(),
            fetched: watch::Sender::default(),
        });
        let refreshing = tokio::spawn(keep_fresh(Arc::clone(&shared))).abort_handle();
        Ok(Self { shared, refreshing })
    }

    /// The keys as they are now.
    pub(super) fn keys(&self) -> arc_swap::Guard<Arc<Vec<Key>>> {
        self.shared.keys.load()
    }

    /// Sees to it that the set is fetched once more, unless that was done for a token less than 30 s ago; waits for it,
    /// 5 s at most. Whether the set is known to be fresh.
    pub(super) async fn refresh(&self) -> bool {
        let mut fetched = self.shared.fetched.subscribe();
        {
            let mut state = self.shared.state();
            if !state.under_way {
                let recently = |at: Instant| at.elapsed() < ASKED_INTERVAL_MIN;
                if state.asked_at.is_some_and(recently) {
                    return !state.failed;
                }
                state.asked_at = Some(Instant::now());
                state.under_way = true;
                self.shared.asked.notify_one();
            }
        }
        // However many tokens wait here, one fetch serves them all.
        let ended = timeout(WAIT, fetched.changed()).await.is_ok();
        ended && !self.shared.state().failed
    }

    /// Fetches a set without taking it.
    pub(super) async fn fetch(&self) -> Result<Vec<Key>, Error> {
        let Shared { client, url, .. } = &*self.shared;
        fetch(client, url).await.map_err(|why| failure(url, &why))
    }

    /// Takes a set that was fetched.
    pub(super) fn replace(&self, keys: Vec<Key>) {
        self.shared.end(Ok(keys));
    }
}

impl Drop for Jwks {
    fn drop(&mut self) {
        self.refreshing.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how a fetch ended. Warns of the first that fails, not of each: it may be long.
    fn end(&self, outcome: Result<Vec<Key>, String>) {
        let url = &self.url;
        let failed = outcome.is_err();
        let failed_before = std::mem::replace(&mut self.state().failed, failed);
        match outcome {
            Ok(keys) => {
                if failed_before {
                    tracing::info!(%url, keys = keys.len(), "the keys of tokens can be fetched again");
                }
                self.keys.store(Arc::new(keys));
            }
            Err(why) if failed_before => {
                tracing::debug!(%url, why, "still no fresh keys of tokens");
            }
            Err(why) => tracing::warn!(
                %url, why,
                "could not fetch the keys of tokens; going on with the ones known, and trying again every 10 minutes"
            ),
        }
        self.state().under_way = false;
        self.fetched.send_replace(());
    }
}

async fn keep_fresh(shared: Arc<Shared>) {
    loop {
        let interval = INTERVAL.mul_f64(1.0 - fastrand::f64() / 10.0);
        tokio::select! {
            () = shared.asked.notified() => {}
            () = sleep(interval) => shared.state().under_way = true,
        }
        let outcome = fetch(&shared.client, &shared.url).await;
        shared.end(outcome);
    }
}

fn client(url: &JwksUrl) -> reqwest::Result<reqwest::Client> {
    let redirects = Policy::custom(|attempt| {
        let first = attempt.previous().first();
        if first.is_none_or(|first| first.origin() != attempt.url().origin()) {
            attempt.error("it redirects to another host, which is not followed")
        } else if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("it redirects too often")
        } else {
            attempt.follow()
        }
    });
    let mut client = reqwest::Client::builder()
        .timeout(FETCH_TIMEOUT)
        .redirect(redirects)
        .user_agent(concat!("rowcast/", env!("CARGO_PKG_VERSION")));
    if url.is_loopback() {
        client = client.no_proxy();
    }
    client.build()
}

async fn fetch(client: &reqwest::Client, url: &JwksUrl) -> Result<Vec<Key>, String> {
    let mut response = client
        .get(url.url().clone())
        .header("accept", "application/jwk-set+json, application/json")
        .send()
        .await
        .map_err(|error| text_of(&error))?;
    if !response.status().is_success() {
        return Err(format!("it answers {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| text_of(&error))? {
        if body.len() + chunk.len() > SET_BYTES_MAX {
            return Err("it is longer than 1 MB".into());
        }
        body.extend_from_slice(&chunk);
    }
    jwk::keys(&body, Origin::Url).map_err(|error| error.to_string())
}

/// An error with its causes, of which the last says most; without the URL, which may have a password in it.
fn text_of(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", FETCH_TIMEOUT.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if std::ptr::addr_eq(cause, error) {
        return "the request failed".into();
    }
    cause.to_string()
}

fn failure(url: &JwksUrl, why: &str) -> Error {
    Error::Keys {
        url: url.to_string(),
        why: why.to_owned(),
    }
}
