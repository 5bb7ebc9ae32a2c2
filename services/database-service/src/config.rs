//! All settings (requirements part 14). `--help` is the manual.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use runtime::config::{Common, Postgres, Rabbit, ServiceIdentity, UserTokens, require_strong};
use runtime::database::Owned;
use runtime::failpoint::FailPoint;
use secrecy::SecretString;

use crate::app::Settings;
use crate::domain::server::Resources;
use crate::domain::tuning::{cpu_millis, memory_bytes};
use crate::failpoint;
use crate::secrets::Vault;

/// Database and role that this service owns.
pub const OWNED: Owned = Owned { database: "database_service", role: "database_service" };

/// Pools of PostgreSQL servers, and the role and database of each tenant
#[derive(Debug, Parser)]
#[command(name = contracts::services::DATABASE, version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve gRPC, health and metrics
    Serve(Box<Config>),
    /// Bring the database to the newest migration, then end
    Migrate(Box<Migrate>),
    /// Encrypt every value at rest with `DATA_KEY`, reading those of `DATA_KEY_PREVIOUS`, then end; may be
    /// interrupted and repeated
    RotateKey(Box<RotateKey>),
}

/// Settings of `migrate`.
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    /// Settings of every service.
    pub common: Common,
    #[command(flatten)]
    /// The service's own database.
    pub postgres: Postgres,
}

/// Settings of `rotate-key`.
#[derive(Debug, Args)]
pub struct RotateKey {
    #[command(flatten)]
    /// Settings of every service.
    pub common: Common,
    #[command(flatten)]
    /// The service's own database.
    pub postgres: Postgres,
    #[command(flatten)]
    /// Encryption at rest.
    pub keys: DataKeys,
}

/// Encryption at rest.
#[derive(Debug, Args)]
pub struct DataKeys {
    /// Encrypts passwords at rest: base64 of 32 random bytes
    #[arg(long, env = "DATA_KEY", hide_env_values = true)]
    pub data_key: SecretString,
    /// Keys that are only read: the one of before, or the next one while replicas change over; separated by
    /// commas
    #[arg(long, env = "DATA_KEY_PREVIOUS", hide_env_values = true, default_value = "")]
    pub data_key_previous: SecretString,
}

impl DataKeys {
    /// The keys, parsed.
    pub fn vault(&self) -> anyhow::Result<Vault> {
        Vault::try_new(&self.data_key)?.with_others(&self.data_key_previous)
    }
}

/// Settings of `serve`.
#[derive(Debug, Args)]
pub struct Config {
    #[command(flatten)]
    /// Settings of every service.
    pub common: Common,
    /// Port of health and metrics
    #[arg(long, env = "HTTP_PORT", default_value_t = 8005)]
    pub http_port: u16,
    #[command(flatten)]
    /// The service's own database.
    pub postgres: Postgres,
    #[command(flatten)]
    /// The broker.
    pub rabbit: Rabbit,
    #[command(flatten)]
    /// Users' tokens.
    pub users: UserTokens,
    #[command(flatten)]
    /// Services' tokens.
    pub identity: ServiceIdentity,
    #[command(flatten)]
    /// Encryption at rest.
    pub keys: DataKeys,
    #[command(flatten)]
    /// What pools are made of.
    pub pools: Pools,
    /// Namespace of the platform's own objects, the pools among them
    #[arg(long, env = "KUBERNETES_NAMESPACE", default_value = "saasodoo")]
    pub kubernetes_namespace: String,
    /// Namespace of the instances' objects
    #[arg(long, env = "ODOO_INSTANCES_NAMESPACE", default_value = "odoo-instances")]
    pub odoo_instances_namespace: String,
    /// Days that a softly released database is kept
    #[arg(long, env = "RETENTION_DAYS", default_value_t = 30)]
    pub retention_days: u16,
    /// The process aborts at this place; for tests, refused in production
    #[arg(long, env = "DATABASE_FAIL_POINT", hide = true)]
    pub database_fail_point: Option<String>,
}

/// What pools are made of.
#[derive(Debug, Clone, Args)]
pub struct Pools {
    /// Tenants of a shared pool, 1 to 500
    #[arg(long, env = "DB_POOL_MAX_INSTANCES", default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=500))]
    pub db_pool_max_instances: i32,
    /// A pool is ordered when fewer slots are free
    #[arg(long, env = "DB_POOL_MIN_FREE", default_value_t = 5)]
    pub db_pool_min_free: u32,
    /// Connections that a shared pool has for each of its slots; a tenant may use up to 20
    #[arg(long, env = "DB_POOL_CONNECTIONS_PER_TENANT", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub db_pool_connections_per_tenant: u32,
    /// Image of a pool's pod
    #[arg(long, env = "DB_POOL_IMAGE", default_value = "postgres:15-alpine")]
    pub db_pool_image: String,
    /// Processor time that a pool's pod asks for
    #[arg(long, env = "DB_POOL_CPU_REQUEST", default_value = "500m")]
    pub db_pool_cpu_request: String,
    /// Processor time of a pool's pod at most
    #[arg(long, env = "DB_POOL_CPU_LIMIT", default_value = "2")]
    pub db_pool_cpu_limit: String,
    /// Memory that a pool's pod asks for
    #[arg(long, env = "DB_POOL_MEMORY_REQUEST", default_value = "1Gi")]
    pub db_pool_memory_request: String,
    /// Memory of a pool's pod at most; buffers and work memory follow from it
    #[arg(long, env = "DB_POOL_MEMORY_LIMIT", default_value = "4Gi")]
    pub db_pool_memory_limit: String,
    /// Volume of a pool
    #[arg(long, env = "DB_POOL_STORAGE", default_value = "50Gi")]
    pub db_pool_storage: String,
    /// Seconds between two checks of a pool
    #[arg(long, env = "DB_HEALTH_CHECK_INTERVAL_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub db_health_check_interval_seconds: u32,
}

impl Config {
    /// Refuses weak secrets (SEC-03). Keys are checked where they are parsed.
    pub fn check_secrets(&self) -> anyhow::Result<()> {
        let environment = self.common.environment;
        require_strong(environment, "DB_SERVICE_PASSWORD", &self.postgres.db_service_password)?;
        require_strong(environment, "RABBITMQ_PASSWORD", &self.rabbit.rabbitmq_password)
    }

    /// Where a test lets the process die.
    pub fn fail_point(&self) -> anyhow::Result<FailPoint> {
        let place = self.database_fail_point.as_deref();
        let is_allowed = place.is_none() || !self.common.is_production();
        ensure!(is_allowed, "DATABASE_FAIL_POINT is for tests and refused in production");
        failpoint::NONE.try_abort_at(place).context("DATABASE_FAIL_POINT")
    }

    /// The use cases' settings; wrong values stop the start with their name.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let pools = &self.pools;
        let memory = |name: &str, text: &str| {
            memory_bytes(text).with_context(|| format!("{name} {text:?} is no quantity such as 4Gi"))
        };
        let cpu = |name: &str, text: &str| {
            cpu_millis(text).with_context(|| format!("{name} {text:?} is no quantity such as 500m"))
        };
        let limit = memory("DB_POOL_MEMORY_LIMIT", &pools.db_pool_memory_limit)?;
        ensure!(
            memory("DB_POOL_MEMORY_REQUEST", &pools.db_pool_memory_request)? <= limit,
            "DB_POOL_MEMORY_REQUEST is above DB_POOL_MEMORY_LIMIT"
        );
        ensure!(
            cpu("DB_POOL_CPU_REQUEST", &pools.db_pool_cpu_request)?
                <= cpu("DB_POOL_CPU_LIMIT", &pools.db_pool_cpu_limit)?,
            "DB_POOL_CPU_REQUEST is above DB_POOL_CPU_LIMIT"
        );
        memory("DB_POOL_STORAGE", &pools.db_pool_storage)?;
        Ok(Settings {
            max_instances: pools.db_pool_max_instances,
            min_free: i64::from(pools.db_pool_min_free),
            image: pools.db_pool_image.clone(),
            resources: Resources {
                cpu_request: pools.db_pool_cpu_request.clone(),
                cpu_limit: pools.db_pool_cpu_limit.clone(),
                memory_request: pools.db_pool_memory_request.clone(),
                memory_limit: pools.db_pool_memory_limit.clone(),
                storage: pools.db_pool_storage.clone(),
            },
            connections_per_tenant: i64::from(pools.db_pool_connections_per_tenant),
            retention_days: i64::from(self.retention_days),
            health_interval: Duration::from_secs(u64::from(pools.db_health_check_interval_seconds)),
            platform_namespace: self.kubernetes_namespace.clone(),
            instances_namespace: self.odoo_instances_namespace.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    const SECRETS: [&str; 8] = [
        "--db-service-password",
        "b7e1c0a94f2d4e55",
        "--rabbitmq-password",
        "b7e1c0a94f2d4e55",
        "--service-token-private-key",
        "x",
        "--data-key",
        "x",
    ];

    fn serve(more: &[&str]) -> anyhow::Result<Config> {
        let fixed = ["database-service", "serve", "--service-token-public-keys", "a=b"];
        let cli = Cli::try_parse_from(fixed.iter().chain(&SECRETS).chain(more))?;
        match cli.command {
            Command::Serve(config) => Ok(*config),
            _ => anyhow::bail!("not serve"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Requirements part 14.
    #[test]
    fn defaults_are_those_of_the_documents() {
        let settings = serve(&[]).unwrap().settings().unwrap();
        assert_eq!((settings.max_instances, settings.min_free), (50, 5));
        assert_eq!(settings.image, "postgres:15-alpine");
        assert_eq!(settings.resources.memory_limit, "4Gi");
        assert_eq!(settings.health_interval, Duration::from_mins(5));
        assert_eq!(serve(&[]).unwrap().http_port, 8005);
    }

    #[test]
    fn wrong_values_stop_the_start_with_their_name() {
        for (name, value) in [
            ("--db-pool-memory-limit", "4GB"),
            ("--db-pool-memory-limit", "512Mi"),
            ("--db-pool-cpu-limit", "100m"),
            ("--db-pool-storage", "much"),
        ] {
            let error = serve(&[name, value]).unwrap().settings().unwrap_err();
            assert!(error.to_string().contains("DB_POOL_"), "{error}");
        }
        assert!(serve(&["--db-pool-max-instances", "501"]).is_err());
    }

    /// SEC-03
    #[test]
    fn weak_passwords_stop_the_start_in_production() {
        let weak = ["--environment", "production", "--rabbitmq-password", "change_me"];
        let cli = Cli::try_parse_from(
            [
                "database-service",
                "serve",
                "--service-token-public-keys",
                "a=b",
                "--db-service-password",
                "b7e1c0a94f2d4e55",
            ]
            .iter()
            .chain(&["--service-token-private-key", "x", "--data-key", "x"])
            .chain(&weak),
        )
        .unwrap();
        let Command::Serve(config) = cli.command else { panic!("not serve") };
        let error = config.check_secrets().unwrap_err();
        assert!(error.to_string().contains("RABBITMQ_PASSWORD"));
    }
}
