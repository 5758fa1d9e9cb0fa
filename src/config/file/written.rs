//! Configuration files that we write: what holds now, what there is to set, and a JSON Schema for editors. All of it from
//! the declaration of the flags, so that none is forgotten.

use std::fmt::Write as _;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value, json};
use toml::de::DeTable;

use super::setting::{DATABASE_VARIABLE, Setting, Shape, settings};
use super::source::{Sources, database_variable};
use super::{ConfigFile, SECTIONS};
use crate::auth::JwksUrl;
use crate::source::{DatabaseUrl, StreamUrl};

/// Longest line of a comment, in characters.
const COMMENT_WIDTH: usize = 100;

/// Stands for what is not shown.
const REDACTED: &str = "***";

const HEAD: &str = "\
# Settings of rowcast. A flag or an environment variable that says something else comes first:
# --poll-interval, then ROWCAST_POLL_INTERVAL, then poll_interval here, then the default.
# rowcast reads rowcast.toml of the folder it is started in, or the file that --config names.
# Paths are relative to the folder it is started in. The file is read at start only; SIGHUP has the
# server read the files again that it names (keys, grants, origins, certificates), but not this one.
";

/// What there is to say of `[[endpoint]]` and `[preset.NAME]`.
pub(crate) struct Sections {
    /// A JSON Schema of one `[[endpoint]]`.
    pub endpoint: Value,
    /// A JSON Schema of one `[preset.NAME]`.
    pub preset: Value,
    /// A sample of both, commented out.
    pub sample: &'static str,
}

/// A file with every key, its meaning and its default, commented out.
pub(crate) fn default_file(root: &Command, sections: &Sections) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("# Lines that begin with # and a key are the defaults: take the # away, and change the value.\n");
    text.push_str("# Editors help with: rowcast config schema > rowcast.schema.json, and as first line of this file\n");
    text.push_str("# #:schema ./rowcast.schema.json\n");
    for (heading, settings) in grouped(root) {
        let _ = write!(text, "\n# --- {heading} ---\n");
        for setting in settings {
            text.push('\n');
            comment(&mut text, &meaning(&setting));
            let _ = match setting.defaults() {
                Some(values) => writeln!(text, "#{} = {}", setting.key, setting.written(&values)),
                // Not TOML, so that nobody takes the # away only.
                None => writeln!(text, "#{} = <{}>", setting.key, setting.value_name()),
            };
        }
    }
    text.push('\n');
    text.push_str(sections.sample);
    text
}

/// A JSON Schema (draft 2020-12) of the file.
pub(crate) fn schema(root: &Command, sections: &Sections) -> Value {
    let mut properties = Map::new();
    for setting in settings(root) {
        let key = setting.key.clone();
        properties.insert(key, property(&setting));
    }
    properties.insert(
        "endpoint".into(),
        json!({"type": "array", "items": sections.endpoint}),
    );
    properties.insert(
        "preset".into(),
        json!({"type": "object", "additionalProperties": sections.preset}),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rowcast.toml",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn property(setting: &Setting) -> Value {
    let mut one = match setting.shape() {
        Shape::Switch => json!({"type": "boolean"}),
        Shape::Number => {
            json!({"type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+$"})
        }
        Shape::Text => json!({"type": "string"}),
    };
    let possible = setting.possible_values();
    if !possible.is_empty() {
        let names: Vec<_> = possible.iter().map(|(name, _)| name.as_str()).collect();
        one["enum"] = names.into();
    }
    if setting.is_list() {
        one = json!({"anyOf": [{"type": "array", "items": one}, {"type": "string"}]});
    }
    one["description"] = meaning(setting).join("\n").into();
    if let Some(values) = setting.defaults() {
        one["default"] = json_of(setting, &values);
    }
    one
}

fn json_of(setting: &Setting, texts: &[String]) -> Value {
    let one = |text: &String| match setting.shape() {
        Shape::Switch => Value::from(text == "true"),
        Shape::Number => text
            .parse::<u64>()
            .map_or_else(|_| text.as_str().into(), Value::from),
        Shape::Text => text.as_str().into(),
    };
    if setting.is_list() {
        texts.iter().map(one).collect()
    } else {
        texts.first().map_or(Value::Null, one)
    }
}

impl Sources {
    /// What holds for the command with these flags, as a file, and where each value comes from.
    pub fn effective(&self, root: &Command) -> String {
        let (mut command, mut matches) = (root, &self.matches);
        while let Some((name, inner)) = matches.subcommand() {
            matches = inner;
            command = command.find_subcommand(name).unwrap_or(command);
        }
        let is_known = |setting: &&Setting| {
            let mut args = command.get_arguments().map(Arg::get_id);
            setting.arg.is_global_set() || args.any(|id| id == setting.arg.get_id())
        };
        let mut text =
            "# Where each value comes from stands behind it. Secrets are not shown.\n".to_owned();
        for (heading, settings) in grouped(root) {
            let lines: Vec<_> = settings
                .iter()
                .filter(is_known)
                .map(|setting| self.effective_line(setting, matches))
                .collect();
            if !lines.is_empty() {
                let _ = write!(text, "\n# --- {heading} ---\n{}", lines.concat());
            }
        }
        if let Some(sections) = self.file.as_deref().and_then(ConfigFile::sections) {
            text.push('\n');
            text.push_str(&sections);
        }
        text
    }

    fn effective_line(&self, setting: &Setting, matches: &ArgMatches) -> String {
        let id = setting.arg.get_id().as_str();
        let raw = matches.get_raw(id).into_iter().flatten();
        let mut values: Vec<_> = raw
            .map(|value| value.to_string_lossy().into_owned())
            .collect();
        let variable = setting.variable();
        let from_file = self.lines.get(id).zip(self.file.as_ref());
        let origin = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => format!("flag {}", setting.flag()),
            Some(ValueSource::EnvVariable) => format!("environment variable {variable}"),
            _ => match from_file {
                Some((line, file)) => file.at(*line),
                None => match database_variable() {
                    Some(url) if id == "database_url" => {
                        values = vec![url];
                        format!("environment variable {DATABASE_VARIABLE}")
                    }
                    _ => "default".to_owned(),
                },
            },
        };
        if values.is_empty() {
            match setting.defaults() {
                Some(defaults) => values = defaults,
                None => return format!("#{} is not set\n", setting.key),
            }
        }
        if setting.is_secret() {
            for value in &mut values {
                *value = redacted(&setting.key, value);
            }
        }
        // A path may have a line feed in it.
        let origin = origin.escape_debug();
        format!(
            "{} = {} # {origin}\n",
            setting.key,
            setting.written(&values)
        )
    }
}

/// What may be shown of a secret: of URLs all but what is secret in them.
fn redacted(key: &str, text: &str) -> String {
    let shown = match key {
        "database_url" => DatabaseUrl::parse(text).ok().map(|url| url.to_string()),
        "source" | "relay" | "relay_to" => StreamUrl::parse(text).ok().map(|url| url.to_string()),
        "jwks_url" => text.parse().ok().map(|url: JwksUrl| url.to_string()),
        _ => None,
    };
    shown.unwrap_or_else(|| REDACTED.to_owned())
}

impl ConfigFile {
    /// Its tables, as they were written.
    pub(super) fn sections(&self) -> Option<String> {
        let root = DeTable::parse(&self.text).ok()?.into_inner();
        let starts = root
            .iter()
            .filter(|(key, _)| SECTIONS.iter().any(|(name, _)| key.get_ref() == name));
        let first = starts.map(|(key, _)| key.span().start).min()?;
        let lines: Vec<_> = self.text.split_inclusive('\n').collect();
        let mut start = self.lines.at(first) - 1;
        // Behind the first header there are tables only.
        if lines.get(start)?.trim_start().starts_with('[') {
            while start > 0 && lines[start - 1].trim_start().starts_with('#') {
                start -= 1;
            }
            return Some(lines[start..].concat());
        }
        let mut table: toml::Table = self.text.parse().ok()?;
        table.retain(|key, _| SECTIONS.iter().any(|(name, _)| key == *name));
        Some(table.to_string())
    }
}

/// The settings below the headings of `--help`, in its order, those of other commands at the end.
fn grouped(root: &Command) -> Vec<(String, Vec<Setting>)> {
    let mut groups: Vec<(String, Vec<Setting>)> = Vec::new();
    for setting in settings(root) {
        let heading = if setting.commands.is_empty() {
            setting.arg.get_help_heading().unwrap_or("Other").to_owned()
        } else {
            "Other commands".to_owned()
        };
        match groups.iter_mut().find(|(known, _)| *known == heading) {
            Some((_, settings)) => settings.push(setting),
            None => groups.push((heading, vec![setting])),
        }
    }
    groups
}

/// The help of a setting, its values, and how else it is set; one paragraph each.
fn meaning(setting: &Setting) -> Vec<String> {
    let mut paragraphs = vec![setting.help()];
    for (name, help) in setting.possible_values() {
        paragraphs.push(if help.is_empty() {
            name
        } else {
            format!("{name}: {help}")
        });
    }
    let variable = setting.variable();
    let command = if setting.commands.is_empty() {
        String::new()
    } else {
        format!(" of rowcast {}", setting.commands.join(", "))
    };
    paragraphs.push(format!(
        "Flag {}{command}, environment variable {variable}.",
        setting.flag()
    ));
    paragraphs
}

fn comment(text: &mut String, paragraphs: &[String]) {
    for paragraph in paragraphs {
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > COMMENT_WIDTH {
                text.push_str(&line);
                text.push('\n');
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        text.push_str(&line);
        text.push('\n');
    }
}
