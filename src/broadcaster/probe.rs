//! `Probe`: an item without content that goes the way of a batch, to find out whether one would come through.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Item, Shared};

/// One probe. Each of those who would deliver a batch says when it has come to them.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    passed: watch::Sender<usize>,
}

impl Probe {
    /// It has come to one of them.
    pub fn pass(&self) {
        self.passed.send_modify(|passed| *passed += 1);
    }

    /// How many it has come to.
    pub fn passed(&self) -> usize {
        *self.passed.borrow()
    }

    /// Waits until it has come to so many.
    pub async fn passes(&self, number: usize) {
        let mut passed = self.passed.subscribe();
        // It does not fail: the sender is ours.
        let _ = passed.wait_for(|passed| *passed >= number).await;
    }
}

/// Sends probes, and knows when the table was looked at. It does not keep the feed going.
pub(crate) struct Prober {
    shared: Arc<Shared>,
}

impl Prober {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Sends a probe. Where the queue is full, it waits in a task of its own.
    pub fn send(&self) -> Arc<Probe> {
        let probe = Arc::new(Probe::default());
        let (shared, item) = (Arc::clone(&self.shared), Item::Probe(Arc::clone(&probe)));
        tokio::spawn(async move { shared.hand_out(item).await });
        probe
    }

    /// How long ago the table was looked at, or read on.
    pub fn looked(&self) -> Duration {
        self.shared.counters.looked.age()
    }

    /// How often it is looked at when nothing happens.
    pub fn interval(&self) -> Duration {
        self.shared.interval.max
    }
}
