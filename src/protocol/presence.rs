//! What is told of who is on a channel.

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::ErrorCode;
use crate::presence::{Member, Told};

/// Who is on a channel.
#[derive(Debug, Serialize)]
pub(crate) struct Present<'a> {
    /// How many of them there are, up to the number that are kept.
    pub count: usize,
    /// Whether there are more, or not all are told here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    pub members: &'a [Member],
}

impl<'a> Present<'a> {
    /// As much of what is told as there is room for in so many bytes, which are less then.
    pub fn of(told: &'a Told, bytes_max: &mut usize) -> Self {
        let members = told.within(bytes_max);
        Self {
            count: told.members.len(),
            more: told.more || members.len() < told.members.len(),
            members,
        }
    }
}

/// What is told of one channel to whoever asked for its presence.
#[derive(Debug)]
pub(crate) struct PresenceAnswer<'a> {
    pub channel: &'a str,
    /// None: it is not known who is there.
    pub present: Option<Present<'a>>,
}

/// Tells why nothing is told of a channel.
const NO_PRESENCE: &str = "there is no presence here: the server keeps it for channels of --presence, and for no patterns";

/// Answers, which are an object by their channels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PresenceAnswers<'a>(pub &'a [PresenceAnswer<'a>]);

impl Serialize for PresenceAnswers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct NotKept {
            code: ErrorCode,
            message: &'static str,
        }
        const NOT_KEPT: NotKept = NotKept {
            code: ErrorCode::NoPresence,
            message: NO_PRESENCE,
        };
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for PresenceAnswer { channel, present } in self.0 {
            match present {
                Some(present) => map.serialize_entry(channel, present)?,
                None => map.serialize_entry(channel, &NOT_KEPT)?,
            }
        }
        map.end()
    }
}

/// What has become different.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum PresenceEvent<'a> {
    Join(&'a Member),
    Leave {
        user: &'a str,
    },
    /// All that is to be known, as the client missed some of it.
    State(Present<'a>),
}
