//! Capture: triggers that write the events of a table of the user's own. What is asked for, what is printed, and which
//! database does it; what of a table is captured lives in `plan`, channels in `channels`. The SQL is each database's own.

pub(super) mod channels;
mod names;
pub(super) mod plan;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{DatabaseConfig, DatabaseKind};
use crate::error::Error;

pub use channels::Template;
pub(super) use names::{Name, own_name, quote_identifier, similar, trigger_name};

/// What is to be captured, as the user says it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The table: `tasks`, `shop.tasks`, or with the quotes of SQL.
    pub table: String,
    /// Where its events go.
    pub channels: Vec<Template>,
    /// The column that becomes `entity_id`. None: the primary key.
    pub id: Option<String>,
    /// What the types of events begin with. None: told from the table's name.
    pub kind: Option<String>,
    /// Who did it.
    pub actor: Option<Giver>,
    /// Which mutation of a client it was.
    pub origin: Option<Giver>,
    /// The columns to send. None: all that do not look like secrets.
    pub only: Vec<String>,
    /// Columns to leave out.
    pub except: Vec<String>,
    /// Columns to send though they look like secrets.
    pub include: Vec<String>,
    /// Which changes. None: all.
    pub on: Vec<Operation>,
}

/// What can happen to a table.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Rows came.
    Insert,
    /// Rows changed.
    Update,
    /// Rows went.
    Delete,
    /// All rows went at once (Postgres).
    Truncate,
}

impl Operation {
    /// All of them, in the order of their triggers.
    pub(super) const ALL: [Self; 4] = [Self::Insert, Self::Update, Self::Delete, Self::Truncate];

    /// As in the names of triggers and functions.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
        }
    }

    /// What the type of its events ends with.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Insert => "created",
            Self::Update => "updated",
            Self::Delete => "deleted",
            Self::Truncate => "truncated",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Where a value of an event comes from, beside the payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Giver {
    /// A column of the row: `{updated_by}`.
    Column(String),
    /// A setting of the session (Postgres): `setting:app.user_id`.
    Setting(String),
}

impl Giver {
    /// Reads `{column}` or `setting:name`.
    ///
    /// # Errors
    /// When it is neither; the text says how they are written.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("setting:") {
            let is_word = |part: &str| {
                part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            if !name.contains('.') || !name.split('.').all(is_word) {
                return Err(format!(
                    "{name:?} is not the name of a setting of one's own, such as app.user_id"
                ));
            }
            return Ok(Self::Setting(name.to_owned()));
        }
        let column = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'));
        match column {
            Some(column) if !column.is_empty() && !column.contains(['{', '}']) => {
                Ok(Self::Column(column.to_owned()))
            }
            _ => Err(
                "write a column in braces, {updated_by}, or a setting of the session (Postgres), setting:app.user_id"
                    .into(),
            ),
        }
    }
}

impl TryFrom<String> for Giver {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Giver> for String {
    fn from(giver: Giver) -> Self {
        match giver {
            Giver::Column(name) => format!("{{{name}}}"),
            Giver::Setting(name) => format!("setting:{name}"),
        }
    }
}

/// What is to be done, or was.
#[derive(Debug, Clone)]
pub struct Script {
    /// The table, as SQL names it.
    pub table: String,
    /// Statements that can be pasted into a migration.
    pub sql: String,
    /// What was decided, for people.
    pub notes: Vec<String>,
    /// What they should look at.
    pub warnings: Vec<String>,
    /// What to subscribe to for a try.
    pub try_channel: Option<String>,
}

/// What is kept with the triggers, so that they can be told of later.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Definition {
    /// The version of this record.
    pub rowcast: u32,
    /// What the types of events begin with.
    #[serde(rename = "type")]
    pub kind: String,
    /// The column that is `entity_id`.
    pub id: String,
    /// Where the events go.
    pub channels: Vec<Template>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Giver>,
    /// Which mutation it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Giver>,
    /// Which changes.
    pub on: Vec<Operation>,
    /// The columns that are sent.
    pub sent: Vec<String>,
    /// The columns that are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
}

/// The version of [`Definition`].
pub(super) const DEFINITION_VERSION: u32 = 1;

/// What a definition is found by in a comment.
pub(super) const DEFINITION_MARK: &str = "rowcast attach: ";

impl Definition {
    /// The columns there were.
    pub(super) fn columns(&self) -> impl Iterator<Item = &String> {
        self.sent.iter().chain(&self.held)
    }

    /// The columns that it does not do without.
    pub(super) fn needed(&self) -> impl Iterator<Item = &str> {
        let givers = [&self.actor, &self.origin].into_iter().flatten();
        let givers = givers.filter_map(|giver| match giver {
            Giver::Column(name) => Some(name.as_str()),
            Giver::Setting(_) => None,
        });
        let channels = self.channels.iter().flat_map(Template::columns);
        std::iter::once(self.id.as_str())
            .chain(channels)
            .chain(givers)
    }

    /// Reads what a comment has behind the mark.
    pub(super) fn find(text: &str) -> Option<Self> {
        let (_, json) = text.split_once(DEFINITION_MARK)?;
        let mut values = serde_json::Deserializer::from_str(json).into_iter();
        values.next()?.ok()
    }
}

/// A table that is captured.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The table, as SQL names it.
    pub table: String,
    /// What was asked for.
    pub definition: Definition,
    /// Whatever is not as it was then. Empty: all fits.
    pub changes: Vec<String>,
}

impl Attached {
    /// Compares what was asked for with what there is.
    pub(super) fn compare(
        table: String,
        definition: Definition,
        columns: &[String],
        mut changes: Vec<String>,
    ) -> Self {
        let names = |names: Vec<&str>| names.join(", ");
        let added: Vec<_> = columns
            .iter()
            .filter(|name| !definition.columns().any(|known| known == *name))
            .map(String::as_str)
            .collect();
        if !added.is_empty() {
            changes.push(format!(
                "columns added or renamed since, not sent: {}",
                names(added)
            ));
        }
        let mut gone: Vec<_> = definition
            .sent
            .iter()
            .map(String::as_str)
            .chain(definition.needed())
            .filter(|name| !columns.iter().any(|column| column == name))
            .collect();
        gone.sort_unstable();
        gone.dedup();
        if !gone.is_empty() {
            changes.push(format!("columns gone or renamed since: {}", names(gone)));
        }
        Self {
            table,
            definition,
            changes,
        }
    }
}

/// The statements that install triggers on a table, in the place of those that may be there; `apply` has them run.
///
/// # Errors
/// When there is no such table, or it cannot be captured so; the text says why and what to do.
pub async fn attach(
    config: &DatabaseConfig,
    wanted: &Wanted,
    apply: bool,
) -> Result<Script, Error> {
    match config.url.kind() {
        #[cfg(feature = "postgres")]
        DatabaseKind::Postgres => super::postgres::capture::attach(config, wanted, apply).await,
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite => super::sqlite::capture::attach(config, wanted, apply).await,
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        _ => unreachable!("DatabaseUrl::parse refuses databases that were not built in"),
    }
}

/// The statements that remove the triggers of a table; `apply` has them run.
///
/// # Errors
/// When nothing is attached to the table.
pub async fn detach(config: &DatabaseConfig, table: &str, apply: bool) -> Result<Script, Error> {
    match config.url.kind() {
        #[cfg(feature = "postgres")]
        DatabaseKind::Postgres => super::postgres::capture::detach(config, table, apply).await,
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite => super::sqlite::capture::detach(config, table, apply).await,
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        _ => unreachable!("DatabaseUrl::parse refuses databases that were not built in"),
    }
}

/// The tables that are captured, by their names.
///
/// # Errors
/// When the database is not reachable.
pub async fn list(config: &DatabaseConfig) -> Result<Vec<Attached>, Error> {
    match config.url.kind() {
        #[cfg(feature = "postgres")]
        DatabaseKind::Postgres => super::postgres::capture::list(config).await,
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite => super::sqlite::capture::list(config).await,
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        _ => unreachable!("DatabaseUrl::parse refuses databases that were not built in"),
    }
}

/// What statements begin with: what they do, and how to undo it.
pub(super) fn head(table: &str, events: &str) -> String {
    format!(
        "-- Triggers of rowcast that write the events of {} into {}.\n-- Undo it: rowcast detach '{}' --apply",
        comment_line(table),
        comment_line(events),
        comment_line(&table.replace('\'', "'\\''")),
    )
}

/// A text that stays on its line: a name may have several, and a comment ends with its own.
pub(super) fn comment_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Nothing is attached to the table that is to be detached.
pub(super) fn not_attached(table: &str, attached: &[Attached]) -> Error {
    let names: Vec<_> = attached
        .iter()
        .map(|attached| attached.table.as_str())
        .collect();
    Error::Unusable(if names.is_empty() {
        format!("nothing is attached to {table}, nor to any other table")
    } else {
        format!(
            "nothing is attached to {table}; attached are: {}",
            names.join(", ")
        )
    })
}
