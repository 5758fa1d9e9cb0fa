//! How a row is known again: who wrote it, and which of his it is.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use crate::error::Error;
use crate::event::{Channel, EventId, NewEvent};
use crate::source::Probe;

/// The payload of a row. No two rows of a run have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct RowKey {
    /// Who wrote it.
    pub writer: u32,
    /// Ascends by one with every row of the writer.
    pub number: u64,
}

impl RowKey {
    pub(super) fn event(self, channel: &Channel) -> NewEvent {
        NewEvent::new(
            channel.clone(),
            "rowcast.verify",
            to_raw_value(&self).expect("two numbers are JSON"),
        )
    }
}

/// The rows that are there.
pub(super) async fn in_table(
    ledger: &dyn Probe,
    channel: &Channel,
    after: EventId,
) -> Result<HashSet<RowKey>, Error> {
    let payloads = ledger.find(channel, after).await?;
    Ok(payloads
        .iter()
        .filter_map(|payload| serde_json::from_str(payload).ok())
        .collect())
}
