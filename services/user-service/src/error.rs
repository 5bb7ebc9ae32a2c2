//! Everything that a use case can answer instead of success, and its form on the wire. Mapped once, here.

use std::time::Duration;

use runtime::database::{Fault, fault};
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
    #[error(
        "the e-mail address is not verified yet: open the link in our mail, or ask for a new one \
         (resend-verification)"
    )]
    EmailNotVerified,
    /// Right password, but an administrator turned the account off.
    #[error("this account is disabled")]
    AccountDisabled,
    /// The brute-force guard is closed for this long.
    #[error("too many failed log-ins: try again in {} s, or set a new password", .0.as_secs())]
    RateLimited(Duration),
    /// A token of a mail that is unknown or not good any more.
    #[error("this link is not valid, or a newer one took its place: ask for a new one")]
    InvalidToken,
    /// A verification token that was used.
    #[error("this link was used already: you can sign in")]
    TokenUsed,
    /// A verification token that is too old.
    #[error("this link has expired: ask for a new one")]
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
    /// Two changes at the same moment, again and again.
    #[error("this was changed at the same moment by somebody else: try again")]
    Conflict,
    /// A text that cannot be stored.
    #[error("a text has characters that cannot be stored, such as U+0000")]
    RefusedText,
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
            Self::Invalid(_) | Self::RefusedText => "validation_failed",
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
            Self::Conflict => "conflict",
            Self::Unavailable(_) => "unavailable",
            Self::Internal(_) => "internal",
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Invalid(_)
            | Self::RefusedText
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
            Self::VersionMismatch | Self::Conflict => Code::Aborted,
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
        match fault(&error) {
            Fault::Away => {
                tracing::warn!(error = %error, "database does not answer");
                Self::Unavailable("the database")
            }
            Fault::Conflict => Self::Conflict,
            Fault::RefusedText => Self::RefusedText,
            Fault::Other => Self::Internal(error.into()),
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
