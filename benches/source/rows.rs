//! What a row costs.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use rowcast::source::Window;

use crate::support::Database;
use crate::{cpu, cpu_of_backends};

/// Bytes of every payload.
const PAYLOAD_BYTES: usize = 180;

const ROUNDS: usize = 5;

pub async fn measure(database: &Database, rows: i64) {
    let source = database.open().await;
    let mut writer = database.connect().await;
    let start = source.edge().await.expect("the database answers");
    let is_sqlite = database.url.starts_with("sqlite");
    let cast = if is_sqlite { "" } else { "::jsonb" };
    let title = "x".repeat(PAYLOAD_BYTES);
    writer
        .run(&format!(
            "INSERT INTO events (channel, type, payload)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             SELECT 'messages:' || i % 1000, 'task.updated', ('{{\"n\":' || i || ',\"title\":\"{title}\"}}'){cast} FROM n"
        ))
        .await;
    if !is_sqlite {
        writer.run("VACUUM ANALYZE events").await;
    }
    let end = source.edge().await.expect("the database answers");
    let large = Window {
        after: start,
        upto: end.clone(),
        resume_after: None,
    };
    let empty = Window {
        after: end.clone(),
        upto: end,
        resume_after: None,
    };
    for (name, window, windows, rows) in [
        ("a large window, for each row", &large, 1, rows),
        ("an empty window, for each", &empty, 1000, 0),
    ] {
        let mut figures = String::new();
        for _ in 0..ROUNDS {
            let (began, ours) = (Instant::now(), cpu("self"));
            let theirs = cpu_of_backends(&mut writer).await;
            let mut count = 0;
            for _ in 0..windows {
                let mut events = source.rows(window.clone());
                while let Some(row) = events.next().await {
                    row.expect("the database answers").expect("a good row");
                    count += 1;
                }
            }
            assert_eq!(count, rows * windows);
            let each =
                |time: Duration| time.as_secs_f64() * 1e6 / (rows * windows).max(windows) as f64;
            let took = each(began.elapsed());
            let theirs = each(cpu_of_backends(&mut writer).await.saturating_sub(theirs));
            let ours = each(cpu("self").saturating_sub(ours));
            let _ = write!(figures, " {ours:.2}+{theirs:.2}/{took:.2}");
        }
        println!("  {name}: us of our CPU + the database's / time:{figures}");
    }
    let (began, ours) = (Instant::now(), cpu("self"));
    let theirs = cpu_of_backends(&mut writer).await;
    for _ in 0..1000 {
        source.edge().await.expect("the database answers");
    }
    let theirs = cpu_of_backends(&mut writer).await.saturating_sub(theirs);
    let ours = cpu("self").saturating_sub(ours);
    println!(
        "  a look: {:.1} us of our CPU, {:.1} us of the database's, {:.1} us of time",
        ours.as_secs_f64() * 1e3,
        theirs.as_secs_f64() * 1e3,
        began.elapsed().as_secs_f64() * 1e3,
    );
}
