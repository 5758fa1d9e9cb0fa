//! Tables of a configuration file: `[[endpoint]]` and `[preset.NAME]`, read as what whoever asks for them takes them
//! for. What is wrong with one is said with the file, the line and the key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::{ConfigFile, closest, error_at};
use crate::error::Error;

/// What was read from a table, and where it stands, so that what turns out to be wrong with it later can name the line.
#[derive(Debug, Clone)]
pub struct Placed<T> {
    /// What the table says.
    pub value: T,
    /// The name in `[preset.NAME]`; empty for `[[endpoint]]`.
    pub name: String,
    /// The line where the table begins.
    pub line: usize,
    /// How the table is called in messages.
    header: String,
    path: PathBuf,
    /// The lines of its keys; of tables in it as `table.key`.
    lines: BTreeMap<String, usize>,
}

impl<T> Placed<T> {
    /// An error about a key of it: `rowcast.toml:12: [[endpoint]] path: …`. The line is that of the key, or of the table
    /// where it has no such key. An empty key is the table itself.
    pub fn error(&self, key: &str, text: impl fmt::Display) -> Error {
        let line = self.lines.get(key).copied().unwrap_or(self.line);
        let space = if key.is_empty() { "" } else { " " };
        error_at(
            &self.path,
            line,
            format_args!("{}{space}{key}: {text}", self.header),
        )
    }
}

impl ConfigFile {
    /// The tables `[[name]]`, in their order. `T` should deny unknown fields: a mistyped key is an error with a
    /// suggestion then.
    ///
    /// # Errors
    /// [`Error::Config`] where one of them is none of `T`.
    pub fn tables<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<Placed<T>>, Error> {
        let Some((key, section)) = self.section(name) else {
            return Ok(Vec::new());
        };
        let wrong = |at: usize| {
            let text = format!("{name}: write it as a table with two brackets: [[{name}]]");
            Err(self.error(self.lines.at(at), text))
        };
        let DeValue::Array(tables) = section.get_ref() else {
            return wrong(key.span().start);
        };
        let header = format!("[[{name}]]");
        let mut found = Vec::new();
        for table in tables {
            if !matches!(table.get_ref(), DeValue::Table(_)) {
                return wrong(table.span().start);
            }
            found.push(self.placed(String::new(), &header, table)?);
        }
        Ok(found)
    }

    /// The tables `[name.NAME]`, in the order of their names.
    ///
    /// # Errors
    /// [`Error::Config`] where one of them is none of `T`.
    pub fn named_tables<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<Placed<T>>, Error> {
        let Some((key, section)) = self.section(name) else {
            return Ok(Vec::new());
        };
        let wrong = |at: usize, key: &str| {
            let text = format!("{key}: write it as a table with its name: [{name}.mine]");
            Err(self.error(self.lines.at(at), text))
        };
        let DeValue::Table(tables) = section.get_ref() else {
            return wrong(key.span().start, name);
        };
        let mut found = Vec::new();
        for (key, table) in tables {
            let own = key.get_ref();
            if !matches!(table.get_ref(), DeValue::Table(_)) {
                return wrong(key.span().start, &format!("{name}.{own}"));
            }
            found.push(self.placed(own.to_string(), &format!("[{name}.{own}]"), table)?);
        }
        Ok(found)
    }

    /// Sees to it that there is nothing but tables `[[name]]`, in a file that has no settings.
    ///
    /// # Errors
    /// [`Error::Config`] where there is.
    pub(crate) fn only_tables(&self, name: &str) -> Result<(), Error> {
        match self.entries.iter().find(|entry| entry.key != name) {
            None => Ok(()),
            Some(other) => Err(self.error(
                other.line,
                format_args!(
                    "unknown key {:?}; everything here stands in a table [[{name}]]",
                    other.key
                ),
            )),
        }
    }

    fn section(&self, name: &str) -> Option<(Spanned<Cow<'_, str>>, Spanned<DeValue<'_>>)> {
        // It was parsed before. A tree that is kept would borrow from the text beside it.
        let root = DeTable::parse(&self.text).ok()?.into_inner();
        root.into_iter().find(|(key, _)| key.get_ref() == name)
    }

    fn placed<T: DeserializeOwned>(
        &self,
        name: String,
        header: &str,
        table: &Spanned<DeValue<'_>>,
    ) -> Result<Placed<T>, Error> {
        let mut offsets = BTreeMap::new();
        collect_offsets("", table, &mut offsets);
        let line_of = |start| self.lines.at(start);
        // A table that is only the parent of others (`[preset.a.b]`) stands where the first of them does.
        let line = line_of(table.span().start);
        match T::deserialize(ValueDeserializer::from(table.clone())) {
            Ok(value) => Ok(Placed {
                value,
                name,
                line,
                header: header.to_owned(),
                path: self.path.clone(),
                lines: offsets
                    .into_iter()
                    .map(|(key, (start, _))| (key, line_of(start)))
                    .collect(),
            }),
            Err(error) => {
                let start = error.span().map_or(table.span().start, |span| span.start);
                // The innermost key whose own place, or whose value's, the error has.
                let key = offsets
                    .iter()
                    .filter(|(_, (from, to))| (*from..*to).contains(&start))
                    .max_by_key(|(key, _)| key.len())
                    .map_or(String::new(), |(key, _)| format!(" {key}"));
                let line = if error.span().is_some() && !key.is_empty() {
                    line_of(start)
                } else {
                    line
                };
                let text = self.in_our_words(error.message());
                Err(self.error(line, format_args!("{header}{key}: {text}")))
            }
        }
    }

    /// The texts of serde are about fields and Rust types.
    fn in_our_words(&self, message: &str) -> String {
        // What is no text there may be a secret that got there.
        if let Some(rest) = message.strip_prefix("invalid type: string ") {
            let wanted = rest
                .rsplit_once(", expected ")
                .map_or("", |(_, wanted)| wanted);
            return format!("a text cannot be here; it is {wanted}");
        }
        // What it puts in backticks: first the word that is wrong, then those that would be right.
        let mut quoted = message.split('`').skip(1).step_by(2);
        let word = quoted.next().unwrap_or_default();
        let right: Vec<_> = quoted.collect();
        let kind = match message.split('`').next() {
            Some("unknown field ") => "key",
            Some("unknown variant ") => "value",
            Some("missing field ") => return format!("the key {word} is missing"),
            Some("duplicate field ") => return format!("the key {word} is there twice"),
            _ => return message.to_owned(),
        };
        let advice = match closest(word, right.iter().copied()) {
            Some(meant) => format!("did you mean {meant}?"),
            None if kind == "key" && self.settings.iter().any(|setting| setting == word) => {
                "it is a key of the whole file, so write it above the first table".to_owned()
            }
            None => format!("it is one of {}", right.join(", ")),
        };
        format!("unknown {kind} {word:?}; {advice}")
    }
}

/// Where the keys of a table are: the offsets of the key's beginning and of its value's end.
fn collect_offsets(
    prefix: &str,
    value: &Spanned<DeValue<'_>>,
    into: &mut BTreeMap<String, (usize, usize)>,
) {
    match value.get_ref() {
        DeValue::Table(table) => {
            for (key, value) in table {
                let dot = if prefix.is_empty() { "" } else { "." };
                let path = format!("{prefix}{dot}{}", key.get_ref());
                into.insert(
                    path.clone(),
                    (key.span().start, value.span().end.max(key.span().end)),
                );
                collect_offsets(&path, value, into);
            }
        }
        DeValue::Array(items) => {
            for item in items {
                collect_offsets(prefix, item, into);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it is read counts")]
    struct Endpoint {
        path: String,
        #[serde(default)]
        mode: Mode,
        #[serde(default)]
        sizes: Vec<u16>,
        limits: Option<Limits>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        #[default]
        Open,
        Closed,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it is read counts")]
    struct Limits {
        messages: u32,
    }

    fn file(text: &str) -> ConfigFile {
        let mut file = ConfigFile::parse(Path::new("f.toml"), text.to_owned()).expect("TOML");
        file.settings = vec!["listen".to_owned()];
        file
    }

    #[test]
    fn tables_are_read_with_their_places() {
        let file = file(
            "# \n[[endpoint]]\npath = \"/a\"\n\n[[endpoint]]\n\npath = \"/b\"\n[endpoint.limits]\nmessages = 3\n\
             [preset.b]\npath = \"/c\"\n[preset.a]\npath = \"/d\"\n",
        );
        let found: Vec<Placed<Endpoint>> = file.tables("endpoint").expect("they are good");
        let places: Vec<_> = found
            .iter()
            .map(|one| (one.value.path.as_str(), one.line))
            .collect();
        assert_eq!(places, [("/a", 2), ("/b", 5)]);
        let error = |key| found[1].error(key, "is taken").to_string();
        assert_eq!(error("path"), "f.toml:7: [[endpoint]] path: is taken");
        assert_eq!(
            error("limits.messages"),
            "f.toml:9: [[endpoint]] limits.messages: is taken"
        );
        assert_eq!(error(""), "f.toml:5: [[endpoint]]: is taken");
        assert_eq!(error("mode"), "f.toml:5: [[endpoint]] mode: is taken");

        let found: Vec<Placed<Endpoint>> = file.named_tables("preset").expect("they are good");
        let places: Vec<_> = found
            .iter()
            .map(|one| (one.name.as_str(), one.line))
            .collect();
        assert_eq!(places, [("a", 12), ("b", 10)]);
        let error = found[1].error("path", "is taken").to_string();
        assert_eq!(error, "f.toml:11: [preset.b] path: is taken");

        assert!(
            file.tables::<Endpoint>("absent")
                .expect("none is good")
                .is_empty()
        );
        let inline = self::file("endpoint = [{ path = \"/a\" }]");
        assert_eq!(
            inline
                .tables::<Endpoint>("endpoint")
                .expect("it is good")
                .len(),
            1
        );
    }

    #[test]
    fn what_is_wrong_with_a_table_is_said_with_its_place() {
        for (text, error) in [
            (
                "[[endpoint]]\n",
                "f.toml:1: [[endpoint]]: the key path is missing",
            ),
            (
                "[[endpoint]]\n\npaht = \"/\"",
                "f.toml:3: [[endpoint]] paht: unknown key \"paht\"; did you mean path?",
            ),
            (
                "[[endpoint]]\nxyzzy = \"/\"",
                "f.toml:2: [[endpoint]] xyzzy: unknown key \"xyzzy\"; it is one of path, mode, sizes, limits",
            ),
            (
                "[[endpoint]]\npath = \"/\"\nlisten = \"x\"",
                "f.toml:3: [[endpoint]] listen: unknown key \"listen\"; it is a key of the whole file, so write it above the \
                 first table",
            ),
            (
                "[[endpoint]]\npath = \"/\"\nmode = \"opn\"",
                "f.toml:3: [[endpoint]] mode: unknown value \"opn\"; did you mean open?",
            ),
            (
                "[[endpoint]]\npath = \"/\"\nsizes = [\n 1,\n \"two\",\n]",
                "f.toml:5: [[endpoint]] sizes: a text cannot be here; it is u16",
            ),
            (
                "[[endpoint]]\npath = \"/\"\n[[endpoint]]\npath = \"/\"\n[endpoint.limits]\nmessages = -1",
                "f.toml:6: [[endpoint]] limits.messages: invalid value: integer `-1`, expected u32",
            ),
            (
                "[endpoint]\npath = \"/\"",
                "f.toml:1: endpoint: write it as a table with two brackets: [[endpoint]]",
            ),
            (
                "endpoint = [\n3]",
                "f.toml:2: endpoint: write it as a table with two brackets: [[endpoint]]",
            ),
        ] {
            let found = file(text).tables::<Endpoint>("endpoint");
            assert_eq!(found.expect_err(text).to_string(), error, "{text}");
        }
        for (text, error) in [
            (
                "[[preset]]\n",
                "f.toml:1: preset: write it as a table with its name: [preset.mine]",
            ),
            (
                "\n[preset]\nmine = 1",
                "f.toml:3: preset.mine: write it as a table with its name: [preset.mine]",
            ),
            (
                "[preset.mine]\n",
                "f.toml:1: [preset.mine]: the key path is missing",
            ),
        ] {
            let found = file(text).named_tables::<Endpoint>("preset");
            assert_eq!(found.expect_err(text).to_string(), error, "{text}");
        }
    }
}
