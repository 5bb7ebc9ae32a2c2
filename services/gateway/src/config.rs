//! Settings of the gateway: one clap struct, names of requirements part 14.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use contracts::services::GATEWAY;
use runtime::config::{Common, Environment, Redis, ServiceIdentity, UserTokens};
use secrecy::SecretString;

use crate::network::Network;

/// Networks whose `X-Forwarded-For` is believed: RFC 1918 and unique local addresses.
const PRIVATE_RANGES: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

/// The only public HTTP API of the platform.
#[derive(Debug, Parser)]
#[command(name = "gateway", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until stopped
    Serve(Box<Config>),
    /// Make the key with which operators' scripts sign their tokens
    ///
    /// The private key goes into a new file that only its owner can read; printed is the entry for SERVICE_TOKEN_PUBLIC_KEYS.
    ServiceKey(ServiceKey),
    /// Print a token for a script: good for five minutes, for one called service
    ///
    /// Sent as `X-Service-Token` or as the bearer to the routes that take services.
    ServiceToken(ServiceToken),
}

/// Settings of `service-key`.
#[derive(Debug, Clone, Args)]
pub struct ServiceKey {
    /// File that must not be there yet
    #[arg(long)]
    pub out: PathBuf,
}

/// Settings of `service-token`.
#[derive(Debug, Clone, Args)]
pub struct ServiceToken {
    /// File with the private key, as `service-key` makes it
    #[arg(long, conflicts_with = "service_token_private_key")]
    pub key_file: Option<PathBuf>,
    /// The private key itself: by the environment only
    #[arg(long, hide = true, env = "SERVICE_TOKEN_PRIVATE_KEY", hide_env_values = true)]
    pub service_token_private_key: Option<SecretString>,
    /// The service that will be called: `gateway` for the public API, `instance-service` for its own port 8003
    #[arg(long, default_value = GATEWAY)]
    pub audience: String,
}

/// Settings of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    /// Shared settings.
    pub common: Common,
    #[command(flatten)]
    /// Verification of access tokens.
    pub users: UserTokens,
    #[command(flatten)]
    /// Identity between services.
    pub identity: ServiceIdentity,
    #[command(flatten)]
    /// Where rate limits are counted.
    pub redis: Redis,
    #[command(flatten)]
    /// Addresses of the services.
    pub services: Services,
    #[command(flatten)]
    /// Rate limits.
    pub limits: Limits,
    #[command(flatten)]
    /// What the outside sees.
    pub edge: Edge,
    /// Port of the public API and of /health
    #[arg(long, env = "HTTP_PORT", default_value_t = 8080)]
    pub http_port: u16,
    /// Port of /health, /health/ready and /metrics; never public
    #[arg(long, env = "ADMIN_PORT", default_value_t = 9080)]
    pub admin_port: u16,
    /// Open connections of the public API at most; more wait
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Open connections of one source address that is no trusted proxy; one more is closed at once
    #[arg(long, env = "MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections_per_address: u32,
    /// Requests in work at once at most; one more is answered 503 at once
    #[arg(long, env = "MAX_REQUESTS", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_requests: u32,
    /// Requests at once at most to the routes that take a password or a token of a mail; one more is answered 503
    #[arg(long, env = "MAX_AUTH_REQUESTS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_auth_requests: u32,
    /// Seconds that open requests have to end after SIGTERM, the grace included
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=25))]
    pub drain_seconds: u64,
    /// Seconds between readiness off and the end of accepting, so that no new request arrives
    #[arg(long, env = "DRAIN_GRACE_SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=20))]
    pub drain_grace_seconds: u64,
}

impl Config {
    /// Time between readiness off and the end of accepting.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.drain_grace_seconds.min(self.drain_seconds))
    }

    /// Time for open requests after that.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds).saturating_sub(self.grace())
    }

    /// Are the documents served? Not in production, unless asked for.
    pub fn docs_enabled(&self) -> bool {
        self.edge.docs_enabled.unwrap_or(!self.common.is_production())
    }
}

/// gRPC addresses of the services.
#[derive(Debug, Clone, Args)]
pub struct Services {
    /// gRPC address of user-service
    #[arg(long, env = "USER_SERVICE_URL", default_value = "http://user-service:50051")]
    pub user_service_url: String,
    /// gRPC address of billing-service
    #[arg(long, env = "BILLING_SERVICE_URL", default_value = "http://billing-service:50051")]
    pub billing_service_url: String,
    /// gRPC address of instance-service
    #[arg(long, env = "INSTANCE_SERVICE_URL", default_value = "http://instance-service:50051")]
    pub instance_service_url: String,
    /// gRPC address of database-service
    #[arg(long, env = "DATABASE_SERVICE_URL", default_value = "http://database-service:50051")]
    pub database_service_url: String,
    /// gRPC address of notification-service
    #[arg(long, env = "NOTIFICATION_SERVICE_URL", default_value = "http://notification-service:50051")]
    pub notification_service_url: String,
}

/// Rate limits (GTW-08), each counted in Redis for all replicas.
#[derive(Debug, Clone, Args)]
pub struct Limits {
    /// Requests of one account in a minute
    #[arg(long, env = "RATE_LIMIT_PER_MINUTE", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_limit_per_minute: u32,
    /// Requests of one account at once
    #[arg(long, env = "RATE_LIMIT_BURST", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_limit_burst: u32,
    /// Requests of one address without a token in a minute
    #[arg(long, env = "RATE_LIMIT_ANONYMOUS_PER_MINUTE", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_limit_anonymous_per_minute: u32,
    /// Requests to /user/auth in a minute: of one address, and for one account
    #[arg(long, env = "RATE_LIMIT_AUTH_PER_MINUTE", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_limit_auth_per_minute: u32,
    /// Calls of payment providers in a minute
    #[arg(long, env = "RATE_LIMIT_WEBHOOK_PER_MINUTE", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_limit_webhook_per_minute: u32,
    /// First part of the counters' keys in Redis
    #[arg(long, env = "RATE_LIMIT_KEY_PREFIX", default_value = "gateway:limit")]
    pub rate_limit_key_prefix: String,
}

/// What the outside sees.
#[derive(Debug, Clone, Args)]
pub struct Edge {
    /// Domain of the platform; the API is at api.BASE_DOMAIN
    #[arg(long, env = "BASE_DOMAIN", default_value = "saasodoo.local")]
    pub base_domain: String,
    /// Address of the portal; default of CORS_ALLOWED_ORIGINS
    #[arg(long, env = "FRONTEND_URL", default_value = "http://app.saasodoo.local")]
    pub frontend_url: String,
    /// Exact origins that browsers may call from, with commas between; default: the origin of FRONTEND_URL
    #[arg(long, env = "CORS_ALLOWED_ORIGINS", value_delimiter = ',')]
    pub cors_allowed_origins: Vec<String>,
    /// Networks whose X-Forwarded-For is believed, with commas between; default: the private ranges, none in production, where it must be set
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,
    /// Serve /openapi.json and /{prefix}/docs; default: true, false in production
    #[arg(long, env = "DOCS_ENABLED")]
    pub docs_enabled: Option<bool>,
    /// The outside speaks TLS: answers carry HSTS
    #[arg(long, env = "TLS_ENABLED", default_value_t = false, action = clap::ArgAction::Set)]
    pub tls_enabled: bool,
}

impl Edge {
    /// Whose `X-Forwarded-For` is believed. In production an administrator must say it: behind a Service that translates addresses every peer
    /// is private, and clients could choose the address that limits count.
    pub fn trusted(&self, environment: Environment) -> anyhow::Result<Vec<Network>> {
        if !self.trusted_proxies.is_empty() {
            return Ok(self.trusted_proxies.clone());
        }
        anyhow::ensure!(
            environment != Environment::Production,
            "TRUSTED_PROXIES is missing: name the networks of the proxies in front, such as 10.42.0.0/16, or \
             127.0.0.1/32 when there is none"
        );
        Ok(PRIVATE_RANGES.iter().filter_map(|range| range.parse().ok()).collect())
    }

    /// Exact origins of CORS.
    pub fn origins(&self) -> Vec<String> {
        let given: Vec<String> = self
            .cors_allowed_origins
            .iter()
            .map(|origin| origin.trim().trim_end_matches('/').to_owned())
            .filter(|origin| !origin.is_empty())
            .collect();
        if given.is_empty() { vec![origin_of(&self.frontend_url)] } else { given }
    }
}

/// `https://app.example/x` → `https://app.example`.
fn origin_of(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.split('/').next().unwrap_or_default()),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GTW-10
    #[test]
    fn production_must_name_its_proxies() {
        let edge = |networks: &[&str]| Edge {
            base_domain: String::new(),
            frontend_url: String::new(),
            cors_allowed_origins: Vec::new(),
            trusted_proxies: networks.iter().map(|text| text.parse().unwrap()).collect(),
            docs_enabled: None,
            tls_enabled: false,
        };
        assert_eq!(edge(&[]).trusted(Environment::Development).unwrap().len(), 4);
        assert!(
            edge(&[]).trusted(Environment::Production).unwrap_err().to_string().contains("TRUSTED_PROXIES")
        );
        assert_eq!(edge(&["10.42.0.0/16"]).trusted(Environment::Production).unwrap().len(), 1);
    }

    #[test]
    fn an_origin_has_no_path() {
        assert_eq!(origin_of("https://app.example:8443/portal/"), "https://app.example:8443");
        assert_eq!(origin_of("http://localhost:8080"), "http://localhost:8080");
    }
}
