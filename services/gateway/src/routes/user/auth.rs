//! Routes without a token. They count against the address, and against the account when the body names one (GTW-08).

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use contracts::user::v1 as pb;
use http::header::USER_AGENT;
use http::{HeaderMap, StatusCode};

use crate::context::Ctx;
use crate::dto::Done;
use crate::dto::checks::Checks;
use crate::dto::user::{
    Account, Address, CompleteReset, LoggedIn, Login, MailToken, NewCustomer, Refresh, Refreshed, Register,
    Registered, Tokens, Verified,
};
use crate::extract::Body;
use crate::problem::Problem;
use crate::rate_limit::Counted;
use crate::routes::{answer, present};
use crate::state::App;

async fn count_account(app: &App, context: &Ctx, email: &str) -> Result<(), Problem> {
    app.limiter.take(&Counted::AuthAccount(email.to_owned(), context.client_ip)).await?;
    app.limiter.take(&Counted::AuthAccountAnywhere(email.to_owned())).await
}

/// Open an account. The answer is the same for a known address.
#[utoipa::path(post, path = "/user/auth/register", request_body = Register, responses((status = 201, body = Registered)))]
pub async fn register(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<Register>,
) -> Result<Response, Problem> {
    count_account(&app, &context, &body.email).await?;
    let request = context.request(body.checked()?);
    let customer = app.clients.auth.clone().register(request).await?.into_inner();
    let body = Registered {
        success: true,
        message: "a mail with a link to verify the address is on its way",
        customer: NewCustomer {
            id: customer.customer_id,
            email: customer.email,
            first_name: customer.first_name,
            last_name: customer.last_name,
            requires_verification: true,
        },
    };
    Ok(answer(StatusCode::CREATED, body, None, None))
}

/// Sign in.
#[utoipa::path(post, path = "/user/auth/login", request_body = Login, responses(
    (status = 200, body = LoggedIn),
    (status = 401, description = "invalid_credentials"),
    (status = 403, description = "email_not_verified, account_disabled; only after a right password"),
))]
pub async fn login(
    State(app): State<App>,
    context: Ctx,
    headers: HeaderMap,
    Body(body): Body<Login>,
) -> Result<Json<LoggedIn>, Problem> {
    count_account(&app, &context, &body.email).await?;
    Checks::default()
        .text("email", &body.email, 1..=254)
        .that((1..=128).contains(&body.password.chars().count()), "password", "must have 1 to 128 characters")
        .done()?;
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let request = context.request(pb::LoginRequest {
        email: body.email,
        password: body.password,
        remember_me: body.remember_me,
        user_agent: agent.chars().take(300).collect(),
    });
    let signed_in = app.clients.auth.clone().login(request).await?.into_inner();
    Ok(Json(LoggedIn {
        success: true,
        message: "signed in",
        customer: Account::from(present(signed_in.customer, "customer")?),
        tokens: Tokens::from(present(signed_in.tokens, "tokens")?),
    }))
}

/// Change a refresh token for new tokens. A used one ends all sessions that came from it.
#[utoipa::path(post, path = "/user/auth/refresh-token", request_body = Refresh, responses(
    (status = 200, body = Refreshed), (status = 401, description = "invalid_refresh_token"),
))]
pub async fn refresh_token(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<Refresh>,
) -> Result<Json<Refreshed>, Problem> {
    Checks::default().text("refresh_token", &body.refresh_token, 1..=500).done()?;
    let request = context.request(pb::RefreshTokenRequest { refresh_token: body.refresh_token });
    let refreshed = app.clients.auth.clone().refresh_token(request).await?.into_inner();
    Ok(Json(Refreshed { success: true, tokens: Tokens::from(present(refreshed.tokens, "tokens")?) }))
}

/// Verify the address with the token of the mail.
#[utoipa::path(post, path = "/user/auth/verify-email", request_body = MailToken, responses(
    (status = 200, body = Verified), (status = 400, description = "invalid_token, token_used, token_expired"),
))]
pub async fn verify_email(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<MailToken>,
) -> Result<Json<Verified>, Problem> {
    Checks::default().text("token", &body.token, 1..=500).done()?;
    let request = context.request(pb::VerifyEmailRequest { token: body.token });
    let verified = app.clients.auth.clone().verify_email(request).await?.into_inner();
    Ok(Json(Verified {
        success: true,
        message: "the address is verified",
        customer: Account::from(present(verified.customer, "customer")?),
    }))
}

/// Send the verification mail again. The answer is the same for an unknown address.
#[utoipa::path(post, path = "/user/auth/resend-verification", request_body = Address, responses((status = 200, body = Done)))]
pub async fn resend_verification(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<Address>,
) -> Result<Json<Done>, Problem> {
    count_account(&app, &context, &body.email).await?;
    Checks::default().text("email", &body.email, 1..=254).done()?;
    let request = context.request(pb::ResendVerificationRequest { email: body.email });
    app.clients.auth.clone().resend_verification(request).await?;
    Ok(Json(Done::new("if the address waits for verification, a mail is on its way")))
}

/// Ask for a mail to set a new password. The answer is the same for an unknown address.
#[utoipa::path(post, path = "/user/auth/password-reset", request_body = Address, responses((status = 200, body = Done)))]
pub async fn request_password_reset(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<Address>,
) -> Result<Json<Done>, Problem> {
    count_account(&app, &context, &body.email).await?;
    Checks::default().text("email", &body.email, 1..=254).done()?;
    let request = context.request(pb::RequestPasswordResetRequest { email: body.email });
    app.clients.auth.clone().request_password_reset(request).await?;
    Ok(Json(Done::new("if the address has an account, a mail is on its way")))
}

/// Set a new password with the token of the mail.
#[utoipa::path(post, path = "/user/auth/password-reset-complete", request_body = CompleteReset, responses(
    (status = 200, body = Done), (status = 400, description = "invalid_token"),
))]
pub async fn complete_password_reset(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<CompleteReset>,
) -> Result<Json<Done>, Problem> {
    Checks::default().text("token", &body.token, 1..=500).done()?;
    let request = context.request(pb::CompletePasswordResetRequest {
        token: body.token,
        new_password: body.new_password,
        confirm_password: body.confirm_password,
    });
    app.clients.auth.clone().complete_password_reset(request).await?;
    Ok(Json(Done::new("the password is changed")))
}
