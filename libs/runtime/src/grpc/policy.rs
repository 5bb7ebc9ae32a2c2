//! Who may call which method (SEC-02, GTW-05): a table per service, deny by default, enforced before the
//! handler.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use http::{Request, Response};
use prost::Message as _;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{CLIENT_IP, ORIGIN_TOKEN, REQUEST_ID, Refusal, SERVICE_TOKEN};
use crate::identity::{Caller, Role, ServiceKeys, User, UserVerifier};

/// Whose token besides the service's a method needs from a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The service acts for itself; a user token is not looked at.
    Nothing,
    /// A user of at least this role.
    User(Role),
    /// The token of one of these services, which called the caller and asked for this. The caller alone may
    /// not.
    Origin(&'static [&'static str]),
}

/// One caller of a method.
#[derive(Debug, Clone, Copy)]
pub struct Allow {
    /// Name of the service.
    pub caller: &'static str,
    /// What it must bring.
    pub needs: Needs,
}

/// The rule of one method.
#[derive(Debug, Clone, Copy)]
pub struct MethodPolicy {
    /// Full name, such as `/saasodoo.user.v1.AuthService/Login`.
    pub method: &'static str,
    /// Everybody else is refused.
    pub allow: &'static [Allow],
}

/// Methods of `package` in the descriptor set that no policy names, and policies that name no method. Both
/// must be empty in a test.
pub fn undeclared_methods(descriptors: &[u8], package: &str, policies: &[MethodPolicy]) -> Vec<String> {
    let Ok(set) = prost_types::FileDescriptorSet::decode(descriptors) else {
        return vec!["unreadable descriptors".into()];
    };
    let mut methods: Vec<String> = Vec::new();
    for file in set.file.iter().filter(|file| file.package() == package) {
        for service in &file.service {
            methods.extend(
                service
                    .method
                    .iter()
                    .map(|method| format!("/{package}.{}/{}", service.name(), method.name())),
            );
        }
    }
    let missing = methods
        .iter()
        .filter(|method| !policies.iter().any(|policy| policy.method == method.as_str()))
        .cloned();
    let extra = policies
        .iter()
        .filter(|policy| !methods.iter().any(|method| method == policy.method))
        .map(|policy| policy.method.to_owned());
    missing.chain(extra).collect()
}

/// Checks identity before each call and puts the [`Caller`] into the request.
#[derive(Debug, Clone)]
pub(super) struct PolicyLayer {
    pub(super) rules: Arc<Rules>,
}

#[derive(Debug)]
pub(super) struct Rules {
    pub(super) by_method: HashMap<&'static str, &'static [Allow]>,
    pub(super) services: ServiceKeys,
    pub(super) users: Option<UserVerifier>,
    pub(super) open_reflection: bool,
}

impl Rules {
    fn check<B>(&self, request: &Request<B>) -> Result<Option<Caller>, Refusal> {
        let path = request.uri().path();
        if path.starts_with("/grpc.health.v1.Health/")
            || (self.open_reflection && path.starts_with("/grpc.reflection."))
        {
            return Ok(None);
        }
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let unauthenticated =
            |message: &str| Refusal::new(tonic::Code::Unauthenticated, "unauthenticated", message);
        let token = header(SERVICE_TOKEN).ok_or_else(|| unauthenticated("a service token is needed"))?;
        let service =
            self.services.verify(token).ok_or_else(|| unauthenticated("the service token is not valid"))?;
        let forbidden = || {
            Refusal::new(tonic::Code::PermissionDenied, "forbidden", format!("{service} may not call {path}"))
        };
        let allowed = self.by_method.get(path).copied().ok_or_else(forbidden)?;
        let origin = match header(ORIGIN_TOKEN) {
            None => None,
            // It was made for the one that passes it on: what a service sends to others cannot be used here.
            Some(token) => Some(
                self.services
                    .verify_for(&service, token)
                    .ok_or_else(|| unauthenticated("the token of the asking service is not valid"))?,
            ),
        };
        let fits = |allow: &&Allow| {
            allow.caller == service && matches!(allow.needs, Needs::Origin(_)) == origin.is_some()
        };
        let allow = allowed.iter().find(fits).ok_or_else(forbidden)?;
        let user = match (allow.needs, &origin) {
            (Needs::Nothing, _) => None,
            (Needs::User(minimum), _) => Some(self.user(header("authorization"), minimum)?),
            (Needs::Origin(names), Some(origin)) if names.contains(&origin.as_str()) => None,
            (Needs::Origin(_), origin) => {
                let name = origin.as_deref().unwrap_or(&service);
                return Err(Refusal::new(
                    tonic::Code::PermissionDenied,
                    "forbidden",
                    format!("{name} may not ask for this"),
                ));
            }
        };
        Ok(Some(Caller {
            relayed: origin.is_some(),
            service: origin.unwrap_or(service),
            user,
            request_id: header(REQUEST_ID).unwrap_or_default().to_owned(),
            client_ip: header(CLIENT_IP).and_then(|ip| ip.parse::<IpAddr>().ok()),
        }))
    }

    fn user(&self, authorization: Option<&str>, minimum: Role) -> Result<User, Refusal> {
        let unauthenticated = || {
            Refusal::new(tonic::Code::Unauthenticated, "unauthenticated", "a valid access token is needed")
        };
        let token =
            authorization.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(unauthenticated)?;
        let user = self.users.as_ref().and_then(|users| users.verify(token)).ok_or_else(unauthenticated)?;
        if user.role < minimum {
            return Err(Refusal::new(
                tonic::Code::PermissionDenied,
                "forbidden",
                format!("this needs the role {minimum}"),
            ));
        }
        Ok(user)
    }
}

impl<S> Layer<S> for PolicyLayer {
    type Service = PolicyService<S>;
    fn layer(&self, inner: S) -> Self::Service {
        PolicyService { inner, rules: Arc::clone(&self.rules) }
    }
}

/// The service behind [`PolicyLayer`].
#[derive(Debug, Clone)]
pub(super) struct PolicyService<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S, B> Service<Request<B>> for PolicyService<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.rules.check(&request) {
            Ok(caller) => {
                if let Some(caller) = caller {
                    request.extensions_mut().insert(caller);
                }
                Either::Left(self.inner.call(request))
            }
            Err(refusal) => {
                tracing::info!(method = request.uri().path(), reason = refusal.reason, "call refused");
                Either::Right(ready(Ok(Status::from(refusal).into_http())))
            }
        }
    }
}
