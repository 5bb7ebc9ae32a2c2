//! Settings of instance-service: one clap struct, names of requirements part 14.

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use instance::domain::{Addresses, Limits, SubdomainRules, names, parse_cpu, parse_size};
use runtime::config::{Common, Postgres, Rabbit, ServiceIdentity, UserTokens};
use runtime::database::Owned;

use crate::rules::Rules;

/// Database and role that this service owns.
pub const OWNED: Owned = Owned { database: "instance", role: "instance_service" };

/// Instances: what customers have and want.
#[derive(Debug, Parser)]
#[command(name = "instance-service", version)]
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
    /// Apply the database migrations and end
    Migrate(Box<Migrate>),
    /// Put dead messages back into their queues, and end
    Redrive(Box<messaging::Redrive>),
}

/// Settings of `migrate`.
#[derive(Debug, Clone, Args)]
pub struct Migrate {
    #[command(flatten)]
    /// Shared settings.
    pub common: Common,
    #[command(flatten)]
    /// Own database.
    pub postgres: Postgres,
}

/// Settings of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    /// Shared settings.
    pub common: Common,
    #[command(flatten)]
    /// Own database.
    pub postgres: Postgres,
    #[command(flatten)]
    /// The message broker.
    pub rabbit: Rabbit,
    #[command(flatten)]
    /// Verification of access tokens.
    pub users: UserTokens,
    #[command(flatten)]
    /// Identity between services.
    pub identity: ServiceIdentity,
    /// Port of /health, /health/ready, /metrics and /api/v1/monitoring
    #[arg(long, env = "HTTP_PORT", default_value_t = 8003)]
    pub http_port: u16,
    #[command(flatten)]
    /// Other services.
    pub peers: Peers,
    #[command(flatten)]
    /// What customers may have.
    pub catalogue: Catalogue,
    #[command(flatten)]
    /// Who may follow operations.
    pub streams: Streams,
}

/// How many event streams are open at once.
#[derive(Debug, Clone, Copy, Args)]
pub struct Streams {
    /// Event streams of one account at once, in each replica
    #[arg(long, env = "MAX_STREAMS_PER_ACCOUNT", default_value_t = 20)]
    pub max_streams_per_account: usize,
    /// Event streams of all accounts at once, in each replica
    #[arg(long, env = "MAX_STREAMS", default_value_t = 2000)]
    pub max_streams: usize,
}

/// gRPC addresses of other services.
#[derive(Debug, Clone, Args)]
pub struct Peers {
    /// gRPC address of billing-service
    #[arg(long, env = "BILLING_SERVICE_URL", default_value = "http://billing-service:50051")]
    pub billing_service_url: String,
    /// gRPC address of user-service
    #[arg(long, env = "USER_SERVICE_URL", default_value = "http://user-service:50051")]
    pub user_service_url: String,
    /// gRPC address of instance-worker
    #[arg(long, env = "INSTANCE_WORKER_URL", default_value = "http://instance-worker:50051")]
    pub instance_worker_url: String,
}

/// What customers may have, and where it is reached.
#[derive(Debug, Clone, Args)]
pub struct Catalogue {
    /// Instances are reached at <subdomain>.BASE_DOMAIN
    #[arg(long, env = "BASE_DOMAIN", default_value = "saasodoo.local")]
    pub base_domain: String,
    /// Port in the URLs of instances; default 80, or 443 with TLS
    #[arg(long, env = "INGRESS_PUBLIC_PORT")]
    pub ingress_public_port: Option<u16>,
    /// Instances are reached by https
    #[arg(long, env = "TLS_ENABLED", default_value_t = false, action = clap::ArgAction::Set)]
    pub tls_enabled: bool,
    /// Namespace of the instances, for their internal URL
    #[arg(long, env = "ODOO_INSTANCES_NAMESPACE", default_value = "odoo-instances")]
    pub odoo_instances_namespace: String,
    /// Major versions that can be ordered, with commas between
    #[arg(long, env = "ODOO_VERSIONS", default_value = "16,17,18", value_delimiter = ',')]
    pub odoo_versions: Vec<String>,
    /// Version of an order that names none
    #[arg(long, env = "DEFAULT_ODOO_VERSION", default_value = "17")]
    pub default_odoo_version: String,
    /// Plan of an order that names none
    #[arg(long, env = "DEFAULT_PLAN", default_value = "basic-monthly")]
    pub default_plan: String,
    /// CPU when a plan gives none
    #[arg(long, env = "INSTANCE_CPU_LIMIT", default_value = "1.0")]
    pub instance_cpu_limit: String,
    /// Memory when a plan gives none
    #[arg(long, env = "INSTANCE_MEMORY_LIMIT", default_value = "2Gi")]
    pub instance_memory_limit: String,
    /// Storage when a plan gives none
    #[arg(long, env = "INSTANCE_STORAGE_LIMIT", default_value = "10Gi")]
    pub instance_storage_limit: String,
    /// Live instances of a customer at most; an account may have its own number
    #[arg(long, env = "MAX_INSTANCES_PER_USER", default_value_t = 20)]
    pub max_instances_per_user: u32,
    /// Terminated instances of a customer whose data is kept at most; then no new one is made until a
    /// retention ends
    #[arg(long, env = "MAX_KEPT_INSTANCES_PER_USER", default_value_t = 50)]
    pub max_kept_instances_per_user: u32,
    /// Host names that nobody may have, besides the built-in ones, with commas between
    #[arg(long, env = "RESERVED_SUBDOMAINS", default_value = "", value_delimiter = ',')]
    pub reserved_subdomains: Vec<String>,
    /// Days that the data of a terminated instance is kept
    #[arg(long, env = "RETENTION_DAYS", default_value_t = 30)]
    pub retention_days: u32,
}

impl Catalogue {
    /// The settings in the domain's types; a wrong one is named.
    pub fn rules(&self) -> anyhow::Result<Rules> {
        let odoo_versions: Vec<String> = self
            .odoo_versions
            .iter()
            .map(|word| word.trim().to_owned())
            .filter(|word| !word.is_empty())
            .collect();
        ensure!(!odoo_versions.is_empty(), "ODOO_VERSIONS names no version");
        ensure!(
            odoo_versions.contains(&self.default_odoo_version),
            "DEFAULT_ODOO_VERSION {:?} is not in ODOO_VERSIONS",
            self.default_odoo_version
        );
        ensure!(
            names::email(&format!("x@{}.example", self.base_domain)).is_ok(),
            "BASE_DOMAIN {:?} is no domain",
            self.base_domain
        );
        let fallback = Limits {
            cpu_millis: parse_cpu(&self.instance_cpu_limit)
                .context("INSTANCE_CPU_LIMIT is no number of cores")?,
            memory_mib: parse_size(&self.instance_memory_limit)
                .context("INSTANCE_MEMORY_LIMIT is no size, such as 2Gi")?,
            storage_mib: parse_size(&self.instance_storage_limit)
                .context("INSTANCE_STORAGE_LIMIT is no size, such as 10Gi")?,
        };
        let usual_port = if self.tls_enabled { 443 } else { 80 };
        Ok(Rules {
            addresses: Addresses {
                base_domain: self.base_domain.clone(),
                public_port: self.ingress_public_port.unwrap_or(usual_port),
                tls: self.tls_enabled,
                namespace: self.odoo_instances_namespace.clone(),
            },
            odoo_versions,
            default_odoo_version: self.default_odoo_version.clone(),
            default_plan: self.default_plan.clone(),
            fallback,
            max_instances: self.max_instances_per_user,
            max_kept: self.max_kept_instances_per_user,
            subdomains: SubdomainRules::new(self.reserved_subdomains.iter().map(String::as_str)),
            retention: time::Duration::days(i64::from(self.retention_days)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        catalogue: Catalogue,
    }

    fn catalogue(arguments: &[&str]) -> Catalogue {
        let line = std::iter::once("test").chain(arguments.iter().copied());
        Only::try_parse_from(line).expect("arguments").catalogue
    }

    /// INS-04, INS-13: the defaults of the requirements.
    #[test]
    fn the_defaults_are_those_of_the_requirements() {
        let rules = catalogue(&["--base-domain", "saasodoo.local"]).rules().unwrap();
        assert_eq!(rules.odoo_versions, ["16", "17", "18"]);
        assert_eq!((rules.default_odoo_version.as_str(), rules.max_instances), ("17", 20));
        assert_eq!(rules.fallback, Limits { cpu_millis: 1000, memory_mib: 2048, storage_mib: 10240 });
        assert_eq!(rules.retention, time::Duration::days(30));
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (arguments, name) in [
            (["--default-odoo-version", "15"], "DEFAULT_ODOO_VERSION"),
            (["--instance-memory-limit", "2 GB"], "INSTANCE_MEMORY_LIMIT"),
            (["--base-domain", "a b"], "BASE_DOMAIN"),
        ] {
            let error = catalogue(&arguments).rules().unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
