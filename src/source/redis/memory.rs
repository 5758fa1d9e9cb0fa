//! The last entries of the stream, as they come: what the feed reads, and what most of those who come back need.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::entry::{EntryId, Joint, Kept};
use super::stream::Stream;
use crate::cursor::{Cursor, Position};
use crate::error::Error;
use crate::source::Window;

/// Most bytes of entries that are kept here, but for the last one.
const BYTES_MAX: usize = 8 << 20;

/// Most lives of the database that are found one behind the other.
const BRIDGES_MAX: usize = 8;

/// Whoever relays writes at least once a second. It is taken for dead, and its stand-bys too, when nothing has come for so
/// long.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Whoever relays has fallen behind when nothing has come for so long, and for so long afterwards it may be behind the table.
const PAUSE_MAX: Duration = Duration::from_secs(2);
const CATCH_UP_MAX: Duration = Duration::from_secs(30);

/// First and longest wait after an error; between them it doubles, with full jitter.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What has come.
pub(super) struct Memory {
    state: Mutex<State>,
    /// Announces that something has.
    grown: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Arc<Kept>>,
    bytes: usize,
    last: Option<EntryId>,
    end: Option<Cursor>,
    /// The last entry that is not joined to the one before it.
    joint: Option<Arc<Kept>>,
    bridges: VecDeque<(Cursor, Cursor)>,
    heard: Option<Instant>,
    /// When it was last not certain that whoever relays is at the present.
    unsettled: Option<Instant>,
    /// Whether Redis has ever answered.
    answers: bool,
    /// Why nothing can come.
    error: Option<String>,
}

/// Where the stream is.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// The position after all that has come, where that is not in the midst of a window.
    pub position: Cursor,
    /// How it came into other lives of the database, the last first: the last position of one, and the place in the next
    /// from which to go on.
    pub bridges: Vec<(Cursor, Cursor)>,
}

impl End {
    /// The bridge out of the life that a position is of.
    pub fn bridge_from(&self, position: &Cursor) -> Option<&(Cursor, Cursor)> {
        let mut bridges = self.bridges.iter();
        bridges.find(|(before, _)| before.epoch == position.epoch)
    }
}

impl Memory {
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            grown: watch::Sender::new(()),
        }
    }

    /// Follows the stream for ever. What went wrong is told to whoever asks where the stream is.
    pub async fn follow(&self, stream: &Stream) {
        let mut failures = 0_u32;
        loop {
            let Err(error) = self.follow_until_error(stream, &mut failures).await;
            let why = error.to_string();
            tracing::debug!("failed to {why}");
            self.lock().error = Some(why);
            self.grown.send_replace(());
            let longest = RETRY_FIRST
                .saturating_mul(1 << failures.min(16))
                .min(RETRY_MAX);
            failures = failures.saturating_add(1);
            sleep(longest.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        }
    }

    async fn follow_until_error(
        &self,
        stream: &Stream,
        failures: &mut u32,
    ) -> Result<std::convert::Infallible, Error> {
        let mut connection = stream.redis().connect().await?;
        let last = stream.last("read the stream").await?;
        let known = self.lock().last;
        let mut after = match (known, last) {
            // It begins with the last one, which says where the feed is, or in the midst of which window it is.
            (None, Some(last)) => {
                let id = last.id;
                let mut entries = Vec::new();
                if last.joint != id && matches!(last.entry.upto.position, Position::Within(_)) {
                    entries.extend(stream.get(last.joint).await?);
                }
                entries.push(last);
                self.push(entries);
                id
            }
            (None, None) => EntryId::FIRST,
            // A replica has taken the place of its leader, and was not told the last entries. They come again, with others
            // behind them. To read all from the beginning would be 10 minutes of the feed for each server, all at once.
            (Some(known), Some(last)) if last.id < known && self.has(&last) => last.id,
            // Emptied, and begun anew by a clock that was set back.
            (Some(known), Some(last)) if last.id < known => EntryId::FIRST,
            (Some(known), _) => known,
        };
        loop {
            let entries = stream.next(&mut connection, after).await?;
            *failures = 0;
            if let Some(last) = entries.last() {
                after = last.id;
            }
            self.push(entries);
        }
    }

    pub(super) fn push(&self, entries: Vec<Kept>) {
        let mut state = self.lock();
        let is_news = !std::mem::replace(&mut state.answers, true) || state.error.take().is_some();
        if entries.is_empty() && !is_news {
            return;
        }
        if !entries.is_empty() {
            if state.is_paused() {
                state.unsettled = Some(Instant::now());
            }
            state.heard = Some(Instant::now());
        }
        for kept in entries {
            state.push(Arc::new(kept));
        }
        drop(state);
        self.grown.send_replace(());
    }

    pub fn watch(&self) -> watch::Receiver<()> {
        self.grown.subscribe()
    }

    /// Where the stream is, or why that cannot be told.
    pub fn end(&self) -> Result<End, String> {
        let state = self.lock();
        if let Some(error) = &state.error {
            return Err(error.clone());
        }
        let (Some(position), Some(heard)) = (state.end.clone(), state.heard) else {
            return Err(match state.last {
                None => "there is no such stream: `rowcast relay` writes it".into(),
                Some(_) => "it has just begun, and is being written".into(),
            });
        };
        let silence = heard.elapsed();
        if silence > SILENCE_MAX {
            return Err(format!(
                "nobody has written to it for {} s: is `rowcast relay` running?",
                silence.as_secs()
            ));
        }
        let bridges = state.bridges.iter().cloned().collect();
        Ok(End { position, bridges })
    }

    /// The entries that have the rows of a window, and nothing missing between them; none where they are not here.
    pub fn path(&self, window: &Window) -> Option<Vec<Arc<Kept>>> {
        let state = self.lock();
        let entries = &state.entries;
        let ends = |kept: &Arc<Kept>| kept.entry.upto.reaches(&window.upto);
        // Those of a later life of the database may be behind it.
        let is_behind =
            |kept: &Arc<Kept>| kept.entry.upto.epoch == window.upto.epoch && !ends(kept);
        let last = match entries.iter().rposition(is_behind) {
            Some(behind) => behind + 1,
            None => entries.iter().position(ends)?,
        };
        entries.get(last).filter(|kept| ends(kept))?;
        for first in (0..=last).rev() {
            let kept = &entries[first];
            if kept.begins_before(&window.after) {
                return Some(entries.range(first..=last).cloned().collect());
            }
            if window.after.reaches(&kept.entry.upto) {
                return Some(entries.range(first + 1..=last).cloned().collect());
            }
            if kept.entry.joint != Joint::Whole {
                return None;
            }
        }
        None
    }

    /// Whether nothing after a position is missing here.
    pub fn retains(&self, cursor: &Cursor) -> bool {
        let state = self.lock();
        let joint = state
            .entries
            .iter()
            .rev()
            .find(|kept| kept.entry.joint != Joint::Whole);
        joint
            .or(state.entries.front())
            .is_some_and(|first| first.is_usable_from(cursor))
    }

    /// Whether the stream is surely at the present, give or take a moment: whoever relays is at work, and has been for a while.
    pub fn is_settled(&self) -> bool {
        let state = self.lock();
        let unsettled = state.unsettled.map(|at| at.elapsed());
        state.error.is_none()
            && !state.is_paused()
            && unsettled.is_none_or(|since| since > CATCH_UP_MAX)
    }

    /// Whether this very entry has come.
    fn has(&self, kept: &Kept) -> bool {
        let state = self.lock();
        let mut own = state.entries.iter().rev();
        own.any(|own| own.id == kept.id && own.entry.upto == kept.entry.upto)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under this lock is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_paused(&self) -> bool {
        self.heard.is_none_or(|heard| heard.elapsed() > PAUSE_MAX)
    }

    fn push(&mut self, kept: Arc<Kept>) {
        let before = self.entries.back().map(|last| &last.entry.upto);
        // Of what was trimmed before it was read nothing is known; a stream that has lost its end begins anew.
        if kept.entry.joint == Joint::Whole && before.is_some() && before != kept.after.as_ref() {
            self.entries.clear();
            self.bytes = 0;
            self.unsettled = Some(Instant::now());
        }
        self.last = Some(kept.id);
        if kept.entry.joint != Joint::Whole {
            self.joint = Some(Arc::clone(&kept));
            self.unsettled = Some(Instant::now());
        }
        if let (Joint::Left, Some(before)) = (kept.entry.joint, &kept.after)
            && before.epoch != kept.entry.upto.epoch
        {
            self.bridges
                .push_front((before.clone(), kept.entry.upto.clone()));
            self.bridges.truncate(BRIDGES_MAX);
        }
        match &kept.entry.upto.position {
            // A stream begins in the past, and goes on from there in another life of the database. The first window is the way to
            // the present.
            _ if kept.entry.joint == Joint::Left => {}
            // In the midst of a window rows are missing that have smaller ids than those that will come.
            Position::Within(within) => {
                let begin = kept.entry.upto.at(Position::Snapshot(within.after.clone()));
                let left = |joint: &&Arc<Kept>| joint.entry.joint == Joint::Left;
                let place = self.joint.as_ref().filter(left);
                if self.end.is_none() && place.is_none_or(|place| place.entry.upto != begin) {
                    self.end = Some(begin);
                }
            }
            Position::Id(_) | Position::Snapshot(_) => self.end = Some(kept.entry.upto.clone()),
        }
        self.bytes += kept.bytes;
        self.entries.push_back(kept);
        while self.bytes > BYTES_MAX
            && self.entries.len() > 1
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.bytes;
        }
    }
}
