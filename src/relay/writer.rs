//! The leader's work: follows the table from where the stream ends, and appends what comes, one call at a time.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::StreamExt as _;
use tokio::select;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::Log;
use super::group::Group;
use super::health::Health;
use super::places::{BACK, Places};
use crate::cursor::{Cursor, Position};
use crate::error::Error;
use crate::source::redis::{Appended, Entry, Joint};
use crate::source::{Source, StreamRetain};
use crate::stats::Counters;
use crate::tail::{Batch, LOOK_TIMEOUT, PollInterval, follow, within};

/// Something is appended at least so often, so that readers know that the relay lives.
const BEAT: Duration = Duration::from_secs(1);

/// A database that was not looked at for so much longer than the interval is away: then there is no beat.
const LATE: Duration = Duration::from_secs(3);

/// How long Redis may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);

/// A stream of another database is taken over so often at most: its own relay may be at work.
const TAKE_OVER: Duration = Duration::from_mins(1);

/// Two relays that both lead leave each other so much time to find out.
const MOVED_PAUSE: Duration = Duration::from_millis(200);

/// Why following ended.
enum Ended {
    /// It was asked to stop, and has appended what it had.
    Stopped,
    /// The stream is not where it was: what was read since is to be read again.
    Moved,
    /// The database is in another life, and the stream has the place there from which to go on.
    Rebased,
}

/// Appends to the stream what comes to the table.
pub(super) struct Writer {
    source: Arc<dyn Source>,
    log: Arc<dyn Log>,
    retain: StreamRetain,
    interval: PollInterval,
    counters: Arc<Counters>,
    places: Places,
    health: Health,
    /// When the stream was last found to be of another database, and taken over.
    taken_over: Option<Instant>,
}

/// A call that is under way, and what it carries.
type Call = BoxFuture<'static, (Result<Appended, Error>, Vec<Entry>)>;

impl Writer {
    pub fn new(
        source: Arc<dyn Source>,
        log: Arc<dyn Log>,
        retain: StreamRetain,
        interval: PollInterval,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            source,
            log,
            retain,
            interval,
            counters,
            places: Places::default(),
            health: Health::new("Redis is back; the stream goes on where it ended"),
            taken_over: None,
        }
    }

    /// Takes note of where the stream ends.
    ///
    /// # Errors
    /// When Redis will have none of us. One that is away is waited for later.
    pub async fn look_at_start(&mut self) -> Result<(), Error> {
        match self.end().await {
            Ok(Some(end)) => self.places.note(&end),
            Ok(None) => {}
            Err(error) if error.is_config() => return Err(error),
            Err(error) => {
                self.health.failed(&error);
            }
        }
        Ok(())
    }

    /// Takes note of where the stream ends. Gives whether there is none.
    pub async fn look(&mut self) -> bool {
        match self.end().await {
            Ok(end) => {
                self.health.good();
                if let Some(end) = &end {
                    self.places.note(end);
                }
                end.is_none()
            }
            Err(error) => {
                self.counters.relay_errors.add(1);
                self.health.failed(&error);
                false
            }
        }
    }

    /// Writes until it is asked to stop. After any error, and whenever it is in doubt, it asks the stream where it ends,
    /// and goes on from there.
    pub async fn write(&mut self, stop: impl Future<Output = ()> + Clone) {
        loop {
            let pause = match self.follow(stop.clone()).await {
                Ok(Ended::Stopped) => return,
                Ok(Ended::Moved) => MOVED_PAUSE.mul_f64(fastrand::f64()),
                Ok(Ended::Rebased) => Duration::ZERO,
                Err(error) => {
                    self.counters.relay_errors.add(1);
                    self.health.failed(&error)
                }
            };
            select! {
                () = stop.clone() => return,
                () = sleep(pause) => {}
            }
        }
    }

    async fn end(&self) -> Result<Option<Cursor>, Error> {
        within("ask where the stream ends", ANSWER_TIMEOUT, self.log.end()).await
    }

    /// Follows the table from the end of the stream until something is not as it should be.
    async fn follow(&mut self, stop: impl Future<Output = ()>) -> Result<Ended, Error> {
        let mut end = match self.end().await? {
            Some(end) => end,
            None => match self.begin().await? {
                Some(end) => end,
                None => return Ok(Ended::Moved),
            },
        };
        self.places.note(&end);
        let tail_counters = Arc::<Counters>::default();
        let late = self.interval.max + LATE;
        let mut batches = pin!(follow(
            Arc::clone(&self.source),
            end.clone(),
            self.interval,
            Arc::clone(&tail_counters),
            Arc::<Notify>::default(),
        ));
        let mut joining = Joining::at(end.clone());
        let mut group = Group::default();
        let mut call: Option<Call> = None;
        let mut beat = Instant::now() + BEAT;
        let mut stop = pin!(stop);
        // Nothing more is read, and what was is appended.
        let mut ending = None;
        loop {
            if call.is_none() {
                if group.is_urgent() {
                    call = Some(self.append(&end, group.take()));
                } else if let Some(ended) = ending.take() {
                    return Ok(ended);
                }
            }
            select! {
                biased;
                (appended, entries) = answer(&mut call) => {
                    call = None;
                    if appended? == Appended::Moved {
                        tracing::debug!("the stream does not end where it did");
                        return Ok(Ended::Moved);
                    }
                    // A Redis that only answers questions may still refuse to write.
                    self.health.good();
                    self.note(&entries);
                    if let Some(last) = entries.into_iter().next_back() {
                        end = last.upto;
                    }
                    self.places.note(&end);
                    beat = Instant::now() + BEAT;
                }
                batch = batches.next(), if ending.is_none() && group.has_room() => {
                    // The tail never ends.
                    let Some(batch) = batch else { return Ok(Ended::Moved) };
                    match joining.join(batch, self.source.as_ref()).await? {
                        Joined::Batch(batch) => group.push(batch),
                        Joined::Rebased(batch) => {
                            group.push(batch);
                            ending = Some(Ended::Rebased);
                        }
                        Joined::Foreign(batch) => {
                            self.take_over()?;
                            group.push(batch);
                        }
                        Joined::Pruned => {
                            tracing::warn!(
                                "the stream ended so long ago that events were pruned since; clients are told to refetch"
                            );
                            let upto = within("ask for the present position", LOOK_TIMEOUT, self.source.edge()).await?;
                            group.push(Batch { events: Vec::new(), after: None, upto, reset: true });
                            ending = Some(Ended::Moved);
                        }
                    }
                }
                () = &mut stop, if !matches!(ending, Some(Ended::Stopped)) => ending = Some(Ended::Stopped),
                () = sleep_until(beat), if call.is_none() => {
                    let moved = group.take_moved();
                    // That there is nothing after its end is known only when the table was looked at.
                    let looked = &tail_counters.looked;
                    if moved.is_some() || looked.has_beaten() && looked.age() < late {
                        let upto = moved.unwrap_or_else(|| end.clone());
                        let entry = Entry { upto, events: Vec::new(), joint: Joint::Whole };
                        call = Some(self.append(&end, vec![entry]));
                    }
                    beat = Instant::now() + BEAT;
                }
            }
        }
    }

    /// Allows for a stream that is of another database, or of an earlier one, now and then.
    fn take_over(&mut self) -> Result<(), Error> {
        if self.taken_over.is_some_and(|at| at.elapsed() < TAKE_OVER) {
            return Err(Error::Unusable(
                "another one is relayed into the same stream, so that readers are sent from one to the other; give each \
                 database a stream of its own with --stream"
                    .into(),
            ));
        }
        self.taken_over = Some(Instant::now());
        Ok(())
    }

    /// Begins a stream where there is none: so far back that its readers find their place in it. None: somebody else has.
    async fn begin(&mut self) -> Result<Option<Cursor>, Error> {
        let lately = self.source.edge_before(BACK);
        let lately = match within("look for the last rows", LOOK_TIMEOUT, lately).await {
            // Better late than never.
            Err(Error::Timeout { .. }) => {
                within(
                    "ask for the present position",
                    LOOK_TIMEOUT,
                    self.source.edge(),
                )
                .await?
            }
            lately => lately?,
        };
        // Redis may have been away for long, and who leads may not lead for long: each knows an earlier one then.
        let upto = match (self.places.beginning(), lately) {
            (Some(place), lately) => {
                tracing::warn!(
                    "the stream is gone, as Redis was emptied or lost its data; a new one begins a minute before the end of \
                     the old one"
                );
                if place.reaches(&lately) {
                    lately
                } else {
                    place.clone()
                }
            }
            (None, lately) => lately,
        };
        let entry = Entry {
            upto: upto.clone(),
            events: Vec::new(),
            joint: Joint::Left,
        };
        let entries = [entry];
        let append = self.log.append(None, &entries, &self.retain);
        let appended = within("append to the stream", ANSWER_TIMEOUT, append).await?;
        Ok((appended == Appended::Done).then_some(upto))
    }

    fn append(&self, end: &Cursor, entries: Vec<Entry>) -> Call {
        let (log, retain, end) = (Arc::clone(&self.log), self.retain.clone(), end.clone());
        Box::pin(async move {
            let append = log.append(Some(&end), &entries, &retain);
            let appended = within("append to the stream", ANSWER_TIMEOUT, append).await;
            (appended, entries)
        })
    }

    fn note(&self, entries: &[Entry]) {
        let events: usize = entries.iter().map(|entry| entry.events.len()).sum();
        self.counters.relay_entries.add(entries.len() as u64);
        self.counters.relay_events.add(events as u64);
    }
}

/// The answer to a call, if one is under way.
async fn answer(call: &mut Option<Call>) -> (Result<Appended, Error>, Vec<Entry>) {
    match call {
        Some(call) => call.await,
        None => pending().await,
    }
}

/// Joins what is read to what is in the stream: sees to it that nothing was pruned in between.
struct Joining {
    /// The start of the first window, while it is being read.
    start: Option<Cursor>,
}

enum Joined {
    Batch(Batch),
    /// The database is in another life, and this is the place there. What comes after it may be in the stream already, and is
    /// appended all the same: who is at this place cannot tell what others had, and who follows drops repeats as he does with
    /// a table.
    Rebased(Batch),
    /// The stream does not end in this database's history.
    Foreign(Batch),
    /// What came before this is gone.
    Pruned,
}

impl Joining {
    fn at(start: Cursor) -> Self {
        Self { start: Some(start) }
    }

    async fn join(&mut self, batch: Batch, source: &dyn Source) -> Result<Joined, Error> {
        if batch.reset {
            return Ok(match self.start.take() {
                Some(_) => Joined::Foreign(batch),
                None => Joined::Batch(batch),
            });
        }
        if batch.after.is_none() {
            return Ok(Joined::Rebased(batch));
        }
        // What is pruned is noted in the transaction that deletes. So whoever reads rows first and then asks knows whether
        // any were missing.
        if let Some(start) = &self.start {
            let retained = within(
                "look up what was pruned",
                LOOK_TIMEOUT,
                source.retains(start),
            )
            .await?;
            if !retained {
                return Ok(Joined::Pruned);
            }
            if !matches!(batch.upto.position, Position::Within(_)) {
                self.start = None;
            }
        }
        Ok(Joined::Batch(batch))
    }
}
