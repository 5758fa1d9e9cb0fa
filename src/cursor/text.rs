//! The text form of a cursor: what clients get, keep, and give back.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Cursor, Epoch, Position, Snapshot, Within};

/// Longest text of a cursor, in bytes. A snapshot with the most transactions in flight we encode takes about 1,000, and
/// a position within a window has two.
pub const CURSOR_BYTES_MAX: usize = 4096;

/// Most transactions in flight a token lists. Beyond it the token says "from the oldest of them on" instead:
/// whoever resumes from it may see events again, and drops them by id.
const IN_FLIGHT_MAX: usize = 256;

/// Why a text is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// Not the text of any cursor: cut short, mistyped, or made up.
    #[error("not a cursor: pass on unchanged what an earlier frame or answer carried in `cursor`")]
    Malformed,
    /// Longer than [`CURSOR_BYTES_MAX`].
    #[error("cursor is longer than {CURSOR_BYTES_MAX} bytes")]
    TooLong,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.to_bytes(IN_FLIGHT_MAX)))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        if text.len() > CURSOR_BYTES_MAX {
            return Err(CursorError::TooLong);
        }
        if text.contains('.') {
            return from_database(text).ok_or(CursorError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| CursorError::Malformed)?;
        let cursor = from_bytes(&bytes).ok_or(CursorError::Malformed)?;
        // One position has one text: a token that was tampered with cannot pass for another.
        if cursor.to_bytes(IN_FLIGHT_MAX) == bytes {
            Ok(cursor)
        } else {
            Err(CursorError::Malformed)
        }
    }
}

const KIND_ID: u8 = 1;
const KIND_SNAPSHOT: u8 = 2;
const KIND_WITHIN: u8 = 3;

impl Cursor {
    /// Its text with all transactions in flight, however many. Not for clients: it may be longer than what they may send.
    #[cfg_attr(
        not(feature = "redis"),
        expect(dead_code, reason = "positions in Redis are told in full")
    )]
    pub(crate) fn to_full_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.to_bytes(usize::MAX))
    }

    /// Reads what [`Cursor::to_full_text`] made.
    ///
    /// # Errors
    /// When it did not.
    #[cfg_attr(
        not(feature = "redis"),
        expect(dead_code, reason = "positions in Redis are told in full")
    )]
    pub(crate) fn from_full_text(text: &str) -> Result<Self, CursorError> {
        let bytes = URL_SAFE_NO_PAD.decode(text);
        bytes
            .ok()
            .and_then(|bytes| from_bytes(&bytes))
            .ok_or(CursorError::Malformed)
    }

    fn to_bytes(&self, in_flight_max: usize) -> Vec<u8> {
        let told = |snapshot| told(snapshot, in_flight_max);
        // The start of the window is told where its end, as it is told, is not behind it. Whoever resumes there sees
        // again what it had of the window.
        if let Position::Within(within) = &self.position
            && !told(&within.upto).reaches(&told(&within.after))
        {
            let start = self.at(Position::Snapshot(within.after.clone()));
            return start.to_bytes(in_flight_max);
        }
        let mut bytes = Vec::with_capacity(24);
        bytes.push(match self.position {
            Position::Id(_) => KIND_ID,
            Position::Snapshot(_) => KIND_SNAPSHOT,
            Position::Within(_) => KIND_WITHIN,
        });
        put_varint(&mut bytes, self.epoch.number);
        bytes.extend(self.epoch.tag.to_be_bytes());
        match &self.position {
            Position::Id(id) => put_varint(&mut bytes, id.cast_unsigned()),
            Position::Snapshot(snapshot) => put_snapshot(&mut bytes, &told(snapshot)),
            Position::Within(within) => {
                for snapshot in [&within.after, &within.upto] {
                    let mut part = Vec::with_capacity(16);
                    put_snapshot(&mut part, &told(snapshot));
                    put_varint(&mut bytes, part.len() as u64);
                    bytes.extend(part);
                }
                put_varint(&mut bytes, within.id.cast_unsigned());
            }
        }
        let check = checksum(&bytes);
        bytes.extend(check.to_be_bytes());
        bytes
    }
}

fn from_bytes(bytes: &[u8]) -> Option<Cursor> {
    let (body, check) = bytes.split_last_chunk::<2>()?;
    if checksum(body) != u16::from_be_bytes(*check) {
        return None;
    }
    let (&kind, mut rest) = body.split_first()?;
    let number = take_varint(&mut rest)?;
    let (tag, mut rest) = rest.split_first_chunk::<4>()?;
    let epoch = Epoch {
        number,
        tag: u32::from_be_bytes(*tag),
    };
    let position = match kind {
        KIND_ID => Position::Id(take_id(&mut rest)?),
        KIND_SNAPSHOT => Position::Snapshot(snapshot(std::mem::take(&mut rest))?),
        KIND_WITHIN => {
            let mut part = || {
                let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                let (part, behind) = rest.split_at_checked(length)?;
                rest = behind;
                snapshot(part)
            };
            let (after, upto) = (part()?, part()?);
            // A window that ends before it starts has no place within it.
            if !upto.reaches(&after) {
                return None;
            }
            let id = take_id(&mut rest)?;
            Position::Within(Box::new(Within { after, upto, id }))
        }
        _ => return None,
    };
    rest.is_empty().then_some(Cursor { epoch, position })
}

/// A snapshot as a token tells it that may list so many.
fn told(snapshot: &Snapshot, in_flight_max: usize) -> Cow<'_, Snapshot> {
    if snapshot.in_flight.len() <= in_flight_max {
        return Cow::Borrowed(snapshot);
    }
    Cow::Owned(Snapshot {
        xmin: snapshot.xmin,
        xmax: snapshot.xmin,
        in_flight: Vec::new(),
        durable: snapshot.durable.min(snapshot.xmin),
    })
}

fn put_snapshot(bytes: &mut Vec<u8>, snapshot: &Snapshot) {
    put_varint(bytes, snapshot.xmin);
    put_varint(bytes, snapshot.xmax.wrapping_sub(snapshot.xmin));
    put_varint(bytes, snapshot.xmax.saturating_sub(snapshot.durable));
    let mut last = snapshot.xmin;
    for &xid in &snapshot.in_flight {
        put_varint(bytes, xid.wrapping_sub(last));
        last = xid;
    }
}

/// Reads a snapshot to the end of the bytes.
fn snapshot(mut bytes: &[u8]) -> Option<Snapshot> {
    let xmin = take_varint(&mut bytes)?;
    let xmax = xmin.checked_add(take_varint(&mut bytes)?)?;
    let durable = xmax.checked_sub(take_varint(&mut bytes)?)?;
    let mut in_flight = Vec::new();
    let mut last = xmin;
    while !bytes.is_empty() {
        last = last.checked_add(take_varint(&mut bytes)?)?;
        in_flight.push(last);
    }
    Snapshot {
        xmin,
        xmax,
        in_flight,
        durable,
    }
    .checked()
}

/// What the database itself makes, in SQL (migration 0003): `i.EPOCH.TAG.ID` or
/// `s.EPOCH.TAG.DURABLE.XMIN.XMAX.XIP-XIP-…`.
fn from_database(text: &str) -> Option<Cursor> {
    let mut parts = text.split('.');
    let kind = parts.next()?;
    let mut part = || parts.next();
    let epoch = Epoch {
        number: part()?.parse().ok()?,
        tag: part()?.parse().ok()?,
    };
    let position = match kind {
        "i" => Position::Id(part()?.parse().ok().filter(|&id| id >= 0)?),
        "s" => {
            let durable: u64 = part()?.parse().ok()?;
            let (xmin, xmax) = (part()?.parse().ok()?, part()?.parse().ok()?);
            let in_flight = part()?.split('-').filter(|xid| !xid.is_empty());
            let in_flight = in_flight.map(str::parse).collect::<Result<_, _>>().ok()?;
            let snapshot = Snapshot {
                xmin,
                xmax,
                in_flight,
                durable: durable.min(xmax),
            };
            Position::Snapshot(snapshot.checked()?)
        }
        _ => return None,
    };
    parts.next().is_none().then_some(Cursor { epoch, position })
}

impl Snapshot {
    /// Itself, if it is one that a database can have made. Beyond 2⁶³ the database would not read it.
    fn checked(self) -> Option<Self> {
        let ascend = self.in_flight.is_sorted_by(|one, next| one < next);
        let inside = self
            .in_flight
            .iter()
            .all(|xid| (self.xmin..self.xmax).contains(xid));
        let real = self.xmin > 0 && self.xmin <= self.xmax && i64::try_from(self.xmax).is_ok();
        (ascend && inside && real).then_some(self)
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take_id(bytes: &mut &[u8]) -> Option<i64> {
    i64::try_from(take_varint(bytes)?).ok()
}

/// FNV-1a, folded to 16 bits: catches a token cut or mistyped. It is no signature; what a client may see is decided
/// by its channels, not by its cursor.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    (hash >> 16) as u16 ^ hash as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch {
        number: 3,
        tag: 0xdead_beef,
    };

    fn snapshot(xmin: u64, xmax: u64, in_flight: &[u64]) -> Snapshot {
        Snapshot {
            xmin,
            xmax,
            in_flight: in_flight.to_vec(),
            durable: xmax,
        }
    }

    fn at(xmin: u64, xmax: u64, in_flight: &[u64]) -> Cursor {
        Cursor {
            epoch: EPOCH,
            position: Position::Snapshot(snapshot(xmin, xmax, in_flight)),
        }
    }

    fn within(after: Snapshot, upto: Snapshot, id: i64) -> Cursor {
        Cursor {
            epoch: EPOCH,
            position: Position::Within(Box::new(Within { after, upto, id })),
        }
    }

    #[test]
    fn text_form_round_trips_and_is_short() {
        let id = Cursor::after_id(1, 123_456_789);
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert!(id.to_string().len() <= 20, "{id}");
        let last = i64::MAX as u64;
        for cursor in [
            at(1, 1, &[]),
            at(725, 732, &[725, 730]),
            at(last - 9, last, &[last - 1]),
            within(snapshot(725, 732, &[725]), snapshot(730, 740, &[735]), 42),
        ] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        assert!(at(1_238_775, 1_238_775, &[]).to_string().len() <= 20);
    }

    #[test]
    fn text_form_keeps_what_is_durable() {
        for durable in [0, 700, 724, 732] {
            let position = Position::Snapshot(Snapshot {
                durable,
                ..snapshot(725, 732, &[725, 730])
            });
            let cursor = Cursor {
                epoch: EPOCH,
                position,
            };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn too_many_in_flight_become_the_oldest_of_them() {
        let many: Vec<u64> = (1000..1400).collect();
        let text = at(1000, 2000, &many).to_string();
        assert!(text.len() < 30, "{text}");
        assert_eq!(text.parse(), Ok(at(1000, 1000, &[])));
        // The longest there is.
        let most: Vec<u64> = (0..256).map(|n| 1000 + n * 1_000_000).collect();
        let most = snapshot(1000, 1_000_000_000, &most);
        let text = within(most.clone(), most, i64::MAX).to_string();
        assert!(text.len() <= CURSOR_BYTES_MAX, "{}", text.len());
        assert!(text.parse::<Cursor>().is_ok());
    }

    #[test]
    fn a_window_that_ends_before_it_starts_is_told_by_its_start() {
        // Of the end, the oldest of too many in flight is told, which was there before the start.
        let many: Vec<u64> = (1000..1400).collect();
        let start = snapshot(900, 1100, &[900]);
        let cursor = within(start.clone(), snapshot(1000, 2000, &many), 42);
        let told = at(900, 1100, &[900]);
        assert_eq!(cursor.to_string().parse(), Ok(told.clone()));
        assert!(cursor.reaches(&told));
        // One that somebody made up, from the bytes that are written for a true one.
        let end = snapshot(1200, 1200, &[]);
        let mut bytes = within(start, end.clone(), 42).to_bytes(IN_FLIGHT_MAX);
        let mut of_end = Vec::new();
        put_snapshot(&mut of_end, &end);
        let place = bytes.windows(of_end.len()).position(|part| part == of_end);
        let mut earlier = Vec::new();
        put_snapshot(&mut earlier, &snapshot(1050, 1050, &[]));
        let place = place.expect("the end is in it");
        bytes.splice(place..place + of_end.len(), earlier);
        bytes.truncate(bytes.len() - 2);
        let check = checksum(&bytes);
        bytes.extend(check.to_be_bytes());
        let text = URL_SAFE_NO_PAD.encode(bytes);
        assert_eq!(text.parse::<Cursor>(), Err(CursorError::Malformed));
    }

    #[test]
    fn whatever_is_not_a_cursor_is_refused() {
        let good = at(725, 732, &[725, 730]).to_string();
        for length in 0..good.len() {
            assert!(good[..length].parse::<Cursor>().is_err(), "cut to {length}");
        }
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut passed = 0;
        for _ in 0..100_000 {
            let length = random.usize(..40);
            let text: String = (0..length).map(|_| random.alphanumeric()).collect();
            if let Ok(cursor) = text.parse::<Cursor>() {
                assert_eq!(cursor.to_string(), text, "seed {seed}");
                passed += 1;
            }
        }
        // 16 bits of checksum and three known kinds: about 0.02 of 100,000 come through.
        assert!(passed <= 3, "{passed} random texts passed, seed {seed}");
        assert_eq!(
            "a".repeat(5000).parse::<Cursor>(),
            Err(CursorError::TooLong)
        );
    }

    /// The checksum keeps out mistakes, not malice: whoever makes one that fits must not get further than nonsense.
    #[test]
    fn forged_bytes_with_a_right_checksum_do_no_harm() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut parsed = 0;
        for _ in 0..200_000 {
            let mut bytes = vec![random.u8(1..5), random.u8(..4), 1, 2, 3, 4];
            for _ in 0..random.usize(..24) {
                // Short varints, and the ends of the range.
                bytes.push(match random.u8(..4) {
                    0 => random.u8(..),
                    1 => 0xff,
                    _ => random.u8(..12),
                });
            }
            let check = checksum(&bytes);
            bytes.extend(check.to_be_bytes());
            let text = URL_SAFE_NO_PAD.encode(&bytes);
            let Ok(cursor) = text.parse::<Cursor>() else {
                continue;
            };
            parsed += 1;
            assert_eq!(cursor.to_string(), text, "seed {seed}");
            assert!(cursor.reaches(&cursor.beginning()), "seed {seed}: {text}");
            assert!(cursor.end().reaches(&cursor), "seed {seed}: {text}");
        }
        assert!(parsed > 100, "{parsed} parsed, seed {seed}");
    }

    #[test]
    fn what_the_database_makes_is_read() {
        let mut expected = at(725, 732, &[725, 730]);
        assert_eq!(
            "s.3.3735928559.732.725.732.725-730".parse(),
            Ok(expected.clone())
        );
        expected.position = Position::Snapshot(snapshot(732, 732, &[]));
        assert_eq!("s.3.3735928559.732.732.732.".parse(), Ok(expected));
        assert_eq!("i.7.0.42".parse(), Ok(Cursor::after_id(7, 42)));
        for bad in [
            "i.7.0",
            "i.7.0.-1",
            "i.7.0.1.2",
            "i.7.99999999999.1",
            "s.0.0.1.5.4.",
            "s.0.0.1.0.4.",
            "s.0.0.9.5.8.9",
            "s.0.0.9.5.8.6-5",
            "s.0.0.9.5.99999999999999999999.",
            ".",
            "x.1.2.3",
        ] {
            assert_eq!(bad.parse::<Cursor>(), Err(CursorError::Malformed), "{bad}");
        }
    }
}
