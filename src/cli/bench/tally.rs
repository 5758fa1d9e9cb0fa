//! What one client has to receive, and what it did: the events of its channels, once each and in order.

use std::collections::BTreeSet;
use std::ops::AddAssign;

use serde::Serialize;

/// Missing events that one client remembers, to tell a late one from one that comes twice.
const MISSING_MAX: usize = 10_000;

/// What went wrong. The JSON of `--json`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Faults {
    /// Events that never came.
    pub lost: u64,
    /// Events that came again.
    pub repeated: u64,
    /// Events that came after a later one of their channel.
    pub out_of_order: u64,
    /// Events of channels that the client did not ask for.
    pub strays: u64,
}

impl Faults {
    pub(super) fn any(self) -> bool {
        self != Self::default()
    }
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.strays += other.strays;
    }
}

/// The books of one client. Events are numbered through; the nth is on channel n modulo the number of channels.
#[derive(Debug)]
pub(super) struct Tally {
    /// Its channels, ascending, each with the number that has to come next.
    wanted: Box<[(u32, u64)]>,
    channels: u64,
    /// What was before it does not count.
    start: u64,
    missing: BTreeSet<u64>,
    faults: Faults,
}

impl Tally {
    /// For a client of these channels, of so many in all, that is to receive everything from `start` on.
    pub(super) fn new(wanted: &[u32], channels: u32, start: u64) -> Self {
        let mut wanted: Box<[_]> = wanted.iter().map(|&channel| (channel, 0)).collect();
        wanted.sort_unstable();
        let mut tally = Self {
            wanted,
            channels: u64::from(channels),
            start: 0,
            missing: BTreeSet::new(),
            faults: Faults::default(),
        };
        tally.restart(start);
        tally
    }

    /// Forgets what was, and wants everything from here on.
    pub(super) fn restart(&mut self, start: u64) {
        self.start = start;
        self.missing.clear();
        self.faults = Faults::default();
        for (channel, next) in &mut self.wanted {
            let channel = u64::from(*channel);
            // The first number of the channel that is no less than the start.
            *next = start + (channel + self.channels - start % self.channels) % self.channels;
        }
    }

    /// Notes an event. Whether it is the first time.
    pub(super) fn note(&mut self, number: u64) -> bool {
        let channel = (number % self.channels) as u32;
        let place = match &*self.wanted {
            [(only, _)] if *only == channel => Ok(0),
            wanted => wanted.binary_search_by_key(&channel, |(channel, _)| *channel),
        };
        let Ok(place) = place else {
            self.faults.strays += 1;
            return false;
        };
        let next = self.wanted[place].1;
        if number == next {
            self.wanted[place].1 += self.channels;
            return true;
        }
        if number < self.start {
            return false;
        }
        if number > next {
            self.skip(place, number);
            self.wanted[place].1 = number.saturating_add(self.channels);
            return true;
        }
        if self.missing.remove(&number) {
            // What was given up when the books were closed was said then.
            self.faults.lost = self.faults.lost.saturating_sub(1);
            self.faults.out_of_order += 1;
            return true;
        }
        self.faults.repeated += 1;
        false
    }

    /// Closes the books: everything before this number has to be there by now. Gives what went wrong since the last time.
    pub(super) fn close(&mut self, end: u64) -> Faults {
        for place in 0..self.wanted.len() {
            self.skip(place, end);
        }
        std::mem::take(&mut self.faults)
    }

    /// How many events it still waits for, before this number.
    pub(super) fn outstanding(&self, end: u64) -> u64 {
        let of = |&(_, next): &(u32, u64)| end.saturating_sub(next).div_ceil(self.channels);
        self.wanted.iter().map(of).sum::<u64>()
    }

    /// Takes what is due on a channel before `end` for lost, until it comes.
    fn skip(&mut self, place: usize, end: u64) {
        let next = &mut self.wanted[place].1;
        let count = end.saturating_sub(*next).div_ceil(self.channels);
        self.faults.lost += count;
        let room = MISSING_MAX - self.missing.len().min(MISSING_MAX);
        for step in 0..count.min(room as u64) {
            self.missing.insert(*next + step * self.channels);
        }
        *next = next.saturating_add(count * self.channels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(wanted: &[u32], channels: u32, given: &[u64], end: u64) -> [u64; 4] {
        let mut tally = Tally::new(wanted, channels, 10);
        for &number in given {
            tally.note(number);
        }
        let faults = tally.close(end);
        assert_eq!(tally.outstanding(end), 0);
        [
            faults.lost,
            faults.repeated,
            faults.out_of_order,
            faults.strays,
        ]
    }

    #[test]
    fn one_channel() {
        for (given, expected) in [
            (&[10, 11, 12][..], [0, 0, 0, 0]),
            (&[9, 10, 11, 12], [0, 0, 0, 0]),
            (&[10, 12], [1, 0, 0, 0]),
            (&[10, 11], [1, 0, 0, 0]),
            (&[], [3, 0, 0, 0]),
            (&[10, 11, 11, 12], [0, 1, 0, 0]),
            (&[10, 12, 11], [0, 0, 1, 0]),
            (&[12, 10, 11, 10], [0, 1, 2, 0]),
        ] {
            assert_eq!(faults(&[0], 1, given, 13), expected, "{given:?}");
        }
    }

    #[test]
    fn many_channels_are_in_order_each() {
        // Of 4 channels it has 3 and 1; from 10 on these are 11, 15, 19 and 13, 17.
        let channels = [3, 1];
        assert_eq!(
            faults(&channels, 4, &[11, 13, 15, 17, 19], 20),
            [0, 0, 0, 0]
        );
        assert_eq!(
            faults(&channels, 4, &[13, 17, 11, 15, 19], 20),
            [0, 0, 0, 0]
        );
        assert_eq!(
            faults(&channels, 4, &[11, 13, 19, 15, 17], 20),
            [0, 0, 1, 0]
        );
        assert_eq!(
            faults(&channels, 4, &[11, 12, 13, 15, 17], 20),
            [1, 0, 0, 1]
        );
    }

    #[test]
    fn books_are_closed_more_than_once() {
        let mut tally = Tally::new(&[0], 1, 0);
        assert_eq!(tally.outstanding(3), 3);
        assert!(tally.note(0) && tally.note(1));
        assert_eq!(tally.outstanding(3), 1);
        assert_eq!(tally.close(3).lost, 1);
        // It came after all.
        assert!(tally.note(2) && tally.note(3));
        let late = tally.close(4);
        assert_eq!(late.out_of_order, 1);
        tally.restart(9);
        assert!(!tally.note(4) && tally.note(9));
        assert!(!tally.close(10).any());
    }
}
