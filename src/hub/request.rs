//! What a shard is asked for, and what it is given to distribute.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::catch_up::Join;
use super::explain::{Account, Question};
use super::history::BatchNumber;
use super::{Census, Connection, Ending, Roll, Whose};
use crate::auth::{Identity, Permit};
use crate::broadcaster::{Ephemeral, Probe};
use crate::event::ChannelPattern;
use crate::presence::News;
use crate::protocol::{Encoded, RequestId, Shape, Since};

/// What a shard is asked for. `connection` numbers are unique within the hub.
pub(crate) enum Request {
    Open {
        connection: u64,
        outlet: Arc<dyn Connection>,
        shape: Shape,
        /// None: it has yet to say who it is.
        identity: Option<Arc<Identity>>,
    },
    /// The client has said who it is, the first time or with a fresh token.
    Identify {
        connection: u64,
        identity: Arc<Identity>,
        id: Option<RequestId>,
        /// Whether that was all it said, and is answered.
        is_answered: bool,
    },
    Welcome {
        connection: u64,
        id: Option<RequestId>,
    },
    Subscribe {
        connection: u64,
        id: Option<RequestId>,
        channels: Vec<ChannelPattern>,
        since: Since,
        permits: Vec<Permit>,
        /// Whether it is to be told who is on the channels.
        presence: bool,
    },
    /// Tell of who came to channels, and who left.
    Presence(Arc<News>),
    Unsubscribe {
        connection: u64,
        id: Option<RequestId>,
        channels: Vec<ChannelPattern>,
    },
    Pong {
        connection: u64,
        id: Option<RequestId>,
    },
    /// Send something, so that the connection is known to live.
    KeepAlive {
        connection: u64,
    },
    Remove {
        connection: u64,
    },
    Join(Box<Join>),
    /// Tell everybody to come back elsewhere or later, and close their connections one after the other.
    Drain {
        grace: Duration,
        ending: Ending,
    },
    /// Close the connections of some.
    Disconnect {
        is_meant: Arc<dyn Fn(&Identity) -> bool + Send + Sync>,
        ending: Ending,
    },
    /// End permissions for single channels.
    TakeBack {
        is_meant: Arc<dyn Fn(&Permit) -> bool + Send + Sync>,
    },
    /// Say what became of an event for some.
    Explain(Arc<Question>, oneshot::Sender<Vec<Account>>),
    /// Say who is there.
    Census(oneshot::Sender<Census>),
    /// Say it one by one.
    Roll(Whose, oneshot::Sender<Roll>),
}

/// What a shard is given to distribute.
#[derive(Clone)]
pub(crate) enum Delivery {
    Batch(BatchNumber, Arc<Encoded>),
    Ephemeral(Arc<Ephemeral>),
    Probe(Arc<Probe>),
}
