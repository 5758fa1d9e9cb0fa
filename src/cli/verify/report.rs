//! The comparison of what was written with what was received, for people and for machines.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::receiver::Notes;
use super::rows::RowKey;
use super::writer::{Fate, Written};
use crate::error::Error;
use crate::event::Channel;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// Lost rows that are named.
const NAMED_MAX: usize = 5;

/// What is in the table.
pub(super) struct Table {
    /// Rows that have to have come.
    pub rows: HashSet<RowKey>,
    /// Rows committed so late that they need not.
    pub later: HashSet<RowKey>,
}

/// What was found out. The JSON of `--json`.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    channel: String,
    /// How long was written.
    seconds: f64,
    clients: usize,
    /// Rows in the table at the end.
    rows: usize,
    /// Rows whose writers were not told what became of them. The table knows.
    unknown: usize,
    rolled_back: usize,
    /// Rows in the table that a client was not given, of all clients.
    lost: usize,
    /// Rows that a client was given more than once.
    doubled: u64,
    /// Rows that a client was given and that were never committed.
    never_committed: usize,
    /// Rows that a client was given after a later one of the same writer.
    out_of_order: usize,
    /// Rows that came again on the wire after a cut, as they may, and were dropped by the client.
    repeats: u64,
    /// How often clients were told to refetch, by reason.
    resets: BTreeMap<String, usize>,
    reconnects: u64,
    /// Milliseconds from when the database had answered the COMMIT to when a client had the row.
    late_ms: Late,
    /// Some of the lost.
    examples: Vec<RowKey>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Late {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

impl Report {
    pub(super) fn new(
        channel: &Channel,
        length: Duration,
        written: &[Written],
        table: &Table,
        clients: &[&Notes],
    ) -> Self {
        let mut report = Self {
            channel: channel.as_str().to_owned(),
            seconds: length.as_secs_f64(),
            clients: clients.len(),
            rows: table.rows.len(),
            ..Self::default()
        };
        for row in written {
            match row.fate {
                Fate::Committed(_) => {}
                Fate::RolledBack => report.rolled_back += 1,
                Fate::Unknown => report.unknown += 1,
            }
        }
        let fates: HashMap<_, _> = written.iter().map(|row| (row.key, row.fate)).collect();
        let mut late = Vec::new();
        for notes in clients {
            report.compare(&fates, table, notes, &mut late);
        }
        report.examples.sort_unstable();
        report.examples.dedup();
        report.examples.truncate(NAMED_MAX);
        late.sort_unstable();
        report.late_ms = Late::of(&late);
        report
    }

    /// Adds what one client was given.
    fn compare(
        &mut self,
        fates: &HashMap<RowKey, Fate>,
        table: &Table,
        notes: &Notes,
        late: &mut Vec<Duration>,
    ) {
        let lost = table.rows.iter().filter(|key| !notes.has(**key)).copied();
        let before = self.examples.len();
        self.examples.extend(lost);
        self.lost += self.examples.len() - before;
        self.doubled += notes.doubled;
        self.repeats += notes.repeats;
        self.reconnects += notes.connections.saturating_sub(1);
        for reason in &notes.resets {
            *self.resets.entry(reason.clone()).or_default() += 1;
        }
        let mut greatest = HashMap::new();
        for key in &notes.order {
            match fates.get(key) {
                Some(Fate::Committed(answered)) => {
                    // A transaction whose end nobody was told may have ended after the next: only these have an order.
                    let greatest = greatest.entry(key.writer).or_insert(0);
                    if key.number < *greatest {
                        self.out_of_order += 1;
                    }
                    *greatest = key.number.max(*greatest);
                    // The row may have come before the answer.
                    late.extend(
                        notes
                            .at(*key)
                            .map(|at| at.saturating_duration_since(*answered)),
                    );
                }
                // Somebody may have deleted a row that was committed; nobody can have deleted one that was not.
                Some(Fate::RolledBack | Fate::Unknown) | None => {
                    if !table.rows.contains(key) && !table.later.contains(key) {
                        self.never_committed += 1;
                    }
                }
            }
        }
    }

    pub(super) fn print(&self, json: bool) {
        if json {
            let text = serde_json::to_string(self).expect("numbers and texts are JSON");
            anstream::println!("{text}");
            return;
        }
        let count = |n: u64, what: &str| {
            let style = if n == 0 { GOOD } else { BAD };
            anstream::println!("  {style}{n:>9}{style:#}  {what}");
        };
        anstream::println!(
            "{} rows in {:.0} s, to {} {}, on channel {}",
            self.rows,
            self.seconds,
            self.clients,
            if self.clients == 1 {
                "client"
            } else {
                "clients"
            },
            self.channel
        );
        count(self.lost as u64, "lost");
        count(self.doubled, "doubled");
        count(self.out_of_order as u64, "out of the order of their writer");
        count(self.never_committed as u64, "received and never committed");
        for (reason, times) in &self.resets {
            anstream::println!("  {times:>9}  resets ({reason})");
        }
        anstream::println!(
            "  {DIM}{:>9}  reconnects, after which {} rows came again and were dropped{DIM:#}",
            self.reconnects,
            self.repeats
        );
        if self.unknown > 0 {
            anstream::println!(
                "  {DIM}{:>9}  rows whose COMMIT was not answered; the table says which are there{DIM:#}",
                self.unknown
            );
        }
        let Late { p50, p90, p99, max } = &self.late_ms;
        anstream::println!(
            "  late by {p50:.1} ms (half), {p90:.1} ms (90 %), {p99:.1} ms (99 %), {max:.1} ms (all)"
        );
        if self.lost == self.rows * self.clients {
            anstream::println!("  nothing came at all: does the server read this database?");
            return;
        }
        for key in &self.examples {
            anstream::println!("  lost: row {} of writer {}", key.number, key.writer);
        }
    }

    /// Whether every committed row came, once.
    pub(super) fn result(&self) -> Result<(), Error> {
        if self.lost == 0
            && self.doubled == 0
            && self.never_committed == 0
            && self.out_of_order == 0
        {
            return Ok(());
        }
        Err(Error::Unverified {
            lost: self.lost as u64,
            doubled: self.doubled,
            never_committed: self.never_committed as u64,
            out_of_order: self.out_of_order as u64,
        })
    }
}

impl Late {
    fn of(sorted: &[Duration]) -> Self {
        let at = |share: f64| {
            let index = (sorted.len() as f64 * share) as usize;
            let late = sorted.get(index.min(sorted.len().saturating_sub(1)));
            late.map_or(0.0, |late| (late.as_secs_f64() * 10_000.0).round() / 10.0)
        };
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn key(number: u64) -> RowKey {
        RowKey { writer: 1, number }
    }

    /// What a client was given, as a report on these rows.
    fn report(given: &[u64]) -> Report {
        let now = Instant::now();
        let fates = [
            Fate::Committed(now),
            Fate::RolledBack,
            Fate::Unknown,
            Fate::Committed(now),
            Fate::Unknown,
            Fate::Committed(now),
        ];
        let written: Vec<_> = (1..)
            .zip(fates)
            .map(|(number, fate)| Written {
                key: key(number),
                fate,
            })
            .collect();
        let table = Table {
            rows: [1, 3, 4].map(key).into(),
            later: [5].map(key).into(),
        };
        let mut notes = Notes::default();
        for number in given {
            notes.note(key(*number), now + Duration::from_millis(*number));
        }
        let channel = Channel::parse("test").expect("a channel");
        Report::new(&channel, Duration::ZERO, &written, &table, &[&notes])
    }

    #[test]
    fn what_is_right_is_right() {
        // 5 was committed so late that it may come or not; 6 was committed and deleted by somebody.
        for given in [&[1, 3, 4][..], &[1, 3, 4, 5], &[1, 3, 4, 5, 6]] {
            let report = report(given);
            assert!(report.result().is_ok(), "{report:?}");
            assert_eq!((report.rows, report.rolled_back, report.unknown), (3, 1, 2));
        }
        // When it was committed nobody knows.
        assert!(report(&[1, 4, 3]).result().is_ok());
        // Rounded to tenths.
        assert_eq!(format!("{:?}", report(&[1, 3, 4]).late_ms.max), "4.0");
    }

    #[test]
    fn what_is_wrong_is_counted() {
        let wrong = |given: &[u64]| {
            let report = report(given);
            assert!(report.result().is_err(), "{report:?}");
            (
                report.lost,
                report.doubled,
                report.never_committed,
                report.out_of_order,
            )
        };
        assert_eq!(wrong(&[1, 4]), (1, 0, 0, 0));
        assert_eq!(wrong(&[]), (3, 0, 0, 0));
        assert_eq!(wrong(&[1, 3, 1, 4]), (0, 1, 0, 0));
        assert_eq!(wrong(&[1, 2, 3, 4]), (0, 0, 1, 0));
        assert_eq!(wrong(&[1, 3, 4, 9]), (0, 0, 1, 0));
        assert_eq!(wrong(&[4, 1, 3]), (0, 0, 0, 1));
    }
}
