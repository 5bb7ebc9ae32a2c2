//! Who may use a route: declared with the route, enforced before its handler (GTW-05).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use runtime::grpc::SERVICE_TOKEN;
use runtime::identity::Role;

use crate::app::App;
use crate::context::{CallingService, Ctx, SignedIn};
use crate::problem::Problem;
use crate::rate_limit::Counted;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// A signed-in, verified account. Ownership is checked by the service.
    Customer,
    /// The same, or a service by its own signed token.
    CustomerOrService,
    /// Operators and above.
    OperatorPlus,
    /// The same, or a service.
    OperatorOrService,
    /// Admins and above.
    Admin,
    /// The same, or a service. Which service may, the called side says.
    AdminOrService,
    /// The highest role.
    SuperAdmin,
}

impl Access {
    /// The lowest role that may.
    pub fn minimum(self) -> Option<Role> {
        match self {
            Self::Public => None,
            Self::Customer | Self::CustomerOrService => Some(Role::Customer),
            Self::OperatorPlus | Self::OperatorOrService => Some(Role::Operator),
            Self::Admin | Self::AdminOrService => Some(Role::Admin),
            Self::SuperAdmin => Some(Role::SuperAdmin),
        }
    }

    /// Whether a service's own token lets in too.
    pub fn takes_services(self) -> bool {
        matches!(self, Self::CustomerOrService | Self::OperatorOrService | Self::AdminOrService)
    }

    /// The word in the OpenAPI document.
    pub fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Customer => "customer",
            Self::CustomerOrService => "customer/service",
            Self::OperatorPlus => "operator",
            Self::OperatorOrService => "operator/service",
            Self::Admin => "admin",
            Self::AdminOrService => "admin/service",
            Self::SuperAdmin => "super_admin",
        }
    }
}

/// Which counters a route takes from, besides the one of the account or address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Health pages.
    Exempt,
    /// The account, or without a token the address.
    Usual,
    /// Routes of `/user/auth` that take a secret.
    Auth,
    /// Payment providers.
    Webhook,
}

/// What the access check of one route needs.
#[derive(Debug, Clone)]
pub struct Guard {
    pub app: App,
    pub access: Access,
    pub limit: Limit,
}

/// The layer of each route.
pub async fn enforce(
    State(guard): State<Guard>,
    mut context: Ctx,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    guard.check(&mut context, request.headers()).await?;
    request.extensions_mut().insert(context);
    Ok(next.run(request).await)
}

impl Guard {
    async fn check(&self, context: &mut Ctx, headers: &HeaderMap) -> Result<(), Problem> {
        if self.limit == Limit::Exempt {
            return Ok(());
        }
        let token = bearer(headers);
        let user = token.and_then(|token| self.app.verifier.verify(token));
        let service = if user.is_none() { self.service(headers, token) } else { None };
        if let Some(service) = &service {
            self.app.limiter.take(&Counted::Service(service.name.clone())).await?;
        } else {
            self.count(context, user.as_ref().map(|user| user.id)).await?;
        }
        let Some(minimum) = self.access.minimum() else { return Ok(()) };
        if let Some(service) = service {
            if !self.access.takes_services() {
                return Err(Problem::forbidden("this is not for services"));
            }
            context.service = Some(service);
            return Ok(());
        }
        let (Some(token), Some(user)) = (token, user) else { return Err(Problem::unauthenticated()) };
        let role = self.app.sessions.role(context, user.session).await?;
        let role = role.ok_or_else(Problem::unauthenticated)?;
        context.user = Some(SignedIn { id: user.id, session: user.session, role, token: Arc::from(token) });
        context.require(minimum)
    }

    /// A service by the token that it made for us: in its own header, or as the bearer.
    fn service(&self, headers: &HeaderMap, bearer: Option<&str>) -> Option<CallingService> {
        let own = headers.get(SERVICE_TOKEN).and_then(|value| value.to_str().ok());
        let token = own.or(bearer)?;
        let name = self.app.services.verify(token)?;
        Some(CallingService { name: Arc::from(name), token: Arc::from(token) })
    }

    async fn count(&self, context: &Ctx, account: Option<uuid::Uuid>) -> Result<(), Problem> {
        let limiter = &self.app.limiter;
        match self.limit {
            Limit::Exempt => return Ok(()),
            Limit::Webhook => return limiter.take(&Counted::Webhook(context.client_ip)).await,
            Limit::Auth => {
                limiter.take(&Counted::AuthAddress(context.client_ip)).await?;
                if let Some(account) = account {
                    limiter.take(&Counted::AuthAccount(account.to_string())).await?;
                }
            }
            Limit::Usual => {}
        }
        match account {
            Some(account) => limiter.take(&Counted::Account(account)).await,
            None => limiter.take(&Counted::Anonymous(context.client_ip)).await,
        }
    }
}

/// The bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}
