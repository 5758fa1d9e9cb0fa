//! `GET /api/v1/ws/stats` on the public listener: counters, and how many clients a project has, for those who may see it.
//! The administration tells more.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::Instant;
use warp::http::StatusCode;
use warp::reply::Response;

use super::head::Head;
use super::query::Refusal;
use super::{json, problem};
use crate::event::ChannelPattern;
use crate::hub::{Census, Hub};
use crate::stats::Stats;

/// How old an account of who is there may be: to take it costs a copy of all names.
const CENSUS_AGE_MAX: Duration = Duration::from_secs(1);

/// Most channels that an answer lists, those with the most clients.
const CHANNELS_MAX: usize = 1000;

/// Counters, and what front ends of two other servers ask for here: `status`, `project_id` and `client_count` those of
/// preset project-path, `data` those of room-action.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status: &'static str,
    #[serde(rename = "project_id", skip_serializing_if = "Option::is_none")]
    project_id: Option<String>,
    /// Clients that subscribe to `project:<id>`; without an id, all.
    #[serde(rename = "client_count", skip_serializing_if = "Option::is_none")]
    client_count: Option<usize>,
    #[serde(flatten)]
    counters: Stats,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

#[derive(Serialize)]
struct Data {
    stats: Rooms,
    timestamp: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rooms {
    total_clients: usize,
    #[serde(rename = "totalRooms")]
    total: usize,
    /// Those that may be seen by whoever asks.
    clients_per_room: BTreeMap<Box<str>, usize>,
}

/// The last account of who is there.
#[derive(Default)]
pub(super) struct Known(tokio::sync::Mutex<Option<(Instant, Arc<Census>)>>);

impl Known {
    async fn census(&self, hub: &Hub) -> Option<Arc<Census>> {
        let mut known = self.0.lock().await;
        if let Some((at, census)) = &*known
            && at.elapsed() < CENSUS_AGE_MAX
        {
            return Some(Arc::clone(census));
        }
        let census = Arc::new(hub.census().await?);
        *known = Some((Instant::now(), Arc::clone(&census)));
        Some(census)
    }
}

pub(super) async fn answer(
    (hub, known): (Hub, Arc<Known>),
    head: Head,
) -> Result<Response, Refusal> {
    let (identity, _place) = head.identity().await?;
    let query = head.query(&["project_id"])?;
    let project_id = query.all("project_id").next().map(str::to_owned);
    let channel = project_id.as_ref().map(|id| format!("project:{id}"));
    let may_see = |name: &str| {
        ChannelPattern::parse(name).is_ok_and(|pattern| identity.grants.hold(&pattern))
    };
    if channel.as_deref().is_some_and(|channel| !may_see(channel)) {
        let message = "project_id names no project that your token grants";
        return Err(problem(StatusCode::FORBIDDEN, "forbidden", message).into());
    }
    let census = known.census(&hub).await;
    let client_count = census.as_ref().map(|census| match &channel {
        None => census.clients,
        Some(channel) => census
            .channels
            .get(channel.as_str())
            .copied()
            .unwrap_or_default(),
    });
    let data = census.map(|census| {
        let seen = census.channels.iter().filter(|(name, _)| may_see(name));
        let mut rooms: Vec<_> = seen
            .map(|(name, clients)| (name.clone(), *clients))
            .collect();
        let total = rooms.len();
        rooms.sort_unstable_by_key(|(_, clients)| Reverse(*clients));
        rooms.truncate(CHANNELS_MAX);
        Data {
            stats: Rooms {
                total_clients: census.clients,
                total,
                clients_per_room: rooms.into_iter().collect(),
            },
            timestamp: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        }
    });
    Ok(json(
        StatusCode::OK,
        &Answer {
            status: "ok",
            project_id,
            client_count,
            counters: hub.counters().snapshot(),
            data,
        },
    ))
}
