//! `rowcast relay` in a process of its own, and what it logs.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::DEADLINE;
use super::postgres::signal;

/// A relay, killed when it is dropped.
pub struct Relay {
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    /// With the time at which each was written.
    lines: Mutex<Vec<(Instant, String)>>,
    written: watch::Sender<()>,
}

impl Relay {
    /// Relays from here to there.
    pub fn start(database_url: &str, redis_url: &str, flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
        command
            .args([
                "relay",
                "--log-format",
                "json",
                "--database-url",
                database_url,
            ])
            .args(["--to", redis_url])
            .args(flags)
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("rowcast starts");
        let log = Arc::<Log>::default();
        let to = Arc::clone(&log);
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                to.lines().push((Instant::now(), line));
                to.written.send_replace(());
            }
        });
        Self { child, log }
    }

    /// Waits until it says this `count` times, and gives when it did the last of them.
    pub async fn says(&self, text: &str, count: usize) -> Instant {
        let mut written = self.log.written.subscribe();
        let said = async {
            loop {
                let times: Vec<_> = {
                    let lines = self.log.lines();
                    let said = lines.iter().filter(|(_, line)| line.contains(text));
                    said.map(|(at, _)| *at).collect()
                };
                if let Some(at) = times.get(count - 1) {
                    return *at;
                }
                written.changed().await.expect("the log is ours");
            }
        };
        timeout(DEADLINE, said)
            .await
            .unwrap_or_else(|_| panic!("not said {count} times: {text}\n{}", self.text()))
    }

    /// How often it has said this.
    pub fn said(&self, text: &str) -> usize {
        let lines = self.log.lines();
        lines.iter().filter(|(_, line)| line.contains(text)).count()
    }

    /// All it has said.
    pub fn text(&self) -> String {
        let lines = self.log.lines();
        let lines: Vec<_> = lines.iter().map(|(_, line)| line.as_str()).collect();
        lines.join("\n")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn kill_9(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started");
    }

    /// Asks it to end, and waits for that.
    pub fn terminate(&mut self) -> ExitStatus {
        signal("TERM", &[self.child.id()]);
        self.child.wait().expect("it was started")
    }

    /// Has it stand still, with all its connections open.
    pub fn freeze(&self) {
        signal("STOP", &[self.child.id()]);
    }

    pub fn thaw(&self) {
        signal("CONT", &[self.child.id()]);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", self.text());
        }
    }
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<(Instant, String)>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
