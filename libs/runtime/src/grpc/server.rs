//! The gRPC server of a service: policy, metrics, deadline, health, reflection.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::ServerConfig;
use telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::health::HealthPages;
use super::metrics::CallMetrics;
use super::policy::{MethodPolicy, PolicyLayer, Rules};
use super::tls::{self, Watched};
use crate::admin::Health;
use crate::config::Common;
use crate::identity::{ServiceKeys, UserVerifier};

/// Longest life of a call whose client gave no deadline. Streams keep running: the time counts to the head of
/// the answer.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a gRPC server is made of.
#[derive(Debug)]
pub struct Server {
    rules: Rules,
    metrics: CallMetrics,
    health: Health,
    tls: Option<Arc<Watched<ServerConfig>>>,
}

impl Server {
    /// A server with this service's method policies.
    pub fn try_new(
        common: &Common,
        policies: &'static [MethodPolicy],
        services: ServiceKeys,
        users: Option<UserVerifier>,
        health: &Health,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let by_method: HashMap<_, _> = policies.iter().map(|policy| (policy.method, policy.allow)).collect();
        Ok(Self {
            rules: Rules { by_method, services, users, open_reflection: !common.is_production() },
            metrics: CallMetrics::new(metrics),
            health: health.clone(),
            tls: tls::server(&common.grpc_tls)?,
        })
    }

    /// Listens on `address` and serves until `stop`.
    pub async fn serve(
        self,
        address: SocketAddr,
        routes: Routes,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        self.serve_on(listener, routes, stop.cancelled_owned()).await
    }

    /// Serves on an open listener (tests use port 0).
    pub async fn serve_on(
        self,
        listener: tokio::net::TcpListener,
        routes: Routes,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let address = listener.local_addr()?;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(contracts::DESCRIPTOR_SET)
            .build_v1()
            .context("reflection")?;
        let routes = routes
            .add_service(tonic_health::pb::health_server::HealthServer::new(HealthPages(self.health)))
            .add_service(reflection);
        let router = tonic::transport::Server::builder()
            .timeout(DEADLINE)
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .layer(self.metrics)
            .layer(PolicyLayer { rules: Arc::new(self.rules) })
            .add_routes(routes);
        tracing::info!(%address, tls = self.tls.is_some(), "grpc listening");
        let served = if let Some(files) = self.tls {
            router.serve_with_incoming_shutdown(tls::incoming(listener, files), stop).await
        } else {
            let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
            router.serve_with_incoming_shutdown(incoming, stop).await
        };
        served.context("the gRPC server failed")
    }
}
