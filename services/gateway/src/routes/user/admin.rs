//! Routes of operators and admins on accounts (USR-22, USR-24). Changes need a reason (SEC-17).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use contracts::user::v1 as pb;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};

use crate::context::Ctx;
use crate::dto::audit::{AuditEntry, AuditList};
use crate::dto::checks::Checks;
use crate::dto::customer::{CustomerDetail, CustomerList, CustomerRow, SetQuota, SetRole, Success};
use crate::dto::paging::{PageParams, listed};
use crate::dto::profile::Profile;
use crate::dto::{Reason, wire};
use crate::extract::{Body, Id, Query};
use crate::problem::Problem;
use crate::routes::present;
use crate::state::App;

/// Search customers.
#[utoipa::path(get, path = "/user/admin/customers",
    params(PageParams, ("q" = Option<String>, Query, description = "part of name or e-mail"), ("status" = Option<String>, Query, description = "active, inactive, unverified")),
    responses((status = 200, body = CustomerList)))]
pub async fn list_customers(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    let page = query.page()?;
    let status = query.filter("status")?;
    Checks::default()
        .that(
            matches!(status.as_str(), "" | "active" | "inactive" | "unverified"),
            "status",
            "must be active, inactive or unverified",
        )
        .done()?;
    let request = context.request(pb::ListCustomersRequest {
        query: query.filter("q")?,
        status,
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.user_admin.clone().list_customers(request).await?.into_inner();
    let body = CustomerList {
        customers: found.customers.into_iter().map(CustomerRow::from).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(&query, page, found.total, body))
}

/// One customer.
#[utoipa::path(get, path = "/user/admin/customers/{id}", responses((status = 200, body = CustomerDetail)))]
pub async fn get_customer(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
) -> Result<Json<CustomerDetail>, Problem> {
    let request = context.request(pb::GetCustomerDetailRequest { customer_id: wire(id) });
    let found = app.clients.user_admin.clone().get_customer_detail(request).await?.into_inner();
    let profile = Profile::from(present(found.profile, "profile")?);
    Ok(Json(CustomerDetail { profile, sessions: found.sessions }))
}

async fn set_active(
    app: &App,
    context: &Ctx,
    id: String,
    active: bool,
    body: Reason,
) -> Result<Json<Success>, Problem> {
    let request =
        context.request(pb::SetCustomerActiveRequest { customer_id: id, active, reason: body.checked()? });
    app.clients.user_admin.clone().set_customer_active(request).await?;
    Ok(Json(Success { success: true }))
}

/// Close a customer out.
#[utoipa::path(post, path = "/user/admin/customers/{id}/deactivate", request_body = Reason, responses(
    (status = 200, body = Success), (status = 409, description = "invalid_state"),
))]
pub async fn deactivate_customer(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<Reason>,
) -> Result<Json<Success>, Problem> {
    set_active(&app, &context, wire(id), false, body).await
}

/// Let a customer in again.
#[utoipa::path(post, path = "/user/admin/customers/{id}/reactivate", request_body = Reason, responses(
    (status = 200, body = Success), (status = 409, description = "invalid_state"),
))]
pub async fn reactivate_customer(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<Reason>,
) -> Result<Json<Success>, Problem> {
    set_active(&app, &context, wire(id), true, body).await
}

/// The customer must set a new password by mail.
#[utoipa::path(post, path = "/user/admin/customers/{id}/force-password-reset", request_body = Reason, responses(
    (status = 200, body = Success), (status = 409, description = "invalid_state"),
))]
pub async fn force_password_reset(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<Reason>,
) -> Result<Json<Success>, Problem> {
    let request =
        context.request(pb::ForcePasswordResetRequest { customer_id: wire(id), reason: body.checked()? });
    app.clients.user_admin.clone().force_password_reset(request).await?;
    Ok(Json(Success { success: true }))
}

/// End all sessions of a customer.
#[utoipa::path(post, path = "/user/admin/customers/{id}/end-sessions", request_body = Reason, responses(
    (status = 200, body = Success), (status = 409, description = "invalid_state"),
))]
pub async fn end_sessions(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<Reason>,
) -> Result<Json<Success>, Problem> {
    let request = context.request(pb::EndSessionsRequest { customer_id: wire(id), reason: body.checked()? });
    app.clients.user_admin.clone().end_sessions(request).await?;
    Ok(Json(Success { success: true }))
}

/// Give a role.
#[utoipa::path(put, path = "/user/admin/customers/{id}/role", request_body = SetRole, responses(
    (status = 200, body = Success), (status = 409, description = "last_super_admin"),
))]
pub async fn set_role(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<SetRole>,
) -> Result<Json<Success>, Problem> {
    let reason = Reason { reason: body.reason }.checked()?;
    let role = body.role.as_str().to_owned();
    let request = context.request(pb::SetRoleRequest { customer_id: wire(id), role, reason });
    app.clients.user_admin.clone().set_role(request).await?;
    Ok(Json(Success { success: true }))
}

/// Set how many instances a customer may have.
#[utoipa::path(put, path = "/user/admin/customers/{id}/quota", request_body = SetQuota, responses((status = 200, body = Success)))]
pub async fn set_quota(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<SetQuota>,
) -> Result<Json<Success>, Problem> {
    Checks::default()
        .that(body.max_instances <= 10_000, "max_instances", "must be from 0 to 10000")
        .text("reason", &body.reason, 5..=500)
        .done()?;
    let request = context.request(pb::SetQuotaRequest {
        customer_id: wire(id),
        max_instances: body.max_instances,
        reason: body.reason,
    });
    app.clients.user_admin.clone().set_quota(request).await?;
    Ok(Json(Success { success: true }))
}

/// What was done by whom. `format=csv` gives the page as a table.
#[utoipa::path(get, path = "/user/admin/audit",
    params(PageParams, ("actor" = Option<String>, Query), ("action" = Option<String>, Query), ("target" = Option<String>, Query),
        ("from" = Option<String>, Query, description = "RFC 3339"), ("to" = Option<String>, Query, description = "RFC 3339"),
        ("format" = Option<String>, Query, description = "csv")),
    responses((status = 200, body = AuditList)))]
pub async fn list_audit(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    let page = query.page()?;
    let format = query.filter("format")?;
    Checks::default().that(matches!(format.as_str(), "" | "json" | "csv"), "format", "must be csv").done()?;
    let request = context.request(pb::ListAuditRequest {
        actor: query.filter("actor")?,
        action: query.filter("action")?,
        target: query.filter("target")?,
        from: query.time("from")?,
        to: query.time("to")?,
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.user_admin.clone().list_audit(request).await?.into_inner();
    let entries: Vec<AuditEntry> = found.entries.into_iter().map(AuditEntry::from).collect();
    if format == "csv" {
        return Ok(table(&entries));
    }
    let body = AuditList { entries, total: found.total, page: page.number, page_size: page.size };
    Ok(listed(&query, page, found.total, body))
}

fn table(entries: &[AuditEntry]) -> Response {
    let mut text = "at,actor,action,target,customer_id,request_id,ip,reason\r\n".to_owned();
    for entry in entries {
        let at = entry.at.map(|at| at.to_string()).unwrap_or_default();
        let optional = |value: &Option<String>| value.clone().unwrap_or_default();
        let cells = [
            at,
            entry.actor.clone(),
            entry.action.clone(),
            entry.target.clone(),
            optional(&entry.customer_id),
            optional(&entry.request_id),
            optional(&entry.ip),
            optional(&entry.reason),
        ];
        text.push_str(&cells.map(|cell| quoted(&cell)).join(","));
        text.push_str("\r\n");
    }
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"audit.csv\""));
    response
}

/// A cell. What a spreadsheet would run as a formula gets an apostrophe before it.
fn quoted(cell: &str) -> String {
    let guard = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", cell.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_text_whatever_it_holds() {
        assert_eq!(quoted("a \"b\", c"), "\"a \"\"b\"\", c\"");
        assert_eq!(quoted("=1+1"), "\"'=1+1\"");
    }
}
