//! Who is there: clients, and how many of them subscribe to which channel.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Request;

/// How long the shards may take to answer: they do between two batches.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Who is there, in one shard or in all.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Clients connected.
    pub clients: usize,
    /// Subscribers of each channel or pattern that has any.
    pub channels: HashMap<Box<str>, usize>,
}

/// Asks all shards. It costs each a copy of its names. None when one does not answer in time.
pub(super) async fn take(shards: &[mpsc::Sender<Request>]) -> Option<Census> {
    let ask = async {
        let mut answers = Vec::new();
        for shard in shards {
            let (answer, answered) = oneshot::channel();
            shard.send(Request::Census(answer)).await.ok()?;
            answers.push(answered);
        }
        let mut all = Census::default();
        for answered in answers {
            let one = answered.await.ok()?;
            all.clients += one.clients;
            for (name, subscribers) in one.channels {
                *all.channels.entry(name).or_default() += subscribers;
            }
        }
        Some(all)
    };
    timeout(ANSWER_TIMEOUT, ask).await.ok().flatten()
}
