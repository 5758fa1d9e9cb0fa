//! `Readiness`: whether events that are committed now would reach the sockets. Two checks: the table has been looked at
//! lately, and a probe passes the broadcaster's queue, the encoder, and every shard.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::broadcaster::{Probe, Prober};

/// The table has not been looked at for this many poll intervals, or for this long if that is longer: the feed stands still.
const INTERVALS_MISSED: u32 = 5;
const LOOK_AGE_MIN: Duration = Duration::from_secs(5);

/// How long a probe may take. It waits behind the batches under way, of which each takes milliseconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Finds out whether the feed is moving.
pub(crate) struct Readiness {
    prober: Prober,
    shards: usize,
    canary: Mutex<Canary>,
    ending: OnceLock<SystemTime>,
}

#[derive(Default)]
struct Canary {
    /// The probe that has not come through yet. There is never more than one: they would fill the queue of a feed that
    /// stands still.
    pending: Option<(Arc<Probe>, Instant)>,
    /// How it ended last, and when.
    last: Option<(Instant, Option<Stuck>)>,
}

/// What is wrong.
#[derive(Debug, Clone)]
pub(crate) struct Stuck {
    /// Since when.
    pub since: SystemTime,
    /// What it is, and where.
    pub message: String,
}

/// The checks, each with what is wrong.
#[derive(Debug, Clone)]
pub(crate) struct Checks {
    /// The table is looked at.
    pub database: Result<(), Stuck>,
    /// A probe comes through.
    pub pipeline: Result<(), Stuck>,
}

impl Checks {
    pub fn are_fine(&self) -> bool {
        self.database.is_ok() && self.pipeline.is_ok()
    }
}

impl Readiness {
    pub fn new(prober: Prober, shards: usize) -> Self {
        Self {
            prober,
            shards,
            canary: Mutex::default(),
            ending: OnceLock::new(),
        }
    }

    /// The server is about to stop: it is not to be sent any more clients.
    pub fn begin_shutdown(&self) {
        let _ = self.ending.set(SystemTime::now());
    }

    /// Does both checks. Takes 2 s at most, beside those who check already.
    pub async fn check(&self) -> Checks {
        Checks {
            database: self.database(),
            pipeline: match self.ending.get() {
                Some(&since) => Err(Stuck {
                    since,
                    message: "the server is shutting down".into(),
                }),
                None => self.canary().await,
            },
        }
    }

    /// Whether the table is looked at.
    fn database(&self) -> Result<(), Stuck> {
        let longest = (self.prober.interval() * INTERVALS_MISSED).max(LOOK_AGE_MIN);
        let age = self.prober.looked();
        if age <= longest {
            return Ok(());
        }
        Err(Stuck::since(
            age,
            format!(
                "the events table has not been read for {} s; the log says why",
                age.as_secs()
            ),
        ))
    }

    /// Whether a probe comes through. Those who ask at the same time share one.
    async fn canary(&self) -> Result<(), Stuck> {
        let asked = Instant::now();
        let mut canary = self.canary.lock().await;
        if let Some((at, stuck)) = &canary.last
            && *at >= asked
        {
            return stuck.clone().map_or(Ok(()), Err);
        }
        let (probe, sent) = canary
            .pending
            .take()
            .unwrap_or_else(|| (self.prober.send(), asked));
        // Put back before it is waited for: whoever asks may go away meanwhile.
        canary.pending = Some((Arc::clone(&probe), sent));
        let stuck = match timeout(PROBE_TIMEOUT, probe.passes(self.shards)).await {
            Ok(()) => {
                canary.pending = None;
                None
            }
            Err(_) => Some(Stuck::since(
                sent.elapsed(),
                format!(
                    "a probe has come through to {} of {} shards after {} s; restart the server if this lasts",
                    probe.passed(),
                    self.shards,
                    sent.elapsed().as_secs()
                ),
            )),
        };
        canary.last = Some((Instant::now(), stuck.clone()));
        stuck.map_or(Ok(()), Err)
    }
}

impl Stuck {
    fn since(age: Duration, message: String) -> Self {
        Self {
            since: SystemTime::now()
                .checked_sub(age)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            message,
        }
    }
}
