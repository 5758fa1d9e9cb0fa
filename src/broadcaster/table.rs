//! Reading on from the table, for whoever is behind what is handed out: a few at a time, each for as long as it takes what
//! is read.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::{ChannelPattern, Event};
use crate::source::Window;
use crate::tail::{LOOK_TIMEOUT, next_row, within};

/// Most events of a page, and most bytes of payload, give or take an event.
const PAGE_EVENTS_MAX: usize = 500;
const PAGE_BYTES_MAX: usize = 256 * 1024;

/// Pages read ahead of whoever takes them.
const PAGES_AHEAD: usize = 2;

/// A page takes at least this long, some 80,000 events a second: whoever is live, and the database, come first.
const PAGE_TIME_MIN: Duration = Duration::from_millis(4);

/// How long a page may lie there before its reader loses its turn: it may never come back for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a turn may last from its first row on: others wait for theirs, and a statement that runs on keeps the
/// database from cleaning up. What comes before, as sorting millions of rows, would have to be done again.
const TURN_MAX: Duration = Duration::from_secs(10);

/// The table, for those who catch up. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Table {
    shared: Arc<Shared>,
}

/// A window that is being read.
pub(crate) struct Reading {
    pages: mpsc::Receiver<Vec<Arc<Event>>>,
    task: JoinHandle<Ended>,
}

/// How the reading of a window ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// All of it was read.
    Complete,
    /// The rows were left lying, or it took too long, and others wait for their turn.
    TurnLost,
    /// The database did not answer, or is in another life.
    Failed(Error),
}

impl Table {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A position of any life of the database, as a position of the present one; none where it has no place there.
    pub async fn place_of(&self, cursor: &Cursor) -> Result<Option<Cursor>, Error> {
        let present = self.edge().await?;
        if !present.is_of_other_history_than(cursor) {
            return Ok(Some(cursor.clone()));
        }
        let doing = "look up the epochs of the feed";
        self.ask(doing, self.shared.source.rebase(cursor)).await
    }

    /// Has the feed look at once, for whoever knows that there is something.
    pub fn wake(&self) {
        self.shared.woken.notify_one();
    }

    /// The position just after everything committed so far.
    pub async fn edge(&self) -> Result<Cursor, Error> {
        let doing = "ask for the present position";
        self.ask(doing, self.shared.source.edge()).await
    }

    /// The position just after everything committed so far, where [`Table::edge`] may be behind it.
    pub async fn committed(&self) -> Result<Cursor, Error> {
        let doing = "ask for the present position";
        self.ask(doing, self.shared.source.committed()).await
    }

    /// Whether somebody may have been at this position.
    pub async fn has_reached(&self, cursor: &Cursor) -> Result<bool, Error> {
        let doing = "ask for the present position";
        self.ask(doing, self.shared.source.has_reached(cursor))
            .await
    }

    /// Whether nothing after this position has been pruned. Asked after rows were read, it answers for them too.
    pub async fn retains(&self, cursor: &Cursor) -> Result<bool, Error> {
        let doing = "look up what was pruned";
        self.ask(doing, self.shared.source.retains(cursor)).await
    }

    /// Asks the database something small, when it is one's turn.
    async fn ask<T>(
        &self,
        doing: &'static str,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let _turn = self.shared.asking.acquire().await;
        within(doing, LOOK_TIMEOUT, answer).await
    }

    /// Begins to read a window: all of it, or what some patterns match.
    pub fn read(&self, window: Window, patterns: Option<Arc<[ChannelPattern]>>) -> Reading {
        let (pages_tx, pages) = mpsc::channel(PAGES_AHEAD);
        // In a task of its own, so that the turn can end though the reader stands still.
        let task = tokio::spawn(read(Arc::clone(&self.shared), window, patterns, pages_tx));
        Reading { pages, task }
    }
}

impl Reading {
    /// The next events, in order; none when the reading has ended.
    pub async fn next(&mut self) -> Option<Vec<Arc<Event>>> {
        self.pages.recv().await
    }

    /// How it has ended.
    pub async fn ended(self) -> Ended {
        match self.task.await {
            Ok(ended) => ended,
            Err(_) => Ended::Failed(Error::Unusable(
                "reading it panicked, which is a bug".into(),
            )),
        }
    }
}

async fn read(
    shared: Arc<Shared>,
    window: Window,
    patterns: Option<Arc<[ChannelPattern]>>,
    pages_tx: mpsc::Sender<Vec<Arc<Event>>>,
) -> Ended {
    let Ok(_turn) = shared.catch_up.acquire().await else {
        return Ended::TurnLost;
    };
    shared.counters.table_reads.add(1);
    let mut began = None;
    let mut rows = match &patterns {
        Some(patterns) => shared.source.rows_on(window, patterns),
        None => shared.source.rows(window),
    };
    let mut page = Vec::new();
    let mut bytes = 0;
    let mut page_began = Instant::now();
    while let Some(row) = next_row("read what was missed", &mut rows)
        .await
        .transpose()
    {
        let began = *began.get_or_insert_with(Instant::now);
        match row {
            Ok(Err(_counted_by_the_tail)) => {}
            Ok(Ok(event)) => {
                bytes += event.payload.get().len();
                page.push(event);
                if page.len() < PAGE_EVENTS_MAX && bytes < PAGE_BYTES_MAX {
                    continue;
                }
                bytes = 0;
                let full = std::mem::take(&mut page);
                sleep_until(page_began + PAGE_TIME_MIN).await;
                if pages_tx.send_timeout(full, PATIENCE).await.is_err()
                    || began.elapsed() > TURN_MAX
                {
                    return Ended::TurnLost;
                }
                page_began = Instant::now();
            }
            Err(error) => {
                // What was read before it is as good.
                let _ = pages_tx.send_timeout(page, PATIENCE).await;
                return Ended::Failed(error);
            }
        }
    }
    if !page.is_empty() && pages_tx.send_timeout(page, PATIENCE).await.is_err() {
        return Ended::TurnLost;
    }
    Ended::Complete
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::broadcaster::Broadcaster;
    use crate::event::{Channels, EventId};
    use crate::source::{Row, Source};
    use crate::tail::PollInterval;
    use futures_util::future::BoxFuture;
    use futures_util::stream::{self, BoxStream, StreamExt as _};
    use serde_json::value::RawValue;
    use tokio::time::sleep;

    const ROWS: i64 = 3000;

    /// It takes longer to the first row than a turn lasts, and counts how many ask at once.
    #[derive(Default)]
    struct Sorting {
        asking: AtomicUsize,
        most_asking: AtomicUsize,
    }

    impl Source for Sorting {
        fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
            Box::pin(async { Ok(Cursor::after_id(0, ROWS)) })
        }

        fn rows(&self, _window: Window) -> BoxStream<'_, Result<Row, Error>> {
            let row = |id| {
                Ok(Ok(Arc::new(Event {
                    id: EventId(id),
                    channels: Channels::parse("tasks").expect("a good name"),
                    kind: "t".into(),
                    entity_id: None,
                    actor: None,
                    payload: RawValue::from_string("1".into()).expect("JSON"),
                    previous: None,
                    trace_id: None,
                    origin: None,
                    transaction: None,
                    created_at: String::new(),
                })))
            };
            stream::once(sleep(TURN_MAX * 2))
                .flat_map(move |()| stream::iter((1..=ROWS).map(row)))
                .boxed()
        }

        fn rebase<'a>(
            &'a self,
            cursor: &'a Cursor,
        ) -> BoxFuture<'a, Result<Option<Cursor>, Error>> {
            Box::pin(async { Ok(Some(cursor.clone())) })
        }

        fn watermark(&self) -> BoxFuture<'_, Result<Option<Cursor>, Error>> {
            Box::pin(async {
                let asking = self.asking.fetch_add(1, Ordering::Relaxed) + 1;
                self.most_asking.fetch_max(asking, Ordering::Relaxed);
                sleep(Duration::from_millis(1)).await;
                self.asking.fetch_sub(1, Ordering::Relaxed);
                Ok(None)
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn thousands_that_come_back_ask_a_few_at_a_time() {
        let source = Arc::new(Sorting::default());
        let feed: Arc<dyn Source> = Arc::clone(&source) as _;
        let broadcaster = Broadcaster::start(feed, PollInterval::default())
            .await
            .expect("the feed starts");
        let table = broadcaster.table();
        let cursor = Cursor::after_id(0, 0);
        let asked = (0..1000).map(|_| table.retains(&cursor));
        for retained in futures_util::future::join_all(asked).await {
            assert!(retained.expect("the database answers"));
        }
        // Each takes a connection of its own.
        let most = source.most_asking.load(Ordering::Relaxed);
        assert!(most <= 4, "{most} at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_has_to_sort_first_is_given_a_turn() {
        let broadcaster = Broadcaster::start(Arc::new(Sorting::default()), PollInterval::default())
            .await
            .expect("the feed starts");
        let mut reading = broadcaster.table().read(
            Window {
                after: Cursor::after_id(0, 0),
                upto: Cursor::after_id(0, ROWS),
                resume_after: None,
            },
            None,
        );
        let mut events = 0;
        while let Some(page) = reading.next().await {
            events += page.len();
        }
        assert_eq!(events, ROWS as usize);
        assert!(matches!(reading.ended().await, Ended::Complete));
    }
}
