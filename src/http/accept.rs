//! Accepts connections and lets hyper speak HTTP/1 to them. warp's own server would log every client that hangs up as
//! an error and has no time limit for a request's head.

use std::future::Future;
use std::io;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use warp::Filter;

use super::{Gate, not_found, routes};
use crate::hub::Hub;

/// How long a client may take to send the head of a request.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Wait after the system refused a connection for want of file descriptors or memory.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(200);

/// How long requests under way may take to finish after shutdown.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves the routes until `shutdown`. WebSockets live on; closing them is the hub's.
pub(crate) async fn serve(
    hub: &Hub,
    gate: &Gate,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) {
    let service =
        TowerToHyperService::new(warp::service(routes(hub, gate).recover(not_found).unify()));
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_HEAD_TIMEOUT);
    let finish = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut exhausted = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        let stream = match accepted {
            Ok((stream, _address)) => stream,
            Err(error) if is_the_clients(&error) => continue,
            Err(error) => {
                if !exhausted {
                    tracing::error!(%error, "cannot accept connections; trying again. Is the limit of open files (ulimit -n) too low?");
                }
                exhausted = true;
                sleep(EXHAUSTED_WAIT).await;
                continue;
            }
        };
        exhausted = false;
        let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service.clone());
        let connection = finish.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    let _ = timeout(FINISH_TIMEOUT, finish.shutdown()).await;
}

/// The client was gone before we came to it; the listener is fine.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
