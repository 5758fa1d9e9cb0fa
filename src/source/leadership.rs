//! Who of several relays leads: the `Leadership` trait, a lock in the database that all of them have. What a leader does
//! is not decided here.

use futures_util::future::BoxFuture;

use super::{DatabaseConfig, refuse_relay_from};
use crate::error::Error;

/// A place that one of several has at a time, for as long as its connection to the database lives.
///
/// It is a courtesy, not a fence: who is frozen while he holds it does not know when he has lost it. What he does must be
/// harmless then.
pub(crate) trait Leadership: Send {
    /// Takes the place if it is free. Gives whether it was.
    ///
    /// # Errors
    /// When the database is not reachable.
    fn take(&mut self) -> BoxFuture<'_, Result<bool, Error>>;

    /// Asks whether the place is still ours.
    ///
    /// # Errors
    /// When it is not, or nobody can tell; then it is given up.
    fn check(&mut self) -> BoxFuture<'_, Result<(), Error>>;

    /// Gives the place up, so that another has it at once.
    fn give_up(&mut self) -> BoxFuture<'_, ()>;
}

/// The place for relays of this database into the stream of this name. Connects to nothing yet.
///
/// # Errors
/// [`Error::Config`] where the database is one that a fleet cannot share.
pub(crate) fn open_leadership(
    config: &DatabaseConfig,
    stream: &str,
) -> Result<Box<dyn Leadership>, Error> {
    refuse_relay_from(config)?;
    #[cfg(feature = "postgres")]
    return Ok(Box::new(super::postgres::PostgresLeadership::new(
        config, stream,
    )?));
    #[cfg(not(feature = "postgres"))]
    unreachable!("DatabaseUrl::parse refuses {stream:?} from databases that were not built in");
}
