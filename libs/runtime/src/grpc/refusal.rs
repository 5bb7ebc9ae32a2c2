//! One way to say no: a gRPC code, a machine-readable reason (`google.rpc.ErrorInfo`), a message for people,
//! fields and a time to retry after.
//!
//! Services make a [`Refusal`] from their error; the gateway reads it back from the status. Clients match the
//! reason, never the text.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Domain of our reasons in `ErrorInfo`.
const DOMAIN: &str = "saasodoo";

/// What is wrong with one field of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Name of the field, as in the HTTP body.
    pub field: String,
    /// What it must be.
    pub message: String,
}

/// A call that was understood and refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// gRPC code; `docs/ERRORS.md` has the table to HTTP.
    pub code: Code,
    /// Reason word of the HTTP API.
    pub reason: String,
    /// Lower-case, names the thing, no full stop; never an internal cause.
    pub message: String,
    /// For `InvalidArgument`.
    pub fields: Vec<FieldViolation>,
    /// For `Unavailable` and `ResourceExhausted`.
    pub retry_after: Option<Duration>,
    /// More facts for the client, such as the allowed actions.
    pub metadata: HashMap<String, String>,
}

impl Refusal {
    /// Any code with any reason.
    pub fn new(code: Code, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            fields: Vec::new(),
            retry_after: None,
            metadata: HashMap::new(),
        }
    }

    /// One bad field: `InvalidArgument`, reason `validation_failed`.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        let violation = FieldViolation { field: field.into(), message: message.into() };
        let text = format!("{} {}", violation.field, violation.message);
        Self { fields: vec![violation], ..Self::new(Code::InvalidArgument, "validation_failed", text) }
    }

    /// Several bad fields at once.
    pub fn invalid_fields(fields: Vec<FieldViolation>) -> Self {
        Self { fields, ..Self::new(Code::InvalidArgument, "validation_failed", "some fields are not valid") }
    }

    /// Missing or hidden.
    pub fn not_found(thing: &str) -> Self {
        Self::new(Code::NotFound, "not_found", format!("{thing} not found"))
    }

    /// A dependency is away.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(5)),
            ..Self::new(Code::Unavailable, "unavailable", message)
        }
    }

    /// An internal failure; log its cause before.
    pub fn internal() -> Self {
        Self::new(Code::Internal, "internal", "something went wrong on our side")
    }

    /// Names the field that a reason is about.
    pub fn with_field(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.fields.push(FieldViolation { field: field.into(), message: message.into() });
        self
    }

    /// Says when to try again.
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds a fact.
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Reads a status back, also one that was not made by us.
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let (reason, metadata) = details.error_info().filter(|info| info.domain == DOMAIN).map_or_else(
            || (default_reason(status.code()).to_owned(), HashMap::new()),
            |info| (info.reason.clone(), info.metadata.clone()),
        );
        let fields = details.bad_request().map_or_else(Vec::new, |bad| {
            bad.field_violations
                .iter()
                .map(|violation| FieldViolation {
                    field: violation.field.clone(),
                    message: violation.description.clone(),
                })
                .collect()
        });
        let retry_after = details.retry_info().and_then(|info| info.retry_delay);
        Self {
            code: status.code(),
            reason,
            message: status.message().to_owned(),
            fields,
            retry_after,
            metadata,
        }
    }
}

/// For statuses without our details: the reason that fits the code.
fn default_reason(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => "unauthenticated",
        Code::PermissionDenied => "forbidden",
        Code::NotFound => "not_found",
        Code::InvalidArgument => "validation_failed",
        Code::Unimplemented => "not_implemented",
        Code::ResourceExhausted => "rate_limited",
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => "unavailable",
        Code::Aborted | Code::AlreadyExists => "conflict",
        Code::FailedPrecondition => "invalid_state",
        _ => "internal",
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(refusal.reason, DOMAIN, refusal.metadata);
        for violation in refusal.fields {
            details.add_bad_request_violation(violation.field, violation.message);
        }
        if let Some(after) = refusal.retry_after {
            details.set_retry_info(Some(after));
        }
        Self::with_error_details(refusal.code, refusal.message, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_survives_the_wire() {
        let refusal = Refusal::invalid("name", "must not be empty")
            .with_retry_after(Duration::from_secs(30))
            .with_metadata("allowed", "start,stop");
        assert_eq!(Refusal::from_status(&Status::from(refusal.clone())), refusal);
    }

    #[test]
    fn a_foreign_status_gets_the_reason_of_its_code() {
        let read = Refusal::from_status(&Status::unavailable("connection refused"));
        assert_eq!(read.reason, "unavailable");
    }
}
