//! follow.ts in Node: the clients that count, and what each of them was given.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::front::Kind;
use crate::support::npm::{clients, succeed};
use crate::support::token::token_for;

/// A client that comes back waits for seconds at most; a busy machine takes longer.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two questions.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// What one client has to tell.
#[derive(Debug, Deserialize)]
pub struct Told {
    pub name: String,
    pub numbers: Vec<i64>,
    pub count: usize,
    /// How often it was connected.
    pub connections: usize,
    pub resets: usize,
    status: String,
    #[expect(dead_code, reason = "shown when something is not as it should be")]
    error: Option<String>,
}

impl Told {
    pub fn is_connected(&self) -> bool {
        let way = self.name.split(' ').next();
        self.status.split_once(' ').map(|(s, t)| (s, Some(t))) == Some(("connected", way))
    }
}

pub struct Follower {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Follower {
    /// Behind the proxy there, trusting this authority.
    pub fn start(kind: Kind, address: SocketAddr, authority: &Path) -> Self {
        let folder = crate::support::temp_dir();
        let script = folder.path().join("follow.cjs");
        let modules = clients().join("node_modules");
        let mut esbuild = Command::new(modules.join(".bin/esbuild"));
        esbuild
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proxies/follow.ts"))
            .args(["--bundle", "--platform=node", "--format=cjs"])
            .args(["--external:ws", "--log-level=warning"])
            .arg(format!("--outfile={}", script.display()));
        succeed(&mut esbuild);
        let mut node = Command::new("node");
        // nginx does not offer it, so that browsers do not ask for it.
        if kind == Kind::HaProxy {
            node.env("FEED_SOCKETS_OVER_HTTP2", "");
        }
        let mut child = node
            .arg(&script)
            .env("NODE_PATH", &modules)
            .env("NODE_EXTRA_CA_CERTS", authority)
            .env("FEED_URL", format!("https://localhost:{}", address.port()))
            .env("FEED_TOKEN", token_for("ann", &["tasks"]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is here");
        Self {
            orders: child.stdin.take().expect("piped"),
            answers: BufReader::new(child.stdout.take().expect("piped")),
            child,
            _folder: folder,
        }
    }

    /// What all clients have, with the numbers or without.
    pub fn ask(&mut self, order: &str) -> Vec<Told> {
        let mut line = String::new();
        tokio::task::block_in_place(|| {
            writeln!(self.orders, "{order}").expect("it runs");
            self.answers.read_line(&mut line).expect("it runs");
        });
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Waits until this is so of all of them.
    pub async fn until(&mut self, what: &str, is_so: impl Fn(&Told) -> bool) {
        let start = Instant::now();
        loop {
            let told = self.ask("how many");
            if told.iter().all(&is_so) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{what}: {told:#?}");
            sleep(ASK_INTERVAL).await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
