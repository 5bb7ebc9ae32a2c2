//! Create, list, read, change and delete instances.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use contracts::instance::v1 as pb;
use http::{HeaderMap, StatusCode};

use super::actions::{Action, act};
use crate::context::Ctx;
use crate::dto::action::{ActionAnswer, Confirm};
use crate::dto::checks::Checks;
use crate::dto::instance::{
    CreateInstance, CreatedInstance, Instance, InstanceList, SubdomainCheck, SubdomainNotice, UpdateInstance,
    UpdatedInstance,
};
use crate::dto::paging::{PageParams, listed};
use crate::dto::scalars::text;
use crate::dto::wire;
use crate::extract::{Body, Id, OptionalBody, Query, expected_version, idempotency_key};
use crate::problem::Problem;
use crate::routes::{answer, present};
use crate::state::App;

/// Order an instance. With `Idempotency-Key` a repetition gives the first answer.
#[utoipa::path(post, path = "/instance/instances", request_body = CreateInstance,
    params(("Idempotency-Key" = Option<String>, Header, description = "at most 200 characters, kept 24 h")),
    responses(
        (status = 201, body = CreatedInstance),
        (status = 402, description = "payment_required"),
        (status = 409, description = "subdomain_taken, quota_exceeded, idempotency_mismatch"),
        (status = 422, description = "validation_failed, exceeds_plan, subdomain_reserved, plan_unavailable"),
    ))]
pub async fn create_instance(
    State(app): State<App>,
    context: Ctx,
    headers: HeaderMap,
    Body(body): Body<CreateInstance>,
) -> Result<Response, Problem> {
    let request = context.request(body.checked(idempotency_key(&headers)?)?);
    let created = app.clients.instances.clone().create_instance(request).await?.into_inner();
    let instance = Instance::shown(present(created.instance, "instance")?, context.is_operator());
    let (location, version) = (format!("/instance/instances/{}", instance.id), instance.version);
    let subdomain_notice =
        SubdomainNotice::of(created.wanted_subdomain, created.subdomain_reason, &instance.subdomain);
    let body = CreatedInstance { instance, subdomain_notice };
    Ok(answer(StatusCode::CREATED, body, Some(&location), Some(version)))
}

/// The own instances; operators may name a customer.
#[utoipa::path(get, path = "/instance/instances",
    params(PageParams, ("status" = Option<Vec<String>>, Query, description = "may be repeated; live: all that have not ended"), ("q" = Option<String>, Query, description = "part of the name or subdomain"),
        ("sort" = Option<String>, Query, description = "created_at, -created_at, name"), ("customer_id" = Option<String>, Query, description = "operators; else only the own id")),
    responses((status = 200, body = InstanceList)))]
pub async fn list_instances(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    let customer = match query.text("customer_id") {
        Some(wanted) => Some(context.customer(&wanted)?),
        None => None,
    };
    list(&app, &context, &query, customer.map(wire), false).await
}

/// A page of instances as the caller may see them.
pub async fn list(
    app: &App,
    context: &Ctx,
    query: &Query,
    customer_id: Option<String>,
    all_customers: bool,
) -> Result<Response, Problem> {
    let page = query.page()?;
    let sort = query.filter("sort")?;
    let status = query.all("status");
    Checks::default()
        .that(
            matches!(sort.as_str(), "" | "created_at" | "-created_at" | "name"),
            "sort",
            "must be created_at, -created_at or name",
        )
        .that(status.len() <= 20, "status", "must be given at most 20 times")
        .done()?;
    let request = context.request(pb::ListInstancesRequest {
        status,
        query: query.filter("q")?,
        sort,
        page: page.number,
        page_size: page.size,
        customer_id,
        all_customers,
    });
    let found = app.clients.instances.clone().list_instances(request).await?.into_inner();
    let shown = |instance| Instance::shown(instance, context.is_operator());
    let body = InstanceList {
        instances: found.instances.into_iter().map(shown).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(query, page, found.total, body))
}

/// One instance.
#[utoipa::path(get, path = "/instance/instances/{id}", responses((status = 200, body = Instance)))]
pub async fn get_instance(State(app): State<App>, context: Ctx, Id(id): Id) -> Result<Response, Problem> {
    let request = context.request(pb::GetInstanceRequest { instance_id: wire(id) });
    let found = app.clients.instances.clone().get_instance(request).await?.into_inner();
    let instance = Instance::shown(present(found.instance, "instance")?, context.is_operator());
    let version = instance.version;
    Ok(answer(StatusCode::OK, instance, None, Some(version)))
}

/// Change an instance. PUT and PATCH do the same: what is absent stays.
#[utoipa::path(method(patch, put), path = "/instance/instances/{id}", request_body = UpdateInstance,
    params(("If-Match" = Option<String>, Header, description = "version that must still be the present one")),
    responses(
        (status = 200, body = Instance),
        (status = 202, description = "a rollout follows", body = UpdatedInstance),
        (status = 409, description = "invalid_state"),
        (status = 412, description = "version_mismatch"),
        (status = 422, description = "validation_failed, exceeds_plan, storage_shrink"),
    ))]
pub async fn update_instance(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    headers: HeaderMap,
    Body(body): Body<UpdateInstance>,
) -> Result<Response, Problem> {
    let request = context.request(body.checked(wire(id), expected_version(&headers)?)?);
    let updated = app.clients.instances.clone().update_instance(request).await?.into_inner();
    let instance = Instance::shown(present(updated.instance, "instance")?, context.is_operator());
    let (id, version) = (instance.id.clone(), instance.version);
    let location = updated
        .operation_id
        .as_ref()
        .map(|operation| format!("/instance/instances/{id}/operations/{operation}"));
    let status = if location.is_some() { StatusCode::ACCEPTED } else { StatusCode::OK };
    let body = UpdatedInstance { instance, operation_id: updated.operation_id };
    Ok(answer(status, body, location.as_deref(), Some(version)))
}

/// Terminate an instance; `confirm` is its subdomain, in the body or in the query.
#[utoipa::path(delete, path = "/instance/instances/{id}", request_body = Confirm,
    params(("confirm" = Option<String>, Query, description = "the subdomain, instead of the body")),
    responses(
        (status = 202, body = ActionAnswer),
        (status = 200, description = "terminated already", body = ActionAnswer),
        (status = 409, description = "invalid_state"),
        (status = 422, description = "confirm_mismatch"),
    ))]
pub async fn delete_instance(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    query: Query,
    OptionalBody(body): OptionalBody<Confirm>,
) -> Result<Response, Problem> {
    let confirm = body.confirm.or_else(|| query.text("confirm"));
    let final_backup = body.final_backup;
    act(&app, &context, id, Action { confirm, final_backup, ..Action::named("terminate") }).await
}

/// The instance of a subscription.
#[utoipa::path(get, path = "/instance/instances/by-subscription/{subscription_id}", responses((status = 200, body = Instance)))]
pub async fn get_instance_by_subscription(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
) -> Result<Response, Problem> {
    let request = context.request(pb::GetInstanceBySubscriptionRequest { subscription_id: wire(id) });
    let found = app.clients.instances.clone().get_instance_by_subscription(request).await?.into_inner();
    let instance = Instance::shown(present(found.instance, "instance")?, context.is_operator());
    let version = instance.version;
    Ok(answer(StatusCode::OK, instance, None, Some(version)))
}

/// Is a subdomain free? Asking does not reserve it.
#[utoipa::path(get, path = "/instance/instances/check-subdomain/{subdomain}", responses((status = 200, body = SubdomainCheck)))]
pub async fn check_subdomain(
    State(app): State<App>,
    context: Ctx,
    Path(subdomain): Path<String>,
) -> Result<Json<SubdomainCheck>, Problem> {
    Checks::default().text("subdomain", &subdomain, 1..=100).done()?;
    let request = context.request(pb::CheckSubdomainRequest { subdomain: subdomain.clone() });
    let checked = app.clients.instances.clone().check_subdomain(request).await?.into_inner();
    Ok(Json(SubdomainCheck {
        subdomain,
        available: checked.available,
        reason: text(checked.reason),
        message: checked.message,
        suggestion: text(checked.suggestion),
    }))
}
