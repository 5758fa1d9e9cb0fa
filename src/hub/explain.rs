//! What became of one event for the connections of a user: the question, and what a shard knows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Request;
use super::history::{BatchNumber, History};
use crate::event::EventId;

/// How long the shards may take to answer: they do between two batches.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections a shard tells of.
pub(super) const ACCOUNTS_MAX: usize = 100;

/// An event, and whose connections are asked about.
pub(crate) struct Question {
    /// The `channel` of the row.
    pub channels: String,
    /// None: everybody's.
    pub user: Option<String>,
    /// Whether the feed has read it.
    pub is_read: bool,
    /// The batch that has it, where it is in memory.
    pub batch: Option<BatchNumber>,
}

/// What is known of all.
pub(crate) struct Explained {
    /// Whether the feed has read it.
    pub is_read: bool,
    /// Each connection.
    pub accounts: Vec<Account>,
}

/// What is known of one connection.
pub(crate) struct Account {
    pub connection: u64,
    pub user: Option<Arc<str>>,
    /// Which of its subscriptions the event matches.
    pub matched: Vec<String>,
    /// All that it subscribes to, and all that it may.
    pub subscriptions: Vec<String>,
    pub grants: Vec<String>,
    pub verdict: Verdict,
}

/// How far the event has come. The first that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has yet to say who it is.
    NoToken,
    /// No grant covers any of the channels.
    NotGranted,
    /// It has not asked for it.
    NotSubscribed,
    /// The feed has not read it.
    NotRead,
    /// It was opened after the event had been handed out.
    OpenedLater,
    /// It is behind, and is sent what it missed.
    CatchingUp,
    /// It was handed out before what is in memory.
    TooLongAgo,
    /// Its shard has yet to hand it out.
    NotYet,
    /// It was handed out, and the socket has yet to take this or what came after it.
    Queued,
    /// The socket has it.
    Written,
}

/// Asks all shards.
pub(super) async fn ask(
    shards: &[mpsc::Sender<Request>],
    history: &History,
    event: EventId,
    transaction: Option<u64>,
    channels: &str,
    user: Option<&str>,
) -> Option<Explained> {
    let is_read = history.end().0.covers(event, transaction);
    let question = Arc::new(Question {
        channels: channels.to_owned(),
        user: user.map(str::to_owned),
        is_read,
        batch: history.batch_of(event),
    });
    let ask = async {
        let mut answers = Vec::new();
        for shard in shards {
            let (answer, answered) = oneshot::channel();
            let request = Request::Explain(Arc::clone(&question), answer);
            shard.send(request).await.ok()?;
            answers.push(answered);
        }
        let mut accounts = Vec::new();
        for answered in answers {
            accounts.extend(answered.await.ok()?);
        }
        Some(Explained { is_read, accounts })
    };
    timeout(ANSWER_TIMEOUT, ask).await.ok().flatten()
}
