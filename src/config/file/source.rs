//! Where each value comes from: a flag, a variable, the file, or nowhere, so that the default holds. Whoever comes first
//! in this order is believed. clap sees to flags, variables and defaults; the file's values become the defaults.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use serde::de::IgnoredAny;

use super::setting::{DATABASE_VARIABLE, FILE_ID, Setting, key_of, settings};
use super::value::Kind;
use super::{ConfigFile, Entry, SECTIONS, closest};
use crate::error::Error;

/// A command line with what the environment and the file add to it.
pub(crate) struct Sources {
    /// What clap made of it.
    pub matches: ArgMatches,
    /// The file that was read.
    pub file: Option<Arc<ConfigFile>>,
    /// The flags whose values are the file's, by their ids, and the lines there.
    pub(super) lines: BTreeMap<String, usize>,
}

/// Why there is none.
pub(crate) enum Refusal {
    /// clap says so; perhaps `--help` was asked for.
    Usage(clap::Error),
    /// The file is at fault.
    File(Error),
}

impl Sources {
    /// Reads a command line, the environment and the file they name. Commands named in `apart` read no file; those
    /// without a setting of their own only one that is named.
    pub fn read(root: &Command, args: &[OsString], apart: &[&str]) -> Result<Self, Refusal> {
        // First without the file, to find out which it is, and what the file cannot change as it is given.
        let matches = root.clone().try_get_matches_from(args);
        let matches = matches.map_err(Refusal::Usage)?;
        let call = Call::of(root, &matches);
        let named = call.matches.get_one::<PathBuf>(FILE_ID);
        let file = if call.reads_file(named.is_some(), apart) {
            ConfigFile::find(named.map(PathBuf::as_path)).map_err(Refusal::File)?
        } else {
            None
        };
        let Some(mut file) = file else {
            return Ok(Self {
                matches,
                file: None,
                lines: BTreeMap::new(),
            });
        };
        let mut layered = root.clone();
        let mut lines = BTreeMap::new();
        file.check(&settings(root)).map_err(Refusal::File)?;
        for entry in &file.entries {
            let value = call.value(&file, entry).map_err(Refusal::File)?;
            let Some((arg, texts)) = value else { continue };
            let id = arg.get_id().as_str();
            lines.insert(id.to_owned(), entry.line);
            // Flags of all commands are declared at the root only.
            let path = if arg.is_global_set() {
                &[]
            } else {
                call.path.as_slice()
            };
            layered = with_default(layered, path, id, texts);
        }
        let matches = layered.try_get_matches_from(args);
        Ok(Self {
            matches: matches.map_err(Refusal::Usage)?,
            file: Some(Arc::new(file)),
            lines,
        })
    }

    /// An error about flags, with the lines where those that it names are set in the file.
    pub fn cite(&self, error: Error) -> Error {
        let (Some(file), Error::Config(text)) = (&self.file, &error) else {
            return error;
        };
        let named = |id: &str| {
            let flag = format!("--{}", id.replace('_', "-"));
            let mut ends = text
                .match_indices(&flag)
                .map(|(start, _)| start + flag.len());
            ends.any(|end| {
                !text[end..].starts_with(|next: char| next == '-' || next.is_ascii_alphanumeric())
            })
        };
        let cited: Vec<_> = self
            .lines
            .iter()
            .filter(|(id, _)| named(id))
            .map(|(id, line)| format!("{} sets {id}", file.at(*line)))
            .collect();
        if cited.is_empty() {
            error
        } else {
            Error::Config(format!("{text} ({})", cited.join(", ")))
        }
    }
}

/// The command that is called, and what is given to it.
struct Call<'a> {
    root: &'a Command,
    /// The names of the command and the one within: `token`, `mint`.
    path: Vec<String>,
    command: &'a Command,
    matches: &'a ArgMatches,
}

impl<'a> Call<'a> {
    fn of(root: &'a Command, matches: &'a ArgMatches) -> Self {
        let mut call = Self {
            root,
            path: Vec::new(),
            command: root,
            matches,
        };
        while let Some((name, inner)) = call.matches.subcommand() {
            let Some(command) = call.command.find_subcommand(name) else {
                break;
            };
            call.path.push(name.to_owned());
            (call.command, call.matches) = (command, inner);
        }
        call
    }

    fn reads_file(&self, is_named: bool, apart: &[&str]) -> bool {
        let mut own = self
            .command
            .get_arguments()
            .filter(|arg| !arg.is_global_set());
        let is_apart = self
            .path
            .first()
            .is_some_and(|name| apart.contains(&name.as_str()));
        !is_apart && (is_named || own.any(|arg| key_of(arg).is_some()))
    }

    /// The flag of this command with the key, and its values in the file. None: the command has none, or what is given
    /// counts.
    fn value(
        &self,
        file: &ConfigFile,
        entry: &Entry,
    ) -> Result<Option<(&'a Arg, Vec<String>)>, Error> {
        let own = find(self.command, &entry.key);
        let global = || find(self.root, &entry.key).filter(|arg| arg.is_global_set());
        let Some(arg) = own.or_else(global) else {
            return Ok(None);
        };
        let conflicts = conflicts(self.command, arg);
        let before = conflicts
            .iter()
            .filter_map(|other| key_of(other))
            .find_map(|key| {
                let mut entries = file.entries.iter();
                entries.find(|other| other.key == key && other.line < entry.line)
            });
        if let Some(before) = before {
            return Err(file.error(
                entry.line,
                format_args!(
                    "{}: {} on line {} says the same; keep one of them",
                    entry.key, before.key, before.line
                ),
            ));
        }
        let mut rivals = conflicts;
        rivals.extend(twin(self.command, &entry.key));
        if self.is_given(arg) || rivals.into_iter().any(|rival| self.is_given(rival)) {
            return Ok(None);
        }
        let setting = Setting::new(entry.key.clone(), arg.clone());
        let value = match &entry.value.kind {
            // Where the server takes several (keys, say), and this command one: the first.
            Kind::List(items) if !setting.is_list() => items.first(),
            _ => Some(&entry.value),
        };
        let texts = value.map_or(Ok(Vec::new()), |value| setting.texts(value));
        let texts = texts.map_err(|(line, problem)| {
            file.error(line, format_args!("{}: {problem}", entry.key))
        })?;
        Ok(Some((arg, texts)))
    }

    /// Whether a flag or a variable says it.
    fn is_given(&self, arg: &Arg) -> bool {
        let source = self.matches.value_source(arg.get_id().as_str());
        matches!(
            source,
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        ) || arg.get_id() == "database_url" && database_variable().is_some()
    }
}

impl ConfigFile {
    /// Sees to it that every key is one, and every value good, whichever command has it.
    pub(super) fn check(&mut self, settings: &[Setting]) -> Result<(), Error> {
        self.settings = settings.iter().map(|setting| setting.key.clone()).collect();
        for entry in &self.entries {
            let key = &entry.key;
            match key.as_str() {
                "endpoint" => {
                    self.tables::<IgnoredAny>(key)?;
                    continue;
                }
                "preset" => {
                    self.named_tables::<IgnoredAny>(key)?;
                    continue;
                }
                _ => {}
            }
            let Some(setting) = settings.iter().find(|setting| setting.key == *key) else {
                return Err(self.unknown(entry));
            };
            if let Err((line, problem)) = setting.texts(&entry.value) {
                return Err(self.error(line, format_args!("{key}: {problem}")));
            }
        }
        Ok(())
    }

    fn unknown(&self, entry: &Entry) -> Error {
        let is_table = entry.value.is_table();
        let keys = self.settings.iter().map(String::as_str);
        let keys = keys.filter(|_| !is_table);
        let sections = SECTIONS.iter().map(|(name, _)| *name);
        let advice = match closest(&entry.key, keys.chain(sections)) {
            Some(meant) => {
                let header = SECTIONS.iter().find(|(name, _)| *name == meant);
                format!(
                    "did you mean {}?",
                    header.map_or(meant, |(_, header)| header)
                )
            }
            None if is_table => {
                let headers = SECTIONS.map(|(_, header)| header).join(" and ");
                format!("the tables are {headers}, and settings stand above them, in no table")
            }
            None => "`rowcast config default` prints all there are".to_owned(),
        };
        self.error(
            entry.line,
            format_args!("unknown key {:?}; {advice}", entry.key),
        )
    }
}

/// The database that all programs read from the environment.
pub(super) fn database_variable() -> Option<String> {
    std::env::var(DATABASE_VARIABLE)
        .ok()
        .filter(|url| !url.is_empty())
}

fn find<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    let mut args = command.get_arguments();
    args.find(|arg| key_of(arg).as_deref() == Some(key))
}

/// The other way to say one thing: itself, or in a file. Whoever gives `--jwt-secret-file` wants that secret, and not
/// the `jwt_secret` of the file as well.
fn twin<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    let other = key
        .strip_suffix("_file")
        .map_or_else(|| format!("{key}_file"), str::to_owned);
    find(command, &other)
}

/// The flags that cannot be given together with this one, whichever of them says so.
fn conflicts<'a>(command: &'a Command, arg: &Arg) -> Vec<&'a Arg> {
    let names = |one: &Arg, other: &Arg| {
        let named = command.get_arg_conflicts_with(one);
        named.iter().any(|named| named.get_id() == other.get_id())
    };
    command
        .get_arguments()
        .filter(|other| names(arg, other) || names(other, arg))
        .collect()
}

/// The declaration with other defaults of a flag.
fn with_default(command: Command, path: &[String], id: &str, texts: Vec<String>) -> Command {
    match path {
        // An empty list is what holds without one.
        [] if texts.is_empty() => command,
        [] => command.mut_arg(id, |arg| {
            // The values are apart already.
            arg.value_delimiter(None).default_values(texts)
        }),
        [name, rest @ ..] => {
            command.mut_subcommand(name, |inner| with_default(inner, rest, id, texts))
        }
    }
}
