//! What looks like the same database and is another, or looks like another and is the same: a standby, one promoted
//! without the last of the log, a crash that forgets commits, a restored dump, a logical replica, a table or a sequence
//! set back, a clock that jumps. Whatever it is: what is there arrives once, and nobody goes on as if nothing were missing.

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "postgres")]
mod clock;
#[cfg(feature = "postgres")]
mod crash;
#[cfg(feature = "postgres")]
mod doctor;
#[cfg(feature = "postgres")]
mod failover;
#[cfg(feature = "postgres")]
mod replica;
#[cfg(feature = "postgres")]
mod restore;
mod scene;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "postgres")]
mod table;
#[cfg(feature = "postgres")]
mod writer;

use std::process::Command;

/// What `rowcast COMMAND` gives on this database: its exit code, and all that it prints.
fn rowcast(command: &[&str], url: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rowcast"))
        .args(command)
        .args(["--database-url", url])
        .output()
        .expect("rowcast starts");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8(text).expect("it prints text"),
    )
}

/// What it gives, which has to end with this exit code and have these words in it.
fn expect(command: &[&str], url: &str, code: i32, words: &[&str]) -> String {
    let (ended, text) = rowcast(command, url);
    assert_eq!(ended, Some(code), "{command:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{command:?}, no {word:?} in: {text}");
    }
    text
}
