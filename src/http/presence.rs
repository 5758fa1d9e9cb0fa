//! `GET /presence`: who is on channels, on any server of the database.

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use warp::http::StatusCode;
use warp::reply::Response;

use super::granted::Granted;
use super::head::{CHANNEL_TOKEN, Head};
use super::query::{Query, Refusal};
use super::{json, problem, unkept};
use crate::event::ChannelPattern;
use crate::hub::Hub;
use crate::protocol::Present;

/// Most bytes that members take in an answer.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Channels of one request. A page shows a few.
const CHANNELS_MAX: usize = 100;

/// The body of an answer.
#[derive(Serialize)]
struct Answer<'a> {
    channels: Channels<'a>,
}

/// In the order in which they were asked for.
struct Channels<'a>(Vec<(&'a str, Present<'a>)>);

impl Serialize for Channels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (channel, present) in &self.0 {
            map.serialize_entry(channel, present)?;
        }
        map.end()
    }
}

pub(super) async fn answer(hub: Hub, head: Head) -> Result<Response, Refusal> {
    let (identity, _place) = head.identity().await?;
    let query = &head.query(&["channel", CHANNEL_TOKEN])?;
    let channels = channels(query)?;
    let permits = head.permits(&identity, query).await?;
    for channel in &channels {
        // What is granted first: whoever may not see a channel is not told what is kept of it.
        let granted = Granted::of(&identity, &permits, std::slice::from_ref(channel))?;
        if granted.patterns != [channel.clone()] {
            let message = format!("your token does not grant all of {}", channel.as_str());
            return Err(problem(StatusCode::FORBIDDEN, "forbidden", &message).into());
        }
    }
    let off = |message: &str| problem(StatusCode::NOT_FOUND, "no_presence", message);
    let Some(presence) = hub.presence() else {
        return Err(
            off("this server does not keep who is on a channel; start it with --presence").into(),
        );
    };
    let mut told = Vec::new();
    for channel in &channels {
        let name = channel.as_str();
        if !presence.covers(name) {
            let message =
                format!("the server does not keep who is on {name}: no --presence covers it");
            return Err(off(&message).into());
        }
        told.push((name, presence.told(name).0));
    }
    head.check_again(&identity, &permits)?;
    let mut bytes_max = ANSWER_BYTES_MAX;
    let present = told.iter();
    let present = present.map(|(name, told)| (*name, Present::of(told, &mut bytes_max)));
    let channels = Channels(present.collect());
    Ok(unkept(json(StatusCode::OK, &Answer { channels })))
}

/// `channel=room:1`, once or several times.
fn channels(query: &Query) -> Result<Vec<ChannelPattern>, Refusal> {
    let refuse =
        |error, message: &str| Refusal::from(problem(StatusCode::BAD_REQUEST, error, message));
    let mut channels = Vec::new();
    for name in query.all("channel") {
        if name.ends_with('*') {
            let message = format!("{name:?} is a pattern; presence is of single channels");
            return Err(refuse("invalid_channel", &message));
        }
        let channel = ChannelPattern::parse(name)
            .map_err(|error| refuse("invalid_channel", &format!("{name:?}: {error}")))?;
        if !channels.contains(&channel) {
            channels.push(channel);
        }
        if channels.len() > CHANNELS_MAX {
            let message = format!("at most {CHANNELS_MAX} channels in one request");
            return Err(refuse("channel_limit", &message));
        }
    }
    if channels.is_empty() {
        let message = "name at least one channel, for example ?channel=room:1";
        return Err(refuse("bad_request", message));
    }
    Ok(channels)
}
