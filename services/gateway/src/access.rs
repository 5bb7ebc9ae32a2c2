//! Who may use a route: declared with the route, enforced before its handler (GTW-05).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use runtime::grpc::SERVICE_TOKEN;
use runtime::identity::Role;

use crate::context::{CallingService, Ctx, SignedIn};
use crate::inputs::Inputs;
use crate::problem::Problem;
use crate::rate_limit::Counted;
use crate::state::App;

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
    /// Is the gateway itself alive?
    Exempt,
    /// Health pages that ask a service: a counter of their own.
    Health,
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
    pub inputs: Arc<Inputs>,
}

/// The layer of each route.
pub async fn enforce(
    State(guard): State<Guard>,
    mut context: Ctx,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    guard.check(&mut context, &parts.headers).await?;
    guard.inputs.check(&mut parts).await?;
    parts.extensions.insert(context);
    // After the limits, so that one address in excess takes nobody's place.
    let _place = match guard.limit {
        Limit::Auth => Some(guard.app.rooms.enter_auth()?),
        _ => None,
    };
    Ok(next.run(Request::from_parts(parts, body)).await)
}

impl Guard {
    async fn check(&self, context: &mut Ctx, headers: &HeaderMap) -> Result<(), Problem> {
        match self.limit {
            Limit::Exempt => return Ok(()),
            Limit::Health => return self.app.limiter.take(&Counted::Health(context.client_ip)).await,
            _ => {}
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
        let (Some(token), Some(user)) = (token, user) else { return Err(no_token(headers, token)) };
        let session = self.app.sessions.live(context, user.session).await?;
        // A token whose account is not its session's was not made by user-service, whoever signed it.
        let session = session.filter(|session| session.owner.is_none_or(|owner| owner == user.id));
        let role =
            session.ok_or_else(|| Problem::unauthenticated("the session has ended: sign in again"))?.role;
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
            Limit::Exempt | Limit::Health => return Ok(()),
            Limit::Webhook => return limiter.take(&Counted::Webhook(context.client_ip)).await,
            Limit::Auth => {
                limiter.take(&Counted::AuthAddress(context.client_ip)).await?;
                if let Some(account) = account {
                    limiter.take(&Counted::AuthAccount(account.to_string(), context.client_ip)).await?;
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

/// Why there is no user: each kind of mistake has its own way out.
fn no_token(headers: &HeaderMap, token: Option<&str>) -> Problem {
    Problem::unauthenticated(match (headers.contains_key(AUTHORIZATION), token) {
        (false, _) => "no access token was sent: sign in and send `Authorization: Bearer <access token>`",
        (true, None) => "the header Authorization must be `Bearer <access token>`",
        (true, Some(_)) => "the access token is not valid or has expired: refresh it or sign in again",
    })
}

/// The bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}
