//! `rowcast gen types`, by the real program: what it writes, that TypeScript takes it and narrows by it, and what it says
//! of schemas that are wrong.

mod files;
mod learnt;
mod samples;
mod schema;
#[path = "../support/mod.rs"]
mod support;
mod typescript;

use std::path::Path;
use std::process::{Command, Stdio};

/// What the program has said.
struct Done {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `rowcast gen types` in a folder, with nothing in the environment.
fn generate(folder: &Path, arguments: &[&str]) -> Done {
    let output = Command::new(env!("CARGO_BIN_EXE_rowcast"))
        .args(["gen", "types"])
        .args(arguments)
        .env_clear()
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the program can be run");
    Done {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// What it writes where nothing is wrong.
fn generated(folder: &Path, arguments: &[&str]) -> String {
    let done = generate(folder, arguments);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout
}

/// The schema and the file that this repository shows as what is made of it.
fn golden() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/gen_types/golden"
    ))
}
