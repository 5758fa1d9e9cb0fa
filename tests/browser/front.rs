//! What the browser takes for the server: it hands out the page, takes the page's notes, and passes requests for the feed
//! on, through a network that fails as it is told to. Every connection carries one request, so that what is cut is known.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// A request of a page has far less.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long nothing passes, where nothing does.
const HOLE: Duration = Duration::from_secs(1);

/// What becomes of a connection for the feed.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    /// How many bytes of the answer pass, its head among them.
    bytes: usize,
    /// When it is cut though fewer have passed.
    lives: Duration,
    /// After how many bytes, and for how long, nothing passes and nobody is told.
    hole: Option<(usize, Duration)>,
    /// How it ends.
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With an RST, which takes with it what the browser has not read.
    Reset,
    /// With a FIN; with an RST as long as the browser has only a part of the head.
    Close,
    /// With a FIN in any case. Where there is no TLS, Chromium takes what it has of a head for all of it.
    Truncate,
}

impl Fate {
    /// Passes everything until it is cut by hand.
    const CALM: Self = Self {
        bytes: usize::MAX,
        lives: Duration::from_hours(1),
        hole: None,
        end: End::Close,
    };

    /// An answer that says it is fine, and not what it is.
    pub const GIVE_UP: Self = Self {
        bytes: "HTTP/1.1 200 OK\r\n".len(),
        end: End::Truncate,
        ..Self::CALM
    };

    /// Some end before the first byte of an answer, some within its head, most in the midst of a message.
    pub fn draw(random: &mut Rng) -> Self {
        let bytes = match random.u32(..8) {
            0 => 0,
            1 => random.usize(1..300),
            _ => random.usize(300..6000),
        };
        let hole = (random.u32(..6) == 0).then(|| (random.usize(..=bytes), HOLE));
        let lives = Duration::from_millis(random.u64(300..1000));
        Self {
            bytes,
            lives: lives + hole.map_or(Duration::ZERO, |(_, time)| time),
            hole,
            end: [End::Reset, End::Close][random.usize(..2)],
        }
    }
}

/// A connection for the feed, as it went.
#[derive(Debug, Default, Clone)]
pub struct Passage {
    pub path: String,
    pub last_event_id: Option<String>,
    /// What the browser was sent.
    pub passed: Vec<u8>,
    /// Whether it was this network that ended it.
    pub is_cut: bool,
}

impl Passage {
    /// Whether the last message, or the head, is there in part only.
    pub fn is_torn(&self) -> bool {
        // The last two are the end of a chunk, in which the server sends whole messages.
        !self.passed.is_empty() && !self.passed.ends_with(b"\n\n\r\n")
    }
}

/// Listens until it is dropped.
pub struct Front {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    page: String,
    target: Mutex<SocketAddr>,
    fates: Mutex<VecDeque<Fate>>,
    cuts: watch::Sender<usize>,
    notes: Mutex<Vec<Value>>,
    passages: Mutex<Vec<Passage>>,
}

impl Front {
    /// `script` runs in the page, with `note` to tell what it sees.
    pub async fn start(target: SocketAddr, script: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let notes = include_str!("notes.js");
        let shared = Arc::new(Shared {
            // An icon of no bytes, which else the browser asks for.
            page: format!(
                "<!doctype html><link rel=\"icon\" href=\"data:,\"><script>{notes}{script}</script>"
            ),
            target: Mutex::new(target),
            fates: Mutex::default(),
            cuts: watch::Sender::new(0),
            notes: Mutex::default(),
            passages: Mutex::default(),
        });
        Self {
            address: listener.local_addr().expect("it is bound"),
            accepting: tokio::spawn(accept(listener, Arc::clone(&shared))),
            shared,
        }
    }

    pub fn page(&self) -> String {
        format!("http://{}/page.html", self.address)
    }

    /// The server has moved.
    pub fn passes_on_to(&self, target: SocketAddr) {
        *lock(&self.shared.target) = target;
    }

    /// Cuts all connections there are. The next ones have these fates, those after them a calm one.
    pub fn storm(&self, fates: impl IntoIterator<Item = Fate>) {
        lock(&self.shared.fates).extend(fates);
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many fates have not begun yet.
    pub fn fates_left(&self) -> usize {
        lock(&self.shared.fates).len()
    }

    /// What the page has noted so far.
    pub fn notes(&self) -> Vec<Value> {
        lock(&self.shared.notes).clone()
    }

    /// The connections for the feed so far, in the order of their requests.
    pub fn passages(&self) -> Vec<Passage> {
        lock(&self.shared.passages).clone()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (browser, _) = listener.accept().await.expect("a listener that is open");
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let _ = browser.set_nodelay(true);
            // A browser that hangs up is no fault of anybody's.
            let _ = shared.answer(browser).await;
        });
    }
}

impl Shared {
    async fn answer(&self, mut browser: TcpStream) -> std::io::Result<()> {
        let Some(request) = Request::read(&mut browser).await? else {
            return Ok(());
        };
        let (status, kind, body) = match (&*request.method, &*request.path) {
            ("GET", "/page.html") => ("200 OK", "text/html", self.page.as_str()),
            ("POST", "/notes") => {
                let notes = serde_json::from_slice::<Vec<Value>>(&request.body);
                lock(&self.notes).extend(notes.expect("the page sends JSON"));
                ("204 No Content", "text/plain", "")
            }
            _ => return self.pass_on(browser, request).await,
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        );
        browser.write_all(answer.as_bytes()).await?;
        browser.shutdown().await
    }

    async fn pass_on(&self, mut browser: TcpStream, request: Request) -> std::io::Result<()> {
        let number = {
            let mut passages = lock(&self.passages);
            passages.push(Passage {
                path: request.path.clone(),
                last_event_id: request.header("last-event-id").map(str::to_owned),
                ..Passage::default()
            });
            passages.len() - 1
        };
        let mut cuts = self.cuts.subscribe();
        let fate = lock(&self.fates).pop_front().unwrap_or(Fate::CALM);
        let target = *lock(&self.target);
        let Ok(mut server) = TcpStream::connect(target).await else {
            reset(&browser);
            return Ok(());
        };
        server.write_all(request.to_server().as_bytes()).await?;
        let carried = tokio::select! {
            carried = self.carry(&mut browser, &mut server, fate, number) => carried,
            () = sleep_until(Instant::now() + fate.lives) => Ok(true),
            _ = cuts.changed() => Ok(true),
        };
        // What the server ends, or what ended it, ends here as well.
        let is_cut = matches!(carried, Ok(true));
        let has_part_of_head = {
            let passage = &mut lock(&self.passages)[number];
            passage.is_cut = is_cut;
            !passage.passed.is_empty() && !passage.passed.windows(4).any(|it| it == b"\r\n\r\n")
        };
        let is_reset = match fate.end {
            End::Reset => is_cut,
            End::Close => has_part_of_head,
            End::Truncate => false,
        };
        if is_reset || carried.is_err() {
            reset(&browser);
        }
        Ok(())
    }

    /// Gives whether its fate has come; else the one or the other has hung up.
    async fn carry(
        &self,
        browser: &mut TcpStream,
        server: &mut TcpStream,
        fate: Fate,
        number: usize,
    ) -> std::io::Result<bool> {
        let (mut from_browser, mut to_browser) = browser.split();
        let mut buffer = vec![0; 4096];
        let mut hung_up = [0; 1];
        let mut passed = 0;
        let mut hole = fate.hole;
        while passed < fate.bytes {
            let end = match hole {
                Some((from, time)) if passed >= from => {
                    sleep(time).await;
                    hole = None;
                    continue;
                }
                Some((from, _)) => from,
                None => fate.bytes,
            };
            let room = (end - passed).min(buffer.len());
            let read = tokio::select! {
                read = server.read(&mut buffer[..room]) => read?,
                _ = from_browser.read(&mut hung_up) => 0,
            };
            if read == 0 {
                return Ok(false);
            }
            to_browser.write_all(&buffer[..read]).await?;
            lock(&self.passages)[number].passed.extend(&buffer[..read]);
            passed += read;
        }
        Ok(true)
    }
}

/// Has the end of a connection be an RST.
fn reset(stream: &TcpStream) {
    // A socket that is gone already needs none.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request of the browser's.
struct Request {
    method: String,
    path: String,
    /// Header lines.
    lines: Vec<String>,
    body: Vec<u8>,
}

impl Request {
    /// None when the browser has nothing to ask: it opens connections in advance.
    async fn read(stream: &mut TcpStream) -> std::io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut bytes).await? == 0 || bytes.len() > HEAD_BYTES_MAX {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
        let mut lines = head.lines().map(str::to_owned);
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(' ').map(str::to_owned);
        let mut request = Self {
            method: words.next().unwrap_or_default(),
            path: words.next().unwrap_or_default(),
            lines: lines.collect(),
            body: bytes.split_off(head_end + 4),
        };
        let length = request.header("content-length");
        let length = length.map_or(0, |length| length.parse().expect("browsers count"));
        while request.body.len() < length {
            if stream.read_buf(&mut request.body).await? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(request))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Its head as the server gets it: with an end of the connection after it.
    fn to_server(&self) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let lines = self.lines.iter();
        for line in lines.filter(|line| !line.to_ascii_lowercase().starts_with("connection:")) {
            text.push_str(line);
            text.push_str("\r\n");
        }
        text.push_str("Connection: close\r\n\r\n");
        text
    }
}
