//! `History`: the batches handed out last, kept in memory for those who come back. It is what a reconnect reads, so that
//! thousands at once cost the database nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::reader::Sources;
use crate::broadcaster::Ended;
use crate::cursor::Cursor;
use crate::event::EventId;
use crate::protocol::Encoded;
use crate::source::Window;
use crate::tail::Batch;

/// Number of a batch: each is one more than that before it. Those read in front of the first have numbers below 0.
pub(crate) type BatchNumber = i64;

/// The last batches, within a number of bytes.
pub(crate) struct History {
    state: Mutex<State>,
    /// The number that the next batch will have.
    next: watch::Sender<BatchNumber>,
    bytes_max: usize,
    /// Held by whoever reads what comes before the first batch.
    extending: tokio::sync::Mutex<()>,
}

struct State {
    batches: VecDeque<Arc<Encoded>>,
    /// The number of the first.
    first: BatchNumber,
    bytes: usize,
    /// The position before the first.
    start: Cursor,
    /// The position after the last.
    end: Cursor,
    edge: Arc<str>,
    /// Whether the next batch leaves nothing out that comes after the last.
    is_whole: bool,
    /// Whoever comes from here or from before is not worth reading for: it would not fit.
    too_far: Option<Cursor>,
}

/// Where the events after a position are.
pub(crate) enum Found {
    /// Here, from this batch on. `exact` where that begins at the position, and not before it.
    Here { next: BatchNumber, exact: bool },
    /// After the end of what is here.
    Later,
    /// Before the start of what is here, or beside it.
    Earlier,
    /// It is a position of another epoch.
    OtherEpoch,
}

impl History {
    pub fn new(edge: Cursor, bytes_max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                batches: VecDeque::new(),
                first: 0,
                bytes: 0,
                start: edge.clone(),
                edge: edge.to_string().into(),
                end: edge,
                is_whole: true,
                too_far: None,
            }),
            next: watch::Sender::new(0),
            bytes_max,
            extending: tokio::sync::Mutex::default(),
        }
    }

    /// Adds what is being handed out; gives its number.
    pub fn push(&self, batch: &Arc<Encoded>) -> BatchNumber {
        let mut state = self.lock();
        let number = state.next();
        if batch.batch.after.as_ref() == Some(&state.end) {
            state.bytes += batch.bytes();
            state.batches.push_back(Arc::clone(batch));
        } else {
            // Something between what is here and this batch is missing, or is not told. Whoever needs it asks the table.
            state.batches.clear();
            state.bytes = 0;
            state.first = number + 1;
            state.start = batch.batch.upto.clone();
            state.too_far = None;
        }
        state.end = batch.batch.upto.clone();
        state.edge = Arc::clone(&batch.edge);
        state.is_whole = batch.batch.is_joined_by_the_next();
        while state.bytes > self.bytes_max
            && let Some(oldest) = state.batches.pop_front()
        {
            state.bytes -= oldest.bytes();
            state.first += 1;
            state.start = oldest.batch.upto.clone();
        }
        drop(state);
        self.next.send_replace(number + 1);
        number
    }

    /// The number the next batch will have; it announces changes.
    pub fn watch(&self) -> watch::Receiver<BatchNumber> {
        self.next.subscribe()
    }

    /// The position after everything that was handed out, as a text too, and the number of the next batch.
    pub fn end(&self) -> (Cursor, Arc<str>, BatchNumber) {
        let state = self.lock();
        (state.end.clone(), Arc::clone(&state.edge), state.next())
    }

    /// Whether whoever has everything up to the end can be handed the batch of this number, which is the next one. After the
    /// database came back with a part of its history gone, batches leave out what was handed out before.
    pub fn can_be_joined_at(&self, next: BatchNumber) -> bool {
        let state = self.lock();
        state.is_whole && state.next() == next
    }

    /// The position before everything that is here.
    pub fn start(&self) -> Cursor {
        self.lock().start.clone()
    }

    /// The batch of a number; none when it is not here any more, or not yet.
    pub fn get(&self, number: BatchNumber) -> Option<Arc<Encoded>> {
        let state = self.lock();
        let index = usize::try_from(number - state.first).ok()?;
        state.batches.get(index).cloned()
    }

    /// The number of the batch that has an event; none when it is not here any more, or not yet.
    pub fn batch_of(&self, event: EventId) -> Option<BatchNumber> {
        let state = self.lock();
        let has = |batch: &Arc<Encoded>| batch.batch.events.iter().any(|own| own.id == event);
        let index = state.batches.iter().rposition(has)?;
        Some(state.first + index as BatchNumber)
    }

    /// Where to go on after a position.
    pub fn find(&self, cursor: &Cursor) -> Found {
        let state = self.lock();
        if cursor.epoch != state.end.epoch {
            return Found::OtherEpoch;
        }
        if !cursor.reaches(&state.start) {
            return Found::Earlier;
        }
        let known = state
            .batches
            .partition_point(|batch| cursor.reaches(&batch.batch.upto));
        if known == state.batches.len() && !state.end.reaches(cursor) {
            return Found::Later;
        }
        let before = match known.checked_sub(1) {
            None => &state.start,
            Some(last) => &state.batches[last].batch.upto,
        };
        Found::Here {
            next: state.first + known as BatchNumber,
            exact: before.reaches(cursor),
        }
    }

    /// Reads what lies between a position and the start of what is here, once for all who come from there or later: after
    /// a restart of the server thousands do. Gives whether it is here now. It is not when it would not fit.
    pub async fn extend(&self, sources: &Sources, cursor: &Cursor) -> bool {
        let _turn = self.extending.lock().await;
        let (start, room) = {
            let state = self.lock();
            if state.end.epoch != cursor.epoch {
                return false;
            }
            // Somebody else was faster.
            if cursor.reaches(&state.start) {
                return true;
            }
            if state
                .too_far
                .as_ref()
                .is_some_and(|too_far| too_far.reaches(cursor))
            {
                return false;
            }
            // Not all of it: the present must not push out at once what is read here.
            let room = (self.bytes_max / 2).saturating_sub(state.bytes);
            (state.start.clone(), room)
        };
        // The rest of a window has no place before the part that is here.
        let Some(after) = cursor.common(&start).filter(|_| start == start.end()) else {
            return false;
        };
        if let Some(batches) = self.read(sources, &after, &start, room).await {
            self.prepend(batches, after, &start)
        } else {
            self.lock().too_far = Some(cursor.clone());
            false
        }
    }

    async fn read(
        &self,
        sources: &Sources,
        after: &Cursor,
        upto: &Cursor,
        room: usize,
    ) -> Option<Vec<Arc<Encoded>>> {
        let table = &sources.table;
        if room == 0 || !table.retains(after).await.ok()? {
            return None;
        }
        let window = Window::on_the_way(after, upto);
        let mut reading = table.read(window.clone(), None);
        let mut pages: Vec<(Vec<_>, Cursor)> = Vec::new();
        let mut bytes = 0;
        while let Some(events) = reading.next().await {
            bytes += events
                .iter()
                .map(|event| event.payload.get().len() + event.channels.as_str().len() + 128)
                .sum::<usize>();
            if bytes > room {
                return None;
            }
            let last = events.last()?.id;
            pages.push((events, window.after_row(last)));
        }
        if !matches!(reading.ended().await, Ended::Complete) || !table.retains(after).await.ok()? {
            return None;
        }
        match pages.last_mut() {
            Some((_, last)) => *last = upto.clone(),
            None => pages.push((Vec::new(), upto.clone())),
        }
        let mut before = after.clone();
        let batches = pages.into_iter().map(|(events, upto)| {
            let after = Some(std::mem::replace(&mut before, upto.clone()));
            Arc::new(sources.encoded(Arc::new(Batch {
                events,
                after,
                upto,
                reset: false,
            })))
        });
        Some(batches.collect())
    }

    fn prepend(&self, batches: Vec<Arc<Encoded>>, after: Cursor, upto: &Cursor) -> bool {
        let mut state = self.lock();
        // Meanwhile the present may have pushed out the first batch, or all.
        if state.start != *upto {
            return false;
        }
        for batch in batches.into_iter().rev() {
            state.bytes += batch.bytes();
            state.first -= 1;
            state.batches.push_front(batch);
        }
        state.start = after;
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under this lock is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&self) -> BatchNumber {
        self.first + self.batches.len() as BatchNumber
    }
}
