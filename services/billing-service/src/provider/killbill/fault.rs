//! What can go wrong with a call to Kill Bill. Its status codes mean little (500 is also "cancelled already",
//! "no such tenant", "key used"): decisions look at the `code` of the body.

use crate::provider::ProviderError;

/// Codes that are answers rather than failures.
pub mod code {
    /// Cancelled already.
    pub const CANCELLED: i64 = 1031;
    /// There is no cancellation to undo (billing side).
    pub const NOTHING_TO_UNCANCEL: i64 = 1070;
    /// There is no pending change to undo.
    pub const NO_PENDING_CHANGE: i64 = 1071;
    /// No subscription with this key.
    pub const NO_SUBSCRIPTION: i64 = 1083;
    /// The account is there already.
    pub const ACCOUNT_EXISTS: i64 = 3000;
    /// No account with this key.
    pub const NO_ACCOUNT: i64 = 3003;
    /// No payment with this key.
    pub const NO_PAYMENT: i64 = 7020;
    /// There is no cancellation to undo (entitlement side).
    pub const NOT_CANCELLED: i64 = 8004;
    /// The tenant is there already.
    pub const TENANT_EXISTS: i64 = 20_000;
}

/// Failure of one call.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No answer, or one that was cut off: it may have been done.
    #[error("Kill Bill does not answer: {0}")]
    NoAnswer(String),
    /// Its own error.
    #[error("Kill Bill answers {status}, code {code:?}: {message}")]
    Api {
        /// HTTP status.
        status: u16,
        /// Its code, if it gave one.
        code: Option<i64>,
        /// For operators.
        message: String,
    },
    /// An error that is not JSON: a page of the server around it, or of something between.
    #[error("Kill Bill answers {status} with {kind:?}, which is no answer of its API")]
    Page {
        /// HTTP status.
        status: u16,
        /// Content type.
        kind: String,
    },
    /// A success that does not say what it must.
    #[error("Kill Bill's answer makes no sense: {0}")]
    Nonsense(String),
}

impl Fault {
    /// Is it this error of the API?
    pub fn is(&self, wanted: i64) -> bool {
        matches!(self, Self::Api { code: Some(code), .. } if *code == wanted)
    }

    /// HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } | Self::Page { status, .. } => Some(*status),
            Self::NoAnswer(_) | Self::Nonsense(_) => None,
        }
    }
}

impl From<Fault> for ProviderError {
    fn from(fault: Fault) -> Self {
        match &fault {
            // Understood and refused. A wrong password, a wrong place (404 page), a slow-down or a time-out
            // (408) are none of that.
            Fault::Api { status: 400 | 404 | 409 | 422, code: Some(_), .. } => {
                Self::Refused(fault.to_string())
            }
            _ => Self::Unavailable(anyhow::anyhow!("{fault}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(status: u16, code: Option<i64>) -> ProviderError {
        Fault::Api { status, code, message: String::new() }.into()
    }

    #[test]
    fn only_an_error_with_a_code_is_a_refusal() {
        assert!(matches!(api(400, Some(2021)), ProviderError::Refused(_)));
        assert!(matches!(api(400, None), ProviderError::Unavailable(_)));
        assert!(matches!(api(500, Some(1031)), ProviderError::Unavailable(_)));
        assert!(matches!(api(408, None), ProviderError::Unavailable(_)));
        let page = Fault::Page { status: 401, kind: "text/html".into() };
        assert!(matches!(ProviderError::from(page), ProviderError::Unavailable(_)));
    }
}
