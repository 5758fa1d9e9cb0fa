//! Retention: when old events are deleted, how many at a time, and how long to pause. How a batch is deleted is the
//! source's business.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::EventId;
use crate::source::{self, DatabaseConfig, Migrate, Prune, PruneBatch};
use crate::stats::Counters;

/// How long a committed row is left alone however old it is. A feed reads within `--poll-interval`, half a second unless
/// told otherwise; a minute leaves room for one that waits for its database to come back.
const GRACE: Duration = Duration::from_mins(1);

/// Rounds begin after a hundredth of the time that events are kept, within these.
const INTERVAL_SHORTEST: Duration = Duration::from_secs(10);
const INTERVAL_LONGEST: Duration = Duration::from_hours(1);

/// First and longest wait after an error; between them it doubles, with full jitter.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_mins(5);

/// How long the database may take to answer. Statements have shorter limits of their own, where it is there to keep them.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// How often a round that takes long says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Rows of a batch: the fewest, which it begins with, as they may be large, and the most.
const ROWS_MIN: u32 = 100;
const ROWS_MAX: u32 = 5000;

/// Ids ascend roughly as times do. So many rows in a row that are not old, and none after them is taken to be.
const YOUNG_ROWS_MAX: u64 = 1000;

/// Between two batches it pauses this many times as long as the last one took, so that writers who wait for it (SQLite's
/// do not queue, they try again) find it gone when they look.
const PAUSE_FACTOR: u32 = 3;
const PAUSE_SHORTEST: Duration = Duration::from_millis(10);

/// Which events are deleted, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Events older than this are deleted.
    pub keep: Duration,
    /// How long a committed event stays however old it is, so that every feed has read it before it goes.
    pub grace: Duration,
}

impl Retention {
    /// Keeps events for this long, and all for a minute after their commit.
    #[must_use]
    pub fn keep(keep: Duration) -> Self {
        Self { keep, grace: GRACE }
    }

    fn interval(&self) -> Duration {
        let interval = (self.keep / 100).clamp(INTERVAL_SHORTEST, INTERVAL_LONGEST);
        // Servers that were started together need not work together.
        interval.mul_f64(0.8 + 0.4 * fastrand::f64())
    }
}

/// Deletes what is old, again and again, until it is dropped. Errors are logged and do not end it.
pub(crate) async fn run(database: DatabaseConfig, retention: Retention, counters: Arc<Counters>) {
    let keep = humantime::format_duration(retention.keep);
    tracing::info!(%keep, "old events will be deleted");
    let mut failures = 0_u32;
    let mut said = false;
    // Rounds in a row that had to leave old events.
    let mut keeping = 0_u32;
    loop {
        match round(&database, retention, &counters).await {
            Ok(kept) => {
                if said {
                    tracing::info!(attempts = failures, "old events can be deleted again");
                }
                (failures, said) = (0, false);
                // What was old when it was committed is gone in the next round.
                keeping = if kept > 0 {
                    keeping.saturating_add(1)
                } else {
                    0
                };
                if keeping == 2 {
                    tracing::warn!(
                        events = kept,
                        "old events stay for now: a transaction that began before they were written is still open, or \
                         their xid is of another cluster, or old ones are being inserted"
                    );
                }
                sleep(retention.interval()).await;
            }
            Err(error) => {
                // Another epoch is no error: what was known in the last one is asked for anew.
                if !said && !matches!(error, Error::EpochChanged) {
                    said = true;
                    tracing::error!(
                        "failed to {error}; old events stay for now, and the feed goes on; trying again until it works"
                    );
                } else {
                    tracing::debug!("failed to {error}");
                }
                let longest = RETRY_FIRST
                    .saturating_mul(1 << failures.min(16))
                    .min(RETRY_MAX);
                failures += 1;
                sleep(longest.mul_f64(fastrand::f64())).await;
            }
        }
    }
}

/// Deletes once what is old, with a connection for it. Gives how many old events stay.
async fn round(
    database: &DatabaseConfig,
    retention: Retention,
    counters: &Counters,
) -> Result<u64, Error> {
    let prune = answer(source::open_prune(database, Migrate::Off)).await?;
    let known = answer(prune.edge()).await?;
    sleep(retention.grace).await;
    let start = Instant::now();
    let mut said = start;
    let mut sweep = Sweep::new(prune.as_ref(), known, retention.keep);
    loop {
        let before = sweep.deleted;
        let more = sweep.step().await?;
        counters.events_pruned.add(sweep.deleted - before);
        if !more {
            break;
        }
        if said.elapsed() >= PROGRESS_INTERVAL {
            let left = sweep.left().await?;
            said = Instant::now();
            let per_second = (sweep.deleted as f64 / start.elapsed().as_secs_f64()) as u64;
            tracing::info!(
                deleted = sweep.deleted,
                per_second,
                about_left = left,
                "deleting old events"
            );
        }
        sleep(sweep.pause()).await;
    }
    let (deleted, took) = (sweep.deleted, start.elapsed());
    if said > start {
        tracing::info!(deleted, ?took, "old events are deleted");
    } else if deleted > 0 {
        tracing::debug!(deleted, ?took, "old events are deleted");
    }
    Ok(sweep.kept)
}

/// One walk through the table from its first row to where events are not old.
pub(crate) struct Sweep<'a> {
    prune: &'a dyn Prune,
    batch: PruneBatch,
    /// Deleted, or counted, so far.
    pub deleted: u64,
    /// Old, but not to be deleted yet.
    pub kept: u64,
    /// The last that was deleted.
    pub last_deleted: Option<EventId>,
    young: u64,
    took: Duration,
}

impl<'a> Sweep<'a> {
    /// Deletes what is older than this, and known at this position.
    pub fn new(prune: &'a dyn Prune, known: Cursor, older_than: Duration) -> Self {
        Self {
            prune,
            batch: PruneBatch {
                older_than,
                known,
                after: None,
                rows: ROWS_MIN,
                dry_run: false,
            },
            deleted: 0,
            kept: 0,
            last_deleted: None,
            young: 0,
            took: Duration::ZERO,
        }
    }

    /// Only counts.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.batch.dry_run = dry_run;
        self
    }

    /// Deletes one batch. Gives whether there may be more.
    pub async fn step(&mut self) -> Result<bool, Error> {
        let start = Instant::now();
        let pruned = answer(self.prune.prune(&self.batch)).await?;
        self.took = start.elapsed();
        self.deleted += pruned.deleted;
        self.kept += pruned.kept;
        self.last_deleted = pruned.last_deleted.or(self.last_deleted);
        self.young = if pruned.old == 0 {
            self.young + pruned.looked
        } else {
            0
        };
        let more = pruned.looked == u64::from(self.batch.rows) && self.young < YOUNG_ROWS_MAX;
        self.batch.after = pruned.last;
        self.batch.rows = next_rows(self.batch.rows, self.took, self.prune.batch_time());
        Ok(more)
    }

    /// How long to pause after the last batch.
    pub fn pause(&self) -> Duration {
        if self.batch.dry_run {
            return Duration::ZERO;
        }
        (self.took * PAUSE_FACTOR).max(PAUSE_SHORTEST)
    }

    /// About how many are left, by their ids.
    pub async fn left(&self) -> Result<u64, Error> {
        let after = self.batch.after.map_or(i64::MIN, |id| id.0);
        let from = EventId(after.saturating_add(1));
        let older_than = self.batch.older_than;
        let Some((first, true)) = answer(self.prune.look(from, older_than)).await? else {
            return Ok(0);
        };
        // The last old row is between these two; first it is sought in ever larger steps, then by halves.
        let (mut old, mut end) = (first.0, None);
        let mut step = 1_i64;
        loop {
            let (at, precise) = match end {
                None => (old.saturating_add(step), i64::MAX),
                Some(end) => (old + (end - old) / 2, end - old),
            };
            if precise <= 1 + (old - first.0) / 100 {
                return Ok(old.abs_diff(first.0) + 1);
            }
            match answer(self.prune.look(EventId(at), older_than)).await? {
                Some((id, true)) if end.is_none_or(|end| id.0 < end) => {
                    old = id.0;
                    step = step.saturating_mul(2);
                }
                _ => end = Some(at),
            }
        }
    }
}

/// A connection may stand still for ever; one that is given up is opened anew in the next round.
async fn answer<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(ANSWER_TIMEOUT, asked)
        .await
        .unwrap_or(Err(Error::Timeout {
            doing: "delete old events",
            seconds: ANSWER_TIMEOUT.as_secs(),
        }))
}

/// As many rows as take about as long as a batch may.
fn next_rows(rows: u32, took: Duration, wanted: Duration) -> u32 {
    if took > wanted * 2 {
        (rows / 2).max(ROWS_MIN)
    } else if took < wanted / 2 {
        (rows * 2).min(ROWS_MAX)
    } else {
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_become_as_long_as_they_may_be() {
        let wanted = Duration::from_millis(10);
        // A row takes 10 µs; then the disk becomes slow.
        let settle = |mut rows: u32, row_micros: u64| {
            for _ in 0..20 {
                rows = next_rows(
                    rows,
                    Duration::from_micros(u64::from(rows) * row_micros),
                    wanted,
                );
            }
            rows
        };
        assert_eq!(settle(ROWS_MIN, 10), 800);
        assert_eq!(settle(ROWS_MIN, 1), ROWS_MAX);
        assert_eq!(settle(ROWS_MAX, 30), 625);
        assert_eq!(settle(ROWS_MAX, 10_000), ROWS_MIN);
    }

    #[test]
    fn rounds_are_as_frequent_as_is_worth_while() {
        for (keep, around) in [(60, 10), (7_200, 72), (7 * 86_400, 3_600)] {
            let interval = Retention::keep(Duration::from_secs(keep)).interval();
            let around = Duration::from_secs(around);
            assert!(
                interval >= around.mul_f64(0.79) && interval <= around.mul_f64(1.21),
                "{keep} s: {interval:?}"
            );
        }
    }
}
