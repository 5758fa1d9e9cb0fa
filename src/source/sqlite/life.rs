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
    /// When its row was created, if it was there.
    created_at: Option<String>,
}

/// The present position, and what tells whether it comes after the one before.
pub(super) struct Present {
    pub edge: Cursor,
    /// When the row of the highest id was created, and when that of the highest id before.
    created_at: Option<String>,
    created_at_before: Option<String>,
}

impl Known {
    /// Whether ids went back in the same epoch: `sqlite_sequence` was emptied, or a backup restored into the open file.
    /// They will pass the places of clients that are away now, so those must not count any more. They may have passed
    /// ours already: then the row that was the last is another.
    pub fn went_back(&self, present: &Present) -> bool {
        let id = present.edge.id().unwrap_or(0);
        let replaced = self.created_at.is_some()
            && present.created_at_before.is_some()
            && self.created_at != present.created_at_before;
        present.edge.epoch == self.epoch && (id < self.highest || replaced)
    }

    pub fn note(&mut self, present: &Present) {
        self.epoch = present.edge.epoch;
        self.highest = present.edge.id().unwrap_or(0);
        self.created_at.clone_from(&present.created_at);
    }
}

/// Asks for the present position. `known` is what is known of the file.
pub(super) async fn present(
    connection: &mut SqliteConnection,
    known: Option<&Known>,
) -> Result<Present, Error> {
    let before = known.map_or(0, |known| known.highest);
    // The epoch is read every time: a backup may be restored into the open file.
    // sqlite_sequence remembers ids whose rows are gone; a view has none, so the rows themselves count too.
    let row = sqlx::query!(
        r#"WITH present AS (
             SELECT epoch, tag, max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0),
                                    coalesce((SELECT max(id) FROM events), 0)) AS id
               FROM rowcast_epochs ORDER BY epoch DESC LIMIT 1)
           SELECT epoch AS "epoch!: i64", tag AS "tag!: i64", id AS "id!: i64",
                  (SELECT CAST(e.created_at AS TEXT) FROM events e WHERE e.id = p.id) AS "created_at?: String",
                  (SELECT CAST(e.created_at AS TEXT) FROM events e WHERE e.id = ?) AS "created_at_before?: String"
             FROM present p"#,
        before
    )
    .fetch_one(connection)
    .await
    .map_err(Error::database("ask for the present position"))?;
    Ok(Present {
        edge: Cursor {
            epoch: Epoch {
                number: row.epoch.cast_unsigned(),
                tag: row.tag as u32,
            },
            position: Position::Id(row.id),
        },
        created_at: row.created_at,
        created_at_before: row.created_at_before,
    })
}

/// Begins an epoch in a file that took the place of another and is of the same one: a copy. Its ids count on from when it
/// was made, and so did those of the file that clients have their places in.
pub(super) async fn get_to_know(
    known: &mut Option<Known>,
    file: Option<FileIdentity>,
    connection: &mut SqliteConnection,
) -> Result<(), Error> {
    let mut epoch = epoch_of(connection).await?;
    let mut last = (0, None);
    match known {
        Some(known) if known.file != file && known.epoch == epoch => {
            begin_epoch(connection, epoch).await?;
            epoch = epoch_of(connection).await?;
        }
        Some(known) if known.epoch == epoch => last = (known.highest, known.created_at.take()),
        _ => {}
    }
    let (highest, created_at) = last;
    *known = Some(Known {
        file,
        epoch,
        highest,
        created_at,
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
