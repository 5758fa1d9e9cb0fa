//! `rowcast serve`: until it is told to stop.

use std::sync::Arc;

use super::{banner, signals};
use crate::config::{Config, ConfigFile, ServeArgs};
use crate::error::Error;
use crate::server::Server;

pub(super) async fn run(mut args: ServeArgs, file: Option<Arc<ConfigFile>>) -> Result<(), Error> {
    args.file.clone_from(&file);
    let config = Config::try_from(args)?;
    if let Some(file) = &file {
        tracing::info!(file = %file.path().display(), "read the configuration file");
    }
    raise_open_files_limit();
    let server = Server::start(&config).await?;
    // Whoever is told that it is ready may send signals at once.
    let stopping = signals::stop("telling clients to reconnect");
    let reloading = signals::reload_at_hangup(server.reload_handle(), file);
    if config.auth.is_none() {
        if server.address().ip().is_loopback() {
            tracing::warn!(
                "no key: everybody on this machine can read every channel, and publish to it; --jwt-secret-file asks for tokens"
            );
        } else {
            tracing::warn!("public: everybody who reaches this address can read every channel");
        }
        if config.presence.is_some() {
            tracing::warn!(
                "no key: presence is of users, and without tokens nobody is one; with --jwt-secret-file there are some"
            );
        }
        if config.network.publish.public {
            tracing::warn!(
                "public: everybody who reaches this address can publish to every channel"
            );
        }
    }
    banner::print(&server, &config);
    signals::ready(&format!("serving {}", server.address()));
    let watching = signals::watchdog(server.canary());
    tokio::select! {
        () = server.run(stopping) => {}
        // Neither ends before the server does.
        ((), ()) = async { tokio::join!(reloading, watching) } => {}
    }
    Ok(())
}

/// Every connection is an open file, and the usual soft limit is 1,024.
pub(super) fn raise_open_files_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "could not raise the limit of open files, which is the limit of connections");
    }
}
