//! Flags about who is on which channel.

use std::time::Duration;

use clap::Args;

use super::duration::presence_ttl;
use crate::event::ChannelPattern;
use crate::presence::PresenceOptions;

/// Flags of `rowcast serve` about presence.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Presence")]
pub struct PresenceArgs {
    /// Keep, and tell whoever may subscribe to them, which users are on these channels: a name, or a pattern such as
    /// room:* for all below; may be repeated. A user is on a channel with a subscription to exactly that one, on any
    /// server of the database. [default: none]
    #[arg(
        long,
        value_name = "CHANNEL",
        value_parser = channel,
        value_delimiter = ' ',
        env = "ROWCAST_PRESENCE"
    )]
    pub presence: Vec<ChannelPattern>,

    /// How long users stay on their channels after their server was heard of last, as when its machine is lost. The
    /// servers of a database renew themselves three times within it.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = presence_ttl, env = "ROWCAST_PRESENCE_TTL")]
    pub presence_ttl: Duration,

    /// Most users of a channel that are kept and told. Of more, it is told that there are more.
    #[arg(long, value_name = "USERS", default_value_t = PresenceOptions::default().members_max as u32, value_parser = clap::value_parser!(u32).range(1..=100_000), env = "ROWCAST_MAX_PRESENCE", help_heading = "Limits")]
    pub max_presence: u32,
}

impl PresenceArgs {
    /// What these flags mean. None: nothing is kept.
    pub(super) fn options(self) -> Option<PresenceOptions> {
        (!self.presence.is_empty()).then_some(PresenceOptions {
            channels: self.presence,
            ttl: self.presence_ttl,
            members_max: self.max_presence as usize,
        })
    }
}

/// A channel or pattern, as the text of the flag shows.
fn channel(text: &str) -> Result<ChannelPattern, String> {
    ChannelPattern::parse(text).map_err(|error| {
        format!("{error}; write a name such as tasks, or a pattern such as room:*")
    })
}
