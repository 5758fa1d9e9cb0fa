//! Deletes old rows from PostgreSQL, and notes the newest transaction of which rows are gone.
//!
//! Only rows of transactions below the `xmin` of an earlier snapshot are deleted: all that had ended when it was taken,
//! and none that is newer than one that had not. So whatever was asked for its position since knows all that is gone,
//! though transactions are open in it, and one number, the newest transaction pruned, tells who does not. A transaction
//! that stays open for longer than events are kept holds pruning back meanwhile; it does so to VACUUM anyway.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};

use super::{PostgresSource, explain_shape};
use crate::cursor::{Cursor, Epoch, Position, Snapshot};
use crate::error::Error;
use crate::event::EventId;
use crate::source::prune::not_a_table;
use crate::source::{DatabaseConfig, Migrate, Prune, PruneBatch, Pruned, Source as _};

/// For the transaction of a batch. It waits for nobody for long: neither for whoever has locked one of its rows, nor, if
/// this process stands still, does it let others wait. With the page's size known the planner sees that it is small.
const BATCH_SETTINGS: &str = "SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '30s'; \
     SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL plan_cache_mode = force_custom_plan";

/// Nobody waits for a batch but other pruners; it is short so that one that is broken off costs little.
const BATCH_TIME: Duration = Duration::from_millis(50);

/// The position that knows all that has been pruned. A number from the future is not of this cluster: the table was
/// restored from a dump of another, where positions of this one never were.
pub(super) async fn watermark(
    connection: &mut PgConnection,
    epoch: Epoch,
) -> Result<Option<Cursor>, Error> {
    let doing = "ask what has been pruned";
    let pruned = sqlx::query_scalar!(
        r#"SELECT pruned_xid::text AS "xid!" FROM rowcast_retention
            WHERE pruned_xid > '0' AND pruned_xid < pg_snapshot_xmax(pg_current_snapshot())"#
    )
    .fetch_optional(connection)
    .await
    .map_err(Error::database(doing))?;
    let Some(pruned) = pruned else {
        return Ok(None);
    };
    let next = 1 + pruned
        .parse::<u64>()
        .map_err(|_| Error::Unusable("rowcast_retention has no transaction id".into()))?;
    Ok(Some(Cursor {
        epoch,
        position: Position::Snapshot(Snapshot {
            xmin: next,
            xmax: next,
            in_flight: Vec::new(),
            durable: next,
        }),
    }))
}

/// Deletes old events from PostgreSQL.
pub struct PostgresPrune {
    /// With a connection of its own, so that the feed's never waits for it.
    source: PostgresSource,
}

impl PostgresPrune {
    /// Connects, sees to the tables as `migrate` says, and checks that `events` is a table this role may delete from.
    ///
    /// # Errors
    /// As [`PostgresSource::open`], and when it is not.
    pub async fn open(config: &DatabaseConfig, migrate: Migrate) -> Result<Self, Error> {
        let source = PostgresSource::open(config, migrate).await?;
        let prune = Self { source };
        prune.check_rights().await.map_err(explain_shape)?;
        Ok(prune)
    }

    async fn check_rights(&self) -> Result<(), Error> {
        let mut polling = self.source.polling().await?;
        let events = sqlx::query!(
            r#"SELECT relkind::text AS "kind!", current_user::text AS "role!",
                      has_table_privilege(oid, 'DELETE') AS "may_delete!",
                      has_table_privilege('rowcast_retention', 'UPDATE') AS "may_note!"
                 FROM pg_class WHERE oid = 'events'::regclass"#
        )
        .fetch_one(&mut polling.connection)
        .await
        .map_err(Error::database("ask what may be deleted"))?;
        self.source.keep(polling).await;
        match events.kind.as_str() {
            "v" => return Err(not_a_table("a view")),
            "m" => return Err(not_a_table("a materialized view")),
            "f" => return Err(not_a_table("a foreign table")),
            // A table, or a partitioned one.
            _ => {}
        }
        if events.may_delete && events.may_note {
            return Ok(());
        }
        let role = events.role;
        Err(Error::Unusable(format!(
            "the role {role} may not delete events; GRANT DELETE ON events TO {role}; GRANT UPDATE ON rowcast_retention TO {role}"
        )))
    }

    /// The `xmin` of a position, if it is of the present epoch.
    async fn known(&self, known: &Cursor) -> Result<String, Error> {
        // Asks which life of the cluster this is.
        if self.edge().await?.epoch != known.epoch {
            return Err(Error::EpochChanged);
        }
        match &known.position {
            Position::Snapshot(snapshot) => Ok(snapshot.xmin.to_string()),
            Position::Id(_) | Position::Within(_) => Err(Error::Unusable(
                "the position is one of another kind of database".into(),
            )),
        }
    }
}

impl Prune for PostgresPrune {
    fn batch_time(&self) -> Duration {
        BATCH_TIME
    }

    fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
        self.source.edge()
    }

    fn look(
        &self,
        from: EventId,
        older_than: Duration,
    ) -> BoxFuture<'_, Result<Option<(EventId, bool)>, Error>> {
        Box::pin(async move {
            let mut polling = self.source.polling().await?;
            let row = sqlx::query!(
                r#"SELECT id, coalesce(created_at < now() - $2::float8 * interval '1 millisecond', false) AS "old!"
                     FROM events WHERE id >= $1 ORDER BY id LIMIT 1"#,
                from.0,
                milliseconds(older_than),
            )
            .fetch_optional(&mut polling.connection)
            .await
            .map_err(Error::database("look how old an event is"))?;
            self.source.keep(polling).await;
            Ok(row.map(|row| (EventId(row.id), row.old)))
        })
    }

    fn prune<'a>(&'a self, batch: &'a PruneBatch) -> BoxFuture<'a, Result<Pruned, Error>> {
        Box::pin(async move {
            let doing = "delete old events";
            let known = self.known(&batch.known).await?;
            let after = batch.after.map_or(i64::MIN, |id| id.0);
            let age = milliseconds(batch.older_than);
            let mut polling = self.source.polling().await?;
            let mut transaction = polling
                .connection
                .begin()
                .await
                .map_err(Error::database(doing))?;
            transaction
                .execute(BATCH_SETTINGS)
                .await
                .map_err(Error::database(doing))?;
            let page = sqlx::query!(
                r#"SELECT max(id) AS last, count(*) AS "looked!", count(*) FILTER (WHERE old) AS "old!",
                          count(*) FILTER (WHERE old AND known) AS "ripe!", max(id) FILTER (WHERE old AND known) AS last_ripe
                     FROM (SELECT id, created_at < now() - $3::float8 * interval '1 millisecond' AS old,
                                  xid < $4::text::xid8 AS known
                             FROM events WHERE id > $1 ORDER BY id LIMIT $2) page"#,
                after,
                i64::from(batch.rows),
                age,
                known,
            )
            .fetch_one(&mut *transaction)
            .await
            .map_err(explain)?;
            let mut pruned = Pruned {
                looked: page.looked.cast_unsigned(),
                old: page.old.cast_unsigned(),
                deleted: page.ripe.cast_unsigned(),
                kept: (page.old - page.ripe).cast_unsigned(),
                last: page.last.map(EventId),
                last_deleted: page.last_ripe.map(EventId),
            };
            if let Some(last) = page.last_ripe
                && !batch.dry_run
            {
                // First of all, so that pruners take turns, and the statements after it see what the others did.
                sqlx::query!("SELECT one FROM rowcast_retention FOR UPDATE")
                    .fetch_one(&mut *transaction)
                    .await
                    .map_err(explain)?;
                // A range, not a list: a list is joined, which may read the whole table.
                let gone = sqlx::query!(
                    r#"WITH gone AS (
                         DELETE FROM events
                          WHERE id > $1 AND id <= $2 AND created_at < now() - $3::float8 * interval '1 millisecond'
                            AND xid < $4::text::xid8
                         RETURNING id, xid)
                       SELECT count(*) AS "deleted!", max(id) AS last,
                              (SELECT xid::text FROM gone ORDER BY xid DESC LIMIT 1) AS newest FROM gone"#,
                    after,
                    last,
                    age,
                    known,
                )
                .fetch_one(&mut *transaction)
                .await
                .map_err(explain)?;
                pruned.deleted = gone.deleted.cast_unsigned();
                pruned.last_deleted = gone.last.map(EventId);
                if let Some(newest) = gone.newest {
                    // What is from the future is not of this cluster, and would hide what is pruned in it.
                    sqlx::query!(
                        r#"UPDATE rowcast_retention
                              SET pruned_xid = CASE WHEN pruned_xid < pg_snapshot_xmax(pg_current_snapshot())
                                                    THEN greatest(pruned_xid, $1::text::xid8)
                                                    ELSE $1::text::xid8 END"#,
                        newest,
                    )
                    .execute(&mut *transaction)
                    .await
                    .map_err(explain)?;
                }
            }
            transaction.commit().await.map_err(explain)?;
            self.source.keep(polling).await;
            Ok(pruned)
        })
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn explain(error: sqlx::Error) -> Error {
    if let Some(database) = error.as_database_error()
        && database.code().as_deref() == Some("42501")
    {
        return Error::Unusable(format!(
            "its role may not delete events any more ({}); GRANT DELETE ON events and UPDATE ON rowcast_retention to it",
            database.message()
        ));
    }
    if matches!(error, sqlx::Error::RowNotFound) {
        return Error::Unusable(
            "rowcast_retention has lost its row; INSERT INTO rowcast_retention DEFAULT VALUES"
                .into(),
        );
    }
    Error::database("delete old events")(error)
}
