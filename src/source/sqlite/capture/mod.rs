//! Capture in SQLite: what the file says of a table, and who installs and removes its triggers. Their statements live in
//! `script`.

mod script;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::{connect_options, explain};
use crate::error::Error;
use crate::source::capture::plan::{Plan, Table};
use crate::source::capture::{
    Attached, DEFINITION_MARK, Definition, Giver, Name, Operation, Script, Wanted, comment_line,
    not_attached, quote_identifier, similar,
};
use crate::source::{DatabaseConfig, Migrate};

const DOING: &str = "look at the table";

/// What the triggers write.
const EVENT_COLUMNS: [&str; 7] = [
    "channel",
    "type",
    "entity_id",
    "actor",
    "origin",
    "payload",
    "previous",
];

/// A column of a table.
#[derive(sqlx::FromRow)]
pub(super) struct Column {
    pub name: String,
    declared: String,
    /// Its place in the primary key, or 0.
    key: i64,
    /// 2 or 3 for generated columns.
    hidden: i64,
    /// Whether it is another name of the row's number, and always an integer.
    #[sqlx(skip)]
    pub is_row_number: bool,
}

impl Column {
    /// Whether it is declared to have JSON.
    pub fn is_json(&self) -> bool {
        self.declared.to_ascii_uppercase().contains("JSON")
    }

    /// Whether it is computed of others.
    pub fn is_generated(&self) -> bool {
        self.hidden > 1
    }
}

/// See [`crate::source::capture::attach`].
pub(in crate::source) async fn attach(
    config: &DatabaseConfig,
    wanted: &Wanted,
    apply: bool,
) -> Result<Script, Error> {
    let (options, mut connection) = open(config, apply).await?;
    let events = columns(&mut connection, "events").await?;
    if events.is_empty() {
        return Err(Error::Unusable(
            "there is no table events, into which the triggers write; `rowcast migrate` creates it, if this is the file that was meant"
                .into(),
        ));
    }
    let missing: Vec<_> = EVENT_COLUMNS
        .into_iter()
        .filter(|name| !events.iter().any(|column| column.name == *name))
        .collect();
    if !missing.is_empty() {
        return Err(Error::Unusable(format!(
            "the table events lacks columns: {}; it is another's table",
            missing.join(", ")
        )));
    }
    for (flag, giver) in [("--actor", &wanted.actor), ("--origin", &wanted.origin)] {
        if let Some(Giver::Setting(_)) = giver {
            return Err(Error::Config(format!(
                "{flag} names a setting, which Postgres has and SQLite has not; name a column: {flag} '{{updated_by}}'"
            )));
        }
    }
    if wanted.on == [Operation::Truncate] {
        return Err(Error::Config(
            "--on truncate is for Postgres; SQLite has no TRUNCATE, and a DELETE of all rows yields an event for each".into(),
        ));
    }
    let name = find(&mut connection, &wanted.table).await?;
    let columns = columns(&mut connection, &name).await?;
    let mut primary_key: Vec<_> = columns.iter().filter(|column| column.key > 0).collect();
    primary_key.sort_by_key(|column| column.key);
    let table = Table {
        quoted: quote_identifier(&name),
        columns: columns.iter().map(|column| column.name.clone()).collect(),
        primary_key: primary_key
            .iter()
            .map(|column| column.name.clone())
            .collect(),
        name,
    };
    let mut plan = Plan::new(wanted, &table)?;
    plan.leave_out(Operation::Truncate);
    if plan.is_on(Operation::Delete) {
        plan.notes.push(
            "a row that INSERT OR REPLACE replaces yields its deletion only on connections with PRAGMA recursive_triggers = ON; \
             INSERT … ON CONFLICT DO UPDATE yields an update"
                .into(),
        );
    }
    let sql = script::attach(&table, &columns, &plan, &plan.record()?);
    if apply {
        run(&options, &mut connection, &sql).await?;
    }
    Ok(plan.into_script(&table, sql))
}

/// See [`crate::source::capture::detach`].
pub(in crate::source) async fn detach(
    config: &DatabaseConfig,
    table: &str,
    apply: bool,
) -> Result<Script, Error> {
    let (options, mut connection) = open(config, apply).await?;
    let triggers = triggers(&mut connection).await?;
    let reading = readings(table).into_iter().find(|reading| {
        triggers
            .iter()
            .any(|trigger| trigger.table.eq_ignore_ascii_case(reading))
    });
    let Some(name) = reading else {
        return Err(not_attached(
            table,
            &attached(&mut connection, &triggers).await?,
        ));
    };
    let quoted = quote_identifier(&name);
    let mut sql = format!(
        "-- Removes the triggers of rowcast that write the events of {}.\n",
        comment_line(&quoted)
    );
    let own = triggers
        .iter()
        .filter(|trigger| trigger.table.eq_ignore_ascii_case(&name));
    for trigger in own {
        let drop = format!(
            "DROP TRIGGER IF EXISTS {};\n",
            quote_identifier(&trigger.name)
        );
        sql.push_str(&drop);
    }
    if apply {
        run(&options, &mut connection, &sql).await?;
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
    let (_, mut connection) = open(config, false).await?;
    let triggers = triggers(&mut connection).await?;
    attached(&mut connection, &triggers).await
}

async fn open(
    config: &DatabaseConfig,
    writes: bool,
) -> Result<(SqliteConnectOptions, SqliteConnection), Error> {
    let options = connect_options(config, Migrate::Check)?.read_only(!writes);
    let opened = options.connect().await;
    let connection = opened.map_err(|error| explain(&options, "open the database", error))?;
    Ok((options, connection))
}

/// The names that a text may mean. The file has one schema.
fn readings(text: &str) -> Vec<String> {
    let readings = Name::readings(text).into_iter();
    let here = |name: &Name| {
        name.schema
            .as_ref()
            .is_none_or(|schema| schema.eq_ignore_ascii_case("main"))
    };
    readings.filter(here).map(|name| name.name).collect()
}

/// The name of the table that is meant, as it was declared.
async fn find(connection: &mut SqliteConnection, text: &str) -> Result<String, Error> {
    for reading in readings(text) {
        let found: Option<(String, String, Option<String>)> = sqlx::query_as(
            "SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE",
        )
        .bind(&reading)
        .fetch_optional(&mut *connection)
        .await
        .map_err(Error::database(DOING))?;
        if let Some((kind, name, sql)) = found {
            fit(&kind, &name, sql.as_deref().unwrap_or_default())?;
            return Ok(name);
        }
        if reading.to_ascii_lowercase().starts_with("sqlite_") {
            fit("table", &reading, "")?;
        }
    }
    let names: Vec<String> = sqlx::query_scalar(
        r"SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'events' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
             AND name NOT LIKE 'rowcast\_%' ESCAPE '\' AND name NOT LIKE '\_rowcast\_%' ESCAPE '\' ORDER BY name",
    )
    .fetch_all(connection)
    .await
    .map_err(Error::database(DOING))?;
    let near = similar(text, names.iter().map(String::as_str));
    Err(Error::Unusable(if near.is_empty() {
        format!("there is no table {text}; is this the file that was meant?")
    } else {
        format!(
            "there is no table {text}; did you mean {}?",
            near.join(" or ")
        )
    }))
}

/// Whether it is a table that can be captured.
fn fit(kind: &str, name: &str, sql: &str) -> Result<(), Error> {
    let lower = name.to_ascii_lowercase();
    let why = if lower == "events" {
        "is the table of events itself; attach to the tables that your programs write to"
    } else if lower.starts_with("rowcast_") || lower.starts_with("_rowcast_") {
        "is a table of rowcast's own; attach to the tables that your programs write to"
    } else if lower.starts_with("sqlite_") {
        "is a system table, which cannot have triggers"
    } else if kind == "view" {
        "is a view; attach to the tables it is made of"
    } else if sql
        .trim_start()
        .to_ascii_uppercase()
        .starts_with("CREATE VIRTUAL")
    {
        "is a virtual table, which cannot have triggers"
    } else {
        return Ok(());
    };
    Err(Error::Unusable(format!("{} {why}", quote_identifier(name))))
}

/// The columns of a table, in their order; none where there is no such table.
async fn columns(connection: &mut SqliteConnection, table: &str) -> Result<Vec<Column>, Error> {
    // Those that are hidden are of virtual tables; 2 and 3 are generated ones.
    let mut columns: Vec<Column> = sqlx::query_as(
        "SELECT name, type AS declared, pk AS \"key\", hidden FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid",
    )
    .bind(table)
    .fetch_all(connection)
    .await
    .map_err(Error::database(DOING))?;
    let is_alone = columns.iter().filter(|column| column.key > 0).count() == 1;
    for column in &mut columns {
        // Where it is none after all (WITHOUT ROWID), it is declared to be an integer all the same.
        column.is_row_number =
            is_alone && column.key > 0 && column.declared.eq_ignore_ascii_case("INTEGER");
    }
    Ok(columns)
}

/// A trigger of ours.
#[derive(sqlx::FromRow)]
struct Trigger {
    name: String,
    table: String,
    sql: String,
}

async fn triggers(connection: &mut SqliteConnection) -> Result<Vec<Trigger>, Error> {
    sqlx::query_as(
        "SELECT name, tbl_name AS \"table\", sql FROM sqlite_master WHERE type = 'trigger' AND instr(sql, '/* ' || ?) > 0
         ORDER BY tbl_name, name",
    )
    .bind(DEFINITION_MARK)
    .fetch_all(connection)
    .await
    .map_err(Error::database("look for triggers"))
}

/// What the triggers say of themselves, table by table.
async fn attached(
    connection: &mut SqliteConnection,
    triggers: &[Trigger],
) -> Result<Vec<Attached>, Error> {
    let mut all = Vec::new();
    for of_table in triggers.chunk_by(|a, b| a.table == b.table) {
        let Some(definition) = of_table
            .iter()
            .find_map(|trigger| Definition::find(&trigger.sql))
        else {
            continue;
        };
        let table = &of_table[0].table;
        let names: Vec<_> = columns(connection, table)
            .await?
            .into_iter()
            .map(|column| column.name)
            .collect();
        let missing: Vec<_> = definition
            .on
            .iter()
            .map(|operation| operation.word())
            .filter(|word| {
                !of_table
                    .iter()
                    .any(|trigger| trigger.name.ends_with(&format!("_{word}")))
            })
            .collect();
        let mut changes = Vec::new();
        if !missing.is_empty() {
            changes.push(format!("triggers removed since: {}", missing.join(", ")));
        }
        all.push(Attached::compare(
            quote_identifier(table),
            definition,
            &names,
            changes,
        ));
    }
    Ok(all)
}

/// Runs all of it, or none.
async fn run(
    options: &SqliteConnectOptions,
    connection: &mut SqliteConnection,
    sql: &str,
) -> Result<(), Error> {
    let explain = |error| explain(options, "install or remove the triggers", error);
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(explain)?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut *transaction)
        .await
        .map_err(explain)?;
    transaction.commit().await.map_err(explain)
}
