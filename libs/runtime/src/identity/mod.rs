//! Who calls: a service (always, by a service token) and, on behalf of whom, a user (by the access token that
//! the gateway forwards).
//!
//! No service trusts its network (ADR 4): both tokens are verified in each process.

mod service_token;
mod user_token;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use uuid::Uuid;

pub use service_token::{ServiceKeys, ServiceSigner, generate_key_pair};
pub use user_token::{ISSUER, USER_AUDIENCE, UserClaims, UserVerifier};

/// Rank of a user; a higher one may do what a lower one may (USR-22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Buys and uses instances.
    Customer,
    /// Reads everything and repairs instances.
    Operator,
    /// Also changes accounts, billing and databases.
    Admin,
    /// Also gives roles.
    SuperAdmin,
}

impl Role {
    /// All roles, lowest first.
    pub const ALL: [Self; 4] = [Self::Customer, Self::Operator, Self::Admin, Self::SuperAdmin];

    /// The word in tokens, SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::SuperAdmin => "super_admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A role word that nobody knows.
#[derive(Debug, thiserror::Error)]
#[error("unknown role")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;
    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == word).ok_or(UnknownRole)
    }
}

/// A verified user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Customer id (`sub`).
    pub id: Uuid,
    /// Server-side session (`sid`).
    pub session: Uuid,
    /// Role at the time of the token.
    pub role: Role,
}

/// The verified origin of a call; an extension of every gRPC request that reaches a handler.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Name of the calling service; of a relayed call the service that asked for it.
    pub service: String,
    /// The gateway passed it on for that service.
    pub relayed: bool,
    /// The user, when the method takes one.
    pub user: Option<User>,
    /// `X-Request-Id` of the outermost request.
    pub request_id: String,
    /// Address of the user as the gateway saw it.
    pub client_ip: Option<IpAddr>,
}

impl Caller {
    /// The caller of a request. The policy layer puts it there; without it the method is not reachable.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<&Self, tonic::Status> {
        request.extensions().get().ok_or_else(|| tonic::Status::internal("call without a policy"))
    }

    /// The user of a method whose policy requires one.
    pub fn require_user(&self) -> Result<&User, tonic::Status> {
        self.user.as_ref().ok_or_else(|| tonic::Status::internal("policy without a user"))
    }

    /// Whether it came by the public API: from a user, or from a service that asked the gateway.
    pub fn is_by_hand(&self) -> bool {
        self.relayed || self.user.is_some()
    }

    /// For audit rows: the user's id, or the service's name.
    pub fn actor(&self) -> String {
        self.user.as_ref().map_or_else(|| self.service.clone(), |user| user.id.to_string())
    }
}
