//! What a step can end with.

use std::time::Duration;

use instance::domain::ParkedFor;

use crate::cluster;
use crate::peers;

/// A step that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The effect is there.
    Done,
    /// Not needed; why, for the owner.
    Skipped(&'static str),
    /// Not yet: the operation is parked and tried again when the fact is learned, or after the time.
    Wait(ParkedFor, Duration),
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Worth another try.
    Retry {
        /// Reason word, if the tries are used up.
        reason: &'static str,
        /// Safe text.
        message: &'static str,
        /// For operators.
        internal: String,
    },
    /// Will not get better by itself.
    Permanent {
        /// Reason word.
        reason: String,
        /// Safe text.
        message: String,
        /// For operators.
        internal: String,
    },
}

impl Failure {
    /// Will not get better by itself.
    pub fn permanent(
        reason: impl Into<String>,
        message: impl Into<String>,
        internal: impl Into<String>,
    ) -> Self {
        Self::Permanent { reason: reason.into(), message: message.into(), internal: internal.into() }
    }

    /// For operators.
    pub fn internal(&self) -> &str {
        match self {
            Self::Retry { internal, .. } | Self::Permanent { internal, .. } => internal,
        }
    }
}

impl From<cluster::Error> for Failure {
    fn from(error: cluster::Error) -> Self {
        let internal = error.to_string();
        if error.is_retryable() {
            return Self::Retry {
                reason: error.reason(),
                message: "the cluster did not answer as it should",
                internal,
            };
        }
        let message = match error {
            cluster::Error::OwnershipConflict(_) => {
                "an object of this instance's name belongs to somebody else"
            }
            _ => "the cluster refused an object of this instance",
        };
        Self::permanent(error.reason(), message, internal)
    }
}

impl From<peers::Error> for Failure {
    fn from(error: peers::Error) -> Self {
        let internal = error.to_string();
        match error {
            peers::Error::Refused { reason, .. } => {
                Self::permanent(reason, "another part of the platform refused this", internal)
            }
            peers::Error::Unavailable { .. } | peers::Error::Broken { .. } => Self::Retry {
                reason: "dependency_unavailable",
                message: "another part of the platform did not answer",
                internal,
            },
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Retry {
            reason: "unavailable",
            message: "the platform's database did not answer",
            internal: error.to_string(),
        }
    }
}
