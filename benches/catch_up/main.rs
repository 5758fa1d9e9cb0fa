//! Catching up with the real server, in a process of its own on one core: from the table while others are live, a
//! thousand clients at once, and one that reads slowly. `cargo bench --bench catch_up`; behind `--`, any of `sqlite`,
//! `postgres`, `table`, `reconnect`, `slow` and a number of seconds pick what is measured, and for how long.

mod client;
mod feed;
mod reconnect;
mod slow;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;

use std::env;

fn main() {
    // `cargo bench` passes --bench.
    let words: Vec<_> = env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let seconds = words.iter().find_map(|word| word.parse().ok());
    let wants = |word: &str, of: &[&str]| {
        let picked = words.iter().any(|word| of.contains(&word.as_str()));
        !picked || words.iter().any(|picked| picked == word)
    };
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    let pinned = feed::pin_ourselves();
    println!(
        "{}",
        if pinned {
            "the server has one core; clients, writers and Postgres have another"
        } else {
            "no taskset here, or one core only: the server is NOT kept to one core"
        }
    );
    // Its processes are no clients of ours.
    support::Postgres::shared();
    if feed::hurry_ourselves() {
        println!("server and clients come before Postgres on their cores (renice)");
    }
    println!();
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
            let parts = ["table", "reconnect", "slow"];
            if wants("table", &parts) {
                table::measure(kind, pinned, seconds.unwrap_or(20)).await;
            }
            if wants("reconnect", &parts) {
                reconnect::measure(kind, pinned, seconds.unwrap_or(60)).await;
            }
            if wants("slow", &parts) {
                slow::measure(kind, pinned, seconds.unwrap_or(90)).await;
            }
            println!();
        }
    });
}

/// Prints a figure, and whether it is what we promise.
fn tell(what: &str, figure: &str, holds: bool) {
    let verdict = if holds { "holds" } else { "DOES NOT HOLD" };
    println!("  {what}: {figure}: {verdict}");
}
