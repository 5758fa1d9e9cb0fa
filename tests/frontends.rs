//! Front ends written from their documents, in Node and in headless Chromium, against the real program with all presets at
//! once; and the exchanges of docs/protocol once more. All of it is TypeScript, in tests/frontends.
#![cfg(feature = "sqlite")]

mod support;

use std::path::Path;
use std::process::Command;

use support::npm::{install, succeed};

#[test]
fn front_ends_written_from_their_documents_are_served() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frontends");
    install(&folder);
    succeed(
        Command::new("npm")
            .args(["run", "--silent", "test"])
            .current_dir(folder)
            .env("ROWCAST", env!("CARGO_BIN_EXE_rowcast")),
    );
}
