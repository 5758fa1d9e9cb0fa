//! What can be wrong with a SQLite file, and how it is mended.

use std::path::PathBuf;

use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions as _, Executor as _};

use super::{connect_options, explain};
use crate::error::Error;
use crate::source::doctor::{Finding, Progress, Wanted, count, missing};
use crate::source::{DatabaseConfig, Migrate, set_up_tables};

/// The columns that are read.
const COLUMNS: [&str; 10] = [
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
];

/// The tables beside `events`.
const RELATIONS: [&str; 3] = ["rowcast_commands", "rowcast_epochs", "rowcast_retention"];

const DOING: &str = "look at the database";

const BEGUN: &str = "began an epoch: clients that come with an earlier position get a reset";

/// Looks at the database. See [`crate::source::doctor::examine`].
pub(in crate::source) async fn examine(
    config: &DatabaseConfig,
    wanted: Wanted,
    _progress: Progress<'_>,
) -> Result<Vec<Finding>, Error> {
    let Wanted { repair, new_epoch } = wanted;
    let options = connect_options(config, Migrate::Check)?.read_only(!repair && !new_epoch);
    let opened = options.connect().await;
    let mut connection = opened.map_err(|error| explain(&options, "open the database", error))?;
    let version = sqlx::query_scalar::<_, String>("SELECT sqlite_version()")
        .fetch_one(&mut connection)
        .await
        // What is wrong with a file shows when it is read.
        .map_err(|error| explain(&options, DOING, error))?;
    let mut examination = Examination {
        connection,
        repair,
        findings: vec![Finding::fine(format!("SQLite {version}"))],
    };
    if examination.tables().await? {
        examination.journal().await?;
        examination.epochs().await?;
        examination.sequence().await?;
        examination.clock().await?;
        if new_epoch {
            examination.begin_epoch().await?;
        }
    }
    Ok(examination.findings)
}

/// The file, where it is not there yet.
pub(in crate::source) fn absent_file(config: &DatabaseConfig) -> Option<PathBuf> {
    let options = connect_options(config, Migrate::Auto).ok()?;
    let path = options.get_filename();
    (!path.exists()).then(|| path.to_owned())
}

struct Examination {
    connection: SqliteConnection,
    repair: bool,
    findings: Vec<Finding>,
}

impl Examination {
    fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Gives whether there is something to look at.
    async fn tables(&mut self) -> Result<bool, Error> {
        let columns: Vec<String> =
            sqlx::query_scalar("SELECT name FROM pragma_table_info('events')")
                .fetch_all(&mut self.connection)
                .await
                .map_err(Error::database(DOING))?;
        if columns.is_empty() {
            self.found(
                Finding::problem(
                    "there is no table events",
                    "`rowcast migrate` creates it, if this is the file that was meant",
                )
                .mended_at_start(),
            );
            return Ok(false);
        }
        if let Some(missing) = missing(&COLUMNS, &columns) {
            self.found(Finding::problem(
                format!("the table events lacks columns: {missing}"),
                "it is another's table, or an older one: use another file, or give it the shape of migrations/sqlite",
            ));
            return Ok(false);
        }
        let migrations = set_up_tables(
            sqlx::migrate!("migrations/sqlite"),
            &mut self.connection,
            Migrate::Check,
        )
        .await;
        let migrations = Finding::of_migrations(migrations)?;
        self.found(migrations);
        let there: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_master")
            .fetch_all(&mut self.connection)
            .await
            .map_err(Error::database(DOING))?;
        if let Some(missing) = missing(&RELATIONS, &there) {
            self.found(Finding::problem(
                format!("not there: {missing}"),
                "`rowcast migrate` creates what was never there; what was dropped comes from a backup, or from migrations/sqlite",
            ));
            return Ok(false);
        }
        Ok(true)
    }

    async fn journal(&mut self) -> Result<(), Error> {
        let mode = "PRAGMA journal_mode";
        let mut now: String = sqlx::query_scalar(mode)
            .fetch_one(&mut self.connection)
            .await
            .map_err(Error::database(DOING))?;
        if now == "wal" {
            self.found(Finding::fine("it has a write-ahead log"));
            return Ok(());
        }
        if self.repair {
            now = sqlx::query_scalar("PRAGMA journal_mode = WAL")
                .fetch_one(&mut self.connection)
                .await
                .map_err(Error::database("switch to the write-ahead log"))?;
        }
        self.found(if now == "wal" {
            Finding::repaired("switched the file to the write-ahead log")
        } else {
            Finding::problem(
                format!("its journal mode is {now}: writers and the feed wait for each other, and nobody is woken"),
                "`rowcast serve` and `rowcast doctor --repair` switch it to wal, where the file's folder lets them",
            )
        });
        Ok(())
    }

    async fn epochs(&mut self) -> Result<(), Error> {
        let number =
            sqlx::query_scalar!(r#"SELECT count(*) AS "number!: i64" FROM rowcast_epochs"#)
                .fetch_one(&mut self.connection)
                .await
                .map_err(Error::database(DOING))?;
        if number > 0 {
            self.found(Finding::fine(format!("it has an epoch ({number})")));
        } else if self.repair {
            self.begin_epoch().await?;
        } else {
            self.found(Finding::problem(
                "rowcast_epochs is empty: no position can be told",
                "`rowcast doctor --repair` begins an epoch",
            ));
        }
        Ok(())
    }

    async fn begin_epoch(&mut self) -> Result<(), Error> {
        sqlx::query!("INSERT INTO rowcast_epochs (tag) VALUES (abs(random()) % 4294967296)")
            .execute(&mut self.connection)
            .await
            .map_err(Error::database("begin an epoch"))?;
        self.found(Finding::repaired(BEGUN));
        Ok(())
    }

    /// Without its memory of the highest id, SQLite gives the ids of deleted rows out again, and rows that have them are
    /// behind everybody's position.
    async fn sequence(&mut self) -> Result<(), Error> {
        let row = sqlx::query!(
            r#"SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) AS "last!: i64",
                      coalesce((SELECT max(id) FROM events), 0) AS "highest!: i64",
                      coalesce((SELECT pruned_id FROM rowcast_retention), 0) AS "pruned!: i64",
                      EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'events' AND type = 'table'
                                 AND instr(upper(sql), 'AUTOINCREMENT')) AS "auto!: bool""#
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(Error::database(DOING))?;
        if !row.auto {
            self.found(Finding::problem(
                "events.id is not AUTOINCREMENT: the id of a deleted last row is given out again, and that row is not delivered",
                "give the table the shape of migrations/sqlite",
            ));
            return Ok(());
        }
        let (last, highest) = (row.last, row.highest.max(row.pruned));
        if last >= highest {
            let text =
                format!("sqlite_sequence (at {last}) is not behind the highest id ({highest})");
            self.found(Finding::fine(text));
        } else if self.repair {
            // sqlite_sequence has no unique index to insert against.
            let doing = "set sqlite_sequence";
            self.connection
                .execute("BEGIN IMMEDIATE")
                .await
                .map_err(Error::database(doing))?;
            sqlx::query!("DELETE FROM sqlite_sequence WHERE name = 'events'")
                .execute(&mut self.connection)
                .await
                .map_err(Error::database(doing))?;
            sqlx::query!(
                "INSERT INTO sqlite_sequence (name, seq)
                 SELECT 'events', max(?, coalesce((SELECT max(id) FROM events), 0))",
                highest
            )
            .execute(&mut self.connection)
            .await
            .map_err(Error::database(doing))?;
            self.connection
                .execute("COMMIT")
                .await
                .map_err(Error::database(doing))?;
            self.found(Finding::repaired(format!(
                "set sqlite_sequence from {last} to {highest}, the highest id"
            )));
        } else {
            self.found(Finding::problem(
                format!("sqlite_sequence is at {last}, behind the highest id, {highest}: ids could be given out again"),
                "`rowcast doctor --repair` sets it",
            ));
        }
        Ok(())
    }

    async fn clock(&mut self) -> Result<(), Error> {
        let ahead = sqlx::query_scalar!(
            r#"SELECT count(*) AS "rows!: i64" FROM (SELECT created_at FROM events ORDER BY id DESC LIMIT 1000)
                WHERE julianday(created_at) > julianday('now', '+1 minute')"#
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
                "nothing: events are ordered by their ids. Pruning by age will keep these rows longer",
            ));
        }
        Ok(())
    }
}
