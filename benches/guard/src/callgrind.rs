//! Counts instructions: each case in a process of its own under Callgrind, so that none changes what another finds.

use std::collections::HashMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use rowcast::bench::Bench;

/// How often the work is counted. Before, it is done as often: what is allocated once and kept is not counted.
const ROUNDS: u64 = 5;

/// What something costs.
pub struct Counted {
    /// Instructions for each unit.
    pub each: f64,
    /// The functions that have most of them, with their share.
    pub functions: Vec<(String, f64)>,
    /// All that Callgrind says.
    pub profile: PathBuf,
}

/// Counts one case.
pub fn count(bench: &Bench, size: usize) -> Counted {
    let own = env::current_exe().expect("it runs");
    let (folder, name) = (own.parent(), own.file_name());
    let (Some(folder), Some(name)) = (folder, name) else {
        fail(bench, size, "a program is a file in a folder")
    };
    let profile = own.with_file_name(format!("guard-{}-{size}.callgrind", bench.name));
    let paths = env::var_os("PATH").unwrap_or_default();
    let mut paths = env::split_paths(&paths).map(|path| path.join("valgrind"));
    let Some(valgrind) = paths.find(|path| path.is_file()) else {
        fail(bench, size, "there is no valgrind in PATH: install it");
    };
    let output = Command::new(valgrind)
        .args(["--tool=callgrind", "--toggle-collect=*counted_work*"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        // Its path and environment lie on the stack, and their length moves what is there.
        .arg(Path::new(".").join(name))
        .args(["--one", bench.name, &size.to_string()])
        .current_dir(folder)
        .env_clear()
        .output();
    let output = output.unwrap_or_else(|error| fail(bench, size, &error.to_string()));
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        fail(bench, size, &said);
    }
    let units = String::from_utf8_lossy(&output.stdout);
    let Some(units) = units.trim().parse::<u64>().ok() else {
        fail(bench, size, &said);
    };
    let functions = functions(&profile);
    let total: u64 = functions.values().sum();
    if total == 0 {
        fail(
            bench,
            size,
            "Callgrind counted nothing: it has not found the function",
        );
    }
    let mut functions: Vec<_> = functions.into_iter().collect();
    functions.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let share = |(name, own): (String, u64)| (name, own as f64 / total as f64);
    Counted {
        each: total as f64 / (units * ROUNDS) as f64,
        functions: functions.into_iter().map(share).collect(),
        profile,
    }
}

/// What runs under Callgrind: tells by how much its cost is to be divided.
pub fn do_one(bench: &Bench, size: usize) {
    let mut work = bench.prepare(size);
    for _ in 0..ROUNDS {
        (work.run)();
        (work.settle)();
    }
    for _ in 0..ROUNDS {
        counted_work(&mut *work.run);
        (work.settle)();
    }
    println!("{}", work.units);
}

/// Callgrind is told to count within a function of this name.
#[inline(never)]
fn counted_work(work: &mut dyn FnMut()) {
    work();
    // Not the last thing it does: a jump would leave it before.
    std::hint::black_box(());
}

/// The functions of a profile, with what each costs itself.
fn functions(profile: &Path) -> HashMap<String, u64> {
    let text = std::fs::read_to_string(profile).expect("Callgrind has written it");
    let mut names: HashMap<String, String> = HashMap::new();
    let mut costs: HashMap<String, u64> = HashMap::new();
    let mut current = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let is_called = line.strip_prefix("cfn=");
        if let Some(name) = line.strip_prefix("fn=").or(is_called) {
            // A name comes with its number the first time, later the number alone.
            let (number, name) = name.split_once(' ').unwrap_or((name, ""));
            if !name.is_empty() {
                names.insert(number.to_owned(), name.to_owned());
            }
            if is_called.is_none() {
                current = names.get(number).cloned().unwrap_or_default();
            }
        } else if line.starts_with("calls=") {
            // What was called costs that; it is counted where it is spent.
            lines.next();
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            let cost = line
                .split(' ')
                .nth(1)
                .and_then(|cost| cost.parse::<u64>().ok());
            *costs.entry(current.clone()).or_default() += cost.unwrap_or(0);
        }
    }
    costs
}

fn fail(bench: &Bench, size: usize, why: &str) -> ! {
    eprintln!("cannot count {} {size}: {why}", bench.name);
    std::process::exit(1)
}
