//! Lives of a cluster: within one no transaction id is used twice, so positions can be compared; from one to the next
//! they are cut where ids may have been given out again.

use sqlx::postgres::PgConnection;

use crate::cursor::{Epoch, Snapshot};
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

/// Which transaction ids no crash will give out again, as far as is known in one life.
///
/// Every transaction with an id that has ended has written a record into the log, which recovery reads, and goes on
/// from the id after it. So once the log is on the disk as far as it had been written at some snapshot, no id that had
/// ended in that snapshot is given out again: not in the next life, and not in one after it, so lives that nobody
/// looked at do no harm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Durable {
    pub epoch: Epoch,
    xid: u64,
    /// The oldest snapshot that may tell more, and how far the log had been written then.
    pending: Option<(u64, i64)>,
}

impl Durable {
    /// The last checkpoint is on the disk, and knows an id.
    pub fn from_checkpoint(epoch: Epoch, next_xid: u64) -> Self {
        Self {
            epoch,
            xid: next_xid,
            pending: None,
        }
    }

    /// Takes note of a snapshot's end, how far the log was written after it was taken, and how far it is on the disk.
    /// Gives the first id that may be given out again.
    pub fn note(&mut self, xmax: u64, written: i64, on_disk: i64) -> u64 {
        if written <= on_disk {
            self.xid = xmax;
            self.pending = None;
        } else if let Some((known, written)) = self.pending
            && written <= on_disk
        {
            self.xid = self.xid.max(known);
            self.pending = None;
        }
        if self.xid < xmax {
            self.pending.get_or_insert((xmax, written));
        }
        self.xid.min(xmax)
    }
}

/// The epoch that a life of the cluster is, entered in the table when it is new, and what is durable in it.
pub(super) async fn epoch_of(connection: &mut PgConnection, life: &Life) -> Result<Durable, Error> {
    let doing = "note the epoch of the feed";
    // A promoted standby may not have had what was on the disk of the primary, and gives the ids of it to others. So
    // positions of another timeline are cut where an earlier life left its last mark: what was there before the mark is
    // in the history of this life, and what came after it may not be.
    sqlx::query!(
        r#"INSERT INTO rowcast_epochs (system_id, timeline, boot, crash, start_xid, mark)
           SELECT s.system_identifier, $1, $2, $3,
                  coalesce((SELECT e.mark FROM rowcast_epochs e
                             WHERE e.system_id = s.system_identifier AND e.mark::xid = e.xmin
                             ORDER BY e.mark DESC LIMIT 1), '0'),
                  pg_current_xact_id()
             FROM pg_control_system() s
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
        r#"SELECT epoch, tag,
                  (split_part(c.next_xid, ':', 1)::numeric * 4294967296
                   + split_part(c.next_xid, ':', 2)::numeric)::bigint AS "next_xid!"
             FROM rowcast_epochs, pg_control_checkpoint() c
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
    let epoch = Epoch {
        number: row.epoch.cast_unsigned(),
        tag: row.tag as u32,
    };
    Ok(Durable::from_checkpoint(
        epoch,
        row.next_xid.cast_unsigned(),
    ))
}

/// What lies between two lives of a cluster, for positions of the first.
pub(super) struct Path {
    /// The present life.
    pub epoch: Epoch,
    steps: Vec<Step>,
}

/// From one life to the next.
struct Step {
    /// A clean restart undoes nothing.
    crashed: bool,
    /// The first id of another timeline that was not of the one before; 0 where nobody knows.
    start_xid: Option<u64>,
}

impl Path {
    /// Where a snapshot of the first life is in the present one, if that can be told.
    pub fn follow(&self, snapshot: &Snapshot) -> Option<Snapshot> {
        let mut place = snapshot.clone();
        for step in &self.steps {
            // Where a crash left off is not asked of the life that follows: there may have been others between the two,
            // which nobody saw.
            if step.crashed {
                place = place.cut_at(place.durable);
            }
            match step.start_xid {
                Some(0) => return None,
                Some(xid) => place = place.cut_at(xid),
                None => {}
            }
        }
        Some(place)
    }
}

/// The lives from an epoch to the present one. None when it is not one of this database.
pub(super) async fn lives_since(
    connection: &mut PgConnection,
    epoch: Epoch,
) -> Result<Option<Path>, Error> {
    let doing = "look up the epochs of the feed";
    // What a backend got from `rowcast_cursor()` names its life by a hash.
    let first = if epoch.number == 0 {
        sqlx::query_scalar!(
            r#"SELECT epoch FROM rowcast_epochs
                WHERE ('x' || left(md5(concat_ws(' ', system_id, timeline, boot, crash)), 8))::bit(32)::bigint = $1
                ORDER BY epoch LIMIT 1"#,
            i64::from(epoch.tag),
        )
        .fetch_optional(&mut *connection)
        .await
        .map_err(Error::database(doing))?
    } else {
        i64::try_from(epoch.number).ok()
    };
    let Some(first) = first else { return Ok(None) };
    let lives = sqlx::query!(
        r#"SELECT epoch, tag, system_id, timeline, crash, start_xid::text AS "start_xid!"
             FROM rowcast_epochs WHERE epoch >= $1 ORDER BY epoch"#,
        first,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(Error::database(doing))?;
    let [then, since @ ..] = &lives[..] else {
        return Ok(None);
    };
    let known = then.epoch == first && (epoch.number == 0 || then.tag as u32 == epoch.tag);
    if !known || since.iter().any(|life| life.system_id != then.system_id) {
        return Ok(None);
    }
    let mut steps = Vec::with_capacity(since.len());
    let mut before = then;
    for life in since {
        let start_xid = (life.timeline != before.timeline)
            .then(|| life.start_xid.parse())
            .transpose()
            .map_err(|_| Error::Unusable("an epoch has no start".into()))?;
        steps.push(Step {
            crashed: life.crash != before.crash,
            start_xid,
        });
        before = life;
    }
    let epoch = Epoch {
        number: before.epoch.cast_unsigned(),
        tag: before.tag as u32,
    };
    Ok(Some(Path { epoch, steps }))
}

/// Leaves a mark in a life: whatever history has it has all transactions before it. Cheap, and nobody waits for it: it
/// neither waits for the disk nor for another server that does the same.
pub(super) async fn leave_mark(
    connection: &mut PgConnection,
    epoch: Epoch,
) -> Result<(), sqlx::Error> {
    // The timeline is asked for by the same statement: a pooler may have given us a server that was promoted meanwhile,
    // and a mark of its would pass for one of the primary.
    sqlx::query!(
        r#"UPDATE rowcast_epochs SET mark = pg_current_xact_id()
            WHERE epoch = (SELECT epoch FROM rowcast_epochs
                            WHERE epoch = $1
                              AND system_id = (SELECT system_identifier FROM pg_control_system())
                              AND timeline = left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
                              FOR UPDATE SKIP LOCKED)
              AND set_config('synchronous_commit', 'off', true) = 'off'"#,
        epoch.number.cast_signed(),
    )
    .execute(connection)
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_durable_when_the_log_written_after_it_is_on_the_disk() {
        let epoch = Epoch { number: 1, tag: 1 };
        let mut durable = Durable::from_checkpoint(epoch, 700);
        assert_eq!(durable.note(710, 1000, 1000), 710);
        assert_eq!(
            durable.note(720, 2000, 1500),
            710,
            "2000 is not on the disk"
        );
        assert_eq!(durable.note(730, 3000, 1999), 710);
        assert_eq!(
            durable.note(740, 4000, 2000),
            720,
            "what was first looked at at 2000 is"
        );
        assert_eq!(durable.note(740, 4000, 3999), 720);
        assert_eq!(durable.note(750, 5000, 4500), 740);
        assert_eq!(durable.note(750, 5000, 5000), 750);
    }
}
