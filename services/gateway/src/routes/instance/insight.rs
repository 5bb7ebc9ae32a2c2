//! Status, logs and events of an instance.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use contracts::instance::v1 as pb;

use crate::context::Ctx;
use crate::dto::insight::{Event, EventList, InstanceStatus, LogLine, Logs};
use crate::dto::paging::{PageParams, listed};
use crate::dto::wire;
use crate::extract::{Id, Query};
use crate::problem::Problem;
use crate::state::App;

/// What is wanted and what is seen.
#[utoipa::path(get, path = "/instance/instances/{id}/status", responses((status = 200, body = InstanceStatus)))]
pub async fn get_instance_status(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
) -> Result<Json<InstanceStatus>, Problem> {
    let request = context.request(pb::GetInstanceStatusRequest { instance_id: wire(id) });
    let found = app.clients.instances.clone().get_instance_status(request).await?.into_inner();
    Ok(Json(InstanceStatus::shown(found, context.is_operator())))
}

/// The last lines of the instance's log.
#[utoipa::path(get, path = "/instance/instances/{id}/logs",
    params(("lines" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "default 100"), ("previous" = Option<bool>, Query, description = "of the pod before a restart")),
    responses((status = 200, body = Logs), (status = 409, description = "no_pod")))]
pub async fn get_instance_logs(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    query: Query,
) -> Result<Json<Logs>, Problem> {
    let request = context.request(pb::GetInstanceLogsRequest {
        instance_id: wire(id),
        lines: query.number("lines", 100, 1..=1000)?,
        previous: query.flag("previous")?,
    });
    let found = app.clients.instances.clone().get_instance_logs(request).await?.into_inner();
    let lines: Vec<LogLine> =
        found.lines.into_iter().map(|line| LogLine { time: line.time, text: line.text }).collect();
    Ok(Json(Logs { instance_id: wire(id), count: lines.len(), lines }))
}

/// What happened to the instance.
#[utoipa::path(get, path = "/instance/instances/{id}/events", params(PageParams), responses((status = 200, body = EventList)))]
pub async fn list_events(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    query: Query,
) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListEventsRequest {
        instance_id: wire(id),
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.instances.clone().list_events(request).await?.into_inner();
    let body = EventList {
        events: found.events.into_iter().map(Event::from).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(&query, page, found.total, body))
}
