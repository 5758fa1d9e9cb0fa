//! The generated file: written whole or not at all, and what is different in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::print::{EVIDENCE, MARK};
use crate::error::Error;

/// Names of a list that are told one by one.
const NAMED_MAX: usize = 5;

/// What became of it.
pub(super) enum Change {
    /// There was none.
    New,
    /// It says what is to be said.
    None,
    /// What is different, in words.
    Some(String),
}

/// How a file differs from what it should be.
pub(super) fn compare(path: &Path, wanted: &str) -> Result<Change, Error> {
    let present = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Change::New),
        Err(source) => {
            return Err(Error::Io {
                doing: format!("read {}", path.display()),
                source,
            });
        }
    };
    if !present.is_empty() && !present.starts_with(MARK) {
        return Err(Error::Config(format!(
            "--out {}: this file was not made by `rowcast gen types`, as its first line says; name another, or delete it",
            path.display()
        )));
    }
    // A checkout on Windows may have made other ends of lines.
    let present = present.replace("\r\n", "\n");
    if without_evidence(&present).eq(without_evidence(wanted)) {
        return Ok(Change::None);
    }
    Ok(Change::Some(differences(&present, wanted)))
}

/// Puts a file into the place of another, or makes it.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let written = || -> io::Result<()> {
        // A link goes on leading where it leads.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = match target.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".rowcast-");
        #[cfg(unix)]
        builder.permissions(permissions(&target));
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(target).map_err(|error| error.error)?;
        Ok(())
    };
    written().map_err(|source| Error::Io {
        doing: format!("write {}", path.display()),
        source,
    })
}

/// Those of the present file, or what a new one has unless its maker's mask forbids.
#[cfg(unix)]
fn permissions(target: &Path) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    let present = fs::metadata(target).map(|found| found.permissions());
    present.unwrap_or_else(|_| fs::Permissions::from_mode(0o666))
}

fn without_evidence(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with(EVIDENCE))
}

/// For example `Events: new "task.closed", changed "task.created"; Channels: gone plans`.
fn differences(old: &str, new: &str) -> String {
    let (old, new) = (entries(old), entries(new));
    let mut notes: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for ((group, name), text) in &new {
        let word = match old.get(&(*group, name.clone())) {
            None => "new",
            Some(before) if before != text => "changed",
            Some(_) => continue,
        };
        notes.entry((group, word)).or_default().push(name);
    }
    for place in old.keys().filter(|place| !new.contains_key(place)) {
        notes.entry((place.0, "gone")).or_default().push(&place.1);
    }
    if notes.is_empty() {
        return "its comments or its format".into();
    }
    let told = notes.into_iter().map(|((group, word), names)| {
        let shown = names.len().min(NAMED_MAX);
        let more = match names.len() - shown {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{group}: {word} {}{more}", names[..shown].join(", "))
    });
    told.collect::<Vec<_>>().join("; ")
}

/// What a file has: each with its group, its name, and its text without the comments.
fn entries(text: &str) -> BTreeMap<(&'static str, String), String> {
    let mut found: BTreeMap<_, String> = BTreeMap::new();
    let mut group = "";
    let mut place = None;
    for line in text.lines() {
        let declared = ["export interface ", "export type "]
            .iter()
            .find_map(|start| line.strip_prefix(start))
            .and_then(|rest| rest.split(' ').next());
        match (declared, line.strip_prefix("  ")) {
            (Some("Events"), _) => (group, place) = ("Events", None),
            (Some("Channels"), _) => (group, place) = ("Channels", None),
            (Some(name), _) => (group, place) = ("types", Some(name.to_owned())),
            (None, Some(member))
                if group != "types" && !member.starts_with([' ', '/', '}', '|']) =>
            {
                place = Some(name_of(member).to_owned());
            }
            _ => {}
        }
        let is_comment = line.trim_start().starts_with(['/', '*']);
        if let Some(name) = &place
            && !is_comment
        {
            found
                .entry((group, name.clone()))
                .or_default()
                .push_str(line.trim());
        }
    }
    found
}

/// The name at the beginning of a member.
fn name_of(member: &str) -> &str {
    let end = match member.chars().next() {
        Some('[') => member.find("]:").map(|end| end + 1),
        Some(quote @ ('"' | '\'')) => member.rfind(&format!("{quote}:")).map(|end| end + 1),
        _ => member.find([':', '?']),
    };
    &member[..end.unwrap_or(member.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_different_is_told_by_name() {
        let old = "export interface Task {\n  id: string;\n}\nexport interface Events {\n  /** Old. */\n  \"task.created\": Task;\n  \
                   \"a: b\": {\n    c: string;\n  };\n}\nexport interface Channels {\n  tasks: \"task.created\";\n}\n";
        let new = old
            .replace("Old", "New")
            .replace("c: string", "c: number")
            .replace("tasks:", "[channel: `tasks:${string}`]:");
        assert_eq!(
            differences(old, &new),
            "Channels: gone tasks; Channels: new [channel: `tasks:${string}`]; Events: changed \"a: b\""
        );
        assert_eq!(
            differences(old, &old.replace("Old", "New")),
            "its comments or its format"
        );
    }
}
