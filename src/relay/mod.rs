//! The relay: one of several leads, follows the table, and appends what comes to a stream that many servers read. Which
//! of them leads is a matter of economy only: **an entry is appended only where it begins at the stream's end**, so that
//! two who take themselves for the leader neither double nor skip anything.

mod group;
mod health;
mod orders;
mod places;
#[cfg(test)]
mod tests;
mod writer;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{BoxStream, StreamExt as _};
use tokio::select;
use tokio::time::{Instant, sleep, timeout};

use crate::cursor::Cursor;
use crate::error::Error;
use crate::source::redis::{Appended, Entry, Stream};
use crate::source::{
    DatabaseConfig, Leadership, Source, StreamConfig, StreamRetain, open_leadership,
};
use crate::stats::Counters;
use crate::tail::{PollInterval, within};

use health::Health;
use orders::Orders;
use writer::Writer;

/// How often stand-bys try to lead, and look where the stream ends; how often a leader asks whether it still is.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// What was read is appended at the end within milliseconds. A Redis that is away is not waited for: what it did not take the
/// next leader reads again.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// For so long stand-bys wait for the stream to begin before they say that it does not.
const BEGIN_PATIENCE: Duration = Duration::from_secs(15);

/// The stream, as a relay needs it.
pub(crate) trait Log: Send + Sync + 'static {
    /// The position after its last entry; none where there is no stream.
    fn end(&self) -> BoxFuture<'_, Result<Option<Cursor>, Error>>;

    /// Appends all of the entries if the stream ends at `end`, or none. After an error either may be true.
    fn append<'a>(
        &'a self,
        end: Option<&'a Cursor>,
        entries: &'a [Entry],
        retain: &'a StreamRetain,
    ) -> BoxFuture<'a, Result<Appended, Error>>;

    /// Tells those who stand by that the place of the leader is free.
    fn leave(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Hints that the place of the leader may be free. Every one of them may get lost.
    fn leavings(&self) -> BoxStream<'static, ()> {
        futures_util::stream::pending().boxed()
    }
}

impl Log for Stream {
    fn end(&self) -> BoxFuture<'_, Result<Option<Cursor>, Error>> {
        Box::pin(self.end())
    }

    fn append<'a>(
        &'a self,
        end: Option<&'a Cursor>,
        entries: &'a [Entry],
        retain: &'a StreamRetain,
    ) -> BoxFuture<'a, Result<Appended, Error>> {
        Box::pin(self.append(end, entries, retain))
    }

    fn leave(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.leave())
    }

    fn leavings(&self) -> BoxStream<'static, ()> {
        self.leavings()
    }
}

/// One that leads, or stands by.
pub(crate) struct Relay {
    leadership: Box<dyn Leadership>,
    log: Arc<dyn Log>,
    writer: Writer,
    counters: Arc<Counters>,
    /// None where there are none to bring.
    orders: Option<(Orders, Arc<dyn Source>)>,
    /// Of the lock: the database is away, and whoever follows it says so too.
    lock: Health,
}

impl Relay {
    /// Looks where the stream ends, so that a Redis that will never do is found at start. One that does not answer is
    /// waited for.
    ///
    /// # Errors
    /// [`Error::Config`] where the database cannot be shared by a fleet, or the URL of the stream is none. When Redis
    /// refuses us.
    pub async fn start(
        source: Arc<dyn Source>,
        database: &DatabaseConfig,
        stream: &StreamConfig,
        retain: StreamRetain,
        interval: PollInterval,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        let leadership = open_leadership(database, &stream.name)?;
        let log = Arc::new(Stream::new(stream)?);
        let orders = Orders::new(database, stream, interval.max)?;
        let mut relay = Self::new(
            Arc::clone(&source),
            leadership,
            log,
            retain,
            interval,
            counters,
        );
        relay.orders = Some((orders, source));
        relay.writer.look_at_start().await?;
        Ok(relay)
    }

    pub(crate) fn new(
        source: Arc<dyn Source>,
        leadership: Box<dyn Leadership>,
        log: Arc<dyn Log>,
        retain: StreamRetain,
        interval: PollInterval,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            leadership,
            writer: Writer::new(
                source,
                Arc::clone(&log),
                retain,
                interval,
                Arc::clone(&counters),
            ),
            log,
            counters,
            orders: None,
            lock: Health::new("the lock of the relay can be asked for again"),
        }
    }

    /// Relays until `shutdown`, then appends what it has, and lets another lead. Errors are logged and do not end it.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let shutdown = shutdown.shared();
        loop {
            let leavings = self.log.leavings();
            select! {
                biased;
                () = shutdown.clone() => break,
                () = stand_by(self.leadership.as_mut(), &mut self.writer, &mut self.lock, leavings) => {}
            }
            tracing::info!("this relay leads");
            self.counters.relay_leading.add(1);
            let lost = select! {
                biased;
                error = until_lost(self.leadership.as_mut()) => Some(error),
                () = self.writer.write(shutdown.clone()) => None,
                () = shutdown.clone().then(|()| sleep(STOP_TIMEOUT)) => None,
                // It does not end.
                () = bring(self.orders.as_ref()) => None,
            };
            self.counters.relay_leading.subtract(1);
            let Some(error) = lost else {
                self.leadership.give_up().await;
                // Others look for themselves a second later.
                if let Err(error) =
                    within("say that the lead is free", LEAVE_TIMEOUT, self.log.leave()).await
                {
                    tracing::debug!("failed to {error}");
                }
                return;
            };
            tracing::warn!("this relay no longer leads, and stands by: failed to {error}");
        }
        self.leadership.give_up().await;
    }
}

/// Waits until it is this one's turn.
async fn stand_by(
    leadership: &mut dyn Leadership,
    writer: &mut Writer,
    health: &mut Health,
    mut leavings: BoxStream<'static, ()>,
) {
    let mut waiting: Option<Instant> = None;
    let mut said = false;
    loop {
        match leadership.take().await {
            Ok(true) => {
                health.good();
                return;
            }
            Ok(false) => health.good(),
            Err(error) => {
                sleep(health.failed(&error)).await;
                continue;
            }
        }
        if waiting.is_none() {
            tracing::info!("another relay leads; this one stands by");
        }
        let since = *waiting.get_or_insert_with(Instant::now);
        let is_missing = writer.look().await;
        if is_missing && !said && since.elapsed() > BEGIN_PATIENCE {
            said = true;
            tracing::warn!(
                "another relay leads, but nobody writes to this stream; if that one relays to another Redis, give the streams \
                 different names with --stream"
            );
        }
        // The leader that has said that it goes is gone. The stream of hints ends only where there are none.
        let _ = timeout(WATCH_INTERVAL, leavings.next()).await;
    }
}

/// Brings orders for ever, where there are any.
async fn bring(orders: Option<&(Orders, Arc<dyn Source>)>) {
    match orders {
        Some((orders, source)) => orders.mirror(source.command_wakes()).await,
        None => std::future::pending().await,
    }
}

/// Asks for ever whether it still leads, and gives why it does not.
async fn until_lost(leadership: &mut dyn Leadership) -> Error {
    loop {
        sleep(WATCH_INTERVAL).await;
        if let Err(error) = leadership.check().await {
            return error;
        }
    }
}
