//! Why a message was not handled, and what shall happen to it.

use runtime::database::{Fault, fault, fault_within};

/// Why a message was not handled, and what shall happen to it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database or a peer is away. The consumer waits for it with the message in hand, and none of its
    /// tries is spent.
    #[error("away: {0:#}")]
    Away(#[source] anyhow::Error),
    /// This message fails, and may work another time: delivered again after a pause that grows, at most
    /// [`DELIVERY_LIMIT`](crate::topology::DELIVERY_LIMIT) times, then it is dead.
    #[error("retry: {0:#}")]
    Retry(#[source] anyhow::Error),
    /// It will never work: straight to the dead queue.
    #[error("dead: {0:#}")]
    Dead(#[source] anyhow::Error),
}

impl Failure {
    /// For an error of a use case: where its chain of causes has an error of the database or of a call to a
    /// peer, that one says what it means. Anything else is a [`Failure::Retry`].
    pub fn of(error: anyhow::Error) -> Self {
        if let Some(fault) = fault_within(error.as_ref()) {
            return Self::by(fault, error);
        }
        let peer = error.chain().find_map(|cause| cause.downcast_ref::<tonic::Status>());
        match peer.map(tonic::Status::code) {
            Some(tonic::Code::Unavailable | tonic::Code::DeadlineExceeded) => Self::Away(error),
            _ => Self::Retry(error),
        }
    }

    fn by(fault: Fault, error: anyhow::Error) -> Self {
        match fault {
            Fault::Away => Self::Away(error),
            Fault::RefusedText => Self::Dead(error),
            Fault::Conflict | Fault::Other => Self::Retry(error),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::by(fault(&error), error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_away_is_told_from_what_fails() {
        let away = anyhow::Error::from(sqlx::Error::PoolTimedOut).context("cannot order the mail");
        assert!(matches!(Failure::of(away), Failure::Away(_)));
        let peer = anyhow::Error::from(tonic::Status::unavailable("connection refused")).context("billing");
        assert!(matches!(Failure::of(peer), Failure::Away(_)));
        let refused = anyhow::Error::from(tonic::Status::invalid_argument("no"));
        assert!(matches!(Failure::of(refused), Failure::Retry(_)));
        assert!(matches!(Failure::of(anyhow::anyhow!("a bug")), Failure::Retry(_)));
        assert!(matches!(Failure::from(sqlx::Error::RowNotFound), Failure::Retry(_)));
    }
}
