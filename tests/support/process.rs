//! The real program in a process of its own: where it listens, what it logs, what processor time it takes.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use super::token::tells_a_secret;

/// Longest wait for a line of the log: long after the longest wait of a server between two attempts, and less than the
/// minute for which a connection that stands still may keep Postgres from recovering.
const LINE_TIMEOUT: Duration = Duration::from_secs(40);

/// A running `rowcast serve` on a free port, killed when it is dropped. No test is passed in which it wrote a secret.
pub struct Process {
    child: Child,
    readers: Vec<JoinHandle<()>>,
    pub url: String,
    /// Where its administration is, or `off`.
    pub admin: String,
    log: Arc<Log>,
}

/// What it has logged since it was ready.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<Value>>,
    /// All it has written from the start, as it was.
    written_text: Mutex<String>,
    written: watch::Sender<()>,
}

impl Process {
    /// Returns when it is ready.
    pub fn start(database_url: &str, flags: &[&str]) -> Self {
        Self::start_on(0, database_url, flags)
    }

    /// On this port of 127.0.0.1, as a server is that was restarted.
    pub fn start_on(port: u16, database_url: &str, flags: &[&str]) -> Self {
        Self::try_start_on(port, database_url, flags).expect("rowcast says where it listens")
    }

    /// The same, where the database may not be there: then the program ends, and there is none.
    pub fn try_start_on(port: u16, database_url: &str, flags: &[&str]) -> Option<Self> {
        let mut command = Self::command_on(port, database_url);
        command.args(flags);
        Self::spawn(command)
    }

    /// One that is told where its events are by these flags alone, on this port of 127.0.0.1.
    pub fn serve_on(port: u16, flags: &[String]) -> Self {
        let mut command = Self::serve(port);
        command.args(flags).env_remove("DATABASE_URL");
        Self::spawn(command).expect("rowcast says where it listens")
    }

    /// Runs a command that becomes a server. Returns when it is ready; none where it ends instead.
    pub fn spawn(mut command: Command) -> Option<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rowcast starts");
        let log = Arc::<Log>::default();
        let mut stdout = child.stdout.take().expect("piped");
        let to = Arc::clone(&log);
        let reading = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stdout.read_to_end(&mut text);
            to.note(&String::from_utf8_lossy(&text));
        });
        let mut lines = BufReader::new(child.stderr.take().expect("piped"))
            .lines()
            .map_while(Result::ok);
        let ready = lines.by_ref().find_map(|line| {
            log.note(&line);
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            let field = |name: &str| {
                let pretty = || line.split_once(&format!(" {name}="))?.1.split(' ').next();
                let text = entry[name].as_str().or_else(pretty)?;
                Some(text.trim_matches('"').to_owned())
            };
            let ready = field("websocket").zip(field("admin"));
            if ready.is_none() {
                eprintln!("{line}");
            }
            ready
        });
        let Some((url, admin)) = ready else {
            child.wait().expect("it was started");
            reading.join().expect("it reads");
            log.assert_no_secret();
            return None;
        };
        let to = Arc::clone(&log);
        let logging = std::thread::spawn(move || {
            for line in lines {
                to.note(&line);
                let entry = serde_json::from_str(&line).unwrap_or(Value::String(line));
                to.lines().push(entry);
                to.written.send_replace(());
            }
        });
        Some(Self {
            child,
            readers: vec![reading, logging],
            url,
            admin,
            log,
        })
    }

    /// `rowcast serve` on a free port, not yet started.
    pub fn command(database_url: &str) -> Command {
        Self::command_on(0, database_url)
    }

    fn command_on(port: u16, database_url: &str) -> Command {
        let mut command = Self::serve(port);
        command.args(["--database-url", database_url]);
        command
    }

    fn serve(port: u16) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
        command
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it was started")
    }

    /// Ends it, and gives all it has written from its start to its end.
    pub fn output(&mut self) -> String {
        self.kill();
        for reader in self.readers.drain(..) {
            reader.join().expect("it reads");
        }
        self.log.text().clone()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The messages logged so far that contain `text`.
    pub fn logged(&self, text: &str) -> Vec<String> {
        let lines = self.log.lines();
        let messages = lines.iter().filter_map(|entry| entry["message"].as_str());
        messages
            .filter(|message| message.contains(text))
            .map(str::to_owned)
            .collect()
    }

    /// How many lines it has logged.
    pub fn lines(&self) -> usize {
        self.log.lines().len()
    }

    /// Waits until `count` lines of the log contain `text`.
    pub async fn wait_logged(&self, text: &str, count: usize) {
        let mut written = self.log.written.subscribe();
        let enough = async {
            while self.logged(text).len() < count {
                written.changed().await.expect("the log is ours");
            }
        };
        assert!(
            timeout(LINE_TIMEOUT, enough).await.is_ok(),
            "not logged {count} times within {LINE_TIMEOUT:?}: {text}"
        );
    }

    /// Processor time of all its threads, user and kernel.
    pub fn cpu(&self) -> Duration {
        cpu_of(self.id())
    }

    /// Memory that it has now.
    pub fn rss_bytes(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kilobytes
            .and_then(|number| number.parse::<u64>().ok())
            .expect("a Linux system")
            * 1024
    }

    /// How much more that is now than it was.
    pub fn cpu_since(&self, before: Duration) -> Duration {
        self.cpu().saturating_sub(before)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.output();
        if std::thread::panicking() {
            for line in self.log.lines().iter() {
                eprintln!("{line}");
            }
        } else {
            self.log.assert_no_secret();
        }
    }
}

/// Processor time of all threads of a process, user and kernel.
pub fn cpu_of(id: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{id}/task")).expect("a Linux system");
    let nanoseconds = threads.flatten().filter_map(|thread| {
        // A thread may have ended meanwhile.
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    let fine = Duration::from_nanos(nanoseconds.sum());
    // In hundredths of a second, but of threads that have ended, too.
    let text = fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    let (_, fields) = text.rsplit_once(')').expect("its name is in parentheses");
    let hundredths = fields.split(' ').skip(12).take(2);
    let coarse = hundredths.map(|field| field.parse::<u64>().expect("a number"));
    fine.max(Duration::from_millis(coarse.sum::<u64>() * 10))
}

/// A port below those that systems hand out to outgoing connections (from 32768 on Linux), so that
/// no client of a test holds it when a server is restarted on it. The one after it is not given to anybody else: a server has
/// its administration there.
pub fn free_port() -> u16 {
    // Each port once: one that was given to a test may not be bound yet, or not just now.
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..6000)));
    loop {
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 6000 * 2;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<Value>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> MutexGuard<'_, String> {
        let text = self.written_text.lock();
        text.unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, line: &str) {
        let mut text = self.text();
        text.push_str(line);
        text.push('\n');
    }

    fn assert_no_secret(&self) {
        let text = self.text();
        let told = text.lines().find(|line| tells_a_secret(line));
        assert_eq!(told, None, "a server wrote a secret");
    }
}
