//! Which stream in Redis: where that is, what the stream is called, and how much of it is kept.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::{DatabaseConfig, DatabaseKind};
use crate::error::Error;

/// The stream unless another is named.
pub const DEFAULT_STREAM: &str = "rowcast";

/// Longest name of a stream, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// Which stream.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// Where Redis is.
    pub url: StreamUrl,
    /// What its keys begin with: several feeds may share a Redis.
    pub name: String,
}

/// How much of a stream is kept.
#[derive(Debug, Clone)]
pub struct StreamRetain {
    /// For how long.
    pub keep: Duration,
    /// Most entries, give or take some. An entry has up to 1,000 events, or 1 MB.
    pub entries_max: u64,
}

impl StreamConfig {
    /// The stream of this name at this URL.
    ///
    /// # Errors
    /// [`Error::Config`] when the URL is none of Redis, this build cannot read it, or the name is out of rule.
    pub fn new(url: &str, name: &str) -> Result<Self, Error> {
        let url = StreamUrl::parse(url)?;
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.chars().all(is_allowed) {
            return Err(Error::Config(format!(
                "--stream {name:?}: a name has 1 to {NAME_BYTES_MAX} characters of A-Z a-z 0-9 _ . : -"
            )));
        }
        if !cfg!(feature = "redis") {
            return Err(Error::Config(
                "this rowcast was built without the feature \"redis\"; build it with --features redis".into(),
            ));
        }
        Ok(Self {
            url,
            name: name.to_owned(),
        })
    }
}

/// Refuses a database that no relay can read.
///
/// # Errors
/// [`Error::Config`] where servers on several machines cannot share it.
pub(crate) fn refuse_relay_from(database: &DatabaseConfig) -> Result<(), Error> {
    match database.url.kind() {
        DatabaseKind::Postgres => Ok(()),
        DatabaseKind::Sqlite => Err(Error::Config(format!(
            "there is no relay from {}: a SQLite file is on one machine, and a relay is for servers on several that share a \
             Postgres; give its URL with --database-url, or let one `rowcast serve` serve the file",
            database.url
        ))),
    }
}

const FORMS: &str = "redis://user:password@host:6379/0, or rediss:// for TLS";

/// What a URL of `rediss://` may have behind a `?`, named as in the URL of a Postgres.
const PARAMETERS: &str = "sslrootcert=FILE, the certificates of the authorities to trust in place of the public ones; \
     sslcert=FILE and sslkey=FILE, a certificate of ours, and its key; all in PEM";

/// The URL of a Redis, or of a Valkey. Shown without its password.
#[derive(Clone)]
pub struct StreamUrl {
    url: Url,
    files: TlsFiles,
}

/// The files that a connection with TLS needs. They are read anew for each connection, as certificates are replaced.
#[derive(Clone, Default)]
#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "there is no driver")
)]
pub(super) struct TlsFiles {
    /// Authorities to trust; those that all the world trusts unless there are any.
    pub roots: Option<PathBuf>,
    /// A certificate of ours and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// What the parameters of a URL say; none where one of them is unknown, empty or there twice.
    fn of(url: &Url) -> Option<Self> {
        let (mut roots, mut cert, mut key) = (None, None, None);
        for (name, value) in url.query_pairs() {
            let file = match &*name {
                "sslrootcert" => &mut roots,
                "sslcert" => &mut cert,
                "sslkey" => &mut key,
                _ => return None,
            };
            if value.is_empty() || file.replace(PathBuf::from(&*value)).is_some() {
                return None;
            }
        }
        if cert.is_some() != key.is_some() {
            return None;
        }
        let identity = cert.zip(key);
        Some(Self { roots, identity })
    }
}

impl StreamUrl {
    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Config`] when it is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let malformed = |why: &str| Error::Config(format!("the Redis URL {why}; write {FORMS}"));
        // The parser's message is kept, the text is not: it may hold the password.
        let url =
            Url::parse(text).map_err(|error| malformed(&format!("is malformed ({error})")))?;
        if !matches!(url.scheme(), "redis" | "rediss" | "valkey" | "valkeys") {
            let scheme = url.scheme();
            return Err(malformed(&format!("has the scheme {scheme:?}")));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(malformed("names no host"));
        }
        // With an unescaped `#`, `/` or `?` in it a password ends early, and its rest would pass for another part of the
        // URL, and be shown as such. Where `#insecure` is a word of the driver, to trust any certificate is not offered.
        let number = url.path().trim_start_matches('/');
        let is_number = number.chars().all(|c| c.is_ascii_digit());
        let files = TlsFiles::of(&url);
        let (Some(files), true, None) = (files, is_number, url.fragment()) else {
            return Err(malformed(&format!(
                "has more behind the host than the number of a database, or what a `?` may begin there: {PARAMETERS} (a \
                 password's # / ? @ : are written %23 %2F %3F %40 %3A)"
            )));
        };
        if url.query().is_some() && !matches!(url.scheme(), "rediss" | "valkeys") {
            return Err(malformed(
                "names files for TLS, and says to do without TLS: begin it with rediss://",
            ));
        }
        Ok(Self { url, files })
    }

    /// The URL with its password: for the driver, never for a log.
    #[cfg_attr(
        not(any(test, feature = "redis")),
        expect(dead_code, reason = "there is no driver")
    )]
    pub(super) fn expose(&self) -> String {
        let mut url = self.url.clone();
        // Ours, and none that the driver knows.
        url.set_query(None);
        url.into()
    }

    /// Whether it is spoken to in TLS.
    #[cfg_attr(
        not(any(test, feature = "redis")),
        expect(dead_code, reason = "there is no driver")
    )]
    pub(super) fn tls(&self) -> Option<&TlsFiles> {
        matches!(self.url.scheme(), "rediss" | "valkeys").then_some(&self.files)
    }
}

impl fmt::Display for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.url.clone();
        if url.password().is_some() {
            // Fails only on URLs without a host, of which `parse` takes none.
            let _ = url.set_password(Some("***"));
        }
        url.fmt(f)
    }
}

impl fmt::Debug for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for good in [
            "redis://127.0.0.1:6379",
            "redis://:s3cret@host",
            "rediss://ann:s3cret@host:6380/3",
            "rediss://ann:s3cret@host:6380/3?sslrootcert=/etc/ca.pem",
            "valkeys://:s3cret@host?sslcert=/c.pem&sslkey=k.pem&sslrootcert=/ca.pem",
            "valkey://host/0",
        ] {
            let url = StreamUrl::parse(good).expect(good);
            assert!(!format!("{url} {url:?}").contains("s3cret"), "{url}");
            let (base, _) = good.split_once('?').unwrap_or((good, ""));
            assert_eq!(url.expose().trim_end_matches('/'), base);
            let is_tls = base.starts_with("rediss://") || base.starts_with("valkeys://");
            assert_eq!(url.tls().is_some(), is_tls, "{url}");
        }
        for bad in [
            "host:6379",
            "http://s3cret@host",
            "redis:///0",
            "redis://:a#s3cret@host",
            "redis://:a?s3cret@host",
            "redis://:a/s3cret@host",
            "redis://host/s3cret",
            "redis://host?sslrootcert=s3cret",
            "rediss://host?sslrootcert=s3cret&sslrootcert=s3cret",
            "rediss://host?sslcert=s3cret",
            "rediss://host?sslrootcert=",
            "rediss://host?sslmode=s3cret",
        ] {
            let error = StreamUrl::parse(bad).expect_err(bad).to_string();
            assert!(
                error.contains("rediss://") && !error.contains("s3cret"),
                "{error}"
            );
        }
    }
}
