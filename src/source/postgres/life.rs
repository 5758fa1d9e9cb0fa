//! Lives of a cluster: within one no transaction id is used twice, so positions can be compared; from one to the next
//! they are cut at the id the later one began with.

use sqlx::postgres::PgConnection;

use crate::cursor::Epoch;
use crate::error::Error;

/// What tells one life of a cluster from another. Within one, no transaction id is used twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    pub timeline: String,
    pub boot: i64,
    /// When statistics were last reset, in microseconds. Recovery from a crash resets them, and also ends every
    /// connection, so asking once for each is enough.
    pub crash: i64,
}

/// Refuses a standby, which has no timeline of its own.
pub(super) fn primary(standby: bool, timeline: Option<String>) -> Result<String, Error> {
    timeline.filter(|_| !standby).ok_or_else(|| {
        Error::Unusable(
            "it is a standby, and the snapshots of a standby leave out transactions in flight, so rows would be lost; give \
             the URL of the primary"
                .into(),
        )
    })
}

/// The epoch that a life of the cluster is, entered in the table when it is new.
pub(super) async fn epoch_of(connection: &mut PgConnection, life: &Life) -> Result<Epoch, Error> {
    let doing = "note the epoch of the feed";
    // Transactions that a crash or a failover undid give their ids to others, so positions are cut where this life
    // began. The last checkpoint knows a place that is not after it, if it is one of those that end a life or begin
    // one (nothing was written while it was made), or is of the timeline before. If it is a later one, the place
    // is 0: not known, unless nothing was undone, as in a clean restart.
    sqlx::query!(
        r#"INSERT INTO rowcast_epochs (system_id, timeline, boot, crash, start_xid)
           SELECT s.system_identifier, $1, $2, $3,
                  CASE WHEN c.redo_lsn = c.checkpoint_lsn AND current_setting('wal_level') <> 'minimal'
                         OR lpad(upper(to_hex(c.timeline_id)), 8, '0') <> $1
                         OR EXISTS (SELECT FROM rowcast_epochs e
                                     WHERE e.system_id = s.system_identifier AND e.timeline = $1 AND e.crash = $3)
                       THEN (split_part(c.next_xid, ':', 1)::numeric * 4294967296
                             + split_part(c.next_xid, ':', 2)::numeric)::text::xid8
                       ELSE '0' END
             FROM pg_control_system() s, pg_control_checkpoint() c
            WHERE NOT EXISTS (SELECT FROM rowcast_epochs e
                               WHERE e.system_id = s.system_identifier
                                 AND e.timeline = $1 AND e.boot = $2 AND e.crash = $3)
           ON CONFLICT DO NOTHING"#,
        life.timeline,
        life.boot,
        life.crash,
    )
    .execute(&mut *connection)
    .await
    .map_err(Error::database(doing))?;
    let row = sqlx::query!(
        r#"SELECT epoch, tag FROM rowcast_epochs
            WHERE system_id = (SELECT system_identifier FROM pg_control_system())
              AND timeline = $1 AND boot = $2 AND crash = $3
            ORDER BY epoch"#,
        life.timeline,
        life.boot,
        life.crash,
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(Error::database(doing))?;
    Ok(Epoch {
        number: row.epoch.cast_unsigned(),
        tag: row.tag as u32,
    })
}
