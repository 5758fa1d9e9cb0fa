//! `Authenticator`: whether a token is accepted, and whom it makes of a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use serde_json::Map;

use super::claims::Claims;
use super::jwks::Jwks;
use super::keys::{self, Key, Verdict};
use super::refusal::Refusal;
use super::token::Token;
use super::{AuthError, AuthOptions, GrantTemplate, Grants, Identity, Permit, Revocations, files};
use crate::error::Error;

/// Checks tokens. Cheap to clone; clones share keys, grants and revocations.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    anybody: Option<Arc<Identity>>,
    checks: Option<Checks>,
    revocations: Revocations,
}

/// What a token is checked with.
struct Checks {
    options: AuthOptions,
    /// What comes from flags and files.
    local: ArcSwap<Local>,
    jwks: Option<Jwks>,
    /// Whether the operator has heard of a flag that may be missing.
    alarmed: AtomicBool,
}

struct Local {
    keys: Vec<Key>,
    grants: Vec<GrantTemplate>,
    /// What they grant to somebody of whom nothing is claimed.
    common: Grants,
}

/// What a reload changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reload {
    /// Whether a key or a grant is gone that was there. Who is connected may be so because of it.
    pub anything_removed: bool,
}

/// What a token is, for somebody who looks at it.
#[derive(Debug)]
pub(crate) enum Finding {
    /// A token to connect with.
    Connection(Identity),
    /// A token for one subscription of this user.
    Subscription(Option<Arc<str>>, Permit),
}

/// Why a token was not found good yet.
enum Obstacle {
    Refused(Refusal),
    /// No key has the id it names. A fresh set may.
    UnknownKid,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Asks nobody: whoever connects may read everything.
    #[must_use]
    pub fn open() -> Self {
        Self(Arc::new(Inner {
            anybody: Some(Arc::new(Identity::anybody())),
            checks: None,
            revocations: Revocations::default(),
        }))
    }

    /// Reads the keys and fetches those behind a URL, for which it tries for about 10 s.
    ///
    /// # Errors
    /// When there is no key, one of them is not usable, or a set cannot be fetched; the text says what to do.
    pub async fn start(options: AuthOptions) -> Result<Self, Error> {
        if options.keys.is_empty() && options.jwks_url.is_none() {
            return Err(Error::Config(
                "no key to check tokens with; give one with --jwt-secret-file, --jwt-public-key-file, --jwks-file or \
                 --jwks-url"
                    .into(),
            ));
        }
        let local = Local::read(&options)?;
        let jwks = match &options.jwks_url {
            Some(url) => Some(Jwks::start(url.clone()).await?),
            None => None,
        };
        Ok(Self(Arc::new(Inner {
            anybody: None,
            checks: Some(Checks {
                local: ArcSwap::from_pointee(local),
                options,
                jwks,
                alarmed: AtomicBool::new(false),
            }),
            revocations: Revocations::default(),
        })))
    }

    /// Who somebody without a token is; None where a token is needed.
    #[must_use]
    pub fn anonymous(&self) -> Option<Arc<Identity>> {
        self.0.anybody.clone()
    }

    /// Who is shut out although the token is in order. Shared: what is put in takes effect at once.
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        self.0.revocations.clone()
    }

    /// Who the bearer of a token is. Where nobody is asked, a token is not looked at.
    ///
    /// Waits only for keys that have to be fetched, 5 s at most.
    ///
    /// # Errors
    /// When the token is not accepted; the text may be shown to the client.
    pub async fn identify(&self, token: &str) -> Result<Arc<Identity>, AuthError> {
        let Some(checks) = &self.0.checks else {
            return self.anonymous().ok_or(AuthError::Missing);
        };
        let found = match self.claims(checks, token).await {
            Ok(claims) => checks.local.load().identity(claims),
            Err(refusal) => Err(refusal),
        };
        found.map(Arc::new).map_err(|refusal| checks.log(refusal))
    }

    /// Whether the token of this identity has been revoked since it was accepted.
    #[must_use]
    pub fn is_revoked(&self, identity: &Identity) -> bool {
        self.0.revocations.is_revoked(identity)
    }

    /// What a token for one channel permits to this user.
    ///
    /// # Errors
    /// When the token is not accepted, or is for somebody else.
    pub async fn permit(&self, token: &str, user: Option<&str>) -> Result<Permit, AuthError> {
        let Some(checks) = &self.0.checks else {
            return Err(AuthError::Invalid(
                "this server asks nobody for a token, and every channel may be subscribed to without".into(),
            ));
        };
        let found = match self.claims(checks, token).await {
            Ok(claims) => claims.into_permit(user),
            Err(refusal) => Err(refusal),
        };
        found.map_err(|refusal| checks.log(refusal))
    }

    /// What a token is, or why it is refused in the words of the operator.
    pub(crate) async fn inspect(&self, token: &str) -> Result<Finding, Refusal> {
        let Some(checks) = &self.0.checks else {
            return Err(AuthError::Missing.into());
        };
        let claims = self.claims(checks, token).await?;
        if claims.is_permit() {
            let user = claims.identity().user.clone();
            let permit = claims.into_permit(user.as_deref())?;
            return Ok(Finding::Subscription(user, permit));
        }
        let identity = checks.local.load().identity(claims)?;
        Ok(Finding::Connection(identity))
    }

    /// Reads the files again, and fetches the key set. All of it takes effect, or, when anything is wrong, nothing.
    ///
    /// # Errors
    /// When a file or the key set is not usable. What was there stays.
    pub async fn reload(&self) -> Result<Reload, Error> {
        let Some(checks) = &self.0.checks else {
            return Ok(Reload {
                anything_removed: false,
            });
        };
        let local = Local::read(&checks.options)?;
        let mut anything_removed = false;
        if let Some(jwks) = &checks.jwks {
            let keys = jwks.fetch().await?;
            anything_removed |= any_missing(&jwks.keys(), &keys, Key::is_same);
            jwks.replace(keys);
        }
        let before = checks.local.swap(Arc::new(local));
        let now = checks.local.load();
        anything_removed |= any_missing(&before.keys, &now.keys, Key::is_same);
        anything_removed |= any_missing(&before.grants, &now.grants, PartialEq::eq);
        Ok(Reload { anything_removed })
    }

    async fn claims(&self, checks: &Checks, token: &str) -> Result<Claims, Refusal> {
        let mut found = checks.verify(token);
        if let (Err(Obstacle::UnknownKid), Some(jwks)) = (&found, &checks.jwks) {
            let fresh = jwks.refresh().await;
            found = checks.verify(token);
            if !fresh && matches!(found, Err(Obstacle::UnknownKid)) {
                return Err(AuthError::Unavailable.into());
            }
        }
        let claims = found.map_err(|obstacle| match obstacle {
            Obstacle::Refused(refusal) => refusal,
            Obstacle::UnknownKid => Refusal::invalid("no key of this server made its signature"),
        })?;
        if self.0.revocations.is_revoked(claims.identity()) {
            return Err(AuthError::Revoked.into());
        }
        Ok(claims)
    }
}

impl Checks {
    fn verify(&self, text: &str) -> Result<Claims, Obstacle> {
        let limit = self.options.token_bytes_max;
        if text.len() > limit {
            return Err(Obstacle::Refused(Refusal::invalid(&format!(
                "it is {} bytes long, the limit is {limit}",
                text.len()
            ))));
        }
        let token = Token::parse(text).map_err(Obstacle::Refused)?;
        let algorithm = token.algorithm().map_err(Obstacle::Refused)?;
        let local = self.local.load();
        let fetched = self.jwks.as_ref().map(Jwks::keys);
        let fetched = fetched.iter().flat_map(|keys| keys.iter());
        let verdict = keys::verify(
            local.keys.iter().chain(fetched),
            token.kid(),
            algorithm,
            token.message(),
            token.signature(),
        );
        match verdict {
            Verdict::Good => {}
            Verdict::UnknownKid => return Err(Obstacle::UnknownKid),
            Verdict::Bad => {
                return Err(Obstacle::Refused(Refusal::invalid(
                    "no key of this server made its signature",
                )));
            }
            Verdict::OtherAlgorithm => {
                let refusal = Refusal::invalid("its alg is none of those that are accepted")
                    .with(format!("no key that may be tried is for {algorithm:?}"));
                return Err(Obstacle::Refused(refusal));
            }
        }
        let claims = token.claims().map_err(Obstacle::Refused)?;
        Claims::check(claims, &self.options, now()).map_err(Obstacle::Refused)
    }

    /// Tells the operator, and gives what the client is told. A flag that is missing is said aloud, once.
    fn log(&self, refusal: Refusal) -> AuthError {
        tracing::debug!(reason = %refusal, "refused a token");
        if refusal.alarming && !self.alarmed.swap(true, Ordering::Relaxed) {
            tracing::warn!(reason = %refusal, "refused a token; further ones like it are not reported");
        }
        refusal.error
    }
}

impl Local {
    fn read(options: &AuthOptions) -> Result<Self, Error> {
        let mut keys = Vec::new();
        for source in &options.keys {
            keys.extend(files::keys(source)?);
        }
        let mut grants = options.grants.clone();
        for path in &options.grant_files {
            grants.extend(files::grants(path)?);
        }
        let nothing_claimed = Map::new();
        let common = grants
            .iter()
            .flat_map(|grant| grant.expand(&nothing_claimed));
        Ok(Self {
            keys,
            common: Grants::new(common),
            grants,
        })
    }

    /// Whom claims make of a client.
    fn identity(&self, claims: Claims) -> Result<Identity, Refusal> {
        claims.into_identity(&self.grants, &self.common)
    }
}

fn any_missing<T>(before: &[T], now: &[T], is_same: impl Fn(&T, &T) -> bool) -> bool {
    before
        .iter()
        .any(|old| !now.iter().any(|new| is_same(old, new)))
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
