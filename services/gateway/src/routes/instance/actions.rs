//! Actions on an instance, each by its own route and all by `…/actions` (INS-18).

use std::borrow::Cow;

use axum::extract::State;
use axum::response::Response;
use contracts::instance::v1 as pb;
use http::StatusCode;
use uuid::Uuid;

use crate::context::Ctx;
use crate::dto::action::{ActionAnswer, NamedAction, Terminate, Unsuspend};
use crate::dto::checks::Checks;
use crate::dto::{Nothing, OptionalReason, Reason, wire};
use crate::extract::{Body, Id, OptionalBody};
use crate::problem::Problem;
use crate::routes::answer;
use crate::state::App;

/// Actions whose own routes answer that their work comes later.
const LATER: [&str; 4] = ["upgrade", "update", "backup", "restore"];
/// Actions whose own routes take services: by name a service gets no more. What people may do, and which words
/// there are, instance-service decides.
const OF_SERVICES: [&str; 5] = ["suspend", "unsuspend", "unpause", "terminate", "apply_resources"];

/// An action with what it takes.
#[derive(Debug, Default)]
pub struct Action {
    pub name: Cow<'static, str>,
    pub reason: Option<String>,
    pub confirm: Option<String>,
    pub final_backup: Option<bool>,
    pub force: Option<bool>,
}

impl Action {
    /// Without parameters.
    pub fn named(name: &'static str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// Asks instance-service to act: 202 with the operation, 200 when the state is reached already (INS-19).
pub async fn act(app: &App, context: &Ctx, id: Uuid, action: Action) -> Result<Response, Problem> {
    Checks::default()
        .optional("reason", action.reason.as_deref(), 0..=500)
        .optional("confirm", action.confirm.as_deref(), 0..=100)
        .done()?;
    let request = context.request(pb::ActOnInstanceRequest {
        instance_id: wire(id),
        action: action.name.into_owned(),
        reason: action.reason,
        confirm: action.confirm,
        final_backup: action.final_backup,
        force: action.force,
    });
    let acted = app.clients.instances.clone().act_on_instance(request).await?.into_inner();
    Ok(answered(acted))
}

/// The action answer of the API.
pub fn answered(acted: pb::ActOnInstanceResponse) -> Response {
    let location = acted
        .operation_id
        .as_ref()
        .map(|operation| format!("/instance/instances/{}/operations/{operation}", acted.instance_id));
    let status = if acted.changed { StatusCode::ACCEPTED } else { StatusCode::OK };
    answer(status, ActionAnswer::from(acted), location.as_deref(), None)
}

/// Start a stopped instance.
#[utoipa::path(post, path = "/instance/instances/{id}/start", request_body = Option<Nothing>, responses(
    (status = 202, body = ActionAnswer), (status = 200, description = "runs already", body = ActionAnswer),
    (status = 402, description = "payment_required"), (status = 409, description = "invalid_state, operation_in_progress"),
))]
pub async fn start_instance(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Response, Problem> {
    act(&app, &context, id, Action::named("start")).await
}

/// Stop an instance; its data stays.
#[utoipa::path(post, path = "/instance/instances/{id}/stop", request_body = Option<OptionalReason>, responses(
    (status = 202, body = ActionAnswer), (status = 200, description = "stopped already", body = ActionAnswer),
    (status = 409, description = "invalid_state, operation_in_progress"),
))]
pub async fn stop_instance(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    OptionalBody(body): OptionalBody<OptionalReason>,
) -> Result<Response, Problem> {
    act(&app, &context, id, Action { reason: body.checked()?, ..Action::named("stop") }).await
}

/// Restart an instance with a new pod.
#[utoipa::path(post, path = "/instance/instances/{id}/restart", request_body = Option<Nothing>, responses(
    (status = 202, body = ActionAnswer), (status = 409, description = "invalid_state, operation_in_progress"),
))]
pub async fn restart_instance(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Response, Problem> {
    act(&app, &context, id, Action::named("restart")).await
}

/// Switch an instance off; its owner cannot start it.
#[utoipa::path(post, path = "/instance/instances/{id}/suspend", request_body = Reason, responses(
    (status = 202, body = ActionAnswer), (status = 200, description = "suspended already", body = ActionAnswer),
    (status = 409, description = "invalid_state, operation_in_progress"),
))]
pub async fn suspend_instance(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<Reason>,
) -> Result<Response, Problem> {
    act(&app, &context, id, Action { reason: Some(body.checked()?), ..Action::named("suspend") }).await
}

/// End a suspension.
#[utoipa::path(post, path = "/instance/instances/{id}/unsuspend", request_body = Option<Unsuspend>, responses(
    (status = 202, body = ActionAnswer), (status = 402, description = "payment_required"), (status = 409, description = "invalid_state"),
))]
pub async fn unsuspend_instance(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    OptionalBody(body): OptionalBody<Unsuspend>,
) -> Result<Response, Problem> {
    let action = Action { reason: body.reason, force: body.force, ..Action::named("unsuspend") };
    act(&app, &context, id, action).await
}

/// The old name of `unsuspend`.
#[utoipa::path(post, path = "/instance/instances/{id}/unpause", request_body = Option<Unsuspend>, responses(
    (status = 202, body = ActionAnswer), (status = 402, description = "payment_required"), (status = 409, description = "invalid_state"),
))]
pub async fn unpause_instance(
    state: State<App>,
    context: Ctx,
    id: Id,
    body: OptionalBody<Unsuspend>,
) -> Result<Response, Problem> {
    unsuspend_instance(state, context, id, body).await
}

/// Terminate an instance. Its data is kept until `purge_after`, and after it until somebody agreed to its
/// removal (`final_backup: false`).
#[utoipa::path(post, path = "/instance/instances/{id}/terminate", request_body = Option<Terminate>, responses(
    (status = 202, body = ActionAnswer), (status = 200, description = "terminated already", body = ActionAnswer),
    (status = 409, description = "invalid_state"), (status = 422, description = "confirm_mismatch"),
))]
pub async fn terminate_instance(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    OptionalBody(body): OptionalBody<Terminate>,
) -> Result<Response, Problem> {
    let action = Action {
        reason: body.reason,
        confirm: body.confirm,
        final_backup: body.final_backup,
        ..Action::named("terminate")
    };
    act(&app, &context, id, action).await
}

/// Bring a terminated instance back within its retention.
#[utoipa::path(post, path = "/instance/instances/{id}/undelete", request_body = Reason, responses(
    (status = 202, body = ActionAnswer), (status = 409, description = "invalid_state"), (status = 410, description = "purged"),
))]
pub async fn undelete_instance(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<Reason>,
) -> Result<Response, Problem> {
    act(&app, &context, id, Action { reason: Some(body.checked()?), ..Action::named("undelete") }).await
}

/// Apply the plan's limits now.
#[utoipa::path(post, path = "/instance/instances/{id}/apply-resources", request_body = Option<Nothing>, responses(
    (status = 202, body = ActionAnswer), (status = 200, description = "applied already", body = ActionAnswer),
    (status = 409, description = "invalid_state"),
))]
pub async fn apply_resources(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Response, Problem> {
    act(&app, &context, id, Action::named("apply_resources")).await
}

/// Any action by its name, with the parameters of its own route; who may use that one may ask here as well.
#[utoipa::path(post, path = "/instance/instances/{id}/actions", request_body = NamedAction, responses(
    (status = 202, body = ActionAnswer), (status = 200, description = "reached already", body = ActionAnswer),
    (status = 402, description = "payment_required"), (status = 409, description = "invalid_state, operation_in_progress"),
    (status = 422, description = "unknown_action, confirm_mismatch"), (status = 501, description = "not_implemented"),
))]
pub async fn act_on_instance(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<NamedAction>,
) -> Result<Response, Problem> {
    let name = body.action;
    if LATER.contains(&name.as_str()) {
        return Err(Problem::not_implemented());
    }
    if context.service.is_some() && !OF_SERVICES.contains(&name.as_str()) {
        return Err(Problem::forbidden("this action is not for services"));
    }
    let given = body.parameters;
    Checks::default()
        .that(given.version.is_none(), "parameters.version", "is not a parameter of this action")
        .that(given.name.is_none(), "parameters.name", "is not a parameter of this action")
        .that(given.backup_id.is_none(), "parameters.backup_id", "is not a parameter of this action")
        .done()?;
    let action = Action {
        name: name.into(),
        reason: given.reason,
        confirm: given.confirm,
        final_backup: given.final_backup,
        force: given.force,
    };
    act(&app, &context, id, action).await
}
