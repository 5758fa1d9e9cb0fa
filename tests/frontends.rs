//! Front ends written from their documents, in Node and in headless Chromium, against the real program with all presets at
//! once; and the exchanges of docs/protocol once more. All of it is TypeScript, in tests/frontends.
#![cfg(feature = "sqlite")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn front_ends_written_from_their_documents_are_served() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frontends");
    install(&folder);
    npm(&folder, &["run", "--silent", "test"]);
}

/// Installs what package-lock.json says, unless that has been done.
fn install(folder: &Path) {
    let lock = read(folder.join("package-lock.json")).expect("package-lock.json is here");
    // Of the last that was installed.
    let mark = folder.join("node_modules/.installed-lock.json");
    if read(mark.clone()).is_some_and(|installed| installed == lock) {
        return;
    }
    npm(
        folder,
        &["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
    );
    fs::write(mark, lock).expect("npm has made node_modules");
}

fn read(path: PathBuf) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn npm(folder: &Path, arguments: &[&str]) {
    let output = Command::new("npm")
        .args(arguments)
        .current_dir(folder)
        .env("ROWCAST", env!("CARGO_BIN_EXE_rowcast"))
        .output()
        .expect("npm, which comes with Node: scripts/test says which is needed");
    assert!(
        output.status.success(),
        "npm {}:\n{}\n{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
