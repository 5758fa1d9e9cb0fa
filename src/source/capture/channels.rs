//! Channels of captured rows: templates over columns, and the SQL that makes of a row the names it is on. A value that is no
//! legal part of a name leaves its channel out; it never makes a statement fail.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::event::{CHANNEL_BYTES_MAX, CHANNELS_BYTES_MAX, Channel};

/// The name of a channel with columns in braces: `project:{project_id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Column(String),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// When a brace is not closed, or the name could be legal with no value at all.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((column, after)) = behind.split_once('}') else {
                return Err(format!("a brace is not closed in {text:?}"));
            };
            if column.is_empty() {
                return Err(format!("no column is named between the braces of {text:?}"));
            }
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Column(column.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        let template = Self { pieces };
        Channel::parse(&template.with_each("1")).map_err(|error| format!("{text:?}: {error}"))?;
        Ok(template)
    }

    /// The columns in braces.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Column(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The name with this value in the place of every column.
    pub(in crate::source) fn with_each(&self, value: &str) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Column(_) => value,
        });
        pieces.collect()
    }

    /// Whether every row is on it.
    pub(in crate::source) fn is_fixed(&self) -> bool {
        self.columns().next().is_none()
    }

    /// What all its names begin with.
    fn beginning(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether it and another can give the same name.
    fn may_coincide(&self, other: &Self) -> bool {
        let (a, b) = (self.beginning(), other.beginning());
        match (self.is_fixed(), other.is_fixed()) {
            (true, true) => a == b,
            (true, false) => a.starts_with(b),
            (false, true) => b.starts_with(a),
            (false, false) => a.starts_with(b) || b.starts_with(a),
        }
    }

    fn bytes_max(&self) -> usize {
        if self.is_fixed() {
            self.beginning().len()
        } else {
            CHANNEL_BYTES_MAX
        }
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        let pieces = template.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Column(name) => format!("{{{name}}}"),
        });
        pieces.collect()
    }
}

/// How a database says it.
pub(in crate::source) trait Dialect {
    /// A text.
    fn literal(&self, text: &str) -> String;
    /// The value of a column as text, or NULL. `row` is what stands before the columns of the row.
    fn text_of(&self, row: &str, column: &str) -> String;
    /// Whether a text, an expression, can be part of a name.
    fn is_part(&self, text: &str) -> String;
    /// How many bytes a text, an expression, has at most, where it can always be part of a name.
    fn part_bytes_max(&self, _text: &str) -> Option<usize> {
        None
    }
    /// The length of a text, an expression.
    fn bytes(&self, text: &str) -> String;
    /// Whether two values differ; NULL differs from all others.
    fn differ(&self, a: &str, b: &str) -> String;
    /// The names, of which some may be NULL, one after another; NULL when all are.
    fn join(&self, names: &[String]) -> String;
    /// The same, each once, and no more of them than `bytes_max` bytes have room for. Slower.
    fn join_distinct(&self, names: &[String], bytes_max: usize) -> String;
}

/// The channels of one row, as an expression that is NULL where it has none.
pub(in crate::source) fn of_row(
    dialect: &impl Dialect,
    templates: &[Template],
    row: &str,
) -> String {
    let names: Vec<_> = templates.iter().map(|t| name(dialect, t, row)).collect();
    let bytes_max: usize = templates.iter().map(|t| t.bytes_max() + 1).sum();
    if bytes_max > CHANNELS_BYTES_MAX {
        return dialect.join_distinct(&names, CHANNELS_BYTES_MAX);
    }
    let mut distinct = Vec::new();
    // One that every row is on, by its place among them: the others can be put before and behind it.
    let mut sure = None;
    for (n, template) in templates.iter().enumerate() {
        let before = || templates[..n].iter().enumerate();
        if before().any(|(_, other)| other == template) {
            continue;
        }
        let conditions: Vec<_> = before()
            .filter(|(_, other)| other.may_coincide(template))
            .map(|(m, _)| dialect.differ(&names[n], &names[m]))
            .collect();
        distinct.push(if conditions.is_empty() {
            if template.is_fixed() {
                sure = Some(distinct.len());
            }
            names[n].clone()
        } else {
            format!(
                "CASE WHEN {} THEN {} END",
                conditions.join(" AND "),
                names[n]
            )
        });
    }
    let Some(sure) = sure else {
        return dialect.join(&distinct);
    };
    let joined = distinct
        .iter()
        .enumerate()
        .map(|(n, name)| match n.cmp(&sure) {
            Ordering::Less => format!("coalesce({name} || ' ', '')"),
            Ordering::Equal => name.clone(),
            Ordering::Greater => format!("coalesce(' ' || {name}, '')"),
        });
    joined.collect::<Vec<_>>().join(" || ")
}

/// The channels of a row that was changed: those it is on, and those it was on.
pub(in crate::source) fn of_both(
    dialect: &impl Dialect,
    templates: &[Template],
    new: &str,
    old: &str,
) -> String {
    let now = of_row(dialect, templates, new);
    let mut columns: Vec<_> = templates.iter().flat_map(Template::columns).collect();
    columns.sort_unstable();
    columns.dedup();
    if columns.is_empty() {
        return now;
    }
    let moved: Vec<_> = columns
        .iter()
        .map(|column| dialect.differ(&dialect.text_of(new, column), &dialect.text_of(old, column)))
        .collect();
    let moving = templates.iter().filter(|template| !template.is_fixed());
    let names: Vec<_> = templates
        .iter()
        .map(|template| name(dialect, template, new))
        .chain(moving.map(|template| name(dialect, template, old)))
        .collect();
    format!(
        "CASE WHEN {} THEN {} ELSE {now} END",
        moved.join(" OR "),
        dialect.join_distinct(&names, CHANNELS_BYTES_MAX)
    )
}

/// The name that a template gives, or NULL.
fn name(dialect: &impl Dialect, template: &Template, row: &str) -> String {
    let pieces: Vec<_> = template
        .pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => dialect.literal(text),
            Piece::Column(column) => dialect.text_of(row, column),
        })
        .collect();
    let whole = pieces.join(" || ");
    let bytes_max = template
        .pieces
        .iter()
        .zip(&pieces)
        .map(|(piece, text)| match piece {
            Piece::Text(text) => Some(text.len()),
            Piece::Column(_) => dialect.part_bytes_max(text),
        });
    let bytes_max: Option<usize> = bytes_max.sum();
    if bytes_max.is_some_and(|bytes| bytes <= CHANNEL_BYTES_MAX) {
        return whole;
    }
    let mut conditions: Vec<_> = template
        .columns()
        .map(|column| dialect.is_part(&dialect.text_of(row, column)))
        .collect();
    if conditions.is_empty() {
        return whole;
    }
    // First: a long text is not looked through.
    conditions.insert(
        0,
        format!("{} <= {CHANNEL_BYTES_MAX}", dialect.bytes(&whole)),
    );
    format!("CASE WHEN {} THEN {whole} END", conditions.join(" AND "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_follow_the_rule_of_channels() {
        for good in ["tasks", "project:{project_id}", "{a}:{b c}", "x{a}y:{a}"] {
            let template = Template::parse(good).expect(good);
            assert_eq!(String::from(template), good);
        }
        for (bad, why) in [
            ("", "at least one character"),
            ("a b", "' '"),
            ("project:{id", "not closed"),
            ("project:{}", "no column"),
            ("project:", "at least one character"),
            ("größe:{id}", "'ö'"),
            ("a}", "'}'"),
        ] {
            let error = Template::parse(bad).expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
