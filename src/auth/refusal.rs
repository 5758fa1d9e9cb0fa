//! `Refusal`: why a token is not accepted, for the client, and for the operator, who may know more.

use std::fmt;

use super::AuthError;

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What the client is told.
    pub(crate) error: AuthError,
    /// What the operator is told besides. Never of the signature.
    pub(crate) detail: Option<String>,
    /// Whether a flag may be missing, which the operator should hear of unasked.
    pub(super) alarming: bool,
}

impl Refusal {
    pub(super) fn invalid(why: &str) -> Self {
        AuthError::Invalid(why.to_owned()).into()
    }

    /// Tells the operator more.
    pub(super) fn with(self, detail: String) -> Self {
        let detail = Some(detail);
        Self { detail, ..self }
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        Self {
            error,
            detail: None,
            alarming: false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{} ({detail})", self.error),
            None => self.error.fmt(f),
        }
    }
}
