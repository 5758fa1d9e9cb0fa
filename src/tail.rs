//! The cursor loop: look, read the window, wait for a wake-up or a tick. It never ends and never skips; when the
//! database is away it waits, and goes on where it was.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use tokio::time::{Instant, sleep, timeout};

use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::{Event, EventId};
use crate::source::{Row, Source, Window};
use crate::stats::Counters;

/// Most events of one batch. Enough to write them to a socket at one go, few enough to start with the first early.
const BATCH_EVENTS_MAX: usize = 1000;

/// Most bytes of payload in one batch, give or take one event.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// How long the table is still looked at often after an event: transactions under way commit within it.
const HOT: Duration = Duration::from_millis(250);

/// How long writers may leave it to us to look. Extended at half of it while events flow.
const LEASE: Duration = Duration::from_secs(1);

/// No answer for this long means the connection is dead, though nobody said so.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// First and longest wait after an error; between them it doubles, with full jitter.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Events remembered in order to drop repeats after the database came back with a part of its history gone.
const RECENT_MAX: usize = 65_536;

/// How often to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollInterval {
    /// When nothing happens: the longest an event can go unseen.
    pub max: Duration,
    /// While events flow.
    pub min: Duration,
}

impl Default for PollInterval {
    fn default() -> Self {
        Self {
            max: Duration::from_millis(500),
            min: Duration::from_millis(20),
        }
    }
}

/// Events read together, in order.
#[derive(Debug)]
pub struct Batch {
    /// The events; none when only the position moved.
    pub events: Vec<Arc<Event>>,
    /// The position at the end of the window that the events are of.
    pub upto: Cursor,
    /// Whether they complete it. A large window comes in several batches, and within it there is no position to name.
    pub complete: bool,
    /// What was committed before `upto` cannot be told: the database was replaced, or lost its history.
    pub reset: bool,
}

impl Batch {
    /// The position after this batch, where it has one.
    #[must_use]
    pub fn edge(&self) -> Option<&Cursor> {
        self.complete.then_some(&self.upto)
    }
}

/// Follows the source from `cursor` on. Dropping the stream ends it.
pub(crate) fn follow(
    source: Arc<dyn Source>,
    mut cursor: Cursor,
    interval: PollInterval,
    stats: Arc<Counters>,
) -> impl Stream<Item = Batch> {
    stream! {
        let mut pace = Pace::new(interval);
        let mut health = Health::new(Arc::clone(&stats));
        let mut wakes = source.wakes();
        let mut recent = Recent::default();
        // A window whose reading broke off, and the last row that was read of it.
        let mut broken_off: Option<(Cursor, EventId)> = None;
        loop {
            stats.polls.add(1);
            let looked = within("ask for the present position", source.edge()).await;
            let Some(present) = health.check(looked).await else { continue };
            if present.is_of_other_history_than(&cursor) {
                let rebased = within("look up the epochs of the feed", source.rebase(&cursor)).await;
                let Some(rebased) = health.check(rebased).await else { continue };
                if let Some(place) = rebased {
                    // What is left of a window is between the places of its ends.
                    if let Some((upto, last)) = broken_off.take() {
                        let rebased =
                            within("look up the epochs of the feed", source.rebase(&upto)).await;
                        let Some(rebased) = health.check(rebased).await else {
                            broken_off = Some((upto, last));
                            continue;
                        };
                        broken_off = rebased.map(|upto| (upto, last));
                    }
                    tracing::info!("the database was restarted; the feed goes on where it was");
                    recent.expect_repeats();
                    cursor = place;
                } else {
                    broken_off = None;
                    tracing::warn!("the database was replaced or lost its history; clients are told to refetch");
                    stats.resets.add(1);
                    cursor = present.clone();
                    yield Batch { events: Vec::new(), upto: present, complete: true, reset: true };
                    continue;
                }
            }
            let (upto, resume_after) = match broken_off.take() {
                Some((upto, last)) => (upto, Some(last)),
                None => (present, None),
            };
            let mut found = 0;
            if upto != cursor {
                let mut last = resume_after;
                let window = Window { after: cursor.clone(), upto: upto.clone(), resume_after };
                let mut rows = source.rows(window);
                let mut chunk = Chunk::default();
                let complete = loop {
                    match health.check(next_row(&mut rows).await).await {
                        None => break false,
                        Some(None) => break true,
                        Some(Some(Err(bad))) => {
                            last = Some(bad.id);
                            stats.bad_rows.add(1);
                            tracing::warn!(id = bad.id.0, reason = bad.reason, "skipped a row that is not an event");
                        }
                        Some(Some(Ok(event))) => {
                            last = Some(event.id);
                            if !recent.is_repeat(&event) {
                                found += 1;
                                stats.events.add(1);
                                // Given away only when the next one is there: the last batch of a window is never empty
                                // where it had events, and can carry the position.
                                if let Some(events) = chunk.push(event) {
                                    yield Batch { events, upto: upto.clone(), complete: false, reset: false };
                                }
                            }
                        }
                    }
                };
                drop(rows);
                if !complete {
                    if !chunk.events.is_empty() {
                        yield Batch { events: chunk.events, upto: upto.clone(), complete: false, reset: false };
                    }
                    broken_off = last.map(|last| (upto, last));
                    continue;
                }
                recent.repeats_are_over();
                cursor = upto.clone();
                yield Batch { events: chunk.events, upto, complete: true, reset: false };
            }
            health.round_completed();
            let wait = pace.after(found, Instant::now());
            if pace.lease_is_due(Instant::now()) {
                // A lease not extended costs writers a wake-up, nothing else.
                if let Err(error) = within("extend the lease on wake-ups", source.postpone_wakes(LEASE)).await {
                    tracing::debug!(%error, "could not extend the lease on wake-ups");
                }
            }
            if !wait.is_zero() {
                tokio::select! {
                    () = sleep(wait) => {}
                    Some(()) = wakes.next() => {}
                }
            }
        }
    }
}

async fn next_row(rows: &mut BoxStream<'_, Result<Row, Error>>) -> Result<Option<Row>, Error> {
    within("read new rows", async { rows.next().await.transpose() }).await
}

async fn within<T>(
    doing: &'static str,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let seconds = ANSWER_TIMEOUT.as_secs();
    timeout(ANSWER_TIMEOUT, answer)
        .await
        .unwrap_or(Err(Error::Timeout { doing, seconds }))
}

/// The events of the batch to come.
#[derive(Default)]
struct Chunk {
    events: Vec<Arc<Event>>,
    bytes: usize,
}

impl Chunk {
    /// Adds an event; gives away those before it when they make a full batch.
    fn push(&mut self, event: Event) -> Option<Vec<Arc<Event>>> {
        let full = self.events.len() >= BATCH_EVENTS_MAX || self.bytes >= BATCH_BYTES_MAX;
        let given_away = full.then(|| std::mem::take(self).events);
        self.bytes += event.payload.get().len()
            + event
                .previous
                .as_ref()
                .map_or(0, |previous| previous.get().len());
        self.events.push(Arc::new(event));
        given_away
    }
}

/// Decides when to look again.
struct Pace {
    interval: PollInterval,
    wait: Duration,
    hot_until: Option<Instant>,
    lease_until: Option<Instant>,
}

impl Pace {
    fn new(interval: PollInterval) -> Self {
        Self {
            interval,
            wait: interval.max,
            hot_until: None,
            lease_until: None,
        }
    }

    /// How long to wait after a look that found this many events: not at all after a full batch, the minimum while
    /// events flow, twice as long as before when quiet, up to the maximum.
    fn after(&mut self, found: usize, now: Instant) -> Duration {
        let PollInterval { min, max } = self.interval;
        if found > 0 {
            self.hot_until = Some(now + HOT);
        }
        self.wait = if found >= BATCH_EVENTS_MAX {
            Duration::ZERO
        } else if self.is_hot(now) || self.lease_until.is_some_and(|until| now < until + HOT) {
            // While the lease holds nobody wakes us, and then whoever skipped the wake is to have committed.
            min
        } else {
            (self.wait * 2).clamp(min, max)
        };
        self.wait
    }

    fn is_hot(&self, now: Instant) -> bool {
        self.hot_until.is_some_and(|until| now < until)
    }

    /// Whether to extend the lease now. While hot only, or we would never sleep.
    fn lease_is_due(&mut self, now: Instant) -> bool {
        let due = self.is_hot(now)
            && self
                .lease_until
                .is_none_or(|until| now + LEASE / 2 >= until);
        if due {
            self.lease_until = Some(now + LEASE);
        }
        due
    }
}

/// Whether the database answers. Says so once when it stops and once when it is back, and waits in between.
struct Health {
    stats: Arc<Counters>,
    failing_since: Option<Instant>,
    failures: u32,
}

impl Health {
    fn new(stats: Arc<Counters>) -> Self {
        Self {
            stats,
            failing_since: None,
            failures: 0,
        }
    }

    /// A whole round went well. Half of one proves nothing: a table may be gone while the database answers.
    fn round_completed(&mut self) {
        if let Some(since) = self.failing_since.take() {
            let away = since.elapsed();
            tracing::info!(
                attempts = self.failures,
                ?away,
                "the database is back; the feed goes on where it was"
            );
            self.failures = 0;
        }
    }

    /// Passes on what was read. After an error it waits, and the caller starts over.
    async fn check<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.stats.poll_errors.add(1);
                if self.failing_since.is_none() {
                    tracing::error!(
                        "failed to {error}; trying again until it works, nothing is lost meanwhile"
                    );
                    self.failing_since = Some(Instant::now());
                } else {
                    tracing::debug!("failed to {error}");
                }
                let longest = RETRY_FIRST
                    .saturating_mul(1 << self.failures.min(16))
                    .min(RETRY_MAX);
                self.failures += 1;
                sleep(longest.mul_f64(fastrand::f64())).await;
                None
            }
        }
    }
}

/// What was sent lately. Consulted only after the database came back with another history: the place to go on from is
/// then a safe one, before the last event sent.
#[derive(Default)]
struct Recent {
    order: VecDeque<u64>,
    known: HashSet<u64>,
    repeats: bool,
}

impl Recent {
    fn expect_repeats(&mut self) {
        self.repeats = true;
    }

    fn repeats_are_over(&mut self) {
        self.repeats = false;
    }

    /// Notes the event, and says whether it was sent before. The time counts too: lost ids are given out again.
    fn is_repeat(&mut self, event: &Event) -> bool {
        use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
        let key =
            BuildHasherDefault::<DefaultHasher>::default().hash_one((event.id, &event.created_at));
        if self.repeats && self.known.contains(&key) {
            return true;
        }
        if self.known.insert(key) {
            self.order.push_back(key);
            if self.order.len() > RECENT_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pace_hurries_while_events_flow_and_slows_down_when_quiet() {
        let interval = PollInterval::default();
        let mut pace = Pace::new(interval);
        let start = Instant::now();
        assert_eq!(
            pace.after(0, start),
            interval.max,
            "an idle feed waits the whole interval"
        );
        assert_eq!(
            pace.after(BATCH_EVENTS_MAX, start),
            Duration::ZERO,
            "there may be more"
        );
        assert_eq!(pace.after(1, start), interval.min);
        assert_eq!(pace.after(0, start + HOT / 2), interval.min, "still hot");
        let quiet: Vec<_> = (0..6)
            .map(|_| pace.after(0, start + HOT).as_millis())
            .collect();
        assert_eq!(quiet, [40, 80, 160, 320, 500, 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_lease_is_extended_while_hot_and_then_runs_out() {
        let mut pace = Pace::new(PollInterval::default());
        let start = Instant::now();
        pace.after(0, start);
        assert!(!pace.lease_is_due(start), "never while idle");
        pace.after(1, start);
        assert!(pace.lease_is_due(start));
        assert!(!pace.lease_is_due(start + LEASE / 4));
        pace.after(1, start + LEASE * 3 / 4);
        assert!(pace.lease_is_due(start + LEASE * 3 / 4));
        let quiet = start + LEASE * 3 / 4 + HOT;
        assert!(!pace.lease_is_due(quiet), "quiet again");
        let shortest = PollInterval::default().min;
        assert_eq!(
            pace.after(0, quiet),
            shortest,
            "the lease still keeps writers from waking us"
        );
        assert!(pace.after(0, quiet + LEASE) > shortest, "it has run out");
    }
}
