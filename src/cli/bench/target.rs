//! A server under load: a process of ours on a free port, or one that runs already.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use url::Url;

use super::dialect::{Dialect, Values};
use super::measure::{self, Cores, Meter};
use crate::error::Error;

/// Between two looks whether it listens.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it may take to end when it is asked to.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of its output that are shown when it does not start.
const OUTPUT_BYTES_MAX: usize = 1500;

/// A server. One that was started here ends when this is dropped.
pub(super) struct Target {
    pub dialect: Dialect,
    pub address: SocketAddr,
    /// The port of one that was started here.
    pub port: u16,
    pub meter: Option<Meter>,
    child: Option<Child>,
    /// What it writes.
    output: PathBuf,
}

impl Target {
    /// Starts it, if it is to be started, and waits until it listens. Its output goes into the folder.
    pub(super) async fn start(
        mut dialect: Dialect,
        folder: &Path,
        cores: Option<&Cores>,
    ) -> Result<Self, Error> {
        let port = if dialect.command.is_empty() {
            0
        } else {
            free_port()?
        };
        let values = Values {
            port,
            ..Values::default()
        };
        // The channels stay.
        dialect.url = dialect.url.replace("{port}", &port.to_string());
        let address = address(&dialect.name, &dialect.url)?;
        let output = folder.join(format!("{}.log", file_name(&dialect.name)));
        let mut target = Self {
            meter: dialect.pid.map(Meter::new).transpose()?,
            dialect,
            address,
            port,
            child: None,
            output,
        };
        if target.dialect.command.is_empty() {
            let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
            let answered = connecting.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            answered.map_err(|source| Error::Io {
                doing: format!("connect to {}", shown(&target.dialect.url)),
                source,
            })?;
            if let (Some(cores), Some(meter)) = (cores, &mut target.meter) {
                meter.pin(cores)?;
            }
            return Ok(target);
        }
        let child = target.spawn(values, cores)?;
        target.meter = measure::IS_THERE
            .then(|| Meter::new(child.id()))
            .transpose()?;
        target.child = Some(child);
        target.wait_ready().await?;
        Ok(target)
    }

    fn spawn(&self, values: Values<'_>, cores: Option<&Cores>) -> Result<Child, Error> {
        let failed = |doing: String| move |source| Error::Io { doing, source };
        let log = File::create(&self.output).map_err(failed("create a log".into()))?;
        let again = log.try_clone().map_err(failed("create a log".into()))?;
        let filled: Vec<_> = self
            .dialect
            .command
            .iter()
            .map(|a| values.fill(a))
            .collect();
        let mut command = Command::new(&filled[0]);
        command.args(&filled[1..]);
        // Settings of other servers are none of its.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("ROWCAST_") || name == "DATABASE_URL" {
                command.env_remove(&*name);
            }
        }
        let env = self.dialect.env.iter();
        command.envs(env.map(|(name, value)| (name, values.fill(value))));
        command.stdin(Stdio::null()).stdout(log).stderr(again);
        // Ctrl-C is for the benchmark, which ends it then.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let doing = format!("start {}: {}", self.dialect.name, filled[0]);
        let spawn = || command.spawn().map_err(failed(doing));
        match cores {
            Some(cores) => cores.on_servers_core(spawn)?,
            None => spawn(),
        }
    }

    /// Until it listens, and says that it is ready.
    async fn wait_ready(&mut self) -> Result<(), Error> {
        let time = Duration::from_secs(self.dialect.ready_seconds.into());
        let end = Instant::now() + time;
        loop {
            let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(self.address)).await;
            let listens = matches!(connecting, Ok(Ok(_)));
            let output = std::fs::read(&self.output).unwrap_or_default();
            let output = String::from_utf8_lossy(&output);
            let sign = self.dialect.ready.as_deref();
            if listens && sign.is_none_or(|sign| output.contains(sign)) {
                return Ok(());
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok()?);
            let why = match ended {
                Some(status) => format!("it ended ({status})"),
                None if Instant::now() > end && listens => {
                    format!(
                        "it does not say {:?} after {time:?}",
                        sign.unwrap_or_default()
                    )
                }
                None if Instant::now() > end => {
                    format!("nothing listens on {} after {time:?}", self.address)
                }
                None => {
                    sleep(LOOK_INTERVAL).await;
                    continue;
                }
            };
            let output = output.trim();
            let start = output.floor_char_boundary(output.len().saturating_sub(OUTPUT_BYTES_MAX));
            return Err(Error::Io {
                doing: format!("start {}", self.dialect.name),
                source: std::io::Error::other(format!("{why}; it said: {}", &output[start..])),
            });
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else {
            return;
        };
        ask_to_end(child);
        let end = Instant::now() + END_TIMEOUT;
        while let Ok(None) = child.try_wait() {
            if Instant::now() > end {
                break;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        end_at_once(child);
        let _ = child.wait();
    }
}

#[cfg(unix)]
fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    // It leads a group of its own: workers and what a shell started are in it.
    let group = nix::unistd::Pid::from_raw(child.id() as i32);
    let _ = nix::sys::signal::killpg(group, signal);
}

#[cfg(unix)]
fn ask_to_end(child: &Child) {
    signal(child, nix::sys::signal::Signal::SIGTERM);
}

#[cfg(unix)]
fn end_at_once(child: &mut Child) {
    signal(child, nix::sys::signal::Signal::SIGKILL);
}

#[cfg(not(unix))]
fn ask_to_end(_: &Child) {}

#[cfg(not(unix))]
fn end_at_once(child: &mut Child) {
    let _ = child.kill();
}

/// Where the WebSocket at this URL is.
fn address(name: &str, text: &str) -> Result<SocketAddr, Error> {
    let wrong = |why: &str| Error::Config(format!("{name}: the URL {}: {why}", shown(text)));
    // Braces are channels, in the path.
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "ws" => {}
        "wss" => {
            return Err(wrong(
                "the benchmark does not speak TLS; name the ws:// address behind the proxy",
            ));
        }
        _ => return Err(wrong("it begins with ws://, as in ws://127.0.0.1:3001/ws")),
    }
    resolve(&url).map_err(|why| wrong(&why))
}

/// The first address of the host of a URL.
pub(super) fn resolve(url: &Url) -> Result<SocketAddr, String> {
    let port = match (url.port_or_known_default(), url.scheme()) {
        (Some(port), _) => port,
        _ => 80,
    };
    let host = url.host_str().ok_or("it names no host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut found = (host, port)
        .to_socket_addrs()
        .map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| "its host has no address".into())
}

/// A URL without what may be secret in it: user, password and query.
pub(super) fn shown(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return "…".into();
    };
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
}

/// A port on which nothing listens.
fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address
        .map(|address| address.port())
        .map_err(|source| Error::Io {
            doing: "find a free port".into(),
            source,
        })
}

fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    name.chars().map(plain).collect()
}
