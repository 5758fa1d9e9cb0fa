//! A throw-away Redis, made and started by the tests. What is kept in it is not here.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::postgres::signal;
use super::process::free_port;

/// A tenth of a second is usual.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Each try takes another port.
const START_TRIES: usize = 20;

/// Runs a server, says who it is, and ends it as it is told, or when the test is gone, however that ends.
const SCRIPT: &str = r#""$0" "$@" </dev/null & echo "pid $!"; read -r how; kill -s "${how:-KILL}" $! 2>/dev/null; wait"#;

/// One Redis with a directory and a port of its own. It is ended when the value is dropped.
pub struct Redis {
    port: u16,
    folder: tempfile::TempDir,
    flags: Vec<String>,
    server: Mutex<Option<Server>>,
}

struct Server {
    shell: Child,
    id: u32,
}

impl Redis {
    /// One that writes each command to the disk within a second, and knows it after a restart.
    pub fn durable() -> Self {
        Self::start(&["--appendonly", "yes", "--appendfsync", "everysec"])
    }

    /// One that knows nothing after a restart.
    pub fn forgetful() -> Self {
        Self::start(&["--appendonly", "no"])
    }

    /// With these flags, and no snapshots.
    pub fn start(flags: &[&str]) -> Self {
        let version = Command::new("redis-server").arg("--version").output();
        version.expect("redis-server is installed: apt-get install redis-server");
        let mut redis = Self {
            port: 0,
            folder: super::temp_dir(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            server: Mutex::default(),
        };
        for _ in 0..START_TRIES {
            redis.port = free_port();
            if let Some(server) = redis.launch() {
                *redis.server() = Some(server);
                return redis;
            }
        }
        panic!("redis does not start");
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps its data.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Ends it at once, as a power cut would, but for what the system has yet to write.
    pub fn kill_9(&self) {
        self.end("KILL");
    }

    /// Asks it to end, and waits for that.
    pub fn stop(&self) {
        self.end("TERM");
    }

    /// Starts it on the same port with what is left in its directory, after ending it if it runs.
    pub fn restart(&self) {
        self.stop();
        let server = self.launch().expect("it starts again");
        *self.server() = Some(server);
    }

    /// Has it neither answer nor end.
    pub fn pause(&self) {
        signal("STOP", &[self.id()]);
    }

    /// Has it go on.
    pub fn resume(&self) {
        signal("CONT", &[self.id()]);
    }

    /// Processor time of it, user and kernel.
    pub fn cpu(&self) -> Duration {
        super::process::cpu_of(self.id())
    }

    /// Says something to it.
    pub fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_connection().expect("it runs");
        let mut said = redis::Cmd::new();
        for word in command {
            said.arg(*word);
        }
        let answer = said.query(&mut connection);
        answer.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Hears what is told on a channel from now on.
    pub fn hear(&self, channel: &str) -> mpsc::Receiver<()> {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_connection().expect("it runs");
        let channel = channel.to_owned();
        let (heard, hears) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        thread::spawn(move || {
            let mut listener = connection.as_pubsub();
            listener.subscribe(channel).expect("it takes it");
            let _ = ready.send(());
            while listener.get_message().is_ok() && heard.send(()).is_ok() {}
        });
        is_ready.recv().expect("it listens");
        hears
    }

    fn launch(&self) -> Option<Server> {
        // Whoever has the port would be asked in its place.
        drop(TcpListener::bind(("127.0.0.1", self.port)).ok()?);
        let mut shell = Command::new("sh")
            .args([
                "-c",
                SCRIPT,
                "redis-server",
                "--port",
                &self.port.to_string(),
            ])
            .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.folder.path())
            .args(&self.flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("cannot run sh");
        let stdout = shell.stdout.take().expect("it was asked to be a pipe");
        let (ready, is_ready) = mpsc::channel();
        thread::spawn(move || {
            let mut id = None;
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(text) = line.strip_prefix("pid ") {
                    id = text.parse::<u32>().ok();
                }
                if line.contains("eady to accept connections") {
                    // Nobody listens any more when this is not the first time.
                    let _ = ready.send(id);
                }
            }
        });
        if let Ok(Some(id)) = is_ready.recv_timeout(START_TIMEOUT) {
            return Some(Server { shell, id });
        }
        drop(shell.stdin.take());
        let _ = shell.wait();
        None
    }

    fn end(&self, how: &str) {
        let Some(mut server) = self.server().take() else {
            return;
        };
        if let Some(mut stdin) = server.shell.stdin.take() {
            writeln!(stdin, "{how}").expect("the shell reads it");
        }
        server.shell.wait().expect("the shell is a child of ours");
    }

    fn id(&self) -> u32 {
        self.server().as_ref().expect("it runs").id
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.end("KILL");
    }
}
