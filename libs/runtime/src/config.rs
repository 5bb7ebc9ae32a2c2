//! Settings that several services share, as clap groups with the environment names of requirements part 14.
//!
//! A service flattens the groups that it needs into its one struct. Nothing else reads the environment.
//! Secrets are `SecretString` with `hide_env_values`, so neither `--help` nor `Debug` shows them.

use std::net::{IpAddr, SocketAddr};

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};

/// Where this process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    /// A developer's machine: plain SMTP and development keys are accepted.
    Development,
    /// Like production, without its restrictions on test modes.
    Staging,
    /// Test modes refuse to start (SEC-18).
    Production,
}

/// Settings of every service.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Where this process runs; test modes refuse to start in production
    #[arg(long, env = "ENVIRONMENT", value_enum, default_value = "development")]
    pub environment: Environment,
    /// Level or filter of the log, such as `info` or `info,sqlx=debug`
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// Shorthand for LOG_LEVEL=debug
    #[arg(long, env = "DEBUG", default_value_t = false, action = clap::ArgAction::Set)]
    pub debug: bool,
    /// Address that the HTTP and gRPC ports listen on
    #[arg(long, env = "BIND_ADDRESS", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Port of gRPC
    #[arg(long, env = "GRPC_PORT", default_value_t = 50051)]
    pub grpc_port: u16,
    /// OTLP endpoint for traces; none: spans are not exported
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    #[command(flatten)]
    /// TLS between services.
    pub grpc_tls: GrpcTls,
}

impl Common {
    /// Address of the gRPC server.
    pub fn grpc_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.grpc_port)
    }

    /// True with `ENVIRONMENT=production`.
    pub fn is_production(&self) -> bool {
        self.environment == Environment::Production
    }

    /// The log filter, with `DEBUG` taken into account.
    pub fn effective_log_level(&self) -> String {
        if self.debug { "debug".to_owned() } else { self.log_level.clone() }
    }
}

/// TLS between services with a private CA (GTW-16).
#[derive(Debug, Clone, Args)]
pub struct GrpcTls {
    /// gRPC between services uses TLS
    #[arg(long = "grpc-tls", env = "GRPC_TLS", default_value_t = false, action = clap::ArgAction::Set)]
    pub enabled: bool,
    /// PEM file of the private CA
    #[arg(long = "grpc-tls-ca-file", env = "GRPC_TLS_CA_FILE")]
    pub ca_file: Option<std::path::PathBuf>,
    /// PEM file of this service's certificate
    #[arg(long = "grpc-tls-cert-file", env = "GRPC_TLS_CERT_FILE")]
    pub cert_file: Option<std::path::PathBuf>,
    /// PEM file of this service's key
    #[arg(long = "grpc-tls-key-file", env = "GRPC_TLS_KEY_FILE")]
    pub key_file: Option<std::path::PathBuf>,
}

/// The service's own database. Defaults for name and role come from the service
/// ([`Postgres::with_defaults`]).
#[derive(Debug, Clone, Args)]
pub struct Postgres {
    /// Host of PostgreSQL
    #[arg(long, env = "POSTGRES_HOST", default_value = "postgres")]
    pub postgres_host: String,
    /// Port of PostgreSQL
    #[arg(long, env = "POSTGRES_PORT", default_value_t = 5432)]
    pub postgres_port: u16,
    /// Database; default: the service's own (auth, billing, instance, database_service, communication)
    #[arg(long, env = "POSTGRES_DB")]
    pub postgres_db: Option<String>,
    /// Role; default: the service's own (auth_service, billing_service, …)
    #[arg(long, env = "DB_SERVICE_USER")]
    pub db_service_user: Option<String>,
    /// Password of the role
    #[arg(long, env = "DB_SERVICE_PASSWORD", hide_env_values = true)]
    pub db_service_password: SecretString,
    /// Connections at most
    #[arg(long, env = "DB_POOL_SIZE", default_value_t = 10)]
    pub db_pool_size: u32,
    /// Connections above DB_POOL_SIZE in a rush
    #[arg(long, env = "DB_MAX_OVERFLOW", default_value_t = 0)]
    pub db_max_overflow: u32,
}

/// The message broker.
#[derive(Debug, Clone, Args)]
pub struct Rabbit {
    /// Host of RabbitMQ
    #[arg(long, env = "RABBITMQ_HOST", default_value = "rabbitmq")]
    pub rabbitmq_host: String,
    /// Port of RabbitMQ
    #[arg(long, env = "RABBITMQ_PORT", default_value_t = 5672)]
    pub rabbitmq_port: u16,
    /// Virtual host
    #[arg(long, env = "RABBITMQ_VHOST", default_value = "saasodoo")]
    pub rabbitmq_vhost: String,
    /// User
    #[arg(long, env = "RABBITMQ_USER", default_value = "saasodoo")]
    pub rabbitmq_user: String,
    /// Password of the user
    #[arg(long, env = "RABBITMQ_PASSWORD", hide_env_values = true)]
    pub rabbitmq_password: SecretString,
}

/// Redis: rate limits and login throttle only, never the truth.
#[derive(Debug, Clone, Args)]
pub struct Redis {
    /// Host of Redis
    #[arg(long, env = "REDIS_HOST", default_value = "redis")]
    pub redis_host: String,
    /// Port of Redis
    #[arg(long, env = "REDIS_PORT", default_value_t = 6379)]
    pub redis_port: u16,
    /// Number of the database
    #[arg(long, env = "REDIS_DB", default_value_t = 0)]
    pub redis_db: i64,
    /// Password
    #[arg(long, env = "REDIS_PASSWORD", hide_env_values = true)]
    pub redis_password: SecretString,
}

/// Which algorithm signs access tokens (USR-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum JwtAlgorithm {
    /// One shared secret.
    #[value(name = "HS256")]
    Hs256,
    /// user-service alone holds the private key.
    #[value(name = "EdDSA")]
    EdDsa,
}

/// How access tokens are verified (SEC-10).
#[derive(Debug, Clone, Args)]
pub struct UserTokens {
    /// Algorithm; default HS256, EdDSA in production
    #[arg(long, env = "JWT_ALGORITHM", value_enum)]
    pub jwt_algorithm: Option<JwtAlgorithm>,
    /// Shared secret of HS256, at least 32 characters
    #[arg(long, env = "JWT_SECRET_KEY", hide_env_values = true)]
    pub jwt_secret_key: Option<SecretString>,
    /// Public key of EdDSA: base64url of the raw 32 bytes
    #[arg(long, env = "JWT_PUBLIC_KEY")]
    pub jwt_public_key: Option<String>,
    /// The old secret (HS256) or old public key (EdDSA) while rotating
    #[arg(long, env = "JWT_PREVIOUS_KEY", hide_env_values = true)]
    pub jwt_previous_key: Option<SecretString>,
}

impl UserTokens {
    /// The algorithm in force.
    pub fn algorithm(&self, environment: Environment) -> JwtAlgorithm {
        self.jwt_algorithm.unwrap_or(if environment == Environment::Production {
            JwtAlgorithm::EdDsa
        } else {
            JwtAlgorithm::Hs256
        })
    }
}

/// Identity of this service towards others (SEC-02).
#[derive(Debug, Clone, Args)]
pub struct ServiceIdentity {
    /// Own Ed25519 key: base64 of PKCS#8 DER
    #[arg(long, env = "SERVICE_TOKEN_PRIVATE_KEY", hide_env_values = true)]
    pub service_token_private_key: SecretString,
    /// Keys of all callers: `name=key` with commas between, key = base64url of the raw 32 bytes
    #[arg(long, env = "SERVICE_TOKEN_PUBLIC_KEYS")]
    pub service_token_public_keys: String,
}

/// Values that are guessed first.
const WEAK: [&str; 9] =
    ["change_me", "changeme", "password", "secret", "admin", "guest", "postgres", "default", "saasodoo"];

/// Refuses a missing or well-known secret outside of development (SEC-03). `name` is the environment name,
/// for the message.
pub fn require_strong(environment: Environment, name: &str, secret: &SecretString) -> anyhow::Result<()> {
    let value = secret.expose_secret();
    if value.is_empty() {
        anyhow::bail!("{name} is empty: set it to a generated secret");
    }
    let lower = value.to_ascii_lowercase();
    if environment != Environment::Development
        && (value.len() < 12 || WEAK.iter().any(|weak| lower == *weak || lower.starts_with("change")))
    {
        anyhow::bail!(
            "{name} is a known-weak or short secret: set it to a generated one of 12 characters or more"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-03
    #[test]
    fn weak_secrets_stop_the_start_outside_development() {
        for weak in ["change_me", "password", "abc-123", "change_me_in_production"] {
            let secret = SecretString::from(weak);
            let error = require_strong(Environment::Production, "REDIS_PASSWORD", &secret).unwrap_err();
            assert!(error.to_string().contains("REDIS_PASSWORD"));
            assert!(!error.to_string().contains(weak));
        }
        assert!(
            require_strong(Environment::Development, "REDIS_PASSWORD", &SecretString::from("password"))
                .is_ok()
        );
        assert!(require_strong(Environment::Development, "REDIS_PASSWORD", &SecretString::from("")).is_err());
        assert!(
            require_strong(Environment::Production, "X", &SecretString::from("b7e1c0a94f2d4e55")).is_ok()
        );
    }
}
