//! Where the stream has been of late, so that one that was lost can begin anew where its readers find their place.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::cursor::Cursor;

/// Between two places that are kept.
const SPACING: Duration = Duration::from_secs(1);

/// A new stream begins so far before the last end that is known of the old one. Servers follow within milliseconds, and clients
/// come back to them, which takes those of the library 30 s at most where many servers end; whoever is away for longer is
/// served by a server that has a database, or gets a reset.
pub(super) const BACK: Duration = Duration::from_mins(1);

/// The ends of the stream of the last minute in which it was seen.
#[derive(Default)]
pub(super) struct Places {
    /// Ascending in time; the first is the youngest that is at least [`BACK`] older than the last, if there is one.
    known: VecDeque<(Instant, Cursor)>,
}

impl Places {
    /// The stream ends here, now.
    pub fn note(&mut self, end: &Cursor) {
        let now = Instant::now();
        let is_due = self
            .known
            .back()
            .is_none_or(|(last, _)| now.duration_since(*last) >= SPACING);
        if !is_due {
            return;
        }
        self.known.push_back((now, end.clone()));
        while let Some((second, _)) = self.known.get(1)
            && now.duration_since(*second) >= BACK
        {
            self.known.pop_front();
        }
    }

    /// Where a new stream begins. None: the old one has never been seen.
    pub fn beginning(&self) -> Option<&Cursor> {
        self.known.front().map(|(_, end)| end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_new_stream_begins_a_minute_back() {
        let mut places = Places::default();
        assert_eq!(places.beginning(), None);
        // Ten a second, for a minute and a half.
        for n in 0..900 {
            places.note(&Cursor::after_id(1, n));
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        let begins = |places: &Places| places.beginning().and_then(Cursor::id);
        assert_eq!(begins(&places), Some(290), "of 890, the last that was kept");
        // Nothing is seen while Redis is away, however long.
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(begins(&places), Some(290));
        assert!(places.known.len() <= 62, "{}", places.known.len());
    }
}
