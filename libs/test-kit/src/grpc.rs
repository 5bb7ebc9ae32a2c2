//! A real gRPC server of a test on port 0, with its policies.

use std::time::Duration;

use contracts::services::GATEWAY;
use runtime::admin::Health;
use runtime::config::{Common, Environment, GrpcTls};
use runtime::grpc::{Authenticated, MethodPolicy, Server};
use telemetry::metrics::Metrics;
use tonic::service::Routes;

use crate::identity::Keyring;

/// A running server; it ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct Running {
    /// URL of the server.
    pub url: String,
    /// Keys that it accepts.
    pub keys: Keyring,
    audience: &'static str,
}

impl Running {
    /// A channel in the name of `service`.
    pub fn channel_as(&self, service: &'static str) -> Authenticated {
        self.keys.dialer(service).channel(self.audience, &self.url, Duration::from_secs(10)).expect("channel")
    }

    /// A channel in the name of the gateway.
    pub fn channel(&self) -> Authenticated {
        self.channel_as(GATEWAY)
    }
}

/// Settings that all servers of a test share.
pub fn common() -> Common {
    Common {
        environment: Environment::Development,
        log_level: "warn".into(),
        debug: false,
        bind_address: std::net::Ipv4Addr::LOCALHOST.into(),
        grpc_port: 0,
        otlp_endpoint: None,
        grpc_tls: GrpcTls { enabled: false, ca_file: None, cert_file: None, key_file: None },
    }
}

/// Serves `routes` as `service`.
pub async fn serve(
    service: &'static str,
    policies: &'static [MethodPolicy],
    keys: &Keyring,
    routes: Routes,
) -> Running {
    let server = Server::try_new(
        &common(),
        policies,
        keys.service_keys(service),
        Some(keys.user_verifier()),
        &Health::new(service),
        &Metrics::new(),
    )
    .expect("server");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(server.serve_on(listener, routes, std::future::pending()));
    Running { url, keys: keys.clone(), audience: service }
}
