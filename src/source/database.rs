//! Which database: what its URL means, and how it is shown.

use std::fmt;

use url::Url;

use crate::error::Error;

/// Which database, and how to use it.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// Where it is.
    pub url: DatabaseUrl,
    /// Postgres only: the schema that has the tables. Without it the connection's own `search_path` decides.
    pub schema: Option<String>,
    /// Whether to be woken by writers; polling goes on either way.
    pub wake: bool,
}

impl DatabaseConfig {
    /// The database at this URL, with wake-ups.
    ///
    /// # Errors
    /// [`Error::Config`] when it is not a URL of a database that this build can use.
    pub fn new(url: &str) -> Result<Self, Error> {
        Ok(Self {
            url: DatabaseUrl::parse(url)?,
            schema: None,
            wake: true,
        })
    }
}

/// The URL of a database. Shown without its password.
#[derive(Clone)]
pub struct DatabaseUrl {
    text: String,
    kind: DatabaseKind,
}

/// The databases there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseKind {
    /// PostgreSQL, version 13 or newer.
    Postgres,
    /// A SQLite file.
    Sqlite,
}

impl DatabaseUrl {
    /// Reads the URL of a database.
    ///
    /// # Errors
    /// [`Error::Config`] when it is not a URL of a database that this build can use.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let forms = "postgres://user:password@host:5432/database or sqlite://path/to/file.db";
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(Error::Config(format!(
                "the database URL has no scheme; write {forms}"
            )));
        };
        let (kind, compiled) = match scheme {
            "postgres" | "postgresql" => (DatabaseKind::Postgres, cfg!(feature = "postgres")),
            "sqlite" => (DatabaseKind::Sqlite, cfg!(feature = "sqlite")),
            _ => {
                return Err(Error::Config(format!(
                    "the database URL has the scheme {scheme:?}, and rowcast reads Postgres and SQLite; write {forms}"
                )));
            }
        };
        if !compiled {
            return Err(Error::Config(format!(
                "this rowcast was built without the feature {scheme:?}; build it with --features {scheme}"
            )));
        }
        match kind {
            DatabaseKind::Postgres => {
                // The parser's message is kept, the text is not: it may hold the password.
                let url = Url::parse(text).map_err(|error| {
                    Error::Config(format!(
                        "the database URL is malformed ({error}); write {forms}"
                    ))
                })?;
                // With an unescaped `#`, `/` or `?` in it a password ends early, and its rest would pass for another
                // part of the URL, and be shown as such.
                let parameter_is_word = |(name, _): (std::borrow::Cow<'_, str>, _)| {
                    name.chars()
                        .all(|c| c.is_ascii_alphanumeric() || "_-.[]".contains(c))
                };
                if url.cannot_be_a_base()
                    || url.fragment().is_some()
                    || url.path().contains('@')
                    || !url.query_pairs().all(parameter_is_word)
                {
                    return Err(Error::Config(format!(
                        "the database URL is malformed (a password's # / ? @ : are written %23 %2F %3F %40 %3A); write {forms}"
                    )));
                }
            }
            DatabaseKind::Sqlite => {
                let path = rest.trim_start_matches('/').split('?').next();
                if path.is_none_or(str::is_empty) {
                    return Err(Error::Config(format!(
                        "the database URL names no file; write {forms}"
                    )));
                }
                if rest.contains(":memory:") || rest.contains("mode=memory") {
                    return Err(Error::Config(
                        "a SQLite database in memory has no other writers to hear from; name a file: sqlite://rowcast.db".into(),
                    ));
                }
            }
        }
        Ok(Self {
            text: text.to_owned(),
            kind,
        })
    }

    /// Which database it is.
    #[must_use]
    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// Whether it is shown as it is: there is nothing secret in it.
    pub(crate) fn is_shown_whole(&self) -> bool {
        self.to_string() == self.text
    }

    /// The URL with its password: for the driver, never for a log.
    pub(crate) fn expose(&self) -> &str {
        &self.text
    }
}

/// The URL without its password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == DatabaseKind::Sqlite {
            return f.write_str(&self.text);
        }
        // `parse` has seen to it that this is a URL.
        let Ok(mut url) = Url::parse(&self.text) else {
            return f.write_str("postgres://…");
        };
        if url.password().is_some() {
            // Fails only on URLs without a host, which can have no password.
            let _ = url.set_password(Some("***"));
        }
        // `?password=` and `?sslpassword=` are secrets too, and so may be parameters we do not know.
        if url.query().is_some() {
            url.set_query(Some("…"));
        }
        url.fmt(f)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}
