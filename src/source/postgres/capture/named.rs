//! Statements of the functions that name the columns of the table: a seventh cheaper than those of `script`, which make JSON
//! of whole rows, and fail where a column is gone. So they say too when they can be used: while the table has the columns
//! that it had.

use super::script::{Postgres, Target, array, giver, json, literal, setting};
use crate::source::capture::channels::{Dialect, Template, of_both, of_row};
use crate::source::capture::plan::Plan;
use crate::source::capture::{Definition, Giver, Operation, quote_identifier};

/// `bigint`, `smallint`, `integer` and `uuid`: their text is that in JSON, and always a legal part of a channel.
const PLAIN_KINDS: [i64; 4] = [20, 21, 23, 2950];

/// Bytes of the longest text of these, a `uuid`'s.
const PLAIN_BYTES_MAX: usize = 36;

/// What makes a text of a value of these.
const TO_TEXT: &str = "::text";

/// What of the rows of a table is named.
pub(super) struct Named<'a> {
    target: &'a Target<'a>,
    plan: &'a Plan,
    /// The columns that are sent, as jsonb orders them: it finds them in order then, and need not sort.
    sent: Vec<&'a str>,
    /// Columns for channels and the like that are taken beside the JSON.
    plain: Vec<(&'a str, i64)>,
}

impl<'a> Named<'a> {
    /// None where a value could make a statement fail: JSON of the whole row may be needed then.
    pub fn of(target: &'a Target<'_>, plan: &'a Plan) -> Option<Self> {
        let definition = &plan.definition;
        if target.has_odd_types() || !definition.sent.contains(&definition.id) {
            return None;
        }
        let mut sent: Vec<_> = definition.sent.iter().map(String::as_str).collect();
        sent.sort_unstable_by_key(|name| (name.len(), name.as_bytes()));
        let mut plain = Vec::new();
        for name in definition.needed() {
            let column = target.columns.iter().find(|column| column.name == name)?;
            if PLAIN_KINDS.contains(&column.kind) {
                plain.push((name, column.kind));
            } else if !sent.contains(&name) {
                return None;
            }
        }
        plain.sort_unstable();
        plain.dedup();
        Some(Self {
            target,
            plan,
            sent,
            plain,
        })
    }

    fn definition(&self) -> &'a Definition {
        &self.plan.definition
    }

    /// When these statements can be used, as a condition: every column is there, and those of which more is presumed are
    /// as they were.
    fn is_fitting(&self, keys: &[&str]) -> String {
        let is_plain = |name: &str| self.plain.iter().any(|(plain, _)| *plain == name);
        let mut sent: Vec<_> = self.sent.iter().map(|name| (*name).to_owned()).collect();
        sent.retain(|name| !is_plain(name) && !keys.contains(&name.as_str()));
        let mut conditions = vec![format!("attname = ANY ({}::name[])", array(&sent))];
        let mut others: Vec<_> = self.plain.iter().map(|(name, _)| *name).collect();
        others.extend(keys);
        others.sort_unstable();
        others.dedup();
        for name in &others {
            let mut condition = vec![format!("attname = {}", literal(name))];
            if let Some((_, kind)) = self.plain.iter().find(|(plain, _)| plain == name) {
                condition.push(format!("atttypid = {kind}"));
            }
            if keys.contains(name) {
                condition.push("attnotnull".to_owned());
            }
            conditions.push(condition.join(" AND "));
        }
        format!(
            "{} = (SELECT count(*) FROM pg_attribute WHERE attrelid = TG_RELID AND NOT attisdropped\n           AND ({}))",
            sent.len() + others.len(),
            conditions.join("\n                OR ")
        )
    }

    /// Events of rows that came, or went: when, and what.
    pub fn one(&self, operation: Operation) -> (String, String) {
        let definition = self.definition();
        let gone = operation == Operation::Delete;
        let (row, rows) = if gone {
            ("old_row", "old_rows")
        } else {
            ("new_row", "new_rows")
        };
        let id = literal(&definition.id);
        let columns = if gone {
            format!("jsonb_build_object({id}, r.j -> {id}), r.j")
        } else {
            "r.j, NULL::jsonb".to_owned()
        };
        let text = |name: &str| self.text_of("r.j", name);
        let select = format!(
            "SELECT {} AS channel, {} AS type, {},\n               {}, {},\n               {columns}\n          \
             FROM (SELECT {} AS j{}\n                  \
             FROM (SELECT CASE WHEN true THEN sent.* END AS j{}\n                          \
             FROM {rows} AS {row} CROSS JOIN {} OFFSET 0) AS p OFFSET 0) AS r",
            of_row(self, &definition.channels, "r.j"),
            self.kind(operation),
            text(&definition.id),
            giver_of(definition.actor.as_ref(), text),
            giver_of(definition.origin.as_ref(), text),
            json(self.target, "p.j"),
            self.passed("j"),
            self.values(row, "j"),
            self.record(row, "sent"),
        );
        (self.is_fitting(&[]), select)
    }

    /// Events of rows that changed: when, and what.
    pub fn update(&self) -> (String, String) {
        let definition = self.definition();
        let id = literal(&definition.id);
        let keys = self.target.keys;
        let names: Vec<_> = keys.iter().map(|key| key.column.as_str()).collect();
        let pairs: Vec<_> = keys
            .iter()
            .map(|key| {
                let column = quote_identifier(&key.column);
                format!("old_row.{column} {} new_row.{column}", key.equals())
            })
            .collect();
        // Where the row goes is told by more than what is sent.
        let told: Vec<_> = self
            .plain
            .iter()
            .enumerate()
            .filter(|(_, (name, _))| {
                let mut columns = definition.channels.iter().flat_map(Template::columns);
                !self.sent.contains(name) && columns.any(|column| column == *name)
            })
            .map(|(n, _)| format!(" OR p.n{n} IS DISTINCT FROM p.o{n}"))
            .collect();
        let key = quote_identifier(names.first().unwrap_or(&""));
        // The row that is there, or was.
        let text = |name: &str| {
            let (new, old) = (self.text_of("r.n", name), self.text_of("r.o", name));
            format!("CASE WHEN r.n IS NULL THEN {old} ELSE {new} END")
        };
        let select = format!(
            "SELECT {} AS channel,\n               \
             CASE WHEN r.o IS NULL THEN {} WHEN r.n IS NULL THEN {} ELSE {} END AS type,\n               \
             {}, {}, {},\n               \
             CASE WHEN r.n IS NULL THEN jsonb_build_object({id}, r.o -> {id}) ELSE r.n END, r.o\n          \
             FROM (SELECT {} AS o,\n                       {} AS n{}{}\n                  \
             FROM (SELECT CASE WHEN old_row.{key} IS NOT NULL THEN old_sent.* END AS o,\n                               \
             CASE WHEN new_row.{key} IS NOT NULL THEN new_sent.* END AS n{}{}\n                          \
             FROM old_rows AS old_row FULL JOIN new_rows AS new_row ON {}\n                         \
             CROSS JOIN {}\n                         CROSS JOIN {} OFFSET 0) AS p\n                 \
             -- Bytes are compared, as some types have no =.\n                 \
             WHERE (p.o *<> p.n) IS NOT FALSE{} OFFSET 0) AS r",
            of_both(self, &definition.channels, "r.n", "r.o"),
            self.kind(Operation::Insert),
            self.kind(Operation::Delete),
            self.kind(Operation::Update),
            text(&definition.id),
            giver_of(definition.actor.as_ref(), text),
            giver_of(definition.origin.as_ref(), text),
            json(self.target, "p.o"),
            json(self.target, "p.n"),
            self.passed("o"),
            self.passed("n"),
            self.values("old_row", "o"),
            self.values("new_row", "n"),
            pairs.join(" AND "),
            self.record("old_row", "old_sent"),
            self.record("new_row", "new_sent"),
            told.concat(),
        );
        (self.is_fitting(&names), select)
    }

    fn kind(&self, operation: Operation) -> String {
        literal(&format!(
            "{}.{}",
            self.definition().kind,
            operation.ending()
        ))
    }

    /// What of a row is sent, as a record.
    fn record(&self, row: &str, name: &str) -> String {
        let columns: Vec<_> = self
            .sent
            .iter()
            .map(|column| format!("{row}.{}", quote_identifier(column)))
            .collect();
        format!("LATERAL (SELECT {}) AS {name}", columns.join(", "))
    }

    /// The values of plain columns, behind others: `, new_row."id" AS n0`.
    fn values(&self, row: &str, letter: &str) -> String {
        let values =
            self.plain.iter().enumerate().map(|(n, (column, _))| {
                format!(", {row}.{} AS {letter}{n}", quote_identifier(column))
            });
        values.collect::<Vec<_>>().concat()
    }

    /// The same, one query further out.
    fn passed(&self, letter: &str) -> String {
        let values = (0..self.plain.len()).map(|n| format!(", p.{letter}{n}"));
        values.collect::<Vec<_>>().concat()
    }
}

fn giver_of(given: Option<&Giver>, text: impl Fn(&str) -> String) -> String {
    match given {
        Some(Giver::Column(name)) => text(name),
        Some(Giver::Setting(name)) => setting(name),
        None => giver(None, ""),
    }
}

/// The value of a plain column of which this is the text; those of others are in parentheses.
fn value_of(text: &str) -> Option<&str> {
    text.strip_prefix("r.").and(text.strip_suffix(TO_TEXT))
}

/// As in `script`, but for plain columns: `r.n` is the JSON of a row, `r.n0` the value of the first.
impl Dialect for Named<'_> {
    fn literal(&self, text: &str) -> String {
        Postgres.literal(text)
    }

    fn text_of(&self, row: &str, column: &str) -> String {
        let place = self.plain.iter().position(|(name, _)| *name == column);
        place.map_or_else(
            || Postgres.text_of(row, column),
            |place| format!("{row}{place}{TO_TEXT}"),
        )
    }

    fn is_part(&self, text: &str) -> String {
        if value_of(text).is_some() {
            return "true".to_owned();
        }
        Postgres.is_part(text)
    }

    fn part_bytes_max(&self, text: &str) -> Option<usize> {
        value_of(text).map(|_| PLAIN_BYTES_MAX)
    }

    fn bytes(&self, text: &str) -> String {
        Postgres.bytes(text)
    }

    /// Two values of a column need no text to be compared.
    fn differ(&self, a: &str, b: &str) -> String {
        match (value_of(a), value_of(b)) {
            (Some(a), Some(b)) if a.replacen(".n", ".o", 1) == b.replacen(".n", ".o", 1) => {
                Postgres.differ(a, b)
            }
            _ => Postgres.differ(a, b),
        }
    }

    fn join(&self, names: &[String]) -> String {
        Postgres.join(names)
    }

    fn join_distinct(&self, names: &[String], bytes_max: usize) -> String {
        Postgres.join_distinct(names, bytes_max)
    }
}
