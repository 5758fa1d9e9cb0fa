//! `Gate`: who gets in. What every route asks before it answers.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use warp::http::StatusCode;
use warp::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    CONNECTION, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::endpoint::Endpoint;
use super::options::{FILES_RESERVED, NetworkOptions};
use super::origin::{self, OriginRule, Refused, Strictness};
use super::peer::{self, Peer};
use super::{limits, problem, token};
use crate::auth::{AuthError, Authenticator, Identity};
use crate::error::Error;
use crate::hub::Hub;
use crate::limits::{AuthFailures, Limits, Place, Places, Publishes, Users};
use crate::session::{Entrance, Terms};
use crate::stats::Counters;

/// The cookie that may have a token, unless told otherwise.
pub(super) const TOKEN_COOKIE: &str = "rowcast_token";

/// Who gets in, over HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    pub(super) authenticator: Authenticator,
    rules: Arc<Rules>,
    counters: Arc<Counters>,
}

/// What does not differ between clones.
struct Rules {
    options: NetworkOptions,
    strictness: Strictness,
    /// Of the file of origins.
    origins: ArcSwap<Vec<OriginRule>>,
    places: Places,
    limits: Arc<Limits>,
}

/// A request that got past the gate. Cheap to clone; held for as long as the connection counts.
#[derive(Clone)]
pub(crate) struct Admission {
    /// Whose request it is, where that is known: not in an application that mounts our routes on a server that does not say.
    pub ip: Option<IpAddr>,
    /// Whether the page that asks is the server's own or listed by name, or there is no page: what a browser sends
    /// unasked, as cookies, may be trusted then only.
    pub origin_is_explicit: bool,
    /// The place of the connection: whoever goes on after the answer, as a WebSocket does, keeps a clone.
    place: Option<Arc<Place>>,
    origin: Option<HeaderValue>,
}

impl Gate {
    /// Lets in whoever this accepts, from pages of the server's own origin and from what is no page. By which name the
    /// server is called is not looked at, and connections are not counted: the application that mounts the routes may.
    #[must_use]
    pub fn new(authenticator: Authenticator) -> Self {
        let options = NetworkOptions {
            public: true,
            connections_max: Some(0),
            connections_per_user_max: 0,
            ..NetworkOptions::default()
        };
        Self::build(authenticator, options, Vec::new(), false)
    }

    /// The same with rules of one's own. `loopback` is whether the server is reached from this machine only.
    ///
    /// # Errors
    /// [`Error::Config`] when the file of origins is not good.
    pub fn with(
        authenticator: Authenticator,
        options: NetworkOptions,
        loopback: bool,
    ) -> Result<Self, Error> {
        let origins = match &options.origins_file {
            Some(path) => origin::read(path)?,
            None => Vec::new(),
        };
        Ok(Self::build(authenticator, options, origins, loopback))
    }

    fn build(
        authenticator: Authenticator,
        options: NetworkOptions,
        origins: Vec<OriginRule>,
        loopback: bool,
    ) -> Self {
        let connections_max = options
            .connections_max
            .unwrap_or_else(connections_of_open_files);
        let rules = Rules {
            strictness: Strictness {
                loopback,
                own_name: !options.public && authenticator.anonymous().is_some(),
            },
            origins: ArcSwap::from_pointee(origins),
            places: Places::new(connections_max, options.connections_per_ip_max),
            limits: Arc::new(Limits {
                users: Users::new(options.connections_per_user_max),
                failures: AuthFailures::new(options.auth_failures_max),
                publishes: Publishes::new(options.publish.events_per_minute_max),
            }),
            options,
        };
        Self {
            authenticator,
            rules: Arc::new(rules),
            counters: Arc::default(),
        }
    }

    /// The same, counting where the hub does.
    pub(super) fn counting(&self, hub: &Hub) -> Self {
        Self {
            counters: hub.counters(),
            ..self.clone()
        }
    }

    pub(super) fn options(&self) -> &NetworkOptions {
        &self.rules.options
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.rules.limits
    }

    /// Whether the server is for this machine.
    pub(super) fn is_for_this_machine(&self) -> bool {
        self.rules.strictness.loopback && !self.rules.options.public
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many places are taken.
    pub(super) fn places_taken(&self) -> usize {
        self.rules.places.taken()
    }

    /// Reads the file of origins again, where there is one. What was read last stays when it is not good.
    ///
    /// # Errors
    /// [`Error::Config`] with the line that is wrong.
    pub(crate) fn reload_origins(&self) -> Result<bool, Error> {
        let Some(path) = &self.rules.options.origins_file else {
            return Ok(false);
        };
        self.rules.origins.store(Arc::new(origin::read(path)?));
        Ok(true)
    }

    /// Looks at where a request comes from, and by which name it calls the server; then takes a place for it. The answer is
    /// for those who get none.
    pub(super) fn admit(
        &self,
        headers: &HeaderMap,
        peer: Option<Peer>,
    ) -> Result<Admission, Box<Response>> {
        let rules = &*self.rules;
        let listed = rules.origins.load();
        let tls = peer.is_some_and(|peer| peer.tls);
        let lists = [&*rules.options.origins, listed.as_slice()];
        let passed = origin::check(headers, &lists, rules.strictness, tls)
            .map_err(|refused| Box::new(self.refuse(&refused)))?;
        let trusted = &rules.options.trusted_proxies;
        let ip = peer.map(|peer| peer::client(peer.address.ip(), headers, trusted));
        let mut admission = Admission {
            ip,
            origin_is_explicit: passed.explicit,
            place: None,
            origin: headers.get(ORIGIN).cloned(),
        };
        match rules.places.enter(ip) {
            Ok(place) => admission.place = Some(Arc::new(place)),
            Err(over) => {
                let mut response = limits::respond(&over.count(&self.counters));
                admission.mark(response.headers_mut());
                return Err(Box::new(response));
            }
        }
        Ok(admission)
    }

    /// The admission of the request, where the server that accepted it has asked for one already, or else one of now. With it
    /// a route knows the client's address, and whether to trust its cookies.
    pub(super) fn admission(
        &self,
    ) -> impl Filter<Extract = (Admission,), Error = Rejection> + Clone + use<> {
        let gate = self.clone();
        warp::ext::optional::<Admission>()
            .and(warp::addr::remote())
            .and(warp::header::headers_cloned())
            .and_then(
                move |known: Option<Admission>, remote, headers: HeaderMap| {
                    let admission = known.map_or_else(
                        || {
                            let peer = |address| Peer {
                                address,
                                tls: false,
                            };
                            gate.admit(&headers, Option::map(remote, peer))
                        },
                        Ok,
                    );
                    std::future::ready(admission.map_err(|response| {
                        warp::reject::custom(TurnedAway(std::sync::Mutex::new(Some(*response))))
                    }))
                },
            )
    }

    /// Who a request is from: nobody, where that is still to be said; or why it is not let in. This cookie may have the
    /// token.
    pub(super) async fn who(
        &self,
        admission: &Admission,
        headers: &HeaderMap,
        query: &str,
        cookie: &str,
    ) -> Result<Option<Arc<Identity>>, AuthError> {
        if let Some(anybody) = self.authenticator.anonymous() {
            return Ok(Some(anybody));
        }
        // A browser sends cookies whoever's page asks for it.
        let cookie = admission.origin_is_explicit.then_some(cookie);
        match token::of_request(headers, query, cookie) {
            Some(token) => self.authenticator.identify(&token).await.map(Some),
            None => Ok(None),
        }
    }

    /// A client who comes by an endpoint, on these terms.
    pub(super) async fn entrance(
        &self,
        admission: &Admission,
        headers: &HeaderMap,
        query: &str,
        endpoint: &Endpoint,
        terms: Arc<Terms>,
    ) -> Entrance {
        let identity = if endpoint.is_open {
            Ok(Some(Arc::new(Identity::nobody())))
        } else {
            self.who(admission, headers, query, &endpoint.cookie).await
        };
        Entrance {
            identity,
            ip: admission.ip,
            authenticator: self.authenticator.clone(),
            limits: Arc::clone(&self.rules.limits),
            terms,
        }
    }

    fn refuse(&self, refused: &Refused) -> Response {
        let text = refused.to_string();
        tracing::debug!(reason = text, "refused a request");
        let (counter, status, code) = match refused {
            Refused::Origin(_) => (
                &self.counters.origins_refused,
                StatusCode::FORBIDDEN,
                "origin_refused",
            ),
            Refused::Host(_) => (
                &self.counters.hosts_refused,
                StatusCode::FORBIDDEN,
                "host_refused",
            ),
            Refused::Malformed(_) => (
                &self.counters.malformed_requests_refused,
                StatusCode::BAD_REQUEST,
                "bad_request",
            ),
        };
        counter.add(1);
        let mut response = problem(status, code, &text);
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("origin"));
        if status == StatusCode::BAD_REQUEST {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl Admission {
    /// Tells the browser that the page may read the answer.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        // Whoever keeps answers keeps them for one origin.
        headers.insert(VARY, HeaderValue::from_static("origin"));
        let Some(origin) = &self.origin else {
            return;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(
                "etag, retry-after, www-authenticate, ratelimit-limit, ratelimit-remaining, ratelimit-reset",
            ),
        );
        if self.origin_is_explicit {
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
    }

    /// What the connection counts by, to be held for as long as it lives.
    pub(super) fn place(&self) -> Option<Arc<Place>> {
        self.place.clone()
    }
}

/// The answer to a request that did not get past the gate, on its way out.
struct TurnedAway(std::sync::Mutex<Option<Response>>);

impl std::fmt::Debug for TurnedAway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TurnedAway")
    }
}

impl warp::reject::Reject for TurnedAway {}

/// Answers a request that did not get past the gate; whatever else was rejected is others'.
pub(super) async fn turned_away(rejection: Rejection) -> Result<Response, Rejection> {
    let answer = rejection
        .find::<TurnedAway>()
        .and_then(|TurnedAway(answer)| {
            let mut answer = answer
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            answer.take()
        });
    answer.ok_or(rejection)
}

/// How many connections the limit of open files allows.
pub(crate) fn connections_of_open_files() -> usize {
    match rlimit::Resource::NOFILE.get_soft() {
        // One at least, so that it is not taken for "no limit".
        Ok(files) => usize::try_from(files)
            .unwrap_or(usize::MAX)
            .saturating_sub(FILES_RESERVED)
            .max(1),
        Err(_) => 0,
    }
}
