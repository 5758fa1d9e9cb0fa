//! Calls a function of yours for every row that is inserted, in order: a cache to clear, a mail to send.
//!
//! ```sh
//! cargo run --example listen                            # the feed of ./rowcast.db, which is made if need be
//! sqlite3 rowcast.db < examples/insert.sql              # in another terminal
//! ```

use rowcast::{Broadcaster, DatabaseConfig, Error, Migrate, PollInterval, source};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::var("DATABASE_URL").unwrap_or("sqlite://rowcast.db".into());
    let source = source::open(&DatabaseConfig::new(&url)?, Migrate::Auto).await?;
    let broadcaster = Broadcaster::start(source, PollInterval::default()).await?;
    let _listener = broadcaster.add_listener(|event| {
        println!("{} {} {}", event.id, event.kind, event.payload);
    });
    std::future::pending().await
}
