//! `Seat`: a connection's place in the hub, through which it asks its shard.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Request;
use crate::auth::{Permit, Revocations};
use crate::stats::Counters;

/// A connection's place in the hub. It counts as connected until it is dropped.
pub(crate) struct Seat {
    connection: u64,
    /// None once it has left.
    shard: Option<mpsc::Sender<Request>>,
    counters: Arc<Counters>,
}

impl Seat {
    /// Takes a place. It counts from now on.
    pub(super) fn take(
        connection: u64,
        shard: mpsc::Sender<Request>,
        counters: Arc<Counters>,
    ) -> Self {
        counters.connections.add(1);
        Self {
            connection,
            shard: Some(shard),
            counters,
        }
    }

    pub fn connection(&self) -> u64 {
        self.connection
    }

    /// Waits while the shard has too much to do: whoever asks faster than it answers is slowed down.
    pub async fn ask(&self, request: Request) {
        if let Some(shard) = &self.shard {
            // When it fails, the hub has ended, and the connection is about to.
            let _ = shard.send(request).await;
        }
    }

    pub fn has_left(&self) -> bool {
        self.shard.is_none()
    }

    /// Ends permissions that were revoked while they were being taken in: those that were there then, the hub ends.
    pub async fn check_permits(&self, permits: &[Permit], revocations: Revocations) {
        if permits
            .iter()
            .any(|permit| revocations.is_taken_back(permit))
        {
            let is_meant = Arc::new(move |permit: &Permit| revocations.is_taken_back(permit));
            self.ask(Request::TakeBack { is_meant }).await;
        }
    }

    /// Gives up all subscriptions. Nothing is sent to the connection any more.
    pub fn leave(&mut self) {
        let Some(shard) = self.shard.take() else {
            return;
        };
        let request = Request::Remove {
            connection: self.connection,
        };
        if let Err(mpsc::error::TrySendError::Full(request)) = shard.try_send(request) {
            // Thousands may leave at once, and none may be forgotten.
            tokio::spawn(async move { shard.send(request).await });
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
        self.counters.connections.subtract(1);
    }
}
