//! `Cursor`: an opaque position in the feed, its text form, and the few questions its order can answer.
//! How a position is read from a database is the source's business.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Longest text of a cursor, in bytes. A snapshot with the most transactions in flight we encode takes about 600.
pub const CURSOR_BYTES_MAX: usize = 2048;

/// Most transactions in flight a token lists. Beyond it the token says "from the oldest of them on" instead:
/// whoever resumes from it may see events again, and drops them by id.
const IN_FLIGHT_MAX: usize = 256;

/// A position in the feed: everything up to it is known, everything after it is to come.
///
/// Its text form is what clients get: URL-safe base64 of the position and a checksum, short (about 20 bytes),
/// the same on every server of one database, and to be treated as opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) epoch: Epoch,
    pub(crate) position: Position,
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
            Position::Snapshot(_) => None,
        }
    }

    /// Whether this, as the newest position there is, cannot have come after `earlier`: it is of another life of the
    /// database, or time went backwards. Then what lies between the two is unknown.
    pub(crate) fn is_of_other_history_than(&self, earlier: &Self) -> bool {
        self.epoch != earlier.epoch
            || match (&self.position, &earlier.position) {
                (Position::Id(now), Position::Id(then)) => now < then,
                (Position::Snapshot(now), Position::Snapshot(then)) => now.xmax < then.xmax,
                _ => true,
            }
    }
}

/// One life of a database. Positions of different epochs cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch {
    /// Counts the lives of one database.
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
}

/// A Postgres snapshot: which transactions had committed or rolled back when it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Every transaction below it had ended.
    pub xmin: u64,
    /// No transaction from it on had ended.
    pub xmax: u64,
    /// Those between the two that had not, ascending.
    pub in_flight: Vec<u64>,
    /// No crash gives out again an id below it: the log is on the disk up to there. What rolled back, or committed
    /// asynchronously, from it on may never have happened after a crash, and its ids get another meaning.
    pub durable: u64,
}

impl Snapshot {
    /// The same moment, as far as a history knows it that has used no transaction id from `xid` on: whatever this
    /// snapshot saw beyond never happened there, and the ids will be used again.
    #[cfg(any(feature = "postgres", test))]
    pub fn cut_at(&self, xid: u64) -> Self {
        Self {
            xmin: self.xmin.min(xid),
            xmax: self.xmax.min(xid),
            in_flight: self
                .in_flight
                .iter()
                .copied()
                .filter(|&x| x < xid)
                .collect(),
            durable: self.durable.min(xid),
        }
    }
}

/// The text form of Postgres' type `pg_snapshot`: `xmin:xmax:xip,xip,…`. It does not tell what is durable.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (n, xid) in self.in_flight.iter().enumerate() {
            write!(f, "{}{xid}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Snapshot {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let number = |text: &str| text.parse().map_err(|_| CursorError::Malformed);
        let mut parts = text.splitn(3, ':');
        let mut part = || parts.next().ok_or(CursorError::Malformed);
        let (xmin, xmax, list) = (number(part()?)?, number(part()?)?, part()?);
        let in_flight = list.split(',').filter(|xid| !xid.is_empty()).map(number);
        Ok(Self {
            xmin,
            xmax,
            in_flight: in_flight.collect::<Result<_, _>>()?,
            durable: 0,
        })
    }
}

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
        f.write_str(&URL_SAFE_NO_PAD.encode(self.to_bytes()))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        if text.len() > CURSOR_BYTES_MAX {
            return Err(CursorError::TooLong);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| CursorError::Malformed)?;
        let cursor = Self::from_bytes(&bytes).ok_or(CursorError::Malformed)?;
        // One position has one text: a token that was tampered with cannot pass for another.
        if cursor.to_bytes() == bytes {
            Ok(cursor)
        } else {
            Err(CursorError::Malformed)
        }
    }
}

const KIND_ID: u8 = 1;
const KIND_SNAPSHOT: u8 = 2;

impl Cursor {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(24);
        bytes.push(match self.position {
            Position::Id(_) => KIND_ID,
            Position::Snapshot(_) => KIND_SNAPSHOT,
        });
        put_varint(&mut bytes, self.epoch.number);
        bytes.extend(self.epoch.tag.to_be_bytes());
        match &self.position {
            Position::Id(id) => put_varint(&mut bytes, id.cast_unsigned()),
            Position::Snapshot(snapshot) if snapshot.in_flight.len() > IN_FLIGHT_MAX => {
                put_varint(&mut bytes, snapshot.xmin);
                put_varint(&mut bytes, 0);
                put_varint(&mut bytes, snapshot.xmin.saturating_sub(snapshot.durable));
            }
            Position::Snapshot(snapshot) => {
                put_varint(&mut bytes, snapshot.xmin);
                put_varint(&mut bytes, snapshot.xmax.wrapping_sub(snapshot.xmin));
                put_varint(&mut bytes, snapshot.xmax.saturating_sub(snapshot.durable));
                let mut last = snapshot.xmin;
                for &xid in &snapshot.in_flight {
                    put_varint(&mut bytes, xid.wrapping_sub(last));
                    last = xid;
                }
            }
        }
        let check = checksum(&bytes);
        bytes.extend(check.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
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
            KIND_ID => Position::Id(i64::try_from(take_varint(&mut rest)?).ok()?),
            KIND_SNAPSHOT => {
                let xmin = take_varint(&mut rest)?;
                let xmax = xmin.checked_add(take_varint(&mut rest)?)?;
                let durable = xmax.checked_sub(take_varint(&mut rest)?)?;
                let mut in_flight = Vec::new();
                let mut last = xmin;
                while !rest.is_empty() {
                    last = last.checked_add(take_varint(&mut rest)?)?;
                    if last >= xmax || in_flight.last() == Some(&last) {
                        return None;
                    }
                    in_flight.push(last);
                }
                Position::Snapshot(Snapshot {
                    xmin,
                    xmax,
                    in_flight,
                    durable,
                })
            }
            _ => return None,
        };
        rest.is_empty().then_some(Self { epoch, position })
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

/// FNV-1a, folded to 16 bits: catches a token cut or mistyped. It is no signature; what a client may see is decided
/// by its channels, not by its cursor.
fn checksum(bytes: &[u8]) -> u16 {
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    (hash >> 16) as u16 ^ hash as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(xmin: u64, xmax: u64, in_flight: &[u64]) -> Cursor {
        Cursor {
            epoch: Epoch {
                number: 3,
                tag: 0xdead_beef,
            },
            position: Position::Snapshot(Snapshot {
                xmin,
                xmax,
                in_flight: in_flight.to_vec(),
                durable: xmax,
            }),
        }
    }

    #[test]
    fn text_form_round_trips_and_is_short() {
        let id = Cursor {
            epoch: Epoch { number: 1, tag: 7 },
            position: Position::Id(123_456_789),
        };
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert!(id.to_string().len() <= 20, "{id}");
        for cursor in [
            snapshot(0, 0, &[]),
            snapshot(725, 732, &[725, 730]),
            snapshot(u64::MAX - 9, u64::MAX, &[u64::MAX - 1]),
        ] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        assert!(snapshot(1_238_775, 1_238_775, &[]).to_string().len() <= 20);
    }

    #[test]
    fn text_form_keeps_what_is_durable() {
        for durable in [0, 700, 724, 732] {
            let mut cursor = snapshot(725, 732, &[725, 730]);
            let Position::Snapshot(position) = &mut cursor.position else {
                unreachable!("it is a snapshot")
            };
            position.durable = durable;
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn too_many_in_flight_become_the_oldest_of_them() {
        let many: Vec<u64> = (1000..1400).collect();
        let text = snapshot(1000, 2000, &many).to_string();
        assert!(text.len() < 30, "{text}");
        assert_eq!(text.parse(), Ok(snapshot(1000, 1000, &[])));
    }

    #[test]
    fn whatever_is_not_a_cursor_is_refused() {
        let good = snapshot(725, 732, &[725, 730]).to_string();
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
        // 16 bits of checksum and two known kinds: about 0.01 of 100,000 come through.
        assert!(passed <= 3, "{passed} random texts passed, seed {seed}");
        assert_eq!(
            "a".repeat(3000).parse::<Cursor>(),
            Err(CursorError::TooLong)
        );
    }

    #[test]
    fn a_cut_snapshot_sees_nothing_from_the_cut_on() {
        let snapshot = Snapshot {
            xmin: 5,
            xmax: 12,
            in_flight: vec![5, 9],
            durable: 11,
        };
        assert_eq!(
            snapshot.cut_at(8),
            Snapshot {
                xmin: 5,
                xmax: 8,
                in_flight: vec![5],
                durable: 8,
            }
        );
        assert_eq!(snapshot.cut_at(20), snapshot);
        assert_eq!(snapshot.to_string(), "5:12:5,9");
        let unknown = Snapshot {
            durable: 0,
            ..snapshot
        };
        assert_eq!("5:12:5,9".parse(), Ok(unknown));
        assert_eq!(
            "5:5:".parse(),
            Ok(Snapshot {
                xmin: 5,
                xmax: 5,
                in_flight: vec![],
                durable: 0,
            })
        );
    }
}
