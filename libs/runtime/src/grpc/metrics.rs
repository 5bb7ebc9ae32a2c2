//! Request counts and times per method and code (MON-07), the span of each call, and its log line when it
//! failed inside.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Request, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use telemetry::metrics::Metrics;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument as _;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: String,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: String,
}

/// Counts and times calls.
#[derive(Debug, Clone)]
pub(super) struct CallMetrics {
    calls: Family<Labels, Counter>,
    seconds: Family<Method, Histogram, fn() -> Histogram>,
}

fn histogram() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0])
}

impl CallMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let this = Self { calls: Family::default(), seconds: Family::new_with_constructor(histogram) };
        metrics.register(|registry| {
            registry.register("grpc_server_requests", "gRPC calls by method and code", this.calls.clone());
            registry.register(
                "grpc_server_request_seconds",
                "Time of gRPC calls until the head of the answer",
                this.seconds.clone(),
            );
        });
        this
    }
}

impl<S> Layer<S> for CallMetrics {
    type Service = Measured<S>;
    fn layer(&self, inner: S) -> Self::Service {
        Measured { inner, metrics: self.clone() }
    }
}

/// The service behind [`CallMetrics`].
#[derive(Debug, Clone)]
pub(super) struct Measured<S> {
    inner: S,
    metrics: CallMetrics,
}

impl<S, B> Service<Request<B>> for Measured<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = request.uri().path().to_owned();
        let request_id =
            request.headers().get(super::REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let span = tracing::info_span!(
            "grpc",
            rpc.method = method,
            request.id = request_id,
            trace.id = tracing::field::Empty
        );
        telemetry::context::continue_from(&span, request.headers());
        let scope = super::client::Scope { request_id: request_id.to_owned() };
        let start = Instant::now();
        let metrics = self.metrics.clone();
        let call = self.inner.call(request);
        Box::pin(
            scope.enter(
                async move {
                    let response = call.await?;
                    // A failed call carries its status in the head; a streamed one in the trailers, which
                    // count as OK here.
                    let code = response
                        .headers()
                        .get("grpc-status")
                        .and_then(|code| code.to_str().ok())
                        .unwrap_or("0")
                        .to_owned();
                    metrics
                        .seconds
                        .get_or_create(&Method { method: method.clone() })
                        .observe(start.elapsed().as_secs_f64());
                    metrics.calls.get_or_create(&Labels { method, code }).inc();
                    Ok(response)
                }
                .instrument(span),
            ),
        )
    }
}
