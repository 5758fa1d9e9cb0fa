//! The packages for pages and the console, against the real program: in Node and in headless Chromium. All of it is
//! TypeScript, in clients/; what needs no server is a step of scripts/test.
#![cfg(feature = "sqlite")]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use support::npm::{clients, succeed};

/// One at a time: browsers that wait for each other are no test of ours.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn the_client_in_node() {
    run("test:real", "core");
}

#[test]
fn the_client_in_tabs_of_a_browser() {
    run("test:e2e", ".");
}

#[test]
fn a_new_users_first_five_minutes() {
    run("test:fresh", ".");
}

#[test]
fn the_console_in_a_browser() {
    run("test:real", "console");
}

fn run(script: &str, package: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder: PathBuf = clients().join(package);
    succeed(
        Command::new("npm")
            .args(["run", "--silent", script])
            .current_dir(folder)
            .env("ROWCAST", env!("CARGO_BIN_EXE_rowcast")),
    );
}
