//! What positions cost: their texts, and their order.

use std::hint::black_box;

use super::{Cursor, Epoch, Position, Snapshot};

/// A position of Postgres, at which so many transactions are under way.
pub(crate) fn sample(at: u64, in_flight: u64) -> Cursor {
    let xmax = 1_000_000 + at;
    // Every third one is: they are not a range.
    let in_flight: Vec<_> = (0..in_flight).map(|n| xmax - 3 * (in_flight - n)).collect();
    Cursor {
        epoch: Epoch {
            number: 1,
            tag: 0x1234_5678,
        },
        position: Position::Snapshot(Snapshot {
            xmin: in_flight.first().copied().unwrap_or(xmax),
            xmax,
            in_flight,
            durable: xmax,
        }),
    }
}

/// Writes it as clients get it.
pub(crate) fn encode(in_flight: usize) -> impl FnMut() {
    let cursor = sample(1, in_flight as u64);
    move || drop(black_box(black_box(&cursor).to_string()))
}

/// Reads what clients come back with.
pub(crate) fn decode(in_flight: usize) -> impl FnMut() {
    let text = sample(1, in_flight as u64).to_string();
    move || {
        let read = black_box(&text).parse::<Cursor>();
        drop(black_box(read.expect("it was a cursor")));
    }
}

/// Finds out whether a later position has all that an earlier one has.
pub(crate) fn compare(in_flight: usize) -> impl FnMut() {
    let [earlier, later] = [1, 2].map(|at| sample(at, in_flight as u64));
    move || {
        black_box(black_box(&later).reaches(black_box(&earlier)));
    }
}
