//! A TCP proxy that does to connections what networks and hosts do to them: cuts, stalls, delays, crumbs, peers that
//! vanish. It knows nothing of what it carries, so a client of any kind can be behind it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes read at once, and how often that may wait to be written: 64 KB, so that a reader which does not read is felt
/// by the writer.
const READ_BYTES: usize = 4096;
const READS_WAITING: usize = 16;

/// How connections are at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// What becomes of new ones.
    pub door: Door,
    /// Nothing passes. It waits, as what is sent again by TCP does.
    pub stopped: bool,
    /// How late every byte is, in each direction.
    pub delay: Duration,
    /// Most bytes of one write.
    pub chunk: usize,
    /// Most bytes a second, in each direction.
    pub bytes_per_second: usize,
}

/// What becomes of new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Open,
    /// Reset at once.
    Refused,
    /// Accepted, and never answered.
    Silent,
}

/// How all connections that there are end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// With an RST: what was on its way is lost.
    Reset,
    /// With a FIN.
    Close,
    /// Without a word: both ends believe that the other is there, and never hear of it again.
    Vanish,
}

impl Weather {
    pub const CALM: Self = Self {
        door: Door::Open,
        stopped: false,
        delay: Duration::ZERO,
        chunk: usize::MAX,
        bytes_per_second: usize::MAX,
    };
}

/// Carries connections until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    target: SocketAddr,
    weather: watch::Sender<Weather>,
    /// The last one, and how many there have been.
    cut: watch::Sender<(usize, Cut)>,
    accepted: AtomicUsize,
    /// Connections that vanished: open, and nobody reads them.
    vanished: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let shared = Arc::new(Shared {
            target,
            weather: watch::Sender::new(Weather::CALM),
            cut: watch::Sender::new((0, Cut::Close)),
            accepted: AtomicUsize::new(0),
            vanished: Mutex::default(),
        });
        Self {
            address: listener.local_addr().expect("it is bound"),
            accepting: tokio::spawn(accept(listener, Arc::clone(&shared))),
            shared,
        }
    }

    /// Changes the weather, for connections there are and those to come.
    pub fn set(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }

    pub fn weather(&self) -> Weather {
        *self.shared.weather.borrow()
    }

    /// Ends all connections there are.
    pub fn cut(&self, how: Cut) {
        self.shared
            .cut
            .send_modify(|(number, cut)| (*number, *cut) = (*number + 1, how));
    }

    /// How many connections have been accepted.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut(Cut::Reset);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (client, _) = listener.accept().await.expect("a listener that is open");
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        let cuts = shared.cut.subscribe();
        match shared.weather.borrow().door {
            Door::Open => {
                tokio::spawn(carry(client, cuts, Arc::clone(&shared)));
            }
            Door::Refused => reset(client),
            Door::Silent => shared.bury(client),
        }
    }
}

/// One connection, from its begin to its end.
async fn carry(
    mut client: TcpStream,
    mut cuts: watch::Receiver<(usize, Cut)>,
    shared: Arc<Shared>,
) {
    let Ok(mut server) = TcpStream::connect(shared.target).await else {
        return reset(client);
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let cut = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let carried = async {
            tokio::try_join!(
                pump(from_client, to_server, shared.weather.subscribe()),
                pump(from_server, to_client, shared.weather.subscribe()),
            )
        };
        tokio::select! {
            result = carried => if result.is_ok() { Cut::Close } else { Cut::Reset },
            Ok(()) = cuts.changed() => cuts.borrow().1,
        }
    };
    for stream in [client, server] {
        match cut {
            Cut::Close => drop(stream),
            Cut::Reset => reset(stream),
            Cut::Vanish => shared.bury(stream),
        }
    }
}

/// One direction. Ends with an end, or with an error.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let (waiting_tx, mut waiting) = mpsc::channel(READS_WAITING);
    let at_present = weather.clone();
    let read = async move {
        loop {
            let mut bytes = vec![0; READ_BYTES];
            let count = from.read(&mut bytes).await?;
            bytes.truncate(count);
            let due = Instant::now() + at_present.borrow().delay;
            if waiting_tx.send((due, bytes)).await.is_err() || count == 0 {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = waiting.recv().await {
            sleep_until(due).await;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let Ok(weather) = weather
                    .wait_for(|weather| !weather.stopped)
                    .await
                    .map(|w| *w)
                else {
                    return Ok(());
                };
                // Twenty times a second, so that a slow connection is slow and not lumpy.
                let most = weather.chunk.min(weather.bytes_per_second.div_ceil(20));
                let (now, later) = rest.split_at(rest.len().min(most));
                to.write_all(now).await?;
                if weather.bytes_per_second != usize::MAX {
                    let seconds = now.len() as f64 / weather.bytes_per_second as f64;
                    sleep(Duration::from_secs_f64(seconds)).await;
                }
                rest = later;
            }
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|_| ())
}

/// Ends a connection so that the other end sees an error.
fn reset(stream: TcpStream) {
    // A socket that is gone already needs none.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}

impl Shared {
    fn bury(&self, stream: TcpStream) {
        self.vanished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(stream);
    }
}
