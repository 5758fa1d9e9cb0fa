//! `rowcast serve`: until it is told to stop.

use super::banner;
use crate::config::{Config, ServeArgs};
use crate::error::Error;
use crate::server::Server;

pub(super) async fn run(args: ServeArgs) -> Result<(), Error> {
    let config = Config::try_from(args)?;
    raise_open_files_limit();
    let server = Server::start(&config).await?;
    banner::print(&server, &config.database);
    if config.auth.is_none() {
        if server.address().ip().is_loopback() {
            tracing::warn!(
                "no key: everybody on this machine can read every channel; --jwt-secret-file asks for tokens"
            );
        } else {
            tracing::warn!("public: everybody who reaches this address can read every channel");
        }
    }
    server.run(stop_signal()).await;
    Ok(())
}

/// Every connection is an open file, and the usual soft limit is 1,024.
fn raise_open_files_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "could not raise the limit of open files, which is the limit of connections");
    }
}

/// Waits for Ctrl-C or a polite kill.
pub(super) async fn stop_signal() {
    #[cfg(unix)]
    let terminate = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(error) => {
                tracing::warn!(%error, "only Ctrl-C ends this cleanly");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}
