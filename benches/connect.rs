//! What it costs the real server to take a client in, by how it says who it is, over TLS too: what `rowcast bench connect`
//! leaves out. Processor time for each connection with its subscription, and its memory. `cargo bench --bench connect`;
//! behind `--`, a number of connections (10,000; over TLS a fifth of it), and words to pick cases by, such as `ES256`.

#[path = "../tests/auth_tokens/signer.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "made for tests, which use the rest of it"
)]
mod signer;
#[path = "../tests/support/mod.rs"]
mod support;

use std::env;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::json;
use signer::{Signer, claims};
use support::Database;
use support::process::Process;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const CONNECTIONS: usize = 10_000;

/// The first connections pay for buffers that all share.
const WARM: usize = 200;

/// Handshakes under way at a time.
const DOOR: usize = 32;

/// How a client says who it is.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Nothing,
    Header,
    Url,
}

struct Case {
    name: &'static str,
    algorithm: Option<Algorithm>,
    by: By,
    tls: bool,
}

const CASES: [Case; 8] = [
    Case {
        name: "nobody is asked",
        algorithm: None,
        by: By::Nothing,
        tls: false,
    },
    Case {
        name: "HS256, header",
        algorithm: Some(Algorithm::HS256),
        by: By::Header,
        tls: false,
    },
    Case {
        name: "HS256, URL",
        algorithm: Some(Algorithm::HS256),
        by: By::Url,
        tls: false,
    },
    Case {
        name: "ES256, header",
        algorithm: Some(Algorithm::ES256),
        by: By::Header,
        tls: false,
    },
    Case {
        name: "RS256, header",
        algorithm: Some(Algorithm::RS256),
        by: By::Header,
        tls: false,
    },
    Case {
        name: "EdDSA, header",
        algorithm: Some(Algorithm::EdDSA),
        by: By::Header,
        tls: false,
    },
    Case {
        name: "nobody is asked, TLS",
        algorithm: None,
        by: By::Nothing,
        tls: true,
    },
    Case {
        name: "HS256, header, TLS",
        algorithm: Some(Algorithm::HS256),
        by: By::Header,
        tls: true,
    },
];

fn main() {
    // `cargo bench` passes --bench.
    let words: Vec<_> = env::args().skip(1).filter(|w| w != "--bench").collect();
    let connections = words.iter().find_map(|word| word.parse().ok());
    let connections = connections.unwrap_or(CONNECTIONS);
    let picks: Vec<_> = words
        .iter()
        .filter(|word| word.chars().all(char::is_alphanumeric) && word.parse::<usize>().is_err())
        .collect();
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    println!(
        "{:<22} {:>8} {:>10} {:>12} {:>12}",
        "", "clients", "CPU, us", "each CPU-s", "idle, KB"
    );
    for case in CASES {
        if picks.is_empty() || picks.iter().any(|pick| case.name.contains(pick.as_str())) {
            let connections = if case.tls {
                connections / 5
            } else {
                connections
            };
            runtime.block_on(measure(&case, connections));
        }
    }
}

async fn measure(case: &Case, connections: usize) {
    let stand = Stand::start(case.algorithm, case.tls).await;
    let warm = stand.connect(case.by, 0..WARM).await;
    let (cpu, rss) = (stand.server.cpu(), stand.server.rss_bytes());
    let requests: Vec<_> = (WARM..WARM + connections).collect();
    let clients = stand
        .connect(case.by, requests[0]..WARM + connections)
        .await;
    // Tasks that end after the last answer.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let spent = stand.server.cpu_since(cpu).as_secs_f64();
    let memory = stand.server.rss_bytes().saturating_sub(rss);
    println!(
        "{:<22} {connections:>8} {:>10.1} {:>12.0} {:>12.2}",
        case.name,
        spent * 1e6 / connections as f64,
        connections as f64 / spent,
        memory as f64 / connections as f64 / 1024.0,
    );
    drop((warm, clients));
}

/// A server, and what it takes to be let in.
struct Stand {
    server: Process,
    address: String,
    signer: Option<Signer>,
    tls: Option<TlsConnector>,
    _database: Database,
    _folder: tempfile::TempDir,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Stand {
    async fn start(algorithm: Option<Algorithm>, tls: bool) -> Self {
        let database = Database::sqlite().await;
        let folder = support::temp_dir();
        let mut all: Vec<String> = ["--log-format", "json"].map(str::to_owned).into();
        let mut file = |flag: &str, name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a file");
            all.extend([flag.to_owned(), path.display().to_string()]);
        };
        let signer = algorithm.map(Signer::new);
        match &signer {
            Some(signer) if signer.public.is_empty() => {
                file("--jwt-secret-file", "secret", signer::SECRET);
            }
            Some(signer) => file("--jwt-public-key-file", "public.pem", &signer.public),
            None => {}
        }
        let tls = tls.then(|| {
            let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
            let rcgen::CertifiedKey { cert, signing_key } = pair.expect("a certificate");
            file("--tls-cert", "cert.pem", &cert.pem());
            file("--tls-key", "key.pem", &signing_key.serialize_pem());
            let mut roots = RootCertStore::empty();
            roots.add(cert.der().clone()).expect("it is good");
            let config = ClientConfig::builder()
                .with_root_certificates(roots)
                .with_no_client_auth();
            TlsConnector::from(Arc::new(config))
        });
        if signer.is_some() {
            all.extend(["--grant", "tasks"].map(str::to_owned));
        }
        let flags: Vec<_> = all.iter().map(String::as_str).collect();
        let server = Process::start(&database.url, &flags);
        let (_, rest) = server.url.split_once("://").expect("a URL");
        Self {
            address: rest.trim_end_matches("/ws").to_owned(),
            server,
            signer,
            tls,
            _database: database,
            _folder: folder,
        }
    }

    /// Clients that are subscribed, each with a token of its own.
    async fn connect(&self, by: By, clients: std::ops::Range<usize>) -> Vec<Box<dyn Stream>> {
        let mut clients = clients.map(|n| self.request(by, n)).collect::<Vec<_>>();
        let mut connected = Vec::with_capacity(clients.len());
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < DOOR
                && let Some(request) = clients.pop()
            {
                under_way.spawn(enter(self.address.clone(), self.tls.clone(), request));
            }
            match under_way.join_next().await {
                Some(stream) => connected.push(stream.expect("the server lets it in")),
                None => return connected,
            }
        }
    }

    /// A handshake, and a request to subscribe behind it.
    fn request(&self, by: By, n: usize) -> Vec<u8> {
        let subscribe = r#"{"type":"subscribe","channels":["tasks"]}"#;
        let token = self.signer.as_ref().map(|signer| {
            let user = json!({ "sub": format!("user-{n}") });
            signer.sign(&claims(&user))
        });
        let (mut query, mut header) = (String::new(), String::new());
        match (by, token) {
            (By::Header, Some(token)) => header = format!("Authorization: Bearer {token}\r\n"),
            (By::Url, Some(token)) => query = format!("?token={token}"),
            _ => {}
        }
        let port = self.address.rsplit(':').next().expect("a port");
        let mut request = format!(
            "GET /ws{query} HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{header}\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .into_bytes();
        // A masked text frame, with a mask of zeros.
        request.extend([0x81, 0x80 | subscribe.len() as u8, 0, 0, 0, 0]);
        request.extend(subscribe.as_bytes());
        request
    }
}

/// Ends when it is subscribed.
async fn enter(address: String, tls: Option<TlsConnector>, request: Vec<u8>) -> Box<dyn Stream> {
    let tcp = TcpStream::connect(address).await.expect("it accepts");
    let mut stream: Box<dyn Stream> = match tls {
        None => Box::new(tcp),
        Some(tls) => {
            let name = ServerName::try_from("localhost").expect("a name");
            let stream = tls.connect(name, tcp).await;
            Box::new(stream.expect("the certificate is the one we made"))
        }
    };
    stream.write_all(&request).await.expect("it reads");
    // TLS keeps what it has encrypted until it is told to send it.
    stream.flush().await.expect("it reads");
    let mut heard = Vec::new();
    while !heard.windows(12).any(|window| window == b"\"subscribed\"") {
        let read = stream.read_buf(&mut heard).await.expect("it answers");
        assert!(read > 0, "refused: {}", String::from_utf8_lossy(&heard));
    }
    stream
}
