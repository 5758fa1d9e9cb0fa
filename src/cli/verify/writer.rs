//! Connections that write, and what they know of their rows: committed, rolled back, or nobody told them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::rows::RowKey;
use crate::error::Error;
use crate::event::Channel;
use crate::source::{Ending, Probe};

/// Most rows of one transaction.
const TRANSACTION_ROWS_MAX: u64 = 5;

/// How long a transaction stays open at most, where the database allows it: longer than a server polls while events
/// flow, so that ids and commits are out of order across looks.
const HOLD_MAX: Duration = Duration::from_millis(50);

/// One transaction of so many is rolled back.
const ROLLBACK_ONE_IN: u32 = 16;

/// A database that does not answer is given up, and the transaction's fate is unknown.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two attempts to write while the database is away.
const RETRY: Duration = Duration::from_millis(200);

/// How far writing may fall behind the rate and still make up for it.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// A row, and what became of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub key: RowKey,
    pub fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The database said so at this time.
    Committed(Instant),
    RolledBack,
    /// No answer, or an error: only the table knows.
    Unknown,
}

/// Writes one row, as writer 0, and does not take a failure lightly.
pub(super) async fn write_first(
    probe: &dyn Probe,
    channel: &Channel,
) -> Result<Vec<Written>, Error> {
    let key = RowKey {
        writer: 0,
        number: 1,
    };
    let ending = Ending {
        hold: Duration::ZERO,
        commit: true,
    };
    probe.insert(&[key.event(channel)], ending).await?;
    let fate = Fate::Committed(Instant::now());
    Ok(vec![Written { key, fate }])
}

/// Writes about `pace` rows a second until it is told to stop, whatever happens to the database.
pub(super) async fn writer(
    writer: u32,
    probe: Arc<dyn Probe>,
    channel: Channel,
    pace: f64,
    stop: Arc<AtomicBool>,
) -> Vec<Written> {
    let mut written = Vec::new();
    let mut number = 0;
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let count = fastrand::u64(1..=TRANSACTION_ROWS_MAX);
        let keys: Vec<_> = (number + 1..=number + count)
            .map(|number| RowKey { writer, number })
            .collect();
        number += count;
        let events: Vec<_> = keys.iter().map(|key| key.event(&channel)).collect();
        let ending = Ending {
            hold: HOLD_MAX.mul_f64(fastrand::f64()),
            commit: fastrand::u32(..ROLLBACK_ONE_IN) > 0,
        };
        let inserted = timeout(ANSWER_TIMEOUT, probe.insert(&events, ending)).await;
        let answered = Instant::now();
        if let Ok(Err(error)) = &inserted {
            tracing::debug!("failed to {error}");
            sleep(RETRY).await;
        }
        let fate = match inserted {
            // It was not even sent.
            Ok(Err(Error::Connect { .. })) => continue,
            _ if !ending.commit => Fate::RolledBack,
            Ok(Ok(())) => Fate::Committed(answered),
            _ => Fate::Unknown,
        };
        written.extend(keys.into_iter().map(|key| Written { key, fate }));
        due += Duration::from_secs_f64(count as f64 / pace);
        due = due.max(Instant::now() - BEHIND_MAX);
        while Instant::now() < due && !stop.load(Ordering::Relaxed) {
            sleep_until(due.min(Instant::now() + RETRY)).await;
        }
    }
    written
}
