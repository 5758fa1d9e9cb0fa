//! The cursor loop: look, read the window, wait for a wake-up or a tick. It never ends and never skips; when the
//! database is away it waits, and goes on where it was.

mod batch;
mod health;
mod pace;
mod recent;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use futures_util::FutureExt as _;
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::{Event, EventId};
use crate::source::{Row, Source, Window};
use crate::stats::Counters;

pub use batch::Batch;
use batch::Chunk;
use health::Health;
pub use pace::PollInterval;
use pace::{Lease, Pace};
pub(crate) use recent::Recent;

/// A feed that looks at least this often sees every row before it is pruned.
const UNPRUNED: Duration = Duration::from_secs(30);

/// No answer for this long means the connection is dead, though nobody said so. To look takes a tenth of a millisecond, to
/// connect and look some more; the first row of a large window may have to wait until all of it is sorted.
pub(crate) const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
const ROW_TIMEOUT: Duration = Duration::from_secs(30);

/// Follows the source from `cursor` on, and looks at once when it is `woken`. Dropping the stream ends it.
pub(crate) fn follow(
    source: Arc<dyn Source>,
    cursor: Cursor,
    interval: PollInterval,
    stats: Arc<Counters>,
    woken: Arc<Notify>,
) -> impl Stream<Item = Batch> {
    let listen = pass_on(source.wakes(), Arc::clone(&woken), Arc::clone(&stats));
    let batches = stream! {
        let mut pace = Pace::new(interval, source.can_postpone_wakes());
        let mut tail = Tail::new(source, cursor, stats);
        loop {
            let was_woken = tail.was_woken();
            let mut found = 0;
            match tail.look().await {
                Look::Again => continue,
                Look::Nothing => {
                    if tail.recent.repeats_are_over() {
                        yield tail.pass(Vec::new(), tail.cursor.clone());
                    }
                }
                Look::Rebased => {
                    yield Batch { events: Vec::new(), after: None, upto: tail.cursor.clone(), reset: false };
                    continue;
                }
                Look::Lost(present) => {
                    yield tail.reset_at(present);
                    continue;
                }
                Look::Window(window) => {
                    let source = Arc::clone(&tail.source);
                    let mut last = None;
                    let mut rows = source.rows(window.clone());
                    let mut chunk = Chunk::default();
                    let mut is_gone = false;
                    let complete = loop {
                        let row = next_row("read new rows", &mut rows).await;
                        if matches!(row, Err(Error::Gone)) {
                            is_gone = true;
                            break false;
                        }
                        let Some(row) = tail.health.check(row).await else { break false };
                        let Some(row) = row else { break true };
                        last = Some(row.as_ref().map_or_else(|bad| bad.id, |event| event.id));
                        let Some(event) = tail.accept(row) else { continue };
                        found += 1;
                        // Given away only when the next one is there: the last batch of a window is never empty where it
                        // had events, and can carry the position.
                        let before = last_of(&chunk.events);
                        if let (Some(events), Some(last)) = (chunk.push(event), before) {
                            yield tail.pass(events, window.after_row(last));
                        }
                    };
                    drop(rows);
                    if found > 0 {
                        tail.stats.histograms.window.observe(found as f64);
                    }
                    if complete {
                        yield tail.pass(chunk.events, window.upto.clone());
                        if tail.completed(&window) {
                            yield tail.pass(Vec::new(), window.upto.clone());
                        }
                        if tail.may_have_missed(&window).await {
                            yield tail.reset_at(window.upto.clone());
                        }
                    } else if let Some(last) = last {
                        yield tail.pass(chunk.events, window.after_row(last));
                    }
                    if is_gone {
                        yield tail.skip(&window);
                    }
                    if !complete {
                        continue;
                    }
                }
            }
            tail.health.round_completed();
            let wait = pace.after(found, was_woken, Instant::now());
            if let Some(lease) = pace.lease(Instant::now()) {
                tail.postpone_wakes(lease).await;
            }
            if pace.mark_is_due(Instant::now()) {
                tail.leave_mark().await;
            }
            if !wait.is_zero() {
                tokio::select! {
                    () = sleep(wait) => {}
                    () = woken.notified() => {}
                }
            }
        }
    };
    // It never ends, and runs whatever the loop waits for.
    batches.take_until(listen)
}

/// Passes wake-ups on, whether or not anybody waits for one. Left alone it would stop in the middle of whatever it does,
/// also of opening a connection; and PostgreSQL neither shuts down nor recovers from a crash while it waits for a client
/// to go on with that, for a minute.
async fn pass_on(mut wakes: BoxStream<'static, ()>, woken: Arc<Notify>, stats: Arc<Counters>) {
    while wakes.next().await.is_some() {
        stats.wakes.add(1);
        woken.notify_one();
    }
    std::future::pending::<()>().await;
}

fn last_of(events: &[Arc<Event>]) -> Option<EventId> {
    events.last().map(|event| event.id)
}

/// Where the feed is.
struct Tail {
    source: Arc<dyn Source>,
    stats: Arc<Counters>,
    health: Health,
    recent: Recent,
    /// The position after all that was read; in the midst of a window whose reading broke off.
    cursor: Cursor,
    /// When a window was last read whole.
    completed: Instant,
    /// How many wake-ups there had been before the last look.
    wakes: u64,
}

/// What a look at the table has shown.
enum Look {
    /// The database did not answer; it was waited a while.
    Again,
    /// There is nothing new.
    Nothing,
    /// The database is in another life, in which the feed has its place.
    Rebased,
    /// It is in another life, and this is the present there. The place of the feed is gone.
    Lost(Cursor),
    /// This is to be read.
    Window(Window),
}

impl Tail {
    fn new(source: Arc<dyn Source>, cursor: Cursor, stats: Arc<Counters>) -> Self {
        let health = Health::new(Arc::clone(&stats));
        Self {
            source,
            wakes: stats.wakes.get(),
            stats,
            health,
            recent: Recent::default(),
            cursor,
            completed: Instant::now(),
        }
    }

    async fn look(&mut self) -> Look {
        self.stats.polls.add(1);
        let asked = Instant::now();
        let looked = within(
            "ask for the present position",
            LOOK_TIMEOUT,
            self.source.edge(),
        )
        .await;
        self.stats
            .histograms
            .poll
            .observe(asked.elapsed().as_secs_f64());
        let Some(present) = self.health.check(looked).await else {
            return Look::Again;
        };
        if present.is_of_other_history_than(&self.cursor) {
            match self.rebase().await {
                None => return Look::Again,
                Some(true) => {
                    tracing::info!("the database was restarted; the feed goes on where it was");
                    return Look::Rebased;
                }
                Some(false) => {
                    tracing::warn!(
                        "the database was replaced or lost its history; clients are told to refetch"
                    );
                    return Look::Lost(present);
                }
            }
        }
        if present == self.cursor {
            return Look::Nothing;
        }
        Look::Window(Window::on_the_way(&self.cursor, &present))
    }

    /// Finds the place of the feed in the present life of the database. Gives whether it has one, or nothing when the
    /// database did not answer.
    async fn rebase(&mut self) -> Option<bool> {
        let doing = "look up the epochs of the feed";
        let place = self
            .health
            .check(within(doing, LOOK_TIMEOUT, self.source.rebase(&self.cursor)).await)
            .await?;
        let Some(place) = place else {
            return Some(false);
        };
        self.cursor = place;
        self.recent.expect_repeats();
        Some(true)
    }

    /// Gives the event of a row, but of those that are none, or were sent before.
    fn accept(&mut self, row: Row) -> Option<Arc<Event>> {
        match row {
            Ok(event) if self.recent.is_repeat(&event) => None,
            Ok(event) => {
                self.stats.events.add(1);
                Some(event)
            }
            Err(bad) => {
                self.stats.bad_rows.add(1);
                tracing::warn!(
                    id = bad.id.0,
                    reason = bad.reason,
                    "skipped a row that is not an event"
                );
                None
            }
        }
    }

    /// Moves on behind these events.
    fn pass(&mut self, events: Vec<Arc<Event>>, upto: Cursor) -> Batch {
        self.stats.looked.beat();
        let after = std::mem::replace(&mut self.cursor, upto.clone());
        Batch {
            events,
            after: (!self.recent.expects_repeats()).then_some(after),
            upto,
            reset: false,
        }
    }

    /// Moves on behind a window of which some cannot be read any more, anywhere.
    fn skip(&mut self, window: &Window) -> Batch {
        tracing::warn!(
            "events were deleted before they were read, and there is no other place to read them from; clients are told to \
             refetch"
        );
        self.reset_at(window.upto.clone())
    }

    /// Goes on from a position that nobody was led to. From there on nothing is left out.
    fn reset_at(&mut self, upto: Cursor) -> Batch {
        self.stats.resets.add(1);
        self.recent.repeats_are_over();
        self.cursor = upto.clone();
        Batch {
            events: Vec::new(),
            after: None,
            upto,
            reset: true,
        }
    }

    /// Notes that a window was read to its end. Gives whether from here on nothing is left out any more.
    fn completed(&mut self, window: &Window) -> bool {
        // What was left of a window ends before the last event sent of it, so more may come again.
        if window.resume_after.is_some() {
            return false;
        }
        self.recent.repeats_are_over()
    }

    /// Whether some of a window may have been pruned before it was read: retention spares what is younger than a minute.
    async fn may_have_missed(&mut self, window: &Window) -> bool {
        let before = std::mem::replace(&mut self.completed, Instant::now());
        if before.elapsed() < UNPRUNED {
            return false;
        }
        let missed = loop {
            let asked = within(
                "look up what was pruned",
                LOOK_TIMEOUT,
                self.source.retains(&window.after),
            )
            .await;
            if let Some(retained) = self.health.check(asked).await {
                break !retained;
            }
        };
        if missed {
            tracing::warn!(
                "the feed was away for so long that events were pruned before it read them; clients are told to refetch"
            );
        }
        missed
    }

    /// Whether the source has woken us since this was asked last.
    fn was_woken(&mut self) -> bool {
        let wakes = self.stats.wakes.get();
        std::mem::replace(&mut self.wakes, wakes) != wakes
    }

    /// Has writers leave it to us to look, or wake us again. A lease that is not set costs them a wake-up, nothing else, and
    /// one that is not ended has run out in a moment.
    async fn postpone_wakes(&self, lease: Lease) {
        let lease = match lease {
            Lease::Begin(lease) => Some(lease),
            Lease::End => None,
        };
        let doing = "set the lease on wake-ups";
        let set = self.source.postpone_wakes(lease);
        if let Err(error) = within(doing, LOOK_TIMEOUT, set).await {
            tracing::debug!(%error, "could not set the lease on wake-ups");
        }
    }

    /// Without it less is found again after a failover, so it is no error.
    async fn leave_mark(&self) {
        let doing = "leave a mark in the epoch of the feed";
        if let Err(error) = within(doing, LOOK_TIMEOUT, self.source.leave_mark()).await {
            tracing::debug!(%error, "could not leave a mark in the epoch of the feed");
        }
    }
}

/// The next row, or an error when it takes too long.
pub(crate) async fn next_row(
    doing: &'static str,
    rows: &mut BoxStream<'_, Result<Row, Error>>,
) -> Result<Option<Row>, Error> {
    // Most are there already, and to limit a time means to look at the clock.
    if let Some(row) = rows.next().now_or_never() {
        return row.transpose();
    }
    let next = async { rows.next().await.transpose() };
    within(doing, ROW_TIMEOUT, next).await
}

/// An answer, or an error when it takes too long.
pub(crate) async fn within<T>(
    doing: &'static str,
    longest: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let seconds = longest.as_secs();
    timeout(longest, answer)
        .await
        .unwrap_or(Err(Error::Timeout { doing, seconds }))
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;

    use super::*;

    /// Never answers. What it uses to be woken goes through several waits before it is ready.
    struct Silent(Arc<Notify>);

    impl Source for Silent {
        fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
            Box::pin(std::future::pending())
        }

        fn rows(&self, _window: Window) -> BoxStream<'_, Result<Row, Error>> {
            futures_util::stream::pending().boxed()
        }

        fn rebase<'a>(
            &'a self,
            _cursor: &'a Cursor,
        ) -> BoxFuture<'a, Result<Option<Cursor>, Error>> {
            Box::pin(std::future::pending())
        }

        fn wakes(&self) -> BoxStream<'static, ()> {
            let connected = Arc::clone(&self.0);
            futures_util::stream::once(async move {
                for _ in 0..3 {
                    sleep(Duration::from_millis(100)).await;
                }
                connected.notify_one();
                std::future::pending::<()>().await;
            })
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_does_not_stop_a_connection_half_way() {
        let connected = Arc::new(Notify::new());
        let source = Arc::new(Silent(Arc::clone(&connected)));
        let batches = follow(
            source,
            Cursor::after_id(0, 0),
            PollInterval::default(),
            Arc::default(),
            Arc::default(),
        );
        let mut batches = std::pin::pin!(batches);
        tokio::select! {
            _ = batches.next() => panic!("there is nothing to read"),
            () = connected.notified() => {}
            () = sleep(LOOK_TIMEOUT / 2) => panic!("it was left alone"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_vanished_is_given_up_in_ten_seconds() {
        let stats = Arc::<Counters>::default();
        let batches = follow(
            Arc::new(Silent(Arc::default())),
            Cursor::after_id(0, 0),
            PollInterval::default(),
            Arc::clone(&stats),
            Arc::default(),
        );
        let mut batches = std::pin::pin!(batches);
        for (seconds, errors) in [(9, 0), (2, 1)] {
            let silence = timeout(Duration::from_secs(seconds), batches.next()).await;
            assert!(silence.is_err(), "there is nothing to read");
            assert_eq!(stats.poll_errors.get(), errors);
        }
    }
}
