//! One client, whatever the transport: its frames in, requests to the hub out. Answers come from the hub, in order
//! with the events, except refusals, which depend on nothing.

mod terms;

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::{AuthError, Authenticator, Identity, Permit};
use crate::event::ChannelPattern;
use crate::hub::{Connection, FLOODING, Hub, Request, Seat, Written};
use crate::limits::{Allowance, Limits, OverLimit, UserPlace};
use crate::protocol::{
    ClientFrame, ClientRequest, CloseCode, ErrorCode, RequestId, Secret, ServerFrame, Since,
    Subscribe,
};
use crate::stats::Counters;

pub(crate) use terms::Terms;

/// A client at the door.
pub(crate) struct Entrance {
    /// Who it is; None if it has yet to say so; or why it is not let in.
    pub identity: Result<Option<Arc<Identity>>, AuthError>,
    /// Where it comes from, as far as that is known.
    pub ip: Option<IpAddr>,
    pub authenticator: Authenticator,
    pub limits: Arc<Limits>,
    pub terms: Arc<Terms>,
}

/// Why a client is not let in.
enum Refused {
    Token(AuthError),
    Limit(OverLimit),
}

/// A client that is connected, and counts as such until it is dropped.
pub(crate) struct Session {
    seat: Seat,
    outlet: Arc<dyn Connection>,
    counters: Arc<Counters>,
    authenticator: Authenticator,
    limits: Arc<Limits>,
    terms: Arc<Terms>,
    ip: Option<IpAddr>,
    /// Who it is, once that is known.
    identity: Option<Arc<Identity>>,
    /// Its place among the connections of its user.
    place: Option<UserPlace>,
    allowance: Allowance,
}

impl Session {
    /// Takes a client in. Without an identity it has to say who it is before anything else. One that is not to be let in
    /// is taken in as well, and told why.
    pub async fn open(hub: &Hub, outlet: Arc<dyn Connection>, entrance: Entrance) -> Self {
        let Entrance {
            authenticator,
            limits,
            ip,
            identity,
            terms,
        } = entrance;
        let (mut identity, mut refusal) = match identity {
            Ok(None) if !terms.shape.has_hello() => {
                (None, Some(Refused::Token(AuthError::Missing)))
            }
            Ok(identity) => (identity.map(|identity| terms.grant(identity)), None),
            Err(error) => (None, Some(Refused::Token(error))),
        };
        let user = identity
            .as_ref()
            .and_then(|identity| identity.user.as_ref());
        let place = limits.enter_user(user, &hub.counters());
        let place = place.unwrap_or_else(|over| {
            refusal = Some(Refused::Limit(over));
            None
        });
        if refusal.is_some() {
            identity = None;
        }
        let seat = hub
            .open(Arc::clone(&outlet), terms.shape.clone(), identity.clone())
            .await;
        let session = Self {
            seat,
            outlet,
            counters: hub.counters(),
            authenticator,
            limits,
            terms,
            ip,
            identity,
            place,
            allowance: Allowance::new(hub.options().messages_per_minute_max),
        };
        match refusal {
            None => {
                session.end_if_revoked();
                // Nobody is greeted who is closed at once.
                if let Some(subscribe) = session.beginning() {
                    if !session.terms.shape.has_hello() {
                        session.welcome(None).await;
                    }
                    session.begin(subscribe).await;
                }
            }
            Some(Refused::Token(error)) => session.reject(None, &error),
            Some(Refused::Limit(over)) => session.refuse_for(None, &over),
        }
        session
    }

    /// Takes a fresh token of this identity.
    #[cfg(test)]
    pub async fn refresh(&mut self, identity: Arc<Identity>) {
        self.seat
            .ask(Request::Identify {
                connection: self.seat.connection(),
                identity,
                id: None,
                is_answered: true,
            })
            .await;
    }

    /// Handles one text message. Waits while the hub has more to do than it should.
    pub async fn text(&mut self, text: &str) {
        if !self.is_within_limit() {
            return;
        }
        match self.terms.shape.read(text) {
            Ok(Some(frame)) => self.ask(frame).await,
            Ok(None) => {}
            Err(refusal) => self.refuse(refusal.id.as_ref(), refusal.code, &refusal.message),
        }
    }

    /// Handles one binary message.
    pub fn binary(&mut self) {
        if self.is_within_limit() {
            self.refuse(
                None,
                ErrorCode::InvalidMessage,
                "a message is JSON in a text frame, and this is a binary frame",
            );
        }
    }

    /// Handles a ping of the protocol, which is answered elsewhere.
    pub fn ping(&mut self) {
        self.allowance.ping();
        self.close_if_flood();
    }

    /// Handles a pong, whether it was asked for or not.
    pub fn pong(&mut self) {
        self.allowance.pong();
        self.close_if_flood();
    }

    /// The number to close with.
    pub fn close_number(&self, code: CloseCode) -> u16 {
        self.terms.shape.close_number(code)
    }

    /// Whether the goodbye has begun: what the client says no longer matters.
    pub fn has_left(&self) -> bool {
        self.seat.has_left()
    }

    /// Gives up the client's subscriptions, before the goodbye.
    pub fn leave(&mut self) {
        self.seat.leave();
    }

    /// Ends the session of a client that asks and does not read the answers.
    pub fn flooded(&self) {
        self.counters.flooding_connections_closed.add(1);
        self.outlet.close(CloseCode::TryAgainLater, FLOODING);
    }

    async fn ask(&mut self, ClientFrame { id, request }: ClientFrame) {
        if self.identity.is_none() && !says_who_it_is(&request) {
            let error = AuthError::Missing.to_string();
            self.refuse(id.as_ref(), ErrorCode::Unauthorized, &error);
            self.outlet.close(CloseCode::Unauthorized, NO_TOKEN);
            return;
        }
        let connection = self.seat.connection();
        let was_unknown = self.identity.is_none();
        match request {
            ClientRequest::Hello { token, subscribe } => {
                if let Some(token) = token
                    && !self.identify(id.as_ref(), &token, false).await
                {
                    return;
                }
                let Some(automatic) = self.first_beginning(was_unknown) else {
                    return;
                };
                self.welcome(id.clone()).await;
                self.begin(automatic).await;
                if let Some(subscribe) = subscribe {
                    self.subscribe(id, subscribe).await;
                }
            }
            ClientRequest::Subscribe(subscribe) => self.subscribe(id, subscribe).await,
            ClientRequest::Unsubscribe { channels } => {
                self.seat
                    .ask(Request::Unsubscribe {
                        connection,
                        id,
                        channels,
                    })
                    .await;
            }
            ClientRequest::Auth { token } => {
                if self.identify(id.as_ref(), &token, true).await
                    && let Some(automatic) = self.first_beginning(was_unknown)
                {
                    self.begin(automatic).await;
                }
            }
            ClientRequest::Ping => self.seat.ask(Request::Pong { connection, id }).await,
        }
    }

    async fn welcome(&self, id: Option<RequestId>) {
        let connection = self.seat.connection();
        self.seat.ask(Request::Welcome { connection, id }).await;
    }

    /// What it is subscribed to without asking, once it is known who it is. None where it may not have that, and was told
    /// so.
    fn beginning(&self) -> Option<Subscribe> {
        let terms = &*self.terms;
        let mut subscribe = Subscribe {
            channels: Vec::new(),
            since: terms.since.clone(),
            tokens: Vec::new(),
            presence: false,
        };
        let Some(identity) = &self.identity else {
            return Some(subscribe);
        };
        let user = identity.user.as_deref();
        let mut channels = terms.expand(&terms.channels, user);
        if channels.len() < terms.channels.len() {
            // The parts of the path were looked at before.
            let error = AuthError::Invalid(NO_USER.to_owned());
            self.end(
                ErrorCode::Unauthorized,
                CloseCode::Unauthorized,
                &error.to_string(),
            );
            return None;
        }
        channels.extend(terms.asked.iter().cloned());
        let is_granted = |channel: &&ChannelPattern| !identity.grants.narrow(channel).is_empty();
        if let Some(channel) = channels.iter().find(|channel| !is_granted(channel)) {
            let message = format!("your token does not grant {}", channel.as_str());
            self.end(ErrorCode::Forbidden, CloseCode::Forbidden, &message);
            return None;
        }
        subscribe.channels = channels;
        Some(subscribe)
    }

    /// The same for a client that has just said who it is; nothing for one that was known before.
    fn first_beginning(&self, was_unknown: bool) -> Option<Subscribe> {
        if was_unknown {
            return self.beginning();
        }
        Some(Subscribe {
            channels: Vec::new(),
            since: Since::Now,
            tokens: Vec::new(),
            presence: false,
        })
    }

    async fn begin(&self, subscribe: Subscribe) {
        if !subscribe.channels.is_empty() {
            self.subscribe(None, subscribe).await;
        }
    }

    /// Tells a client what is wrong, and ends the connection.
    fn end(&self, error: ErrorCode, close: CloseCode, message: &str) {
        self.refuse(None, error, message);
        self.outlet.close(close, message);
    }

    /// Finds out whose a token is. Gives whether the client may go on.
    async fn identify(
        &mut self,
        id: Option<&RequestId>,
        token: &Secret,
        is_answered: bool,
    ) -> bool {
        let identity = match self.authenticator.identify(&token.0).await {
            Ok(identity) => self.terms.grant(identity),
            Err(error) => {
                self.reject(id, &error);
                return false;
            }
        };
        let other = |own: &Arc<Identity>| own.user != identity.user;
        if self.identity.as_ref().is_some_and(other) {
            let message = "the token is another user's; open a new connection for it";
            self.refuse(id, ErrorCode::Forbidden, message);
            return false;
        }
        if self.identity.is_none() {
            let user = identity.user.as_ref();
            match self.limits.enter_user(user, &self.counters) {
                Ok(place) => self.place = place,
                Err(over) => {
                    self.refuse_for(id, &over);
                    return false;
                }
            }
        }
        self.identity = Some(Arc::clone(&identity));
        self.seat
            .ask(Request::Identify {
                connection: self.seat.connection(),
                identity,
                id: id.cloned(),
                is_answered,
            })
            .await;
        self.end_if_revoked();
        true
    }

    /// Tells a client that its token is not accepted. One that had none before is closed.
    fn reject(&self, id: Option<&RequestId>, error: &AuthError) {
        let message = error.to_string();
        if *error == AuthError::Unavailable {
            self.refuse(id, ErrorCode::Unavailable, &message);
            if self.identity.is_none() {
                self.outlet.close(CloseCode::TryAgainLater, &message);
            }
            return;
        }
        if let Some(over) = self.limits.auth_failed(self.ip, &self.counters) {
            self.refuse_for(id, &over);
            return;
        }
        self.refuse(id, ErrorCode::Unauthorized, &message);
        if self.identity.is_none() {
            self.outlet.close(CloseCode::Unauthorized, &message);
        }
    }

    /// Ends a connection for which a limit leaves no room.
    fn refuse_for(&self, id: Option<&RequestId>, over: &OverLimit) {
        let message = over.message();
        self.counters.client_errors.add(1);
        self.answer(&ServerFrame::Error {
            id,
            code: ErrorCode::RateLimitExceeded,
            message: &message,
            limit: Some(over.max),
            retry_after_ms: Some(over.retry_after.as_millis() as u64),
        });
        self.outlet.close(CloseCode::RateLimited, &message);
    }

    /// Revoked while it was being taken in: whoever was there when it was revoked is closed by the hub.
    fn end_if_revoked(&self) {
        if let Some(identity) = &self.identity
            && self.authenticator.is_revoked(identity)
        {
            let message = AuthError::Revoked.to_string();
            self.outlet.close(CloseCode::Unauthorized, &message);
        }
    }

    async fn subscribe(&self, id: Option<RequestId>, subscribe: Subscribe) {
        let Subscribe {
            channels,
            since,
            tokens,
            presence,
        } = subscribe;
        let Some(permits) = self.permits(id.as_ref(), &tokens).await else {
            return;
        };
        let taken_in = permits.clone();
        self.seat
            .ask(Request::Subscribe {
                connection: self.seat.connection(),
                id,
                channels,
                since,
                permits,
                presence,
            })
            .await;
        let revocations = self.authenticator.revocations();
        self.seat.check_permits(&taken_in, revocations).await;
    }

    /// What tokens for single channels permit. None when one of them is not accepted.
    async fn permits(&self, id: Option<&RequestId>, tokens: &[Secret]) -> Option<Vec<Permit>> {
        let user = self.identity.as_ref().and_then(|own| own.user.as_deref());
        let mut permits = Vec::with_capacity(tokens.len());
        for (n, token) in tokens.iter().enumerate() {
            match self.authenticator.permit(&token.0, user).await {
                Ok(permit) => permits.push(permit),
                Err(AuthError::Unavailable) => {
                    let message = AuthError::Unavailable.to_string();
                    self.refuse(id, ErrorCode::Unavailable, &message);
                    return None;
                }
                Err(error) => {
                    if let Some(over) = self.limits.auth_failed(self.ip, &self.counters) {
                        self.refuse_for(id, &over);
                        return None;
                    }
                    let message = format!("\"tokens\", number {}: {error}", n + 1);
                    self.refuse(id, ErrorCode::Forbidden, &message);
                    return None;
                }
            }
        }
        Some(permits)
    }

    /// Counts a message. One beyond the limit is answered with an error, and not looked at.
    fn is_within_limit(&mut self) -> bool {
        let left = self.allowance.message();
        let (Some(left), Some(limit)) = (left, self.allowance.max()) else {
            return true;
        };
        self.counters.messages_limited.add(1);
        let frame = ServerFrame::Error {
            id: None,
            code: ErrorCode::RateLimitExceeded,
            message: &format!(
                "at most {limit} messages a minute; this one was not looked at. One message may name many channels"
            ),
            limit: Some(limit as usize),
            retry_after_ms: Some(left.as_millis() as u64 + 1),
        };
        self.answer(&frame);
        self.close_if_flood();
        false
    }

    fn close_if_flood(&self) {
        if let Some(limit) = self.allowance.max()
            && self.allowance.is_flood()
        {
            let reason = format!("at most {limit} messages a minute");
            self.outlet.close(CloseCode::RateLimited, &reason);
        }
    }

    fn refuse(&self, id: Option<&RequestId>, code: ErrorCode, message: &str) {
        self.counters.client_errors.add(1);
        self.answer(&ServerFrame::Error {
            id,
            code,
            message,
            limit: None,
            retry_after_ms: None,
        });
    }

    fn answer(&self, frame: &ServerFrame<'_>) {
        if self.outlet.reply(&frame.encode(&self.terms.shape)) == Written::Full {
            self.flooded();
        }
    }
}

/// Tells a client that an endpoint is about users, and it is none.
const NO_USER: &str = "it names no user, and this endpoint is about one";

fn says_who_it_is(request: &ClientRequest) -> bool {
    matches!(
        request,
        ClientRequest::Hello { token: Some(_), .. } | ClientRequest::Auth { .. }
    )
}

/// Closes a client that asks for something before it says who it is. A reason has 123 bytes.
const NO_TOKEN: &str = "a token is needed: send it in hello, or with the handshake";
