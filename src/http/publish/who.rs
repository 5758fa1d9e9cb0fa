//! `Author`: who publishes, where to, and as whom.

use std::net::IpAddr;
use std::sync::Arc;

use warp::http::StatusCode;
use warp::http::header::{HeaderMap, HeaderName};

use crate::auth::{Grants, Identity};
use crate::draft::{FIELD_BYTES_MAX, Problems};
use crate::event::NewEvent;
use crate::http::gate::Gate;
use crate::http::head::Head;
use crate::http::query::Refusal;
use crate::http::{limits, problem};
use crate::limits::UserPlace;

/// The header with the key of a request that may be sent twice.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Who publishes.
pub(super) struct Author {
    identity: Arc<Identity>,
    ip: Option<IpAddr>,
    /// What may be published to.
    pub grants: Grants,
    _place: Option<UserPlace>,
}

impl Author {
    /// Finds out who it is.
    ///
    /// # Errors
    /// The answer to somebody who may not publish at all.
    pub async fn of(head: &Head) -> Result<Self, Refusal> {
        let (identity, place) = head.identity().await?;
        let forbidden = |message| problem(StatusCode::FORBIDDEN, "forbidden", message).into();
        let Some(grants) = grants_of(head, &identity) else {
            return Err(forbidden(
                if head.gate.authenticator.anonymous().is_none() {
                    "your token does not let you publish; its claim `publish` would say where to"
                } else {
                    "this server asks nobody for a token, and so only programs and pages of the machine it runs on may publish; \
                 start it with a key (--jwt-secret-file), or with --public-publish if everybody may"
                },
            ));
        };
        Ok(Self {
            identity,
            ip: head.admission.ip,
            grants,
            _place: place,
        })
    }

    /// The user, where there is one.
    pub fn user(&self) -> Option<&str> {
        self.identity.user.as_deref()
    }

    /// Counts so many events.
    ///
    /// # Errors
    /// The answer where they are too many.
    pub fn take(&self, gate: &Gate, events: usize) -> Result<(), Refusal> {
        let user = self.identity.user.as_ref();
        let taken = gate.limits().publishes.take(user, self.ip, events);
        taken.map_err(|over| limits::respond(&over.count(gate.counters())).into())
    }

    /// Whether the token has been revoked since it was looked at.
    ///
    /// # Errors
    /// The answer then.
    pub fn check_again(&self, head: &Head) -> Result<(), Refusal> {
        head.check_again(&self.identity, &[])
    }

    /// Makes the user the actor, if there is one. Nobody speaks for another: only a token without a user, as a backend has,
    /// names whom it likes.
    pub fn sign(&self, actor: &mut Option<String>, index: usize, problems: &mut Problems) {
        let Some(user) = self.user() else { return };
        match actor {
            None => *actor = Some(user.to_owned()),
            Some(actor) if actor == user => {}
            Some(_) => problems.push(
                index,
                Some("actor"),
                "it is another than the user of your token; leave it out, and it is that one",
            ),
        }
    }

    /// Puts the keys of events into a space of the user's own: nobody finds out, or takes, the keys of others. Events
    /// without a key have one of the request, if that has one.
    pub fn own_keys(&self, events: &mut [NewEvent], request: Option<&str>) {
        // The length tells where a user ends: no two have one key.
        let user = self.user();
        let user = user.map_or_else(|| "-".to_owned(), |user| format!("{}:{user}", user.len()));
        for (index, event) in events.iter_mut().enumerate() {
            event.dedup_key = match (event.dedup_key.take(), request) {
                (Some(key), _) => Some(format!("http:{user}:event:{key}")),
                (None, Some(key)) => Some(format!("http:{user}:request:{key}:{index}")),
                (None, None) => None,
            };
        }
    }
}

/// What somebody may publish to; None where that is nothing at all.
pub(in crate::http) fn grants_of(head: &Head, identity: &Identity) -> Option<Grants> {
    let gate = &head.gate;
    if gate.authenticator.anonymous().is_none() {
        let grants = identity.publish.clone();
        return Some(grants).filter(|grants| !grants.patterns().is_empty());
    }
    let may = gate.options().publish.public || head.is_of_this_machine();
    may.then(Grants::everything)
}

/// The key of a request that may be sent twice.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.to_str().ok().map(str::trim);
    let key = key.filter(|key| (1..=FIELD_BYTES_MAX).contains(&key.len()));
    match key.filter(|_| values.next().is_none()) {
        Some(key) => Ok(Some(key)),
        None => Err(problem(
            StatusCode::BAD_REQUEST,
            "bad_request",
            &format!(
                "Idempotency-Key is there once, with 1 to {FIELD_BYTES_MAX} characters of ASCII"
            ),
        )
        .into()),
    }
}
