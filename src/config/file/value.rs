//! A value of a configuration file, as far as flags can have it, and the line it stands on.

use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use super::Lines;

/// How a table is called in messages.
const TABLE: &str = "a table";

/// A value of the top level.
#[derive(Clone)]
pub(super) struct Value {
    pub line: usize,
    pub kind: Kind,
}

#[derive(Clone)]
pub(super) enum Kind {
    Text(String),
    /// A whole number, in decimal.
    Number(String),
    Switch(bool),
    List(Vec<Value>),
    /// What no flag has, by its name.
    Other(&'static str),
}

impl Value {
    pub fn of(lines: &Lines, value: &Spanned<DeValue<'_>>) -> Self {
        let kind = match value.get_ref() {
            DeValue::String(text) => Kind::Text(text.to_string()),
            DeValue::Integer(number) => decimal(number),
            DeValue::Float(_) => Kind::Other("a number with a fraction"),
            DeValue::Boolean(on) => Kind::Switch(*on),
            DeValue::Datetime(_) => Kind::Other("a date"),
            DeValue::Array(items) => {
                Kind::List(items.iter().map(|item| Self::of(lines, item)).collect())
            }
            DeValue::Table(_) => Kind::Other(TABLE),
        };
        Self {
            line: lines.at(value.span().start),
            kind,
        }
    }

    pub fn is_table(&self) -> bool {
        match &self.kind {
            Kind::Other(name) => *name == TABLE,
            Kind::List(items) => items.iter().any(Self::is_table),
            _ => false,
        }
    }

    /// What it is, for messages.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Text(_) => "a text",
            Kind::Number(_) => "a number",
            Kind::Switch(_) => "true or false",
            Kind::List(_) => "a list",
            Kind::Other(name) => name,
        }
    }
}

/// `0x10` and `1_000` as a flag has them: 16 and 1000.
fn decimal(number: &DeInteger<'_>) -> Kind {
    i128::from_str_radix(number.as_str(), number.radix())
        .map_or(Kind::Other("a number beyond all limits"), |number| {
            Kind::Number(number.to_string())
        })
}
