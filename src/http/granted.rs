//! What of the channels of a plain request is granted.

use std::time::Duration;

use warp::http::StatusCode;

use super::problem;
use super::query::Refusal;
use crate::auth::{Grants, Identity, Permit, now};
use crate::event::ChannelPattern;

/// What of the channels of a request is granted.
pub(super) struct Granted {
    /// What is received.
    pub patterns: Vec<ChannelPattern>,
    /// What is not granted at all.
    pub rejected: Vec<String>,
    /// For how long it is granted.
    pub lasts: Duration,
}

impl Granted {
    /// Finds out what is.
    ///
    /// # Errors
    /// The answer where nothing is.
    pub fn of(
        identity: &Identity,
        permits: &[Permit],
        channels: &[ChannelPattern],
    ) -> Result<Self, Refusal> {
        let own = identity.grants.patterns().iter();
        let grants = Grants::new(
            own.chain(permits.iter().map(|permit| &permit.pattern))
                .cloned(),
        );
        let mut patterns = Vec::new();
        let mut rejected = Vec::new();
        for channel in channels {
            let parts = grants.narrow(channel);
            if parts.is_empty() {
                rejected.push(channel.as_str().to_owned());
            }
            patterns.extend(parts);
        }
        if patterns.is_empty() {
            let message = format!("your token does not grant {}", rejected.join(", "));
            return Err(problem(StatusCode::FORBIDDEN, "forbidden", &message).into());
        }
        let ends = permits.iter().map(|permit| permit.expires_at);
        let ends = ends.chain([identity.expires_at]).flatten().min();
        let lasts = ends.map_or(Duration::MAX, |at| {
            Duration::from_secs(at.saturating_sub(now()))
        });
        Ok(Self {
            patterns,
            rejected,
            lasts,
        })
    }
}
