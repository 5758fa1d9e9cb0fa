//! What capture costs: statements that change 100,000 of 1,000,000 rows, with the triggers of `rowcast attach` and without,
//! by turns, each after a VACUUM and a checkpoint. `cargo bench --bench attach`; behind `--`, `sqlite` or `postgres` picks the
//! database, a number that of rounds, and `narrow` a table of few columns and one index instead of four. With `stock` Postgres is
//! as it comes, instead of holding all it needs in memory, with `work_mem` sessions have 64 MB of their own.
//!
//! It is all in the database, so how rowcast was built does not matter. Others who use the machine do: the figure that
//! counts is the median of the rounds, each with and without one right after the other. The first round is not counted: the
//! table of events has no room yet that pruning has left.

#[path = "../tests/support/mod.rs"]
mod support;

use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Connection, Database, Postgres};

const ROWS: u32 = 1_000_000;
const CHANGED: u32 = 100_000;
const ROUNDS: usize = 7;

/// Statements of one row each, of which the cost of a statement is told.
const SINGLES: u32 = 2000;

/// With triggers a statement takes less than so many times what it takes without.
const TIMES_MAX: f64 = 2.0;

fn main() {
    let words: Vec<_> = env::args().skip(1).collect();
    let has = |name: &str| words.iter().any(|word| word == name);
    let rounds = words.iter().find_map(|word| word.parse().ok());
    let rounds = rounds.unwrap_or(ROUNDS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if !has("sqlite") {
        runtime.block_on(async {
            let mut settings = "max_prepared_transactions = 0\nautovacuum = off".to_owned();
            if !has("stock") {
                settings += "\nshared_buffers = 1GB\nmax_wal_size = 8GB";
            }
            if has("work_mem") {
                settings += "\nwork_mem = 64MB";
            }
            let server = Postgres::start_with(&settings);
            let database = Database::on(&server).await;
            measure("postgres", &database, rounds, has("narrow")).await;
        });
    }
    if !has("postgres") {
        runtime.block_on(async {
            let database = Database::sqlite().await;
            measure("sqlite", &database, rounds, has("narrow")).await;
        });
    }
}

/// Gives the statement of a round.
type Statement<'a> = &'a dyn Fn(usize) -> String;

async fn measure(kind: &str, database: &Database, rounds: usize, narrow: bool) {
    let shape = if narrow { "narrow" } else { "usual" };
    println!("{kind}, {shape} table: {CHANGED} of {ROWS} rows, {rounds} rounds");
    rowcast(database, &["migrate"]);
    let mut writer = database.connect().await;
    fill(&mut writer, narrow).await;
    let update = |round: usize| {
        format!(
            "UPDATE issues SET status = 's{round}', updated_at = CURRENT_TIMESTAMP WHERE number % 10 = {}",
            round % 10
        )
    };
    let insert = |_: usize| {
        format!(
            "INSERT INTO issues SELECT id + {ROWS}, {} FROM issues WHERE number % 10 = 3 AND id <= {ROWS}",
            &columns(narrow)[4..]
        )
    };
    let delete = |_: usize| format!("DELETE FROM issues WHERE id > {ROWS}");
    let statements: [(&str, Statement<'_>); 3] = [
        ("update", &update),
        ("insert", &insert),
        ("delete", &delete),
    ];
    let mut times = [[vec![], vec![]], [vec![], vec![]], [vec![], vec![]]];
    let mut singles = [vec![], vec![]];
    for round in 0..2 * (rounds + 1) {
        let with = round % 2;
        attach(database, with == 1);
        for (n, (name, statement)) in statements.iter().enumerate() {
            tidy(&mut writer).await;
            let time = run(&mut writer, &statement(round)).await;
            if round > 1 {
                times[n][with].push(time);
            }
            let events = writer.numbers("SELECT count(*) FROM events").await[0];
            let wanted = if with == 1 { CHANGED } else { 0 };
            assert_eq!(events, i64::from(wanted), "events of an {name}");
            writer.run("DELETE FROM events").await;
        }
        tidy(&mut writer).await;
        singles[with].push(single(&mut writer, round).await);
        writer.run("DELETE FROM events").await;
    }
    attach(database, true);
    writer.run("BEGIN").await;
    writer.run(&update(3)).await;
    writer.run("ROLLBACK").await;
    let left = writer.numbers("SELECT count(*) FROM events").await[0];
    tell(
        "a statement that is rolled back leaves no event",
        &left.to_string(),
        left == 0,
    );
    for ((name, _), [without, with]) in statements.iter().zip(&times) {
        let mut ratios: Vec<_> = without.iter().zip(with).map(ratio).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let middle = ratios[rounds / 2];
        tell(
            name,
            &format!(
                "{:.0} ms without, {:.0} ms with; {middle:.2} times ({:.2} to {:.2})",
                ms(median(without)),
                ms(median(with)),
                ratios[0],
                ratios[rounds - 1],
            ),
            middle < TIMES_MAX,
        );
    }
    let each = |times: &[Duration]| median(times) / SINGLES;
    println!(
        "  update of one row, {SINGLES} in a transaction: {:.1?} without, {:.1?} with",
        each(&singles[0]),
        each(&singles[1])
    );
}

fn columns(narrow: bool) -> &'static str {
    if narrow {
        "id, project_id, number, title, status, updated_by, position, created_at, updated_at"
    } else {
        "id, project_id, number, title, status, updated_by, position, created_at, updated_at, description, priority, \
         assignee_id, due_on"
    }
}

async fn fill(writer: &mut Connection, narrow: bool) {
    let more = if narrow {
        ""
    } else {
        ", description text, priority int, assignee_id bigint, due_on text"
    };
    writer
        .run(&format!(
            "CREATE TABLE issues (id bigint PRIMARY KEY, project_id bigint NOT NULL, number int NOT NULL, title text NOT NULL,
                status text NOT NULL, updated_by text, position double precision NOT NULL, created_at timestamp NOT NULL,
                updated_at timestamp NOT NULL{more})"
        ))
        .await;
    let more = if narrow {
        ""
    } else {
        ", 'It does not work when I press the button twice, or when I press it while the page is loading. It should.', n % 5,
         n % 5000, '2026-02-03'"
    };
    writer
        .run(&format!(
            "INSERT INTO issues WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {ROWS})
             SELECT n, n % 1000, n, 'Issue number ' || n, 'todo', 'user' || (n % 50), n, CURRENT_TIMESTAMP,
                    CURRENT_TIMESTAMP{more} FROM s"
        ))
        .await;
    writer
        .run("CREATE INDEX i1 ON issues (project_id, status)")
        .await;
    if !narrow {
        writer
            .run(
                "CREATE INDEX i2 ON issues (project_id, number); CREATE INDEX i3 ON issues (assignee_id, status);
                 CREATE INDEX i4 ON issues (updated_at)",
            )
            .await;
    }
}

fn attach(database: &Database, with: bool) {
    let attach = [
        "attach",
        "issues",
        "--channel",
        "issues",
        "--channel",
        "project:{project_id}",
        "--actor",
        "{updated_by}",
        "--apply",
    ];
    rowcast(database, &attach);
    if !with {
        rowcast(database, &["detach", "issues", "--apply"]);
    }
}

fn rowcast(database: &Database, arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_rowcast"))
        .args(arguments)
        .args(["--database-url", &database.url])
        .output()
        .expect("rowcast runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

/// What earlier statements left behind is put away.
async fn tidy(writer: &mut Connection) {
    match writer {
        Connection::Postgres(_) => {
            writer.run("VACUUM ANALYZE issues").await;
            writer.run("VACUUM ANALYZE events").await;
            writer.run("CHECKPOINT").await;
        }
        Connection::Sqlite(_) => writer.run("PRAGMA wal_checkpoint(TRUNCATE)").await,
    }
}

async fn run(writer: &mut Connection, statement: &str) -> Duration {
    let start = Instant::now();
    writer.run(statement).await;
    start.elapsed()
}

/// Statements of one row, in one transaction, so that the disk has no part in it.
async fn single(writer: &mut Connection, round: usize) -> Duration {
    let statements: Vec<_> = (1..=SINGLES)
        .map(|n| {
            format!(
                "UPDATE issues SET status = 'x{round}' WHERE id = {};",
                n * 7
            )
        })
        .collect();
    let statements = format!("BEGIN; {} COMMIT", statements.concat());
    run(writer, &statements).await
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

fn ratio((without, with): (&Duration, &Duration)) -> f64 {
    with.as_secs_f64() / without.as_secs_f64()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Prints a figure, and whether it is what we promise.
fn tell(what: &str, figure: &str, holds: bool) {
    let verdict = if holds { "holds" } else { "DOES NOT HOLD" };
    println!("  {what}: {figure}: {verdict}");
}
