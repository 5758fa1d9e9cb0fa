//! The keys of a configuration file: every flag that can be set in the environment, with `_` for `-`. The declaration of
//! the flags is the only one there is.

use std::any::TypeId;
use std::error::Error as _;

use clap::builder::{PossibleValue, Resettable, Str};
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};

use super::value::{Kind, Value};
use crate::config::DEFAULT_DATABASE_URL;
use crate::source::DatabaseUrl;

/// The flag that names the file is not for the file.
pub(super) const FILE_ID: &str = "config";

/// Where the database is also read from, as all programs do.
pub(super) const DATABASE_VARIABLE: &str = "DATABASE_URL";

/// A key and the flag behind it.
#[derive(Clone)]
pub(super) struct Setting {
    pub key: String,
    pub arg: Arg,
    /// The commands whose flag it is; none for flags of `rowcast serve`, and those of all commands.
    pub commands: Vec<String>,
}

/// How its value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Switch,
    Number,
    Text,
}

/// All of them, in the order of `--help`, those of the server first.
pub(super) fn settings(root: &Command) -> Vec<Setting> {
    let mut found = Vec::new();
    collect(root, "", &mut found);
    found
}

fn collect(command: &Command, name: &str, found: &mut Vec<Setting>) {
    for arg in command.get_arguments() {
        let Some(key) = key_of(arg) else { continue };
        match found.iter_mut().find(|setting| setting.key == key) {
            Some(setting) if setting.commands.is_empty() => {}
            Some(setting) => setting.commands.push(name.to_owned()),
            None => found.push(Setting {
                key,
                arg: arg.clone(),
                commands: Some(name)
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .into_iter()
                    .collect(),
            }),
        }
    }
    for inner in command.get_subcommands() {
        let space = if name.is_empty() { "" } else { " " };
        collect(inner, &format!("{name}{space}{}", inner.get_name()), found);
    }
}

/// The key of a flag, if a file may have it: what is no setting but an order (`--dry-run`) has no variable either.
pub(super) fn key_of(arg: &Arg) -> Option<String> {
    let long = arg.get_long()?;
    (arg.get_env().is_some() && arg.get_id() != FILE_ID).then(|| long.replace('-', "_"))
}

impl Setting {
    /// A flag of the command at hand.
    pub fn new(key: String, arg: Arg) -> Self {
        Self {
            key,
            arg,
            commands: Vec::new(),
        }
    }

    /// Its flag, as it is written.
    pub fn flag(&self) -> String {
        format!("--{}", self.arg.get_long().unwrap_or_default())
    }

    /// Its environment variable.
    pub fn variable(&self) -> String {
        let name = self.arg.get_env().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// What it is, as `--help` says.
    pub fn help(&self) -> String {
        let help = self.arg.get_long_help().or_else(|| self.arg.get_help());
        let text = help.map(ToString::to_string).unwrap_or_default();
        // `--help` leaves out the last one.
        let stop = if text.ends_with([']', '.']) { "" } else { "." };
        text + stop
    }

    /// The words it may be, where only some are possible, and their help.
    pub fn possible_values(&self) -> Vec<(String, String)> {
        if self.shape() != Shape::Text {
            return Vec::new();
        }
        let values = self.arg.get_possible_values();
        let help = |value: &PossibleValue| value.get_help().map(ToString::to_string);
        values
            .iter()
            .map(|value| (value.get_name().to_owned(), help(value).unwrap_or_default()))
            .collect()
    }

    pub fn shape(&self) -> Shape {
        if matches!(self.arg.get_action(), ArgAction::SetTrue) {
            return Shape::Switch;
        }
        let numbers = [
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
        ];
        let parsed = self.arg.get_value_parser().type_id();
        if numbers.iter().any(|number| parsed == *number) {
            Shape::Number
        } else {
            Shape::Text
        }
    }

    pub fn is_list(&self) -> bool {
        matches!(self.arg.get_action(), ArgAction::Append)
    }

    /// Whether its value is shown to nobody as it is.
    pub fn is_secret(&self) -> bool {
        self.arg.is_hide_env_values_set()
    }

    /// What holds where nothing is said. None: nothing does, or the help says what.
    pub fn defaults(&self) -> Option<Vec<String>> {
        if self.key == "database_url" {
            return Some(vec![DEFAULT_DATABASE_URL.to_owned()]);
        }
        if self.shape() == Shape::Switch {
            return Some(vec!["false".to_owned()]);
        }
        let values = self.arg.get_default_values().iter();
        let values: Vec<_> = values
            .map(|value| value.to_string_lossy().into_owned())
            .collect();
        (self.is_list() || !values.is_empty()).then_some(values)
    }

    /// The values of the flag that this value of a file is.
    ///
    /// # Errors
    /// What is wrong with it, and the line.
    pub fn texts(&self, value: &Value) -> Result<Vec<String>, (usize, String)> {
        let items = match &value.kind {
            Kind::List(items) if self.is_list() => items.as_slice(),
            _ => std::slice::from_ref(value),
        };
        let mut texts = Vec::new();
        for item in items {
            let text = match (&item.kind, self.shape()) {
                (Kind::Switch(on), Shape::Switch) => on.to_string(),
                (Kind::Text(text), Shape::Text | Shape::Number) => text.clone(),
                (Kind::Number(number), Shape::Number) => number.clone(),
                _ => {
                    let problem =
                        format!("{} cannot be here; write {}", item.name(), self.sample());
                    return Err((item.line, problem));
                }
            };
            // A text where a list could be is written as it is in the environment.
            let parts = match (&value.kind, self.arg.get_value_delimiter()) {
                (Kind::Text(_), Some(delimiter)) => {
                    text.split(delimiter).map(str::to_owned).collect()
                }
                _ => vec![text],
            };
            for part in parts {
                self.check(&part).map_err(|problem| (item.line, problem))?;
                texts.push(part);
            }
        }
        Ok(texts)
    }

    /// Has the flag's own parser look at it.
    fn check(&self, text: &str) -> Result<(), String> {
        let problem = if self.key == "database_url" {
            // Its flag is looked at when it is used, as clap would repeat it.
            match DatabaseUrl::parse(text) {
                Ok(_) => return Ok(()),
                Err(error) => error.to_string(),
            }
        } else {
            match self.parse(text) {
                Ok(()) => return Ok(()),
                Err(_) if self.shape() == Shape::Number && !is_digits(text) => {
                    "it is a whole number".to_owned()
                }
                Err(error) => reason(&error),
            }
        };
        // A password, or a token, may have got to the wrong key.
        let is_hidden = self.is_secret() || text.contains('@') || text.starts_with("eyJ");
        Err(if is_hidden {
            problem
        } else {
            format!("invalid value {text:?}: {problem}")
        })
    }

    fn parse(&self, text: &str) -> Result<(), clap::Error> {
        if self.shape() == Shape::Switch {
            return Ok(());
        }
        // Alone, so that no other flag has a say.
        let arg = self
            .arg
            .clone()
            .env(Resettable::Reset)
            .conflicts_with(Resettable::Reset)
            .requires(Resettable::Reset)
            .group(Resettable::Reset)
            .default_value(Resettable::Reset)
            .value_delimiter(Resettable::Reset)
            .global(false);
        let flag = format!("{}={text}", self.flag());
        Command::new("file")
            .no_binary_name(true)
            .arg(arg)
            .try_get_matches_from([flag])
            .map(|_| ())
    }

    /// How it is written, for whoever has written it wrongly.
    fn sample(&self) -> String {
        let value = match self.defaults() {
            Some(values) if !values.is_empty() => self.written(&values),
            _ => self.blank(),
        };
        format!("{} = {value}", self.key)
    }

    /// What `--help` calls its value.
    pub fn value_name(&self) -> &str {
        let names = self.arg.get_value_names().unwrap_or_default();
        names.first().map_or("VALUE", Str::as_str)
    }

    /// A place for a value where there is no default.
    fn blank(&self) -> String {
        let name = self.value_name();
        match (self.is_list(), self.shape()) {
            (true, _) => format!("[\"{name}\"]"),
            (false, Shape::Switch) => "true".to_owned(),
            (false, Shape::Number) => name.to_owned(),
            (false, Shape::Text) => format!("\"{name}\""),
        }
    }

    /// These values as TOML.
    pub fn written(&self, texts: &[String]) -> String {
        let one = |text: &String| match self.shape() {
            Shape::Switch => text.clone(),
            Shape::Number if is_digits(text) => text.clone(),
            _ => toml::Value::from(text.as_str()).to_string(),
        };
        if self.is_list() {
            let texts: Vec<_> = texts.iter().map(one).collect();
            format!("[{}]", texts.join(", "))
        } else {
            texts.first().map(one).unwrap_or_default()
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What the parser of a flag says, without the flag.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            format!("it is one of {}", values.join(", "))
        }
        _ => "it is empty, or no value of this key".to_owned(),
    }
}
