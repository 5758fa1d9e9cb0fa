//! Node's packages: installed as their lock file says, and their programs run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

/// The packages of the clients, in this repository.
pub fn clients() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    install(&folder);
    folder
}

/// Installs what package-lock.json says, unless that has been done. Others who do the same wait.
pub fn install(folder: &Path) {
    let lock = folder.join("package-lock.json");
    let turn = File::open(&lock).expect("package-lock.json is here");
    turn.lock().expect("files can be locked");
    let written = |path: &Path| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
    // npm's own note of what it has installed.
    let installed = written(&folder.join("node_modules/.package-lock.json"));
    if installed.is_some_and(|installed| Some(installed) >= written(&lock)) {
        return;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    succeed(npm.current_dir(folder));
}

/// Runs a command that must not fail, and gives what it says.
pub fn succeed(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/test says what is needed"));
    let said = String::from_utf8_lossy(&stdout);
    assert!(
        status.success(),
        "{command:?}:\n{said}\n{}",
        String::from_utf8_lossy(&stderr)
    );
    said.into_owned()
}
