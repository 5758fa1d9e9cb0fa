//! What of a table is captured, and how: its id, type, columns and changes, chosen from what was asked for and what the
//! table has. No SQL.

use super::{DEFINITION_VERSION, Definition, Giver, Operation, Script, Wanted, similar};
use crate::error::Error;

/// Words in the names of columns that are seldom meant for everybody who watches.
const SECRETS: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "hash",
    "salt",
    "api_key",
    "apikey",
    "private_key",
    "credential",
    "otp",
    "pin",
    "ssn",
    "cvv",
    "iban",
];

/// What a table is like, as its database says.
pub(in crate::source) struct Table {
    /// As SQL names it.
    pub quoted: String,
    /// Without its schema.
    pub name: String,
    /// In their order.
    pub columns: Vec<String>,
    /// Of the primary key.
    pub primary_key: Vec<String>,
}

/// What is to be installed.
pub(in crate::source) struct Plan {
    pub definition: Definition,
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
}

impl Plan {
    /// Chooses.
    pub fn new(wanted: &Wanted, table: &Table) -> Result<Self, Error> {
        let mut notes = Vec::new();
        let mut warnings = Vec::new();
        if wanted.channels.is_empty() {
            return Err(Error::Config(
                "no channel is named; say where the events go: --channel tasks, --channel 'project:{project_id}'".into(),
            ));
        }
        for (flag, names) in [
            ("--only", &wanted.only),
            ("--except", &wanted.except),
            ("--include", &wanted.include),
        ] {
            for name in names {
                has_column(table, name, flag)?;
            }
        }
        for column in wanted
            .channels
            .iter()
            .flat_map(super::channels::Template::columns)
        {
            has_column(table, column, "--channel")?;
        }
        for (flag, giver) in [("--actor", &wanted.actor), ("--origin", &wanted.origin)] {
            if let Some(Giver::Column(column)) = giver {
                has_column(table, column, flag)?;
            }
        }
        let id = id_of(wanted, table)?;
        let kind = kind_of(wanted, table, &mut notes)?;
        let (sent, held) = columns_of(wanted, table, &mut notes, &mut warnings)?;
        let mut on = if wanted.on.is_empty() {
            Operation::ALL.to_vec()
        } else {
            wanted.on.clone()
        };
        on.sort_unstable();
        on.dedup();
        Ok(Self {
            definition: Definition {
                rowcast: DEFINITION_VERSION,
                kind,
                id,
                channels: wanted.channels.clone(),
                actor: wanted.actor.clone(),
                origin: wanted.origin.clone(),
                on,
                sent,
                held,
            },
            notes,
            warnings,
        })
    }

    /// Whether there is an operation to capture.
    pub fn is_on(&self, operation: Operation) -> bool {
        self.definition.on.contains(&operation)
    }

    /// Does without an operation that this table cannot have.
    pub fn leave_out(&mut self, operation: Operation) {
        self.definition.on.retain(|on| *on != operation);
    }

    /// Whether every row is on some channel.
    pub fn is_always_somewhere(&self) -> bool {
        self.definition
            .channels
            .iter()
            .any(super::channels::Template::is_fixed)
    }

    /// The definition, for a comment.
    pub fn record(&self) -> Result<String, Error> {
        let json = serde_json::to_string(&self.definition).map_err(|error| {
            Error::Config(format!("the definition cannot be written as JSON: {error}"))
        })?;
        Ok(format!("{}{json}", super::DEFINITION_MARK))
    }

    /// With the statements.
    pub fn into_script(self, table: &Table, sql: String) -> Script {
        let channels = &self.definition.channels;
        let fixed = channels.iter().find(|template| template.is_fixed());
        Script {
            table: table.quoted.clone(),
            sql,
            try_channel: Some(fixed.map_or_else(|| "*".to_owned(), |t| t.with_each(""))),
            notes: self.notes,
            warnings: self.warnings,
        }
    }
}

fn has_column(table: &Table, name: &str, flag: &str) -> Result<(), Error> {
    if table.columns.iter().any(|column| column == name) {
        return Ok(());
    }
    let all = || table.columns.iter().map(String::as_str);
    let near = similar(name, all());
    let hint = if near.is_empty() {
        format!("it has {}", all().collect::<Vec<_>>().join(", "))
    } else {
        format!("did you mean {}?", near.join(" or "))
    };
    Err(Error::Config(format!(
        "{flag} names the column {name:?}, which {} has not; {hint}",
        table.quoted
    )))
}

fn id_of(wanted: &Wanted, table: &Table) -> Result<String, Error> {
    if let Some(id) = &wanted.id {
        has_column(table, id, "--id")?;
        return Ok(id.clone());
    }
    if let [id] = &table.primary_key[..] {
        return Ok(id.clone());
    }
    let key = if table.primary_key.is_empty() {
        "has no primary key".to_owned()
    } else {
        format!(
            "has a primary key of several columns ({})",
            table.primary_key.join(", ")
        )
    };
    Err(Error::Config(format!(
        "{} {key}; say with --id which column tells its rows apart: {}",
        table.quoted,
        table.columns.join(", ")
    )))
}

fn kind_of(wanted: &Wanted, table: &Table, notes: &mut Vec<String>) -> Result<String, Error> {
    // As long as the longest type with the longest ending may be.
    const BYTES_MAX: usize = 200 - ".truncated".len();
    let is_word = |text: &str| {
        !text.is_empty()
            && text.len() <= BYTES_MAX
            && !text.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if let Some(kind) = &wanted.kind {
        if is_word(kind) {
            return Ok(kind.clone());
        }
        return Err(Error::Config(format!(
            "--type {kind:?} is not a word of up to {BYTES_MAX} bytes, such as task"
        )));
    }
    let name = table.name.as_str();
    // `status`, `address`, `analysis` and `news` are one already.
    let is_plural = ["ss", "us", "is", "news"]
        .iter()
        .all(|ending| !name.ends_with(ending));
    let kind = match name.strip_suffix('s') {
        Some(one) if is_plural && !one.is_empty() => one,
        _ => name,
    };
    if !is_word(kind) {
        return Err(Error::Config(format!(
            "the types of events cannot begin with the table's name, {name:?}; say with --type what they are about, for example --type task"
        )));
    }
    notes.push(format!(
        "events are of type {kind}.created, .updated and .deleted; --type names another"
    ));
    Ok(kind.to_owned())
}

/// The columns that are sent, and those that are not.
fn columns_of(
    wanted: &Wanted,
    table: &Table,
    notes: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<(Vec<String>, Vec<String>), Error> {
    let named = |names: &[String], column: &String| names.contains(column);
    let is_sent = |column: &String| {
        !named(&wanted.except, column)
            && (named(&wanted.include, column)
                || if wanted.only.is_empty() {
                    !looks_secret(column)
                } else {
                    named(&wanted.only, column)
                })
    };
    let (sent, held): (Vec<_>, Vec<_>) = table.columns.iter().cloned().partition(is_sent);
    let list = |names: Vec<&String>| {
        names
            .into_iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let told: Vec<_> = sent.iter().filter(|name| looks_secret(name)).collect();
    if !told.is_empty() {
        warnings.push(format!(
            "whoever may read the channels is sent columns that look like secrets: {}",
            list(told)
        ));
    }
    let (secret, other): (Vec<_>, Vec<_>) = held.iter().partition(|name| {
        looks_secret(name) && wanted.only.is_empty() && !named(&wanted.except, name)
    });
    if !secret.is_empty() {
        warnings.push(format!(
            "left out, as they look like secrets: {} (--include sends them)",
            list(secret)
        ));
    }
    if !other.is_empty() {
        notes.push(format!("left out as asked: {}", list(other)));
    }
    if sent.is_empty() {
        return Err(Error::Config(format!(
            "no column of {} is left to send; say with --only which are",
            table.quoted
        )));
    }
    Ok((sent, held))
}

/// Whether one of the words is in the name; short ones only as a part between underscores or capitals.
fn looks_secret(column: &str) -> bool {
    let mut parts = vec![String::new()];
    let mut was_small = false;
    for letter in column.chars() {
        if !letter.is_alphanumeric() || letter.is_uppercase() && was_small {
            parts.push(String::new());
        }
        was_small = letter.is_lowercase() || letter.is_numeric();
        if letter.is_alphanumeric()
            && let Some(part) = parts.last_mut()
        {
            part.extend(letter.to_lowercase());
        }
    }
    let whole = parts.join("_");
    SECRETS.iter().any(|word| {
        if word.len() <= 4 {
            parts.iter().any(|part| part == word)
        } else {
            whole.contains(word)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_their_names() {
        for secret in [
            "password",
            "password_hash",
            "PasswordHash",
            "apiKey",
            "API_KEY",
            "reset_token",
            "salt",
            "otp_seed",
            "pin",
        ] {
            assert!(looks_secret(secret), "{secret}");
        }
        for open in ["title", "pinned", "shipping", "position", "results"] {
            assert!(!looks_secret(open), "{open}");
        }
    }
}
