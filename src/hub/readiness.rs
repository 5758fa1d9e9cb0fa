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

    /// Whether the pipeline moves. Also while the server stops.
    pub async fn is_moving(&self) -> bool {
        self.canary().await.is_ok()
    }

    /// Whether the table is looked at.
    pub fn is_reading(&self) -> bool {
        self.database().is_ok()
    }

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

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::sync::mpsc;

    use bytes::Bytes;
    use futures_util::future::BoxFuture;

    use crate::broadcaster::Broadcaster;
    use crate::hub::{Connection, Frames, Hub, HubOptions, Request, Written};
    use crate::protocol::CloseCode;
    use crate::source::{self, DatabaseConfig, Migrate};
    use crate::tail::PollInterval;

    /// A connection that takes an answer only when it is let, as none may, and says that it has been given one.
    struct Blocking {
        go_on: std::sync::Mutex<mpsc::Receiver<()>>,
        blocks: tokio::sync::mpsc::UnboundedSender<()>,
    }

    impl Connection for Blocking {
        fn write(&self, _frames: Frames<'_>) -> Written {
            Written::Gone
        }

        fn reply(&self, _frame: &Bytes) -> Written {
            let _ = self.blocks.send(());
            let _ = self.go_on.lock().expect("one shard has it").recv();
            Written::Sent
        }

        fn queue_bytes_max(&self) -> usize {
            0
        }

        fn room(&self, _bytes: usize) -> BoxFuture<'_, bool> {
            Box::pin(std::future::ready(false))
        }

        fn close(&self, _code: CloseCode, _reason: &str) {}
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_shard_that_hangs_is_told_until_it_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("events.db");
        let database = DatabaseConfig::new(&format!("sqlite://{}", file.display())).expect("a URL");
        let source = source::open(&database, Migrate::Auto)
            .await
            .expect("a new file");
        let broadcaster = Broadcaster::start(source, PollInterval::default())
            .await
            .expect("it has a position");
        let options = HubOptions {
            shards: 3,
            ..HubOptions::default()
        };
        let hub = Hub::start(&broadcaster, options);
        let readiness = hub.readiness();
        assert!(readiness.check().await.are_fine());

        let (go_on, wait) = mpsc::channel();
        let (blocks, mut blocked) = tokio::sync::mpsc::unbounded_channel();
        let outlet = Blocking {
            go_on: std::sync::Mutex::new(wait),
            blocks,
        };
        let seat = hub
            .open(
                std::sync::Arc::new(outlet),
                hub.shapes().web_socket().clone(),
                Some(std::sync::Arc::new(crate::auth::Identity::anybody())),
            )
            .await;
        let connection = seat.connection();
        seat.ask(Request::Pong {
            connection,
            id: None,
        })
        .await;
        // Before, a probe might still come through.
        blocked.recv().await.expect("its shard answers");
        // Asked by many at once, and again: one probe is under way.
        for _ in 0..2 {
            let all = futures_util::future::join_all((0..100).map(|_| readiness.check())).await;
            for checks in all {
                assert!(checks.database.is_ok(), "{checks:?}");
                let stuck = checks.pipeline.expect_err("a shard hangs");
                assert!(stuck.message.contains("2 of 3 shards"), "{stuck:?}");
            }
        }
        let since = |stuck: super::Stuck| stuck.since.elapsed().expect("it is past");
        let stuck = readiness
            .check()
            .await
            .pipeline
            .expect_err("it still hangs");
        assert!(since(stuck).as_secs() >= 4, "since the first probe");
        go_on.send(()).expect("it waits");
        assert!(readiness.check().await.are_fine());

        // One that is gone never says that a probe has come.
        let checks = super::Readiness::new(broadcaster.prober(), 4).check().await;
        assert!(checks.pipeline.is_err());
    }
}
