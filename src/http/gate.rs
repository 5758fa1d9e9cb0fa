//! `Gate`: who gets in. What every route asks before it answers.

use crate::auth::Authenticator;

/// Who gets in, over HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    #[expect(dead_code, reason = "the routes ask it next")]
    pub(super) authenticator: Authenticator,
}

impl Gate {
    /// Lets in whoever this accepts.
    #[must_use]
    pub fn new(authenticator: Authenticator) -> Self {
        Self { authenticator }
    }
}
