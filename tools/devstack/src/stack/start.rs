//! The start of a stack: what waits for nothing starts at once, each other part as soon as what it needs is
//! there.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::addresses::Addresses;
use super::{Cluster, Extent, PROGRAM_DEADLINE, SERVER_DEADLINE, Stack, joined, lock};
use crate::cluster::{self, ControlPlane};
use crate::process::{self, Spec};
use crate::progress::Progress;
use crate::services::{self, HostPort, Service};
use crate::unit::Unit;
use crate::{http, killbill, manifests, postgres, rabbitmq, redis};

impl Stack {
    pub(super) fn bring_up(
        &self,
        progress: &Progress,
        build: impl FnOnce() -> Result<()> + Send,
    ) -> Result<()> {
        let servers = self.plan.extent >= Extent::Servers;
        let deps = self.plan.extent >= Extent::Deps;
        let when = |wanted: bool, start: fn(&Self, &Progress) -> Result<()>| {
            move || if wanted { start(self, progress) } else { Ok(()) }
        };
        thread::scope(|scope| {
            let postgres = scope.spawn(when(true, Self::start_postgres));
            let redis = scope.spawn(when(servers, Self::start_redis));
            let rabbitmq = scope.spawn(when(servers, Self::start_rabbitmq));
            let cluster = scope.spawn(when(deps, Self::start_cluster));
            let killbill = scope.spawn(when(servers && self.plan.killbill, Self::start_killbill));
            let built = scope.spawn(build);

            joined(built)?;
            let mail = scope.spawn(when(servers, Self::start_mail));
            let paynow = scope.spawn(when(self.plan.extent >= Extent::All, Self::start_paynow));
            joined(postgres)?;
            let migrations = scope.spawn(when(self.plan.extent >= Extent::All, Self::migrate));
            joined(cluster)?;
            let node = scope.spawn(when(deps, Self::start_node));
            for part in [mail, paynow, migrations, node, rabbitmq, redis, killbill] {
                joined(part)?;
            }
            anyhow::Ok(())
        })?;
        if self.plan.extent >= Extent::All {
            self.start_services(progress)?;
        }
        Ok(())
    }

    pub(super) fn launch(&self, name: &str, unit: Unit) -> Result<()> {
        let unit = Arc::new(Mutex::new(unit));
        let outcome = Unit::start(&unit);
        lock(&self.units).insert(name.to_owned(), unit);
        outcome
    }

    fn start_postgres(&self, progress: &Progress) -> Result<()> {
        if self.plan.given.postgres.is_none() {
            progress.stage("PostgreSQL", || {
                let server = postgres::Server::new(
                    &self.plan.layout.dir,
                    self.addresses.postgres.port,
                    self.plan.durable,
                )?;
                server.initialise(&self.secrets.postgres)?;
                let spec = server.spec(&self.plan.layout.logs());
                self.launch("postgres", Unit::new(spec, SERVER_DEADLINE, move || server.answers()))
            })?;
        }
        progress.stage("roles and databases", || {
            postgres::bootstrap(&self.database_address(), &self.secrets.postgres, &self.secrets)
        })
    }

    fn start_redis(&self, progress: &Progress) -> Result<()> {
        if self.plan.given.redis.is_some() {
            return Ok(());
        }
        progress.stage("Redis", || {
            let (port, password) = (self.addresses.redis.port, self.secrets.redis.clone());
            let layout = &self.plan.layout;
            let spec = redis::spec(&layout.dir, &layout.logs(), port, &password, self.plan.durable)?;
            self.launch("redis", Unit::new(spec, SERVER_DEADLINE, move || redis::answers(port, &password)))
        })
    }

    fn start_rabbitmq(&self, progress: &Progress) -> Result<()> {
        if self.plan.given.rabbitmq.is_some() {
            return Ok(());
        }
        progress.stage("RabbitMQ", || {
            let Addresses { rabbitmq: HostPort { port: amqp, .. }, distribution, mapper, .. } =
                self.addresses;
            let ports = rabbitmq::Ports { amqp, distribution, mapper };
            let layout = &self.plan.layout;
            let listens = move || std::net::TcpStream::connect(("127.0.0.1", mapper)).is_ok();
            self.launch(
                "epmd",
                Unit::new(rabbitmq::mapper_spec(&layout.logs(), ports), SERVER_DEADLINE, listens),
            )?;
            let spec = rabbitmq::spec(
                &layout.dir,
                &layout.logs(),
                ports,
                &self.secrets.rabbitmq,
                &self.secrets.erlang_cookie,
            )?;
            self.launch("rabbitmq", Unit::new(spec, SERVER_DEADLINE, move || rabbitmq::answers(amqp)))
        })
    }

    fn start_killbill(&self, progress: &Progress) -> Result<()> {
        if self.plan.given.killbill.is_some() {
            return Ok(());
        }
        let layout = &self.plan.layout;
        let files = progress.stage("Kill Bill's files", || {
            killbill::check_java()?;
            killbill::ensure(&layout.cache)
        })?;
        progress.stage("Kill Bill", || {
            let (port, url) = (self.addresses.killbill_port, self.addresses.killbill.clone());
            let password = &self.secrets.killbill.password;
            let spec = killbill::spec(&files, &layout.dir, &layout.logs(), port, password)?;
            self.launch("killbill", Unit::new(spec, killbill::DEADLINE, move || killbill::answers(&url)))
        })
    }

    fn start_cluster(&self, progress: &Progress) -> Result<()> {
        let layout = &self.plan.layout;
        let mut cluster = if let Some(given) = &self.plan.given.cluster {
            Cluster {
                control_plane: None,
                worker: PathBuf::new(),
                kubeconfig: given.kubeconfig.clone(),
                kubectl: given.kubectl.clone(),
            }
        } else {
            let binary = cluster::binary::ensure(&layout.devcluster(), &layout.cache, progress)?;
            progress.stage("Kubernetes control plane", || {
                let mut options = cluster::Options::new(layout.kubernetes(), binary);
                options.durable = self.plan.durable;
                let control_plane = ControlPlane::start(options)?;
                Ok(Cluster {
                    worker: PathBuf::new(),
                    kubeconfig: control_plane.kubeconfig().to_owned(),
                    kubectl: control_plane.kubectl().to_owned(),
                    control_plane: Some(control_plane),
                })
            })?
        };
        let applied = progress.stage("namespaces, rights, policies", || {
            manifests::apply(&cluster.kubectl, &cluster.kubeconfig, &layout.manifests())?;
            cluster::account::worker(&cluster.kubectl, &cluster.kubeconfig, &layout.dir)
        });
        let outcome = applied.map(|worker| cluster.worker = worker);
        *lock(&self.cluster) = Some(cluster);
        outcome
    }

    fn start_node(&self, progress: &Progress) -> Result<()> {
        let Some(kubeconfig) = self.kubeconfig().filter(|_| self.plan.given.cluster.is_none()) else {
            return Ok(());
        };
        progress.stage("node", || {
            let layout = &self.plan.layout;
            let data = postgres::reachable_folder(&layout.dir, "node")?;
            fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
            let ready = data.join("ready.json");
            drop(fs::remove_file(&ready));
            let listen = |port: u16| format!("127.0.0.1:{port}");
            let spec = Spec::new("devnode", layout.program("devnode"), &layout.logs())
                .arg("--kubeconfig")
                .arg(kubeconfig)
                .arg("--data-dir")
                .arg(&data)
                .arg("--ready-file")
                .arg(&ready)
                .arg("--bin-dir")
                .arg(&layout.programs)
                .args(["--kubelet-listen", &listen(self.addresses.kubelet)])
                .args(["--ingress-listen", &listen(self.addresses.ingress_port)])
                .args(["--faults-listen", &listen(self.addresses.faults)])
                // Where nothing lasts, tests wait for containers that end again and again.
                .args(["--restart-backoff", if self.plan.durable { "10s" } else { "2s" }]);
            self.launch("devnode", Unit::new(spec, PROGRAM_DEADLINE, move || ready.exists()))
        })
    }

    fn start_mail(&self, progress: &Progress) -> Result<()> {
        if self.plan.given.mail.is_some() {
            return Ok(());
        }
        progress.stage("mail sink", || {
            let layout = &self.plan.layout;
            let listen = |port: u16| format!("127.0.0.1:{port}");
            let spec = Spec::new("mail-sink", layout.program("mail-sink"), &layout.logs())
                .args(["--smtp", &listen(self.addresses.smtp.port)])
                .args(["--http", &listen(self.addresses.mail_port)])
                .arg("--folder")
                .arg(layout.dir.join("mails"));
            let url = format!("{}/readyz", self.addresses.mail);
            self.launch(
                "mail-sink",
                Unit::new(spec, PROGRAM_DEADLINE, move || http::status(&url) == Some(200)),
            )
        })
    }

    fn start_paynow(&self, progress: &Progress) -> Result<()> {
        progress.stage("stand-in for Paynow", || {
            let layout = &self.plan.layout;
            let listen = |port: u16| format!("127.0.0.1:{port}");
            let env = [
                ("PAYNOW_INTEGRATION_ID", services::PAYNOW_ID),
                ("PAYNOW_INTEGRATION_KEY", self.secrets.paynow.as_str()),
                ("PAYNOW_MERCHANT_EMAIL", services::PAYNOW_EMAIL),
            ];
            let spec = Spec::new("paynow-sim", layout.program("paynow-sim"), &layout.logs())
                .args(["--listen", &listen(self.addresses.paynow)])
                .args(["--control", &listen(self.addresses.paynow_control)])
                .envs(env.map(|(name, value)| (name.to_owned(), value.to_owned())));
            let url = format!("http://127.0.0.1:{}/", self.addresses.paynow_control);
            self.launch(
                "paynow-sim",
                Unit::new(spec, PROGRAM_DEADLINE, move || http::status(&url) == Some(200)),
            )
        })
    }

    fn migrate(&self, progress: &Progress) -> Result<()> {
        progress.stage("migrations", || {
            thread::scope(|scope| {
                let runs: Vec<_> = services::ALL
                    .iter()
                    .filter(|service| service.migrates)
                    .map(|service| scope.spawn(move || self.run_service(service, &["migrate"], &[], None)))
                    .collect();
                runs.into_iter().try_for_each(|run| self.tolerate(joined(run).map(drop)))
            })
        })
    }

    /// Runs a service's program with other arguments to its end, in its own environment; gives what it
    /// printed.
    pub fn run_service(
        &self,
        service: &Service,
        args: &[&str],
        env: &[(&str, &str)],
        input: Option<&str>,
    ) -> Result<String> {
        let mut command = Command::new(self.plan.layout.program(service.name));
        command.args(args).env_clear().envs(self.environment(service)?).envs(env.iter().copied());
        process::run(&mut command, input).with_context(|| format!("{} {}", service.name, args.join(" ")))
    }

    fn start_services(&self, progress: &Progress) -> Result<()> {
        progress.stage("services", || {
            thread::scope(|scope| {
                let starts: Vec<_> = services::ALL
                    .iter()
                    .map(|service| scope.spawn(move || self.start_service(service)))
                    .collect();
                starts.into_iter().try_for_each(joined)
            })
        })
    }

    fn start_service(&self, service: &Service) -> Result<()> {
        let unit = self.service_unit(
            service.name,
            service,
            self.environment(service)?,
            self.ports_of(service.name)?.admin,
        );
        let started = self.launch(service.name, unit);
        self.tolerate(started)
    }

    /// Notes a failure of one service and goes on, when the plan says so.
    fn tolerate(&self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(error) if self.plan.keep_going => {
                lock(&self.failed).push(format!("{error:#}"));
                Ok(())
            }
            other => other,
        }
    }

    pub(super) fn service_unit(
        &self,
        name: &str,
        service: &Service,
        env: BTreeMap<String, String>,
        admin: u16,
    ) -> Unit {
        let layout = &self.plan.layout;
        let url = format!("http://127.0.0.1:{admin}/health/ready");
        let spec = Spec::new(name, layout.program(service.name), &layout.logs())
            .arg("serve")
            .envs(env)
            .stop_with(process::StopSignal::TermGroup, Duration::from_secs(30));
        Unit::new(spec, PROGRAM_DEADLINE, move || http::status(&url) == Some(200))
    }
}
