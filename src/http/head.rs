//! `Head`: a plain request that got past the gate. What all routes do with one before each does its own.

use std::sync::Arc;

use warp::http::StatusCode;
use warp::http::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::gate::{Admission, TOKEN_COOKIE};
use super::query::{Query, Refusal, raw_query};
use super::{Gate, limits, origin, problem, token};
use crate::auth::{AuthError, Identity, Permit};
use crate::limits::UserPlace;

/// The parameter of a URL that has a token for one channel.
pub(super) const CHANNEL_TOKEN: &str = "channel_token";

/// The head of a request, and the gate that it got past.
pub(super) struct Head {
    pub gate: Gate,
    pub admission: Admission,
    query: String,
    pub headers: HeaderMap,
}

/// Heads of requests by one method: `warp::get()`.
pub(super) fn by<M>(
    gate: &Gate,
    method: M,
) -> impl Filter<Extract = (Head,), Error = Rejection> + Clone + Send + Sync + use<M>
where
    M: Filter<Extract = (), Error = Rejection> + Clone + Send + Sync,
{
    let passed = gate.clone();
    gate.admission()
        .and(method)
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .map(move |admission, query, headers| Head {
            gate: passed.clone(),
            admission,
            query,
            headers,
        })
}

/// What is asked by GET, and answered like this.
pub(super) fn get<D, A, F>(
    gate: &Gate,
    desk: &D,
    answer: A,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + use<D, A, F>
where
    D: Clone + Send + Sync + 'static,
    A: Fn(D, Head) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response, Refusal>> + Send,
{
    let desk = desk.clone();
    by(gate, warp::get()).then(move |head: Head| {
        let admission = head.admission.clone();
        respond(admission, answer(desk.clone(), head))
    })
}

/// The answer to a request, or why there is none; the page that asks may read it.
pub(super) async fn respond(
    admission: Admission,
    answering: impl Future<Output = Result<Response, Refusal>>,
) -> Response {
    let mut response = answering.await.unwrap_or_else(Refusal::respond);
    admission.mark(response.headers_mut());
    response
}

impl Head {
    /// What the URL asks for, of these parameters.
    ///
    /// # Errors
    /// The answer to one that names others.
    pub fn query(&self, names: &[&str]) -> Result<Query, Refusal> {
        let query = Query::parse(&self.query);
        query.allow(names)?;
        Ok(query)
    }

    /// Who it is from, and a place for it among those of its user.
    ///
    /// # Errors
    /// The answer to one that does not say, whose token is not accepted, or for which there is no place.
    pub async fn identity(&self) -> Result<(Arc<Identity>, Option<UserPlace>), Refusal> {
        let gate = &self.gate;
        let who = gate.who(&self.admission, &self.headers, &self.query, TOKEN_COOKIE);
        let identity = match who.await {
            Ok(Some(identity)) => identity,
            Ok(None) => return Err(token::refuse(&AuthError::Missing).into()),
            Err(error) => return Err(self.refuse(&error, || token::refuse(&error))),
        };
        let place = gate
            .limits()
            .enter_user(identity.user.as_ref(), gate.counters());
        let place = place.map_err(|over| Refusal::from(limits::respond(&over)))?;
        Ok((identity, place))
    }

    /// What its tokens for single channels permit.
    ///
    /// # Errors
    /// The answer to one with a token that is not accepted.
    pub async fn permits(
        &self,
        identity: &Identity,
        query: &Query,
    ) -> Result<Vec<Permit>, Refusal> {
        let mut permits = Vec::new();
        for token in query.all(CHANNEL_TOKEN) {
            let user = identity.user.as_deref();
            let permit = self.gate.authenticator.permit(token, user).await;
            permits.push(permit.map_err(|error| {
                self.refuse(&error, || {
                    let message = format!("{CHANNEL_TOKEN}: {error}");
                    problem(StatusCode::FORBIDDEN, "forbidden", &message)
                })
            })?);
        }
        Ok(permits)
    }

    /// The answer to one with a token that is not accepted, of which an address may have so many.
    fn refuse(&self, error: &AuthError, answer: impl FnOnce() -> Response) -> Refusal {
        // It may be good: nobody knows.
        if *error == AuthError::Unavailable {
            return token::refuse(error).into();
        }
        let gate = &self.gate;
        let over = gate
            .limits()
            .auth_failed(self.admission.ip, gate.counters());
        over.map_or_else(answer, |over| limits::respond(&over))
            .into()
    }

    /// Whether a token has been revoked since it was looked at.
    ///
    /// # Errors
    /// The answer then.
    pub fn check_again(&self, identity: &Identity, permits: &[Permit]) -> Result<(), Refusal> {
        let revocations = self.gate.authenticator.revocations();
        let mut permits = permits.iter();
        if revocations.is_revoked(identity)
            || permits.any(|permit| revocations.is_taken_back(permit))
        {
            return Err(token::refuse(&AuthError::Revoked).into());
        }
        Ok(())
    }

    /// Whether whoever asks is on this machine, of a server that is for this machine: the address, the name by which the
    /// server is called, and the page, if there is one. A page that is listed by name may, too; one that only `*` lets in may
    /// not.
    pub fn is_of_this_machine(&self) -> bool {
        let admission = &self.admission;
        let text = |name| self.headers.get(name).map(HeaderValue::to_str);
        let is_host_local = match text(HOST) {
            Some(Ok(host)) => origin::is_loopback(origin::split_port(host).0),
            _ => false,
        };
        let is_page_local = match text(ORIGIN) {
            Some(Ok(page)) => page.split_once("://").is_some_and(|(_, host)| {
                admission.origin_is_explicit || origin::is_loopback(origin::split_port(host).0)
            }),
            Some(Err(_)) => false,
            None => admission.origin_is_explicit,
        };
        let is_peer_local = admission
            .ip
            .is_some_and(|ip| ip.to_canonical().is_loopback());
        self.gate.is_for_this_machine() && is_peer_local && is_host_local && is_page_local
    }
}
