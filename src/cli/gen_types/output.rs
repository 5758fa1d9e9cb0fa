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
    // A device might be read without end, and a new file must not take its place.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::Config(format!(
            "--out {}: this is no file; name one, or leave --out away to have the types on standard output",
            path.display()
        )));
    }
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
    if plain(&without_evidence(&present)) == plain(&without_evidence(wanted)) {
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

fn without_evidence(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with(EVIDENCE));
    lines.collect::<Vec<_>>().join("\n")
}

/// A text without what the formatters of others change: white space, the kind of quotes, semicolons, and the bar before the
/// first member of a union.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('/', Some('/' | '*')) => {
                let ends = if chars.next() == Some('*') {
                    "*/"
                } else {
                    "\n"
                };
                let start = out.len();
                while !out[start..].ends_with(ends)
                    && let Some(c) = chars.next()
                {
                    out.push(c);
                }
                let comment = out.split_off(start);
                out.extend(comment.chars().filter(|c| !c.is_whitespace() && *c != '*'));
            }
            ('"' | '\'' | '`', _) => {
                out.push('"');
                while let Some(inside) = chars.next().filter(|inside| *inside != c) {
                    let escaped = chars.next_if(|_| inside == '\\');
                    out.extend(Some(inside).filter(|_| !matches!(escaped, Some('"' | '\''))));
                    out.extend(escaped);
                }
                out.push('"');
            }
            ('|', _) if out.ends_with([':', '=', '(']) => {}
            (c, _) if c == ';' || c.is_whitespace() => {}
            (c, _) => out.push(c),
        }
    }
    out
}

/// For example `Events: new "task.closed", changed "task.created"; Channels: gone plans`.
fn differences(old: &str, new: &str) -> String {
    let (old, new) = (entries(old), entries(new));
    let mut notes: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for ((group, name), text) in &new {
        let word = match old.get(&(*group, name.clone())) {
            None => "new",
            Some(before) if plain(before) != plain(text) => "changed",
            Some(_) => continue,
        };
        notes.entry((group, word)).or_default().push(name);
    }
    for place in old.keys().filter(|place| !new.contains_key(place)) {
        notes.entry((place.0, "gone")).or_default().push(&place.1);
    }
    if notes.is_empty() {
        return "its comments".into();
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
        let member = line.strip_prefix("  ").or_else(|| line.strip_prefix('\t'));
        match (declared, member) {
            (Some("Events"), _) => (group, place) = ("Events", None),
            (Some("Channels"), _) => (group, place) = ("Channels", None),
            (Some(name), _) => (group, place) = ("types", Some(name.to_owned())),
            (None, Some(member))
                if group != "types" && !member.starts_with([' ', '\t', '/', '}', '|', ')']) =>
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
                .push_str(line);
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
        assert_eq!(differences(old, &old.replace("Old", "New")), "its comments");
    }

    #[test]
    fn formatters_change_nothing() {
        let text = "/** It's\n * so. */\nexport type A =\n  | \"a b\"\n  | 'c\"d';\n  e: (\n    | 1\n    | 2\n  )[];\n";
        let others =
            "/** It's\r\n\t* so. */\r\nexport type A = 'a b' | \"c\\\"d\"\r\n\te: (1 | 2)[]\r\n";
        assert_eq!(plain(text), plain(others));
        for (from, to) in [("a b", "ab"), ("so", "not"), ("1", "12"), (")[]", ")")] {
            assert_ne!(plain(text), plain(&text.replacen(from, to, 1)), "{from}");
        }
    }
}
