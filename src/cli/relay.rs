//! `rowcast relay`: until it is told to stop.

use std::sync::Arc;

use clap::Args;

use crate::config::{self, ConfigFile};
use crate::error::Error;

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
When many servers are too much for one Postgres, one relay reads the table and writes what comes into a stream in Redis (7.0 or \
newer, or Valkey), and the servers read that: rowcast serve --source redis://… . Start two relays or more: one leads, the \
others stand by, and one of them takes over within some seconds. Nothing is written twice or left out, whichever of them leads, \
or thinks so. While Redis is away events wait in the table.

Relays agree by an advisory lock of Postgres. That needs a session: give them the URL of Postgres itself, or of PgBouncer in \
session mode.

Examples:
  rowcast relay --database-url postgres://user:password@localhost/app --to redis://localhost:6379
  rowcast serve --source redis://localhost:6379                    a server that reads it
  rowcast serve --source redis://localhost:6379 --database-url …   one that goes back to the table while Redis is away
  rowcast serve --database-url … --relay redis://localhost:6379    a server that relays beside serving")]
pub(super) struct RelayCommand {
    #[command(flatten)]
    relay: config::RelayArgs,
}

#[cfg(feature = "redis")]
pub(super) async fn run(args: RelayCommand, file: Option<Arc<ConfigFile>>) -> Result<(), Error> {
    use super::signals;
    use crate::relay::Relay;
    use crate::source;

    let (database, relay, interval) = args.relay.config()?;
    if let Some(file) = &file {
        tracing::info!(file = %file.path().display(), "read the configuration file");
    }
    let table = source::open(&database, args.relay.migrate).await?;
    let (from, to, stream) = (&database.url, &relay.stream.url, &relay.stream.name);
    let relay = Relay::start(
        table,
        &database,
        &relay.stream,
        relay.retain.clone(),
        interval,
        Arc::default(),
    )
    .await?;
    // Whoever is told that it is ready may send signals at once.
    let stopping = signals::stop("appending what was read");
    tracing::info!(%from, %to, stream, "relaying");
    signals::ready(&format!("relaying {from} to {to}"));
    tokio::select! {
        () = relay.run(stopping) => {}
        // It does not end before.
        () = watched() => {}
    }
    tracing::info!("stopped");
    Ok(())
}

/// Tells systemd for ever that the program lives.
#[cfg(feature = "redis")]
async fn watched() {
    super::signals::watchdog(async || true).await;
    std::future::pending::<()>().await;
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "its sibling with Redis is")]
pub(super) async fn run(args: RelayCommand, _file: Option<Arc<ConfigFile>>) -> Result<(), Error> {
    // Which says that it was not built in.
    args.relay.config().map(drop)
}
