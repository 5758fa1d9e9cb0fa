//! Accepts connections and lets hyper speak HTTP/1 to them. warp's own server would log every client that hangs up as
//! an error and has no limit for a request's head, in time or size, nor for connections that never send one.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, rt};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use warp::Filter;
use warp::reply::Response;

use super::front::Front;
use super::gate::connections_of_open_files;
use super::lobby::{Lobby, Visitor};
use super::peer::Peer;
use super::tls::{self, Tls};
use super::{Console, Endpoints, Gate, not_found, publishing, routes_with, watching};
use crate::hub::Hub;
use crate::publisher::Publisher;

/// Largest head of a request, in bytes: a token and the cookies of an application's other parts fit twice.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most headers of a request. Browsers and proxies send about 30.
const HEADERS_MAX: usize = 64;

/// Wait after the system refused a connection for want of file descriptors or memory.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(200);

/// How long requests under way may take to finish after shutdown.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// What a server has for those who come.
pub(crate) struct Offers {
    pub hub: Hub,
    pub endpoints: Endpoints,
    pub publisher: Publisher,
    /// None: it is turned off.
    pub console: Option<Console>,
}

/// Serves the routes until `shutdown`, encrypted where there is a certificate. WebSockets live on; closing them is the hub's.
pub(crate) async fn serve(
    offers: Offers,
    gate: &Gate,
    tls: Option<Arc<Tls>>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) {
    let Offers {
        hub,
        endpoints,
        publisher,
        console,
    } = offers;
    let gate = gate.counting(&hub);
    let feed = routes_with(&hub, &gate, &endpoints)
        .or(publishing(&hub, &gate, publisher))
        .unify();
    let routes = match console {
        // First, as an endpoint may have a path that differs: /{room}/{id}.
        Some(console) => watching(&hub, &gate, console).or(feed).unify().boxed(),
        None => feed.boxed(),
    };
    let routes = routes.recover(not_found).unify();
    let routes = TowerToHyperService::new(warp::service(routes));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(gate.options().handshake_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let (finish, finishing) = watch::channel(());
    let lobby = Lobby::default();
    let files_max = match connections_of_open_files() {
        0 => usize::MAX,
        files => files,
    };
    let mut shutdown = std::pin::pin!(shutdown);
    let mut exhausted = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_the_clients(&error) => continue,
            Err(error) => {
                if !exhausted {
                    tracing::error!(%error, "cannot accept connections; trying again. Is the limit of open files (ulimit -n) too low?");
                }
                exhausted = true;
                gate.counters().waiting_connections_cut.add(lobby.cut(0));
                sleep(EXHAUSTED_WAIT).await;
                continue;
            }
        };
        exhausted = false;
        let visitor = Arc::new(lobby.enter());
        let task = visitor.task();
        let guest = Guest {
            http: http.clone(),
            gate: gate.clone(),
            routes: routes.clone(),
            finishing: finishing.clone(),
            visitor,
            address,
        };
        let serving = match &tls {
            None => tokio::spawn(guest.serve_plain(stream)),
            Some(tls) => tokio::spawn(guest.serve_tls(stream, Arc::clone(tls))),
        };
        let _ = task.set(serving.abort_handle());
        let room = files_max.saturating_sub(gate.places_taken());
        let cut = tokio::select! {
            cut = lobby.make_room(room) => cut,
            () = &mut shutdown => break,
        };
        gate.counters().waiting_connections_cut.add(cut);
    }
    drop(listener);
    drop(finishing);
    finish.send_replace(());
    // Each connection has a receiver.
    let _ = timeout(FINISH_TIMEOUT, finish.closed()).await;
}

/// A connection, and what it takes to serve it.
struct Guest<S> {
    http: http1::Builder,
    gate: Gate,
    routes: S,
    /// Changes when requests under way are the last.
    finishing: watch::Receiver<()>,
    visitor: Arc<Visitor>,
    address: SocketAddr,
}

impl<S> Guest<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = std::convert::Infallible>
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    async fn serve_plain(self, stream: TcpStream) {
        self.serve(TokioIo::new(stream), false).await;
    }

    async fn serve_tls(self, stream: TcpStream, tls: Arc<Tls>) {
        let patience = self.gate.options().handshake_timeout;
        match timeout(patience, shake_hands(stream, &tls)).await {
            Ok(Ok(Some(stream))) => self.serve(TokioIo::new(stream), true).await,
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                self.gate.counters().tls_handshakes_failed.add(1);
                tracing::debug!(%error, "a TLS handshake failed");
            }
            Err(_) => {
                self.gate.counters().tls_handshakes_failed.add(1);
                tracing::debug!("a TLS handshake took too long");
            }
        }
    }

    async fn serve<I>(mut self, stream: I, tls: bool)
    where
        I: rt::Read + rt::Write + Unpin + Send + 'static,
    {
        let front = Front {
            gate: self.gate,
            routes: self.routes,
            peer: Peer {
                address: self.address,
                tls,
            },
            visitor: self.visitor,
        };
        // Not hyper-util's server of both versions of HTTP: it waits for the first byte for ever.
        let connection = self.http.serve_connection(stream, front).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let mut ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            _ = self.finishing.changed() => None,
        };
        if ended.is_none() {
            connection.as_mut().graceful_shutdown();
            ended = Some(connection.await);
        }
        if let Some(Err(error)) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// The encrypted stream; none for those who speak HTTP here, and have been told so.
async fn shake_hands(mut stream: TcpStream, tls: &Tls) -> io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first[0] == tls::FIRST_BYTE {
        return tls.acceptor().accept(stream).await.map(Some);
    }
    // What it has sent is read, as far as it is there: a stream with unread input is reset, and the answer lost.
    let _ = stream.try_read(&mut [0; 4096]);
    stream.write_all(tls::PLAIN_HTTP_ANSWER).await?;
    stream.shutdown().await?;
    Ok(None)
}

/// The client was gone before we came to it; the listener is fine.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
