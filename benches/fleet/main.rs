//! Several servers on one Postgres, or on a stream: what each asks of the database, idle and while 500 events a second are
//! written, and how soon one hears of a broadcast that another was given. `cargo bench --bench fleet`; behind `--`, `cost` or
//! `broadcast` picks what is measured, and a number says for how many seconds, or how many broadcasts.

mod broadcast;
mod cost;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::env;

fn main() {
    // `cargo bench` passes --bench.
    let words: Vec<_> = env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let number = words.iter().find_map(|word| word.parse::<u32>().ok());
    let wants = |word: &str| {
        let picked = words
            .iter()
            .any(|word| word == "cost" || word == "broadcast");
        !picked || words.iter().any(|picked| picked == word)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        if wants("broadcast") {
            broadcast::measure(number.unwrap_or(300)).await;
        }
        if wants("cost") {
            cost::measure(number.unwrap_or(10)).await;
        }
    });
}
