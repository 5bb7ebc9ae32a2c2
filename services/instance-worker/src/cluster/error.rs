//! What can go wrong at the API, typed (K8S-17). An error is never read as "absent": only the server's own
//! 404 is.

use kube::core::response::Status;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server says that there is no such object.
    #[error("{0} not found")]
    NotFound(String),
    /// The object changed meanwhile, or a precondition does not hold.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The account may not do this, or a policy or quota refuses it.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// The server refuses the object itself; repeating it is of no use.
    #[error("the API server refuses the object: {0}")]
    Invalid(String),
    /// No answer, a broken answer, or a server that is busy.
    #[error("the Kubernetes API is unavailable: {0}")]
    Unavailable(String),
    /// An object of this name exists and is not ours (K8S-16).
    #[error("{0} exists and does not belong to the platform")]
    OwnershipConflict(String),
}

impl Error {
    /// Is it worth another try with the same input?
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Conflict(_) | Self::Forbidden(_) => true,
            Self::NotFound(_) | Self::Invalid(_) | Self::OwnershipConflict(_) => false,
        }
    }

    /// Word for metrics and rows.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::Conflict(_) => "conflict",
            Self::Forbidden(_) => "forbidden",
            Self::Invalid(_) => "invalid_object",
            Self::Unavailable(_) => "cluster_unavailable",
            Self::OwnershipConflict(_) => "ownership_conflict",
        }
    }

    pub(super) fn of(what: &str, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(what, &status),
            other => Self::Unavailable(format!("{what}: {other}")),
        }
    }

    fn of_status(what: &str, status: &Status) -> Self {
        let text = || format!("{what}: {}", status.message);
        match status.code {
            404 => Self::NotFound(what.to_owned()),
            409 => Self::Conflict(text()),
            401 | 403 => Self::Forbidden(text()),
            400 | 405 | 413 | 415 | 422 => Self::Invalid(text()),
            _ => Self::Unavailable(text()),
        }
    }
}

/// The one place where absence is read: the server's own 404.
pub(super) fn absent_as_none<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K8S-17
    #[test]
    fn only_a_404_of_the_server_is_absence() {
        for code in [400, 401, 403, 409, 410, 422, 429, 500, 503, 504] {
            let status = Status::failure("no", "No").with_code(code).boxed();
            let answer: Result<(), Error> = Err(Error::of("Deployment x", kube::Error::Api(status)));
            assert!(absent_as_none(answer).is_err(), "{code}");
        }
        let status = Status::failure("no", "NotFound").with_code(404).boxed();
        let answer: Result<(), Error> = Err(Error::of("Deployment x", kube::Error::Api(status)));
        assert!(matches!(absent_as_none(answer), Ok(None)));
        assert!(matches!(
            Error::of("x", kube::Error::LinesCodecMaxLineLengthExceeded),
            Error::Unavailable(_)
        ));
    }
}
