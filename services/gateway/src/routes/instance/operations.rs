//! Operations of an instance, live as server-sent events; and the first password.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use contracts::instance::v1 as pb;
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, StatusCode};
use runtime::grpc::NoDeadline;
use tonic::Status;

use crate::context::Ctx;
use crate::dto::insight::Credentials;
use crate::dto::operation::{Operation, OperationList};
use crate::dto::paging::{PageParams, listed};
use crate::dto::{Nothing, wire};
use crate::extract::{Id, Ids, OptionalBody, Query};
use crate::problem::Problem;
use crate::routes::{answer, present};
use crate::state::App;
use crate::streams::{Bounds, bounded};

/// A comment line goes out so often, so that no proxy takes the silence for an end (GTW-11).
const COMMENT: Duration = Duration::from_secs(15);

/// Longest wait for the first change before the answer begins.
const FIRST: Duration = Duration::from_millis(250);

/// A page of an instance's operations.
pub async fn list(app: &App, context: &Ctx, id: String, query: &Query) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListOperationsRequest {
        instance_id: id,
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.instances.clone().list_operations(request).await?.into_inner();
    let body = OperationList {
        operations: found.operations.into_iter().map(Operation::from).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(query, page, found.total, body))
}

/// Operations of an instance, the newest first.
#[utoipa::path(get, path = "/instance/instances/{id}/operations", params(PageParams), responses((status = 200, body = OperationList)))]
pub async fn list_operations(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    query: Query,
) -> Result<Response, Problem> {
    list(&app, &context, wire(id), &query).await
}

/// One operation.
#[utoipa::path(get, path = "/instance/instances/{id}/operations/{op}", responses((status = 200, body = Operation)))]
pub async fn get_operation(
    State(app): State<App>,
    context: Ctx,
    Ids(id, operation): Ids,
) -> Result<Json<Operation>, Problem> {
    let request =
        context.request(pb::GetOperationRequest { instance_id: wire(id), operation_id: wire(operation) });
    let found = app.clients.instances.clone().get_operation(request).await?.into_inner();
    Ok(Json(Operation::from(present(found.operation, "operation")?)))
}

/// Cancel an operation that is queued or can still be undone.
#[utoipa::path(delete, path = "/instance/instances/{id}/operations/{op}", responses(
    (status = 202, body = Operation), (status = 409, description = "not_cancellable"),
))]
pub async fn cancel_operation(
    State(app): State<App>,
    context: Ctx,
    Ids(id, operation): Ids,
) -> Result<Response, Problem> {
    let request =
        context.request(pb::CancelOperationRequest { instance_id: wire(id), operation_id: wire(operation) });
    let cancelled = app.clients.instances.clone().cancel_operation(request).await?.into_inner();
    let location = format!("/instance/instances/{id}/operations/{operation}");
    let body = Operation::from(present(cancelled.operation, "operation")?);
    Ok(answer(StatusCode::ACCEPTED, body, Some(&location), None))
}

/// An operation as it goes on: event `operation` at each change, the end after the final state.
///
/// After a break the client sends `Last-Event-ID` and gets what it has not seen.
#[utoipa::path(get, path = "/instance/instances/{id}/operations/{op}/stream",
    params(("Last-Event-ID" = Option<i64>, Header, description = "id of the last event that was seen")),
    responses((status = 200, body = Operation, content_type = "text/event-stream")))]
pub async fn watch_operation(
    State(app): State<App>,
    context: Ctx,
    Ids(id, operation): Ids,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // A service has no account and no session; all of them together count as one.
    let place = app.streams.enter(context.user.as_ref().map_or(uuid::Uuid::nil(), |user| user.id))?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let mut request = context.request(pb::WatchOperationRequest {
        instance_id: wire(id),
        operation_id: wire(operation),
        after_revision: seen.unwrap_or(0),
    });
    request.extensions_mut().insert(NoDeadline);
    let mut changes = app.clients.instances.clone().watch_operation(request).await?.into_inner().peekable();
    // A refusal may come as the stream's first word; it is still a plain problem then. A client that has seen everything gets its head at once.
    let first = tokio::time::timeout(FIRST, std::pin::Pin::new(&mut changes).peek()).await;
    if let Ok(Some(Err(status))) = first {
        return Err(Problem::from(status.clone()));
    }
    let bounds = Bounds { stop: app.stop.clone(), sessions: app.sessions.clone(), context };
    let events = bounded(bounds, place, events(changes));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(COMMENT)).into_response())
}

fn events(
    changes: impl Stream<Item = Result<pb::WatchOperationResponse, Status>> + Send + 'static,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    futures::stream::unfold((Box::pin(changes), false), |(mut changes, over)| async move {
        // The final state ends the stream at once, whether the service ends its own or not.
        if over {
            return None;
        }
        let operation = match changes.next().await? {
            Ok(change) => change.operation?,
            Err(status) => {
                // The client comes back with the id of its last event.
                tracing::info!(code = ?status.code(), "an operation's stream broke off");
                return None;
            }
        };
        let over = matches!(operation.state.as_str(), "succeeded" | "failed" | "cancelled");
        let event = Event::default().event("operation").id(operation.revision.to_string());
        let event = event.json_data(Operation::from(operation)).ok()?;
        Some((Ok(event), (changes, over)))
    })
}

/// The first password of Odoo's administrator, once.
#[utoipa::path(post, path = "/instance/instances/{id}/credentials/reveal", request_body = Option<Nothing>, responses(
    (status = 200, body = Credentials), (status = 410, description = "already_revealed, expired"),
))]
pub async fn reveal_credentials(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Json<Credentials>, Problem> {
    let request = context.request(pb::RevealCredentialsRequest { instance_id: wire(id) });
    let revealed = app.clients.instances.clone().reveal_credentials(request).await?.into_inner();
    Ok(Json(Credentials { admin_email: revealed.admin_email, admin_password: revealed.admin_password }))
}
