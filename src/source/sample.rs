//! What `rowcast gen types` looks at: the newest rows of a table, as far as they have a shape.

use super::{DatabaseConfig, DatabaseKind};
use crate::error::Error;
use crate::event::Channels;

/// What a row shows of its kind.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub channels: Channels,
    pub kind: String,
    /// JSON, as the database understands it.
    pub payload: String,
}

impl Sample {
    /// None where a row is no event, as a view may let it through.
    pub(super) fn of(
        channel: Option<String>,
        kind: Option<String>,
        payload: Option<String>,
    ) -> Option<Self> {
        Some(Self {
            channels: Channels::parse(&channel?).ok()?,
            kind: kind?,
            payload: payload?,
        })
    }
}

/// Shows the newest rows, so many at most, one after the other. The tables are taken as they are.
///
/// # Errors
/// When the database is not reachable, or has no such table.
pub(crate) async fn read_samples(
    config: &DatabaseConfig,
    rows_max: u32,
    visit: &mut (dyn FnMut(Sample) + Send),
) -> Result<(), Error> {
    match config.url.kind() {
        #[cfg(feature = "postgres")]
        DatabaseKind::Postgres => super::postgres::read_samples(config, rows_max, visit).await,
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite => super::sqlite::read_samples(config, rows_max, visit).await,
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        _ => unreachable!("DatabaseUrl::parse refuses databases that were not built in"),
    }
}
