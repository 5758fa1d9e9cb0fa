//! What is learnt from a table: of random values, of what cannot be learnt from, and again. With SQLite alone.
#![cfg(feature = "sqlite")]

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use super::samples::{insert, rows};
use super::support::Database;
use super::typescript::{assert_formatted, compile, project};
use super::{generate, generated, golden};

#[tokio::test]
async fn more_rows_alone_make_no_file_stale() {
    let database = Database::sqlite().await;
    insert(&database, &rows()).await;
    let folder = super::support::temp_dir();
    let arguments = ["--database-url", &database.url, "--out", "feed.ts"];
    generated(folder.path(), &arguments);
    insert(&database, &rows()).await;
    let check = [&arguments[..], &["--check"]].concat();
    assert_eq!(generate(folder.path(), &check).code, Some(0));
    assert!(generated(folder.path(), &arguments).contains("up to date"));
    insert(&database, &[("tasks", "task.done", json!("perhaps"))]).await;
    let done = generate(folder.path(), &check);
    assert_eq!(done.code, Some(1));
    assert!(
        done.stderr.contains("Events: changed \"task.done\""),
        "{}",
        done.stderr
    );
}

#[tokio::test]
async fn what_cannot_be_learnt_from_is_told() {
    let database = Database::sqlite().await;
    let folder = super::support::temp_dir();
    let told = |arguments: &[&str], code: i32, wanted: &str| {
        let done = generate(folder.path(), arguments);
        assert!(done.stderr.contains(wanted), "{}", done.stderr);
        assert_eq!(done.code, Some(code), "{}", done.stderr);
    };
    let url = ["--database-url", &database.url];
    told(&url, 1, "does not exist; create it with `rowcast migrate`");
    assert!(!database.file().exists());
    drop(database.open().await);
    told(&url, 1, "has no events to learn from");
    let with = |more: &[&'static str]| [&url[..], more].concat();
    told(&with(&["--samples", "0"]), 64, "--samples");
    told(
        &with(&["--schema", "feed.toml"]),
        64,
        "rowcast gen types feed.toml",
    );
    told(&with(&["--check"]), 64, "--out");
    let other = folder.path().join("other.db");
    fs::write(&other, "").expect("the folder is ours");
    let url = format!("sqlite://{}", other.display());
    told(
        &["--database-url", &url],
        1,
        "create them with `rowcast migrate`",
    );
}

/// JSON that databases take and few others read is a payload all the same.
#[tokio::test]
async fn what_no_rust_program_reads_is_unknown() {
    let database = Database::sqlite().await;
    drop(database.open().await);
    let mut connection = database.connect().await;
    let insert = "INSERT INTO events (channel, type, payload) VALUES";
    connection
        .run(&format!(
            "{insert} ('a', 'big', '[1e999]'), ('a', 'half', '\"\\ud800\"'), ('a', 'half', '1')"
        ))
        .await;
    let text = generated(golden(), &["--database-url", &database.url]);
    assert!(
        text.contains("  big: unknown;\n  half: unknown;\n"),
        "{text}"
    );
}

/// Random values: TypeScript takes every one of them for what was generated from all, and Biome finds nothing to format.
#[tokio::test]
async fn samples_are_of_the_types_made_of_them() {
    let seed = std::env::var("SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("a number"),
    );
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let kinds: Vec<_> = (0..40)
        .map(|n| format!("{}{n}", name(&mut random).replace(is_odd, "_")))
        .collect();
    let mut all = Vec::new();
    for kind in &kinds {
        // Values of one kind have something in common.
        let first = value(&mut random, 4);
        for _ in 0..random.usize(1..6) {
            let payload = vary(&mut random, &first);
            all.push((channels(&mut random), kind.as_str(), payload));
        }
    }
    let database = Database::sqlite().await;
    let rows: Vec<_> = all
        .iter()
        .map(|(channel, kind, payload)| (channel.as_str(), *kind, payload.clone()))
        .collect();
    insert(&database, &rows).await;
    let text = generated(golden(), &["--database-url", &database.url]);

    let mut uses = String::from(
        "import type { Client } from \"@rowcast/client\";\nimport type { Channels, Events } from \"./feed.js\";\ndeclare const client: Client<Events, Channels>;\n",
    );
    for (n, (channel, kind, payload)) in rows.iter().enumerate() {
        let kind = json!(kind);
        // JSON is TypeScript, but for this name, which would say what the object is made from.
        let payload = payload
            .to_string()
            .replace("\"__proto__\":", "[\"__proto__\"]:");
        let _ = writeln!(uses, "export const value{n}: Events[{kind}] = {payload};");
        for name in channel.split(' ') {
            let _ = writeln!(
                uses,
                "client.subscribe(\"{name}\", (event) => {{ if (event.type === {kind}) event.payload satisfies Events[{kind}]; }});"
            );
        }
    }
    let folder = project(&[("feed.ts", &text), ("uses.ts", &uses)]);
    compile(&folder);
    assert_formatted(&folder, "feed.ts");
}

fn is_odd(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

fn value(random: &mut fastrand::Rng, depth: usize) -> Value {
    match random.usize(0..if depth == 0 { 5 } else { 9 }) {
        0 => Value::Null,
        1 => json!(random.bool()),
        2 => json!(random.i32(..)),
        3 => json!(random.f64() * 1e9),
        4 => json!(name(random)),
        5 | 6 => (0..random.usize(0..4))
            .map(|_| value(random, depth - 1))
            .collect(),
        _ => Value::Object(
            (0..random.usize(0..5))
                .map(|_| (name(random), value(random, depth - 1)))
                .collect(),
        ),
    }
}

/// The value, or one like it.
fn vary(random: &mut fastrand::Rng, like: &Value) -> Value {
    if random.usize(0..10) == 0 {
        return value(random, 2);
    }
    match like {
        Value::Array(items) => items.iter().map(|item| vary(random, item)).collect(),
        Value::Object(members) => {
            let kept = members
                .iter()
                .filter(|_| random.usize(0..4) > 0)
                .collect::<Vec<_>>();
            let varied = kept
                .into_iter()
                .map(|(name, value)| (name.clone(), vary(random, value)));
            Value::Object(varied.collect())
        }
        other => other.clone(),
    }
}

/// Names as they are (but for `constructor` and the like, which to TypeScript every object has), and as somebody who means harm might choose them.
fn name(random: &mut fastrand::Rng) -> String {
    const NAMES: [&str; 24] = [
        "id",
        "title",
        "createdAt",
        "a_rather_long_name_of_a_member_as_some_backends_have",
        "new",
        "class",
        "get",
        "readonly",
        "__proto__",
        "1",
        "42",
        "-1",
        "with space",
        "a-b",
        "größe",
        "",
        "\"",
        "'",
        "`${x}`",
        "*/",
        "//",
        "\\",
        "]: never",
        "8d0f6f0e-3c1a-4c58-9c0a-1b2c3d4e5f60",
    ];
    if random.usize(0..6) > 0 {
        return (*random.choice(NAMES.iter()).expect("not empty")).to_owned();
    }
    (0..random.usize(0..6))
        .map(|_| random.char('\u{1}'..))
        .collect()
}

fn channels(random: &mut fastrand::Rng) -> String {
    const PARTS: [&str; 9] = [
        "tasks",
        "messages",
        "project",
        "a.b-c",
        "7",
        "42",
        "ann@example.org",
        "x/y",
        "team",
    ];
    let mut one = || {
        let parts: Vec<_> = (0..random.usize(1..5))
            .filter_map(|_| random.choice(PARTS))
            .collect();
        parts.join(":")
    };
    let first = one();
    if fastrand::bool() {
        first
    } else {
        format!("{first} {}", one())
    }
}
