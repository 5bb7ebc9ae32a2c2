//! What the handlers share. Owns nothing of the routes: those are in `api`, `routes` and `server`.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use contracts::services::GATEWAY;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};
use runtime::config::{Redis, require_strong};
use runtime::grpc::Dialer;
use runtime::http::Limits;
use runtime::identity::{ServiceKeys, ServiceSigner, UserVerifier};
use secrecy::ExposeSecret as _;
use telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use crate::clients::Clients;
use crate::config::Config;
use crate::health_cache::{HealthCache, health_cache};
use crate::metrics::HttpMetrics;
use crate::network::Network;
use crate::rate_limit::Limiter;
use crate::rooms::Rooms;
use crate::session::Sessions;
use crate::streams::Streams;

/// Longest time for the head of a request, and for an idle connection.
const HEAD: Duration = Duration::from_secs(20);

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct App(Arc<Parts>);

/// The parts of [`App`].
#[derive(Debug)]
pub struct Parts {
    pub(crate) clients: Clients,
    pub(crate) verifier: UserVerifier,
    pub(crate) services: ServiceKeys,
    pub(crate) sessions: Sessions,
    pub(crate) limiter: Limiter,
    pub(crate) metrics: HttpMetrics,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) origins: Vec<String>,
    pub(crate) tls: bool,
    pub(crate) docs: bool,
    pub(crate) public_url: String,
    pub(crate) stop: CancellationToken,
    pub(crate) streams: Streams,
    pub(crate) health: HealthCache,
    pub(crate) rooms: Rooms,
    pub(crate) connections: Limits,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Fails with the name of a setting that is missing, weak or wrong. Connects to nothing yet.
    pub fn try_new(config: &Config, metrics: &Metrics, stop: CancellationToken) -> anyhow::Result<Self> {
        require_strong(config.common.environment, "REDIS_PASSWORD", &config.redis.redis_password)?;
        Self::with_redis(config, redis_address(&config.redis)?, metrics, stop)
    }

    /// The same with Redis at another address.
    pub fn with_redis(
        config: &Config,
        redis: ConnectionInfo,
        metrics: &Metrics,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let signer = ServiceSigner::try_new(GATEWAY, &config.identity)?;
        let dialer = Dialer::try_new(signer, &config.common.grpc_tls)?;
        let clients = Clients::try_new(&dialer, &config.services)?;
        let scheme = if config.edge.tls_enabled { "https" } else { "http" };
        Ok(Self(Arc::new(Parts {
            verifier: UserVerifier::try_new(&config.users, config.common.environment)?,
            services: ServiceKeys::try_new(GATEWAY, &config.identity)?,
            sessions: Sessions::new(clients.sessions.clone()),
            clients,
            limiter: Limiter::try_new(redis, &config.limits)?,
            metrics: HttpMetrics::new(metrics),
            trusted_proxies: config.edge.trusted(config.common.environment)?,
            origins: config.edge.origins(),
            tls: config.edge.tls_enabled,
            docs: config.docs_enabled(),
            public_url: format!("{scheme}://api.{}", config.edge.base_domain),
            stop,
            streams: Streams::default(),
            health: health_cache(),
            rooms: Rooms::new(config),
            connections: Limits {
                connections: usize::try_from(config.max_connections).unwrap_or(usize::MAX),
                head: HEAD,
                of_source: usize::try_from(config.max_connections_per_address).unwrap_or(usize::MAX),
            },
        })))
    }
}

fn redis_address(settings: &Redis) -> anyhow::Result<ConnectionInfo> {
    let address = ConnectionAddr::Tcp(settings.redis_host.clone(), settings.redis_port);
    let login = RedisConnectionInfo::default()
        .set_db(settings.redis_db)
        .set_password(settings.redis_password.expose_secret());
    let info = address.into_connection_info().context("REDIS_HOST and REDIS_PORT")?;
    Ok(info.set_redis_settings(login))
}
