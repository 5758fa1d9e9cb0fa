//! `Terms`: what an endpoint says of those who come by it.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::auth::{GrantTemplate, Grants, Identity};
use crate::event::ChannelPattern;
use crate::protocol::{Shape, Since};

/// What an endpoint says of those who come by it.
pub(crate) struct Terms {
    pub shape: Shape,
    /// What they are subscribed to without asking.
    pub channels: Vec<GrantTemplate>,
    /// What they are granted beside what their tokens say.
    pub grants: Vec<GrantTemplate>,
    /// What templates may name beside `sub`: the parts of the path.
    pub path: Map<String, Value>,
    /// What the URL asks for.
    pub asked: Vec<ChannelPattern>,
    pub since: Since,
}

impl Terms {
    /// Those of clients that ask for everything themselves.
    pub fn plain(shape: &Shape) -> Self {
        Self {
            shape: shape.clone(),
            channels: Vec::new(),
            grants: Vec::new(),
            path: Map::new(),
            asked: Vec::new(),
            since: Since::Now,
        }
    }

    /// What templates make for a user.
    pub(super) fn expand(
        &self,
        templates: &[GrantTemplate],
        user: Option<&str>,
    ) -> Vec<ChannelPattern> {
        let mut claims = self.path.clone();
        if let Some(user) = user {
            claims.insert("sub".to_owned(), user.into());
        }
        let all = templates.iter();
        all.flat_map(|template| template.expand(&claims)).collect()
    }

    /// An identity with what it is granted here.
    pub(super) fn grant(&self, identity: Arc<Identity>) -> Arc<Identity> {
        if self.grants.is_empty() {
            return identity;
        }
        let more = self.expand(&self.grants, identity.user.as_deref());
        let all = identity.grants.patterns().iter().cloned().chain(more);
        Arc::new(Identity {
            grants: Grants::new(all),
            ..(*identity).clone()
        })
    }
}
