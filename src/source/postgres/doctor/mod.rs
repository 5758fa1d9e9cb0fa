//! What can be wrong with a Postgres database: its server, tables, privileges, triggers. What a restore leaves behind
//! lives in `restored`.

mod restored;

use sqlx::Executor as _;
use sqlx::postgres::PgConnection;

use super::connect::{connect, connect_options, migrator};
use super::life::primary;
use crate::error::Error;
use crate::source::doctor::{Finding, Progress, Wanted, count, missing};
use crate::source::{DatabaseConfig, Migrate, set_up_tables};

pub(super) use restored::refuse_rows_from_the_future;

/// The columns that are read.
const COLUMNS: [&str; 11] = [
    "id",
    "channel",
    "type",
    "entity_id",
    "actor",
    "payload",
    "previous",
    "trace_id",
    "origin",
    "created_at",
    "xid",
];

/// The tables and sequences beside `events`.
const RELATIONS: [&str; 4] = [
    "rowcast_commands",
    "rowcast_epochs",
    "rowcast_lease",
    "rowcast_retention",
];

const DOING: &str = "look at the database";

/// Looks at the database. See [`crate::source::doctor::examine`].
pub(in crate::source) async fn examine(
    config: &DatabaseConfig,
    wanted: Wanted,
    progress: Progress<'_>,
) -> Result<Vec<Finding>, Error> {
    let mut connection = connect(&connect_options(config)?, config).await?;
    let Wanted { repair, new_epoch } = wanted;
    if !repair && !new_epoch {
        connection
            .execute("SET default_transaction_read_only = on")
            .await
            .map_err(Error::database(DOING))?;
    }
    let mut examination = Examination {
        connection,
        repair,
        findings: Vec::new(),
    };
    if examination.server().await? && examination.tables(config).await? {
        examination.access().await?;
        examination.rows_from_the_future(progress).await?;
        examination.epochs().await?;
        examination.pruned().await?;
        examination.sequence().await?;
        examination.indexes().await?;
        examination.waking().await?;
        examination.writers().await?;
        examination.replica().await?;
        examination.clock().await?;
        if new_epoch {
            examination.forget_epochs().await?;
        }
    }
    Ok(examination.findings)
}

struct Examination {
    connection: PgConnection,
    repair: bool,
    findings: Vec<Finding>,
}

impl Examination {
    fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Gives whether it is one that a feed can be read from.
    async fn server(&mut self) -> Result<bool, Error> {
        let row = sqlx::query!(
            r#"SELECT current_setting('server_version') AS "version!", pg_is_in_recovery() AS "standby!""#
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(Error::database(DOING))?;
        let version = row.version;
        if let Err(Error::Unusable(text)) = primary(row.standby, Some(String::new())) {
            self.found(Finding::problem(
                format!("PostgreSQL {version}: {text}"),
                "a standby that was promoted is a primary; this one is not",
            ));
            return Ok(false);
        }
        self.found(Finding::fine(format!("PostgreSQL {version}, a primary")));
        Ok(true)
    }

    /// Gives whether there is something to look at.
    async fn tables(&mut self, config: &DatabaseConfig) -> Result<bool, Error> {
        let columns: Vec<String> = sqlx::query_scalar!(
            r#"SELECT attname::text AS "name!" FROM pg_attribute
                WHERE attrelid = to_regclass('events') AND attnum > 0 AND NOT attisdropped"#
        )
        .fetch_all(&mut self.connection)
        .await
        .map_err(Error::database(DOING))?;
        if columns.is_empty() {
            let place = match &config.schema {
                Some(schema) => format!("in the schema {schema}"),
                None => "in the schemas of search_path".to_owned(),
            };
            self.found(Finding::problem(
                format!("there is no table events {place}"),
                "`rowcast migrate` creates it; if it is in another schema, name that with --schema",
            ).mended_at_start());
            return Ok(false);
        }
        if let Some(missing) = missing(&COLUMNS, &columns) {
            self.found(Finding::problem(
                format!("the table events lacks columns: {missing}"),
                "it is another's table, or an older one: put rowcast's own elsewhere with --schema, or give it the shape of \
                 migrations/postgres",
            ));
            return Ok(false);
        }
        let relations = RELATIONS.map(str::to_owned).to_vec();
        let there: Vec<String> = sqlx::query_scalar!(
            r#"SELECT name AS "name!" FROM unnest($1::text[]) name WHERE to_regclass(name) IS NOT NULL"#,
            &relations
        )
        .fetch_all(&mut self.connection)
        .await
        .map_err(Error::database(DOING))?;
        let migrations =
            set_up_tables(migrator(config), &mut self.connection, Migrate::Check).await;
        let migrations = Finding::of_migrations(migrations)?;
        self.found(migrations);
        if let Some(missing) = missing(&RELATIONS, &there) {
            self.found(Finding::problem(
                format!("not there: {missing}"),
                "`rowcast migrate` creates what was never there; what was dropped comes from a dump, or from migrations/postgres",
            ));
            return Ok(false);
        }
        Ok(true)
    }

    async fn access(&mut self) -> Result<(), Error> {
        let row = sqlx::query!(
            r#"SELECT current_user::text AS "role!",
                      has_table_privilege('events', 'SELECT') AS "events!",
                      has_table_privilege('rowcast_epochs', 'SELECT')
                      AND has_table_privilege('rowcast_epochs', 'INSERT') AS "epochs!",
                      has_table_privilege('rowcast_epochs', 'UPDATE') AS "marks!",
                      has_table_privilege('rowcast_commands', 'SELECT') AS "commands!",
                      has_table_privilege('rowcast_commands', 'INSERT')
                      AND has_table_privilege('rowcast_commands', 'DELETE') AS "orders!""#
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(Error::database(DOING))?;
        let role = row.role;
        self.found(if !row.events {
            Finding::problem(
                format!("the role {role} may not read events"),
                format!("GRANT SELECT ON events TO \"{role}\""),
            )
        } else if !row.epochs {
            Finding::problem(
                format!("the role {role} may not note the lives of the cluster in rowcast_epochs"),
                format!("GRANT SELECT, INSERT, UPDATE ON rowcast_epochs TO \"{role}\""),
            )
        } else if !row.commands {
            Finding::problem(
                format!("the role {role} may not read rowcast_commands: nobody could be revoked"),
                format!("GRANT SELECT, INSERT, DELETE ON rowcast_commands TO \"{role}\""),
            )
        } else if !row.orders {
            Finding::hint(
                format!("the role {role} may not write to rowcast_commands: its server takes no orders to revoke, disconnect or broadcast"),
                format!("GRANT INSERT, DELETE ON rowcast_commands TO \"{role}\""),
            )
        } else if !row.marks {
            Finding::hint(
                format!("the role {role} may not leave marks in rowcast_epochs: a failover would repeat or reset more"),
                format!("GRANT UPDATE ON rowcast_epochs TO \"{role}\""),
            )
        } else {
            Finding::fine(format!("the role {role} may do what a feed does"))
        });
        Ok(())
    }

    async fn indexes(&mut self) -> Result<(), Error> {
        // An index of all rows would do, too.
        let row = sqlx::query!(
            r#"WITH by_xid AS (
                 SELECT pg_get_expr(i.indpred, i.indrelid) AS rows FROM pg_index i
                   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = 'xid'
                  WHERE i.indrelid = to_regclass('events') AND i.indkey[0] = a.attnum AND i.indisvalid)
               SELECT (SELECT relkind IN ('r', 'p') FROM pg_class WHERE oid = to_regclass('events')) AS "table!",
                      EXISTS (SELECT FROM by_xid WHERE rows IS NULL OR rows ~* 'position.* IS NOT TRUE') AS "one!",
                      EXISTS (SELECT FROM by_xid WHERE rows IS NULL OR rows ~* 'position.* > 0\)$') AS "several!""#
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(Error::database(DOING))?;
        if !row.table {
            self.found(Finding::hint(
                "events is a view",
                "see to it that its table has an index that begins with xid: every look reads by it",
            ));
            return Ok(());
        }
        for (indexed, rows, remedy) in [
            (
                row.one,
                "rows on one channel",
                "CREATE INDEX CONCURRENTLY events_one_channel ON events (xid, id) WHERE (position(' ' IN channel) > 0) IS NOT TRUE",
            ),
            (
                row.several,
                "rows on several channels",
                "CREATE INDEX CONCURRENTLY events_several_channels ON events (xid, id) WHERE position(' ' IN channel) > 0",
            ),
        ] {
            if !indexed {
                self.found(Finding::problem(
                    format!("events has no valid index by xid of {rows}: every look reads the whole table"),
                    remedy,
                ));
            }
        }
        if row.one && row.several {
            self.found(Finding::fine("events has its indexes by xid"));
        }
        Ok(())
    }

    async fn waking(&mut self) -> Result<(), Error> {
        let row = sqlx::query!(
            r#"SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass('events') AND NOT tgisinternal
                                 AND tgname = 'rowcast_wake' AND tgenabled IN ('O', 'A')) AS "trigger!",
                      EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass('rowcast_commands') AND NOT tgisinternal
                                AND tgname = 'rowcast_wake_commands' AND tgenabled IN ('O', 'A')) AS "commands_trigger!",
                      current_setting('max_prepared_transactions')::int AS "prepared!",
                      coalesce(current_setting('rowcast.wake', true), '') AS "setting!",
                      current_database()::text AS "database!""#
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(Error::database(DOING))?;
        self.found(if !row.trigger {
            Finding::hint(
                "events lacks its trigger rowcast_wake, or has it disabled: a quiet feed is not woken, and looks every --poll-interval",
                "CREATE TRIGGER rowcast_wake AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION rowcast_wake()",
            )
        } else if row.setting == "off" {
            Finding::hint(
                "the setting rowcast.wake is off: a quiet feed is not woken, and looks every --poll-interval",
                format!("ALTER DATABASE \"{}\" RESET rowcast.wake", row.database),
            )
        } else if row.prepared > 0 && row.setting != "on" {
            Finding::hint(
                format!(
                    "max_prepared_transactions is {}: a quiet feed is not woken, as a transaction that notifies cannot be prepared",
                    row.prepared
                ),
                format!(
                    "if none that inserts events is, ALTER DATABASE \"{}\" SET rowcast.wake = on",
                    row.database
                ),
            )
        } else if !row.commands_trigger {
            Finding::hint(
                "rowcast_commands lacks its trigger rowcast_wake_commands, or has it disabled: servers hear of each other's \
                 broadcasts and revocations every --poll-interval",
                "CREATE TRIGGER rowcast_wake_commands AFTER INSERT ON rowcast_commands FOR EACH STATEMENT \
                 EXECUTE FUNCTION rowcast_wake_commands()",
            )
        } else {
            Finding::fine("writers wake a quiet feed")
        });
        Ok(())
    }

    async fn writers(&mut self) -> Result<(), Error> {
        let roles = sqlx::query_scalar!(
            r#"SELECT string_agg(DISTINCT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END, ', ')
                 FROM pg_class c
                 JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'xid'
                CROSS JOIN LATERAL (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(a.attacl)) g
                WHERE c.oid = to_regclass('events') AND g.privilege_type IN ('INSERT', 'UPDATE')
                  AND g.grantee <> c.relowner"#
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(Error::database(DOING))?;
        self.found(match roles {
            None => Finding::fine("nobody but the owner may supply the xid of a row"),
            Some(roles) => Finding::hint(
                format!("may supply the xid of a row, and so hide it or have it come late: {roles}"),
                "REVOKE INSERT, UPDATE ON events, and GRANT INSERT (channel, type, entity_id, actor, payload, previous, trace_id, \
                 origin, dedup_key) instead",
            ),
        });
        Ok(())
    }

    /// Rows that a subscription applies have the publisher's xid, unless it is left out or set anew.
    async fn replica(&mut self) -> Result<(), Error> {
        let row = sqlx::query!(
            r#"SELECT EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid = to_regclass('events')) AS "subscribed!",
                      EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass('events') AND NOT tgisinternal
                                 AND tgenabled IN ('A', 'R') AND tgtype & 7 = 7) AS "trigger!""#
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(Error::database(DOING))?;
        if row.subscribed && !row.trigger {
            self.found(Finding::hint(
                "events is filled by a subscription: rows that bring the publisher's xid would be lost or late",
                "publish it with a list of columns without xid (PostgreSQL 15), or set the xid by a trigger that is enabled \
                 ALWAYS: docs/OPERATIONS.md has both",
            ));
        }
        Ok(())
    }

    /// A row's time decides nothing here but when it is pruned, so it is worth a word only.
    async fn clock(&mut self) -> Result<(), Error> {
        let ahead = sqlx::query_scalar!(
            r#"SELECT count(*) AS "rows!" FROM (SELECT created_at FROM events ORDER BY id DESC LIMIT 1000) e
                WHERE created_at > clock_timestamp() + interval '1 minute'"#
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(Error::database(DOING))?;
        if ahead > 0 {
            self.found(Finding::hint(
                format!(
                    "{} of the last 1,000 created in the future: a clock was wrong, or writers supply created_at",
                    count(ahead, "row")
                ),
                "nothing: events are ordered by their commits. Pruning by age will keep these rows longer",
            ));
        }
        Ok(())
    }
}
