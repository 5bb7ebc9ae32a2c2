//! All settings, with the names of requirements part 14.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use runtime::config::{Common, Postgres, Rabbit, ServiceIdentity};

pub use crate::cluster::Addressing;
use crate::cluster::Source;
use crate::objects::Settings;
use crate::objects::catalogue::{Catalogue, Flavour};

/// Makes the cluster match the desired state
#[derive(Debug, Parser)]
#[command(name = "instance-worker", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run until SIGTERM. The database is migrated by instance-service
    Serve(Box<Config>),
    /// Serve the pages that tell why an instance does not answer, one port a state
    OffPage(Box<Common>),
}

/// Settings of the service.
#[derive(Debug, Args)]
pub struct Config {
    #[command(flatten)]
    /// Of every service.
    pub common: Common,
    #[command(flatten)]
    /// Database `instance`.
    pub postgres: Postgres,
    #[command(flatten)]
    /// The broker.
    pub rabbit: Rabbit,
    #[command(flatten)]
    /// Identity towards other services.
    pub identity: ServiceIdentity,
    #[command(flatten)]
    /// The cluster.
    pub cluster: ClusterSettings,
    #[command(flatten)]
    /// Instances.
    pub odoo: OdooSettings,
    #[command(flatten)]
    /// The engine.
    pub engine: EngineSettings,
    /// Port of health and metrics
    #[arg(long, env = "HTTP_PORT", default_value_t = 8006)]
    pub http_port: u16,
    /// gRPC URL of database-service
    #[arg(long, env = "DATABASE_SERVICE_URL", default_value = "http://database-service:50051")]
    pub database_service_url: String,
    /// gRPC URL of billing-service
    #[arg(long, env = "BILLING_SERVICE_URL", default_value = "http://billing-service:50051")]
    pub billing_service_url: String,
}

/// Where the cluster is and how it is used.
#[derive(Debug, Clone, Args)]
pub struct ClusterSettings {
    /// Kubeconfig, used when the process runs in no pod
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the platform and its pools
    #[arg(long, env = "KUBERNETES_NAMESPACE", default_value = "saasodoo")]
    pub kubernetes_namespace: String,
    /// Namespace of instances
    #[arg(long, env = "ODOO_INSTANCES_NAMESPACE", default_value = "odoo-instances")]
    pub odoo_instances_namespace: String,
    /// How this process reaches pods
    #[arg(long, env = "CLUSTER_ADDRESSING", value_enum, default_value = "service-dns")]
    pub cluster_addressing: Addressing,
    /// Calls to the Kubernetes API per second at most; a burst of two seconds' worth is allowed
    #[arg(long, env = "KUBERNETES_CALLS_PER_SECOND", default_value_t = 500)]
    pub kubernetes_calls_per_second: u32,
    /// Domain of tenant host names
    #[arg(long, env = "BASE_DOMAIN", default_value = "saasodoo.local")]
    pub base_domain: String,
    /// HTTPS at the edge
    #[arg(long, env = "TLS_ENABLED", default_value_t = false, action = clap::ArgAction::Set)]
    pub tls_enabled: bool,
    /// Secret with the wildcard certificate, in the namespace of instances
    #[arg(long, env = "INGRESS_TLS_SECRET")]
    pub ingress_tls_secret: Option<String>,
    /// Class of the Ingress objects
    #[arg(long, env = "INGRESS_CLASS", default_value = "traefik")]
    pub ingress_class: String,
    /// Namespace of the ingress controller
    #[arg(long, env = "INGRESS_NAMESPACE", default_value = "kube-system")]
    pub ingress_namespace: String,
}

/// What instances look like.
#[derive(Debug, Clone, Args)]
pub struct OdooSettings {
    /// Image of Odoo, with {version} in it
    #[arg(long, env = "ODOO_IMAGE", default_value = "bitnamilegacy/odoo:{version}")]
    pub odoo_image: String,
    /// Images of single versions, as version=image with commas between: pins a digest
    #[arg(long, env = "ODOO_IMAGES", value_delimiter = ',')]
    pub odoo_images: Vec<String>,
    /// Conventions of the image; default: by its name
    #[arg(long, env = "ODOO_IMAGE_FLAVOUR", value_enum)]
    pub odoo_image_flavour: Option<Flavour>,
    /// Storage class of instance volumes
    #[arg(long, env = "ODOO_STORAGE_CLASS", default_value = "cephfs-quota")]
    pub odoo_storage_class: String,
    /// Storage class of pool volumes
    #[arg(long, env = "DB_POOL_STORAGE_CLASS", default_value = "cephfs-quota")]
    pub db_pool_storage_class: String,
    /// Path of the probes
    #[arg(long, env = "ODOO_PROBE_PATH", default_value = "/web/health")]
    pub odoo_probe_path: String,
    /// User and group of instance pods
    #[arg(long, env = "ODOO_RUN_AS_USER", default_value_t = 1001)]
    pub odoo_run_as_user: i64,
    /// A ready pod must also answer over HTTP before an instance counts as running; off only where pods are
    /// simulated
    #[arg(long, env = "ODOO_HTTP_CHECK", default_value_t = true, action = clap::ArgAction::Set)]
    pub odoo_http_check: bool,
    /// Requested CPU as a part of the limit, 0 to 1
    #[arg(long, env = "ODOO_CPU_REQUEST_RATIO", default_value_t = 0.5, value_parser = ratio)]
    pub odoo_cpu_request_ratio: f64,
    /// Requested memory as a part of the limit, 0 to 1
    #[arg(long, env = "ODOO_MEMORY_REQUEST_RATIO", default_value_t = 0.5, value_parser = ratio)]
    pub odoo_memory_request_ratio: f64,
}

/// How operations run.
#[derive(Debug, Clone, Args)]
pub struct EngineSettings {
    /// Operations in work at once; waits hold no slot
    #[arg(long, env = "WORKER_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub worker_concurrency: u16,
    /// Name of this worker in leases; default: host name and process id
    #[arg(long, env = "WORKER_ID")]
    pub worker_id: Option<String>,
    /// Life of an operation's lease; it is renewed at a third
    #[arg(long, env = "WORKER_LEASE_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(3..=600))]
    pub worker_lease_seconds: u32,
    /// Watch and repair begin by themselves when this worker leads, unless an operator said otherwise
    #[arg(long, env = "AUTO_START_MONITORING", default_value_t = true, action = clap::ArgAction::Set)]
    pub auto_start_monitoring: bool,
    /// Days that data is kept after a terminate
    #[arg(long, env = "RETENTION_DAYS", default_value_t = 30)]
    pub retention_days: u32,
    /// Seconds between full comparisons with the cluster
    #[arg(long, env = "RECONCILE_INTERVAL_SECONDS", default_value_t = 600)]
    pub reconcile_interval_seconds: u64,
    /// Seconds between sweeps for work whose wake-up was lost
    #[arg(long, env = "WORKER_SWEEP_SECONDS", default_value_t = 60)]
    pub worker_sweep_seconds: u64,
    /// For tests: `<kind>.<step>`; the process aborts after the effect of that step, on the first attempt
    /// only. Refused in production
    #[arg(long, env = "WORKER_FAIL_POINT", hide = true)]
    pub worker_fail_point: Option<String>,
}

fn ratio(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| "must be from 0 to 1".to_owned())
}

impl Config {
    /// Settings that clap cannot check by themselves.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.common.is_production() && self.engine.worker_fail_point.is_some() {
            anyhow::bail!("WORKER_FAIL_POINT is for tests and refused in production");
        }
        self.objects().map(drop)
    }

    /// Address of health and metrics.
    pub fn http_address(&self) -> SocketAddr {
        SocketAddr::new(self.common.bind_address, self.http_port)
    }

    /// Where the cluster is.
    pub fn source(&self) -> Source {
        Source { kubeconfig: self.cluster.kubeconfig.clone(), timeout: Duration::from_secs(5) }
    }

    /// Settings that go into objects.
    pub fn objects(&self) -> anyhow::Result<Settings> {
        let ClusterSettings {
            kubernetes_namespace,
            odoo_instances_namespace,
            base_domain,
            tls_enabled,
            ingress_tls_secret,
            ingress_class,
            ingress_namespace,
            ..
        } = self.cluster.clone();
        let OdooSettings {
            odoo_image,
            odoo_images,
            odoo_image_flavour,
            odoo_storage_class,
            db_pool_storage_class,
            odoo_probe_path,
            odoo_run_as_user,
            odoo_cpu_request_ratio,
            odoo_memory_request_ratio,
            ..
        } = self.odoo.clone();
        Ok(Settings {
            tenants: odoo_instances_namespace,
            platform: kubernetes_namespace,
            ingress_namespace,
            catalogue: Catalogue::try_new(&odoo_image, odoo_image_flavour, &odoo_images)?,
            storage_class: odoo_storage_class,
            pool_storage_class: db_pool_storage_class,
            probe_path: odoo_probe_path,
            run_as_user: odoo_run_as_user,
            cpu_ratio: odoo_cpu_request_ratio,
            memory_ratio: odoo_memory_request_ratio,
            base_domain,
            tls: tls_enabled,
            tls_secret: ingress_tls_secret,
            ingress_class,
        })
    }
}

impl EngineSettings {
    /// Name of this worker in leases.
    pub fn owner(&self) -> String {
        self.worker_id.clone().unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            format!("{}-{}", host.trim(), std::process::id())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &[&str]) -> Config {
        let arguments = [
            "instance-worker",
            "serve",
            "--db-service-password=x",
            "--rabbitmq-password=x",
            "--service-token-private-key=x",
            "--service-token-public-keys=x",
        ];
        let Command::Serve(config) = Cli::try_parse_from(arguments.iter().chain(more)).unwrap().command
        else {
            panic!("serve");
        };
        *config
    }

    /// SEC-18: a process that ends itself on purpose is for tests.
    #[test]
    fn a_fail_point_is_refused_in_production_alone() {
        let fail = "--worker-fail-point=create.volume";
        let refused = config(&["--environment=production", fail]).check().unwrap_err();
        assert!(refused.to_string().contains("WORKER_FAIL_POINT"), "{refused}");
        for allowed in [&["--environment=production"][..], &["--environment=staging", fail], &[fail]] {
            config(allowed).check().unwrap();
        }
    }
}
