//! Laws of the reader of configuration files, for fuzzing.

use std::path::Path;

use clap::Command;
use serde_json::Value;

use super::ConfigFile;
use super::setting::settings;
use crate::error::Error;

/// Stands for a secret. Long enough to be accepted as one.
const CANARY: &str = "canary-of-a-secret-that-is-long-enough";

/// Where it is a secret, and not a key, or something else that may be shown.
const PLACES: [&str; 2] = ["admin_token = \"", "jwt_secret = \""];

/// Any text is a configuration, or refused with the line and without the secrets in it.
pub(crate) fn file(root: &Command, text: &str) {
    let error = match read(root, text) {
        Ok(()) => return,
        Err(error) => error.to_string(),
    };
    let rest = error.strip_prefix("f.toml:").expect("errors name the file");
    let (line, why) = rest.split_once(": ").expect("and the line, and say why");
    let line: usize = line.parse().expect("lines have numbers");
    let lines = text.split('\n').count();
    assert!(
        (1..=lines).contains(&line),
        "{error}: there are {lines} lines"
    );
    assert!(!why.is_empty(), "{error}: why?");
    let secrets: usize = PLACES
        .iter()
        .map(|place| text.matches(&format!("{place}{CANARY}")).count())
        .sum();
    if secrets == text.matches(CANARY).count() {
        assert!(!error.contains(CANARY), "{error}");
    }
}

fn read(root: &Command, text: &str) -> Result<(), Error> {
    let mut file = ConfigFile::parse(Path::new("f.toml"), text.to_owned())?;
    assert!(!format!("{file:?}").contains(CANARY));
    file.check(&settings(root))?;
    let endpoints = file.tables::<Value>("endpoint")?;
    let presets = file.named_tables::<Value>("preset")?;
    // What is repeated of the tables are these tables.
    let text = file.sections().unwrap_or_default();
    let again = ConfigFile::parse(Path::new("f.toml"), text)?;
    let same = again
        .tables::<Value>("endpoint")?
        .iter()
        .map(|table| &table.value)
        .eq(endpoints.iter().map(|table| &table.value));
    assert!(same, "other endpoints");
    let same = again
        .named_tables::<Value>("preset")?
        .iter()
        .map(|table| &table.value)
        .eq(presets.iter().map(|table| &table.value));
    assert!(same, "other presets");
    Ok(())
}
