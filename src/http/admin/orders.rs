//! What administrators may order, as JSON.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::{Audience, Channel};
use crate::source::Order;

/// How long a revocation counts unless told: longer than tokens should live, as one that outlives it counts again.
const REVOKED_FOR: Duration = Duration::from_hours(24 * 30);

/// Longer ones are a mistake in the unit, and overflow dates.
const REVOKED_FOR_LONGEST: Duration = Duration::from_hours(24 * 3650);

/// What is ordered and for how long, or what is wrong with the body.
pub(super) type Read = Result<(Order, Duration), String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disconnect {
    user: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    user: Option<String>,
    jti: Option<String>,
    r#for: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Broadcast {
    channel: Option<String>,
    message: Box<RawValue>,
}

/// `{"user": "ann"}`
pub(super) fn disconnect(body: &[u8]) -> Read {
    let Disconnect { user } = read(body)?;
    Ok((Order::DisconnectUser(named("user", user)?), Duration::ZERO))
}

/// `{"user": "ann", "for": "24h"}` or `{"jti": "…"}`
pub(super) fn revoke(body: &[u8]) -> Read {
    let revoke: Revoke = read(body)?;
    let order = match (revoke.user, revoke.jti) {
        (Some(user), None) => Order::RevokeUser(named("user", user)?),
        (None, Some(id)) => Order::RevokeToken(named("jti", id)?),
        _ => return Err("name either a `user` or the `jti` of a token".into()),
    };
    let valid = match &revoke.r#for {
        None => REVOKED_FOR,
        Some(text) => humantime::parse_duration(text)
            .map_err(|error| format!("`for`: {error}; write a number and a unit, as in \"24h\""))?,
    };
    if valid < Duration::from_secs(1) || valid > REVOKED_FOR_LONGEST {
        return Err(
            "`for` is between 1s and 3650d: as long as the tokens that it concerns are in use"
                .into(),
        );
    }
    Ok((order, valid))
}

/// `{"message": …, "channel": "tasks"}`
pub(super) fn broadcast(body: &[u8]) -> Read {
    let Broadcast { channel, message } = read(body)?;
    let channel = channel
        .map(|name| Channel::parse(&name))
        .transpose()
        .map_err(|error| format!("`channel`: {error}"))?;
    let to = channel.map_or(Audience::All, Audience::Channel);
    Ok((Order::Broadcast { to, message }, Duration::ZERO))
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body)
        .map_err(|error| format!("the body is not as it should be: {error}"))
}

fn named(field: &str, name: String) -> Result<String, String> {
    let limit = crate::source::SUBJECT_BYTES_MAX;
    if name.is_empty() || name.len() > limit || name.contains('\0') {
        return Err(format!("`{field}` has 1 to {limit} bytes, and no NUL"));
    }
    Ok(name)
}
