//! The example board as people use it: its page in headless Chromium, its real backend, and its types. The page's tests are
//! TypeScript, in examples/kanban/web/test.
#![cfg(feature = "sqlite")]

mod support;

use std::path::Path;
use std::process::Command;

use support::example::example;
use support::npm;

#[test]
fn the_board_does_what_its_page_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = root.join("examples/kanban/start");
    let biome = npm::clients().join("node_modules/.bin/biome");
    let mut lint = Command::new(biome);
    lint.args(["check", "--error-on-warnings", "--config-path=clients"]);
    npm::succeed(lint.arg("examples/kanban/web").current_dir(root));
    npm::succeed(Command::new("bash").arg(page).arg("--page"));
    let web = root.join("examples/kanban/web");
    let run = |script| {
        let mut npm = Command::new("npm");
        npm.args(["run", "--silent", script])
            .current_dir(&web)
            .env("KANBAN", example("kanban"));
        npm::succeed(&mut npm);
    };
    run("check");
    run("test");
}

#[test]
fn the_types_of_the_board_are_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kanban");
    let mut rowcast = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    let arguments = ["gen", "types", "feed.toml", "--out", "web/src/feed.ts"];
    rowcast.args(arguments).arg("--check").current_dir(folder);
    npm::succeed(&mut rowcast);
}
