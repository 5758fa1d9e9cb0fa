//! Figures for people and for machines: medians and their spread, tables, JSON.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::setup::Bench;
use super::stand::{Spent, Stand};
use super::tally::Faults;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();
const HEAD: Style = Style::new().bold();

/// A benchmark that takes more of the processor than this share of the server's time may be what is measured.
const OWN_SHARE_MAX: f64 = 1.0 / 3.0;

/// A figure over rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// None of nothing.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<_> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => return None,
            length if length % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        };
        Some(Self {
            median,
            min: *sorted.first()?,
            max: *sorted.last()?,
        })
    }
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Percentiles {
    /// Of microseconds.
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1000.0,
        }
    }

    pub(super) fn cells(&self) -> Vec<String> {
        [self.p50, self.p90, self.p99, self.p999, self.max]
            .map(|ms| number(Some(ms)))
            .into()
    }
}

/// What every command says of a server.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct About {
    pub name: String,
    /// Whether ratios are against it.
    pub is_base: bool,
    #[serde(flatten)]
    pub faults: Faults,
    /// Clients that were cut off.
    pub cut_off: u64,
    pub deliveries: u64,
    /// At the end, with all clients.
    pub rss_bytes: Option<u64>,
}

impl About {
    pub(super) fn new(stand: &Stand, is_base: bool) -> Self {
        Self {
            name: stand.name().to_owned(),
            is_base,
            faults: stand.faults,
            cut_off: stand.load.seen.gone.values().sum(),
            deliveries: stand.load.seen.deliveries,
            rss_bytes: stand.rss_bytes(),
        }
    }

    /// The cell of its ratio.
    pub(super) fn against(&self, ratio: Option<Spread>) -> String {
        if self.is_base {
            "1".into()
        } else {
            spread(ratio)
        }
    }
}

/// The head of a column of ratios, where there are several servers.
pub(super) fn against_base(what: &str, servers: &[&About]) -> Option<String> {
    let base = servers.iter().find(|server| server.is_base);
    let base = base.filter(|_| servers.len() > 1)?;
    Some(format!("{what} {}", base.name))
}

/// Which server the others are compared with.
pub(super) fn base_of(stands: &[Stand]) -> usize {
    let mut stands = stands.iter();
    stands
        .position(|stand| stand.target.dialect.limit)
        .unwrap_or(0)
}

/// Ratios of pairs of rounds.
pub(super) fn ratio(of: &[Option<f64>], against: &[Option<f64>]) -> Option<Spread> {
    let pairs = of.iter().zip(against);
    Spread::of(pairs.filter_map(|(a, b)| {
        let ratio = (*b)? / (*a)?;
        ratio.is_finite().then_some(ratio)
    }))
}

/// The processor time of the server for each of so many, in microseconds.
pub(super) fn cpu_micros_each(spent: &Spent, count: u64) -> Option<f64> {
    Some(spent.cpu?.as_secs_f64() * 1e6 / count.max(1) as f64)
}

/// The processor time of the benchmark as a share of that of the server.
pub(super) fn own_share(rounds: &[Spent]) -> Option<f64> {
    let own: Duration = rounds.iter().map(|spent| spent.own).sum();
    let server: Option<Duration> = rounds.iter().map(|spent| spent.cpu).sum();
    Some(own.as_secs_f64() / server?.as_secs_f64().max(1e-9))
}

/// Lines of cells. The first column that is not a number is aligned to the left.
pub(super) struct Table {
    lines: Vec<Vec<String>>,
    /// The column of names.
    names: usize,
}

impl Table {
    pub(super) fn new(head: &[&str], names: usize) -> Self {
        Self {
            lines: vec![head.iter().map(|&cell| cell.to_owned()).collect()],
            names,
        }
    }

    pub(super) fn line(&mut self, cells: Vec<String>) {
        self.lines.push(cells);
    }

    pub(super) fn print(&self) {
        let columns = self.lines[0].len();
        let width = |column: usize| {
            let cells = self.lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for (n, line) in self.lines.iter().enumerate() {
            let mut text = String::new();
            for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
                let aligned = if column == self.names {
                    format!("  {cell:<width$}")
                } else {
                    format!("  {cell:>width$}")
                };
                text.push_str(&aligned);
            }
            let text = text.trim_end();
            if n == 0 {
                anstream::println!("{HEAD}{text}{HEAD:#}");
            } else {
                anstream::println!("{text}");
            }
        }
    }
}

/// Three digits or so; – where nothing is known.
pub(super) fn number(value: Option<f64>) -> String {
    match value {
        None => "–".into(),
        Some(value) if value >= 999.5 => thousands(value.round() as u64),
        Some(value) if value >= 99.95 => format!("{value:.0}"),
        Some(value) if value >= 9.995 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// `12,345`.
pub(super) fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `7.91 (7.50–8.42)`.
pub(super) fn spread(value: Option<Spread>) -> String {
    match value {
        None => "–".into(),
        Some(Spread { median, min, max }) => format!(
            "{} ({}–{})",
            number(Some(median)),
            number(Some(min)),
            number(Some(max))
        ),
    }
}

pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.0} %", share * 100.0))
}

pub(super) fn megabytes(bytes: Option<u64>) -> String {
    bytes.map_or("–".into(), |bytes| {
        format!("{} MB", number(Some(bytes as f64 / 1e6)))
    })
}

/// Whether what came was right, for people.
pub(super) fn print_verdict(bench: &Bench, servers: &[&About]) {
    for About {
        name,
        faults,
        cut_off,
        deliveries,
        ..
    } in servers
    {
        if faults.any() {
            let Faults {
                lost,
                repeated,
                out_of_order,
                strays,
            } = faults;
            anstream::println!(
                "{BAD}{name}: {lost} events lost, {repeated} repeated, {out_of_order} out of order, {strays} not asked for{BAD:#}"
            );
        } else if *cut_off > 0 && !bench.is_stopped() {
            anstream::println!("{BAD}{name}: {cut_off} clients cut off{BAD:#}");
        } else if *deliveries > 0 {
            anstream::println!(
                "{GOOD}{name}: {} deliveries, each once and in order{GOOD:#}",
                thousands(*deliveries)
            );
        }
    }
    if bench.is_stopped() {
        anstream::println!("stopped early: the figures are of what was done until then");
    }
}

/// What one has to know to believe the figures.
pub(super) fn print_notes(shares: &[(String, Option<f64>)]) {
    for (name, share) in shares {
        match share {
            None => anstream::println!(
                "{DIM}{name}: no processor time, as its process is not known; --pid names it{DIM:#}"
            ),
            Some(share) if *share > OWN_SHARE_MAX => anstream::println!(
                "{DIM}{name}: the benchmark itself took {:.0} % of the server's processor time; times on shared cores are \
                 longer for it{DIM:#}",
                share * 100.0
            ),
            Some(_) => {}
        }
    }
}

/// One line of JSON.
pub(super) fn print_json(value: &impl Serialize) {
    let text = serde_json::to_string(value).expect("numbers and texts are JSON");
    anstream::println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads() {
        let of =
            |values: &[f64]| Spread::of(values.iter().copied()).map(|s| (s.median, s.min, s.max));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0]), Some((3.0, 3.0, 3.0)));
        assert_eq!(of(&[9.0, 1.0, 4.0]), Some((4.0, 1.0, 9.0)));
        assert_eq!(of(&[9.0, 1.0, 4.0, 5.0]), Some((4.5, 1.0, 9.0)));
        // Half as dear is twice as good; a round that is missing has no ratio.
        let ratio = ratio(
            &[Some(1.0), Some(2.0), None],
            &[Some(2.0), Some(2.0), Some(2.0)],
        );
        assert_eq!(
            ratio.map(|s| (s.median, s.min, s.max)),
            Some((1.5, 1.0, 2.0))
        );
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0.00"),
            (9.994, "9.99"),
            (9.996, "10.0"),
            (99.94, "99.9"),
            (99.96, "100"),
            (999.4, "999"),
            (999.6, "1,000"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(number(Some(value)), text);
        }
        assert_eq!(number(None), "–");
    }
}
