//! A throw-away PostgreSQL server, made and started by the tests. What the tests ask of their
//! databases is not here.
//!
//! Two facts about a server are learned without asking it again and again: its log arrives through a
//! pipe, so "ready" is the line that says so, and "gone" is the end of the pipe, which comes when the
//! last of its processes has let go of it.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::{self, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::process::free_port;

/// Half a second is usual; a machine with every core busy may take many times that.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Each try takes another port.
const START_TRIES: usize = 20;

/// One PostgreSQL server with a data directory and a port of its own.
///
/// It is stopped and its directory removed when the value is dropped, and also when the test
/// process dies without dropping anything, be it by `kill -9`.
pub struct Postgres {
    programs: PathBuf,
    account: Option<Account>,
    port: u16,
    databases: AtomicU32,
    /// `None` while it is stopped.
    server: Mutex<Option<Server>>,
    keeper: Keeper,
}

impl Postgres {
    /// The one server of this test process, for every test that does not disturb its neighbours.
    /// It does not wait for the disk.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::create(Durability::None))
    }

    /// A server for one test alone, to be killed, stopped and restarted. It is as durable as one in
    /// production, so that what was committed before a kill is there after it.
    pub fn start() -> Self {
        Self::create(Durability::Full)
    }

    /// As [`Postgres::start`], with more lines of settings.
    pub fn start_with(settings: &str) -> Self {
        let postgres = Self::start();
        postgres.configure(settings);
        postgres.restart();
        postgres
    }

    /// A standby that streams from this server and answers queries, as of now or later.
    pub fn standby(&self) -> Self {
        let account = self.account;
        let keeper = Keeper::new(account);
        // A client's program, which may be elsewhere: found in PATH then.
        let beside = self.programs.join("pg_basebackup");
        let program = if beside.is_file() {
            &beside
        } else {
            Path::new("pg_basebackup")
        };
        let output = command(program, account, &keeper.directory)
            .arg("--pgdata")
            .arg(keeper.data())
            .args(["--dbname", &self.url("postgres")])
            // Writes standby.signal too.
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .output()
            .expect("cannot run pg_basebackup");
        assert!(
            output.status.success(),
            "pg_basebackup failed: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Self::launch_first(self.programs.clone(), account, keeper)
    }

    /// The URL of `database` on this server, whether or not there is such a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://rowcast@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database that no other test has, and returns its URL.
    pub async fn create_database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("cannot create database {name}: {error}"));
        self.url(&name)
    }

    /// Ends every client's connection but the one that does it, as an administrator would, and
    /// returns how many there were. Other tests' too: not for [`Postgres::shared`].
    pub async fn terminate_all(&self) -> i64 {
        sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        .fetch_one(&mut self.connect().await)
        .await
        .expect("cannot terminate the other connections")
    }

    /// Kills every process of the server at once, as a power cut would. The data stay as they are.
    pub fn kill_9(&self) {
        if let Some(server) = self.server().take() {
            // Stopped first, so that it cannot fork a child which the list lacks.
            signal("STOP", &[server.id()]);
            let mut processes = children(server.id());
            processes.push(server.id());
            signal("KILL", &processes);
            self.keeper.watch(None);
            server.wait();
        }
    }

    /// Stops every process of the server where it is. Its connections stay open, and nothing answers on them.
    pub fn pause(&self) {
        let postmaster = self.postmaster();
        // First, so that it cannot fork a child which the list lacks.
        signal("STOP", &[postmaster]);
        signal("STOP", &children(postmaster));
    }

    /// Has them go on.
    pub fn resume(&self) {
        let postmaster = self.postmaster();
        signal("CONT", &children(postmaster));
        signal("CONT", &[postmaster]);
    }

    /// Shuts the server down as `pg_ctl stop -m fast` does: open transactions are rolled back,
    /// clients disconnected, everything written. Returns when it is gone.
    pub fn stop(&self) {
        if let Some(server) = self.server().take() {
            signal("INT", &[server.id()]);
            server.wait();
            self.keeper.watch(None);
        }
    }

    /// Starts the server on the same data and port, after [`Postgres::stop`]ping it if it runs.
    pub fn restart(&self) {
        self.stop();
        let started = self.launch(self.port);
        *self.server() =
            Some(started.unwrap_or_else(|log| panic!("postgres does not start again:\n{log}")));
    }

    /// Starts the server again as a standby that no primary sends anything to. The next [`Postgres::restart`] makes it
    /// a primary again, as if it had always been one.
    pub fn restart_as_standby(&self) {
        self.stop();
        let signal = self.keeper.data().join("standby.signal");
        File::create(&signal).expect("the directory is ours");
        self.restart();
        fs::remove_file(&signal).expect("the server does not remove it");
    }

    /// Adds lines of settings, which count from the next start.
    pub fn configure(&self, settings: &str) {
        File::options()
            .append(true)
            .open(self.keeper.data().join("postgresql.conf"))
            .and_then(|mut file| writeln!(file, "{settings}"))
            .expect("cannot write postgresql.conf");
    }

    /// Makes a standby the primary of a timeline of its own. Returns when it is one.
    pub async fn promote(&self) {
        let promoted: bool = sqlx::query_scalar("SELECT pg_promote()")
            .fetch_one(&mut self.connect().await)
            .await
            .expect("cannot promote the standby");
        assert!(promoted, "the standby was not promoted:\n{}", self.log());
    }

    /// Runs a client's program against `database`, as `pg_dump`, and gives its output.
    pub fn run(&self, program: &str, database: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(["--dbname", &self.url(database)])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
        assert!(
            output.status.success(),
            "{program} failed: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All that the server has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.keeper.log_file()).unwrap_or_default()
    }

    fn create(durability: Durability) -> Self {
        let programs = find_programs();
        let account = Account::for_server();
        let keeper = Keeper::new(account);
        init_data(&programs, account, &keeper.directory, durability);
        Self::launch_first(programs, account, keeper)
    }

    /// Finds a port, and starts the server on it.
    fn launch_first(programs: PathBuf, account: Option<Account>, keeper: Keeper) -> Self {
        let mut postgres = Self {
            programs,
            account,
            port: 0,
            databases: AtomicU32::new(1),
            server: Mutex::new(None),
            keeper,
        };
        for _ in 0..START_TRIES {
            postgres.port = free_port();
            match postgres.launch(postgres.port) {
                Ok(server) => {
                    *postgres.server() = Some(server);
                    return postgres;
                }
                // Another process took the port between our look and the server's.
                Err(log) if log.contains("could not bind") => {}
                Err(log) => panic!("postgres does not start:\n{log}"),
            }
        }
        panic!(
            "postgres found {START_TRIES} ports in a row taken:\n{}",
            postgres.log()
        );
    }

    /// Runs `postgres` until it takes connections; what it logged, if it does not get there.
    fn launch(&self, port: u16) -> Result<Server, String> {
        let mut child = command(
            &self.programs.join("postgres"),
            self.account,
            &self.keeper.directory,
        )
        .arg("-D")
        .arg(self.keeper.data())
        .args(["-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // A Ctrl-C at the tests' terminal is for the tests; the keeper then ends the server.
        .process_group(0)
        .spawn()
        .expect("cannot run postgres");
        self.keeper.watch(Some(child.id()));

        let stderr = child.stderr.take().expect("it was asked to be a pipe");
        let (ready, is_ready) = mpsc::channel();
        let log_file = self.keeper.log_file();
        let log = thread::spawn(move || copy_log(stderr, &log_file, &ready));
        let server = Server { child, log };

        // It fails at once when the log ends before the server was ready.
        if is_ready.recv_timeout(START_TIMEOUT).is_ok() {
            return Ok(server);
        }
        signal("QUIT", &[server.id()]);
        server.wait();
        self.keeper.watch(None);
        Err(self.log())
    }

    async fn connect(&self) -> PgConnection {
        let url = self.url("postgres");
        PgConnection::connect(&url)
            .await
            .unwrap_or_else(|error| panic!("cannot connect to {url}: {error}\n{}", self.log()))
    }

    fn postmaster(&self) -> u32 {
        self.server().as_ref().expect("the server runs").id()
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.keeper.finish();
        if let Some(server) = self.server().take() {
            server.wait();
        }
    }
}

/// A running server: its first process, whose children the others are, and the reader of its log.
struct Server {
    child: Child,
    log: JoinHandle<()>,
}

impl Server {
    fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns when all of its processes are gone, so that its port and its memory are free.
    fn wait(mut self) {
        self.child.wait().expect("postgres is a child of ours");
        // Its children may outlive it by a moment; they hold the pipe of the log open.
        self.log.join().expect("reading the log does not panic");
    }
}

/// Copies the log into its file until the last process of the server is gone, and says when the
/// server is ready. Ends without having said so if the server never was.
fn copy_log(stderr: ChildStderr, log_file: &Path, ready: &mpsc::Sender<()>) {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(log_file)
        .expect("cannot write the log of postgres");
    // Bytes, not lines of text: a statement in the log may hold anything.
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        // A standby takes "read-only connections", or "read only" ones before version 14.
        let is_ready =
            String::from_utf8_lossy(&line).contains("database system is ready to accept ");
        // The keeper may have removed the directory already.
        let _ = file.write_all(&line).and_then(|()| file.write_all(b"\n"));
        if is_ready {
            // Nobody listens any more when this is not the first time.
            let _ = ready.send(());
        }
    }
}

/// The directory of a server, and a shell that ends the server and removes the directory as soon as
/// its standard input ends. That is when [`Keeper::finish`] closes it, and when this process dies,
/// however it dies: there is one way to clean up, and each test takes it.
struct Keeper {
    directory: PathBuf,
    shell: Mutex<Child>,
}

impl Keeper {
    /// Reads the process id of the server from each line; an empty line means that none runs.
    const SCRIPT: &str = r#"
        trap '' INT TERM HUP
        while read -r line; do server=$line; done
        if [ -n "$server" ]; then
            # A test may have died while it had the server stopped.
            kill -QUIT "$server"; kill -CONT "$server"
            # The server removes this file last. Ten seconds are twice what it gives its children.
            tries=0
            while [ -e data/postmaster.pid ] && [ "$tries" -lt 200 ]; do
                sleep 0.05
                tries=$((tries + 1))
            done
        elif [ -e data/postmaster.pid ]; then
            # Left by kill -9, with a few bytes of System V memory that nothing else would free.
            ipcrm -m "$(sed -n '7s/.* //p' data/postmaster.pid)"
        fi
        cd / && rm -rf "$1"
    "#;

    fn new(account: Option<Account>) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("rowcast-postgres-")
            .tempdir()
            .expect("cannot make a temporary directory")
            .keep();
        if let Some(Account { user, group }) = account {
            unix::fs::chown(&directory, Some(user), Some(group))
                .expect("root can give a directory away");
        }
        let shell = Command::new("sh")
            .args(["-c", Self::SCRIPT, "rowcast-postgres-keeper"])
            .arg(&directory)
            .current_dir(&directory)
            .stdin(Stdio::piped())
            // Whoever waits for the end of the tests' output must not wait for this.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Test runners end the whole group of a test that takes too long.
            .process_group(0)
            .spawn()
            .expect("cannot run sh");
        Self {
            directory,
            shell: Mutex::new(shell),
        }
    }

    /// Tells the shell which process to end.
    fn watch(&self, server: Option<u32>) {
        let line = server.map(|id| id.to_string()).unwrap_or_default();
        if let Some(stdin) = &mut self.shell().stdin {
            writeln!(stdin, "{line}").expect("the keeper of postgres is gone");
        }
    }

    /// Returns when the server is ended and the directory removed.
    fn finish(&self) {
        let mut shell = self.shell();
        drop(shell.stdin.take());
        // An error would be one of a process that is gone, which is what is wanted.
        let _ = shell.wait();
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("postgres.log")
    }

    fn shell(&self) -> MutexGuard<'_, Child> {
        self.shell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Does a commit survive the loss of power?
#[derive(Clone, Copy)]
enum Durability {
    None,
    Full,
}

/// Makes the data directory with `initdb` and writes the settings into it.
fn init_data(programs: &Path, account: Option<Account>, directory: &Path, durability: Durability) {
    let data = directory.join("data");
    let output = command(&programs.join("initdb"), account, directory)
        .arg("--pgdata")
        .arg(&data)
        .args([
            "--username=rowcast",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ])
        .output()
        .expect("cannot run initdb");
    assert!(
        output.status.success(),
        "initdb failed: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );

    let durability = match durability {
        Durability::Full => "fsync = on\nsynchronous_commit = on\n",
        Durability::None => "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n",
    };
    // No socket file: its path would have to be short, and temporary directories need not be.
    // Shared memory in the directory, so that nothing of a killed server stays behind elsewhere.
    // Some tests prepare transactions, which keeps writers from waking the feed unless they are told to.
    let settings = format!(
        "\nlisten_addresses = '127.0.0.1'\n\
         unix_socket_directories = ''\n\
         max_connections = 300\n\
         max_prepared_transactions = 10\n\
         rowcast.wake = on\n\
         dynamic_shared_memory_type = mmap\n\
         log_line_prefix = '%m [%p] %q%a %d '\n\
         {durability}"
    );
    File::options()
        .append(true)
        .open(data.join("postgresql.conf"))
        .and_then(|mut file| file.write_all(settings.as_bytes()))
        .expect("cannot write postgresql.conf");
}

/// The user that the server runs as. PostgreSQL refuses to run as root.
#[derive(Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

impl Account {
    /// `None` where the tests' own user will do.
    fn for_server() -> Option<Self> {
        if id(&["-u"]) != Some(0) {
            return None;
        }
        let account = ["postgres", "nobody"].into_iter().find_map(|name| {
            let user = id(&["-u", name])?;
            let group = id(&["-g", name])?;
            Some(Self { user, group })
        });
        Some(account.expect(
            "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor a user \
             `nobody` to run it as",
        ))
    }
}

/// What `id ARGUMENTS` prints; `None` if there is no such user. std does not know users.
fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id")
        .args(arguments)
        .output()
        .expect("cannot run id");
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// A command that runs as `account`, in a directory which that user may read.
fn command(program: &Path, account: Option<Account>, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(directory)
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    if let Some(Account { user, group }) = account {
        command.uid(user).gid(group);
    }
    command
}

/// The directory that holds `initdb` and `postgres`. Debian keeps them out of `PATH`.
fn find_programs() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).collect::<Vec<_>>();
    on_path
        .into_iter()
        .chain(versions_in("/usr/lib/postgresql"))
        .find(|directory| {
            ["initdb", "postgres"]
                .iter()
                .all(|name| directory.join(name).is_file())
        })
        .expect(
            "the tests start a PostgreSQL server of their own, but there is no `initdb` with a \
             `postgres` beside it in PATH or in /usr/lib/postgresql/*/bin: `scripts/test` installs \
             them (Debian's package is `postgresql`)",
        )
}

/// `DIRECTORY/VERSION/bin`, newest version first.
fn versions_in(directory: &str) -> Vec<PathBuf> {
    let version = |path: &PathBuf| -> u32 {
        path.file_name()
            .and_then(OsStr::to_str)
            .and_then(|name| name.parse().ok())
            .unwrap_or(0)
    };
    let mut versions: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    versions.sort_by_key(|path| std::cmp::Reverse(version(path)));
    versions.into_iter().map(|path| path.join("bin")).collect()
}

/// The processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let output = Command::new("ps")
        .args(["-A", "-o", "ppid=,pid="])
        .output()
        .expect("cannot run ps (Debian's package is `procps`)");
    let parent = parent.to_string();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.trim().split_once(char::is_whitespace))
        .filter(|(ppid, _)| *ppid == parent)
        .filter_map(|(_, pid)| pid.trim().parse().ok())
        .collect()
}

/// Sends a signal through the shell's own `kill`: std has none for any but SIGKILL.
pub fn signal(name: &str, processes: &[u32]) {
    // A process that is gone already needs no signal.
    let _ = Command::new("sh")
        .args(["-c", r#"kill -s "$0" "$@""#, name])
        .args(processes.iter().map(ToString::to_string))
        .stderr(Stdio::null())
        .status()
        .expect("cannot run sh");
}
