//! What clients publish: `POST /events` inserts rows, `POST /broadcast` tells those who are connected. Both go the same way:
//! who it is, whether that may be, what it is, and then the database.

mod broadcast;
mod events;
mod who;

use std::time::Duration;

use futures_util::Stream;
use serde::Serialize;
use warp::http::StatusCode;
use warp::http::header::{ALLOW, HeaderValue};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::head::{self, Head};
use super::query::Refusal;
use super::{Gate, body, gate, json, problem};
use crate::draft::{Problem, Problems};
use crate::publisher::Publisher;
use who::Author;
pub(super) use who::grants_of;

/// How long the body of a request may take: a megabyte over a slow line.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// `POST /events` and `POST /broadcast`, and what other methods are told there.
pub(super) fn routes(
    gate: &Gate,
    publisher: Publisher,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + use<> {
    let posted = || head::by(gate, warp::post()).and(warp::body::stream());
    let tells = publisher.clone();
    let events = warp::path!("events").and(posted().then(move |head: Head, body| {
        let admission = head.admission.clone();
        head::respond(admission, events::answer(publisher.clone(), head, body))
    }));
    let broadcast = warp::path!("broadcast").and(posted().then(move |head: Head, body| {
        let admission = head.admission.clone();
        head::respond(admission, broadcast::answer(tells.clone(), head, body))
    }));
    let elsewise = |methods: &'static str| move || other_method(methods);
    let others = warp::path!("events")
        .map(elsewise("GET, POST"))
        .or(warp::path!("broadcast").map(elsewise("POST")))
        .unify();
    let publishing = events.or(broadcast).unify().recover(gate::turned_away);
    publishing.unify().or(others).unify()
}

impl Head {
    /// Who it is that publishes, if it may at all; and the body.
    async fn receive(
        &self,
        stream: impl Stream<Item = Result<impl warp::Buf, warp::Error>>,
        bytes_max: usize,
    ) -> Result<(Author, Vec<u8>), Refusal> {
        let author = Author::of(self).await?;
        self.query(&[])?;
        if !body::is_json(&self.headers) {
            return Err(body::not_json().into());
        }
        author.take(&self.gate, 1)?;
        let received = body::read(stream, bytes_max, BODY_TIMEOUT).await;
        let received = received.map_err(|answer| Refusal::from(*answer))?;
        Ok((author, received))
    }
}

/// The answer to events that are not published, with what is wrong with each.
fn refuse(status: StatusCode, error: &str, message: &str, problems: &[Problem]) -> Refusal {
    #[derive(Serialize)]
    struct Answer<'a> {
        error: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        problems: &'a [Problem],
    }
    let answer = Answer {
        error,
        message,
        problems,
    };
    json(status, &answer).into()
}

/// The answer to events that cannot be published, whoever sends them.
fn refuse_all(what: &str, problems: &Problems) -> Refusal {
    let more = problems.count - problems.told.len();
    let others = match more {
        0 => String::new(),
        more => format!(" and {more} more, which are not told"),
    };
    let message = format!(
        "nothing was published: {what}; see `problems` ({}{others})",
        problems.told.len()
    );
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    refuse(status, "invalid_events", &message, &problems.told)
}

fn other_method(methods: &'static str) -> Response {
    let mut response = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        &format!("this path answers {} only", methods.replace(", ", " and ")),
    );
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(methods));
    response
}
