//! The statements that install row triggers. What a table is like is found out in `mod`.
//!
//! What the triggers must not do is make a statement of the user fail because of a value: blobs, infinities and what is not
//! the JSON that its column is declared to have are written so that they can be JSON, and what is no legal part of a channel
//! leaves that channel out. Functions are those of SQLite 3.25: the writer's may be older than ours.

use super::Column;
use crate::source::capture::channels::{Dialect, of_both, of_row};
use crate::source::capture::plan::{Plan, Table};
use crate::source::capture::{Giver, Operation, head, own_name, quote_identifier, trigger_name};

/// Pairs of one `json_object`: older versions give functions 100 arguments.
const PAIRS_MAX: usize = 40;

/// Larger values are sent as null, in bytes of a blob and characters of a text: a row that is written as JSON must stay
/// below the longest text SQLite can have (10^9 bytes).
const VALUE_MAX: usize = 10_000_000;

/// Everything, for a migration.
pub(super) fn attach(table: &Table, columns: &[Column], plan: &Plan, record: &str) -> String {
    let mut parts = vec![head(&table.quoted, "events")];
    for operation in Operation::ALL {
        if operation == Operation::Truncate {
            continue;
        }
        let of = Of { columns, plan };
        let create = |name: &str, on: &str, body: &str| {
            format!(
                "\nCREATE TRIGGER {name} AFTER {} {on} BEGIN\n    /* {} */\n{body}END;",
                operation.word().to_uppercase(),
                // Legal in JSON, and does not end the comment.
                record.replace("*/", r"*\/"),
            )
        };
        let on = format!("ON {}", table.quoted);
        let trigger = quote_identifier(&trigger_name(&table.name, operation));
        let mut sql = format!("DROP TRIGGER IF EXISTS {trigger};");
        if operation == Operation::Update {
            let other = quote_identifier(&own_name(&table.name, "update_id"));
            sql = [&sql, "\nDROP TRIGGER IF EXISTS ", &other, ";"].concat();
            if plan.is_on(operation) {
                sql += &create(&trigger, &(on.clone() + &of.changed()), &of.update());
                // It is no part of statements that leave the id alone.
                let when = format!(
                    "OF {} {on}\n    WHEN {}",
                    of.names_of_id(),
                    of.has_other_id()
                );
                sql += &create(&other, &when, &of.moved());
            }
        } else if plan.is_on(operation) {
            let body = if operation == Operation::Insert {
                of.came()
            } else {
                of.went()
            };
            sql += &create(&trigger, &on, &body);
        }
        parts.push(sql);
    }
    parts.join("\n\n") + "\n"
}

/// What is captured of the rows of a table.
struct Of<'a> {
    columns: &'a [Column],
    plan: &'a Plan,
}

impl Of<'_> {
    fn came(&self) -> String {
        let definition = &self.plan.definition;
        let channel = of_row(&Sqlite, &definition.channels, "NEW");
        self.insert(
            Operation::Insert,
            "NEW",
            &channel,
            &self.sent("NEW"),
            "NULL",
        )
    }

    fn went(&self) -> String {
        let definition = &self.plan.definition;
        let channel = of_row(&Sqlite, &definition.channels, "OLD");
        let id = format!(
            "json_object({}, {})",
            literal(&definition.id),
            self.value("OLD", &definition.id)
        );
        self.insert(Operation::Delete, "OLD", &channel, &id, &self.sent("OLD"))
    }

    /// The same row, with other values.
    fn update(&self) -> String {
        let both = of_both(&Sqlite, &self.plan.definition.channels, "NEW", "OLD");
        let (new, old) = (self.sent("NEW"), self.sent("OLD"));
        self.insert(Operation::Update, "NEW", &both, &new, &old)
    }

    /// Where the id changed, one row went and another came.
    fn moved(&self) -> String {
        self.went() + &self.came()
    }

    fn has_other_id(&self) -> String {
        let id = quote_identifier(&self.plan.definition.id);
        format!("OLD.{id} IS NOT NEW.{id} COLLATE BINARY")
    }

    /// What statements that change the id name; a generated one follows from other columns.
    fn names_of_id(&self) -> String {
        let id = &self.plan.definition.id;
        let column = self.columns.iter().find(|column| column.name == *id);
        let is_generated = column.is_some_and(Column::is_generated);
        let mut names = vec![id.as_str()];
        if is_generated {
            names = self.columns.iter().map(|c| c.name.as_str()).collect();
        }
        if is_generated || column.is_some_and(|column| column.is_row_number) {
            names.extend(["rowid", "oid", "_rowid_"]);
        }
        let names: Vec<_> = names.into_iter().map(quote_identifier).collect();
        names.join(", ")
    }

    /// A change of what is neither sent nor told by the channels is none.
    fn changed(&self) -> String {
        let definition = &self.plan.definition;
        let mut columns: Vec<_> = definition.sent.iter().map(String::as_str).collect();
        columns.extend(
            definition
                .channels
                .iter()
                .flat_map(crate::source::capture::channels::Template::columns),
        );
        columns.retain(|column| *column != definition.id);
        columns.sort_unstable();
        columns.dedup();
        let changed: Vec<_> = columns
            .into_iter()
            .map(|column| {
                let column = quote_identifier(column);
                format!("OLD.{column} IS NOT NEW.{column} COLLATE BINARY")
            })
            .collect();
        let id = quote_identifier(&definition.id);
        let changed = if changed.is_empty() {
            "0".to_owned()
        } else {
            changed.join(" OR ")
        };
        format!("\n    WHEN OLD.{id} IS NEW.{id} COLLATE BINARY AND ({changed})")
    }

    fn insert(
        &self,
        operation: Operation,
        row: &str,
        channel: &str,
        payload: &str,
        previous: &str,
    ) -> String {
        let definition = &self.plan.definition;
        let kind = literal(&format!("{}.{}", definition.kind, operation.ending()));
        let condition = if self.plan.is_always_somewhere() {
            ""
        } else {
            "\n     WHERE c.channel IS NOT NULL"
        };
        format!(
            "    INSERT INTO events (channel, type, entity_id, actor, origin, payload, previous)\n    \
             SELECT c.channel, {kind}, {}, {}, {},\n           {payload},\n           {previous}\n      \
             FROM (SELECT {channel} AS channel) AS c{condition};\n",
            Sqlite.text_of(row, &definition.id),
            giver(definition.actor.as_ref(), row),
            giver(definition.origin.as_ref(), row),
        )
    }

    /// What of a row is sent. Objects of a few columns are put together as text.
    fn sent(&self, row: &str) -> String {
        let pairs: Vec<_> = self
            .plan
            .definition
            .sent
            .iter()
            .map(|column| format!("{}, {}", literal(column), self.value(row, column)))
            .collect();
        let objects: Vec<_> = pairs
            .chunks(PAIRS_MAX)
            .map(|pairs| format!("json_object({})", pairs.join(", ")))
            .collect();
        if let [object] = &objects[..] {
            return object.clone();
        }
        let inner: Vec<_> = objects
            .iter()
            .map(|object| format!("substr({object}, 2, length({object}) - 2)"))
            .collect();
        format!("'{{' || {} || '}}'", inner.join(" || ',' || "))
    }

    /// A value as an argument of `json_object`.
    fn value(&self, row: &str, name: &str) -> String {
        let value = format!("{row}.{}", quote_identifier(name));
        let column = self.columns.iter().find(|column| column.name == name);
        if column.is_some_and(|column| column.is_row_number) {
            return value;
        }
        let text = if column.is_some_and(Column::is_json) {
            // Within another object it is one level deeper, which may be too deep.
            format!(
                "CASE WHEN json_valid({value}) AND json_valid('[' || {value} || ']') THEN json({value}) ELSE {value} END"
            )
        } else {
            value.clone()
        };
        // Numbers, texts and blobs are told apart by how they sort, which takes no call of a function; + is for no affinity.
        format!(
            "CASE WHEN +{value} < '' COLLATE BINARY THEN CASE {value} WHEN 9e999 THEN 'Infinity' WHEN -9e999 THEN '-Infinity' ELSE {value} END \
             WHEN +{value} < x'' COLLATE BINARY THEN CASE WHEN length({value}) <= {VALUE_MAX} THEN {text} END \
             WHEN length({value}) <= {VALUE_MAX} THEN lower(hex({value})) END"
        )
    }
}

fn giver(giver: Option<&Giver>, row: &str) -> String {
    match giver {
        Some(Giver::Column(name)) => Sqlite.text_of(row, name),
        // Refused before.
        Some(Giver::Setting(_)) | None => "NULL".to_owned(),
    }
}

/// How SQLite says what a channel is. A row is `NEW` or `OLD`.
struct Sqlite;

impl Dialect for Sqlite {
    fn literal(&self, text: &str) -> String {
        literal(text)
    }

    /// Byte for byte, whatever the column's own collation takes for equal.
    fn text_of(&self, row: &str, column: &str) -> String {
        format!(
            "(CAST({row}.{} AS TEXT) COLLATE BINARY)",
            quote_identifier(column)
        )
    }

    /// NUL is looked for apart: GLOB stops there.
    fn is_part(&self, text: &str) -> String {
        format!(
            "{text} <> '' AND {text} NOT GLOB '*[^A-Za-z0-9_.@/-]*' AND instr({text}, char(0)) = 0"
        )
    }

    fn bytes(&self, text: &str) -> String {
        format!("length(CAST({text} AS BLOB))")
    }

    fn differ(&self, a: &str, b: &str) -> String {
        format!("({a}) IS NOT ({b})")
    }

    fn join(&self, names: &[String]) -> String {
        match names {
            [] => "NULL".to_owned(),
            [name] => name.clone(),
            _ => {
                let names: Vec<_> = names
                    .iter()
                    .map(|name| format!("coalesce(' ' || {name}, '')"))
                    .collect();
                format!("nullif(ltrim({}), '')", names.join(" || "))
            }
        }
    }

    fn join_distinct(&self, names: &[String], bytes_max: usize) -> String {
        let rows: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(n, name)| {
                if n == 0 {
                    format!("SELECT 0 AS n, {name} AS name")
                } else {
                    format!("SELECT {n}, {name}")
                }
            })
            .collect();
        format!(
            "(SELECT group_concat(w.name, ' ') FROM (SELECT d.name, sum(length(d.name) + 1) OVER (ORDER BY d.n) AS bytes \
             FROM (SELECT u.name, min(u.n) AS n FROM ({}) AS u WHERE u.name IS NOT NULL GROUP BY u.name) AS d \
             ORDER BY d.n) AS w WHERE w.bytes <= {})",
            rows.join(" UNION ALL "),
            bytes_max + 1
        )
    }
}

/// A text, whatever is in it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
