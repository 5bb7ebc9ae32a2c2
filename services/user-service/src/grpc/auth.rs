//! `AuthService`: routes without a user token.

use contracts::user::v1::auth_service_server::AuthService;
use contracts::user::v1::{
    CheckSessionRequest, CheckSessionResponse, CompletePasswordResetRequest, CompletePasswordResetResponse,
    LoginRequest, LoginResponse, RefreshTokenRequest, RefreshTokenResponse, RegisterRequest,
    RegisterResponse, RequestPasswordResetRequest, RequestPasswordResetResponse, ResendVerificationRequest,
    ResendVerificationResponse, VerifyEmailRequest, VerifyEmailResponse,
};
use runtime::identity;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Api, client_of, convert};
use crate::app::login::Credentials;
use crate::app::password::Wanted;
use crate::domain::Registration;
use crate::domain::people::RawRegistration;
use crate::error::Error;

#[tonic::async_trait]
impl AuthService for Api {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let client = client_of(identity::Caller::of(&request)?);
        let body = request.into_inner();
        let raw = RawRegistration {
            email: &body.email,
            password: &body.password,
            first_name: &body.first_name,
            last_name: &body.last_name,
            accept_terms: body.accept_terms,
            marketing_consent: body.marketing_consent,
            phone: body.phone.as_deref(),
            company: body.company.as_deref(),
            country: body.country.as_deref(),
            timezone: body.timezone.as_deref(),
            language: body.language.as_deref(),
        };
        let registration = Registration::try_new(&raw).map_err(Error::from)?;
        let id = self.app.register(&registration, &client).await?;
        Ok(Response::new(RegisterResponse {
            customer_id: id.to_string(),
            email: registration.email.as_str().to_owned(),
            first_name: registration.first_name,
            last_name: registration.last_name,
        }))
    }

    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        let client = client_of(identity::Caller::of(&request)?);
        let body = request.into_inner();
        let credentials = Credentials {
            email: &body.email,
            password: &body.password,
            remember_me: body.remember_me,
            user_agent: &body.user_agent,
        };
        let (user, tokens) = self.app.login(&credentials, &client).await?;
        Ok(Response::new(LoginResponse {
            customer: Some(convert::customer(&user)),
            tokens: Some(convert::tokens(tokens)),
        }))
    }

    async fn refresh_token(
        &self,
        request: Request<RefreshTokenRequest>,
    ) -> Result<Response<RefreshTokenResponse>, Status> {
        let client = client_of(identity::Caller::of(&request)?);
        let tokens = self.app.refresh(&request.get_ref().refresh_token, &client).await?;
        Ok(Response::new(RefreshTokenResponse { tokens: Some(convert::tokens(tokens)) }))
    }

    async fn verify_email(
        &self,
        request: Request<VerifyEmailRequest>,
    ) -> Result<Response<VerifyEmailResponse>, Status> {
        let client = client_of(identity::Caller::of(&request)?);
        let user = self.app.verify_email(&request.get_ref().token, &client).await?;
        Ok(Response::new(VerifyEmailResponse { customer: Some(convert::customer(&user)) }))
    }

    async fn resend_verification(
        &self,
        request: Request<ResendVerificationRequest>,
    ) -> Result<Response<ResendVerificationResponse>, Status> {
        self.app.resend_verification(&request.get_ref().email).await?;
        Ok(Response::new(ResendVerificationResponse {}))
    }

    async fn request_password_reset(
        &self,
        request: Request<RequestPasswordResetRequest>,
    ) -> Result<Response<RequestPasswordResetResponse>, Status> {
        self.app.request_password_reset(&request.get_ref().email).await?;
        Ok(Response::new(RequestPasswordResetResponse {}))
    }

    async fn complete_password_reset(
        &self,
        request: Request<CompletePasswordResetRequest>,
    ) -> Result<Response<CompletePasswordResetResponse>, Status> {
        let client = client_of(identity::Caller::of(&request)?);
        let body = request.into_inner();
        let wanted = Wanted { new: &body.new_password, confirm: &body.confirm_password };
        self.app.complete_password_reset(&body.token, &wanted, &client).await?;
        Ok(Response::new(CompletePasswordResetResponse {}))
    }

    async fn check_session(
        &self,
        request: Request<CheckSessionRequest>,
    ) -> Result<Response<CheckSessionResponse>, Status> {
        let Ok(id) = Uuid::parse_str(&request.get_ref().session_id) else {
            return Ok(Response::new(CheckSessionResponse::default()));
        };
        let Some((owner, role)) = self.app.check_session(id).await? else {
            return Ok(Response::new(CheckSessionResponse::default()));
        };
        Ok(Response::new(CheckSessionResponse {
            live: true,
            role: role.to_string(),
            customer_id: owner.to_string(),
        }))
    }
}
