//! The programs of `[[example]]`, which cargo does not hand to tests as it does the one of the package.

use std::path::PathBuf;
use std::process::Command;

use super::npm::succeed;

/// Where the example is. `cargo test` has built it, unless it was asked for one test alone.
pub fn example(name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--example", name]);
    // With other features, all would be built again.
    if !cfg!(feature = "postgres") {
        cargo.args(["--no-default-features", "--features", "sqlite"]);
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    succeed(cargo.current_dir(env!("CARGO_MANIFEST_DIR")));
    // target/debug/deps/kanban-… → target/debug/examples/kanban
    let own = std::env::current_exe().expect("this program has a path");
    let profile = own.ancestors().nth(2).expect("it is in deps");
    profile.join("examples").join(name)
}
