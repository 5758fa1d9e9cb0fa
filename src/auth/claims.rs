//! Claims → whom they make of a client. They are believed here: the signature was good.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::grants::{find, is_part};
use super::refusal::Refusal;
use super::{AuthError, AuthOptions, GrantTemplate, Grants, Identity, Permit};
use crate::event::ChannelPattern;

/// Most patterns a token grants.
pub(super) const GRANTS_MAX: usize = 1000;

/// Longest id of a user or a token, in bytes: what `OpenID` Connect allows a `sub`.
pub(super) const ID_BYTES_MAX: usize = 255;

/// The last second of the year 9999. What expires later never does.
const TIME_MAX: f64 = 253_402_300_799.0;

/// The claims of a token whose dates, issuer and audience are in order.
#[derive(Debug)]
pub(super) struct Claims {
    all: Map<String, Value>,
    /// Whether `sub` is the claim with the user.
    user_is_sub: bool,
    /// Who it is and until when; no grants yet.
    identity: Identity,
}

impl Claims {
    /// Checks what every token has to say. `now` is in seconds since 1970.
    pub(super) fn check(
        all: Map<String, Value>,
        options: &AuthOptions,
        now: f64,
    ) -> Result<Self, Refusal> {
        let leeway = options.leeway.as_secs_f64();
        let exp = number(&all, "exp")?;
        let nbf = number(&all, "nbf")?;
        let iat = number(&all, "iat")?;
        if exp.is_none() && !options.allow_no_exp {
            return Err(Refusal::invalid(
                "it has no exp: it would be valid for ever",
            ));
        }
        if exp.is_some_and(|exp| exp + leeway <= now) {
            return Err(AuthError::Expired.into());
        }
        if nbf.is_some_and(|nbf| nbf - leeway > now) {
            return Err(Refusal::invalid("it is not valid yet"));
        }
        // Otherwise it would outlive the revocation of its user.
        if iat.is_some_and(|iat| iat - leeway > now) {
            return Err(Refusal::invalid("it was issued in the future"));
        }
        check_issuer(&all, &options.issuers)?;
        check_audience(&all, &options.audiences)?;
        let expires_at = exp.map(|exp| if exp <= now { exp + leeway } else { exp });
        let identity = Identity {
            user: user(&all, &options.user_claim)?,
            token_id: token_id(&all)?,
            issued_at: iat.map(seconds),
            expires_at: expires_at.map(seconds),
            ..Identity::nobody()
        };
        Ok(Self {
            all,
            user_is_sub: options.user_claim == "sub",
            identity,
        })
    }

    /// Who it is and until when.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether it is for one channel only.
    pub(super) fn is_permit(&self) -> bool {
        self.all.contains_key("channel")
    }

    /// With what it grants, and what the server grants by these. `common` is what they make of no claims at all.
    pub(super) fn into_identity(
        mut self,
        grants: &[GrantTemplate],
        common: &Grants,
    ) -> Result<Identity, Refusal> {
        if self.is_permit() {
            return Err(Refusal::invalid(
                "it has the claim channel: it permits one subscription, and is no token to connect with",
            ));
        }
        // {sub} is the user, whatever the claim is called; a `sub` that is not believed fills nothing.
        if !self.user_is_sub {
            self.all.remove("sub");
        }
        if let Some(user) = &self.identity.user {
            if !is_part(user) {
                tracing::debug!(
                    "the id of a user is not one part of a channel name: no {{sub}} grants anything"
                );
            }
            self.all
                .insert("sub".to_owned(), Value::String(user.as_ref().into()));
        }
        let mut subscribe = patterns(&self.all, "channels")?;
        for template in grants {
            subscribe.extend(template.expand(&self.all));
        }
        check_count("channels and the grants of the server", &subscribe)?;
        let publish = patterns(&self.all, "publish")?;
        let grants = Grants::new(subscribe);
        Ok(Identity {
            // Thousands may have the same, and are there at a time.
            grants: if grants == *common {
                common.clone()
            } else {
                grants
            },
            publish: Grants::new(publish),
            ..self.identity
        })
    }

    /// What it permits to this user.
    pub(super) fn into_permit(self, user: Option<&str>) -> Result<Permit, Refusal> {
        let Some(channel) = self.all.get("channel") else {
            return Err(Refusal::invalid(
                "it has no claim channel: it is no token for a subscription",
            ));
        };
        if self.all.contains_key("channels") || self.all.contains_key("publish") {
            return Err(Refusal::invalid(
                "it has channel, for a subscription, and channels or publish, for a connection; it is one or the other",
            ));
        }
        let Some(channel) = channel.as_str() else {
            return Err(Refusal::invalid("its claim channel is not a text"));
        };
        if self.identity.user.as_deref() != user {
            return Err(Refusal::invalid(
                "it permits the subscription to somebody else than the user of this connection",
            ));
        }
        let pattern = ChannelPattern::parse(channel).map_err(|error| {
            Refusal::invalid("its claim channel is no channel and no pattern")
                .with(format!("{channel:?}: {error}"))
        })?;
        Ok(Permit {
            token_id: self.identity.token_id,
            pattern,
            expires_at: self.identity.expires_at,
        })
    }
}

/// A date (RFC 7519, 2: `NumericDate`), in seconds since 1970. One that is there and no number is a mistake of whoever
/// signed: a date in text would otherwise never be checked.
fn number(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Refusal> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    match value.as_f64() {
        Some(number) if number.is_finite() => Ok(Some(number)),
        _ => Err(Refusal::invalid(&format!(
            "its claim {name} is not a number of seconds since 1970"
        ))),
    }
}

fn seconds(time: f64) -> u64 {
    time.clamp(0.0, TIME_MAX) as u64
}

fn check_issuer(claims: &Map<String, Value>, accepted: &[String]) -> Result<(), Refusal> {
    if accepted.is_empty() {
        return Ok(());
    }
    match claims.get("iss") {
        Some(Value::String(issuer)) if accepted.contains(issuer) => Ok(()),
        Some(issuer) => Err(Refusal::invalid("it is of another issuer").with(format!(
            "iss is {issuer}, and --jwt-issuer has {accepted:?}"
        ))),
        None => Err(Refusal::invalid("it does not say who issued it (iss)")),
    }
}

fn check_audience(claims: &Map<String, Value>, accepted: &[String]) -> Result<(), Refusal> {
    let is_ours = |name: &Value| {
        name.as_str()
            .is_some_and(|name| accepted.iter().any(|own| own == name))
    };
    match claims.get("aud") {
        None if accepted.is_empty() => Ok(()),
        None => Err(Refusal::invalid("it does not say for whom it is (aud)")),
        Some(Value::Array(names)) if names.iter().any(is_ours) => Ok(()),
        Some(name) if is_ours(name) => Ok(()),
        Some(names) => {
            let refusal = Refusal::invalid("it is for somebody else (aud)").with(format!(
                "aud is {names}, and --jwt-audience has {accepted:?}; if these tokens are for this server, add \
                 --jwt-audience with that value"
            ));
            // Nobody said for whom tokens should be: the flag may have been forgotten.
            let alarming = accepted.is_empty();
            Err(Refusal {
                alarming,
                ..refusal
            })
        }
    }
}

fn user(claims: &Map<String, Value>, name: &str) -> Result<Option<Arc<str>>, Refusal> {
    let text = match find(claims, name) {
        None => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => number.to_string(),
        Some(_) => {
            return Err(Refusal::invalid(
                "the claim with its user is neither a text nor an integer",
            ));
        }
    };
    check_id("user", &text)?;
    Ok(Some(text.into()))
}

fn token_id(claims: &Map<String, Value>) -> Result<Option<Arc<str>>, Refusal> {
    match claims.get("jti") {
        None => Ok(None),
        Some(Value::String(id)) => {
            check_id("jti", id)?;
            Ok(Some(id.as_str().into()))
        }
        Some(_) => Err(Refusal::invalid("its claim jti is not a text")),
    }
}

fn check_id(what: &str, id: &str) -> Result<(), Refusal> {
    if id.is_empty() || id.len() > ID_BYTES_MAX || id.contains(char::is_control) {
        return Err(Refusal::invalid(&format!(
            "its {what} is empty, longer than {ID_BYTES_MAX} bytes, or has control characters"
        )));
    }
    Ok(())
}

/// The patterns of a claim: a list of texts, or one text with spaces between them. An entry may have claims in braces.
fn patterns(claims: &Map<String, Value>, name: &str) -> Result<Vec<ChannelPattern>, Refusal> {
    let entries: Vec<&str> = match claims.get(name) {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => text.split(' ').filter(|entry| !entry.is_empty()).collect(),
        Some(Value::Array(entries)) => {
            let texts = entries.iter().enumerate().map(|(index, entry)| {
                let number = index + 1;
                entry.as_str().ok_or_else(|| {
                    Refusal::invalid(&format!("entry {number} of its claim {name} is not a text"))
                })
            });
            texts.collect::<Result<_, _>>()?
        }
        Some(_) => {
            return Err(Refusal::invalid(&format!(
                "its claim {name} is neither a list nor a text"
            )));
        }
    };
    if entries.len() > GRANTS_MAX {
        return Err(too_many(name));
    }
    let mut patterns = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let wrong = |why: String| {
            Refusal::invalid(&format!(
                "entry {} of its claim {name} is no channel and no pattern",
                index + 1
            ))
            .with(why)
        };
        if entry.contains('{') {
            let template = GrantTemplate::parse(entry).map_err(|error| wrong(error.to_string()))?;
            patterns.extend(template.expand(claims));
        } else {
            let pattern = ChannelPattern::parse(entry)
                .map_err(|error| wrong(format!("{entry:?}: {error}")))?;
            patterns.push(pattern);
        }
        // Checked on the way: each entry may become many.
        check_count(name, &patterns)?;
    }
    Ok(patterns)
}

fn check_count(name: &str, patterns: &[ChannelPattern]) -> Result<(), Refusal> {
    if patterns.len() > GRANTS_MAX {
        return Err(too_many(name));
    }
    Ok(())
}

fn too_many(name: &str) -> Refusal {
    Refusal::invalid(&format!("its {name} have more than {GRANTS_MAX} entries"))
}
