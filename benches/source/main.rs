//! Reading the table: what a row costs in a large window, what a window costs that is empty, what a look costs that
//! finds nothing, and how long after its commit an event is handed out at several rates, with the processor time that
//! takes us and Postgres. `cargo bench --bench source`; behind `--`, any of `sqlite`, `postgres`, `rows`, `idle`,
//! `follow` pick what is measured, and a number says how many rows are read or for how many seconds.

mod follow;
mod rows;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::env;
use std::fs;
use std::time::Duration;

use support::Database;

fn main() {
    // `cargo bench` passes --bench.
    let words: Vec<_> = env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let number = words.iter().find_map(|word| word.parse::<u32>().ok());
    let wants = |word: &str, of: &[&str]| {
        let picked = words.iter().any(|word| of.contains(&word.as_str()));
        !picked || words.iter().any(|picked| picked == word)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for kind in ["sqlite", "postgres"] {
            if !wants(kind, &["sqlite", "postgres"]) {
                continue;
            }
            println!("{kind}");
            let parts = ["rows", "idle", "follow"];
            if wants("rows", &parts) {
                rows::measure(&database(kind).await, number.unwrap_or(100_000).into()).await;
            }
            if wants("idle", &parts) {
                follow::idle(&database(kind).await, number.unwrap_or(10).into()).await;
            }
            if wants("follow", &parts) {
                follow::measure(&database(kind).await, number.unwrap_or(10).into()).await;
            }
        }
    });
}

async fn database(kind: &str) -> Database {
    match kind {
        "sqlite" => Database::sqlite().await,
        _ => Database::postgres().await,
    }
}

/// Processor time of all threads of a process, user and kernel.
fn cpu(process: &str) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Duration::ZERO;
    };
    let nanoseconds = threads.flatten().filter_map(|thread| {
        // A thread may have ended meanwhile.
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// Processor time of those backends of Postgres that serve a feed; none of SQLite, which is in the process that reads.
async fn cpu_of_backends(connection: &mut support::Connection) -> Duration {
    if matches!(connection, support::Connection::Sqlite(_)) {
        return Duration::ZERO;
    }
    let backends = "SELECT pid::bigint FROM pg_stat_activity
                     WHERE application_name = 'rowcast' AND datname = current_database()";
    let backends = connection.numbers(backends).await;
    backends.iter().map(|pid| cpu(&pid.to_string())).sum()
}
