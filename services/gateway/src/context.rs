//! Who asks: the request's id, the client's address and, behind an access check, the signed-in user.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use runtime::grpc::{on_behalf_of, relayed_for};
use runtime::identity::Role;
use uuid::Uuid;

use crate::problem::Problem;

/// A user whose token and session are good now.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Customer id.
    pub id: Uuid,
    /// Session id.
    pub session: Uuid,
    /// Role now, as user-service says, not as the token says.
    pub role: Role,
    /// The access token, forwarded with each call.
    pub token: Arc<str>,
}

/// A service whose own token is good now.
#[derive(Debug, Clone)]
pub struct CallingService {
    /// Its name.
    pub name: Arc<str>,
    /// Its token, passed on with each call: the called side verifies it again.
    pub token: Arc<str>,
}

/// The context of a request; the outermost layer makes it, the access check adds the user.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// `X-Request-Id`.
    pub request_id: Arc<str>,
    /// The client's address.
    pub client_ip: Option<IpAddr>,
    /// The user, behind every access but Public.
    pub user: Option<SignedIn>,
    /// The service, behind an access that takes services.
    pub service: Option<CallingService>,
}

impl Ctx {
    /// A call to a service in the name of this request.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        if let Some(service) = &self.service {
            return relayed_for(message, &service.token, &self.request_id, self.client_ip);
        }
        let token = self.user.as_ref().map(|user| &*user.token);
        on_behalf_of(message, token, &self.request_id, self.client_ip)
    }

    /// The signed-in user.
    pub fn user(&self) -> Result<&SignedIn, Problem> {
        self.user.as_ref().ok_or_else(|| Problem::unauthenticated("sign in first"))
    }

    /// May the caller see what operators see?
    pub fn is_operator(&self) -> bool {
        self.service.is_some() || self.user.as_ref().is_some_and(|user| user.role >= Role::Operator)
    }

    /// Refuses a caller below `minimum`, for routes whose need depends on their body; a service is no such caller.
    pub fn require(&self, minimum: Role) -> Result<(), Problem> {
        if self.service.is_some() {
            return Err(Problem::forbidden("this is not for services"));
        }
        if self.user()?.role < minimum {
            return Err(Problem::forbidden(format!("this needs the role {minimum}")));
        }
        Ok(())
    }

    /// A `{customer_id}` of a path or query: `me`, the caller's own id, or for operators any id.
    pub fn customer(&self, wanted: &str) -> Result<Uuid, Problem> {
        let user = self.user()?;
        if wanted == "me" {
            return Ok(user.id);
        }
        let id: Uuid = wanted.parse().map_err(|_| Problem::not_found("customer"))?;
        if id != user.id && user.role < Role::Operator {
            return Err(Problem::forbidden("this is another customer's"));
        }
        Ok(id)
    }
}

impl<S: Sync> FromRequestParts<S> for Ctx {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let context = parts.extensions.get::<Self>().cloned();
        Ok(context.unwrap_or_else(|| Self {
            request_id: "".into(),
            client_ip: None,
            user: None,
            service: None,
        }))
    }
}
