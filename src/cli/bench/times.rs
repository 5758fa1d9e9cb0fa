//! How late events are: when each was due and sent, and what that makes when it comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hdrhistogram::Histogram;

/// When each event was due and sent. Written by the publisher, read when it has come.
#[derive(Debug)]
pub(super) struct Times {
    base: Instant,
    /// Nanoseconds since `base`: due, and sent or 0.
    of: Vec<(AtomicU64, AtomicU64)>,
    first: u64,
}

/// Microseconds from when events were sent, and from when they were due.
pub(super) struct Latency {
    pub times: Arc<Times>,
    pub sent: Histogram<u64>,
    pub due: Histogram<u64>,
}

/// Three digits of any microseconds up to an hour.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are constants")
}

impl Times {
    /// For so many events from this number on.
    pub(super) fn new(first: u64, count: usize) -> Self {
        Self {
            base: Instant::now(),
            of: (0..count).map(|_| Default::default()).collect(),
            first,
        }
    }

    pub(super) fn note(&self, number: u64, due: Instant, sent: Instant) {
        if let Some((at_due, at_sent)) = self.of.get((number - self.first) as usize) {
            let since = |at: Instant| at.saturating_duration_since(self.base).as_nanos() as u64;
            at_due.store(since(due), Ordering::Relaxed);
            at_sent.store(since(sent).max(1), Ordering::Release);
        }
    }

    /// When it is due, before it is sent.
    pub(super) fn note_due(&self, number: u64, due: Instant) {
        if let Some((at_due, _)) = self.of.get((number - self.first) as usize) {
            let since = due.saturating_duration_since(self.base).as_nanos();
            at_due.store(since as u64, Ordering::Release);
        }
    }
}

impl Latency {
    pub(super) fn new(times: Arc<Times>) -> Self {
        Self {
            times,
            sent: histogram(),
            due: histogram(),
        }
    }

    /// An event has come.
    pub(super) fn note(&mut self, number: u64, now: Instant) {
        let times = &self.times;
        let place = number.checked_sub(times.first).map(|place| place as usize);
        let Some((due, sent)) = place.and_then(|place| times.of.get(place)) else {
            return;
        };
        let now = now.saturating_duration_since(times.base).as_nanos() as u64;
        // It may be here before its sender was told that it is committed.
        let sent = match sent.load(Ordering::Acquire) {
            0 => now,
            sent => sent,
        };
        let micros = |from: u64| (now.saturating_sub(from) / 1000).max(1);
        self.sent.saturating_record(micros(sent));
        self.due
            .saturating_record(micros(due.load(Ordering::Acquire)));
    }
}
