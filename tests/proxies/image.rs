//! The image, as far as it goes without Docker: its build is given all files that Cargo asks for, and nothing secret.

use std::fs;
use std::process::Command;

use crate::support::npm::succeed;
use crate::support::temp_dir;

/// What .dockerignore lets through.
fn given() -> Vec<String> {
    let text = fs::read_to_string(".dockerignore").expect("it is there");
    let lines = text.lines().filter_map(|line| line.strip_prefix('!'));
    lines.map(str::to_owned).collect()
}

#[test]
fn its_build_has_all_that_cargo_asks_for() {
    let folder = temp_dir();
    succeed(
        Command::new("cp")
            .args(["-r", "--parents"])
            .args(given())
            .arg(folder.path()),
    );
    // Ends at once, but reads everything that the manifest names before.
    let output = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--offline", "--bin", "absent"])
        .current_dir(folder.path())
        .output()
        .expect("cargo is here");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no bin target named `absent`"), "{said}");
}

#[test]
fn it_is_not_root_and_has_what_the_files_of_operators_use() {
    let text = fs::read_to_string("Dockerfile").expect("it is there");
    let last = text.rsplit("FROM ").next().expect("it is made from one");
    let line = |word: &str| last.lines().find_map(|line| line.strip_prefix(word));
    assert_eq!(line("USER "), Some("65532"));
    assert_eq!(
        line("ENTRYPOINT "),
        Some(r#"["/usr/local/bin/rowcast"]"#),
        "commands of compose.yaml are its arguments"
    );
    // Which has bash, for the health check.
    assert!(last.starts_with("debian:"), "{last}");
    assert!(given().iter().all(|path| !path.starts_with("docs")));
}
