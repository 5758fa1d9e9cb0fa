//! Deletes old rows from a SQLite file, and notes the last of them.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use super::{SqliteSource, epoch_of, explain, explain_shape};
use crate::cursor::{Cursor, Epoch, Position};
use crate::error::Error;
use crate::event::EventId;
use crate::source::prune::not_a_table;
use crate::source::{DatabaseConfig, Migrate, Prune, PruneBatch, Pruned, Source as _};

/// Writers wait while a batch is written; a commit that waits for the disk takes half of it anyway.
const BATCH_TIME: Duration = Duration::from_millis(10);

/// The position that knows all that has been pruned. An id beyond all that were ever given out is not of this table.
pub(super) async fn watermark(connection: &mut SqliteConnection) -> Result<Option<Cursor>, Error> {
    let row = sqlx::query!(
        r#"SELECT e.epoch, e.tag, r.pruned_id
             FROM rowcast_retention r, (SELECT epoch, tag FROM rowcast_epochs ORDER BY epoch DESC LIMIT 1) e
            WHERE r.pruned_id > 0
              AND r.pruned_id <= (SELECT seq FROM sqlite_sequence WHERE name = 'events')"#
    )
    .fetch_optional(connection)
    .await
    .map_err(Error::database("ask what has been pruned"))?;
    Ok(row.map(|row| Cursor {
        epoch: Epoch {
            number: row.epoch.cast_unsigned(),
            tag: row.tag as u32,
        },
        position: Position::Id(row.pruned_id),
    }))
}

/// Deletes old events from a SQLite file.
pub struct SqlitePrune {
    /// With a connection of its own, so that the feed's never waits for it.
    source: SqliteSource,
}

impl SqlitePrune {
    /// Opens the file as [`SqliteSource::open`] does, and checks that `events` is a table.
    ///
    /// # Errors
    /// As [`SqliteSource::open`], and when it is not.
    pub async fn open(config: &DatabaseConfig, migrate: Migrate) -> Result<Self, Error> {
        let source = SqliteSource::open(config, migrate).await?;
        let mut reader = source.reader().await?;
        let view = sqlx::query_scalar!(
            r#"SELECT type = 'view' AS "view!: bool" FROM sqlite_schema WHERE name = 'events'"#
        )
        .fetch_optional(&mut reader.connection)
        .await
        .map_err(Error::database("ask what may be deleted"))?;
        watermark(&mut reader.connection)
            .await
            .map_err(explain_shape)?;
        source.keep(reader).await;
        if view == Some(true) {
            return Err(not_a_table("a view"));
        }
        Ok(Self { source })
    }
}

impl Prune for SqlitePrune {
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
            let days = days(older_than);
            let mut reader = self.source.reader().await?;
            let row = sqlx::query!(
                r#"SELECT id AS "id!: i64", coalesce(julianday(created_at) < julianday('now') - ?, 0) AS "old!: bool"
                     FROM events WHERE id >= ? ORDER BY id LIMIT 1"#,
                days,
                from.0,
            )
            .fetch_optional(&mut reader.connection)
            .await
            .map_err(Error::database("look how old an event is"))?;
            self.source.keep(reader).await;
            Ok(row.map(|row| (EventId(row.id), row.old)))
        })
    }

    fn prune<'a>(&'a self, batch: &'a PruneBatch) -> BoxFuture<'a, Result<Pruned, Error>> {
        Box::pin(async move {
            let doing = "delete old events";
            let explain = |error| explain(&self.source.options, doing, error);
            let Position::Id(known) = batch.known.position else {
                return Err(Error::Unusable(
                    "the position is one of another kind of database".into(),
                ));
            };
            let after = batch.after.map_or(i64::MIN, |id| id.0);
            let days = days(batch.older_than);
            let mut reader = self.source.reader().await?;
            // Before the lock is taken: writers wait for the deletion alone.
            let page = sqlx::query!(
                r#"SELECT max(id) AS "last: i64", count(*) AS "looked!: i64", count(*) FILTER (WHERE old) AS "old!: i64",
                          count(*) FILTER (WHERE old AND id <= ?) AS "ripe!: i64",
                          max(id) FILTER (WHERE old AND id <= ?) AS "last_ripe: i64"
                     FROM (SELECT id, julianday(created_at) < julianday('now') - ? AS old
                             FROM events WHERE id > ? ORDER BY id LIMIT ?)"#,
                known,
                known,
                days,
                after,
                batch.rows,
            )
            .fetch_one(&mut reader.connection)
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
            if epoch_of(&mut reader.connection).await? != batch.known.epoch {
                return Err(Error::EpochChanged);
            }
            if let Some(last) = page.last_ripe
                && !batch.dry_run
            {
                let mut transaction = reader
                    .connection
                    .begin_with("BEGIN IMMEDIATE")
                    .await
                    .map_err(explain)?;
                let gone = sqlx::query!(
                    r#"DELETE FROM events
                        WHERE id > ? AND id <= ? AND julianday(created_at) < julianday('now') - ?
                       RETURNING id AS "id!: i64""#,
                    after,
                    last,
                    days,
                )
                .fetch_all(&mut *transaction)
                .await
                .map_err(explain)?;
                let newest = gone.iter().map(|row| row.id).max();
                pruned.deleted = gone.len() as u64;
                pruned.last_deleted = newest.map(EventId);
                if let Some(newest) = newest {
                    // What is beyond all ids is not of this table, and would hide what is pruned in it.
                    let noted = sqlx::query!(
                        "UPDATE rowcast_retention
                            SET pruned_id = CASE WHEN pruned_id <= (SELECT seq FROM sqlite_sequence WHERE name = 'events')
                                                 THEN max(pruned_id, ?) ELSE ? END",
                        newest,
                        newest,
                    )
                    .execute(&mut *transaction)
                    .await
                    .map_err(explain)?;
                    if noted.rows_affected() == 0 {
                        return Err(Error::Unusable(
                            "rowcast_retention has lost its row; INSERT INTO rowcast_retention DEFAULT VALUES".into(),
                        ));
                    }
                }
                transaction.commit().await.map_err(explain)?;
            }
            self.source.keep(reader).await;
            Ok(pruned)
        })
    }
}

fn days(duration: Duration) -> f64 {
    duration.as_secs_f64() / 86_400.0
}
