//! `GET /api/v1/ws/stats` on the public listener: counters, and how many clients a project has, for those who may see it.
//! The administration tells more.

use serde::Serialize;
use warp::http::StatusCode;
use warp::http::header::HeaderMap;
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::gate::Admission;
use super::query::{Query, Refusal, raw_query};
use super::{Gate, json, problem};
use crate::event::ChannelPattern;
use crate::hub::Hub;
use crate::stats::Stats;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(flatten)]
    counters: Stats,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<String>,
    /// Clients that subscribe to `project:<id>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_count: Option<usize>,
}

pub(super) fn route(
    hub: Hub,
    gate: Gate,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    warp::get()
        .and(gate.admission())
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(
            move |admission: Admission, query: String, headers: HeaderMap| {
                let (hub, gate) = (hub.clone(), gate.clone());
                async move {
                    answer(&hub, &gate, &admission, &query, &headers)
                        .await
                        .unwrap_or_else(Refusal::respond)
                }
            },
        )
}

async fn answer(
    hub: &Hub,
    gate: &Gate,
    admission: &Admission,
    query: &str,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let (identity, _place) = gate.identity(admission, headers, query).await?;
    let query = Query::parse(query);
    query.allow(&["project_id"])?;
    let project_id = query.all("project_id").next().map(str::to_owned);
    let mut client_count = None;
    if let Some(id) = &project_id {
        let channel = format!("project:{id}");
        let is_granted = ChannelPattern::parse(&channel)
            .is_ok_and(|pattern| identity.grants.narrow(&pattern) == [pattern]);
        if !is_granted {
            let message = "project_id names no project that your token grants";
            return Err(problem(StatusCode::FORBIDDEN, "forbidden", message).into());
        }
        let census = hub.census().await;
        client_count = census.map(|census| {
            let clients = census.channels.get(channel.as_str());
            clients.copied().unwrap_or_default()
        });
    }
    Ok(json(
        StatusCode::OK,
        &Answer {
            counters: hub.counters().snapshot(),
            project_id,
            client_count,
        },
    ))
}
