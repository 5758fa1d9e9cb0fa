//! Holds the tree to its own rules: imports point left along the way of a row, only `source/` speaks SQL, only `http/`
//! knows warp, and the first line of every file says what lives there. With std only, so that it runs first and fast.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Module → what of the crate it may name. The order is the way of a row; docs/ARCHITECTURE.md tells why it is so.
/// Change both or neither.
const ARROWS: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("cursor", &["event"]),
    ("draft", &["event"]),
    ("error", &[]),
    ("stats", &[]),
    ("metrics", &["stats"]),
    ("auth", &["error", "event"]),
    ("limits", &["stats"]),
    ("source", &["cursor", "error", "event"]),
    ("tail", &["cursor", "error", "event", "source", "stats"]),
    (
        "relay",
        &["cursor", "error", "event", "source", "stats", "tail"],
    ),
    (
        "broadcaster",
        &["cursor", "error", "event", "source", "stats", "tail"],
    ),
    ("presence", &["error", "event", "source", "stats", "tail"]),
    (
        "protocol",
        &["cursor", "event", "presence", "stats", "tail"],
    ),
    (
        "hub",
        &[
            "auth",
            "broadcaster",
            "cursor",
            "error",
            "event",
            "presence",
            "protocol",
            "source",
            "stats",
            "tail",
        ],
    ),
    (
        "session",
        &["auth", "event", "hub", "limits", "protocol", "stats"],
    ),
    (
        "commands",
        &[
            "auth",
            "broadcaster",
            "error",
            "event",
            "hub",
            "source",
            "stats",
            "tail",
        ],
    ),
    (
        "publisher",
        &[
            "broadcaster",
            "commands",
            "cursor",
            "error",
            "event",
            "source",
        ],
    ),
    (
        "http",
        &[
            "auth",
            "commands",
            "cursor",
            "draft",
            "error",
            "event",
            "hub",
            "limits",
            "metrics",
            "presence",
            "protocol",
            "publisher",
            "session",
            "source",
            "stats",
        ],
    ),
    (
        "retention",
        &["cursor", "error", "event", "source", "stats"],
    ),
    (
        "config",
        &[
            "auth",
            "error",
            "event",
            "http",
            "hub",
            "presence",
            "protocol",
            "retention",
            "source",
            "tail",
        ],
    ),
    (
        "server",
        &[
            "auth",
            "broadcaster",
            "commands",
            "config",
            "error",
            "http",
            "hub",
            "presence",
            "publisher",
            "relay",
            "retention",
            "source",
        ],
    ),
    (
        "cli",
        &[
            "auth",
            "config",
            "draft",
            "error",
            "event",
            "http",
            "hub",
            "protocol",
            "relay",
            "retention",
            "server",
            "source",
            "tail",
        ],
    ),
    // In builds for benchmarks and in tests only.
    ("bench", &["auth", "cursor", "http", "hub", "protocol"]),
    // In builds for fuzzing and in tests only.
    (
        "fuzz",
        &["auth", "cli", "cursor", "http", "protocol", "source"],
    ),
];

/// Words that belong to one module: outside of it (and of tests) they do not occur.
const HOMES: &[(&str, &[&str])] = &[
    ("sqlx::query", &["source"]),
    ("warp::", &["http"]),
    ("tungstenite::", &["http", "cli"]),
    ("flate2::", &["protocol"]),
    ("println!", &["cli"]),
];

/// Files a reader needs not be sent to: entry points without a module, and tests.
const APART: &[&str] = &["lib", "main", "simulation"];

/// Lines of a file before it wants to be split by noun.
const LINES_MAX: usize = 500;

#[test]
fn imports_point_left() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut faults = Vec::new();
    for file in files(Path::new("src"), "rs") {
        let module = module_of(&file);
        if APART.contains(&module.as_str()) {
            continue;
        }
        let Some(allowed) = allowed.get(module.as_str()) else {
            faults.push(format!(
                "{}: module {module} is not in the table of arrows",
                file.display()
            ));
            continue;
        };
        for (number, line) in code(&file) {
            for name in line
                .split("crate::")
                .skip(1)
                .map(first_word)
                .filter(|name| !name.is_empty())
            {
                if name != module && !allowed.contains(&name.as_str()) {
                    faults.push(format!(
                        "{}:{number}: {module} must not name {name}",
                        file.display()
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn words_stay_at_home() {
    let mut faults = Vec::new();
    for file in files(Path::new("src"), "rs") {
        let module = module_of(&file);
        for (number, line) in code(&file) {
            for (word, homes) in HOMES {
                if line.contains(word) && !homes.contains(&module.as_str()) {
                    faults.push(format!(
                        "{}:{number}: {word} belongs to {}",
                        file.display(),
                        homes.join(" and ")
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_say_what_lives_in_them_and_are_short() {
    let mut faults = Vec::new();
    for folder in ["src", "tests", "examples", "benches"] {
        for file in files(Path::new(folder), "rs") {
            let text = fs::read_to_string(&file).expect("files are text");
            if !text.starts_with("//! ") {
                faults.push(format!(
                    "{}: the first line says what lives here: //! …",
                    file.display()
                ));
            }
            let lines = text.lines().count();
            if folder == "src" && lines > LINES_MAX {
                faults.push(format!(
                    "{}: {lines} lines; split it by noun",
                    file.display()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn both_databases_count_their_migrations_alike() {
    let names = |folder| {
        files(Path::new(folder), "sql")
            .iter()
            .map(|file| file.file_name().map(ToOwned::to_owned))
            .collect::<Vec<_>>()
    };
    assert_eq!(names("migrations/postgres"), names("migrations/sqlite"));
}

#[test]
fn documents_name_files_that_exist() {
    let mut faults = Vec::new();
    let mut documents = files(Path::new("docs"), "md");
    documents.extend(["README.md", "CHANGELOG.md"].map(PathBuf::from));
    for document in documents {
        let text = fs::read_to_string(&document).expect("documents are text");
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let path = link.split('#').next().unwrap_or_default();
            let target = document.parent().unwrap_or(Path::new("")).join(path);
            if !path.is_empty() && !path.contains("://") && !target.exists() {
                faults.push(format!("{}: there is no {path}", document.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn attacks_are_tested() {
    let text = fs::read_to_string("docs/SECURITY.md").expect("documents are text");
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let mut faults = Vec::new();
    // The head is no attack.
    for row in rows.skip(1) {
        let named = row.trim_end_matches([' ', '|']).rsplit("| ").next();
        let test = named.and_then(|cell| cell.trim_matches('`').split_once("::"));
        let Some((file, name)) = test else {
            faults.push(format!("no test is named: {row}"));
            continue;
        };
        let code = fs::read_to_string(file).unwrap_or_default();
        if !code.contains(&format!("fn {name}(")) {
            faults.push(format!("{file} has no test {name}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The files below a folder with this ending, in order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("folders can be read").path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path
            .extension()
            .is_some_and(|extension| extension == ending)
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// `src/hub/shard.rs` → `hub`, `src/tail.rs` → `tail`.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix("src").expect("a file of src");
    let first = inside.components().next().expect("files have names");
    Path::new(first.as_os_str())
        .with_extension("")
        .display()
        .to_string()
}

/// The lines of a file without comments, up to its tests.
fn code(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).expect("files are text");
    let lines = text
        .lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    lines
        .map(|(n, line)| {
            (
                n + 1,
                line.split("//").next().unwrap_or_default().to_owned(),
            )
        })
        .collect()
}

fn first_word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}
