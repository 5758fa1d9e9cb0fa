//! What a URL asks for: channels, a position, and how much.

use std::time::Duration;

use warp::http::StatusCode;
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::{problem, token};
use crate::event::ChannelPattern;
use crate::protocol::Since;

/// Positions in one URL. Each may have to be looked up in the database.
const POSITIONS_MAX: usize = 16;

/// The parameters of a URL, or the answer to one that cannot be understood.
pub(super) struct Query(Vec<(String, String)>);

/// The answer to a request that is not done. Boxed, as it is large and rare.
pub(super) struct Refusal(Box<Response>);

impl Refusal {
    /// The answer.
    pub fn respond(self) -> Response {
        *self.0
    }
}

impl From<Response> for Refusal {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

/// The query of a request as it came; none is an empty one.
pub(super) fn raw_query() -> impl Filter<Extract = (String,), Error = Rejection> + Clone {
    warp::query::raw().or_else(async |_: Rejection| Ok::<_, Rejection>((String::new(),)))
}

impl Query {
    /// Takes a query apart.
    pub fn parse(text: &str) -> Self {
        let pairs = url::form_urlencoded::parse(text.as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// Refuses parameters that are not known: a mistyped one must not be taken for one left out.
    pub fn allow(&self, names: &[&str]) -> Result<(), Refusal> {
        let is_known = |name: &str| name == token::PARAMETER || names.contains(&name);
        match self.0.iter().find(|(name, _)| !is_known(name)) {
            None => Ok(()),
            Some((name, _)) => {
                let known = match names {
                    [] => "none is expected here".to_owned(),
                    names => format!("there are {}", names.join(", ")),
                };
                let message = format!("there is no parameter {name:?}; {known}");
                Err(refuse("bad_request", &message))
            }
        }
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let found = self.0.iter().filter(move |(known, _)| known == name);
        found.map(|(_, value)| &**value)
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &**value)
    }

    /// Whether it is there, and does not say no.
    pub fn has(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| !matches!(value, "0" | "false"))
    }

    /// `channels=tasks,messages:42`, or several of them.
    pub fn channels(&self, limit: usize) -> Result<Vec<ChannelPattern>, Refusal> {
        let mut channels = Vec::new();
        let lists = self.0.iter().filter(|(name, _)| name == "channels");
        for name in lists.flat_map(|(_, list)| list.split(',')) {
            let name = name.trim();
            match ChannelPattern::parse(name) {
                Ok(pattern) if channels.contains(&pattern) => {}
                Ok(pattern) => channels.push(pattern),
                Err(error) => {
                    return Err(refuse("invalid_channel", &format!("{name:?}: {error}")));
                }
            }
            if channels.len() > limit {
                return Err(refuse(
                    "channel_limit",
                    &format!(
                        "at most {limit} channels; a pattern such as messages:* counts as one"
                    ),
                ));
            }
        }
        if channels.is_empty() {
            return Err(refuse(
                "bad_request",
                "name at least one channel, for example ?channels=tasks,messages:42",
            ));
        }
        Ok(channels)
    }

    /// `now`, `earliest` or a cursor; now where it is left out. Where there are several, what came after any of them is
    /// asked for: a client adds a channel to others that it has followed for longer.
    pub fn since(&self, name: &str) -> Result<Vec<Since>, Refusal> {
        let mut positions = Vec::new();
        for text in self.all(name).filter(|text| !text.is_empty()) {
            let position = Since::parse(text).map_err(|error| {
                refuse(
                    "cursor_invalid",
                    &format!("{name} is now, earliest or a cursor, and this is {error}"),
                )
            })?;
            if !positions.contains(&position) {
                positions.push(position);
            }
        }
        if positions.len() > POSITIONS_MAX {
            return Err(refuse(
                "bad_request",
                &format!("at most {POSITIONS_MAX} different values of {name}"),
            ));
        }
        if positions.is_empty() {
            positions.push(Since::Now);
        }
        Ok(positions)
    }

    /// The same, where only one makes sense.
    pub fn one_since(&self, name: &str) -> Result<Since, Refusal> {
        match <[Since; 1]>::try_from(self.since(name)?) {
            Ok([since]) => Ok(since),
            Err(_) => Err(refuse("bad_request", &format!("name {name} once"))),
        }
    }

    /// A number within limits.
    pub fn number(&self, name: &str, default: usize, most: usize) -> Result<usize, Refusal> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(number) if (1..=most).contains(&number) => Ok(number),
                _ => Err(refuse(
                    "bad_request",
                    &format!("{name} is a number from 1 to {most}"),
                )),
            },
        }
    }

    /// A time such as `30s`, or a number of seconds.
    pub fn duration(&self, name: &str, most: Duration) -> Result<Duration, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(Duration::ZERO);
        };
        let seconds = text.parse().ok().map(Duration::from_secs);
        match seconds.or_else(|| humantime::parse_duration(text).ok()) {
            Some(duration) if duration <= most => Ok(duration),
            _ => Err(refuse(
                "bad_request",
                &format!(
                    "{name} is a time of up to {}, for example 30s",
                    humantime::format_duration(most)
                ),
            )),
        }
    }
}

fn refuse(error: &'static str, message: &str) -> Refusal {
    problem(StatusCode::BAD_REQUEST, error, message).into()
}
