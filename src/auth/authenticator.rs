//! `Authenticator`: whether a token is accepted, and whom it makes of a client.

use std::sync::Arc;

use super::{AuthError, Identity, Permit, Revocations};

/// Checks tokens. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator {
    anybody: Option<Arc<Identity>>,
    revocations: Revocations,
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
        Self {
            anybody: Some(Arc::new(Identity::anybody())),
            revocations: Revocations::default(),
        }
    }

    /// Who somebody without a token is; None where a token is needed.
    #[must_use]
    pub fn anonymous(&self) -> Option<Arc<Identity>> {
        self.anybody.clone()
    }

    /// Who the bearer of a token is. Where nobody is asked, a token is not looked at.
    ///
    /// # Errors
    /// When the token is not accepted; the text may be shown to the client.
    #[expect(clippy::unused_async, reason = "keys may have to be fetched")]
    pub async fn identify(&self, _token: &str) -> Result<Arc<Identity>, AuthError> {
        self.anonymous().ok_or(AuthError::Missing)
    }

    /// Whom administrators have shut out. A server keeps it up to date from its database.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// What a token for one channel permits to this user.
    ///
    /// # Errors
    /// When the token is not accepted, or is for somebody else.
    #[expect(clippy::unused_async, reason = "keys may have to be fetched")]
    pub async fn permit(&self, _token: &str, _user: Option<&str>) -> Result<Permit, AuthError> {
        Err(AuthError::Missing)
    }
}
