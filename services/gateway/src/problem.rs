//! Every error that leaves the gateway: `application/problem+json` (GTW-06), and the one table from refusals to HTTP (`docs/ERRORS.md`).

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use runtime::grpc::Refusal;
use serde::Serialize;
use serde_json::{Map, Value};
use tonic::Code;
use utoipa::ToSchema;

/// Media type of problems.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Reasons whose HTTP status is not that of their gRPC code.
const BY_REASON: [(Code, &str, StatusCode); 17] = [
    (Code::InvalidArgument, "invalid_token", StatusCode::BAD_REQUEST),
    (Code::InvalidArgument, "token_used", StatusCode::BAD_REQUEST),
    (Code::InvalidArgument, "token_expired", StatusCode::BAD_REQUEST),
    (Code::InvalidArgument, "wrong_password", StatusCode::BAD_REQUEST),
    (Code::FailedPrecondition, "token_used", StatusCode::BAD_REQUEST),
    (Code::FailedPrecondition, "token_expired", StatusCode::BAD_REQUEST),
    (Code::FailedPrecondition, "wrong_password", StatusCode::BAD_REQUEST),
    (Code::InvalidArgument, "bad_hash", StatusCode::BAD_REQUEST),
    (Code::FailedPrecondition, "gateway_refused", StatusCode::BAD_GATEWAY),
    (Code::FailedPrecondition, "payment_required", StatusCode::PAYMENT_REQUIRED),
    (Code::FailedPrecondition, "unpaid_invoices", StatusCode::PAYMENT_REQUIRED),
    (Code::FailedPrecondition, "already_revealed", StatusCode::GONE),
    (Code::FailedPrecondition, "expired", StatusCode::GONE),
    (Code::FailedPrecondition, "purged", StatusCode::GONE),
    (Code::FailedPrecondition, "email_not_verified", StatusCode::FORBIDDEN),
    (Code::FailedPrecondition, "account_disabled", StatusCode::FORBIDDEN),
    (Code::Aborted, "version_mismatch", StatusCode::PRECONDITION_FAILED),
];

/// The HTTP status of a refusal.
fn status_of(code: Code, reason: &str) -> StatusCode {
    if let Some((_, _, status)) = BY_REASON.iter().find(|row| row.0 == code && row.1 == reason) {
        return *status;
    }
    match code {
        Code::InvalidArgument | Code::OutOfRange => StatusCode::UNPROCESSABLE_ENTITY,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::FailedPrecondition | Code::Aborted | Code::AlreadyExists => StatusCode::CONFLICT,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Name of the field in the body, the query or the headers.
    #[schema(example = "name")]
    pub field: String,
    /// What it must be.
    #[schema(example = "must have 1 to 100 characters")]
    pub message: String,
}

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    reason: String,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    /// More members of the body, such as the pool that is being made.
    more: Map<String, Value>,
}

/// The body of each error answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Name of the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:saasodoo:problem:validation_failed")]
    kind: String,
    /// The words of the HTTP status.
    #[schema(example = "Unprocessable Entity")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 422)]
    status: u16,
    /// What happened, for people.
    #[schema(example = "some fields are not valid")]
    detail: String,
    /// What happened, for programs.
    #[schema(example = "validation_failed")]
    reason: String,
    /// Name this when you ask for help.
    #[schema(example = "0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a11")]
    request_id: String,
    /// The fields that were refused.
    errors: Vec<FieldError>,
    /// What some reasons add.
    #[serde(flatten)]
    #[schema(ignore)]
    more: Map<String, Value>,
}

tokio::task_local! {
    /// Id of the request that this task works for.
    pub static REQUEST_ID: String;
}

impl Problem {
    /// Any status with any reason.
    pub fn new(status: StatusCode, reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            more: Map::new(),
        }
    }

    /// One field is wrong.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// Several fields are wrong.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{} {}", one.field, one.message),
            _ => "some fields are not valid".to_owned(),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", detail) }
    }

    /// No or no good access token.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// The role is not enough.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// Missing or hidden.
    pub fn not_found(thing: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("{thing} not found"))
    }

    /// The route exists, its work does not yet.
    pub fn not_implemented() -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "not_implemented",
            "this route is part of the API, but this version of the platform cannot do it yet",
        )
    }

    /// A part that we need does not answer.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).retry_after(Duration::from_secs(5))
    }

    /// Too many requests.
    pub fn rate_limited(after: Duration) -> Self {
        let seconds = (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1);
        let detail = format!("too many requests: try again in {seconds} s");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after(after)
    }

    /// Our own fault; log its cause before.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong on our side")
    }

    /// Says when to try again.
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Another text for people.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds a member to the body.
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// The HTTP status.
    #[cfg(test)]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = status_of(refusal.code, &refusal.reason);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            return Self::internal();
        }
        let mut problem = Self::new(status, refusal.reason, refusal.message);
        problem.errors = refusal
            .fields
            .into_iter()
            .map(|violation| FieldError { field: violation.field, message: violation.message })
            .collect();
        let must_tell = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        problem.retry_after = refusal.retry_after.or(must_tell.then_some(Duration::from_secs(5)));
        problem
    }
}

impl From<tonic::Status> for Problem {
    fn from(status: tonic::Status) -> Self {
        let refusal = Refusal::from_status(&status);
        match status.code() {
            // The text of a transport failure names hosts; it is for the log only.
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
                tracing::warn!(code = ?status.code(), error = status.message(), "a service does not answer");
                let known = refusal.reason != "unavailable";
                let detail = if known || refusal.retry_after.is_some() {
                    refusal.message.clone()
                } else {
                    "a part of the platform does not answer".to_owned()
                };
                Self::from(Refusal { message: detail, ..refusal })
            }
            Code::Internal | Code::Unknown | Code::DataLoss | Code::Ok => {
                tracing::error!(code = ?status.code(), error = status.message(), "a service failed");
                Self::internal()
            }
            _ => Self::from(refusal),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            kind: format!("urn:saasodoo:problem:{}", self.reason),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: self.detail,
            reason: self.reason,
            request_id: REQUEST_ID.try_with(Clone::clone).unwrap_or_default(),
            errors: self.errors,
            more: self.more,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GTW-06: the table of codes and reasons.
    #[test]
    fn refusals_get_the_status_of_their_code_and_reason() {
        for (code, reason, status) in [
            (Code::InvalidArgument, "validation_failed", 422),
            (Code::InvalidArgument, "exceeds_plan", 422),
            (Code::InvalidArgument, "token_used", 400),
            (Code::InvalidArgument, "wrong_password", 400),
            (Code::InvalidArgument, "bad_hash", 400),
            (Code::FailedPrecondition, "gateway_refused", 502),
            (Code::FailedPrecondition, "payment_pending", 409),
            (Code::NotFound, "not_found", 404),
            (Code::FailedPrecondition, "invalid_state", 409),
            (Code::FailedPrecondition, "payment_required", 402),
            (Code::FailedPrecondition, "already_revealed", 410),
            (Code::FailedPrecondition, "email_not_verified", 403),
            (Code::Aborted, "conflict", 409),
            (Code::Aborted, "version_mismatch", 412),
            (Code::FailedPrecondition, "version_mismatch", 409),
            (Code::Unauthenticated, "invalid_credentials", 401),
            (Code::PermissionDenied, "forbidden", 403),
            (Code::ResourceExhausted, "rate_limited", 429),
            (Code::Unavailable, "unavailable", 503),
            (Code::DeadlineExceeded, "unavailable", 503),
            (Code::Unimplemented, "not_implemented", 501),
            (Code::Internal, "internal", 500),
        ] {
            assert_eq!(status_of(code, reason).as_u16(), status, "{code:?} {reason}");
        }
    }

    #[test]
    fn causes_inside_stay_inside() {
        let problem = Problem::from(tonic::Status::internal("relation \"users\" does not exist"));
        assert_eq!(problem, Problem::internal());
        let problem = Problem::from(tonic::Status::unavailable("tcp connect error 10.1.2.3"));
        assert!(!problem.detail.contains("10.1"));
        assert!(problem.retry_after.is_some());
    }
}
