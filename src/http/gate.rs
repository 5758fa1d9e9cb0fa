//! `Gate`: who gets in. What every route asks before it answers.

use std::sync::Arc;
use std::time::Duration;

use warp::http::StatusCode;
use warp::http::header::HeaderMap;

use super::problem;
use super::query::Refusal;
use super::token::{self, Entrance};
use crate::auth::{AuthError, Authenticator, Grants, Identity, Permit, now};
use crate::event::ChannelPattern;

/// The parameter of a URL that has a token for one channel.
pub(super) const CHANNEL_TOKEN: &str = "channel_token";

/// The cookie that may have a token, unless told otherwise.
pub const TOKEN_COOKIE: &str = "rowcast_token";

/// Who gets in, over HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    pub(super) authenticator: Authenticator,
    /// The cookie that may have a token.
    cookie: Arc<str>,
}

impl Gate {
    /// Lets in whoever this accepts.
    #[must_use]
    pub fn new(authenticator: Authenticator) -> Self {
        Self {
            authenticator,
            cookie: TOKEN_COOKIE.into(),
        }
    }

    /// Who a request is from. None where that is still to be said.
    pub(super) async fn entrance(&self, headers: &HeaderMap, query: &str) -> Entrance {
        if let Some(anybody) = self.authenticator.anonymous() {
            return Ok(Some(anybody));
        }
        match token::of_request(headers, query, Some(&self.cookie)) {
            Some(token) => self.authenticator.identify(&token).await.map(Some),
            None => Ok(None),
        }
    }

    /// Who a request is from.
    ///
    /// # Errors
    /// The answer to one that does not say, or whose token is not accepted.
    pub(super) async fn identity(
        &self,
        headers: &HeaderMap,
        query: &str,
    ) -> Result<Arc<Identity>, Refusal> {
        match self.entrance(headers, query).await {
            Ok(Some(identity)) => Ok(identity),
            Ok(None) => Err(token::refuse(&AuthError::Missing).into()),
            Err(error) => Err(token::refuse(&error).into()),
        }
    }

    /// What tokens for single channels permit.
    ///
    /// # Errors
    /// The answer to a request with one that is not accepted.
    pub(super) async fn permits(
        &self,
        identity: &Identity,
        tokens: impl Iterator<Item = &str>,
    ) -> Result<Vec<Permit>, Refusal> {
        let mut permits = Vec::new();
        for token in tokens {
            let permit = self.authenticator.permit(token, identity.user.as_deref());
            match permit.await {
                Ok(permit) => permits.push(permit),
                Err(AuthError::Unavailable) => {
                    return Err(token::refuse(&AuthError::Unavailable).into());
                }
                Err(error) => {
                    let message = format!("{CHANNEL_TOKEN}: {error}");
                    return Err(problem(StatusCode::FORBIDDEN, "forbidden", &message).into());
                }
            }
        }
        Ok(permits)
    }

    /// Whether the token has been revoked since it was looked at.
    ///
    /// # Errors
    /// The answer then.
    pub(super) fn check_again(&self, identity: &Identity) -> Result<(), Refusal> {
        if self.authenticator.is_revoked(identity) {
            return Err(token::refuse(&AuthError::Revoked).into());
        }
        Ok(())
    }
}

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
