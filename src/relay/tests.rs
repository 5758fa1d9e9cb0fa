//! How one relay follows another as the leader, in a time of its own.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use super::*;
use crate::source::{Row, Window};

/// A place that one has at a time, and what is told when it gets free.
struct Place {
    holder: Mutex<Option<usize>>,
    left: watch::Sender<()>,
    /// Whether the stream takes anything.
    answers: bool,
}

impl Place {
    fn new(answers: bool) -> Arc<Self> {
        Arc::new(Self {
            holder: Mutex::default(),
            left: watch::Sender::new(()),
            answers,
        })
    }

    fn holder(&self) -> MutexGuard<'_, Option<usize>> {
        self.holder.lock().expect("no panic under the lock")
    }

    fn relay(self: &Arc<Self>, own: usize, counters: &Arc<Counters>) -> Relay {
        let retain = StreamRetain {
            keep: Duration::from_mins(10),
            entries_max: 1000,
        };
        Relay::new(
            Arc::new(Silent),
            Box::new(Lock(own, Arc::clone(self))),
            Arc::new(FakeLog(Arc::clone(self))),
            retain,
            PollInterval::default(),
            Arc::clone(counters),
        )
    }
}

struct Lock(usize, Arc<Place>);

impl Leadership for Lock {
    fn take(&mut self) -> BoxFuture<'_, Result<bool, Error>> {
        let is_ours = *self.1.holder().get_or_insert(self.0) == self.0;
        Box::pin(std::future::ready(Ok(is_ours)))
    }

    fn check(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn give_up(&mut self) -> BoxFuture<'_, ()> {
        let mut holder = self.1.holder();
        if *holder == Some(self.0) {
            *holder = None;
        }
        Box::pin(std::future::ready(()))
    }
}

struct FakeLog(Arc<Place>);

impl Log for FakeLog {
    fn end(&self) -> BoxFuture<'_, Result<Option<Cursor>, Error>> {
        if !self.0.answers {
            return Box::pin(std::future::pending());
        }
        Box::pin(std::future::ready(Ok(Some(Cursor::after_id(1, 0)))))
    }

    fn append<'a>(
        &'a self,
        _end: Option<&'a Cursor>,
        _entries: &'a [Entry],
        _retain: &'a StreamRetain,
    ) -> BoxFuture<'a, Result<Appended, Error>> {
        Box::pin(std::future::ready(Ok(Appended::Done)))
    }

    fn leave(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.0.left.send_replace(());
        Box::pin(std::future::ready(Ok(())))
    }

    fn leavings(&self) -> BoxStream<'static, ()> {
        WatchStream::from_changes(self.0.left.subscribe()).boxed()
    }
}

/// A table in which nothing happens.
struct Silent;

impl Source for Silent {
    fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
        Box::pin(std::future::pending())
    }

    fn rows(&self, _window: Window) -> BoxStream<'_, Result<Row, Error>> {
        futures_util::stream::pending().boxed()
    }

    fn rebase<'a>(&'a self, _: &'a Cursor) -> BoxFuture<'a, Result<Option<Cursor>, Error>> {
        Box::pin(std::future::pending())
    }

    fn wakes(&self) -> BoxStream<'static, ()> {
        futures_util::stream::pending().boxed()
    }
}

/// How long it takes from the word to stop until this has come.
async fn after_the_word(answers: bool, come: impl Fn(&Place, &Counters) -> bool) -> Duration {
    let place = Place::new(answers);
    let (stop, stopped) = watch::channel(());
    let mut relays = tokio::task::JoinSet::new();
    let counters = [Arc::<Counters>::default(), Arc::default()];
    for (own, counters) in counters.iter().enumerate() {
        let mut stopped = stopped.clone();
        relays.spawn(place.relay(own, counters).run(async move {
            if own == 0 {
                let _ = stopped.changed().await;
            } else {
                std::future::pending::<()>().await;
            }
        }));
        // The first one leads, and the second is between two looks.
        sleep(Duration::from_millis(1100)).await;
    }
    assert_eq!(*place.holder(), Some(0));
    let asked = Instant::now();
    stop.send_replace(());
    while !come(&place, &counters[1]) {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(counters[0].relay_leading.get(), 0);
    asked.elapsed()
}

#[tokio::test(start_paused = true)]
async fn who_stands_by_leads_as_soon_as_the_leader_has_stopped() {
    let after = after_the_word(true, |_, other| other.relay_leading.get() == 1).await;
    assert!(after < Duration::from_millis(50), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_does_not_wait_for_a_redis_that_is_away() {
    let after = after_the_word(false, |place, _| *place.holder() != Some(0)).await;
    assert!(after <= STOP_TIMEOUT * 2, "{after:?}");
}
