//! Holds what is ours to a number of instructions: counts them with Callgrind, and compares with `benches/guard.toml`.
//! `scripts/guard --help` says how to use it.
//!
//! Instructions are the same on a busy machine and an idle one. What they do not tell is what waits for memory, and the
//! kernel's part: `cargo bench` measures time.

mod callgrind;
mod figures;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rowcast::bench::{ALL, Bench};

use callgrind::Counted;
use figures::Figures;

/// By how much something may get dearer, and by how much cheaper before its figure is to be lowered, in percent.
const TOLERANCE_PERCENT: f64 = 5.0;

/// Functions shown of what got dearer.
const FUNCTIONS: usize = 5;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    if let ["--one", name, size] = words[..] {
        callgrind::do_one(bench(name), size.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    let (flags, names): (Vec<&str>, Vec<&str>) =
        words.iter().partition(|word| word.starts_with("--"));
    let is_known = |flag: &&&str| ["--accept", "--sizes"].contains(*flag);
    if let Some(flag) = flags.iter().find(|flag| !is_known(flag)) {
        eprintln!("there is no {flag}; scripts/guard --help says what there is");
        return ExitCode::from(64);
    }
    let wanted: Vec<_> = ALL
        .iter()
        .filter(|bench| names.is_empty() || names.iter().any(|name| bench.name.contains(*name)))
        .collect();
    if wanted.is_empty() {
        let all: Vec<_> = ALL.iter().map(|bench| bench.name).collect();
        eprintln!(
            "nothing here is called {}; there are {}",
            names[0],
            all.join(", ")
        );
        return ExitCode::from(64);
    }
    if flags.contains(&"--sizes") {
        show_sizes(&wanted);
        return ExitCode::SUCCESS;
    }
    let cases = wanted.iter().flat_map(|bench| {
        let sizes = bench.guarded.iter();
        sizes.map(move |&size| (*bench, size))
    });
    let counted = count(&cases.collect::<Vec<_>>());
    if flags.contains(&"--accept") {
        let mut figures = Figures::read();
        for (bench, size, counted) in &counted {
            figures.set(bench.name, *size, counted.each);
        }
        figures.write();
        println!("accepted: say in the commit what has changed, and why it is worth it");
        return ExitCode::SUCCESS;
    }
    compare(&counted)
}

/// The bench of this name.
fn bench(name: &str) -> &'static Bench {
    let mut all = ALL.iter();
    all.find(|bench| bench.name == name)
        .expect("it has this name")
}

type Case = (&'static Bench, usize);

/// Counts the instructions of each, as many at a time as there are cores.
fn count(cases: &[Case]) -> Vec<(&'static Bench, usize, Counted)> {
    let next = AtomicUsize::new(0);
    let counted = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&(bench, size)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let one = callgrind::count(bench, size);
                    let mut counted = counted.lock().expect("no thread panics with it");
                    counted.push((bench, size, one));
                }
            });
        }
    });
    let mut counted = counted.into_inner().expect("all threads have ended");
    let place = |bench: &Bench| ALL.iter().position(|other| other.name == bench.name);
    counted.sort_by_key(|(bench, size, _)| (place(bench), *size));
    counted
}

/// Shows what each costs, beside its figure, and fails when one costs more.
fn compare(counted: &[(&'static Bench, usize, Counted)]) -> ExitCode {
    let figures = Figures::read();
    let (mut dearer, mut cheaper) = (Vec::new(), 0);
    println!(
        "{:<30}{:>14}{:>14}{:>9}",
        "instructions for each", "figure", "now", ""
    );
    for (bench, size, now) in counted {
        let name = format!("{} {size}", bench.name);
        let Some(figure) = figures.get(bench.name, *size) else {
            println!("{name:<30}{:>14}{:>14.1}  no figure yet", "", now.each);
            dearer.push((bench, *size, now, None));
            continue;
        };
        let percent = (now.each / figure - 1.0) * 100.0;
        let verdict = if percent > TOLERANCE_PERCENT {
            dearer.push((bench, *size, now, Some(percent)));
            "  DEARER"
        } else if percent < -TOLERANCE_PERCENT {
            cheaper += 1;
            "  cheaper"
        } else {
            ""
        };
        println!(
            "{name:<30}{figure:>14.1}{:>14.1}{percent:>+8.1} %{verdict}  {}",
            now.each, bench.per
        );
    }
    if cheaper > 0 {
        println!(
            "\n{cheaper} got more than {TOLERANCE_PERCENT} % cheaper: keep it so with scripts/guard --accept"
        );
    }
    if dearer.is_empty() {
        return ExitCode::SUCCESS;
    }
    for (bench, size, now, percent) in &dearer {
        let by = percent.map_or("has no figure".to_owned(), |percent| {
            format!("costs {percent:.1} % more for each {}", bench.per)
        });
        println!(
            "\n{} {size} {by}: {}; {size} {}",
            bench.name, bench.about, bench.grows
        );
        for (function, share) in now.functions.iter().take(FUNCTIONS) {
            println!("  {:>5.1} %  {function}", share * 100.0);
        }
        println!("  more of it: callgrind_annotate {}", now.profile.display());
    }
    println!(
        "\nMore than {TOLERANCE_PERCENT} % above the figures of benches/guard.toml. If it is worth it, accept it on purpose: \
         scripts/guard --accept, and say why in the commit."
    );
    if let Some(told) = figures.tells_of_another_compiler() {
        println!("{told}");
    }
    ExitCode::FAILURE
}

/// Shows what each costs as work grows.
fn show_sizes(wanted: &[&'static Bench]) {
    for bench in wanted {
        println!("\n{}: {}", bench.name, bench.about);
        let cases: Vec<_> = bench.sizes.iter().map(|&size| (*bench, size)).collect();
        for (_, size, counted) in count(&cases) {
            println!(
                "  {size:>9} {}: {:.1} instructions for each {}",
                bench.grows, counted.each, bench.per
            );
        }
    }
}
