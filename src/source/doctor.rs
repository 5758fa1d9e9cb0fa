//! What `rowcast doctor` is told about a database: findings in words, and what was mended. The SQL is each database's own.

use super::{DatabaseConfig, DatabaseKind};
use crate::error::Error;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it is.
    pub verdict: Verdict,
    /// What was found, and where.
    pub text: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// Whether a server that may migrate mends it when it starts.
    pub mended_at_start: bool,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// It works, and could be better.
    Hint,
    /// Events are lost, late or repeated, or nothing works.
    Problem,
    /// It was a problem.
    Repaired,
}

impl Finding {
    pub(super) fn fine(text: impl Into<String>) -> Self {
        Self::new(Verdict::Fine, text, None)
    }

    pub(super) fn repaired(text: impl Into<String>) -> Self {
        Self::new(Verdict::Repaired, text, None)
    }

    pub(super) fn hint(text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Verdict::Hint, text, Some(advice.into()))
    }

    pub(super) fn problem(text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Verdict::Problem, text, Some(advice.into()))
    }

    fn new(verdict: Verdict, text: impl Into<String>, advice: Option<String>) -> Self {
        Self {
            verdict,
            text: text.into(),
            advice,
            mended_at_start: false,
        }
    }

    pub(super) fn mended_at_start(mut self) -> Self {
        self.mended_at_start = true;
        self
    }

    /// The tables are of our making, or why not. [`Error::Unusable`] says what to do.
    pub(super) fn of_migrations(checked: Result<(), Error>) -> Result<Self, Error> {
        match checked {
            Ok(()) => Ok(Self::fine("all migrations are applied")),
            Err(Error::Unusable(text)) => {
                let finding = Self::problem(
                    format!("migrations: {text}"),
                    "`rowcast migrate` applies what is missing",
                );
                Ok(if text.contains("are not applied") {
                    finding.mended_at_start()
                } else {
                    finding
                })
            }
            Err(error) => Err(error),
        }
    }
}

/// Called with how many rows have been mended, and of how many.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// What is to be done beside looking.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Mend what can be mended without a risk.
    pub repair: bool,
    /// Make all positions that clients have those of a former life.
    pub new_epoch: bool,
}

/// Looks at the database, and does what is wanted. Where nothing is, it writes nothing.
///
/// # Errors
/// When the database is not reachable, or does not let itself be looked at.
pub async fn examine(
    config: &DatabaseConfig,
    wanted: Wanted,
    progress: Progress<'_>,
) -> Result<Vec<Finding>, Error> {
    match config.url.kind() {
        #[cfg(feature = "postgres")]
        DatabaseKind::Postgres => super::postgres::doctor::examine(config, wanted, progress).await,
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite => super::sqlite::doctor::examine(config, wanted, progress).await,
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        _ => unreachable!("DatabaseUrl::parse refuses databases that were not built in"),
    }
}

/// The file of a SQLite database, where it is not there yet.
pub fn absent_file(config: &DatabaseConfig) -> Option<std::path::PathBuf> {
    match config.url.kind() {
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite => super::sqlite::doctor::absent_file(config),
        _ => None,
    }
}

/// The names of `wanted` that are not in `there`, as a list for people.
pub(super) fn missing(wanted: &[&str], there: &[String]) -> Option<String> {
    let missing: Vec<_> = wanted
        .iter()
        .filter(|name| !there.iter().any(|have| have == *name))
        .copied()
        .collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// "1 row", "2 rows".
pub(super) fn count(number: i64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
