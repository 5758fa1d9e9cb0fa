//! Samples of the rows of a PostgreSQL table.

use futures_util::TryStreamExt as _;

use super::connect::connect_options;
use super::explain_shape;
use super::slot::Slot;
use crate::error::Error;
use crate::source::DatabaseConfig;
use crate::source::sample::Sample;

/// The newest rows.
pub(crate) async fn read_samples(
    config: &DatabaseConfig,
    rows_max: u32,
    visit: &mut (dyn FnMut(Sample) + Send),
) -> Result<(), Error> {
    let doing = "read the newest events";
    let mut slot = Slot::new(connect_options(config)?, config.url.to_string());
    let mut connection = slot.take().await?;
    let mut rows = sqlx::query!(
        r#"SELECT channel::text AS "channel?", type::text AS "kind?", payload::text AS "payload?"
             FROM events ORDER BY id DESC LIMIT $1"#,
        i64::from(rows_max)
    )
    .fetch(&mut connection);
    while let Some(row) = rows
        .try_next()
        .await
        .map_err(Error::database(doing))
        .map_err(explain_shape)?
    {
        if let Some(sample) = Sample::of(row.channel, row.kind, row.payload) {
            visit(sample);
        }
    }
    Ok(())
}
