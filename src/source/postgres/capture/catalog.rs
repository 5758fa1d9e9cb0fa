//! What the catalog says of the table that is to be captured, and of the table of events.

use sqlx::postgres::PgConnection;

use super::DOING;
use crate::error::Error;
use crate::source::DatabaseConfig;
use crate::source::capture::{Name, quote_identifier, similar};

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
pub(super) struct Relation {
    pub oid: i64,
    pub schema: String,
    pub name: String,
    pub kind: String,
    pub persistence: String,
    pub is_partition: bool,
}

impl Relation {
    pub fn quoted(&self) -> String {
        let name = Name {
            schema: Some(self.schema.clone()),
            name: self.name.clone(),
        };
        name.quoted()
    }
}

/// The table of events.
pub(super) async fn events(
    connection: &mut PgConnection,
    config: &DatabaseConfig,
) -> Result<Relation, Error> {
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
pub(super) async fn find(
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

/// A column.
pub(super) struct Column {
    pub name: String,
    /// The oid of its type.
    pub kind: i64,
    /// Whether a value may fail to become jsonb: of types that are not built in, have parts, or are `json`.
    pub is_odd: bool,
}

/// The columns, in their order.
pub(super) async fn columns(
    connection: &mut PgConnection,
    relation: &Relation,
) -> Result<Vec<Column>, Error> {
    sqlx::query_as!(
        Column,
        r#"SELECT a.attname::text AS "name!", a.atttypid::bigint AS "kind!",
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
    .map_err(Error::database(DOING))
}

pub(super) async fn primary_key(
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
pub(super) async fn keys(
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
