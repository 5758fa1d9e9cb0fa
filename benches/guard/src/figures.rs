//! The figures that are kept in the repository.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use rowcast::bench::ALL;

/// What each bench may cost at a size.
pub struct Figures {
    all: BTreeMap<String, BTreeMap<String, f64>>,
    /// With what they were made.
    compiler: String,
}

impl Figures {
    /// Those of `benches/guard.toml`; none where there is no such file.
    pub fn read() -> Self {
        let path = path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut table: toml::Table = text
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let compiler = table.remove("compiler");
        let numbers = |table: &toml::Value| {
            let numbers = table.as_table()?.iter();
            let number =
                |(size, value): (&String, &toml::Value)| Some((size.clone(), value.as_float()?));
            numbers.map(number).collect::<Option<BTreeMap<_, _>>>()
        };
        let all = table.iter().map(|(name, table)| {
            let numbers = numbers(table);
            let numbers = numbers.unwrap_or_else(|| panic!("{}: {name}", path.display()));
            (name.clone(), numbers)
        });
        Self {
            all: all.collect(),
            compiler: compiler
                .and_then(|text| text.as_str().map(str::to_owned))
                .unwrap_or_default(),
        }
    }

    /// Instructions for each unit.
    pub fn get(&self, name: &str, size: usize) -> Option<f64> {
        self.all.get(name)?.get(&size.to_string()).copied()
    }

    /// Sets that.
    pub fn set(&mut self, name: &str, size: usize, each: f64) {
        let sizes = self.all.entry(name.to_owned()).or_default();
        sizes.insert(size.to_string(), each);
        self.compiler = compiler();
    }

    /// Writes those of benches that there are.
    pub fn write(&self) {
        let mut text = String::from(
            "# Instructions that each may cost. scripts/guard compares, and writes it: scripts/guard --accept.\n",
        );
        let _ = writeln!(text, "compiler = \"{}\"", self.compiler);
        for bench in ALL.iter().filter(|bench| !bench.guarded.is_empty()) {
            let _ = writeln!(
                text,
                "\n# {}; for each {}, by {}\n[{}]",
                bench.about, bench.per, bench.grows, bench.name
            );
            for size in bench.guarded {
                if let Some(each) = self.get(bench.name, *size) {
                    let _ = writeln!(text, "{size} = {each:.1}");
                }
            }
        }
        std::fs::write(path(), text).expect("the repository can be written to");
    }

    /// What may be another reason for a difference.
    pub fn tells_of_another_compiler(&self) -> Option<String> {
        let present = compiler();
        (present != self.compiler).then(|| {
            format!(
                "The figures are of {}, and this is {present}: that may be the reason. Look at the commit before yours.",
                self.compiler
            )
        })
    }
}

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../guard.toml"))
}

/// Its version, and what it compiles for.
fn compiler() -> String {
    let output = Command::new("rustc").arg("-vV").output();
    let output = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    let line = |key| {
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap_or("?")
    };
    format!("rustc {} for {}", line("release: "), line("host: "))
}
