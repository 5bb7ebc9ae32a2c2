//! Routes of a signed-in user on the own account.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use contracts::user::v1 as pb;
use http::{HeaderMap, StatusCode};

use crate::context::Ctx;
use crate::dto::audit::{CloseAccount, Closed, OwnAudit, OwnAuditEntry, Session, SessionList};
use crate::dto::checks::Checks;
use crate::dto::paging::{PageParams, listed};
use crate::dto::profile::{Preferences, Profile, UpdatePreferences, UpdateProfile};
use crate::dto::scalars::time;
use crate::dto::user::ChangePassword;
use crate::dto::{Done, Nothing, wire};
use crate::extract::{Body, Id, OptionalBody, Query, expected_version};
use crate::problem::Problem;
use crate::routes::{answer, present};
use crate::state::App;

/// End this session.
#[utoipa::path(post, path = "/user/auth/logout", responses((status = 200, body = Done)))]
pub async fn logout(
    State(app): State<App>,
    context: Ctx,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Json<Done>, Problem> {
    app.clients.account.clone().logout(context.request(pb::LogoutRequest {})).await?;
    app.sessions.forget(context.user()?.session).await;
    Ok(Json(Done::new("signed out")))
}

/// Change the password; all other sessions end.
#[utoipa::path(post, path = "/user/auth/password-change", request_body = ChangePassword, responses(
    (status = 200, body = Done), (status = 400, description = "wrong_password"),
))]
pub async fn change_password(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<ChangePassword>,
) -> Result<Json<Done>, Problem> {
    let request = context.request(pb::ChangePasswordRequest {
        current_password: body.current_password,
        new_password: body.new_password,
        confirm_password: body.confirm_password,
    });
    app.clients.account.clone().change_password(request).await?;
    Ok(Json(Done::new("the password is changed")))
}

async fn profile(app: &App, context: &Ctx) -> Result<Response, Problem> {
    let request = context.request(pb::GetProfileRequest {});
    let found = app.clients.account.clone().get_profile(request).await?.into_inner();
    Ok(shown(present(found.profile, "profile")?))
}

fn shown(profile: pb::Profile) -> Response {
    let version = profile.version;
    answer(StatusCode::OK, Profile::from(profile), None, Some(version))
}

/// The own profile.
#[utoipa::path(get, path = "/user/auth/me", responses((status = 200, body = Profile)))]
pub async fn me(State(app): State<App>, context: Ctx) -> Result<Response, Problem> {
    profile(&app, &context).await
}

/// The own profile.
#[utoipa::path(get, path = "/user/users/profile", responses((status = 200, body = Profile)))]
pub async fn get_profile(State(app): State<App>, context: Ctx) -> Result<Response, Problem> {
    profile(&app, &context).await
}

/// Change the own profile.
#[utoipa::path(put, path = "/user/users/profile", request_body = UpdateProfile, responses(
    (status = 200, body = Profile), (status = 412, description = "version_mismatch"),
))]
pub async fn update_profile(
    State(app): State<App>,
    context: Ctx,
    headers: HeaderMap,
    Body(body): Body<UpdateProfile>,
) -> Result<Response, Problem> {
    let request = context.request(body.checked(expected_version(&headers)?)?);
    let updated = app.clients.account.clone().update_profile(request).await?.into_inner();
    Ok(shown(present(updated.profile, "profile")?))
}

/// The own live sessions.
#[utoipa::path(get, path = "/user/auth/sessions", responses((status = 200, body = SessionList)))]
pub async fn list_sessions(State(app): State<App>, context: Ctx) -> Result<Json<SessionList>, Problem> {
    let request = context.request(pb::ListSessionsRequest {});
    let found = app.clients.account.clone().list_sessions(request).await?.into_inner();
    Ok(Json(SessionList { sessions: found.sessions.into_iter().map(Session::from).collect() }))
}

/// End one session.
#[utoipa::path(delete, path = "/user/auth/sessions/{id}", responses((status = 204)))]
pub async fn revoke_session(State(app): State<App>, context: Ctx, Id(id): Id) -> Result<StatusCode, Problem> {
    let request = context.request(pb::RevokeSessionsRequest { session_id: Some(wire(id)) });
    app.clients.account.clone().revoke_sessions(request).await?;
    app.sessions.forget(id).await;
    Ok(StatusCode::NO_CONTENT)
}

/// End all sessions but this one.
#[utoipa::path(delete, path = "/user/auth/sessions", responses((status = 204)))]
pub async fn revoke_other_sessions(State(app): State<App>, context: Ctx) -> Result<StatusCode, Problem> {
    let request = context.request(pb::RevokeSessionsRequest { session_id: None });
    app.clients.account.clone().revoke_sessions(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The own preferences.
#[utoipa::path(get, path = "/user/users/preferences", responses((status = 200, body = Preferences)))]
pub async fn get_preferences(State(app): State<App>, context: Ctx) -> Result<Json<Preferences>, Problem> {
    Ok(Json(Preferences::from(preferences(&app, &context).await?)))
}

async fn preferences(app: &App, context: &Ctx) -> Result<pb::Preferences, Problem> {
    let request = context.request(pb::GetPreferencesRequest {});
    let found = app.clients.account.clone().get_preferences(request).await?.into_inner();
    present(found.preferences, "preferences")
}

/// Change the own preferences.
#[utoipa::path(put, path = "/user/users/preferences", request_body = UpdatePreferences, responses((status = 200, body = Preferences)))]
pub async fn update_preferences(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<UpdatePreferences>,
) -> Result<Json<Preferences>, Problem> {
    let wanted = body.over(preferences(&app, &context).await?)?;
    let request = context.request(pb::UpdatePreferencesRequest { preferences: Some(wanted) });
    let updated = app.clients.account.clone().update_preferences(request).await?.into_inner();
    Ok(Json(Preferences::from(present(updated.preferences, "preferences")?)))
}

/// What was done on the own account.
#[utoipa::path(get, path = "/user/users/audit", params(PageParams), responses((status = 200, body = OwnAudit)))]
pub async fn list_own_audit(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListOwnAuditRequest { page: page.number, page_size: page.size });
    let found = app.clients.account.clone().list_own_audit(request).await?.into_inner();
    let body = OwnAudit {
        entries: found.entries.into_iter().map(OwnAuditEntry::from).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(&query, page, found.total, body))
}

/// Close the own account. Instances are kept for their retention, personal data is erased later.
#[utoipa::path(delete, path = "/user/users/account", request_body = CloseAccount, responses(
    (status = 202, body = Closed),
    (status = 400, description = "wrong_password"),
    (status = 409, description = "unpaid_invoices, live_instances"),
))]
pub async fn close_account(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<CloseAccount>,
) -> Result<Response, Problem> {
    Checks::default().that(body.confirmation == "DELETE", "confirmation", "must be DELETE").done()?;
    let request = context
        .request(pb::CloseAccountRequest { password: body.password, force_terminate: body.force_terminate });
    let closed = app.clients.account.clone().close_account(request).await?.into_inner();
    app.sessions.forget(context.user()?.session).await;
    let body = Closed { success: true, erase_after: time(closed.erase_after.as_ref()) };
    Ok(answer(StatusCode::ACCEPTED, body, None, None))
}
