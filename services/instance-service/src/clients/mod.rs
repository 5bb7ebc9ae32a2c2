//! Other services as this one sees them: plans and orders, accounts, the worker. Every call has a deadline.

pub mod billing;
pub mod users;
pub mod worker;

use tonic::{Code, Status};

use crate::error::Error;

/// What a failed call to `service` means to our caller.
fn failure(service: &'static str, status: &Status) -> Error {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted => {
            tracing::warn!(service, code = ?status.code(), "another service does not answer");
            Error::Unavailable(service)
        }
        code => Error::Internal(anyhow::anyhow!("{service}: {code:?}: {}", status.message())),
    }
}
