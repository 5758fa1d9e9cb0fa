//! `Revocations`: which users and tokens are shut out although their tokens are in order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Identity, Permit};

/// Somebody to shut out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// All tokens of a user issued until then, and those that do not say when they were issued.
    User {
        /// The user.
        user: Arc<str>,
        /// When, in seconds since 1970.
        at: u64,
    },
    /// One token.
    Token {
        /// Its `jti`.
        id: Arc<str>,
    },
}

/// Who is shut out. Cheap to clone; clones share what they say.
#[derive(Debug, Clone, Default)]
pub struct Revocations(Arc<ArcSwap<Set>>);

#[derive(Debug, Default)]
struct Set {
    users: HashMap<Arc<str>, u64>,
    tokens: HashSet<Arc<str>>,
}

impl Revocations {
    /// Whether the bearer of this is shut out. O(1).
    #[must_use]
    pub fn is_revoked(&self, identity: &Identity) -> bool {
        let set = self.0.load();
        let user = identity.user.as_ref().and_then(|user| set.users.get(user));
        let token = identity.token_id.as_ref();
        user.is_some_and(|at| identity.issued_at.is_none_or(|issued| issued <= *at))
            || token.is_some_and(|id| set.tokens.contains(id))
    }

    /// Whether this is permitted no more. O(1).
    #[must_use]
    pub fn is_taken_back(&self, permit: &Permit) -> bool {
        let id = permit.token_id.as_ref();
        id.is_some_and(|id| self.0.load().tokens.contains(id))
    }

    /// Shuts out these, and nobody else.
    pub fn replace(&self, revocations: Vec<Revocation>) {
        let mut set = Set::default();
        for revocation in revocations {
            match revocation {
                Revocation::User { user, at } => {
                    let latest = set.users.entry(user).or_default();
                    *latest = at.max(*latest);
                }
                Revocation::Token { id } => {
                    set.tokens.insert(id);
                }
            }
        }
        self.0.store(Arc::new(set));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_shut_out_until_a_newer_token_and_a_token_for_good() {
        let identity = |user: Option<&str>, issued_at, token_id: Option<&str>| Identity {
            user: user.map(Into::into),
            token_id: token_id.map(Into::into),
            issued_at,
            ..Identity::nobody()
        };
        let revocations = Revocations::default();
        let shared = revocations.clone();
        assert!(!shared.is_revoked(&identity(Some("ann"), None, Some("t1"))));
        let user = |user: &str, at| Revocation::User {
            user: user.into(),
            at,
        };
        revocations.replace(vec![
            user("ann", 100),
            user("ann", 50),
            Revocation::Token { id: "t1".into() },
        ]);
        for (who, revoked) in [
            (identity(Some("ann"), None, None), true),
            (identity(Some("ann"), Some(99), None), true),
            (identity(Some("ann"), Some(100), None), true),
            (identity(Some("ann"), Some(101), None), false),
            (identity(Some("ann"), Some(101), Some("t1")), true),
            (identity(Some("bob"), None, None), false),
            (identity(Some("bob"), None, Some("t1")), true),
            (identity(Some("t1"), None, Some("ann")), false),
            (identity(None, None, None), false),
        ] {
            assert_eq!(shared.is_revoked(&who), revoked, "{who:?}");
        }
        revocations.replace(Vec::new());
        assert!(!shared.is_revoked(&identity(Some("ann"), None, Some("t1"))));
    }
}
