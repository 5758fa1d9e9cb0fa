//! What a restored dump or backup leaves behind: rows, epochs and a watermark of another cluster, a sequence that is behind.

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};

use super::{DOING, Examination};
use crate::error::Error;
use crate::source::doctor::{Finding, Progress, count};

/// Rows mended by one transaction: few enough that nobody waits for long, many enough to be fast.
const REPAIR_ROWS: i64 = 5000;

/// Refuses a table with rows of transactions that the cluster has not had yet. One look into the index.
///
/// They come with a dump of another cluster. Each would be delivered, as new, when the counter of transactions passes its
/// number: none is lost if they are left alone, but clients would take what is long over for the present.
pub(in crate::source::postgres) async fn refuse_rows_from_the_future(
    connection: &mut PgConnection,
) -> Result<(), Error> {
    // A row that the statement sees is of a transaction before the end of its snapshot, or not of this cluster.
    let row = sqlx::query!(
        r#"WITH last AS (
             (SELECT xid FROM events
               WHERE (position(' ' IN channel::text) > 0) IS NOT TRUE AND xid >= pg_snapshot_xmax(pg_current_snapshot())
               ORDER BY xid DESC, id DESC LIMIT 1)
             UNION ALL
             (SELECT xid FROM events
               WHERE position(' ' IN channel::text) > 0 AND xid >= pg_snapshot_xmax(pg_current_snapshot())
               ORDER BY xid DESC, id DESC LIMIT 1))
           SELECT xid::text AS "xid!", pg_snapshot_xmax(pg_current_snapshot())::text AS "next!"
             FROM last ORDER BY last.xid DESC LIMIT 1"#
    )
    .fetch_optional(connection)
    .await
    .map_err(Error::database("look for rows of another cluster"))?;
    let Some(row) = row else { return Ok(()) };
    Err(Error::Unusable(format!(
        "its table events has rows of transactions that this cluster has not had yet (up to xid {}, and the next is {}), as \
         a dump of another cluster leaves them; each would be delivered as new when its number comes up. Make them history \
         with `rowcast doctor --repair`",
        row.xid, row.next
    )))
}

impl Examination {
    /// A restored dump: its rows have the transaction ids of the cluster they come from.
    pub(super) async fn rows_from_the_future(
        &mut self,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let row = sqlx::query!(
            r#"WITH r AS NOT MATERIALIZED (SELECT * FROM events WHERE (position(' ' IN channel::text) > 0) IS NOT TRUE
                                           UNION ALL SELECT * FROM events WHERE position(' ' IN channel::text) > 0)
               SELECT count(*) AS "rows!", max(xid::text::numeric)::text AS newest,
                      pg_snapshot_xmax(pg_current_snapshot())::text AS "next!"
                 FROM r WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())"#
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(Error::database(DOING))?;
        let Some(newest) = row.newest else {
            self.found(Finding::fine(
                "all rows of events are of transactions of this cluster",
            ));
            return Ok(());
        };
        let rows = count(row.rows, "row");
        if !self.repair {
            self.found(Finding::problem(
                format!(
                    "events has {rows} of transactions that this cluster has not had yet (up to xid {newest}, and the next is \
                     {}): a dump of another cluster was restored, or writers supply the xid. Each would be delivered as new \
                     when its number comes up, so `rowcast serve` refuses to start",
                    row.next
                ),
                "`rowcast doctor --repair` makes them history: they stay, and are not delivered",
            ));
            return Ok(());
        }
        let mut mended = 0;
        loop {
            // What is of the future is asked anew each time, so rows that are written meanwhile are left alone. The
            // lowest first: their numbers come up first. '3' is the first transaction id there is, so it is before
            // every position.
            let batch = sqlx::query!(
                "WITH r AS NOT MATERIALIZED (SELECT * FROM events WHERE (position(' ' IN channel::text) > 0) IS NOT TRUE
                                             UNION ALL SELECT * FROM events WHERE position(' ' IN channel::text) > 0)
                 UPDATE events SET xid = '3'
                  WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())
                    AND id = ANY(ARRAY(SELECT id FROM r WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())
                                        ORDER BY xid, id LIMIT $1))",
                REPAIR_ROWS
            )
            .execute(&mut self.connection)
            .await
            .map_err(Error::database("make rows of another cluster history"))?
            .rows_affected();
            if batch == 0 {
                break;
            }
            mended += batch;
            progress(mended, mended.max(row.rows.cast_unsigned()));
        }
        self.found(Finding::repaired(format!(
            "made {} of events history that had a transaction id of another cluster (up to xid {newest}, and the next was {}); \
             they have xid 3 now, and are not delivered",
            count(mended.cast_signed(), "row"),
            row.next
        )));
        Ok(())
    }

    /// Positions of another cluster get a reset, as long as that one's lives are known for what they are.
    pub(super) async fn epochs(&mut self) -> Result<(), Error> {
        let row = sqlx::query!(
            r#"SELECT count(*) FILTER (WHERE system_id = s.system_identifier) AS "ours!",
                      count(*) FILTER (WHERE system_id <> s.system_identifier) AS "foreign!"
                 FROM rowcast_epochs CROSS JOIN pg_control_system() s"#
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(Error::database(DOING))?;
        let foreign = count(row.foreign, "epoch");
        if row.foreign == 0 {
            let text = format!("all epochs are of this cluster ({})", row.ours);
            self.found(Finding::fine(text));
        } else if self.repair {
            sqlx::query!(
                "DELETE FROM rowcast_epochs
                  WHERE system_id <> (SELECT system_identifier FROM pg_control_system())"
            )
            .execute(&mut self.connection)
            .await
            .map_err(Error::database("forget the epochs of another cluster"))?;
            self.found(Finding::repaired(format!(
                "forgot {foreign} of another cluster: clients that come with a position from there get a reset"
            )));
        } else {
            self.found(Finding::hint(
                format!("rowcast_epochs has {foreign} of another cluster (a restored dump, or pg_upgrade)"),
                "nothing: clients that come with a position from there get a reset. `rowcast doctor --repair` tidies up",
            ));
        }
        Ok(())
    }

    /// Whoever reads next begins one, and knows nothing of those before.
    pub(super) async fn forget_epochs(&mut self) -> Result<(), Error> {
        sqlx::query!("DELETE FROM rowcast_epochs")
            .execute(&mut self.connection)
            .await
            .map_err(Error::database("forget the epochs"))?;
        self.found(Finding::repaired(
            "forgot all epochs: clients that come with an earlier position get a reset, from servers that start from now on",
        ));
        Ok(())
    }

    /// The watermark of retention comes with a dump, too; from the future it would say that everything was pruned.
    pub(super) async fn pruned(&mut self) -> Result<(), Error> {
        let ahead = sqlx::query_scalar!(
            r#"SELECT pruned_xid::text AS "xid!" FROM rowcast_retention
                WHERE pruned_xid >= pg_snapshot_xmax(pg_current_snapshot())"#
        )
        .fetch_optional(&mut self.connection)
        .await
        .map_err(Error::database(DOING))?;
        let Some(xid) = ahead else { return Ok(()) };
        if self.repair {
            sqlx::query!(
                "UPDATE rowcast_retention SET pruned_xid = '3'
                  WHERE pruned_xid >= pg_snapshot_xmax(pg_current_snapshot())"
            )
            .execute(&mut self.connection)
            .await
            .map_err(Error::database("set the watermark of retention"))?;
            let text =
                format!("set the watermark of retention from xid {xid} of another cluster to 3");
            self.found(Finding::repaired(text));
        } else {
            self.found(Finding::problem(
                format!("the watermark of retention is xid {xid} of another cluster: every client would be told that it missed rows"),
                "`rowcast doctor --repair` sets it to the oldest",
            ));
        }
        Ok(())
    }

    pub(super) async fn sequence(&mut self) -> Result<(), Error> {
        let row = sqlx::query!(
            r#"SELECT pg_get_serial_sequence('events', 'id') AS sequence,
                      coalesce(pg_sequence_last_value(pg_get_serial_sequence('events', 'id')::regclass), 0) AS "last!",
                      coalesce((SELECT max(id) FROM events), 0)::bigint AS "highest!",
                      (SELECT seqcache FROM pg_sequence
                        WHERE seqrelid = pg_get_serial_sequence('events', 'id')::regclass) AS cache"#
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(Error::database(DOING))?;
        let Some(sequence) = row.sequence else {
            self.found(Finding::hint(
                "events.id has no sequence of its own",
                "if events is a view of another table, that one's has to ascend",
            ));
            return Ok(());
        };
        if row.cache.is_some_and(|cache| cache > 1) {
            self.found(Finding::hint(
                format!("{sequence} has a cache: ids of different connections are not in the order of their inserts"),
                format!("ALTER SEQUENCE {sequence} CACHE 1"),
            ));
        }
        let (last, highest) = (row.last, row.highest);
        if last >= highest {
            let text = format!("{sequence} (at {last}) is not behind the highest id ({highest})");
            self.found(Finding::fine(text));
        } else if self.repair {
            let at = self.advance_sequence().await?;
            self.found(Finding::repaired(format!(
                "set {sequence} from {last} to {at}, the highest id"
            )));
        } else {
            self.found(Finding::problem(
                format!("{sequence} is at {last}, behind the highest id, {highest}: inserts will fail with duplicate keys"),
                "`rowcast doctor --repair` sets it",
            ));
        }
        Ok(())
    }

    /// With the table locked for a moment: a writer may be about to take a number.
    async fn advance_sequence(&mut self) -> Result<i64, Error> {
        let doing = "set the sequence of events.id";
        let mut transaction = self
            .connection
            .begin()
            .await
            .map_err(Error::database(doing))?;
        transaction
            .execute(
                "SET LOCAL lock_timeout = '10s'; LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE",
            )
            .await
            .map_err(Error::database(doing))?;
        let at = sqlx::query_scalar!(
            r#"SELECT setval(s, greatest((SELECT max(id) FROM events), pg_sequence_last_value(s), 1)) AS "at!"
                 FROM (SELECT pg_get_serial_sequence('events', 'id')::regclass AS s) sequence"#
        )
        .fetch_one(&mut *transaction)
        .await
        .map_err(Error::database(doing))?;
        transaction.commit().await.map_err(Error::database(doing))?;
        Ok(at)
    }
}
