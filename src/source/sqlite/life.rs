//! Lives of a SQLite file: within one no id is used twice, so positions can be compared; none has a place in the next.

use sqlx::sqlite::SqliteConnection;

use super::file::FileIdentity;
use crate::cursor::{Cursor, Epoch, Position};
use crate::error::Error;

/// The file that was there last, or none if that is gone, and how far it had come.
pub(super) struct Known {
    pub file: Option<FileIdentity>,
    epoch: Epoch,
    /// The highest id that was seen in the epoch.
    highest: i64,
}

impl Known {
    /// Whether ids are below those of the same epoch: `sqlite_sequence` was emptied, or a backup restored into the open
    /// file. They will pass the places of clients that are away now, so those must not count any more.
    pub fn went_back(&self, edge: &Cursor) -> bool {
        matches!(edge.position, Position::Id(id) if edge.epoch == self.epoch && id < self.highest)
    }

    pub fn note(&mut self, edge: &Cursor) {
        self.epoch = edge.epoch;
        self.highest = edge.id().unwrap_or(0);
    }
}

/// Begins an epoch in a file that took the place of another and is of the same one: a copy. Its ids count on from when it
/// was made, and so did those of the file that clients have their places in.
pub(super) async fn get_to_know(
    known: &mut Option<Known>,
    file: Option<FileIdentity>,
    connection: &mut SqliteConnection,
) -> Result<(), Error> {
    let mut epoch = epoch_of(connection).await?;
    let mut highest = 0;
    match known {
        Some(known) if known.file != file && known.epoch == epoch => {
            begin_epoch(connection, epoch).await?;
            epoch = epoch_of(connection).await?;
        }
        Some(known) if known.epoch == epoch => highest = known.highest,
        _ => {}
    }
    *known = Some(Known {
        file,
        epoch,
        highest,
    });
    Ok(())
}

/// Begins an epoch after the given one. One statement, so that of several servers that notice one begins it, and the
/// others find it begun.
pub(super) async fn begin_epoch(
    connection: &mut SqliteConnection,
    after: Epoch,
) -> Result<(), Error> {
    let number = after.number.cast_signed();
    sqlx::query!(
        "INSERT INTO rowcast_epochs (tag) SELECT abs(random()) % 4294967296
          WHERE ? = (SELECT max(epoch) FROM rowcast_epochs)",
        number
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(Error::database("begin an epoch in the file"))
}

pub(super) async fn epoch_of(connection: &mut SqliteConnection) -> Result<Epoch, Error> {
    let row = sqlx::query!("SELECT epoch, tag FROM rowcast_epochs ORDER BY epoch DESC LIMIT 1")
        .fetch_one(connection)
        .await
        .map_err(Error::database("look up the epoch of the feed"))?;
    Ok(Epoch {
        number: row.epoch.cast_unsigned(),
        tag: row.tag as u32,
    })
}
