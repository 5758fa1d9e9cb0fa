//! `Snapshot`: which transactions of a Postgres cluster had ended at a moment.

use std::fmt;
use std::str::FromStr;

use super::CursorError;

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
    /// Before any transaction.
    pub const FIRST: Self = Self {
        xmin: 1,
        xmax: 1,
        in_flight: Vec::new(),
        durable: 1,
    };

    /// Whether the transaction had ended.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmin || xid < self.xmax && self.in_flight.binary_search(&xid).is_err()
    }

    /// Whether this sees every transaction that `other` does.
    pub fn reaches(&self, other: &Self) -> bool {
        self.xmax >= other.xmax && self.in_flight.iter().all(|&xid| !other.sees(xid))
    }

    /// Sees what both see.
    pub fn common(&self, other: &Self) -> Self {
        let xmax = self.xmax.min(other.xmax);
        let mut in_flight: Vec<u64> = [self, other]
            .iter()
            .flat_map(|snapshot| &snapshot.in_flight)
            .copied()
            .filter(|&xid| xid < xmax)
            .collect();
        in_flight.sort_unstable();
        in_flight.dedup();
        Self {
            xmin: self.xmin.min(other.xmin),
            xmax,
            in_flight,
            durable: self.durable.min(other.durable),
        }
    }

    /// The same moment, as far as a history knows it that has used no transaction id from `xid` on: whatever this
    /// snapshot saw beyond never happened there, and the ids will be used again.
    #[cfg(any(feature = "postgres", test))]
    pub fn cut_at(&self, xid: u64) -> Self {
        // The database reads no snapshot that begins with 0.
        let xid = xid.max(Self::FIRST.xmin);
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

#[cfg(test)]
mod tests {
    use super::*;

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
