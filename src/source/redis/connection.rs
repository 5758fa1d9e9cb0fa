//! A connection to Redis that is opened when it is needed, and anew after an error.

use std::path::Path;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, ClientTlsConfig, RedisError, TlsCertificates};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::explain::{explain, hopeless};
use crate::error::Error;
use crate::source::stream::{StreamConfig, StreamUrl, TlsFiles};

/// How long to wait for a connection, and for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A Redis, and the part of it that is of one feed.
pub(super) struct Redis {
    url: StreamUrl,
    shown: String,
    name: String,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Redis {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`] when the driver cannot use the URL, or the files that it names.
    pub fn new(config: &StreamConfig) -> Result<Self, Error> {
        client(&config.url)?;
        Ok(Self {
            url: config.url.clone(),
            shown: config.url.to_string(),
            name: config.name.clone(),
            connection: Mutex::default(),
        })
    }

    /// The name of a key of this feed. In braces is what decides where a cluster keeps it: all together, or no script could
    /// use them.
    pub fn key(&self, what: &str) -> String {
        format!("{{{}}}:{what}", self.name)
    }

    /// Does something on the shared connection.
    ///
    /// # Errors
    /// When Redis does not answer, or refuses.
    pub async fn with<T>(
        &self,
        doing: &'static str,
        run: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, Error> {
        let open = self.connection.lock().await.clone();
        let mut connection = if let Some(connection) = open {
            connection
        } else {
            let connection = self.connect().await?;
            *self.connection.lock().await = Some(connection.clone());
            connection
        };
        match run(&mut connection).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                *self.connection.lock().await = None;
                Err(self.error(doing, &error))
            }
        }
    }

    /// A connection for whoever needs one alone.
    ///
    /// # Errors
    /// When Redis does not answer, or lets nobody in.
    pub async fn connect(&self) -> Result<MultiplexedConnection, Error> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        client(&self.url)?
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| self.error("connect to Redis", &error))
    }

    /// One that listens to a channel of Redis' own.
    ///
    /// # Errors
    /// As [`Redis::connect`].
    pub async fn listen(&self, channel: &str) -> Result<PubSub, Error> {
        let doing = "listen to Redis";
        let client = client(&self.url)?;
        let listen = async {
            let mut listener = client.get_async_pubsub().await?;
            listener.subscribe(channel).await?;
            Ok(listener)
        };
        let seconds = CONNECT_TIMEOUT.as_secs();
        timeout(CONNECT_TIMEOUT, listen)
            .await
            .map_err(|_| Error::Timeout { doing, seconds })?
            .map_err(|error| self.error(doing, &error))
    }

    /// What went wrong, with where.
    pub fn error(&self, doing: &'static str, error: &RedisError) -> Error {
        let why = explain(error, self.url.tls().is_some());
        match hopeless(error) {
            Some(doing) => Error::Config(format!("{doing} Redis at {}: {why}", self.shown)),
            None => self.failed(doing, why),
        }
    }

    /// The same in words of ours.
    pub fn failed(&self, doing: &'static str, why: String) -> Error {
        Error::Stream {
            doing,
            redis: self.shown.clone(),
            why,
        }
    }
}

/// A client, with the files as they are now.
fn client(url: &StreamUrl) -> Result<Client, Error> {
    let unusable = |why: String| Error::Config(format!("use the Redis URL {url}: {why}"));
    let client = match url.tls() {
        None => Client::open(url.expose()),
        Some(files) => {
            let certificates = certificates(files).map_err(unusable)?;
            Client::build_with_tls(url.expose(), certificates)
        }
    };
    client.map_err(|error| unusable(error.to_string()))
}

fn certificates(files: &TlsFiles) -> Result<TlsCertificates, String> {
    let read = |parameter: &str, file: &Path| {
        let named = format!("{parameter} names {}", file.display());
        std::fs::read(file).map_err(|error| format!("{named}: {error}"))
    };
    let root_cert = match &files.roots {
        None => None,
        Some(file) => {
            let text = read("sslrootcert", file)?;
            let blocks = pem::parse_many(&text).unwrap_or_default();
            // The driver would trust nobody.
            if blocks.iter().all(|block| block.tag() != "CERTIFICATE") {
                let file = file.display();
                return Err(format!(
                    "sslrootcert names {file}: there is no certificate in PEM in it"
                ));
            }
            Some(text)
        }
    };
    let client_tls = match &files.identity {
        None => None,
        Some((cert, key)) => Some(ClientTlsConfig {
            client_cert: read("sslcert", cert)?,
            client_key: read("sslkey", key)?,
        }),
    };
    Ok(TlsCertificates {
        client_tls,
        root_cert,
    })
}
