//! What our own parts cost, in nanoseconds, and how that grows with the work: from encoding a batch to reading the table.
//! `cargo bench --features bench --bench micro`; behind `--`, words pick what is measured (`fan_out`, `cursor`), and
//! criterion's options work. Results of the run before are compared with. The same in instructions: `scripts/guard --sizes`.
//!
//! `-- in-turn fan_out_others` does all sizes in turn, again and again, so that what else the machine does hits all alike:
//! for ratios.

#[path = "../../tests/support/mod.rs"]
mod support;
mod windows;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode};
use rowcast::bench::{ALL, Bench, Work};
use serde_json::Value;

/// How long sizes are measured in turn.
const IN_TURN: Duration = Duration::from_secs(20);

fn main() {
    // `cargo bench` passes --bench.
    let words: Vec<_> = env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    if let Some((first, names)) = words.split_first()
        && first == "in-turn"
    {
        for bench in ALL
            .iter()
            .filter(|bench| names.iter().any(|name| name == bench.name))
        {
            in_turn(bench);
        }
        return;
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("micro");
    let mut criterion = Criterion::default()
        .without_plots()
        .output_directory(&folder)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    let mut tables = Vec::new();
    for bench in ALL {
        tables.push(Table::of(
            &mut criterion,
            &folder,
            (bench.name, bench.about),
            (bench.grows, bench.per),
            bench.sizes,
            |size| bench.prepare(size),
        ));
    }
    for database in ["sqlite", "postgres"] {
        let name = format!("window_{database}");
        tables.push(Table::of(
            &mut criterion,
            &folder,
            (&name, "reads a window of the table"),
            ("rows", "row"),
            windows::SIZES,
            |rows| windows::read(database, rows),
        ));
    }
    criterion.final_summary();
    for table in tables {
        table.show();
    }
}

/// Measures all sizes of a bench in turn.
fn in_turn(bench: &Bench) {
    let mut works: Vec<_> = bench
        .sizes
        .iter()
        .map(|&size| bench.prepare(size))
        .collect();
    let mut rounds = vec![Vec::new(); works.len()];
    let began = Instant::now();
    while began.elapsed() < IN_TURN {
        for (work, rounds) in works.iter_mut().zip(&mut rounds) {
            let began = Instant::now();
            (work.run)();
            rounds.push(began.elapsed().as_secs_f64() * 1e9 / work.units as f64);
            (work.settle)();
        }
    }
    let mut table = Table {
        name: bench.name.to_owned(),
        about: bench.about.to_owned(),
        grows: bench.grows,
        per: bench.per,
        columns: Vec::new(),
    };
    for (size, rounds) in bench.sizes.iter().zip(&mut rounds) {
        rounds.sort_by(f64::total_cmp);
        table.columns.push((*size, rounds[rounds.len() / 2]));
    }
    table.show();
    let first = table.columns[0].1;
    print!("  {:<34}", "of the first");
    table
        .columns
        .iter()
        .for_each(|(_, each)| print!("{:>10.2}x", each / first));
    println!();
}

/// What one bench took, by size.
struct Table {
    name: String,
    about: String,
    grows: &'static str,
    per: &'static str,
    columns: Vec<(usize, f64)>,
}

impl Table {
    fn of(
        criterion: &mut Criterion,
        folder: &Path,
        (name, about): (&str, &str),
        (grows, per): (&'static str, &'static str),
        sizes: &[usize],
        prepare: impl Fn(usize) -> Work,
    ) -> Self {
        let mut group = criterion.benchmark_group(name);
        // One round of the largest takes a good part of a second.
        group.sampling_mode(SamplingMode::Flat);
        let mut columns = Vec::new();
        for &size in sizes {
            // Only what was asked for is prepared.
            let mut work = None;
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                let work: &mut Work = work.get_or_insert_with(|| prepare(size));
                bencher.iter_custom(|rounds| {
                    let mut spent = Duration::ZERO;
                    for _ in 0..rounds {
                        let began = Instant::now();
                        (work.run)();
                        spent += began.elapsed();
                        (work.settle)();
                    }
                    spent
                });
            });
            let estimates = folder
                .join(name)
                .join(size.to_string())
                .join("new/estimates.json");
            if let Some(work) = work
                && let Some(nanoseconds) = median(&estimates)
            {
                columns.push((size, nanoseconds / work.units as f64));
            }
        }
        group.finish();
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            grows,
            per,
            columns,
        }
    }

    fn show(&self) {
        if self.columns.is_empty() {
            return;
        }
        println!("\n{}: {}", self.name, self.about);
        print!("  {:<34}", self.grows);
        self.columns
            .iter()
            .for_each(|(size, _)| print!("{size:>11}"));
        print!("\n  {:<34}", format!("ns for each {}", self.per));
        self.columns
            .iter()
            .for_each(|(_, each)| print!("{each:>11.1}"));
        println!();
    }
}

/// What criterion has found, in nanoseconds.
fn median(estimates: &Path) -> Option<f64> {
    let text = fs::read_to_string(estimates).ok()?;
    let estimates: Value = serde_json::from_str(&text).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}
