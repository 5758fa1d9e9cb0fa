//! The way through the stream that has the rows of a window: found by bisection, as positions ascend along it, and read
//! in the order of the rows' ids, as a table gives them.

use std::collections::VecDeque;
use std::sync::Arc;

use async_stream::try_stream;
use futures_util::stream::{BoxStream, StreamExt as _};

use super::entry::{EntryId, Joint, Kept};
use super::stream::Stream;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::{ChannelPattern, Event};
use crate::source::Window;

/// Most bytes of entries that are kept between finding rows and handing them out. The others are read once more.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// Entries that were read once more and are kept for the rows to come.
const AGAIN_MAX: usize = 4;

/// How near bisection comes, in milliseconds: the rest is looked through.
const NEAR_MS: u64 = 20;

/// Entries, one after another.
pub(super) struct Path {
    entries: Vec<Place>,
}

struct Place {
    id: EntryId,
    kept: Option<Arc<Kept>>,
    /// The rows that are wanted, and the place of each in the entry, where that was looked through already.
    rows: Option<Vec<(i64, u32)>>,
}

/// Where the rows of a window are.
pub(super) enum Found {
    /// Here.
    Here(Path),
    /// Some of them are not in the stream, or not any more.
    Gone,
    /// Redis does not answer, or the stream does not reach as far yet.
    Unknown(Error),
}

impl Path {
    pub fn of(entries: Vec<Arc<Kept>>) -> Self {
        let place = |kept: Arc<Kept>| Place {
            id: kept.id,
            kept: Some(kept),
            rows: None,
        };
        Self {
            entries: entries.into_iter().map(place).collect(),
        }
    }

    /// Looks for the rows of a window.
    pub async fn find(
        stream: &Stream,
        window: &Window,
        patterns: Option<&[ChannelPattern]>,
    ) -> Found {
        match look(stream, window, patterns).await {
            Ok(Some(path)) => Found::Here(path),
            Ok(None) => Found::Gone,
            Err(error) => Found::Unknown(error),
        }
    }

    /// Whether nothing after a position is missing in the stream.
    pub async fn is_retained(stream: &Stream, cursor: &Cursor) -> Result<bool, Error> {
        let Some((first, _)) = ends(stream).await? else {
            return Ok(false);
        };
        Ok(first.is_usable_from(cursor))
    }

    /// The rows, by their ids.
    pub fn rows<'a>(
        self,
        stream: &'a Stream,
        window: Window,
        patterns: Option<&'a [ChannelPattern]>,
    ) -> BoxStream<'a, Result<Arc<Event>, Error>> {
        try_stream! {
            let mut order: Vec<(i64, u32, u32)> = Vec::new();
            for (place, number) in self.entries.iter().zip(0..) {
                let found = match (&place.rows, &place.kept) {
                    (None, Some(kept)) => &wanted(kept, &window, patterns),
                    (Some(rows), _) => rows,
                    (None, None) => &Vec::new(),
                };
                order.extend(found.iter().map(|&(id, event)| (id, number, event)));
            }
            // Most often they are: only rows that were committed late are not.
            order.sort_unstable();
            let mut again: VecDeque<(u32, Arc<Kept>)> = VecDeque::new();
            for (_, number, event) in order {
                let place = &self.entries[number as usize];
                let kept = match (&place.kept, again.iter().find(|(own, _)| *own == number)) {
                    (Some(kept), _) | (None, Some((_, kept))) => Arc::clone(kept),
                    (None, None) => {
                        let kept = Arc::new(stream.get(place.id).await?.ok_or(Error::Gone)?);
                        if again.len() == AGAIN_MAX {
                            again.pop_front();
                        }
                        again.push_back((number, Arc::clone(&kept)));
                        kept
                    }
                };
                let event = kept.entry.events.get(event as usize).ok_or(Error::Gone)?;
                yield Arc::clone(event);
            }
        }
        .boxed()
    }
}

/// The rows of an entry that are of the window and match a pattern.
fn wanted(kept: &Kept, window: &Window, patterns: Option<&[ChannelPattern]>) -> Vec<(i64, u32)> {
    let is_wanted = |event: &Event| {
        window.resume_after.is_none_or(|after| event.id > after)
            && !window.after.covers(event.id, event.transaction)
            && window.upto.covers(event.id, event.transaction)
            && patterns.is_none_or(|patterns| {
                let mut channels = event.channels.iter();
                channels.any(|channel| patterns.iter().any(|pattern| pattern.matches(channel)))
            })
    };
    let events = kept.entry.events.iter().zip(0..);
    events
        .filter(|(event, _)| is_wanted(event))
        .map(|(event, number)| (event.id.0, number))
        .collect()
}

/// The first entry from which on all are joined together, and the last one.
async fn ends(stream: &Stream) -> Result<Option<(Kept, Kept)>, Error> {
    let Some(last) = stream.last("read the stream").await? else {
        return Ok(None);
    };
    let first = stream.from(last.joint, 1).await?.into_iter().next();
    Ok(first.map(|first| (first, last)))
}

/// None where something of the window is missing.
async fn look(
    stream: &Stream,
    window: &Window,
    patterns: Option<&[ChannelPattern]>,
) -> Result<Option<Path>, Error> {
    let Some((first, last)) = ends(stream).await? else {
        return Ok(None);
    };
    if !last.entry.upto.reaches(&window.upto) {
        // Of another life it never will.
        return if last.entry.upto.epoch == window.upto.epoch {
            Err(Error::Unusable(
                "the stream in Redis does not reach as far as this yet".into(),
            ))
        } else {
            Ok(None)
        };
    }
    if !first.is_usable_from(&window.after) {
        return Ok(None);
    }
    let (mut low, mut high) = (first.id, last.id.ms);
    while high.saturating_sub(low.ms) > NEAR_MS {
        let middle = low.ms + (high - low.ms) / 2;
        match stream.first_from(middle).await? {
            Some(kept) if kept.begins_before(&window.after) && kept.id > low => low = kept.id,
            _ => high = middle,
        }
    }
    read(stream, low, window, patterns).await
}

/// Reads from an entry on to the end of a window.
async fn read(
    stream: &Stream,
    first: EntryId,
    window: &Window,
    patterns: Option<&[ChannelPattern]>,
) -> Result<Option<Path>, Error> {
    let mut path = Path {
        entries: Vec::new(),
    };
    let mut kept_bytes = 0;
    let mut from = first;
    let mut end: Option<Cursor> = None;
    loop {
        let page = stream.from(from, Stream::PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        from = last.id.next();
        for kept in page {
            let goes_on = match &end {
                None => kept.is_usable_from(&window.after),
                // Trimmed meanwhile, or begun anew.
                Some(end) => kept.entry.joint == Joint::Whole && kept.after.as_ref() == Some(end),
            };
            if !goes_on {
                return Ok(None);
            }
            let is_last = kept.entry.upto.reaches(&window.upto);
            end = Some(kept.entry.upto.clone());
            let rows = wanted(&kept, window, patterns);
            if !rows.is_empty() {
                kept_bytes += kept.bytes;
                path.entries.push(Place {
                    id: kept.id,
                    kept: (kept_bytes <= KEPT_BYTES_MAX).then(|| Arc::new(kept)),
                    rows: Some(rows),
                });
            }
            if is_last {
                return Ok(Some(path));
            }
        }
    }
}
