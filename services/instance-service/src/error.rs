//! Why a call is refused, and how it is told: one table from errors to gRPC codes and reasons
//! (`docs/ERRORS.md`).

use instance::domain::{Action, LimitFault, LimitFaultKind, OperationKind, Refused, Status, SubdomainFault};
use runtime::grpc::{FieldViolation, Refusal};
use tonic::Code;

/// Everything that a use case can answer with besides its result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Missing, or somebody else's.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// Fields are not valid.
    #[error("some fields are not valid")]
    Invalid(Vec<FieldViolation>),
    /// The plan does not give it (INS-06).
    #[error("some limits are above the plan: choose lower ones, or a plan that gives more")]
    ExceedsPlan(Vec<FieldViolation>),
    /// Storage only grows (INS-29).
    #[error("storage cannot shrink: copy what you need into a new instance with less")]
    StorageShrink(Vec<FieldViolation>),
    /// No such plan, or it is not sold (BIL-04).
    #[error("the plan {0} cannot be bought: the list of plans names those that can")]
    PlanUnavailable(String),
    /// INS-08.
    #[error("the subdomain is reserved: choose another one; the check of a subdomain suggests one")]
    SubdomainReserved,
    /// INS-07.
    #[error("the subdomain is taken: choose another one; the check of a subdomain suggests one")]
    SubdomainTaken,
    /// INS-13.
    #[error("{0} instances are the most that this account may have: terminate one, or ask us for more")]
    QuotaExceeded(u32),
    /// What ended is kept for its retention, and is not endless.
    #[error(
        "the data of {0} terminated instances is kept, which is the most; agree to the removal of one (end \
         it again with final_backup false) and wait for the end of its retention, or ask us to purge it"
    )]
    TooMuchKept(u32),
    /// INS-12.
    #[error("this Idempotency-Key came with another request before: use a new one for each request")]
    IdempotencyMismatch,
    /// INS-21.
    #[error("a payment is due first")]
    PaymentRequired,
    /// INS-19.
    #[error("not possible while the instance is {0}")]
    InvalidState(Status, Vec<Action>),
    /// INS-20.
    #[error("the operation {0} is in progress")]
    OperationInProgress(OperationKind),
    /// INS-27.
    #[error("nothing is left of the instance")]
    Purged,
    /// BIL-25.
    #[error("the instance is {0}: only a terminated one can come back")]
    NotTerminated(Status),
    /// BIL-25: volumes never get smaller.
    #[error("the instance's volume of {0} Mi does not fit the plan")]
    StorageExceedsPlan(u64),
    /// BIL-25: what the former subscription owes comes first.
    #[error("pay the open invoices of the instance first")]
    UnpaidInvoices,
    /// BIL-10: a trial was asked for that cannot be given; billing says why.
    #[error("{0}")]
    TrialNotAvailable(String),
    /// INS-38.
    #[error("the instance is {0}: nothing failed that could be tried again")]
    NothingToRetry(Status),
    /// INS-32.
    #[error("the operation cannot be cancelled any more")]
    NotCancellable,
    /// INS-37.
    #[error(
        "the credentials were shown already; set a lost password anew with Odoo's own reset by mail, or ask \
         us"
    )]
    AlreadyRevealed,
    /// INS-37.
    #[error("the credentials can be shown for 7 days only")]
    RevealExpired,
    /// INS-26.
    #[error("confirm must be the subdomain of the instance")]
    ConfirmMismatch,
    /// INS-18.
    #[error(
        "the action is not known: it must be start, stop, restart, suspend, unsuspend, terminate, undelete \
         or apply_resources"
    )]
    UnknownAction,
    /// Comes later.
    #[error("not available yet")]
    NotImplemented,
    /// Backups come later; nothing pretends that there are some.
    #[error(
        "backups are not available yet: leave final_backup out, the data is kept until the end of the \
         retention"
    )]
    NoBackups,
    /// Everybody has a share of the open streams.
    #[error("too many event streams are open: close one first")]
    TooManyStreams,
    /// The role is too low.
    #[error("not allowed for this account")]
    Forbidden,
    /// INS-17: somebody was faster.
    #[error("the instance has changed since: read it again and repeat the change")]
    VersionMismatch,
    /// Lost too many races.
    #[error("the instance changes too often at this moment")]
    Conflict,
    /// INS-35.
    #[error("the instance is not running, so there is nothing to read: start it first")]
    NoPod,
    /// Another service does not answer.
    #[error("{0} does not answer")]
    Unavailable(&'static str),
    /// The row was written by another release, and this one does not understand it.
    #[error("something went wrong on our side")]
    Unreadable(#[source] sqlx::Error),
    /// Our fault; the cause is logged where the answer is made.
    #[error("something went wrong on our side")]
    Internal(#[source] anyhow::Error),
}

impl Error {
    /// One bad field.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![violation(field, message)])
    }

    /// The reason word of the HTTP API.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::Invalid(_) => "validation_failed",
            Self::ExceedsPlan(_) => "exceeds_plan",
            Self::StorageShrink(_) => "storage_shrink",
            Self::PlanUnavailable(_) => "plan_unavailable",
            Self::SubdomainReserved => "subdomain_reserved",
            Self::SubdomainTaken => "subdomain_taken",
            Self::QuotaExceeded(_) | Self::TooMuchKept(_) => "quota_exceeded",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::PaymentRequired => "payment_required",
            Self::InvalidState(..) => "invalid_state",
            Self::OperationInProgress(_) => "operation_in_progress",
            Self::Purged => "purged",
            Self::NotTerminated(_) => "not_terminated",
            Self::StorageExceedsPlan(_) => "storage_exceeds_plan",
            Self::UnpaidInvoices => "unpaid_invoices",
            Self::TrialNotAvailable(_) => "trial_not_available",
            Self::NothingToRetry(_) => "nothing_to_retry",
            Self::NotCancellable => "not_cancellable",
            Self::AlreadyRevealed => "already_revealed",
            Self::RevealExpired => "expired",
            Self::ConfirmMismatch => "confirm_mismatch",
            Self::UnknownAction => "unknown_action",
            Self::NotImplemented | Self::NoBackups => "not_implemented",
            Self::TooManyStreams => "rate_limited",
            Self::Forbidden => "forbidden",
            Self::VersionMismatch => "version_mismatch",
            Self::Conflict => "conflict",
            Self::NoPod => "no_pod",
            Self::Unavailable(_) => "unavailable",
            Self::Unreadable(_) | Self::Internal(_) => "internal",
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NotFound(_) => Code::NotFound,
            Self::Invalid(_)
            | Self::ExceedsPlan(_)
            | Self::StorageShrink(_)
            | Self::PlanUnavailable(_)
            | Self::SubdomainReserved
            | Self::ConfirmMismatch
            | Self::UnknownAction => Code::InvalidArgument,
            Self::SubdomainTaken
            | Self::QuotaExceeded(_)
            | Self::TooMuchKept(_)
            | Self::IdempotencyMismatch => Code::AlreadyExists,
            Self::PaymentRequired
            | Self::InvalidState(..)
            | Self::OperationInProgress(_)
            | Self::Purged
            | Self::NotTerminated(_)
            | Self::StorageExceedsPlan(_)
            | Self::UnpaidInvoices
            | Self::TrialNotAvailable(_)
            | Self::NothingToRetry(_)
            | Self::NotCancellable
            | Self::AlreadyRevealed
            | Self::RevealExpired
            | Self::NoPod => Code::FailedPrecondition,
            Self::NotImplemented | Self::NoBackups => Code::Unimplemented,
            Self::TooManyStreams => Code::ResourceExhausted,
            Self::Forbidden => Code::PermissionDenied,
            Self::VersionMismatch | Self::Conflict => Code::Aborted,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Unreadable(_) | Self::Internal(_) => Code::Internal,
        }
    }
}

/// One bad field.
pub fn violation(field: &str, message: impl Into<String>) -> FieldViolation {
    FieldViolation { field: field.to_owned(), message: message.into() }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) | sqlx::Error::PoolClosed => {
                tracing::warn!(error = %error, "the database does not answer");
                Self::Unavailable("the database")
            }
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default().into_owned();
                match code.as_str() {
                    // It stops, starts, has no connection or no lock to give: the same call may succeed soon
                    // (REL-06).
                    "57P01" | "57P02" | "57P03" | "53300" | "55P03" => {
                        tracing::warn!(code, "the database does not answer");
                        Self::Unavailable("the database")
                    }
                    "40001" | "40P01" => Self::Conflict,
                    _ => Self::Internal(error.into()),
                }
            }
            error @ (sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) => Self::Unreadable(error),
            error => Self::Internal(error.into()),
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Forbidden => Self::Forbidden,
            Refused::PaymentRequired => Self::PaymentRequired,
            Refused::InvalidState(status, allowed) => Self::InvalidState(status, allowed),
            Refused::OperationInProgress(kind) => Self::OperationInProgress(kind),
            Refused::Purged => Self::Purged,
            Refused::NotTerminated(status) => Self::NotTerminated(status),
            Refused::NothingToRetry(status) => Self::NothingToRetry(status),
            Refused::NotImplemented => Self::NotImplemented,
        }
    }
}

impl From<SubdomainFault> for Error {
    fn from(fault: SubdomainFault) -> Self {
        match fault {
            SubdomainFault::Invalid => Self::invalid("subdomain", fault.to_string()),
            SubdomainFault::Reserved => Self::SubdomainReserved,
        }
    }
}

impl From<Vec<LimitFault>> for Error {
    /// A limit that no instance may have is the plainer mistake; it is told first, with all others beside it.
    fn from(faults: Vec<LimitFault>) -> Self {
        let any = |kind| faults.iter().any(|fault| fault.kind == kind);
        let (range, shrink) = (any(LimitFaultKind::OutOfRange), any(LimitFaultKind::StorageShrink));
        let fields = faults.iter().map(|fault| violation(fault.field, fault.message.clone())).collect();
        if range {
            Self::Invalid(fields)
        } else if shrink {
            Self::StorageShrink(fields)
        } else {
            Self::ExceedsPlan(fields)
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match &error {
            Error::Internal(cause) => tracing::error!(error = format!("{cause:#}"), "call failed"),
            Error::Unreadable(cause) => tracing::error!(error = %cause, "call failed"),
            _ => {}
        }
        let mut refusal = Self::new(error.code(), error.reason(), error.to_string());
        match error {
            Error::Invalid(fields) => return Self::invalid_fields(fields),
            Error::ExceedsPlan(fields) | Error::StorageShrink(fields) => refusal.fields = fields,
            Error::PlanUnavailable(_) => refusal = refusal.with_field("plan", "is not sold"),
            Error::SubdomainReserved => refusal = refusal.with_field("subdomain", "is reserved"),
            Error::ConfirmMismatch => {
                refusal = refusal.with_field("confirm", "must be the subdomain of the instance");
            }
            Error::UnknownAction => refusal = refusal.with_field("action", "is not known"),
            Error::InvalidState(status, allowed) => {
                let words: Vec<&str> = allowed.iter().map(|action| action.as_str()).collect();
                let list = words.join(", ");
                refusal.message = if words.is_empty() {
                    format!("not possible while the instance is {status}")
                } else {
                    format!("not possible while the instance is {status}; possible now: {list}")
                };
                refusal = refusal
                    .with_metadata("status", status.as_str())
                    .with_metadata("allowed", words.join(","));
            }
            Error::OperationInProgress(kind) => refusal = refusal.with_metadata("operation", kind.as_str()),
            Error::Unavailable(_) | Error::TooManyStreams => {
                refusal = refusal.with_retry_after(std::time::Duration::from_secs(5));
            }
            _ => {}
        }
        refusal
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        Refusal::from(error).into()
    }
}
