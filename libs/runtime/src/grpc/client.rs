//! Clients of other services: a lazy channel, a deadline on each call, our service token, the request id and
//! the trace.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use backon::{ExponentialBuilder, Retryable as _};
use rustls::ClientConfig;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Endpoint, Uri};
use tonic::{Code, Request, Status};

use super::channel::{Renewing, Target};
use super::tls::{self, Connector, Watched};
use super::{CLIENT_IP, ORIGIN_TOKEN, REQUEST_ID, SERVICE_TOKEN};
use crate::config::GrpcTls;
use crate::identity::ServiceSigner;

tokio::task_local! {
    static SCOPE: Scope;
}

/// A connection is used for this time, give or take a tenth; then the next one goes to any replica.
const AGE: Duration = Duration::from_mins(5);

/// The request that a task works for; its calls to others carry the same id.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    pub(super) request_id: String,
}

impl Scope {
    pub(super) fn enter<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        SCOPE.scope(self, future)
    }
}

/// Work of a request that was taken up later, such as a queued operation: its calls to others carry the
/// request's id (GTW-12).
pub fn within_request<F: Future>(request_id: String, work: F) -> impl Future<Output = F::Output> {
    Scope { request_id }.enter(work)
}

/// Extension of a request that must not get the default deadline, such as a long stream.
#[derive(Debug, Clone, Copy)]
pub struct NoDeadline;

/// Makes channels to other services.
#[derive(Debug, Clone)]
pub struct Dialer {
    signer: ServiceSigner,
    tls: Option<Arc<Watched<ClientConfig>>>,
    age: Duration,
}

/// A channel whose calls carry identity and deadline.
pub type Authenticated = InterceptedService<Renewing, Credentials>;

impl Dialer {
    /// Calls are made in the name of `signer`.
    pub fn try_new(signer: ServiceSigner, tls: &GrpcTls) -> anyhow::Result<Self> {
        Ok(Self { signer, tls: tls::client(tls)?, age: AGE })
    }

    /// Connections are used for `age` instead of five minutes.
    #[must_use]
    pub fn renewing_after(self, age: Duration) -> Self {
        Self { age, ..self }
    }

    /// A channel to `audience` at `url`; connects on the first call, reconnects by itself and from time to time. `deadline` holds
    /// for each call.
    pub fn channel(
        &self,
        audience: &'static str,
        url: &str,
        deadline: Duration,
    ) -> anyhow::Result<Authenticated> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL of {audience}"))?;
        let secure = self.tls.as_ref().filter(|_| uri.scheme_str() == Some("https"));
        // Our connector does the TLS: for the library the address is a plain one.
        let address = if secure.is_some() { url.replacen("https", "http", 1) } else { url.to_owned() };
        let endpoint = Endpoint::from_shared(address)
            .with_context(|| format!("{url:?} is no URL of {audience}"))?
            .origin(uri)
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5));
        let target = Target { endpoint, connector: secure.map(|files| Connector(Arc::clone(files))) };
        let credentials = Credentials { signer: self.signer.clone(), audience, deadline };
        Ok(InterceptedService::new(Renewing::new(target, self.age), credentials))
    }
}

/// Adds identity, deadline, request id and trace to each call.
#[derive(Debug, Clone)]
pub struct Credentials {
    signer: ServiceSigner,
    audience: &'static str,
    deadline: Duration,
}

impl tonic::service::Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let token = self.signer.token_for(self.audience).map_err(|error| {
            tracing::error!(error = format!("{error:#}"), "no service token");
            Status::internal("no service token")
        })?;
        set(&mut request, SERVICE_TOKEN, &token);
        if request.metadata().get(REQUEST_ID).is_none()
            && let Ok(id) = SCOPE.try_with(|scope| scope.request_id.clone())
        {
            set(&mut request, REQUEST_ID, &id);
        }
        for (name, value) in telemetry::context::headers() {
            if let Ok(key) = AsciiMetadataKey::from_bytes(name.as_bytes())
                && let Ok(value) = AsciiMetadataValue::try_from(value)
            {
                request.metadata_mut().insert(key, value);
            }
        }
        if request.extensions().get::<NoDeadline>().is_none() {
            request.set_timeout(self.deadline);
        }
        Ok(request)
    }
}

fn set<T>(request: &mut Request<T>, key: &'static str, value: &str) {
    // A value that is no header value cannot be sent; the other side then refuses the call and says so.
    if let Ok(value) = AsciiMetadataValue::try_from(value) {
        request.metadata_mut().insert(key, value);
    }
}

/// A request of a user: forwards the access token, the request id and the address (gateway only).
pub fn on_behalf_of<T>(
    message: T,
    access_token: Option<&str>,
    request_id: &str,
    client_ip: Option<std::net::IpAddr>,
) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = access_token {
        set(&mut request, "authorization", &format!("Bearer {token}"));
    }
    with_origin(request, request_id, client_ip)
}

/// A request of a service that came over HTTP: passes on the token that it brought, so that the called side
/// can prove who asks (gateway only).
pub fn relayed_for<T>(
    message: T,
    origin_token: &str,
    request_id: &str,
    client_ip: Option<std::net::IpAddr>,
) -> Request<T> {
    let mut request = Request::new(message);
    set(&mut request, ORIGIN_TOKEN, origin_token);
    with_origin(request, request_id, client_ip)
}

fn with_origin<T>(
    mut request: Request<T>,
    request_id: &str,
    client_ip: Option<std::net::IpAddr>,
) -> Request<T> {
    set(&mut request, REQUEST_ID, request_id);
    if let Some(ip) = client_ip {
        set(&mut request, CLIENT_IP, &ip.to_string());
    }
    request
}

/// Repeats an idempotent call while the other side is unavailable: 4 tries within about 2 s, with jitter.
pub async fn retry_unavailable<T, F, Fut>(call: F) -> Result<T, Status>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Status>>,
{
    call.retry(
        ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_times(3)
            .with_factor(3.0)
            .with_jitter(),
    )
    .when(|status: &Status| status.code() == Code::Unavailable)
    .await
}
