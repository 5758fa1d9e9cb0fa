//! Laws of cursors, for fuzzing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::text::checksum;
use super::{CURSOR_BYTES_MAX, Cursor, Position, Snapshot};
use crate::event::EventId;

/// Reads up to three cursors, a line each, and a snapshot of Postgres behind them. A line with `~` before it is the
/// bytes of a cursor, without the checksum, which a fuzzer does not come by.
pub(crate) fn cursors(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n').map(|line| {
        line.strip_prefix(b"~").map_or_else(
            || String::from_utf8_lossy(line).into_owned(),
            |bytes| URL_SAFE_NO_PAD.encode([bytes, &checksum(bytes).to_be_bytes()[..]].concat()),
        )
    });
    let texts: Vec<_> = lines.by_ref().take(3).collect();
    let found: Vec<Cursor> = texts.iter().filter_map(|text| one(text)).collect();
    for line in lines.take(1) {
        snapshot(&line);
    }
    for a in &found {
        alone(a, &found);
        for b in &found {
            pair(a, b, &found);
            for c in &found {
                if a.reaches(b) && b.reaches(c) {
                    assert!(a.reaches(c), "transitive: {a:?} {b:?} {c:?}");
                }
            }
        }
    }
}

/// A text is no cursor, or the one text of its cursor. Those that the database makes have another one, with dots.
fn one(text: &str) -> Option<Cursor> {
    let cursor: Cursor = text.parse().ok()?;
    let own = cursor.to_string();
    assert!(own.len() <= CURSOR_BYTES_MAX, "{} bytes", own.len());
    if !text.contains('.') {
        assert_eq!(own, text, "one position has one text");
    }
    let again: Cursor = own.parse().expect("a cursor reads its own text");
    assert_eq!(again.to_string(), own);
    if !is_widened(&cursor) {
        assert_eq!(again, cursor);
    }
    assert!(cursor.reaches(&again), "a text is not ahead of its cursor");
    Some(cursor)
}

/// Whether its text says less than it knows.
fn is_widened(cursor: &Cursor) -> bool {
    match &cursor.position {
        Position::Id(_) => false,
        Position::Snapshot(snapshot) => snapshot.in_flight.len() > 256,
        Position::Within(within) => {
            within.after.in_flight.len() > 256 || within.upto.in_flight.len() > 256
        }
    }
}

fn alone(a: &Cursor, all: &[Cursor]) {
    assert!(a.reaches(a), "reflexive: {a:?}");
    assert!(!a.is_of_other_history_than(a), "{a:?}");
    assert!(
        a.end().reaches(a),
        "the end of a window is not before it: {a:?}"
    );
    let first = a.beginning();
    assert!(a.reaches(&first), "{a:?}");
    for (id, xid) in rows(all) {
        // No row and no transaction has a number below 1.
        if id.0 > 0 && xid.is_none_or(|xid| xid > 0) {
            assert!(!first.covers(id, xid), "the beginning has {id} of {xid:?}");
        }
    }
    assert_eq!(a.id().is_some(), matches!(a.position, Position::Id(_)));
}

fn pair(a: &Cursor, b: &Cursor, all: &[Cursor]) {
    if a.reaches(b) {
        assert_eq!(a.epoch, b.epoch);
        assert!(!a.is_of_other_history_than(b), "{a:?} {b:?}");
        for (id, xid) in rows(all) {
            assert!(
                a.covers(id, xid) || !b.covers(id, xid),
                "{a:?} reaches {b:?} and has not {id} of {xid:?}"
            );
        }
    }
    let common = a.common(b);
    assert_eq!(common, b.common(a), "symmetric: {a:?} {b:?}");
    assert_eq!(common.is_some(), a.epoch == b.epoch && is_alike(a, b));
    if let Some(common) = common {
        assert!(
            a.reaches(&common) && b.reaches(&common),
            "{a:?} {b:?} {common:?}"
        );
        one(&common.to_string()).expect("what two have in common is a position");
    }
    if a.epoch == b.epoch && is_alike(a, b) && !a.is_of_other_history_than(b) {
        let within = a.within_window_after(b, EventId(7));
        assert!(within.reaches(&within) && within.end().reaches(&within));
        // Long lists of numbers far apart are of nobody's database.
        let text = within.to_string();
        assert!(
            text.len() > CURSOR_BYTES_MAX || one(&text).is_some(),
            "{within:?}"
        );
    }
}

fn is_alike(a: &Cursor, b: &Cursor) -> bool {
    a.id().is_some() == b.id().is_some()
}

/// Rows at the edges of these cursors, and of the transactions there.
fn rows(all: &[Cursor]) -> Vec<(EventId, Option<u64>)> {
    let mut ids = vec![1, 7];
    let mut xids = vec![1];
    for cursor in all {
        let mut snapshots = |snapshot: &Snapshot| {
            xids.extend([snapshot.xmin, snapshot.xmax]);
            xids.extend(snapshot.in_flight.iter().take(3));
        };
        match &cursor.position {
            Position::Id(id) => ids.push(*id),
            Position::Snapshot(snapshot) => snapshots(snapshot),
            Position::Within(within) => {
                snapshots(&within.after);
                snapshots(&within.upto);
                ids.push(within.id);
            }
        }
    }
    let mut rows = Vec::new();
    for id in ids {
        let id = EventId(id);
        rows.push((id, None));
        for &xid in &xids {
            rows.extend([xid.saturating_sub(1), xid, xid.saturating_add(1)].map(|x| (id, Some(x))));
        }
    }
    rows
}

/// The text form of the database is read as it is written.
fn snapshot(text: &str) {
    if let Ok(snapshot) = text.parse::<Snapshot>() {
        let again: Snapshot = snapshot.to_string().parse().expect("its own text");
        assert_eq!(again, snapshot);
    }
}
