//! A shard by the hand of a benchmark, without its task.

use std::sync::Arc;

use super::super::Request;
use super::Shard;
use crate::protocol::{Encoded, Shapes};
use crate::tail::Batch;

impl Shard {
    pub fn shapes(&self) -> &Shapes {
        &self.sources.shapes
    }

    /// A batch as the hub would hand it over.
    pub fn encoded(&self, batch: Batch) -> Encoded {
        let encoded = self.sources.encoded(Arc::new(batch));
        for shape in self.sources.shapes.in_use() {
            encoded.shaped(shape);
        }
        encoded
    }

    /// Does what a connection asks for.
    pub async fn ask(&mut self, request: Request) {
        self.answer(request).await;
    }

    /// Delivers a batch; gives to how many connections.
    pub async fn hand_out(&mut self, batch: &Encoded) -> u64 {
        self.deliver(self.next, batch).await;
        self.plan.receivers.len() as u64
    }
}
