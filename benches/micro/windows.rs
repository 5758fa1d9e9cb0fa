//! Reading windows of a table, as the feed does.

use rowcast::bench::Work;
use rowcast::source::{Window, open_insert};
use rowcast::{Channels, Migrate, NewEvent};
use serde_json::value::RawValue;
use tokio_stream::StreamExt as _;

use crate::support::Database;

/// Rows of a window.
pub const SIZES: &[usize] = &[1, 10, 100, 1000, 10_000];

/// Makes an event of about 300 bytes.
const PAYLOAD_BYTES: usize = 120;

/// A window of so many rows, read again and again.
pub fn read(database: &str, rows: usize) -> Work {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (database, source, window) = runtime.block_on(async {
        let database = match database {
            "postgres" => Database::postgres().await,
            _ => Database::sqlite().await,
        };
        let source = database.open().await;
        let insert = open_insert(&database.config(), Migrate::Auto).await;
        let insert = insert.expect("the database opens");
        let after = source.edge().await.expect("the database answers");
        let events: Vec<_> = (0..rows).map(event).collect();
        insert.insert(&events).await.expect("events are inserted");
        let upto = source.edge().await.expect("the database answers");
        let window = Window {
            after,
            upto,
            resume_after: None,
        };
        (database, source, window)
    });
    let run = move || {
        let _database = &database;
        let read = runtime.block_on(async {
            let mut found = source.rows(window.clone());
            let mut read = 0;
            while let Some(row) = found.next().await {
                row.expect("it can be read").expect("it is an event");
                read += 1;
            }
            read
        });
        assert_eq!(read, rows);
    };
    Work {
        run: Box::new(run),
        settle: Box::new(|| ()),
        units: rows as u64,
    }
}

fn event(n: usize) -> NewEvent {
    let payload = format!("{{\"text\":\"{}\"}}", "x".repeat(PAYLOAD_BYTES));
    NewEvent::new(
        Channels::parse(&format!("messages:{n}")).expect("a good name"),
        "message.created",
        RawValue::from_string(payload).expect("JSON"),
    )
    .entity_id("m-4711")
    .actor("ann@example.org")
}
