//! Use cases: order a mail, turn a fact into a mail, send again.

mod announce;
mod order;
mod resend;

use runtime::grpc::Refusal;
use tonic::{Code, Status};

pub use announce::{announce_billing, announce_customer, announce_instance};
pub use order::{Order, Post};
pub use resend::resend;

/// Why a use case said no.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No template of this name.
    #[error("template {0:?} does not exist")]
    UnknownTemplate(String),
    /// The variables do not fit the template.
    #[error("{0}")]
    Variables(String),
    /// A field of the request.
    #[error("{field} {message}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it must be.
        message: &'static str,
    },
    /// No such row.
    #[error("email not found")]
    NotFound,
    /// Only failed mails can be sent again, while what they need is still there.
    #[error("only a failed mail whose link is still valid can be sent again")]
    NotResendable,
    /// The mail server does not work now.
    #[error("the mail server cannot be used now")]
    MailServer,
    /// Anything else.
    #[error("internal error")]
    Internal(#[from] anyhow::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Internal(error.into())
    }
}

impl Error {
    /// Reason word of the API.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnknownTemplate(_) | Self::Variables(_) | Self::Field { .. } => "validation_failed",
            Self::NotFound => "not_found",
            Self::NotResendable => "not_resendable",
            Self::MailServer => "unavailable",
            Self::Internal(_) => "internal",
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match &error {
            Error::UnknownTemplate(_) => Refusal::invalid("template_name", message).into(),
            Error::Variables(_) => Refusal::invalid("variables", message).into(),
            Error::Field { field, message } => Refusal::invalid(*field, *message).into(),
            Error::NotFound => Refusal::not_found("email").into(),
            Error::NotResendable => Refusal::new(Code::FailedPrecondition, error.reason(), message).into(),
            Error::MailServer => Refusal::unavailable(message).into(),
            Error::Internal(cause) => {
                tracing::error!(error = format!("{cause:#}"), "call failed");
                Refusal::internal().into()
            }
        }
    }
}
