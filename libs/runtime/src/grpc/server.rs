//! The gRPC server of a service: policy, metrics, deadline, health, reflection.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::health::HealthPages;
use super::metrics::CallMetrics;
use super::policy::{MethodPolicy, PolicyLayer, Rules};
use crate::admin::Health;
use crate::config::{Common, GrpcTls};
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
    tls: Option<ServerTlsConfig>,
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
            tls: server_tls(&common.grpc_tls)?,
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
        let mut builder = tonic::transport::Server::builder()
            .timeout(DEADLINE)
            .http2_keepalive_interval(Some(Duration::from_secs(30)));
        if let Some(tls) = self.tls {
            builder = builder.tls_config(tls).context("GRPC_TLS files")?;
        }
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        tracing::info!(%address, "grpc listening");
        builder
            .layer(self.metrics)
            .layer(PolicyLayer { rules: Arc::new(self.rules) })
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, stop)
            .await
            .context("the gRPC server failed")
    }
}

fn server_tls(settings: &GrpcTls) -> anyhow::Result<Option<ServerTlsConfig>> {
    if !settings.enabled {
        return Ok(None);
    }
    let read = |name: &str, file: &Option<std::path::PathBuf>| -> anyhow::Result<Vec<u8>> {
        let path = file.as_ref().with_context(|| format!("GRPC_TLS is on, but {name} is missing"))?;
        std::fs::read(path).with_context(|| format!("{name}: cannot read {}", path.display()))
    };
    let identity = Identity::from_pem(
        read("GRPC_TLS_CERT_FILE", &settings.cert_file)?,
        read("GRPC_TLS_KEY_FILE", &settings.key_file)?,
    );
    let ca = Certificate::from_pem(read("GRPC_TLS_CA_FILE", &settings.ca_file)?);
    Ok(Some(ServerTlsConfig::new().identity(identity).client_ca_root(ca).client_auth_optional(true)))
}
