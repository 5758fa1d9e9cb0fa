//! A configuration file: `rowcast.toml`. How it is read, and on which line what stands. What its keys mean is said where
//! the flags are declared.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod section;
mod setting;
mod source;
mod value;
mod written;

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::error::Error;

pub use section::Placed;
pub(crate) use source::{Refusal, Sources};
pub(crate) use written::{Sections, default_file, schema};

use value::Value;

/// What is read where no file is named, if it is there.
pub(crate) const DEFAULT_PATH: &str = "rowcast.toml";

/// Tables that may be in a file beside settings, and how their headers are written.
const SECTIONS: [(&str, &str); 2] = [("endpoint", "[[endpoint]]"), ("preset", "[preset.NAME]")];

/// Larger ones, in bytes, are no configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How a setting is written.
const EXAMPLE: &str = "listen = \"127.0.0.1:3001\"";

/// Below this similarity, of 1, a key is not what somebody meant.
const SIMILARITY_MIN: f64 = 0.6;

/// A configuration file that was read. It is read once, at start: SIGHUP reads the files it names again (keys, grants,
/// origins, certificates), but not it.
#[derive(Clone)]
pub struct ConfigFile {
    path: PathBuf,
    /// With secrets in it.
    text: String,
    /// The keys of the top level, in their order.
    entries: Vec<Entry>,
    lines: Lines,
    /// The keys that flags give the top level, once they are known.
    settings: Vec<String>,
}

/// A key of the top level.
#[derive(Clone)]
struct Entry {
    key: String,
    line: usize,
    value: Value,
}

impl ConfigFile {
    /// The file that is named, or `rowcast.toml` in the present folder if it is there.
    ///
    /// # Errors
    /// [`Error::Config`] where it cannot be read, is no TOML, or a file that was named is not there.
    pub fn find(named: Option<&Path>) -> Result<Option<Self>, Error> {
        match named {
            Some(path) => Self::read(path).map(Some),
            // A link that leads nowhere is told of.
            None if Path::new(DEFAULT_PATH).symlink_metadata().is_err() => Ok(None),
            None => Self::read(Path::new(DEFAULT_PATH)).map(Some),
        }
    }

    /// Reads a file of up to 1 MiB.
    ///
    /// # Errors
    /// [`Error::Config`] where it cannot be read, or is no TOML.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Config(format!("{}: {why}", path.display()));
        let bytes = match read(path) {
            Ok(bytes) if bytes.len() as u64 > FILE_BYTES_MAX => {
                return Err(wrong(
                    "a configuration file has 1 MiB at most; is it another file?",
                ));
            }
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::IsADirectory => {
                return Err(wrong(
                    "this is a folder; name the file, for example rowcast.toml in it",
                ));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(wrong(
                    "there is no such file; `rowcast config default > rowcast.toml` makes one",
                ));
            }
            Err(error) => return Err(wrong(&format!("it cannot be read: {error}"))),
        };
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(path, text),
            Err(error) => {
                let line = Lines::of(error.as_bytes()).at(error.utf8_error().valid_up_to());
                Err(error_at(
                    path,
                    line,
                    "this is not UTF-8; save the file as such",
                ))
            }
        }
    }

    /// Takes a text for a file.
    ///
    /// # Errors
    /// [`Error::Config`] where it is no TOML.
    pub fn parse(path: &Path, text: String) -> Result<Self, Error> {
        let root = match DeTable::parse(&text) {
            Ok(root) => root.into_inner(),
            Err(error) => return Err(syntax_error(path, &text, &error, EXAMPLE)),
        };
        let lines = Lines::of(text.as_bytes());
        let mut spans: Vec<_> = root
            .iter()
            .map(|(key, value)| {
                let line = lines.at(key.span().start);
                let entry = Entry {
                    key: key.get_ref().to_string(),
                    line,
                    value: Value::of(&lines, value),
                };
                (key.span().start, entry)
            })
            .collect();
        spans.sort_by_key(|(start, _)| *start);
        let entries = spans.into_iter().map(|(_, entry)| entry).collect();
        Ok(Self {
            path: path.to_owned(),
            text,
            entries,
            lines,
            settings: Vec::new(),
        })
    }

    /// Where it is, as it was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether something else is in it now, as far as it can be read. What is no file, but a pipe, is read once.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        let is_file = self.path.metadata().is_ok_and(|found| found.is_file());
        is_file && read(&self.path).is_ok_and(|bytes| bytes != self.text.as_bytes())
    }

    /// An error that names a line of this file.
    fn error(&self, line: usize, text: impl fmt::Display) -> Error {
        error_at(&self.path, line, text)
    }

    /// A position in it, as it is written in messages.
    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

/// Its bytes, up to one more than are allowed.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Without what is in it, which may be secrets.
impl fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigFile({})", self.path.display())
    }
}

/// An error that names a line of a file.
pub(crate) fn error_at(path: &Path, line: usize, text: impl fmt::Display) -> Error {
    Error::Config(format!("{}:{line}: {text}", path.display()))
}

/// What the parser shows of the line is left out, as it may be a secret. `example` is how a text is set.
pub(crate) fn syntax_error(
    path: &Path,
    text: &str,
    error: &toml::de::Error,
    example: &str,
) -> Error {
    let span = error.span().unwrap_or_default();
    let line = Lines::of(text.as_bytes()).at(span.start);
    let before = text.get(..span.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    // Characters, not bytes: as editors count them.
    let column = before[line_start..].chars().count() + 1;
    let message = error.message();
    let advice = if message == "duplicate key" {
        let key = text.get(span).unwrap_or_default().trim();
        format!(" {key:?}; keep one of them")
    } else if is_bare(text[line_start..].lines().next().unwrap_or_default()) {
        format!("; texts stand in quotes, as in {example}")
    } else {
        String::new()
    };
    error_at(
        path,
        line,
        format_args!("column {column}: {message}{advice}"),
    )
}

/// Whether a line has a value without the quotes of a text and the brackets of a list.
fn is_bare(line: &str) -> bool {
    let value = line.split_once('=').map(|(_, value)| value.trim_start());
    value.is_some_and(|value| !value.starts_with(['"', '\'', '[', '{']))
}

/// Where the lines of a text begin.
#[derive(Clone)]
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub fn of(text: &[u8]) -> Self {
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        Self(ends.map(|(end, _)| end + 1).collect())
    }

    /// The line of an offset in bytes; the first is 1. O(log n) in lines.
    pub fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|&start| start <= offset) + 1
    }
}

/// The word that somebody who wrote this one has meant, if one is close to it.
pub(crate) fn closest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // pollInterval and poll-interval are poll_interval.
    let plain = |text: &str| text.replace(['_', '-'], "").to_lowercase();
    let wanted = plain(word);
    words
        .into_iter()
        .map(|word| {
            (
                strsim::normalized_damerau_levenshtein(&plain(word), &wanted),
                word,
            )
        })
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, word)| word)
}
