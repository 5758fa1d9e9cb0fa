//! Capture in PostgreSQL: who installs and removes triggers, and which there are. Their statements live in `script`, what is
//! found out of a table in `catalog`.

mod catalog;
mod named;
mod script;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use self::catalog::{Relation, columns, events, find, keys, primary_key};
use self::script::Target;
use super::connect::{connect, connect_options};
use crate::error::Error;
use crate::source::DatabaseConfig;
use crate::source::capture::plan::{Plan, Table};
use crate::source::capture::{
    Attached, DEFINITION_MARK, Definition, Name, Operation, Script, Wanted, comment_line,
    not_attached, quote_identifier,
};

const DOING: &str = "look at the table";

/// How long the triggers wait for a lock on the table: whoever writes to it waits behind them.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '5s'";

/// See [`crate::source::capture::attach`].
pub(in crate::source) async fn attach(
    config: &DatabaseConfig,
    wanted: &Wanted,
    apply: bool,
) -> Result<Script, Error> {
    let mut connection = open(config).await?;
    let events = events(&mut connection, config).await?;
    let relation = find(&mut connection, &wanted.table, &events).await?;
    let columns = columns(&mut connection, &relation).await?;
    let keys = keys(&mut connection, &relation, wanted.id.as_deref()).await?;
    let table = Table {
        quoted: relation.quoted(),
        name: relation.name.clone(),
        columns: columns.iter().map(|column| column.name.clone()).collect(),
        primary_key: primary_key(&mut connection, &relation).await?,
    };
    let mut plan = Plan::new(wanted, &table)?;
    if !plan.is_always_somewhere() && plan.is_on(Operation::Truncate) {
        if !wanted.on.is_empty() {
            return Err(Error::Config(
                "--on truncate needs a channel without columns: nobody knows then which rows there were".into(),
            ));
        }
        plan.leave_out(Operation::Truncate);
    }
    if plan.is_on(Operation::Update) && keys.is_empty() {
        return Err(Error::Unusable(format!(
            "{} has no primary key, and no unique index on columns that are NOT NULL: old rows cannot be paired with new ones; \
             add one, or leave updates out with --on insert,delete",
            table.quoted
        )));
    }
    if relation.kind == "p" {
        plan.notes.push(
            "rows that are written to a partition by its own name yield no events; those written to the table do".into(),
        );
    }
    if relation.is_partition {
        plan.warnings.push(
            "this is a partition: rows that are written to its parent yield no events; attach to the parent".into(),
        );
    }
    let events = events.quoted();
    let target = Target {
        table: &table,
        schema: &relation.schema,
        events: &events,
        keys: &keys,
        columns: &columns,
    };
    let sql = script::attach(&target, &plan, &plan.record()?);
    if apply {
        run(&mut connection, &sql, &table.quoted).await?;
    }
    Ok(plan.into_script(&table, sql))
}

/// See [`crate::source::capture::detach`].
pub(in crate::source) async fn detach(
    config: &DatabaseConfig,
    table: &str,
    apply: bool,
) -> Result<Script, Error> {
    let mut connection = open(config).await?;
    let triggers = triggers(&mut connection).await?;
    let readings = Name::readings(table);
    let mut found = None;
    for reading in &readings {
        let mut fitting: Vec<_> = triggers
            .iter()
            .filter(|trigger| {
                trigger.table.name == reading.name
                    && reading
                        .schema
                        .as_ref()
                        .is_none_or(|s| *s == trigger.table.schema)
            })
            .collect();
        // Without a schema the one that the connection sees comes first.
        let seen = fitting.iter().any(|trigger| trigger.is_visible);
        if reading.schema.is_none() && seen {
            fitting.retain(|trigger| trigger.is_visible);
        }
        fitting.dedup_by_key(|trigger| trigger.table.oid);
        match &fitting[..] {
            [] => {}
            [one] => {
                found = Some(&one.table);
                break;
            }
            several => {
                return Err(Error::Unusable(format!(
                    "several tables of the name {table} are attached; say which: {}",
                    several
                        .iter()
                        .map(|trigger| trigger.table.quoted())
                        .collect::<Vec<_>>()
                        .join(", ")
                )));
            }
        }
    }
    let Some(relation) = found else {
        return Err(not_attached(
            table,
            &attached(&mut connection, triggers).await?,
        ));
    };
    let quoted = relation.quoted();
    let mut sql = format!(
        "-- Removes the triggers of rowcast that write the events of {}.\n",
        comment_line(&quoted)
    );
    let own: Vec<_> = triggers
        .iter()
        .filter(|trigger| trigger.table.oid == relation.oid)
        .collect();
    for trigger in &own {
        let drop = format!(
            "DROP TRIGGER IF EXISTS {} ON {quoted};\nDROP FUNCTION IF EXISTS {}.{}();\n",
            quote_identifier(&trigger.name),
            quote_identifier(&trigger.function_schema),
            quote_identifier(&trigger.function),
        );
        sql.push_str(&drop);
    }
    // The function beside them has their name with another ending.
    let mut beside: Vec<_> = own
        .iter()
        .filter_map(|trigger| {
            let (stem, _) = trigger.function.rsplit_once('_')?;
            Some(format!(
                "DROP FUNCTION IF EXISTS {}.{}(record);\n",
                quote_identifier(&trigger.function_schema),
                quote_identifier(&format!("{stem}_json"))
            ))
        })
        .collect();
    beside.sort_unstable();
    beside.dedup();
    sql += &beside.concat();
    if apply {
        run(&mut connection, &sql, &quoted).await?;
    }
    Ok(Script {
        table: quoted,
        sql,
        notes: Vec::new(),
        warnings: Vec::new(),
        try_channel: None,
    })
}

/// See [`crate::source::capture::list`].
pub(in crate::source) async fn list(config: &DatabaseConfig) -> Result<Vec<Attached>, Error> {
    let mut connection = open(config).await?;
    let triggers = triggers(&mut connection).await?;
    attached(&mut connection, triggers).await
}

/// Without the schema of the events before all others: the user's tables are where his programs see them.
async fn open(config: &DatabaseConfig) -> Result<PgConnection, Error> {
    let config = DatabaseConfig {
        schema: None,
        ..config.clone()
    };
    connect(&connect_options(&config)?, &config).await
}

/// A trigger of ours, and the table it is on.
struct Trigger {
    name: String,
    table: Relation,
    is_visible: bool,
    is_enabled: bool,
    function_schema: String,
    function: String,
    comment: String,
}

async fn triggers(connection: &mut PgConnection) -> Result<Vec<Trigger>, Error> {
    let rows = sqlx::query!(
        r#"SELECT t.tgname::text AS "name!", c.oid::bigint AS "oid!", n.nspname::text AS "schema!",
                  c.relname::text AS "table!", pg_table_is_visible(c.oid) AS "is_visible!",
                  t.tgenabled NOT IN ('D', 'R') AS "is_enabled!",
                  s.nspname::text AS "function_schema!", p.proname::text AS "function!", d.description AS "comment!"
             FROM pg_trigger t
             JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace s ON s.oid = p.pronamespace
             JOIN pg_description d ON d.objoid = t.oid AND d.classoid = 'pg_trigger'::regclass AND d.objsubid = 0
            WHERE starts_with(d.description, $1) ORDER BY n.nspname, c.relname, t.tgname"#,
        DEFINITION_MARK
    )
    .fetch_all(connection)
    .await
    .map_err(Error::database("look for triggers"))?;
    Ok(rows
        .into_iter()
        .map(|row| Trigger {
            name: row.name,
            table: Relation {
                oid: row.oid,
                schema: row.schema,
                name: row.table,
                kind: "r".into(),
                persistence: "p".into(),
                is_partition: false,
            },
            is_visible: row.is_visible,
            is_enabled: row.is_enabled,
            function_schema: row.function_schema,
            function: row.function,
            comment: row.comment,
        })
        .collect())
}

/// What the triggers say of themselves, table by table.
async fn attached(
    connection: &mut PgConnection,
    triggers: Vec<Trigger>,
) -> Result<Vec<Attached>, Error> {
    let mut all = Vec::new();
    for of_table in triggers.chunk_by(|a, b| a.table.oid == b.table.oid) {
        let Some((definition, first)) = of_table
            .iter()
            .find_map(|trigger| Some((Definition::find(&trigger.comment)?, trigger)))
        else {
            continue;
        };
        let mut changes = Vec::new();
        let list = |names: Vec<&str>| names.join(", ");
        let ends_with = |trigger: &Trigger, operation: &Operation| {
            trigger.name.ends_with(&format!("_{operation}"))
        };
        let missing: Vec<_> = definition
            .on
            .iter()
            .filter(|operation| !of_table.iter().any(|trigger| ends_with(trigger, operation)))
            .map(|operation| operation.word())
            .collect();
        if !missing.is_empty() {
            changes.push(format!("triggers removed since: {}", list(missing)));
        }
        let disabled: Vec<_> = of_table
            .iter()
            .filter(|trigger| !trigger.is_enabled)
            .map(|trigger| trigger.name.as_str())
            .collect();
        if !disabled.is_empty() {
            changes.push(format!("triggers disabled: {}", list(disabled)));
        }
        let columns = columns(connection, &first.table).await?;
        let columns: Vec<_> = columns.into_iter().map(|column| column.name).collect();
        all.push(Attached::compare(
            first.table.quoted(),
            definition,
            &columns,
            changes,
        ));
    }
    Ok(all)
}

/// Runs all of it, or none.
async fn run(connection: &mut PgConnection, sql: &str, table: &str) -> Result<(), Error> {
    let doing = "install or remove the triggers";
    let explain = |error: sqlx::Error| {
        let code = match &error {
            sqlx::Error::Database(error) => error.code().map(std::borrow::Cow::into_owned),
            _ => None,
        };
        match code.as_deref() {
            Some("42501") => Error::Unusable(format!(
                "its role may not install or remove triggers on {table} ({error}); do it as the owner of the table, or give the \
                 statements, which are printed without --apply, to whoever is"
            )),
            Some("55P03") => Error::Unusable(format!(
                "{table} is locked by another transaction; nothing was changed, try again when it has ended"
            )),
            _ => Error::Database {
                doing,
                source: error,
            },
        }
    };
    let mut transaction = connection.begin().await.map_err(explain)?;
    transaction.execute(LOCK_TIMEOUT).await.map_err(explain)?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut *transaction)
        .await
        .map_err(explain)?;
    transaction.commit().await.map_err(explain)?;
    Ok(())
}
