//! `POST /broadcast`: tells those who are connected, to all servers of the database, something that is no row.

use futures_util::Stream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use warp::http::StatusCode;
use warp::reply::Response;

use super::who::Author;
use super::{Head, refuse, refuse_all};
use crate::auth::is_part;
use crate::draft::{self, FIELD_BYTES_MAX, Problems};
use crate::event::{Audience, Channel, ChannelPattern};
use crate::http::query::Refusal;
use crate::http::{json, problem, unavailable};
use crate::publisher::Publisher;

/// Largest body, in bytes: it is kept for a while, and read by every server.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// `{"channel": …, "event": …}`, `{"user": …, "event": …}` or `{"all": true, "message": …}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Broadcast<'a> {
    channel: Option<String>,
    user: Option<String>,
    #[serde(default)]
    all: bool,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Accepted {
    status: &'static str,
}

pub(super) async fn answer(
    publisher: Publisher,
    head: Head,
    body: impl Stream<Item = Result<impl warp::Buf, warp::Error>>,
) -> Result<Response, Refusal> {
    let bytes_max = BODY_BYTES_MAX.min(head.gate.options().publish.bytes_max);
    let (author, body) = head.receive(body, bytes_max).await?;
    let (to, what) = read(&body)?;
    permit(&author, &to)?;
    let message = match to {
        Audience::All => {
            draft::frame(what).map_err(|wrong| refuse_broadcast(&format!("`message`: {wrong}")))?
        }
        Audience::Channel(_) | Audience::User(_) => event(&author, what)?,
    };
    author.check_again(&head)?;
    match publisher.tell(to, message).await {
        Ok(()) => {
            let status = "accepted";
            Ok(json(StatusCode::ACCEPTED, &Accepted { status }))
        }
        Err(_) => Err(unavailable(
            "database_unavailable",
            "the database, which takes it to all servers, does not answer; it may or may not be told",
        )),
    }
}

/// Whom to tell, and what.
fn read(body: &[u8]) -> Result<(Audience, &RawValue), Refusal> {
    let expected = "send {\"channel\": …, \"event\": {…}}, {\"user\": …, \"event\": {…}} or {\"all\": true, \"message\": {…}}";
    let broadcast: Broadcast<'_> = serde_json::from_slice(body).map_err(|error| {
        refuse_broadcast(&format!(
            "the body is not as it should be: {error}; {expected}"
        ))
    })?;
    let Broadcast {
        channel,
        user,
        all,
        event,
        message,
    } = broadcast;
    match (channel, user, all, event, message) {
        (Some(channel), None, false, Some(event), None) => match Channel::parse(&channel) {
            Ok(channel) => Ok((Audience::Channel(channel), event)),
            Err(error) => Err(refuse_broadcast(&format!("`channel`: {error}"))),
        },
        (None, Some(user), false, Some(event), None) => {
            if user.is_empty() || user.len() > FIELD_BYTES_MAX || user.contains('\0') {
                let wrong = format!("`user` has 1 to {FIELD_BYTES_MAX} bytes, and no NUL");
                return Err(refuse_broadcast(&wrong));
            }
            Ok((Audience::User(user.into()), event))
        }
        (None, None, true, None, Some(message)) => Ok((Audience::All, message)),
        _ => Err(refuse_broadcast(expected)),
    }
}

fn refuse_broadcast(message: &str) -> Refusal {
    problem(StatusCode::BAD_REQUEST, "bad_request", message).into()
}

/// Whether it may be told to these: the channel, `user:<id>`, or everything there is.
fn permit(author: &Author, to: &Audience) -> Result<(), Refusal> {
    let holds = |pattern: &str| {
        let pattern = ChannelPattern::parse(pattern);
        pattern.is_ok_and(|pattern| author.grants.hold(&pattern))
    };
    let (is_granted, what) = match to {
        Audience::All => (holds("*"), "`*`, which a broadcast to all needs"),
        Audience::Channel(channel) => (author.grants.cover(channel.as_str()), "this channel"),
        // A user whose id is no part of a name may be below another's.
        Audience::User(user) if is_part(user) => (
            author.grants.cover(&format!("user:{user}")),
            "user:<id> of this user",
        ),
        Audience::User(_) => (
            holds("user:*"),
            "`user:*`, which a user with such an id needs",
        ),
    };
    if is_granted {
        return Ok(());
    }
    let message = format!("your token does not let you publish to {what}");
    Err(refuse(StatusCode::FORBIDDEN, "forbidden", &message, &[]))
}

/// The event to tell, signed.
fn event(author: &Author, what: &RawValue) -> Result<Box<RawValue>, Refusal> {
    let drafted = draft::told(what);
    let mut told = drafted.map_err(|problems| refuse_all("the event is out of rule", &problems))?;
    let mut problems = Problems::default();
    author.sign(&mut told.actor, 0, &mut problems);
    problems.none().map_err(|problems| {
        let message = "nothing was published: your token does not let you publish all of it";
        refuse(StatusCode::FORBIDDEN, "forbidden", message, &problems.told)
    })?;
    told.to_json()
        .map_err(|error| refuse_broadcast(&format!("`event`: {error}")))
}
