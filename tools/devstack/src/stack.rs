//! One whole stack: starts servers, applies migrations and manifests, starts the services, keeps them
//! running, stops all of it. Whatever does not wait for another part starts at the same time.

mod addresses;
mod operate;
mod plan;
mod start;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use self::addresses::{Addresses, choose_addresses, url};
pub use self::plan::{Extent, Plan};
use crate::cluster::ControlPlane;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::secrets::{Secrets, write_private};
use crate::services::{self, HostPort, Service, ServicePorts, Surroundings};
use crate::stackfile::{Login, StackFile};
use crate::unit::Unit;
use crate::{killbill, postgres, rabbitmq};

/// E-mail of the first administrator.
pub const ADMIN_EMAIL: &str = "admin@example.com";
/// Domain of the instances.
const BASE_DOMAIN: &str = "localhost";
/// Longest start of a server.
const SERVER_DEADLINE: Duration = Duration::from_secs(90);
/// Longest start of one of our programs.
const PROGRAM_DEADLINE: Duration = Duration::from_mins(1);

/// The cluster, ours or a given one.
#[derive(Debug)]
struct Cluster {
    control_plane: Option<ControlPlane>,
    kubeconfig: PathBuf,
    /// The worker's, with its own account.
    worker: PathBuf,
    kubectl: PathBuf,
}

/// A stack.
#[derive(Debug)]
pub struct Stack {
    plan: Plan,
    secrets: Secrets,
    addresses: Addresses,
    units: Mutex<BTreeMap<String, Arc<Mutex<Unit>>>>,
    cluster: Mutex<Option<Cluster>>,
    failed: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stack {
    /// Starts everything that the plan wants. `build` makes our programs while the servers start.
    pub fn start(
        plan: Plan,
        progress: &Progress,
        build: impl FnOnce() -> Result<()> + Send,
    ) -> Result<Arc<Self>> {
        fs::create_dir_all(plan.layout.logs())
            .with_context(|| format!("create {}", plan.layout.dir.display()))?;
        let mut secrets = Secrets::load_or_generate(&plan.layout.dir.join("secrets.json"))?;
        let given = &plan.given;
        for (server, ours) in [
            (&given.postgres, &mut secrets.postgres),
            (&given.redis, &mut secrets.redis),
            (&given.rabbitmq, &mut secrets.rabbitmq),
        ] {
            if let Some(server) = server {
                ours.clone_from(&server.password);
            }
        }
        if let Some(given) = &given.killbill {
            secrets.killbill.password.clone_from(&given.password);
        }
        let addresses = choose_addresses(&plan)?;
        let stack = Arc::new(Self {
            plan,
            secrets,
            addresses,
            units: Mutex::default(),
            cluster: Mutex::default(),
            failed: Mutex::default(),
        });
        stack.bring_up(progress, build)?;
        Ok(stack)
    }

    /// Services that did not get ready, when the plan goes on without them.
    pub fn failures(&self) -> Vec<String> {
        lock(&self.failed).clone()
    }

    /// Environment of one service.
    pub fn environment(&self, service: &Service) -> Result<BTreeMap<String, String>> {
        services::environment(service, &self.surroundings(), &self.secrets)
    }

    fn surroundings(&self) -> Surroundings {
        let given = self.plan.given.cluster.as_ref();
        Surroundings {
            postgres: self.addresses.postgres.clone(),
            redis: self.addresses.redis.clone(),
            rabbitmq: self.addresses.rabbitmq.clone(),
            smtp: self.addresses.smtp.clone(),
            kubeconfig: lock(&self.cluster).as_ref().map(|cluster| cluster.worker.display().to_string()),
            addressing: given.map_or_else(|| "pod-ip".to_owned(), |cluster| cluster.addressing.clone()),
            ingress_port: self.addresses.ingress_port,
            base_domain: BASE_DOMAIN.to_owned(),
            ports: self.addresses.services.clone(),
            storage_class: given.and_then(|cluster| cluster.storage_class.clone()),
            killbill: self.killbill(),
            paynow: format!("http://127.0.0.1:{}", self.addresses.paynow),
            extra: self.plan.extra.clone(),
        }
    }

    /// Where Kill Bill answers, when the plan has it, and its user.
    pub fn killbill(&self) -> Option<(String, String)> {
        let user = self.plan.given.killbill.as_ref().map_or(killbill::USER, |given| given.user.as_str());
        self.plan.killbill.then(|| (self.addresses.killbill.clone(), user.to_owned()))
    }

    fn ports_of(&self, service: &str) -> Result<ServicePorts> {
        self.addresses.services.get(service).copied().with_context(|| format!("no ports for {service}"))
    }

    /// Where PostgreSQL answers.
    pub fn database_address(&self) -> postgres::Address {
        let HostPort { host, port } = self.addresses.postgres.clone();
        postgres::Address { host, port, user: self.addresses.postgres_user.clone() }
    }

    fn kubeconfig(&self) -> Option<PathBuf> {
        lock(&self.cluster).as_ref().map(|cluster| cluster.kubeconfig.clone())
    }

    /// The generated secrets.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Where the stack lies.
    pub fn layout(&self) -> &Layout {
        &self.plan.layout
    }

    /// Port of the control interface.
    pub fn control_port(&self) -> u16 {
        self.addresses.control
    }

    /// What `stack.json` says.
    pub fn describe_file(&self) -> StackFile {
        let addresses = &self.addresses;
        let secrets = &self.secrets;
        let (kubectl, kubeconfig) = lock(&self.cluster)
            .as_ref()
            .map(|cluster| (cluster.kubectl.clone(), cluster.kubeconfig.clone()))
            .unwrap_or_default();
        let urls = |port: fn(&ServicePorts) -> u16| {
            let pair = |(name, ports)| (String::clone(name), format!("http://127.0.0.1:{}", port(ports)));
            let shown = addresses.services.iter().filter(|_| self.plan.extent >= Extent::All);
            shown.map(pair).collect::<BTreeMap<String, String>>()
        };
        let (killbill, killbill_user) = self.killbill().unwrap_or_default();
        StackFile {
            api: urls(|ports| ports.http).remove("gateway").unwrap_or_default(),
            base_domain: BASE_DOMAIN.to_owned(),
            ingress: addresses.ingress.clone(),
            kubectl,
            kubeconfig,
            mail: addresses.mail.clone(),
            admin: Login { email: ADMIN_EMAIL.to_owned(), password: secrets.admin.clone() },
            services: urls(|ports| ports.admin),
            grpc: urls(|ports| ports.grpc),
            paynow: if self.plan.extent >= Extent::All {
                format!("http://127.0.0.1:{}", addresses.paynow_control)
            } else {
                String::new()
            },
            killbill,
            killbill_user,
            control: format!("http://127.0.0.1:{}", addresses.control),
            devnode: if self.plan.given.cluster.is_some() {
                String::new()
            } else {
                format!("http://127.0.0.1:{}", addresses.faults)
            },
            database_url: url(
                "postgres",
                &addresses.postgres_user,
                &secrets.postgres,
                &addresses.postgres,
                "postgres",
            ),
            amqp_url: url(
                "amqp",
                &addresses.rabbitmq_user,
                &secrets.rabbitmq,
                &addresses.rabbitmq,
                rabbitmq::VHOST,
            ),
            redis_url: url("redis", "", &secrets.redis, &addresses.redis, "0"),
            smtp: format!("{}:{}", addresses.smtp.host, addresses.smtp.port),
            logs: self.plan.layout.logs(),
            supervisor: std::process::id(),
        }
    }

    /// Writes `stack.json`.
    pub fn write_file(&self) -> Result<StackFile> {
        let description = self.describe_file();
        let path = self.plan.layout.stack_file();
        write_private(&path, &serde_json::to_string_pretty(&description)?)?;
        Ok(description)
    }

    /// Deletes all data of a stack that does not run.
    pub fn purge(layout: &Layout) -> Result<()> {
        for folder in [layout.dir.clone(), postgres::outside(&layout.dir)] {
            match fs::remove_dir_all(&folder) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("delete {}", folder.display())),
            }
        }
        Ok(())
    }
}

fn joined<T>(handle: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    handle.join().unwrap_or_else(|_| Err(anyhow!("a thread of the start panicked")))
}
