//! Why billing said no, and how callers hear it.

use std::time::Duration;

use runtime::database::{Fault, fault};
use runtime::grpc::Refusal;
use tonic::{Code, Status};

use crate::domain::money::MoneyError;

/// Failure of a use case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Unknown, or not for sale (BIL-04).
    #[error("plan {0:?} is not available")]
    PlanUnavailable(String),
    /// Missing or hidden.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// A field of the request.
    #[error("{field} {message}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it must be.
        message: &'static str,
    },
    /// The provider does not work now (BIL-35).
    #[error("orders cannot be taken now")]
    ProviderUnavailable,
    /// It could not be found out whether a trial may be given; nothing was bought instead (BIL-10).
    #[error("the trial cannot be checked now")]
    TrialUnchecked,
    /// A trial was asked for that cannot be given; nothing was bought instead. The reason of the trial rule.
    #[error("{}", trial_text(.0))]
    TrialNotAvailable(&'static str),
    /// The order is past the point where it could be taken back.
    #[error("the order has its instance already")]
    Confirmed,
    /// There is no such payment gateway here.
    #[error("this payment gateway is not available")]
    GatewayOff,
    /// A payment gateway said no; its text.
    #[error("the payment gateway refused: {0}")]
    GatewayRefused(String),
    /// A payment gateway gave no answer: the payment may have begun.
    #[error(
        "the payment gateway does not answer now; the payment may have begun, look at it before you pay again"
    )]
    GatewayAway,
    /// A message that its sender did not sign.
    #[error("the hash of the message is wrong")]
    BadHash,
    /// Two calls changed the same thing.
    #[error("the order was changed at the same time, try again")]
    Conflict,
    /// The rules of money say no; a reason word of the API and a text for the customer.
    #[error("{1}")]
    Refused(&'static str, &'static str),
    /// An amount that has no answer.
    #[error("the amount cannot be computed: {0}")]
    Money(#[from] MoneyError),
    /// Another service did not answer.
    #[error("{0} does not answer")]
    PeerAway(&'static str),
    /// The own database cannot be used now.
    #[error("billing does not work for the moment, try again shortly")]
    DatabaseAway,
    /// The transaction lost against another one; all of it can be repeated.
    #[error("the same thing was changed at the same time, try again")]
    Lost,
    /// A text that the database cannot hold.
    #[error("a text has characters that cannot be stored, such as U+0000")]
    BadText,
    /// More is being printed than fits.
    #[error("invoices are being printed, try again shortly")]
    Busy,
    /// Anything else.
    #[error("internal error")]
    Internal(#[from] anyhow::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match fault(&error) {
            Fault::Away => {
                tracing::warn!(error = %error, "the database cannot be used now");
                Self::DatabaseAway
            }
            Fault::Conflict => Self::Lost,
            Fault::RefusedText => Self::BadText,
            Fault::Other => Self::Internal(error.into()),
        }
    }
}

/// Why there is no trial, for the customer.
fn trial_text(reason: &str) -> &'static str {
    match reason {
        "already_used" => "the free trial of this account was used already: order without a trial",
        "has_paid_subscription" => {
            "an account with a paid subscription gets no free trial: order without a trial"
        }
        "no_trial_on_plan" => "this plan has no free trial: choose another plan, or order without a trial",
        _ => "a free trial cannot be given now: order without a trial, or try again later",
    }
}

impl Error {
    /// Can all of it be repeated at once?
    pub fn is_lost_race(&self) -> bool {
        matches!(self, Self::Lost)
    }

    /// Reason word of the API.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PlanUnavailable(_) => "plan_unavailable",
            Self::NotFound(_) => "not_found",
            Self::Field { .. } | Self::Money(_) | Self::BadText => "validation_failed",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::TrialNotAvailable(_) => "trial_not_available",
            Self::TrialUnchecked
            | Self::PeerAway(_)
            | Self::GatewayOff
            | Self::GatewayAway
            | Self::DatabaseAway
            | Self::Busy => "unavailable",
            Self::Confirmed => "invalid_state",
            Self::GatewayRefused(_) => "gateway_refused",
            Self::BadHash => "bad_hash",
            Self::Conflict | Self::Lost => "conflict",
            Self::Refused(reason, _) => reason,
            Self::Internal(_) => "internal",
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (reason, message) = (error.reason(), error.to_string());
        let refusal = match &error {
            Error::PlanUnavailable(_) => {
                Refusal::new(Code::InvalidArgument, reason, message.as_str()).with_field("plan", message)
            }
            Error::NotFound(thing) => Refusal::not_found(thing),
            Error::Field { field, message } => Refusal::invalid(*field, *message),
            Error::ProviderUnavailable
            | Error::TrialUnchecked
            | Error::PeerAway(_)
            | Error::GatewayOff
            | Error::GatewayAway
            | Error::DatabaseAway
            | Error::Busy => {
                Refusal::new(Code::Unavailable, reason, message).with_retry_after(Duration::from_secs(10))
            }
            Error::Confirmed
            | Error::Refused(..)
            | Error::GatewayRefused(_)
            | Error::TrialNotAvailable(_) => Refusal::new(Code::FailedPrecondition, reason, message),
            Error::Conflict | Error::Lost => Refusal::new(Code::Aborted, reason, message),
            Error::Money(_) | Error::BadHash | Error::BadText => {
                Refusal::new(Code::InvalidArgument, reason, message)
            }
            Error::Internal(cause) => {
                tracing::error!(error = format!("{cause:#}"), "call failed");
                Refusal::internal()
            }
        };
        refusal.into()
    }
}
