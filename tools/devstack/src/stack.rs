//! One whole stack: starts servers, applies migrations and manifests, starts the services, keeps them running, stops all of it.
//! Whatever does not wait for another part starts at the same time.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::cluster::{self, ControlPlane, Part};
use crate::control::Action;
use crate::given::Given;
use crate::layout::Layout;
use crate::ports::Ports;
use crate::process::{self, Spec};
use crate::progress::Progress;
use crate::secrets::{Secrets, write_private};
use crate::services::{self, HostPort, Service, ServicePorts, Surroundings};
use crate::stackfile::{Login, StackFile};
use crate::unit::{State, Unit};
use crate::{http, manifests, postgres, rabbitmq, redis};

/// E-mail of the first administrator.
pub const ADMIN_EMAIL: &str = "admin@example.com";
/// Domain of the instances.
const BASE_DOMAIN: &str = "localhost";
/// Longest start of a server.
const SERVER_DEADLINE: Duration = Duration::from_secs(90);
/// Longest start of one of our programs.
const PROGRAM_DEADLINE: Duration = Duration::from_mins(1);

/// How much of a stack is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// PostgreSQL alone.
    Postgres,
    /// PostgreSQL, Redis, RabbitMQ and the mail sink.
    Servers,
    /// And the cluster with its node.
    Deps,
    /// And the services.
    All,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where.
    pub layout: Layout,
    /// Data survives a crash of the machine; tests do without.
    pub durable: bool,
    /// How much.
    pub extent: Extent,
    /// A service that does not get ready is reported, and the others are started all the same.
    pub keep_going: bool,
    /// What is there already.
    pub given: Given,
    /// More variables for single services (or `*`).
    pub extra: BTreeMap<String, BTreeMap<String, String>>,
}

/// Addresses of the parts.
#[derive(Debug, Clone)]
struct Addresses {
    postgres: HostPort,
    postgres_user: String,
    redis: HostPort,
    rabbitmq: HostPort,
    rabbitmq_user: String,
    distribution: u16,
    mapper: u16,
    smtp: HostPort,
    mail: String,
    mail_port: u16,
    ingress: String,
    ingress_port: u16,
    kubelet: u16,
    faults: u16,
    control: u16,
    services: BTreeMap<String, ServicePorts>,
}

/// The cluster, ours or a given one.
#[derive(Debug)]
struct Cluster {
    control_plane: Option<ControlPlane>,
    kubeconfig: PathBuf,
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

    fn bring_up(&self, progress: &Progress, build: impl FnOnce() -> Result<()> + Send) -> Result<()> {
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
            let built = scope.spawn(build);

            joined(built)?;
            let mail = scope.spawn(when(servers, Self::start_mail));
            joined(postgres)?;
            let migrations = scope.spawn(when(self.plan.extent >= Extent::All, Self::migrate));
            joined(cluster)?;
            let node = scope.spawn(when(deps, Self::start_node));
            for part in [mail, migrations, node, rabbitmq, redis] {
                joined(part)?;
            }
            anyhow::Ok(())
        })?;
        if self.plan.extent >= Extent::All {
            self.start_services(progress)?;
        }
        Ok(())
    }

    fn launch(&self, name: &str, mut unit: Unit) -> Result<()> {
        let outcome = unit.start();
        lock(&self.units).insert(name.to_owned(), Arc::new(Mutex::new(unit)));
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

    fn start_cluster(&self, progress: &Progress) -> Result<()> {
        let layout = &self.plan.layout;
        let cluster = if let Some(given) = &self.plan.given.cluster {
            Cluster {
                control_plane: None,
                kubeconfig: given.kubeconfig.clone(),
                kubectl: PathBuf::from("kubectl"),
            }
        } else {
            let binary =
                cluster::binary::ensure(&layout.devcluster(), &layout.cache, |text| progress.line(text))?;
            progress.stage("Kubernetes control plane", || {
                let mut options = cluster::Options::new(layout.dir.join("cluster"), binary);
                options.durable = self.plan.durable;
                let control_plane = ControlPlane::start(options)?;
                Ok(Cluster {
                    kubeconfig: control_plane.kubeconfig().to_owned(),
                    kubectl: control_plane.kubectl().to_owned(),
                    control_plane: Some(control_plane),
                })
            })?
        };
        let applied = progress.stage("namespaces, rights, policies", || {
            manifests::apply(&cluster.kubectl, &cluster.kubeconfig, &layout.manifests())
        });
        *lock(&self.cluster) = Some(cluster);
        applied.map(drop)
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
                .args(["--faults-listen", &listen(self.addresses.faults)]);
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

    fn migrate(&self, progress: &Progress) -> Result<()> {
        progress.stage("migrations", || {
            thread::scope(|scope| {
                let runs: Vec<_> = services::ALL
                    .iter()
                    .filter(|service| service.migrates)
                    .map(|service| scope.spawn(move || self.run_service(service, &["migrate"], &[], None)))
                    .collect();
                runs.into_iter().try_for_each(|run| joined(run).map(drop))
            })
        })
    }

    /// Runs a service's program with other arguments to its end, in its own environment; gives what it printed.
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
            self.ports_of(service.name)?.http,
        );
        let started = self.launch(service.name, unit);
        match started {
            Err(error) if self.plan.keep_going => {
                lock(&self.failed).push(format!("{error:#}"));
                Ok(())
            }
            other => other,
        }
    }

    fn service_unit(&self, name: &str, service: &Service, env: BTreeMap<String, String>, http: u16) -> Unit {
        let layout = &self.plan.layout;
        let url = format!("http://127.0.0.1:{http}/health/ready");
        let spec = Spec::new(name, layout.program(service.name), &layout.logs())
            .arg("serve")
            .envs(env)
            .stop_with(process::StopSignal::TermGroup, Duration::from_secs(30));
        Unit::new(spec, PROGRAM_DEADLINE, move || http::status(&url) == Some(200))
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
            kubeconfig: self.kubeconfig().map(|path| path.display().to_string()),
            addressing: given.map_or_else(|| "pod-ip".to_owned(), |cluster| cluster.addressing.clone()),
            ingress_port: self.addresses.ingress_port,
            base_domain: BASE_DOMAIN.to_owned(),
            ports: self.addresses.services.clone(),
            storage_class: given.and_then(|cluster| cluster.storage_class.clone()),
            extra: self.plan.extra.clone(),
        }
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
        let services = urls(|ports| ports.http);
        StackFile {
            api: services.get("gateway").cloned().unwrap_or_default(),
            base_domain: BASE_DOMAIN.to_owned(),
            ingress: addresses.ingress.clone(),
            kubectl,
            kubeconfig,
            mail: addresses.mail.clone(),
            admin: Login { email: ADMIN_EMAIL.to_owned(), password: secrets.admin.clone() },
            services,
            grpc: urls(|ports| ports.grpc),
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

    fn unit(&self, name: &str) -> Option<Arc<Mutex<Unit>>> {
        lock(&self.units).get(name).cloned()
    }

    /// Does something to one part; `false` when there is no such part.
    pub fn act(&self, name: &str, action: Action) -> Result<bool> {
        if let Some(unit) = self.unit(name) {
            let mut unit = lock(&unit);
            match action {
                Action::Start(overlay) => unit.start_with(overlay)?,
                Action::Stop => unit.stop()?,
                Action::Kill => unit.kill_for_good()?,
                Action::Crash => unit.crash()?,
            }
            return Ok(true);
        }
        let Some(part) = part(name) else { return Ok(false) };
        let mut cluster = lock(&self.cluster);
        let Some(control_plane) = cluster.as_mut().and_then(|cluster| cluster.control_plane.as_mut()) else {
            return Ok(false);
        };
        match (action, part) {
            (Action::Start(_), _) => control_plane.start_part(part)?,
            // All its watches shall break at once, whatever the caller calls it.
            (_, Part::ApiServer) => control_plane.stop_api_server()?,
            _ => control_plane.stop_part(part)?,
        }
        Ok(true)
    }

    /// Starts or stops a second copy of a service, on ports of its own; `false` when there is no such service.
    pub fn replica(&self, name: &str, start: bool) -> Result<bool> {
        let Some(service) = services::find(name) else { return Ok(false) };
        let replica = format!("{name}-replica");
        if !start {
            let unit = lock(&self.units).remove(&replica);
            unit.map_or(Ok(()), |unit| lock(&unit).stop())?;
            return Ok(true);
        }
        let mut ports = Ports::load(&self.plan.layout.dir.join("replica-ports.json"));
        let (http, grpc) =
            (ports.choose(&format!("{replica}-http"))?, ports.choose(&format!("{replica}-grpc"))?);
        let mut env = self.environment(service)?;
        env.extend([
            ("HTTP_PORT".to_owned(), http.to_string()),
            ("GRPC_PORT".to_owned(), grpc.to_string()),
            ("WORKER_ID".to_owned(), replica.clone()),
        ]);
        let unit = self.service_unit(&replica, service, env, http);
        self.launch(&replica, unit)?;
        Ok(true)
    }

    /// Empties every queue of our broker.
    pub fn purge_queues(&self) -> Result<()> {
        let unit = self.unit("rabbitmq").context("the broker is not ours")?;
        let env = lock(&unit).env().clone();
        rabbitmq::purge(&env)
    }

    /// State of one part.
    pub fn describe_one(&self, name: &str) -> Option<Value> {
        if let Some(unit) = self.unit(name) {
            return Some(describe(&mut lock(&unit)));
        }
        self.describe().get(name).cloned()
    }

    /// All parts with their state, for people and scripts.
    pub fn describe(&self) -> Value {
        let mut parts = serde_json::Map::new();
        let units = lock(&self.units).clone();
        for (name, unit) in units {
            parts.insert(name, describe(&mut lock(&unit)));
        }
        if let Some(control_plane) =
            lock(&self.cluster).as_ref().and_then(|cluster| cluster.control_plane.as_ref())
        {
            let running = control_plane.processes();
            for part in Part::ALL {
                let pid = running.iter().find(|(other, _)| *other == part).map(|(_, pid)| *pid);
                let state = if pid.is_some() { State::Running } else { State::Stopped };
                let entry = json!({
                    "state": state.to_string(), "running": pid.is_some(), "ready": pid.is_some(), "pid": pid, "restarts": 0,
                });
                parts.insert(part_name(part).to_owned(), entry);
            }
        }
        Value::Object(parts)
    }

    /// Starts again what ended by itself; called every now and then. Returns what happened.
    pub fn tend(&self) -> Vec<String> {
        let units: Vec<_> = lock(&self.units).values().cloned().collect();
        // One that is being started or stopped right now is left alone.
        let mut events: Vec<String> = units
            .iter()
            .filter_map(|unit| unit.try_lock().ok().and_then(|mut unit| unit.tend(Instant::now())))
            .collect();
        if let Ok(mut cluster) = self.cluster.try_lock()
            && let Some(control_plane) = cluster.as_mut().and_then(|cluster| cluster.control_plane.as_mut())
        {
            for part in control_plane.ended_parts() {
                let outcome = control_plane.start_part(part);
                let how = outcome.map_or_else(
                    |error| format!("could not be started: {error:#}"),
                    |()| "started again".to_owned(),
                );
                events.push(format!("{} ended; {how}", part_name(part)));
            }
        }
        events
    }

    /// Stops all: services, then the node, then the servers. With `at_once` nothing is asked, all is killed.
    pub fn stop(&self, at_once: bool) -> Result<()> {
        let services: Vec<&str> = services::ALL.iter().map(|service| service.name).collect();
        let mut first =
            self.stop_units(at_once, |name| services.contains(&name.trim_end_matches("-replica")));
        for error in [
            self.stop_units(at_once, |name| name == "devnode"),
            thread::scope(|scope| {
                let cluster = scope.spawn(|| self.stop_cluster(at_once));
                let units = self.stop_units(at_once, |name| name != "epmd");
                joined(cluster).and(units)
            }),
            self.stop_units(at_once, |_| true),
        ] {
            first = first.and(error);
        }
        first
    }

    fn stop_units(&self, at_once: bool, which: impl Fn(&str) -> bool) -> Result<()> {
        let mut stopping = Vec::new();
        lock(&self.units).retain(|name, unit| {
            let take = which(name);
            if take {
                stopping.push(Arc::clone(unit));
            }
            !take
        });
        thread::scope(|scope| {
            let stops: Vec<_> = stopping
                .iter()
                .map(|unit| {
                    scope.spawn(move || {
                        let mut unit = lock(unit);
                        if at_once { unit.kill_for_good() } else { unit.stop() }
                    })
                })
                .collect();
            // All are joined before the first error is told.
            let outcomes: Vec<Result<()>> = stops.into_iter().map(joined).collect();
            outcomes.into_iter().collect()
        })
    }

    fn stop_cluster(&self, at_once: bool) -> Result<()> {
        let control_plane = lock(&self.cluster).as_mut().and_then(|cluster| cluster.control_plane.take());
        let Some(mut control_plane) = control_plane else { return Ok(()) };
        if at_once {
            control_plane.stop_api_server()?;
        }
        control_plane.stop()
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

fn describe(unit: &mut Unit) -> Value {
    let state = unit.state();
    let running = state == State::Running;
    json!({
        "state": state.to_string(), "running": running, "ready": running && unit.is_ready(), "pid": unit.pid(),
        "restarts": unit.restarts(),
    })
}

fn part_name(part: Part) -> &'static str {
    match part {
        Part::Etcd => "etcd",
        Part::ApiServer => "apiserver",
        Part::ControllerManager => "controller-manager",
        Part::Scheduler => "scheduler",
    }
}

fn part(name: &str) -> Option<Part> {
    Part::ALL.into_iter().find(|part| part_name(*part) == name)
}

fn url(scheme: &str, user: &str, password: &str, at: &HostPort, path: &str) -> String {
    format!("{scheme}://{}:{}@{}:{}/{path}", encoded(user), encoded(password), at.host, at.port)
}

/// Percent-encodes what a URL's user part cannot hold.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn choose_addresses(plan: &Plan) -> Result<Addresses> {
    let mut ports = Ports::load(&plan.layout.dir.join("ports.json"));
    let given = &plan.given;
    let mut place = |server: &Option<crate::given::Server>, name: &str| match server {
        Some(server) => Ok(server.at.clone()),
        None => ports.choose(name).map(HostPort::local),
    };
    let postgres = place(&given.postgres, "postgres")?;
    let redis = place(&given.redis, "redis")?;
    let rabbitmq = place(&given.rabbitmq, "rabbitmq")?;
    let mail_port = ports.choose("mail")?;
    let (smtp, mail) = match &given.mail {
        Some(mail) => (mail.smtp.clone(), mail.http.clone()),
        None => (HostPort::local(ports.choose("smtp")?), format!("http://127.0.0.1:{mail_port}")),
    };
    let ingress = match &given.cluster {
        Some(cluster) => cluster.ingress.clone(),
        None => format!("http://127.0.0.1:{}", ports.choose("ingress")?),
    };
    let ingress_port = ingress.rsplit_once(':').and_then(|(_, port)| port.trim_end_matches('/').parse().ok());
    let services = services::ALL
        .iter()
        .map(|service| {
            let http = ports.choose(&format!("{}-http", service.name))?;
            let grpc = ports.choose(&format!("{}-grpc", service.name))?;
            Ok((service.name.to_owned(), ServicePorts { http, grpc }))
        })
        .collect::<Result<BTreeMap<_, _>>>()?;
    if services.len() != services::ALL.len() {
        bail!("two services have one name");
    }
    let user = |server: &Option<crate::given::Server>, ours: &str| {
        server.as_ref().map_or(ours, |server| server.user.as_str()).to_owned()
    };
    Ok(Addresses {
        postgres_user: user(&given.postgres, postgres::SUPERUSER),
        rabbitmq_user: user(&given.rabbitmq, rabbitmq::USER),
        postgres,
        redis,
        rabbitmq,
        distribution: ports.choose("rabbitmq-distribution")?,
        mapper: ports.choose("epmd")?,
        smtp,
        mail,
        mail_port,
        ingress,
        ingress_port: ingress_port.unwrap_or(80),
        kubelet: ports.choose("kubelet")?,
        faults: ports.choose("faults")?,
        control: ports.choose("control")?,
        services,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_with_signs_survives_a_url() {
        let url = url("amqp", "u", "a/b@c:d", &HostPort::local(5), "v");
        assert_eq!(url, "amqp://u:a%2Fb%40c%3Ad@127.0.0.1:5/v");
    }

    #[test]
    fn parts_of_the_control_plane_have_short_names() {
        assert_eq!(part("apiserver"), Some(Part::ApiServer));
        assert_eq!(part("kube"), None);
    }

    #[test]
    fn a_second_start_keeps_all_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout {
            workspace: folder.path().to_owned(),
            dir: folder.path().to_owned(),
            programs: folder.path().to_owned(),
            cache: folder.path().to_owned(),
        };
        let plan = Plan {
            layout,
            durable: false,
            extent: Extent::All,
            keep_going: false,
            given: Given::default(),
            extra: BTreeMap::new(),
        };
        let (first, second) = (choose_addresses(&plan).unwrap(), choose_addresses(&plan).unwrap());
        assert_eq!((first.postgres, first.services), (second.postgres, second.services));
    }
}
