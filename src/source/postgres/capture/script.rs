//! The statements that install statement-level triggers with transition tables, one function for every operation. What a
//! table is like is found out in `catalog`.
//!
//! What the functions must not do is make a statement of the user fail because of a value, or of a table that has changed:
//! columns are taken out of the row's JSON by name, so one that was dropped is no error (`named` is faster, while none was);
//! values that no JSON can be made of are caught; what is no legal part of a channel leaves that channel out.

use super::catalog::{Column, Key};
use super::named::Named;
use crate::source::capture::channels::{Dialect, of_both, of_row};
use crate::source::capture::plan::{Plan, Table};
use crate::source::capture::{Giver, Operation, head, own_name, quote_identifier, trigger_name};

/// Rows up to this size, as they are stored, become JSON at once. Compression makes of a value 1/255 at best, and no text
/// in jsonb can have 256 MB: beyond it a function looks whether it can be done.
const ROW_BYTES_SAFE: u32 = 1_000_000;

/// The table and what else the statements name.
pub(super) struct Target<'a> {
    pub table: &'a Table,
    /// For the functions.
    pub schema: &'a str,
    /// The table of events, as SQL names it.
    pub events: &'a str,
    /// What pairs an old row with its new one.
    pub keys: &'a [Key],
    pub columns: &'a [Column],
}

impl Target<'_> {
    /// Whether there are types of which some values cannot become JSON.
    pub fn has_odd_types(&self) -> bool {
        self.columns.iter().any(|column| column.is_odd)
    }
}

/// Everything, for a migration.
pub(super) fn attach(target: &Target<'_>, plan: &Plan, record: &str) -> String {
    let table = &target.table.quoted;
    let mut parts = vec![head(table, target.events), json_function(target)];
    for operation in Operation::ALL {
        let trigger = quote_identifier(&trigger_name(&target.table.name, operation));
        parts.push(format!("DROP TRIGGER IF EXISTS {trigger} ON {table};"));
        let function = function(target, operation.word());
        if !plan.is_on(operation) {
            parts.push(format!("DROP FUNCTION IF EXISTS {function}();"));
            continue;
        }
        let (rows, body) = match operation {
            Operation::Insert => (
                " REFERENCING NEW TABLE AS new_rows",
                one(target, plan, operation),
            ),
            Operation::Delete => (
                " REFERENCING OLD TABLE AS old_rows",
                one(target, plan, operation),
            ),
            Operation::Update => (
                " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
                update(target, plan),
            ),
            Operation::Truncate => ("", truncate(target, plan)),
        };
        // The rights of whoever installs it, so that writers need none on the events; nobody else may use it in a
        // trigger of his own. Compiling the statement to machine code takes
        // longer than it saves, and pairs of 100,000 rows are found in memory, by hashes: the planner would rather sort them.
        parts.push(format!(
            "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger\n\
             LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET work_mem = '64MB' SET enable_mergejoin = off AS {};\n\
             REVOKE ALL ON FUNCTION {function}() FROM PUBLIC;\n\
             CREATE TRIGGER {trigger} AFTER {} ON {table}{rows}\n    \
             FOR EACH STATEMENT EXECUTE FUNCTION {function}();\n\
             COMMENT ON TRIGGER {trigger} ON {table} IS\n    {};",
            dollars(&body),
            operation.word().to_uppercase(),
            literal(record),
        ));
    }
    parts.join("\n\n") + "\n"
}

/// The name of a function of a table, as SQL names it.
pub(super) fn function(target: &Target<'_>, ending: &str) -> String {
    format!(
        "{}.{}",
        quote_identifier(target.schema),
        quote_identifier(&own_name(&target.table.name, ending))
    )
}

/// Makes JSON of any row: of a column that none can be made of (`json` has values that `jsonb` has not, casts of
/// extensions can fail) its text, or nothing. It writes nothing, so catching errors costs no transaction id. It takes a
/// record, as a function that takes the table's own type would keep the table from being dropped.
fn json_function(target: &Target<'_>) -> String {
    let function = function(target, "json");
    let columns = target.table.columns.iter().map(|column| {
        let (key, value) = (literal(column), quote_identifier(column));
        format!(
            "    BEGIN whole := whole || jsonb_build_object({key}, row_given.{value});\n    \
             EXCEPTION WHEN OTHERS THEN\n        \
             BEGIN whole := whole || jsonb_build_object({key}, row_given.{value}::text);\n        \
             EXCEPTION WHEN OTHERS THEN NULL;\n        END;\n    END;\n"
        )
    });
    let body = format!(
        "\nDECLARE\n    whole jsonb := '{{}}';\n\
         BEGIN\n    RETURN to_jsonb(row_given);\n\
         EXCEPTION WHEN OTHERS THEN\n{}    RETURN whole;\nEND\n",
        columns.collect::<String>()
    );
    format!(
        "CREATE OR REPLACE FUNCTION {function}(row_given record) RETURNS jsonb\n\
         LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS {};\n\
         REVOKE ALL ON FUNCTION {function}(record) FROM PUBLIC;",
        dollars(&body)
    )
}

/// Events of rows that came, or went.
fn one(target: &Target<'_>, plan: &Plan, operation: Operation) -> String {
    let gone = operation == Operation::Delete;
    let row = if gone { "old_row" } else { "new_row" };
    let rows = if gone { "old_rows" } else { "new_rows" };
    let definition = &plan.definition;
    let id = literal(&definition.id);
    let columns = if gone {
        format!(
            "jsonb_build_object({id}, r.j -> {id}), {}",
            sent(plan, "r.j")
        )
    } else {
        format!("{}, NULL::jsonb", sent(plan, "r.j"))
    };
    let named = Named::of(target, plan).map(|named| named.one(operation));
    insert(
        target,
        plan,
        named,
        &format!(
            "SELECT {} AS channel, {} AS type, r.j ->> {id},\n               {}, {},\n               {columns}\n          \
             FROM (SELECT {} AS j FROM {rows} AS {row} OFFSET 0) AS r",
            of_row(&Postgres, &definition.channels, "r.j"),
            literal(&format!("{}.{}", definition.kind, operation.ending())),
            giver(definition.actor.as_ref(), "r.j"),
            giver(definition.origin.as_ref(), "r.j"),
            json(target, &format!("{row}.*")),
        ),
    )
}

/// Events of rows that changed. They are paired by their key: where that changed, one row went and another came.
fn update(target: &Target<'_>, plan: &Plan) -> String {
    let definition = &plan.definition;
    let id = literal(&definition.id);
    let both = "coalesce(r.n, r.o)";
    let kind =
        |operation: Operation| literal(&format!("{}.{}", definition.kind, operation.ending()));
    let pairs: Vec<_> = target
        .keys
        .iter()
        .map(|key| {
            let column = quote_identifier(&key.column);
            let equals = key.equals();
            format!("old_row.{column} {equals} new_row.{column}")
        })
        .collect();
    // A change of what is not sent is none; where the row goes is told by more than what is sent.
    let mut told: Vec<_> = definition
        .channels
        .iter()
        .flat_map(crate::source::capture::channels::Template::columns)
        .filter(|column| definition.held.iter().any(|held| held == column))
        .map(|column| {
            let column = literal(column);
            format!(" OR (r.n -> {column}) IS DISTINCT FROM (r.o -> {column})")
        })
        .collect();
    told.sort_unstable();
    told.dedup();
    let differ = if definition.held.is_empty() {
        String::new()
    } else {
        format!(
            "\n         WHERE {} IS DISTINCT FROM {}{}",
            sent(plan, "r.n"),
            sent(plan, "r.o"),
            told.concat()
        )
    };
    insert(
        target,
        plan,
        Named::of(target, plan).map(|named| named.update()),
        &format!(
            "SELECT {} AS channel,\n               \
             CASE WHEN r.o IS NULL THEN {} WHEN r.n IS NULL THEN {} ELSE {} END AS type,\n               \
             {both} ->> {id}, {}, {},\n               \
             CASE WHEN r.n IS NULL THEN jsonb_build_object({id}, r.o -> {id}) ELSE {} END,\n               {}\n          \
             FROM (SELECT {} AS o,\n                       {} AS n\n                  \
             FROM old_rows AS old_row FULL JOIN new_rows AS new_row ON {}\n                 \
             -- Bytes are compared, as some types have no =.\n                 \
             WHERE (old_row.* *<> new_row.*) IS NOT FALSE OFFSET 0) AS r{differ}",
            of_both(&Postgres, &definition.channels, "r.n", "r.o"),
            kind(Operation::Insert),
            kind(Operation::Delete),
            kind(Operation::Update),
            giver(definition.actor.as_ref(), both),
            giver(definition.origin.as_ref(), both),
            sent(plan, "r.n"),
            sent(plan, "r.o"),
            json(target, "old_row.*"),
            json(target, "new_row.*"),
            pairs.join(" AND "),
        ),
    )
}

/// One event that all rows are gone, on the channels that every row was on.
fn truncate(target: &Target<'_>, plan: &Plan) -> String {
    let definition = &plan.definition;
    let fixed = definition.channels.iter().filter(|t| t.is_fixed());
    let fixed: Vec<_> = fixed.cloned().collect();
    let giver = |given: &Option<Giver>| match given {
        Some(Giver::Setting(name)) => setting(name),
        _ => "NULL".to_owned(),
    };
    format!(
        "\nBEGIN\n    INSERT INTO {} (channel, type, actor, origin)\n    VALUES ({}, {}, {}, {});\n    RETURN NULL;\nEND\n",
        target.events,
        of_row(&Postgres, &fixed, ""),
        literal(&format!(
            "{}.{}",
            definition.kind,
            Operation::Truncate.ending()
        )),
        giver(&definition.actor),
        giver(&definition.origin),
    )
}

/// The body of a function around what it selects: by the names of columns where it can be and they are all there, and a
/// condition for that; or what works whatever has become of the table.
fn insert(
    target: &Target<'_>,
    plan: &Plan,
    named: Option<(String, String)>,
    select: &str,
) -> String {
    let known: Vec<_> = plan.definition.columns().cloned().collect();
    let insert = |select: &str| {
        let columns = "channel, type, entity_id, actor, origin, payload, previous";
        let rows = if plan.is_always_somewhere() {
            format!("        {select};")
        } else {
            format!(
                "        SELECT * FROM (\n        {select}\n        OFFSET 0) AS e WHERE e.channel IS NOT NULL;"
            )
        };
        format!(
            "    INSERT INTO {} ({columns})\n{rows}\n    RETURN NULL;\n",
            target.events
        )
    };
    let fast = named.map_or_else(String::new, |(condition, select)| {
        format!(
            "    -- While all columns are there that were: faster.\n    IF {condition} THEN\n{}    END IF;\n",
            insert(&select)
        )
    });
    format!(
        "\nDECLARE\n    -- Columns added later are not sent: nobody was asked whether they are secret.\n    \
         rowcast_known boolean := NOT EXISTS (\n        SELECT FROM pg_attribute WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped\n           \
         AND attname <> ALL ({}::name[]));\n\
         BEGIN\n{fast}{}END\n",
        array(&known),
        insert(select),
    )
}

/// A row as JSON, or NULL where there is none.
pub(super) fn json(target: &Target<'_>, row: &str) -> String {
    let careful = format!("{}({row})", function(target, "json"));
    if target.has_odd_types() {
        return careful;
    }
    format!(
        "CASE WHEN pg_column_size({row}) < {ROW_BYTES_SAFE} THEN to_jsonb({row}) ELSE {careful} END"
    )
}

/// What of a row is sent.
fn sent(plan: &Plan, json: &str) -> String {
    let definition = &plan.definition;
    let most = if definition.held.is_empty() {
        json.to_owned()
    } else {
        format!("{json} - {}", array(&definition.held))
    };
    format!(
        "CASE WHEN rowcast_known OR {json} IS NULL THEN {most} ELSE coalesce((SELECT jsonb_object_agg(f.key, f.value) \
         FROM jsonb_each({json}) AS f WHERE f.key = ANY ({})), '{{}}') END",
        array(&definition.sent)
    )
}

pub(super) fn giver(giver: Option<&Giver>, json: &str) -> String {
    match giver {
        None => "NULL::text".to_owned(),
        Some(Giver::Column(name)) => format!("{json} ->> {}", literal(name)),
        Some(Giver::Setting(name)) => setting(name),
    }
}

pub(super) fn setting(name: &str) -> String {
    format!("nullif(current_setting({}, true), '')", literal(name))
}

/// How PostgreSQL says what a channel is. A row is an expression that gives its JSON.
pub(super) struct Postgres;

impl Dialect for Postgres {
    fn literal(&self, text: &str) -> String {
        literal(text)
    }

    /// In the collation of bytes: others may not know regular expressions.
    fn text_of(&self, row: &str, column: &str) -> String {
        format!("({row} ->> {})", literal(column))
    }

    fn is_part(&self, text: &str) -> String {
        format!(r#"{text} COLLATE "C" ~ '^[A-Za-z0-9_.@/-]+$'"#)
    }

    fn bytes(&self, text: &str) -> String {
        format!("octet_length({text})")
    }

    fn differ(&self, a: &str, b: &str) -> String {
        format!("{a} IS DISTINCT FROM {b}")
    }

    fn join(&self, names: &[String]) -> String {
        match names {
            [] => "NULL::text".to_owned(),
            [name] => name.clone(),
            _ => format!("nullif(concat_ws(' ', {}), '')", names.join(", ")),
        }
    }

    fn join_distinct(&self, names: &[String], bytes_max: usize) -> String {
        format!(
            "(SELECT string_agg(w.name, ' ' ORDER BY w.n) FROM (SELECT d.name, d.n, \
             sum(octet_length(d.name) + 1) OVER (ORDER BY d.n) AS bytes FROM (SELECT u.name, min(u.n) AS n \
             FROM unnest(ARRAY[{}]) WITH ORDINALITY AS u (name, n) WHERE u.name IS NOT NULL GROUP BY u.name) AS d) AS w \
             WHERE w.bytes <= {})",
            names.join(", "),
            bytes_max + 1
        )
    }
}

/// A text, whatever is in it, and whatever `standard_conforming_strings` is.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

pub(super) fn array(texts: &[String]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| literal(text)).collect();
    format!("ARRAY[{}]::text[]", texts.join(", "))
}

/// A body between dollars that do not occur in it.
fn dollars(body: &str) -> String {
    let mut tag = "$rowcast$".to_owned();
    let mut number = 0;
    while body.contains(tag.trim_end_matches('$')) {
        number += 1;
        tag = format!("$rowcast{number}$");
    }
    format!("{tag}{body}{tag}")
}
