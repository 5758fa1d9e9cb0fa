//! `Keeper`: writes who is connected here, and reads who is connected anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::StreamExt as _;
use tokio::time::{Instant, sleep_until};

use super::{News, Presence, PresenceOptions};
use crate::error::Error;
use crate::source::{DatabaseConfig, Presences, open_presences};
use crate::stats::Counters;
use crate::tail::{LOOK_TIMEOUT, within};

/// Between two rounds at least, however much happens: what has changed meanwhile is written, and read, at one go.
const GATHER: Duration = Duration::from_millis(100);

/// Changes that are written at one go. More make no statement faster.
const CHANGES_MAX: usize = 5000;

/// Renewals within the time after which a server is taken for gone.
const RENEWALS_PER_TTL: u32 = 3;

/// First and longest wait after an error; between them it doubles, with full jitter.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// After the database was away the others have yet to come back to it: for so long nobody is taken for gone. Longer than
/// the longest wait.
const HOLD: Duration = Duration::from_secs(5);

/// How long there may be errors before that is said, if the feed can be read.
const SAY_AFTER: Duration = Duration::from_secs(10);

/// How often what is left of servers that are gone is deleted, give or take half of it.
const FORGET_INTERVAL: Duration = Duration::from_mins(2);

/// Keeps the tables, and what is known here, as they should be.
pub(crate) struct Keeper {
    presence: Presence,
    table: Arc<dyn Presences>,
    counters: Arc<Counters>,
    /// The name of this run of this server.
    server: Arc<str>,
    /// The version it had when it was written last, and when it was renewed last.
    version: i64,
    renewed_version: i64,
    renew_at: Instant,
    /// The versions of all servers that are in the view.
    known: BTreeMap<Arc<str>, i64>,
    /// Channels of which more is known than is told.
    touched: BTreeSet<Arc<str>>,
    hold_until: Instant,
    forget_at: Instant,
}

impl Keeper {
    /// Enters this server, and reads who is there.
    ///
    /// # Errors
    /// When the tables are not to be had.
    pub async fn start(
        database: &DatabaseConfig,
        options: PresenceOptions,
        counters: Arc<Counters>,
    ) -> Result<(Self, Presence), Error> {
        let table = open_presences(database)?;
        let presence = Presence::new(options);
        let now = Instant::now();
        let mut keeper = Self {
            presence: presence.clone(),
            table,
            counters,
            server: "".into(),
            version: 0,
            renewed_version: 0,
            renew_at: now,
            known: BTreeMap::new(),
            touched: BTreeSet::new(),
            hold_until: now,
            forget_at: now + forget_interval(),
        };
        keeper.register().await?;
        keeper.look().await?;
        Ok((keeper, presence))
    }

    /// Keeps on until it is dropped, looking at least once an interval, and tells what has become different. Errors are
    /// logged and do not end it: those who are known stay, and who came is written later.
    pub async fn run(
        mut self,
        interval: Duration,
        tell: impl AsyncFn(News),
        is_feed_read: impl Fn() -> bool,
    ) {
        let presence = self.presence.clone();
        let mut wakes = self.table.wakes();
        let mut failures = 0_u32;
        let mut failing: Option<Instant> = None;
        let mut said = false;
        let mut round = Instant::now();
        loop {
            if let Some(before) = failures.checked_sub(1) {
                let wait = RETRY_FIRST.saturating_mul(1 << before.min(16));
                let wait = wait.min(RETRY_MAX).mul_f64(fastrand::f64());
                tokio::time::sleep(wait).await;
            } else {
                let leave = presence.own().next_leave();
                let until = (round + interval).min(self.renew_at);
                tokio::select! {
                    () = sleep_until(leave.map_or(until, |leave| leave.min(until))) => {}
                    () = presence.0.changed.notified() => {}
                    Some(()) = wakes.next() => {}
                }
                sleep_until(round + GATHER).await;
            }
            round = Instant::now();
            match self.round().await {
                Ok(news) => {
                    if said {
                        tracing::info!(attempts = failures, "presence is kept again");
                    }
                    (failures, failing, said) = (0, None, false);
                    if let Some(news) = news {
                        tell(news).await;
                    }
                }
                Err(error) => {
                    self.counters.presence_errors.add(1);
                    self.hold_until = Instant::now() + HOLD;
                    // Of an outage of the database the feed tells.
                    let since = *failing.get_or_insert_with(Instant::now);
                    if since.elapsed() >= SAY_AFTER && is_feed_read() && !said {
                        said = true;
                        tracing::warn!(
                            "failed to {error}; who is on which channel is told as it was known last; trying again until \
                             it works"
                        );
                    } else {
                        tracing::debug!("failed to {error}");
                    }
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    /// Writes first: after the database was away, whoever has been renewed is not gone.
    async fn round(&mut self) -> Result<Option<News>, Error> {
        self.write().await?;
        let news = self.look().await?;
        if Instant::now() >= self.forget_at {
            self.forget_at = Instant::now() + forget_interval();
            let doing = "delete servers that are gone";
            within(doing, LOOK_TIMEOUT, self.table.forget()).await?;
        }
        Ok(news)
    }

    /// Enters this server by a name of its own.
    async fn register(&mut self) -> Result<(), Error> {
        let ttl = self.presence.0.options.ttl;
        let server: Arc<str> = format!("{:032x}", fastrand::u128(..)).into();
        let doing = "register for presence";
        within(doing, LOOK_TIMEOUT, self.table.register(&server, ttl)).await?;
        self.server = server;
        (self.version, self.renewed_version) = (0, 0);
        self.renew_at = Instant::now() + ttl / RENEWALS_PER_TTL;
        self.presence.own().begin_anew();
        Ok(())
    }

    /// Writes what has changed here, and that this server is alive.
    async fn write(&mut self) -> Result<(), Error> {
        let ttl = self.presence.0.options.ttl;
        loop {
            let now = Instant::now();
            let mut changes = self.presence.own().changes(now, CHANGES_MAX);
            let is_due = now >= self.renew_at;
            if changes.is_empty() && !is_due {
                return Ok(());
            }
            if is_due {
                // Whoever has looked since then has seen it.
                changes.forget_upto =
                    Some(self.renewed_version).filter(|upto| *upto < self.version);
            }
            let doing = "write who is on which channel";
            let writing = self.table.write(&self.server, ttl, &changes);
            match within(doing, LOOK_TIMEOUT, writing).await {
                Ok(Some(version)) => {
                    self.presence.own().confirm(&changes);
                    self.version = version;
                    if is_due {
                        self.renewed_version = version;
                        self.renew_at = now + ttl / RENEWALS_PER_TTL;
                    }
                }
                Ok(None) => {
                    self.presence.own().retry(&changes);
                    self.come_back().await?;
                }
                Err(error) => {
                    self.presence.own().retry(&changes);
                    return Err(error);
                }
            }
        }
    }

    /// The tables have forgotten this server, and perhaps the others: a crash of Postgres empties them.
    async fn come_back(&mut self) -> Result<(), Error> {
        tracing::debug!("the tables of presence have lost this server; it is entered anew");
        self.hold_until = Instant::now() + HOLD;
        self.register().await?;
        self.presence.0.changed.notify_one();
        Ok(())
    }

    /// Reads what has changed anywhere, this server included: all servers tell the same.
    async fn look(&mut self) -> Result<Option<News>, Error> {
        let doing = "look for changes of presence";
        let marks = within(doing, LOOK_TIMEOUT, self.table.marks()).await?;
        if !marks.iter().any(|mark| *mark.server == *self.server) {
            self.come_back().await?;
        }
        let doing = "read who is on which channel";
        let mut here = BTreeSet::new();
        for mark in &marks {
            let server: Arc<str> = mark.server.as_str().into();
            let known = self.known.get(&server).copied();
            here.insert(Arc::clone(&server));
            if known == Some(mark.version) {
                continue;
            }
            let after = known.filter(|known| *known >= mark.forgotten);
            let reading = self.table.members(&server, after);
            let rows = within(doing, LOOK_TIMEOUT, reading).await?;
            let mut view = self.presence.view();
            if after.is_none() {
                view.remove(&server, &mut self.touched);
            }
            view.apply(&server, rows, &mut self.touched);
            // What was written after the mark was taken is read again, and changes nothing.
            self.known.insert(server, mark.version);
        }
        let mut view = self.presence.view();
        if Instant::now() >= self.hold_until {
            self.known.retain(|server, _| {
                let is_here = here.contains(server);
                if !is_here {
                    view.remove(server, &mut self.touched);
                }
                is_here
            });
        }
        let before = view.count() as u64;
        let news = view.publish(std::mem::take(&mut self.touched));
        let after = view.count() as u64;
        self.counters
            .presence_members
            .add(after.saturating_sub(before));
        self.counters
            .presence_members
            .subtract(before.saturating_sub(after));
        Ok(news)
    }
}

fn forget_interval() -> Duration {
    FORGET_INTERVAL.mul_f64(0.5 + fastrand::f64())
}
