//! The environment of each service. A service gets the secrets that it needs and no others.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

pub use crate::catalogue::{ALL, Database, Need, Service, find};
use crate::secrets::Secrets;

/// Host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl HostPort {
    /// A port on loopback.
    pub fn local(port: u16) -> Self {
        Self { host: "127.0.0.1".to_owned(), port }
    }
}

/// Ports of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServicePorts {
    /// HTTP: health and metrics, or the gateway's public API.
    pub http: u16,
    /// Readiness and metrics: the same port, but for the gateway, which keeps them from the public.
    pub admin: u16,
    /// gRPC.
    pub grpc: u16,
}

/// Everything around the services.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// PostgreSQL.
    pub postgres: HostPort,
    /// Redis.
    pub redis: HostPort,
    /// RabbitMQ.
    pub rabbitmq: HostPort,
    /// SMTP.
    pub smtp: HostPort,
    /// `KUBECONFIG` of the worker.
    pub kubeconfig: Option<String>,
    /// `CLUSTER_ADDRESSING`.
    pub addressing: String,
    /// Port of the instances' public addresses.
    pub ingress_port: u16,
    /// `BASE_DOMAIN`.
    pub base_domain: String,
    /// Ports of each service.
    pub ports: BTreeMap<String, ServicePorts>,
    /// `ODOO_STORAGE_CLASS`, when it is not the default.
    pub storage_class: Option<String>,
    /// Address and user of Kill Bill, when it is the billing provider.
    pub killbill: Option<(String, String)>,
    /// Address of the stand-in for Paynow.
    pub paynow: String,
    /// More variables for single services (or `*`), last.
    pub extra: BTreeMap<String, BTreeMap<String, String>>,
}

impl Surroundings {
    /// Ports of a service.
    pub fn ports_of(&self, service: &str) -> Result<ServicePorts> {
        self.ports.get(service).copied().with_context(|| format!("no ports for {service}"))
    }

    /// Address of a service's HTTP port.
    pub fn http_url(&self, service: &str) -> Result<String> {
        Ok(format!("http://127.0.0.1:{}", self.ports_of(service)?.http))
    }

    /// Address of the public API, which is `FRONTEND_URL` too: the gateway serves the pages that mails link
    /// to.
    pub fn api(&self) -> Result<String> {
        Ok(format!("http://localhost:{}", self.ports_of("gateway")?.http))
    }
}

/// Id of our integration at the stand-in for Paynow, and the mail address of its merchant.
pub const PAYNOW_ID: &str = "1201";
/// See [`PAYNOW_ID`].
pub const PAYNOW_EMAIL: &str = "merchant@example.com";

/// Limits that count requests, ten times their defaults, so that scripts can poll.
const LIMITS: [(&str, &str); 8] = [
    ("RATE_LIMIT_PER_MINUTE", "6000"),
    ("RATE_LIMIT_BURST", "1000"),
    ("RATE_LIMIT_ANONYMOUS_PER_MINUTE", "600"),
    ("RATE_LIMIT_AUTH_PER_MINUTE", "100"),
    ("RATE_LIMIT_WEBHOOK_PER_MINUTE", "10000"),
    // All customers of the local stack have one address.
    ("LOGIN_MAX_FAILURES_PER_ADDRESS", "50"),
    ("MAX_EMAILS_PER_MINUTE", "600"),
    ("MAX_EMAILS_PER_HOUR", "10000"),
];

/// The environment of one service.
pub fn environment(
    service: &Service,
    around: &Surroundings,
    secrets: &Secrets,
) -> Result<BTreeMap<String, String>> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: String| {
        env.insert(name.to_owned(), value);
    };
    let ports = around.ports_of(service.name)?;
    set("ENVIRONMENT", "development".to_owned());
    set("LOG_LEVEL", "info".to_owned());
    // glibc else keeps what was freed, such as the 19 MiB of each password hash, for a later use that may
    // never come.
    set("MALLOC_ARENA_MAX", "2".to_owned());
    set("MALLOC_MMAP_THRESHOLD_", "1048576".to_owned());
    set("MALLOC_TRIM_THRESHOLD_", "1048576".to_owned());
    set("BIND_ADDRESS", "127.0.0.1".to_owned());
    set("HTTP_PORT", ports.http.to_string());
    if ports.admin != ports.http {
        set("ADMIN_PORT", ports.admin.to_string());
    }
    set("GRPC_PORT", ports.grpc.to_string());
    set("SERVICE_TOKEN_PRIVATE_KEY", secrets.service_key(service.name)?.to_owned());
    set("SERVICE_TOKEN_PUBLIC_KEYS", secrets.public_keys()?);
    set("BASE_DOMAIN", around.base_domain.clone());
    set("FRONTEND_URL", around.api()?);
    set("INGRESS_PUBLIC_PORT", around.ingress_port.to_string());
    set("CLUSTER_ADDRESSING", around.addressing.clone());
    set("BILLING_PROVISION_POLICY", "on_invoice".to_owned());
    for (name, ports) in &around.ports {
        set(&url_name(name), format!("http://127.0.0.1:{}", ports.grpc));
    }
    for (name, value) in LIMITS {
        set(name, value.to_owned());
    }
    if let Some(database) = service.database {
        set("POSTGRES_HOST", around.postgres.host.clone());
        set("POSTGRES_PORT", around.postgres.port.to_string());
        set("POSTGRES_DB", database.name.to_owned());
        set("DB_SERVICE_USER", database.role.to_owned());
        set("DB_SERVICE_PASSWORD", secrets.role(database.role)?.to_owned());
    }
    if service.needs.contains(&Need::UserTokens) {
        set("JWT_SECRET_KEY", secrets.jwt_secret_key.clone());
    }
    if service.needs.contains(&Need::Redis) {
        set("REDIS_HOST", around.redis.host.clone());
        set("REDIS_PORT", around.redis.port.to_string());
        set("REDIS_PASSWORD", secrets.redis.clone());
    }
    if service.needs.contains(&Need::RabbitMq) {
        set("RABBITMQ_HOST", around.rabbitmq.host.clone());
        set("RABBITMQ_PORT", around.rabbitmq.port.to_string());
        set("RABBITMQ_VHOST", crate::rabbitmq::VHOST.to_owned());
        set("RABBITMQ_USER", crate::rabbitmq::USER.to_owned());
        set("RABBITMQ_PASSWORD", secrets.rabbitmq.clone());
    }
    if service.needs.contains(&Need::DataKey) {
        set("DATA_KEY", secrets.data_key.clone());
    }
    if service.needs.contains(&Need::Cluster) {
        if let Some(kubeconfig) = &around.kubeconfig {
            set("KUBECONFIG", kubeconfig.clone());
        }
        if let Some(class) = &around.storage_class {
            set("ODOO_STORAGE_CLASS", class.clone());
            set("DB_POOL_STORAGE_CLASS", class.clone());
        }
    }
    if service.name == "billing-service"
        && let Some((url, user)) = &around.killbill
    {
        let gateway = around.ports_of("gateway")?.http;
        set("BILLING_PROVIDER", "killbill".to_owned());
        set("KILLBILL_URL", url.clone());
        set("KILLBILL_USERNAME", user.clone());
        set("KILLBILL_PASSWORD", secrets.killbill.password.clone());
        set("KILLBILL_API_KEY", secrets.killbill.api_key.clone());
        set("KILLBILL_API_SECRET", secrets.killbill.api_secret.clone());
        set("KILLBILL_HOOK_TOKEN", secrets.killbill.hook_token.clone());
        let hooks = format!("http://127.0.0.1:{gateway}/billing/api/billing/webhooks/killbill");
        set("KILLBILL_NOTIFICATION_URL", hooks);
    }
    if service.name == "billing-service" {
        let gateway = around.ports_of("gateway")?.http;
        set("PAYNOW_BASE_URL", around.paynow.clone());
        set("PAYNOW_INTEGRATION_ID", PAYNOW_ID.to_owned());
        set("PAYNOW_INTEGRATION_KEY", secrets.paynow.clone());
        set("PAYNOW_MERCHANT_EMAIL", PAYNOW_EMAIL.to_owned());
        set("PAYNOW_RESULT_URL", format!("http://127.0.0.1:{gateway}/billing/api/billing/webhooks/paynow"));
    }
    if service.name == "notification-service" {
        set("SMTP_HOST", around.smtp.host.clone());
        set("SMTP_PORT", around.smtp.port.to_string());
    }
    for group in ["*", service.name] {
        env.extend(around.extra.get(group).cloned().unwrap_or_default());
    }
    Ok(env)
}

/// `user-service` → `USER_SERVICE_URL`.
fn url_name(service: &str) -> String {
    format!("{}_URL", service.replace('-', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        let ports = (20_000_u16..).step_by(2).zip(ALL);
        Surroundings {
            postgres: HostPort::local(1),
            redis: HostPort::local(2),
            rabbitmq: HostPort::local(3),
            smtp: HostPort::local(4),
            kubeconfig: Some("/k".to_owned()),
            addressing: "pod-ip".to_owned(),
            ingress_port: 5,
            base_domain: "localhost".to_owned(),
            ports: ports
                .map(|(port, service)| {
                    (service.name.to_owned(), ServicePorts { http: port, admin: port, grpc: port + 1 })
                })
                .collect(),
            storage_class: None,
            killbill: None,
            paynow: "http://127.0.0.1:6".to_owned(),
            extra: BTreeMap::new(),
        }
    }

    fn env_of(name: &str, secrets: &Secrets) -> BTreeMap<String, String> {
        environment(find(name).unwrap(), &surroundings(), secrets).unwrap()
    }

    fn secrets() -> Secrets {
        let folder = tempfile::tempdir().unwrap();
        Secrets::load_or_generate(&folder.path().join("s.json")).unwrap()
    }

    /// SEC-04, K8S-01
    #[test]
    fn a_service_gets_only_the_secrets_that_it_needs() {
        let secrets = secrets();
        let gateway = env_of("gateway", &secrets);
        for name in ["DB_SERVICE_PASSWORD", "RABBITMQ_PASSWORD", "DATA_KEY", "KUBECONFIG"] {
            assert!(!gateway.contains_key(name), "{name}");
        }
        assert!(gateway.contains_key("REDIS_PASSWORD") && gateway.contains_key("JWT_SECRET_KEY"));
        let worker = env_of("instance-worker", &secrets);
        assert_eq!(worker.get("KUBECONFIG").map(String::as_str), Some("/k"));
        assert!(!worker.contains_key("JWT_SECRET_KEY") && !worker.contains_key("REDIS_PASSWORD"));
        assert!(ALL.iter().filter(|s| env_of(s.name, &secrets).contains_key("KUBECONFIG")).count() == 1);
        let paying = ALL.iter().filter(|s| env_of(s.name, &secrets).contains_key("PAYNOW_INTEGRATION_KEY"));
        assert_eq!(paying.map(|service| service.name).collect::<Vec<_>>(), ["billing-service"]);
    }

    #[test]
    fn each_caller_finds_the_others() {
        let env = env_of("gateway", &secrets());
        for name in
            ["USER_SERVICE_URL", "DATABASE_SERVICE_URL", "INSTANCE_WORKER_URL", "NOTIFICATION_SERVICE_URL"]
        {
            assert!(env.get(name).is_some_and(|url| url.starts_with("http://127.0.0.1:20")), "{name}");
        }
        assert_eq!(env.get("FRONTEND_URL").map(String::as_str), Some("http://localhost:20012"));
    }

    #[test]
    fn a_shared_database_is_migrated_by_one_service() {
        let migrating: Vec<&str> =
            ALL.iter().filter(|s| s.migrates).filter_map(|s| s.database).map(|d| d.name).collect();
        assert_eq!(migrating, ["auth", "billing", "instance", "database_service", "communication"]);
    }
}
