//! Gives sqlx's macros what they need to check statements without a database.
//!
//! `query!` reads one `query-HASH.json` for each statement from a directory. The repository holds
//! them as one file instead, `sqlx-data.json` (`{hash: query}`, of Postgres and SQLite alike), which
//! this script unpacks. `scripts/prepare` writes that file.

use std::{env, error::Error, fs, io, path::Path};

use serde_json::{Map, Value};

/// Every statement of both databases: hash of its text → what its database said about it.
const QUERIES: &str = "sqlx-data.json";

/// Set by `scripts/prepare`, which has real databases and wants the macros to ask them.
const PREPARE: &str = "SQLX_PREPARE";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={QUERIES}");
    // `sqlx::migrate!` embeds these files, but cargo does not see that it reads them.
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-env-changed={PREPARE}");

    if env::var_os(PREPARE).is_some_and(|value| !value.is_empty()) {
        return;
    }
    if let Err(error) = unpack() {
        // Unlike a panic, this is shown as one plain line.
        println!("cargo::error={error}");
    }
}

fn unpack() -> Result<(), Box<dyn Error>> {
    let out_dir = env::var("OUT_DIR").map_err(|_| "OUT_DIR is not set: run this through cargo")?;
    let directory = Path::new(&out_dir).join("sqlx");

    let text = fs::read_to_string(QUERIES).map_err(|error| {
        format!("cannot read {QUERIES} ({error}): write it anew with scripts/prepare")
    })?;
    let queries: Map<String, Value> = serde_json::from_str(&text).map_err(|error| {
        format!("{QUERIES} is not the JSON object it should be ({error}): write it anew with scripts/prepare")
    })?;

    // Emptied first: a statement that is gone from the file must not go on compiling.
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(format!("cannot empty {}: {error}", directory.display()).into());
        }
        _ => fs::create_dir_all(&directory)?,
    }
    for (hash, query) in &queries {
        let path = directory.join(format!("query-{hash}.json"));
        fs::write(&path, query.to_string())
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }

    // These two win over the environment and over `.env`, so that a `DATABASE_URL` of the
    // developer's, which may well be another schema, never decides whether rowcast compiles.
    println!("cargo::rustc-env=SQLX_OFFLINE=true");
    println!("cargo::rustc-env=SQLX_OFFLINE_DIR={}", directory.display());
    Ok(())
}
