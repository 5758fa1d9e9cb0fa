//! Samples of the rows of a SQLite file.

use futures_util::TryStreamExt as _;

use super::slot::Slot;
use super::{connect_options, explain_shape};
use crate::error::Error;
use crate::source::sample::Sample;
use crate::source::{DatabaseConfig, Migrate};

/// The newest rows.
pub(crate) async fn read_samples(
    config: &DatabaseConfig,
    rows_max: u32,
    visit: &mut (dyn FnMut(Sample) + Send),
) -> Result<(), Error> {
    let doing = "read the newest events";
    let mut open = Slot::new(connect_options(config, Migrate::Off)?)
        .take()
        .await?;
    let rows_max = i64::from(rows_max);
    // As bytes: text that is not UTF-8 spoils its own row only.
    let mut rows = sqlx::query!(
        r#"SELECT CAST(channel AS BLOB) AS "channel?: Vec<u8>", CAST(type AS BLOB) AS "kind?: Vec<u8>",
                  CAST(payload AS BLOB) AS "payload?: Vec<u8>"
             FROM events ORDER BY id DESC LIMIT ?"#,
        rows_max
    )
    .fetch(&mut open.connection);
    let text = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    while let Some(row) = rows
        .try_next()
        .await
        .map_err(Error::database(doing))
        .map_err(explain_shape)?
    {
        if let Some(sample) = Sample::of(text(row.channel), text(row.kind), text(row.payload)) {
            visit(sample);
        }
    }
    Ok(())
}
