//! `Cursor`: an opaque position in the feed, and the few questions its order can answer. How a position is read from a
//! database is the source's business.

#[cfg(any(test, feature = "bench"))]
pub(crate) mod bench;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod snapshot;
mod text;

use crate::event::EventId;

pub(crate) use snapshot::Snapshot;
pub use text::{CURSOR_BYTES_MAX, CursorError};

/// A position in the feed: everything up to it is known, everything after it is to come.
///
/// Its text form is what clients get: URL-safe base64 of the position and a checksum, short (about 20 bytes),
/// the same on every server of one database, and to be treated as opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) epoch: Epoch,
    pub(crate) position: Position,
}

/// One life of a database. Positions of different epochs cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch {
    /// Counts the lives of one database from 1. 0 where the tag says more than the number: a backend's
    /// `rowcast_cursor()` knows its life, and not which number it was given.
    pub number: u64,
    /// Drawn at random by the database, so that a token of another database is noticed.
    pub tag: u32,
}

/// A place within an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Position {
    /// All rows up to this id. Exact where writers take turns, as in SQLite.
    Id(i64),
    /// All rows whose transactions this snapshot sees. Exact where they do not, as in Postgres.
    Snapshot(Snapshot),
    /// In the midst of a window between two snapshots. Boxed, as it is rare and large.
    Within(Box<Within>),
}

/// All rows of the first snapshot, and of those that only the second sees the ones up to an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Within {
    pub after: Snapshot,
    pub upto: Snapshot,
    pub id: i64,
}

impl Cursor {
    /// The position after row `id`, for a [`Source`](crate::Source) of your own whose writers take turns. `epoch` tells
    /// its lives apart.
    #[must_use]
    pub fn after_id(epoch: u32, id: i64) -> Self {
        Self {
            epoch: Epoch {
                number: epoch.into(),
                tag: 0,
            },
            position: Position::Id(id),
        }
    }

    /// The row a position of that kind is after.
    #[must_use]
    pub fn id(&self) -> Option<i64> {
        match self.position {
            Position::Id(id) => Some(id),
            Position::Snapshot(_) | Position::Within(_) => None,
        }
    }

    /// Whether whoever is at this position has the event.
    pub(crate) fn covers(&self, event: EventId, transaction: Option<u64>) -> bool {
        let sees = |snapshot: &Snapshot| transaction.is_some_and(|xid| snapshot.sees(xid));
        match &self.position {
            Position::Id(id) => event.0 <= *id,
            Position::Snapshot(snapshot) => sees(snapshot),
            Position::Within(within) => {
                sees(&within.after) || event.0 <= within.id && sees(&within.upto)
            }
        }
    }

    /// Whether whoever is at this position surely has everything that somebody at `other` has.
    pub(crate) fn reaches(&self, other: &Self) -> bool {
        self.epoch == other.epoch
            && match (&self.position, &other.position) {
                (Position::Id(own), Position::Id(other)) => own >= other,
                (Position::Within(own), Position::Within(other))
                    if own.after == other.after && own.upto == other.upto =>
                {
                    own.id >= other.id
                }
                (Position::Id(_), _) | (_, Position::Id(_)) => false,
                (own, other) => match (own.floor(), other.ceiling()) {
                    (Some(own), Some(other)) => own.reaches(other),
                    _ => false,
                },
            }
    }

    /// Whether this, as the newest position there is, cannot have come after `earlier`: it is of another life of the
    /// database, or time went backwards. Then what lies between the two is unknown.
    pub(crate) fn is_of_other_history_than(&self, earlier: &Self) -> bool {
        self.epoch != earlier.epoch
            || match (&self.position, &earlier.position) {
                (Position::Id(now), Position::Id(then)) => now < then,
                (now, then) => match (now.ceiling(), then.ceiling()) {
                    (Some(now), Some(then)) => now.xmax < then.xmax,
                    _ => true,
                },
            }
    }

    /// The position before the first row there could be.
    pub(crate) fn beginning(&self) -> Self {
        self.at(match self.position {
            Position::Id(_) => Position::Id(0),
            Position::Snapshot(_) | Position::Within(_) => Position::Snapshot(Snapshot::FIRST),
        })
    }

    /// The position after row `id` of the window that this is in or ends, where `before` is another position in it or
    /// its start.
    pub(crate) fn within_window_after(&self, before: &Self, id: EventId) -> Self {
        let (after, upto) = match (&before.position, &self.position) {
            (_, Position::Id(_)) => return self.at(Position::Id(id.0)),
            (_, Position::Within(within)) => (&within.after, &within.upto),
            (Position::Within(within), Position::Snapshot(upto)) => (&within.after, upto),
            (Position::Snapshot(after), Position::Snapshot(upto)) => (after, upto),
            (Position::Id(_), Position::Snapshot(upto)) => (upto, upto),
        };
        self.at(Position::Within(Box::new(Within {
            after: after.clone(),
            upto: upto.clone(),
            id: id.0,
        })))
    }

    /// The end of the window this is within, or this itself.
    pub(crate) fn end(&self) -> Self {
        match &self.position {
            Position::Within(within) => self.at(Position::Snapshot(within.upto.clone())),
            Position::Id(_) | Position::Snapshot(_) => self.clone(),
        }
    }

    /// The earlier of two positions; where neither surely is, one before both. None if they cannot be compared.
    pub(crate) fn earlier(&self, other: &Self) -> Option<Self> {
        if self.reaches(other) {
            Some(other.clone())
        } else if other.reaches(self) {
            Some(self.clone())
        } else {
            self.common(other)
        }
    }

    /// A position that both this and `other` reach, as near to them as can be told.
    pub(crate) fn common(&self, other: &Self) -> Option<Self> {
        if self.epoch != other.epoch {
            return None;
        }
        let position = match (&self.position, &other.position) {
            (Position::Id(own), Position::Id(other)) => Position::Id(*own.min(other)),
            (own, other) => Position::Snapshot(own.floor()?.common(other.floor()?)),
        };
        Some(self.at(position))
    }

    pub(crate) fn at(&self, position: Position) -> Self {
        Self {
            epoch: self.epoch,
            position,
        }
    }
}

impl Position {
    /// A snapshot that sees nothing this position does not have.
    fn floor(&self) -> Option<&Snapshot> {
        match self {
            Self::Id(_) => None,
            Self::Snapshot(snapshot) => Some(snapshot),
            Self::Within(within) => Some(&within.after),
        }
    }

    /// A snapshot that sees everything this position has.
    fn ceiling(&self) -> Option<&Snapshot> {
        match self {
            Self::Id(_) => None,
            Self::Snapshot(snapshot) => Some(snapshot),
            Self::Within(within) => Some(&within.upto),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(position: Position) -> Cursor {
        Cursor {
            epoch: Epoch { number: 1, tag: 1 },
            position,
        }
    }

    /// Positions drawn at random, all of one small world, are compared by what they cover.
    #[test]
    fn order_agrees_with_what_is_covered() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        // Transactions 3..13; row `id` was written by one of them.
        let rows: Vec<(EventId, Option<u64>)> = (0..40)
            .map(|id| (EventId(id), Some(random.u64(3..13))))
            .collect();
        let mut reached = 0;
        for _ in 0..20_000 {
            let [a, b] = [(); 2].map(|()| {
                let after = random_snapshot(&mut random);
                if random.bool() {
                    return cursor(Position::Snapshot(after));
                }
                // The later one sees all that the earlier one does.
                let mut upto = after.clone();
                upto.xmax = random.u64(after.xmax..=13);
                upto.in_flight.retain(|_| random.bool());
                upto.in_flight
                    .extend((after.xmax..upto.xmax).filter(|_| random.bool()));
                upto.xmin = upto.in_flight.first().copied().unwrap_or(upto.xmax);
                cursor(Position::Within(Box::new(Within {
                    after,
                    upto,
                    id: random.i64(0..40),
                })))
            });
            let covered = |cursor: &Cursor| {
                rows.iter()
                    .filter(|(id, xid)| cursor.covers(*id, *xid))
                    .map(|(id, _)| id.0)
                    .collect::<std::collections::BTreeSet<_>>()
            };
            let (has_a, has_b) = (covered(&a), covered(&b));
            if a.reaches(&b) {
                reached += 1;
                assert!(has_a.is_superset(&has_b), "seed {seed}: {a:?} {b:?}");
            }
            assert!(a.reaches(&a) && a.end().reaches(&a), "seed {seed}: {a:?}");
            let common = a.common(&b).expect("of one epoch");
            assert!(
                a.reaches(&common) && b.reaches(&common),
                "seed {seed}: {a:?} {b:?}"
            );
            assert!(
                a.reaches(&a.beginning()) && covered(&a.beginning()).is_empty(),
                "seed {seed}"
            );
        }
        assert!(reached > 100, "only {reached} were comparable, seed {seed}");
    }

    fn random_snapshot(random: &mut fastrand::Rng) -> Snapshot {
        let xmax = random.u64(3..13);
        let in_flight: Vec<u64> = (3..xmax).filter(|_| random.u8(..4) == 0).collect();
        Snapshot {
            xmin: in_flight.first().copied().unwrap_or(xmax),
            xmax,
            in_flight,
            durable: xmax,
        }
    }

    #[test]
    fn rows_of_another_epoch_are_not_reached() {
        let now = Cursor::after_id(1, 7);
        assert!(now.reaches(&Cursor::after_id(1, 7)) && !now.reaches(&Cursor::after_id(1, 8)));
        assert!(!now.reaches(&Cursor::after_id(2, 1)));
        assert_eq!(now.common(&Cursor::after_id(2, 1)), None);
        assert_eq!(
            now.common(&Cursor::after_id(1, 5)),
            Some(Cursor::after_id(1, 5))
        );
    }
}
