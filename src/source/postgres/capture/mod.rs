//! Capture in PostgreSQL: what the catalog says of a table, and who installs and removes its triggers. Their statements live
//! in `script`.

mod script;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use self::script::Target;
use super::connect::{connect, connect_options};
use crate::error::Error;
use crate::source::DatabaseConfig;
use crate::source::capture::plan::{Plan, Table};
use crate::source::capture::{
    Attached, DEFINITION_MARK, Definition, Name, Operation, Script, Wanted, comment_line,
    not_attached, quote_identifier, similar,
};

const DOING: &str = "look at the table";

/// How long the triggers wait for a lock on the table: whoever writes to it waits behind them.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '5s'";

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

/// A column of the key that pairs rows.
pub(super) struct Key {
    pub column: String,
    schema: String,
    operator: String,
}

impl Key {
    /// The operator of the key's index: functions do not see those of extensions by their names alone.
    pub fn equals(&self) -> String {
        if self.schema == "pg_catalog" {
            return self.operator.clone();
        }
        format!(
            "OPERATOR({}.{})",
            quote_identifier(&self.schema),
            self.operator
        )
    }
}

/// A relation of the catalog.
struct Relation {
    oid: i64,
    schema: String,
    name: String,
    kind: String,
    persistence: String,
    is_partition: bool,
}

impl Relation {
    fn quoted(&self) -> String {
        let name = Name {
            schema: Some(self.schema.clone()),
            name: self.name.clone(),
        };
        name.quoted()
    }
}

/// See [`crate::source::capture::attach`].
pub(in crate::source) async fn attach(
    config: &DatabaseConfig,
    wanted: &Wanted,
    apply: bool,
) -> Result<Script, Error> {
    let mut connection = open(config).await?;
    let events = events(&mut connection, config).await?;
    let relation = find(&mut connection, &wanted.table, &events).await?;
    let (columns, has_odd_types) = columns(&mut connection, &relation).await?;
    let keys = keys(&mut connection, &relation, wanted.id.as_deref()).await?;
    let table = Table {
        quoted: relation.quoted(),
        name: relation.name.clone(),
        columns,
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
        has_odd_types,
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
        sql += &format!(
            "DROP TRIGGER IF EXISTS {} ON {quoted};\nDROP FUNCTION IF EXISTS {}.{}();\n",
            quote_identifier(&trigger.name),
            quote_identifier(&trigger.function_schema),
            quote_identifier(&trigger.function),
        );
    }
    // The function beside them has their name with another ending.
    let mut beside: Vec<_> = own
        .iter()
        .filter_map(|trigger| {
            let (stem, _) = trigger.function.rsplit_once('_')?;
            Some(format!(
                "DROP FUNCTION IF EXISTS {}.{}(anyelement);\n",
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

/// The table of events.
async fn events(connection: &mut PgConnection, config: &DatabaseConfig) -> Result<Relation, Error> {
    let found = sqlx::query!(
        r#"SELECT c.oid::bigint AS "oid!", n.nspname::text AS "schema!", c.relkind::text AS "kind!",
                  has_table_privilege(c.oid, 'INSERT')
                      OR (SELECT bool_and(has_column_privilege(c.oid, a.name, 'INSERT'))
                            FROM unnest($2::text[]) AS a (name)
                            JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = a.name) AS "may!",
                  ARRAY(SELECT a.name FROM unnest($2::text[]) AS a (name)
                         WHERE NOT EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attname = a.name))
                      AS "missing!: Vec<String>"
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relname = 'events' AND c.relkind IN ('r', 'p', 'v')
              AND CASE WHEN $1::text IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = $1 END"#,
        config.schema,
        &EVENT_COLUMNS.map(str::to_owned),
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(Error::database(DOING))?;
    let place = match &config.schema {
        Some(schema) => format!(" in the schema {schema}"),
        None => String::new(),
    };
    let Some(found) = found else {
        return Err(Error::Unusable(format!(
            "there is no table events{place}, into which the triggers write; `rowcast migrate` creates it, and --schema says where it is"
        )));
    };
    if !found.missing.is_empty() {
        return Err(Error::Unusable(format!(
            "the table events{place} lacks columns: {}; it is another's table: `rowcast migrate --schema rowcast` puts rowcast's own \
             elsewhere",
            found.missing.join(", ")
        )));
    }
    if !found.may {
        return Err(Error::Unusable(format!(
            "its role may not insert into events{place}, and the triggers write with its rights; GRANT INSERT ON {}.events to it, or \
             attach as the owner",
            quote_identifier(&found.schema)
        )));
    }
    Ok(Relation {
        oid: found.oid,
        schema: found.schema,
        name: "events".into(),
        kind: found.kind,
        persistence: "p".into(),
        is_partition: false,
    })
}

/// The table that is meant.
async fn find(
    connection: &mut PgConnection,
    text: &str,
    events: &Relation,
) -> Result<Relation, Error> {
    for reading in Name::readings(text) {
        let found = sqlx::query_as!(
            Relation,
            r#"SELECT c.oid::bigint AS "oid!", n.nspname::text AS "schema!", c.relname::text AS "name!",
                      c.relkind::text AS "kind!", c.relpersistence::text AS "persistence!",
                      c.relispartition AS "is_partition!"
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
                  AND CASE WHEN $2::text IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = $2 END"#,
            reading.name,
            reading.schema,
        )
        .fetch_optional(&mut *connection)
        .await
        .map_err(Error::database(DOING))?;
        if let Some(relation) = found {
            return fit(relation, events);
        }
    }
    let names = sqlx::query_scalar!(
        r#"SELECT (CASE WHEN pg_table_is_visible(c.oid) THEN '' ELSE n.nspname || '.' END || c.relname) AS "name!"
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
              AND c.relname !~ '^_?rowcast_' AND c.oid <> $1::bigint::oid ORDER BY 1"#,
        events.oid
    )
    .fetch_all(connection)
    .await
    .map_err(Error::database(DOING))?;
    let near = similar(text, names.iter().map(String::as_str));
    Err(Error::Unusable(if near.is_empty() {
        format!("there is no table {text}; a table of another schema is named with it: shop.tasks")
    } else {
        format!(
            "there is no table {text}; did you mean {}?",
            near.join(" or ")
        )
    }))
}

/// Whether it is a table that can be captured.
fn fit(relation: Relation, events: &Relation) -> Result<Relation, Error> {
    let quoted = relation.quoted();
    let refuse = |why: &str| Err(Error::Unusable(format!("{quoted} {why}")));
    if relation.oid == events.oid {
        return refuse(
            "is the table of events itself; attach to the tables that your programs write to",
        );
    }
    if relation.schema == events.schema && relation.name.starts_with("rowcast_") {
        return refuse(
            "is a table of rowcast's own; attach to the tables that your programs write to",
        );
    }
    if relation.schema.starts_with("pg_") && relation.persistence != "t"
        || relation.schema == "information_schema"
    {
        return refuse("is a system table, which cannot have triggers");
    }
    if relation.persistence == "t" {
        return refuse("is a temporary table, which ends with its session");
    }
    match relation.kind.as_str() {
        "v" | "m" => refuse("is a view; attach to the tables it is made of"),
        "f" => refuse(
            "is a foreign table, which cannot tell its triggers what rows there were; attach where it lives",
        ),
        _ => Ok(relation),
    }
}

/// The columns, and whether there are some of types of which a value may fail to become jsonb: those that are not built
/// in, have parts, or are `json`.
async fn columns(
    connection: &mut PgConnection,
    relation: &Relation,
) -> Result<(Vec<String>, bool), Error> {
    let rows = sqlx::query!(
        r#"SELECT a.attname::text AS "name!",
                  NOT (b.typtype = 'e'
                       OR b.typtype IN ('b', 'r', 'm') AND b.typnamespace = 'pg_catalog'::regnamespace
                          AND b.typname NOT IN ('json', '_json')) AS "is_odd!"
             FROM pg_attribute a
             JOIN pg_type t ON t.oid = a.atttypid
             JOIN pg_type d ON d.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
             JOIN pg_type b ON b.oid = CASE WHEN d.typcategory = 'A' AND d.typelem <> 0 THEN d.typelem ELSE d.oid END
            WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"#,
        relation.oid
    )
    .fetch_all(connection)
    .await
    .map_err(Error::database(DOING))?;
    let is_odd = rows.iter().any(|row| row.is_odd);
    Ok((rows.into_iter().map(|row| row.name).collect(), is_odd))
}

async fn primary_key(
    connection: &mut PgConnection,
    relation: &Relation,
) -> Result<Vec<String>, Error> {
    sqlx::query_scalar!(
        r#"SELECT a.attname::text AS "name!" FROM pg_index i
             CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, n)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
            WHERE i.indrelid = $1::bigint::oid AND i.indisprimary AND k.n <= i.indnkeyatts ORDER BY k.n"#,
        relation.oid
    )
    .fetch_all(connection)
    .await
    .map_err(Error::database(DOING))
}

/// What pairs an old row with its new one: the primary key, or else another that no two rows share. One that is the id
/// alone goes first.
async fn keys(
    connection: &mut PgConnection,
    relation: &Relation,
    id: Option<&str>,
) -> Result<Vec<Key>, Error> {
    sqlx::query_as!(
        Key,
        r#"SELECT a.attname::text AS "column!", o.nspname::text AS "schema!", o.oprname::text AS "operator!"
             FROM (SELECT i.* FROM pg_index i
                    WHERE i.indrelid = $1::bigint::oid AND i.indisunique AND i.indisvalid AND i.indimmediate
                      AND i.indpred IS NULL AND i.indexprs IS NULL
                      AND NOT EXISTS (SELECT FROM unnest(i.indkey) AS k (attnum)
                                        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                                       WHERE NOT a.attnotnull)
                    ORDER BY i.indnkeyatts = 1 AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid
                                                            AND a.attnum = i.indkey[0] AND a.attname = $2) DESC,
                             i.indisprimary DESC, i.indnkeyatts, i.indexrelid
                    LIMIT 1) i
            CROSS JOIN LATERAL unnest(i.indkey, i.indclass) WITH ORDINALITY AS k (attnum, class, n)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             JOIN pg_opclass c ON c.oid = k.class
            CROSS JOIN LATERAL (
                  SELECT p.oprname, s.nspname FROM pg_amop m JOIN pg_operator p ON p.oid = m.amopopr
                    JOIN pg_namespace s ON s.oid = p.oprnamespace
                   WHERE m.amopfamily = c.opcfamily AND m.amopstrategy = 3
                     AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype) o
            WHERE k.n <= i.indnkeyatts ORDER BY k.n"#,
        relation.oid,
        id,
    )
    .fetch_all(connection)
    .await
    .map_err(Error::database(DOING))
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
        let (columns, _) = columns(connection, &first.table).await?;
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
