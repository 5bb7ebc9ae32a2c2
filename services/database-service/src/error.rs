//! The one error of this service and its way to the wire.

use std::time::Duration;

use runtime::grpc::Refusal;
use tonic::{Code, Status};

use crate::domain::placement::NotDedicated;
use crate::domain::pool::InvalidTransition;
use crate::domain::rotation::RotationRefused;
use crate::domain::server::Server;

/// What a use case answers when it does not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request.
    #[error("{field} {message}")]
    Invalid {
        /// Its name.
        field: &'static str,
        /// What it must be.
        message: &'static str,
    },
    /// DBS-34.
    #[error("plan_tier must be starter, standard, premium or enterprise")]
    PlanTierUnknown,
    /// DBS-10.
    #[error(transparent)]
    PlanNotDedicated(#[from] NotDedicated),
    /// Missing.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// DBS-08.
    #[error("the instance belongs to another customer")]
    AllocatedToOtherCustomer,
    /// DBS-30: a database or role of that name exists without our row.
    #[error("{0} exists on the server and is not ours")]
    NameTaken(String),
    /// DBS-02, DBS-24: one pool is made at a time.
    #[error("{} is being made already", .0.name)]
    PoolInProgress(Box<Server>),
    /// DBS-12.
    #[error("max_instances {wanted} is below the {current} in use")]
    BelowCurrentUse {
        /// Asked for.
        wanted: i32,
        /// Taken.
        current: i32,
    },
    /// DBS-13.
    #[error("{pool} holds {allocations} allocations")]
    PoolNotEmpty {
        /// Its name.
        pool: String,
        /// What it holds.
        allocations: i32,
    },
    /// The key was used for something else before.
    #[error("the Idempotency-Key was used for another request")]
    IdempotencyMismatch,
    /// DBS-33: no slot on the pool that was asked for.
    #[error("the pool {0} has no room")]
    PoolFull(String),
    /// DBS-33: one move of a tenant at a time.
    #[error("the database is being moved already")]
    MoveInProgress,
    /// DBS-32: one change of a tenant's password at a time.
    #[error("the password is being changed already")]
    RotationInProgress,
    /// DBS-33: the copy is not the same as its source.
    #[error("the copy differs from its source: {0}")]
    CopyDiffers(String),
    /// Nothing more can be written on a server: its volume is full.
    #[error("the volume of {0} is full")]
    VolumeFull(String),
    /// The state does not allow it.
    #[error("{0}")]
    InvalidState(String),
    /// Lost a race; the whole use case may be repeated.
    #[error("changed by somebody else at the same time")]
    Conflict,
    /// A tenants' server answered and refused a statement: nothing is wrong with the server itself, and a
    /// repeat may get the same answer.
    #[error("database server {server} refused a step of the work; the log of database-service says which")]
    Refused {
        /// Name of the pool.
        server: String,
        /// For the log.
        #[source]
        cause: sqlx::Error,
    },
    /// A tenants' server does not answer.
    #[error("database server {server} is not available")]
    Server {
        /// Name of the pool.
        server: String,
        /// For the log.
        #[source]
        cause: anyhow::Error,
    },
    /// The service's own database.
    #[error("database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// Everything else.
    #[error("{0:#}")]
    Internal(#[from] anyhow::Error),
}

impl From<InvalidTransition> for Error {
    fn from(error: InvalidTransition) -> Self {
        Self::InvalidState(error.to_string())
    }
}

impl From<RotationRefused> for Error {
    fn from(error: RotationRefused) -> Self {
        Self::InvalidState(error.to_string())
    }
}

impl Error {
    /// Machine-readable reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "validation_failed",
            Self::PlanTierUnknown => "plan_tier_unknown",
            Self::PlanNotDedicated(_) => "plan_not_dedicated",
            Self::NotFound(_) => "not_found",
            Self::AllocatedToOtherCustomer => "allocated_to_other_customer",
            Self::NameTaken(_) => "database_name_taken",
            Self::PoolInProgress(_) => "pool_in_progress",
            Self::BelowCurrentUse { .. } => "below_current_use",
            Self::PoolNotEmpty { .. } => "pool_not_empty",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::PoolFull(_) => "pool_full",
            Self::MoveInProgress => "move_in_progress",
            Self::RotationInProgress => "rotation_in_progress",
            Self::CopyDiffers(_) => "copy_differs",
            Self::VolumeFull(_) => "pool_volume_full",
            Self::InvalidState(_) => "invalid_state",
            Self::Conflict => "conflict",
            Self::Server { .. } | Self::Refused { .. } => "unavailable",
            Self::Database(error) if is_away(error) => "unavailable",
            Self::Database(_) | Self::Internal(_) => "internal",
        }
    }
}

/// Is the database away, as opposed to a statement being wrong?
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => {
            true
        }
        // Shutdown, crash, too many connections, lock time-out.
        sqlx::Error::Database(error) => {
            matches!(error.code().as_deref(), Some(code) if code.starts_with("57P") || code == "53300" || code == "55P03")
        }
        _ => false,
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let reason = error.reason();
        let refuse = |code| Refusal::new(code, reason, error.to_string());
        match &error {
            Error::Invalid { field, message } => Refusal::invalid(*field, *message).into(),
            Error::PlanTierUnknown => {
                refuse(Code::InvalidArgument).with_field("plan_tier", "is not known").into()
            }
            Error::PlanNotDedicated(_) => {
                refuse(Code::InvalidArgument).with_field("plan_tier", "has no dedicated server").into()
            }
            Error::NotFound(_) => refuse(Code::NotFound).into(),
            Error::AllocatedToOtherCustomer | Error::IdempotencyMismatch => {
                refuse(Code::AlreadyExists).into()
            }
            Error::PoolInProgress(pool) => refuse(Code::FailedPrecondition)
                .with_metadata("pool_id", pool.id.to_string())
                .with_metadata("pool_name", pool.name.clone())
                .with_metadata("pool_status", pool.status.as_str())
                .into(),
            Error::NameTaken(_)
            | Error::InvalidState(_)
            | Error::BelowCurrentUse { .. }
            | Error::PoolNotEmpty { .. }
            | Error::PoolFull(_)
            | Error::MoveInProgress
            | Error::RotationInProgress
            | Error::CopyDiffers(_) => refuse(Code::FailedPrecondition).into(),
            Error::VolumeFull(_) => refuse(Code::Unavailable).with_retry_after(Duration::from_secs(5)).into(),
            Error::Conflict => refuse(Code::Aborted).into(),
            Error::Refused { server, cause } => {
                tracing::error!(server, error = %cause, "a tenants' server refused a statement");
                refuse(Code::Unavailable).with_retry_after(Duration::from_secs(5)).into()
            }
            Error::Server { cause, .. } => {
                tracing::warn!(error = format!("{cause:#}"), "a tenants' server failed");
                refuse(Code::Unavailable).with_retry_after(Duration::from_secs(5)).into()
            }
            Error::Database(cause) if is_away(cause) => {
                tracing::warn!(error = %cause, "own database is away");
                Refusal::unavailable("the database does not answer").into()
            }
            Error::Database(_) | Error::Internal(_) => {
                tracing::error!(error = %error, "call failed");
                Refusal::internal().into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DBS-08, SEC-04
    #[test]
    fn refusals_carry_reasons_and_no_causes() {
        let status = Status::from(Error::AllocatedToOtherCustomer);
        assert_eq!(status.code(), Code::AlreadyExists);
        assert_eq!(Refusal::from_status(&status).reason, "allocated_to_other_customer");
        let cause = anyhow::anyhow!("role pool_admin at 10.0.0.7 refused");
        let status = Status::from(Error::Server { server: "postgres-pool-1".into(), cause });
        assert_eq!(status.code(), Code::Unavailable);
        assert!(!status.message().contains("10.0.0.7"));
        let cause = sqlx::Error::Protocol("cannot drop a template database odoo_a".into());
        let status = Status::from(Error::Refused { server: "postgres-pool-1".into(), cause });
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("refused") && !status.message().contains("odoo_a"), "{status}");
        let status = Status::from(Error::PlanTierUnknown);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(Refusal::from_status(&status).reason, "plan_tier_unknown");
    }
}
