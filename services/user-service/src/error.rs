//! Everything that a use case can answer instead of success, and its form on the wire. Mapped once, here.

use std::time::Duration;

use runtime::grpc::{FieldViolation, Refusal};
use tonic::{Code, Status};

/// Why a use case did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields that break a rule.
    #[error("some fields are not valid")]
    Invalid(Vec<FieldViolation>),
    /// Unknown address or wrong password; which of them is nobody's business.
    #[error("e-mail or password is wrong")]
    InvalidCredentials,
    /// Right password, but the address was never proved.
    #[error("the e-mail address is not verified yet")]
    EmailNotVerified,
    /// Right password, but an administrator turned the account off.
    #[error("this account is disabled")]
    AccountDisabled,
    /// The brute-force guard is closed for this long.
    #[error("too many failed log-ins")]
    RateLimited(Duration),
    /// A token of a mail that is unknown or not good any more.
    #[error("this link is not valid")]
    InvalidToken,
    /// A verification token that was used.
    #[error("this link was used already")]
    TokenUsed,
    /// A verification token that is too old.
    #[error("this link has expired")]
    TokenExpired,
    /// A refresh token that is unknown, used, expired, or of an ended session.
    #[error("the refresh token is not valid")]
    InvalidRefreshToken,
    /// The present password was not given.
    #[error("the password is wrong")]
    WrongPassword,
    /// The session of the access token is over.
    #[error("the session has ended")]
    SessionEnded,
    /// The role does not suffice.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Missing or hidden.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// Changed by somebody else since it was read.
    #[error("the profile was changed meanwhile")]
    VersionMismatch,
    /// Closing needs paid invoices.
    #[error("there are unpaid invoices")]
    UnpaidInvoices,
    /// Closing needs that no instance lives.
    #[error("there are live instances")]
    LiveInstances,
    /// The last one cannot go.
    #[error("this is the last super_admin")]
    LastSuperAdmin,
    /// Does not fit the state of the account.
    #[error("{0}")]
    InvalidState(&'static str),
    /// Something that we need does not answer.
    #[error("{0} does not answer")]
    Unavailable(&'static str),
    /// Our fault; logged, never told.
    #[error("internal")]
    Internal(#[from] anyhow::Error),
}

impl Error {
    /// One bad field.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldViolation { field: field.to_owned(), message: message.into() }])
    }

    /// The reason word of the HTTP API.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "validation_failed",
            Self::InvalidCredentials => "invalid_credentials",
            Self::EmailNotVerified => "email_not_verified",
            Self::AccountDisabled => "account_disabled",
            Self::RateLimited(_) => "rate_limited",
            Self::InvalidToken => "invalid_token",
            Self::TokenUsed => "token_used",
            Self::TokenExpired => "token_expired",
            Self::InvalidRefreshToken => "invalid_refresh_token",
            Self::WrongPassword => "wrong_password",
            Self::SessionEnded => "unauthenticated",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound(_) => "not_found",
            Self::VersionMismatch => "version_mismatch",
            Self::UnpaidInvoices => "unpaid_invoices",
            Self::LiveInstances => "live_instances",
            Self::LastSuperAdmin => "last_super_admin",
            Self::InvalidState(_) => "invalid_state",
            Self::Unavailable(_) => "unavailable",
            Self::Internal(_) => "internal",
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Invalid(_)
            | Self::InvalidToken
            | Self::TokenUsed
            | Self::TokenExpired
            | Self::WrongPassword => Code::InvalidArgument,
            Self::InvalidCredentials | Self::InvalidRefreshToken | Self::SessionEnded => {
                Code::Unauthenticated
            }
            Self::EmailNotVerified | Self::AccountDisabled | Self::Forbidden(_) => Code::PermissionDenied,
            Self::RateLimited(_) => Code::ResourceExhausted,
            Self::NotFound(_) => Code::NotFound,
            Self::VersionMismatch => Code::Aborted,
            Self::UnpaidInvoices | Self::LiveInstances | Self::LastSuperAdmin | Self::InvalidState(_) => {
                Code::FailedPrecondition
            }
            Self::Unavailable(_) => Code::Unavailable,
            Self::Internal(_) => Code::Internal,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => {
                tracing::warn!(error = %error, "database does not answer");
                Self::Unavailable("the database")
            }
            // A server that stops or starts, and one without free connections.
            sqlx::Error::Database(cause)
                if cause.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("53")) =>
            {
                tracing::warn!(error = %cause, "database does not answer");
                Self::Unavailable("the database")
            }
            other => Self::Internal(other.into()),
        }
    }
}

impl From<Vec<FieldViolation>> for Error {
    fn from(fields: Vec<FieldViolation>) -> Self {
        Self::Invalid(fields)
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let refusal = match &error {
            Error::Invalid(fields) => Refusal::invalid_fields(fields.clone()),
            Error::Internal(cause) => {
                tracing::error!(error = format!("{cause:#}"), "call failed");
                Refusal::internal()
            }
            Error::Unavailable(_) => Refusal::unavailable(error.to_string()),
            Error::RateLimited(after) => {
                Refusal::new(error.code(), error.reason(), error.to_string()).with_retry_after(*after)
            }
            _ => Refusal::new(error.code(), error.reason(), error.to_string()),
        };
        refusal.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-04
    #[test]
    fn an_internal_cause_never_reaches_a_caller() {
        let status = Status::from(Error::Internal(anyhow::anyhow!("password of role auth_service")));
        assert_eq!(Refusal::from_status(&status).reason, "internal");
        assert!(!status.message().contains("auth_service"));
    }

    /// USR-16
    #[test]
    fn a_blocked_login_says_when_to_come_back() {
        let refusal = Refusal::from_status(&Error::RateLimited(Duration::from_secs(30)).into());
        assert_eq!(
            (refusal.reason.as_str(), refusal.retry_after),
            ("rate_limited", Some(Duration::from_secs(30)))
        );
    }
}
