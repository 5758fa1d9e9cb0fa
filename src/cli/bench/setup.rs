//! What all servers of a run have in common: flags, tokens, the folder, and which servers there are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::args::CommonArgs;
use super::dialect::{Dialect, Many, PublishSpec};
use super::load::Load;
use super::measure::Cores;
use super::publish::Publisher;
use super::stand::Stand;
use super::target::Target;
use crate::auth::{self, SigningKey};
use crate::cli::signals::interrupted;
use crate::error::Error;
use crate::source::{self, DatabaseConfig, Migrate, open_probe};

/// Files that are open beside connections.
const OTHER_FILES: u64 = 100;

/// How long a token is valid, in seconds: longer than any run.
const TOKEN_SECONDS: u64 = 2 * 24 * 3600;

/// Channels that are granted to the clients.
pub(super) const GRANT: &str = "rowcast.bench:*";

/// What is to be measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub clients: u32,
    pub channels: u32,
    pub channels_per_client: u32,
    pub payload_bytes: u32,
    /// Whether all servers have their clients at the same time.
    pub together: bool,
}

/// What all servers of a run have in common.
pub(super) struct Bench {
    pub common: CommonArgs,
    pub shape: Shape,
    pub stop: Arc<AtomicBool>,
    run: String,
    folder: TempDir,
    cores: Option<Cores>,
    who: Arc<Who>,
    secret_file: Option<PathBuf>,
    dialects: Vec<Dialect>,
}

/// Who clients say they are.
pub(super) enum Who {
    Nobody,
    /// All the same.
    One(String),
    /// Each another user.
    Each(SigningKey),
}

impl Bench {
    pub(super) fn new(common: CommonArgs, shape: Shape) -> Result<Self, Error> {
        if shape.channels_per_client > shape.channels {
            return Err(Error::Config(format!(
                "--channels-per-client {} is more than there are; add --channels {0} or more",
                shape.channels_per_client
            )));
        }
        let beside = match &common.beside {
            Some(path) => Dialect::read(path)?,
            None => Vec::new(),
        };
        if let Some(path) = &common.plot
            && !path
                .parent()
                .is_none_or(|folder| folder == Path::new("") || folder.is_dir())
        {
            return Err(Error::Config(format!(
                "--plot {}: there is no such folder",
                path.display()
            )));
        }
        let folder = tempfile::Builder::new()
            .prefix("rowcast-bench-")
            .tempdir()
            .map_err(|source| Error::Io {
                doing: "create a temporary folder".into(),
                source,
            })?;
        let mut bench = Self {
            shape,
            stop: Arc::default(),
            run: format!("{:08x}", fastrand::u32(..)),
            cores: common.pin.then(Cores::divide).transpose()?,
            secret_file: common.jwt_secret_file.clone(),
            who: Arc::new(Who::Nobody),
            dialects: Vec::new(),
            folder,
            common,
        };
        let is_own = bench.common.url.is_none();
        if is_own && bench.common.token_file.is_none() {
            bench.make_secret()?;
        }
        bench.who = Arc::new(bench.who()?);
        let own = if is_own {
            bench.own_dialect()?
        } else {
            bench.running_dialect()?
        };
        bench.dialects = vec![own];
        bench.dialects.extend(beside);
        bench.check()?;
        let (stop, interrupted) = (Arc::clone(&bench.stop), interrupted());
        tokio::spawn(async move {
            interrupted.await;
            stop.store(true, Ordering::Relaxed);
        });
        Ok(bench)
    }

    /// Says what will be measured where nothing was said about it.
    pub(super) fn introduce(&self) {
        if self.common.url.is_some() || self.common.json {
            return;
        }
        let table = match &self.common.database_url {
            None => "a temporary SQLite file",
            Some(_) => "--database-url",
        };
        anstream::eprintln!(
            "a server of its own, in a process of its own, on {table}; clients have tokens"
        );
        anstream::eprintln!(
            "another one: --url ws://… --pid … --database-url …; other programs: --beside FILE"
        );
    }

    /// Sees to it that events can be sent to every server.
    pub(super) fn check_publishing(&self) -> Result<(), Error> {
        let CommonArgs {
            url,
            database_url,
            publish_url,
            ..
        } = &self.common;
        if url.is_some() && database_url.is_none() && publish_url.is_none() {
            return Err(Error::Config(
                "--url: how do events get there? Add --database-url with the server's database, or --publish-url with its \
                 POST /events"
                    .into(),
            ));
        }
        let mut beside = self.dialects.iter().skip(1);
        match beside.find(|dialect| dialect.publish.is_none()) {
            None => Ok(()),
            Some(one) => Err(Error::Config(format!(
                "--beside: {} has no publish, so no event can be sent to it",
                one.name
            ))),
        }
    }

    /// What came, or nothing if it broke off because it was asked to.
    pub(super) fn unless_stopped<T>(&self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Err(_) if self.is_stopped() => Ok(None),
            result => result.map(Some),
        }
    }

    /// How many servers there are.
    pub(super) fn servers(&self) -> usize {
        self.dialects.len()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Starts the nth server. Nobody is connected yet.
    pub(super) async fn stand(&self, n: usize) -> Result<Stand, Error> {
        let dialect = self.dialects[n].clone();
        let target = Target::start(dialect, self.folder.path(), self.cores.as_ref()).await?;
        let names: Arc<[String]> = (0..self.shape.channels)
            .map(|number| target.dialect.channel(&self.run, number))
            .collect();
        let load = Load::new(&target.dialect, target.address, Arc::clone(&self.stop))?;
        let bytes = self.shape.payload_bytes as usize;
        let mut probe = None;
        let publisher = if n == 0 && self.common.publish_url.is_none() {
            match self.database()? {
                None => None,
                Some(config) => {
                    let insert = source::open_insert(&config, Migrate::Off).await?;
                    if self.common.database_url.is_some() {
                        let found = open_probe(&config)?;
                        let last = found.last_id().await?;
                        probe = Some((found, last));
                    }
                    Some(Publisher::sql(insert, Arc::clone(&names), bytes))
                }
            }
        } else {
            let spec = target.dialect.publish.as_ref();
            spec.map(|spec| Publisher::http(spec, target.port, Arc::clone(&names), bytes))
                .transpose()?
        };
        let who = match n {
            0 => Arc::clone(&self.who),
            _ => Arc::new(Who::Nobody),
        };
        let patience = self.common.patience;
        let stand = Stand::new(target, load, self.shape, names, who, patience);
        Ok(stand.with_publisher(publisher, probe))
    }

    /// The table that is written to. None where nothing was said about it.
    fn database(&self) -> Result<Option<DatabaseConfig>, Error> {
        let url = match (&self.common.database_url, &self.common.url) {
            (Some(url), _) => url.clone(),
            (None, None) => self.temporary_url(),
            (None, Some(_)) => return Ok(None),
        };
        let mut config = DatabaseConfig::new(&url)?;
        config.schema.clone_from(&self.common.schema);
        Ok(Some(config))
    }

    fn temporary_url(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("bench.db").display())
    }

    /// A server of our own: this program.
    fn own_dialect(&self) -> Result<Dialect, Error> {
        let failed = |doing: &str| {
            let doing = doing.to_owned();
            move |source| Error::Io { doing, source }
        };
        let program = std::env::current_exe().map_err(failed("find this program"))?;
        // A file in the present folder is about another server.
        let empty = self.folder.path().join("rowcast.toml");
        std::fs::write(&empty, "").map_err(failed("write a temporary file"))?;
        let mut dialect = Dialect::rowcast("ws://127.0.0.1:{port}/ws".into());
        let mut command = vec![program, "serve".into(), "--config".into(), empty];
        command
            .extend(["--listen", "127.0.0.1:{port}", "--log-format", "pretty"].map(PathBuf::from));
        if let Some(path) = &self.secret_file {
            command.extend(["--jwt-secret-file".into(), path.clone()]);
        }
        command.extend(self.common.serve_arg.iter().map(PathBuf::from));
        dialect.command = command.iter().map(|a| a.display().to_string()).collect();
        // Not on the command line, as it may have a password.
        let url = match &self.common.database_url {
            Some(url) => url.clone(),
            None if cfg!(feature = "sqlite") => self.temporary_url(),
            None => {
                return Err(Error::Config(
                    "this program was built without SQLite; give --database-url, or a server with --url".into(),
                ));
            }
        };
        // Said here with its flag, and not by a process that ends.
        DatabaseConfig::new(&url)?;
        dialect.env.insert("ROWCAST_DATABASE_URL".into(), url);
        if let Some(schema) = &self.common.schema {
            dialect.env.insert("ROWCAST_SCHEMA".into(), schema.clone());
        }
        Ok(dialect)
    }

    /// The server at --url.
    fn running_dialect(&self) -> Result<Dialect, Error> {
        let mut dialect = Dialect::rowcast(self.common.url.clone().unwrap_or_default());
        dialect.pid = self.common.pid;
        dialect.publish = match &self.common.publish_url {
            None => None,
            Some(url) => Some(PublishSpec {
                url: url.clone(),
                body: String::new(),
                many: Some(Many::Rowcast),
                headers: self
                    .who
                    .token(0)?
                    .map(|token| ("Authorization".to_owned(), format!("Bearer {token}")))
                    .into_iter()
                    .collect(),
            }),
        };
        Ok(dialect)
    }

    /// What can be known to be wrong before anything is started.
    fn check(&self) -> Result<(), Error> {
        if self.shape.channels_per_client > 1
            && let Some(one) = self.dialects.iter().find(|d| !d.can_have_many())
        {
            return Err(Error::Config(format!(
                "--channels-per-client: a client of {} has one channel, as its URL names it",
                one.name
            )));
        }
        let sets = if self.shape.together {
            self.servers() as u64
        } else {
            1
        };
        let needed = u64::from(self.shape.clients) * sets + OTHER_FILES;
        match rlimit::increase_nofile_limit(u64::MAX) {
            Ok(limit) if limit < needed => Err(Error::Config(format!(
                "--clients {}: that takes {needed} open files, of all servers together, and the system allows {limit}; \
                 raise the limit with `ulimit -Hn`, or ask for fewer",
                self.shape.clients
            ))),
            _ => Ok(()),
        }
    }

    /// A secret for tokens of our own server, unless flags say which.
    fn make_secret(&mut self) -> Result<(), Error> {
        let has_keys = |flag: &String| flag.starts_with("--jwt-") || flag.starts_with("--jwks-");
        if self.secret_file.is_some() || self.common.serve_arg.iter().any(has_keys) {
            return Ok(());
        }
        let path = self.folder.path().join("secret");
        let secret = crate::cli::token::new_secret()?;
        std::fs::write(&path, secret).map_err(|source| Error::Io {
            doing: "write a temporary file".into(),
            source,
        })?;
        self.secret_file = Some(path);
        Ok(())
    }

    fn who(&self) -> Result<Who, Error> {
        if let Some(path) = &self.common.token_file {
            let wrong = |why: &dyn std::fmt::Display| {
                Error::Config(format!("--token-file {}: {why}", path.display()))
            };
            let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
            let token = text.trim();
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong(&"this is no token"));
            }
            return Ok(Who::One(token.to_owned()));
        }
        match &self.secret_file {
            None => Ok(Who::Nobody),
            Some(path) => {
                let key = SigningKey::from_secret(&auth::secret(path)?);
                key.map(Who::Each)
                    .map_err(|error| Error::Config(format!("--jwt-secret-file: {error}")))
            }
        }
    }
}

impl Who {
    /// The token of a client, if it has one.
    pub(super) fn token(&self, client: usize) -> Result<Option<String>, Error> {
        match self {
            Self::Nobody => Ok(None),
            Self::One(token) => Ok(Some(token.clone())),
            Self::Each(key) => {
                let now = auth::now();
                let claims = json!({
                    "sub": format!("bench-{client}"), "iat": now, "exp": now + TOKEN_SECONDS,
                    "channels": [GRANT], "publish": [GRANT],
                });
                let Value::Object(claims) = claims else {
                    return Ok(None);
                };
                key.sign(None, &claims)
                    .map(Some)
                    .map_err(|error| Error::Config(format!("--jwt-secret-file: {error}")))
            }
        }
    }
}
