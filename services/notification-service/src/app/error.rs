//! Why a use case says no, and how a caller hears it.

use runtime::database::{Fault, fault};
use runtime::grpc::Refusal;
use tonic::{Code, Status};

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
    /// The database does not answer, or two changes met.
    #[error("the database does not answer")]
    Away(#[source] sqlx::Error),
    /// A text that cannot be stored.
    #[error("a text has characters that cannot be stored, such as U+0000")]
    RefusedText,
    /// Anything else.
    #[error("internal error")]
    Internal(#[from] anyhow::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match fault(&error) {
            Fault::Away | Fault::Conflict => Self::Away(error),
            Fault::RefusedText => Self::RefusedText,
            Fault::Other => Self::Internal(error.into()),
        }
    }
}

impl Error {
    /// Reason word of the API.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnknownTemplate(_) | Self::Variables(_) | Self::Field { .. } | Self::RefusedText => {
                "validation_failed"
            }
            Self::NotFound => "not_found",
            Self::NotResendable => "not_resendable",
            Self::MailServer | Self::Away(_) => "unavailable",
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
            Error::RefusedText => Refusal::new(Code::InvalidArgument, error.reason(), message).into(),
            Error::Away(cause) => {
                tracing::warn!(error = %cause, "the database does not answer");
                Refusal::unavailable(message).into()
            }
            Error::Internal(cause) => {
                tracing::error!(error = format!("{cause:#}"), "call failed");
                Refusal::internal().into()
            }
        }
    }
}
