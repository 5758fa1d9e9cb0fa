//! Who is connected, one by one, for whoever looks at a server: the question, and what is told of each.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Request;

/// How long the shards may take to answer: they do between two batches.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Most connections that are told of: those for which the most waits.
pub(crate) const ENTRIES_MAX: usize = 1000;

/// Channels of a connection that are told; of the others, the number.
pub(super) const CHANNELS_SHOWN: usize = 8;

/// Whose connections are asked about.
#[derive(Debug, Clone)]
pub(crate) enum Whose {
    /// Everybody's.
    All,
    /// Those of one user.
    User(Arc<str>),
}

impl Whose {
    /// Whether a connection of this user, or of nobody, is meant.
    pub fn includes(&self, user: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::User(own) => user == Some(&**own),
        }
    }
}

/// Connections, those for which the most waits first.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    /// How many are meant, told of or not.
    pub count: usize,
    pub entries: Vec<Entry>,
}

/// What is told of a connection. Nothing of where it comes from.
#[derive(Debug)]
pub(crate) struct Entry {
    pub connection: u64,
    pub user: Option<Arc<str>>,
    pub is_web_socket: bool,
    /// None: the default protocol.
    pub preset: Option<String>,
    /// When it was opened, in seconds since 1970.
    pub opened_at: u64,
    /// The first few of what it subscribes to, in order.
    pub channels: Vec<String>,
    pub channel_count: usize,
    /// Bytes that wait for its socket.
    pub queued_bytes: usize,
    pub standing: Standing,
}

/// How a connection stands to the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has yet to say who it is.
    NoToken,
    /// It subscribes to nothing.
    Idle,
    /// It is behind, and is sent what it missed.
    CatchingUp,
    /// It is given every batch as it comes.
    Live,
}

impl Roll {
    /// Puts those first for which the most waits, and leaves out who is not told of.
    fn sort(&mut self) {
        let order = |entry: &Entry| (Reverse(entry.queued_bytes), entry.connection);
        self.entries.sort_unstable_by_key(order);
        self.entries.truncate(ENTRIES_MAX);
    }
}

/// Asks all shards. It costs each a look at all of its connections. None when one does not answer in time.
pub(super) async fn call(shards: &[mpsc::Sender<Request>], whose: &Whose) -> Option<Roll> {
    let ask = async {
        let mut answers = Vec::new();
        for shard in shards {
            let (answer, answered) = oneshot::channel();
            let request = Request::Roll(whose.clone(), answer);
            shard.send(request).await.ok()?;
            answers.push(answered);
        }
        let mut all = Roll::default();
        for answered in answers {
            let one = answered.await.ok()?;
            all.count += one.count;
            all.entries.extend(one.entries);
        }
        all.sort();
        Some(all)
    };
    timeout(ANSWER_TIMEOUT, ask).await.ok().flatten()
}
