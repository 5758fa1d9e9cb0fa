//! `Reader`: what a client missed, from any position on: from memory where it is there, else from the table.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::history::{BatchNumber, Found, History};
use super::interests::Interests;
use crate::broadcaster::{Ended, Reading, Table};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::ChannelPattern;
use crate::protocol::{Encoded, ResetReason, Shapes, Since};
use crate::source::Window;
use crate::stats::Counters;
use crate::tail::Batch;

/// Wait after the database did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// How long a position may be ahead of the feed. Another server may look at the table first.
const AHEAD: Duration = Duration::from_millis(200);

/// Batches looked through in one go.
const BATCHES_PER_TURN: u32 = 16;

/// Where what was missed is read from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sources {
    pub history: Arc<History>,
    pub table: Table,
    pub shapes: Arc<Shapes>,
    pub counters: Arc<Counters>,
}

impl Sources {
    /// A batch to be received in any shape.
    pub fn encoded(&self, batch: Arc<Batch>) -> Encoded {
        Encoded::new(batch, &self.shapes, Arc::clone(&self.counters))
    }
}

/// Reads on from a position, what some patterns match.
pub(crate) struct Reader {
    sources: Sources,
    /// The position after everything that was read.
    cursor: Cursor,
    /// The batch to go on with, while it goes on in memory.
    next: Option<BatchNumber>,
    /// What is known beyond `cursor`: memory goes on from a position before that one.
    known: Option<Cursor>,
    interests: Interests,
    /// Each step has to end at a position that has a name. Memory that begins beside a position gives none.
    names_positions: bool,
    /// Whatever there is was asked for, so that nothing can be missing from it.
    from_earliest: bool,
    /// The window of the table that is being read.
    reading: Option<(Window, Reading)>,
}

/// Where a reader was.
pub(crate) struct Mark {
    cursor: Cursor,
    next: Option<BatchNumber>,
    known: Option<Cursor>,
    /// What it reads.
    pub interests: Interests,
}

/// What was found.
pub(crate) enum Step {
    /// These events of a batch, at least one.
    Events(Arc<Encoded>, Vec<u32>),
    /// There is nothing yet: this batch has not been handed out.
    End(BatchNumber),
    /// What was missed cannot be told. It goes on from the present.
    Reset(ResetReason),
    /// It was waited for a while.
    Waited,
}

impl Reader {
    /// From a position on.
    pub fn new(sources: Sources, cursor: Cursor, next: Option<BatchNumber>) -> Self {
        Self {
            sources,
            cursor,
            next,
            known: None,
            interests: Interests::default(),
            names_positions: false,
            from_earliest: false,
            reading: None,
        }
    }

    /// From the present on, for somebody who comes back with the position after each step.
    pub fn naming_positions(sources: Sources) -> Self {
        let (end, _, next) = sources.history.end();
        Self {
            names_positions: true,
            ..Self::new(sources, end, Some(next))
        }
    }

    /// The position after everything that was read.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// What it reads; with it, a position from which on each is wanted, where that is not reached yet.
    pub fn interests(&mut self) -> &mut Interests {
        &mut self.interests
    }

    /// Waits until the feed has gone on.
    pub async fn grown(&self) {
        let _ = timeout(AHEAD, self.sources.history.watch().changed()).await;
    }

    /// Whether it can be left to the feed from this batch on, which is the next one.
    pub fn can_join_at(&self, next: BatchNumber) -> bool {
        self.sources.history.can_be_joined_at(next)
    }

    /// Whether all that is wanted is wanted from here on.
    pub fn has_reached_all(&mut self) -> bool {
        self.known.is_none() && self.interests.are_reached_by(&self.cursor)
    }

    /// Adds patterns, from a position on; `now` is the one at which that was asked. Where it lies behind, the reader goes
    /// back to it; what is read already stays known.
    ///
    /// # Errors
    /// When the database has to be asked and does not answer.
    pub async fn add(
        &mut self,
        patterns: &[ChannelPattern],
        since: &Since,
        now: &Cursor,
    ) -> Result<Option<ResetReason>, Error> {
        let wanted = match since {
            Since::Now => self.place_of(now).await?,
            Since::Earliest => Some(self.sources.history.end().0.beginning()),
            Since::Cursor(cursor) => self.place_of(cursor).await?,
        };
        let gone = match &wanted {
            None => Some(ResetReason::Epoch),
            Some(wanted) if matches!(since, Since::Cursor(_)) => self.gone(wanted).await?,
            Some(_) => None,
        };
        // What is being read is read without them.
        self.reading = None;
        let (Some(wanted), None) = (wanted, gone) else {
            let present = self.sources.history.end().0;
            self.interests.add(patterns, Some(&present));
            self.sources.counters.client_resets.add(1);
            return Ok(gone);
        };
        self.from_earliest |= *since == Since::Earliest;
        if self.interests.is_empty() {
            self.go_to(wanted);
            self.interests.add(patterns, None);
            return Ok(None);
        }
        if self.cursor.epoch != wanted.epoch {
            match self.place_of(&self.cursor).await? {
                Some(place) => self.go_to(place),
                None => return Ok(Some(self.reset(ResetReason::Epoch))),
            }
        }
        if wanted.reaches(&self.cursor) {
            self.interests.add(patterns, Some(&wanted));
            return Ok(None);
        }
        let Some(back) = self.cursor.earlier(&wanted) else {
            return Ok(Some(self.reset(ResetReason::Epoch)));
        };
        self.interests.want_from(&self.cursor);
        // Whoever asks for the past of what it subscribes to already has it once more.
        self.interests
            .add_again(patterns, (back != wanted).then_some(&wanted));
        self.go_to(back);
        Ok(None)
    }

    /// The next events.
    pub async fn next(&mut self) -> Step {
        let mut looked_through = 0;
        loop {
            if let Some((window, reading)) = &mut self.reading {
                match reading.next().await {
                    Some(events) => {
                        let Some(last) = events.last() else { continue };
                        let upto = window.after_row(last.id);
                        let batch = Arc::new(self.sources.encoded(Arc::new(Batch {
                            events,
                            after: None,
                            upto,
                            reset: false,
                        })));
                        let wanted = self.pass(&batch);
                        if !wanted.is_empty() {
                            return Step::Events(batch, wanted);
                        }
                    }
                    None => {
                        if let Some(step) = self.ended().await {
                            return step;
                        }
                    }
                }
            } else if let Some(next) = self.next {
                match self.next_in_memory() {
                    Some((batch, wanted)) if !wanted.is_empty() => {
                        return Step::Events(batch, wanted);
                    }
                    Some(_) => {}
                    None if next >= self.sources.history.end().2 => return Step::End(next),
                    // Pushed out by newer ones.
                    None => self.next = None,
                }
            } else if let Some(step) = self.find().await {
                return step;
            }
            looked_through += 1;
            if looked_through % BATCHES_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// The next batch with what is wanted of it, which may be nothing, where it is in memory.
    pub fn next_in_memory(&mut self) -> Option<(Arc<Encoded>, Vec<u32>)> {
        let next = self.next.filter(|_| self.reading.is_none())?;
        let batch = self.sources.history.get(next)?;
        self.next = Some(next + 1);
        self.sources.counters.recent_reads.add(1);
        let wanted = self.pass(&batch);
        Some((batch, wanted))
    }

    /// Whether more than so many events are wanted by now. It looks, and stays where it is.
    pub async fn is_behind_by_more_than(&self, events_max: u64) -> bool {
        let mut ahead = Self {
            interests: self.interests.clone(),
            from_earliest: self.from_earliest,
            ..Self::new(self.sources.clone(), self.cursor.clone(), self.next)
        };
        let mut events = 0;
        loop {
            match Box::pin(ahead.next()).await {
                Step::Events(_, wanted) => events += wanted.len() as u64,
                Step::End(_) | Step::Reset(_) => return false,
                Step::Waited => {}
            }
            if events > events_max {
                return true;
            }
        }
    }

    /// Goes on from the present.
    pub fn reset(&mut self, reason: ResetReason) -> ResetReason {
        self.sources.counters.client_resets.add(1);
        let (end, _, next) = self.sources.history.end();
        self.go_to(end);
        self.next = Some(next);
        self.interests.want_all();
        reason
    }

    /// Where it is, to come back to.
    pub fn mark(&self) -> Mark {
        Mark {
            cursor: self.cursor.clone(),
            next: self.next,
            known: self.known.clone(),
            interests: self.interests.clone(),
        }
    }

    /// Comes back, as what it has read since was not sent.
    pub fn return_to(&mut self, mark: Mark) {
        self.cursor = mark.cursor;
        self.next = mark.next;
        self.known = mark.known;
        self.interests = mark.interests;
        self.reading = None;
    }

    fn go_to(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        self.next = None;
        self.known = None;
        self.reading = None;
    }

    /// Moves on behind a batch; gives what is wanted of it.
    fn pass(&mut self, batch: &Encoded) -> Vec<u32> {
        let wanted = self.interests.wanted(batch, self.known.as_ref());
        let upto = &batch.batch.upto;
        match &self.known {
            // What it knows besides has no name: it stays where it is until the feed is as far.
            Some(known) if known.epoch == upto.epoch && !upto.reaches(known) => {}
            _ => {
                self.cursor = upto.clone();
                self.known = None;
            }
        }
        wanted
    }

    /// Finds where it goes on.
    async fn find(&mut self) -> Option<Step> {
        let Sources { history, table, .. } = &self.sources;
        match history.find(&self.cursor) {
            Found::Here { exact: false, .. } if self.names_positions => {
                self.read_to(&history.end().0.end());
                None
            }
            Found::Here { next, exact } => {
                self.next = Some(next);
                if !exact {
                    self.known = Some(self.cursor.clone());
                }
                None
            }
            Found::Later => {
                let mut next = history.watch();
                // Another server may have looked at the table first; this one does now.
                table.wake();
                if timeout(AHEAD, next.changed()).await.is_ok() {
                    return Some(Step::Waited);
                }
                match table.has_reached(&self.cursor).await {
                    Ok(true) => Some(Step::Waited),
                    // Nobody can have been there yet.
                    Ok(false) => Some(Step::Reset(self.reset(ResetReason::Epoch))),
                    Err(error) => Some(retry(&error).await),
                }
            }
            Found::OtherEpoch => match self.place_of(&self.cursor).await {
                Ok(Some(place)) => {
                    self.go_to(place);
                    None
                }
                Ok(None) => Some(Step::Reset(self.reset(ResetReason::Epoch))),
                Err(error) => Some(retry(&error).await),
            },
            Found::Earlier => match table.retains(&self.cursor).await {
                Ok(false) if !self.from_earliest => {
                    Some(Step::Reset(self.reset(ResetReason::Retention)))
                }
                Ok(_) => {
                    if !history.extend(&self.sources, &self.cursor).await {
                        self.read_to(&history.start().end());
                    }
                    None
                }
                Err(error) => Some(retry(&error).await),
            },
        }
    }

    /// Begins to read from the table, on the way to a position.
    fn read_to(&mut self, upto: &Cursor) {
        let window = Window::on_the_way(&self.cursor, upto);
        let table = &self.sources.table;
        let reading = table.read(window.clone(), Some(self.interests.patterns()));
        self.reading = Some((window, reading));
    }

    /// Notes how the reading of a window has ended.
    async fn ended(&mut self) -> Option<Step> {
        let (window, reading) = self.reading.take()?;
        let ended = reading.ended().await;
        // Rows pruned while they were to be read.
        match self.sources.table.retains(&window.after).await {
            Ok(retained) if retained || self.from_earliest => {}
            Ok(_) => return Some(Step::Reset(self.reset(ResetReason::Retention))),
            Err(error) => return Some(retry(&error).await),
        }
        match ended {
            Ended::Complete => {
                // A client of another server may know more than this window has.
                let known = std::mem::replace(&mut self.cursor, window.upto);
                if !self.cursor.reaches(&known) {
                    self.known = Some(known);
                }
                None
            }
            Ended::TurnLost => None,
            // The place is looked for anew.
            Ended::Failed(Error::EpochChanged) => {
                sleep(AHEAD).await;
                Some(Step::Waited)
            }
            Ended::Failed(Error::Gone) => Some(Step::Reset(self.reset(ResetReason::Retention))),
            Ended::Failed(error) => Some(retry(&error).await),
        }
    }

    /// Why what comes after a client's position cannot be told, if it cannot. Positions that memory knows need no answer
    /// of the database.
    async fn gone(&self, cursor: &Cursor) -> Result<Option<ResetReason>, Error> {
        let Sources { history, table, .. } = &self.sources;
        // Nobody has been beyond the present. Who says so made it up, or is of another history, and would be kept from
        // events that it does not have.
        let end = cursor.end();
        if !history.end().0.reaches(&end) && !table.has_reached(&end).await? {
            return Ok(Some(ResetReason::Epoch));
        }
        let is_earlier = matches!(history.find(cursor), Found::Earlier);
        if is_earlier && !table.retains(cursor).await? {
            return Ok(Some(ResetReason::Retention));
        }
        Ok(None)
    }

    /// Its place in the epoch of the feed; waits until the feed is in the database's.
    async fn place_of(&self, cursor: &Cursor) -> Result<Option<Cursor>, Error> {
        let Sources { history, table, .. } = &self.sources;
        loop {
            if history.end().0.epoch == cursor.epoch {
                return Ok(Some(cursor.clone()));
            }
            let Some(place) = table.place_of(cursor).await? else {
                return Ok(None);
            };
            if place.epoch == history.end().0.epoch {
                return Ok(Some(place));
            }
            let _ = timeout(AHEAD, history.watch().changed()).await;
        }
    }
}

async fn retry(error: &Error) -> Step {
    tracing::debug!(%error, "a client's place could not be read on from; trying again");
    sleep(RETRY).await;
    Step::Waited
}
