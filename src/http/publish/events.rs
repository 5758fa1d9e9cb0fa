//! `POST /events`: inserts events, and answers when they are committed.

use futures_util::Stream;
use serde::Serialize;
use warp::http::StatusCode;
use warp::reply::Response;

use super::who::{Author, idempotency_key};
use super::{Head, refuse, refuse_all};
use crate::draft::{self, Problem, Problems};
use crate::error::Error;
use crate::event::NewEvent;
use crate::http::query::Refusal;
use crate::http::{json, problem, unavailable, unkept};
use crate::publisher::{Published, Publisher};
use crate::source::InsertError;

/// Most events of a request: they are one transaction.
const EVENTS_MAX: usize = 1000;

#[derive(Serialize)]
struct Answer<'a> {
    /// The rows of the events, in order.
    ids: Vec<i64>,
    /// Those of them that were there already.
    duplicates: Vec<i64>,
    /// A position after all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
}

pub(super) async fn answer(
    publisher: Publisher,
    head: Head,
    body: impl Stream<Item = Result<impl warp::Buf, warp::Error>>,
) -> Result<Response, Refusal> {
    let publish = head.gate.options().publish;
    let (author, body) = head.receive(body, publish.bytes_max).await?;
    let key = idempotency_key(&head.headers)?;
    let wrong =
        |message: &str| Refusal::from(problem(StatusCode::BAD_REQUEST, "bad_request", message));
    let bodies = draft::bodies(&body).map_err(|message| wrong(&message))?;
    // More than there may be in a minute would never be taken.
    let most = match publish.events_per_minute_max {
        0 => EVENTS_MAX,
        max => EVENTS_MAX.min(max),
    };
    if bodies.len() > most {
        let message = format!(
            "nothing was published: there are {} events, and {most} fit into one request",
            bodies.len()
        );
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(refuse(status, "too_many_events", &message, &[]));
    }
    let drafted = draft::events(&bodies);
    let mut events =
        drafted.map_err(|problems| refuse_all("some events are out of rule", &problems))?;
    permit(&author, &mut events)?;
    author.take(&head.gate, events.len() - 1)?;
    author.own_keys(&mut events, key);
    author.check_again(&head)?;
    let published = publisher.publish(events).await;
    published
        .map(|published| respond(&published))
        .map_err(|error| explain(error, key.is_some()))
}

/// Sees to it that all events go where their author may publish to, and are signed by it.
fn permit(author: &Author, events: &mut [NewEvent]) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    for (index, event) in events.iter_mut().enumerate() {
        for (n, channel) in event.channels.iter().enumerate() {
            if !author.grants.cover(channel) {
                let message = format!("your token does not let you publish to channel {n} of it");
                problems.push(index, Some("channel"), message);
            }
        }
        author.sign(&mut event.actor, index, &mut problems);
    }
    problems.none().map_err(|problems| {
        let message = "nothing was published: your token does not let you publish all of it";
        refuse(StatusCode::FORBIDDEN, "forbidden", message, &problems.told)
    })
}

fn respond(published: &Published) -> Response {
    let rows = &published.rows;
    let there = rows.iter().filter(|row| row.is_duplicate);
    let cursor = published.cursor.as_ref().map(ToString::to_string);
    let answer = Answer {
        ids: rows.iter().map(|row| row.id.0).collect(),
        duplicates: there.map(|row| row.id.0).collect(),
        cursor: cursor.as_deref(),
    };
    let status = if answer.duplicates.len() == rows.len() {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    unkept(json(status, &answer))
}

fn explain(error: InsertError, is_idempotent: bool) -> Refusal {
    match error {
        InsertError::KeyReused(index) => {
            let problems = [Problem {
                index,
                field: Some("dedupKey"),
                message: "its key, or that of the request, is that of an event with another channel, type or entityId"
                    .to_owned(),
            }];
            let message = "nothing was published: a key was used before for something else; give each event a key of its own";
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            refuse(status, "dedup_key_reused", message, &problems)
        }
        InsertError::Refused(reason) => {
            let message =
                format!("nothing was published: the database refuses one of the events: {reason}");
            problem(StatusCode::UNPROCESSABLE_ENTITY, "event_refused", &message).into()
        }
        InsertError::Failed(Error::NoDatabase { .. }) => {
            let message = "nothing was published: this server reads a stream and has no database; publish at one that has";
            problem(StatusCode::NOT_IMPLEMENTED, "no_database", message).into()
        }
        InsertError::Failed(Error::Unusable(_)) => unavailable(
            "database_unusable",
            "nothing was published: the server's database takes no events as it is; the log of the server says why",
        ),
        InsertError::Failed(_) => unavailable(
            "database_unavailable",
            "nothing was published: the database does not answer; try again",
        ),
        InsertError::Unknown(_) if is_idempotent => unavailable(
            "outcome_unknown",
            "the database did not answer in time, and the events may have been published or not; try again with the same \
             Idempotency-Key, and they are there once",
        ),
        InsertError::Unknown(_) => unavailable(
            "outcome_unknown",
            "the database did not answer in time, and the events may have been published or not; events with a dedupKey can \
             safely be sent again, and next time an Idempotency-Key makes that so for all of a request",
        ),
    }
}
