//! Starts one run of a container: fetches what its environment names, chooses the recipe, begins the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Container;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::registry::{Entry, Shell};
use crate::context::Shared;
use crate::environment::{self, Variable};
use crate::logs::Stream;
use crate::names;
use crate::process::{Launch, Run};
use crate::recipes::{self, Plan, Recipe};
use crate::status::RestartPolicy;
use crate::volumes;

/// Where a pod's service account is mounted. Clients look there by its name; on this machine it is elsewhere,
/// so a kubeconfig says the same.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn account_kubeconfig(api_url: &str, folder: &Path, namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "local", "cluster": {
            "server": api_url,
            "certificate-authority": folder.join("ca.crt"),
        }}],
        "users": [{ "name": "pod", "user": { "tokenFile": folder.join("token") } }],
        "contexts": [{ "name": "pod", "context": { "cluster": "local", "user": "pod", "namespace": namespace } }],
        "current-context": "pod",
    })
}

/// Why a container did not start, in the words of the kubelet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Reason of the waiting state.
    pub reason: &'static str,
    /// Details for people.
    pub message: String,
}

impl Failure {
    fn config(message: impl std::fmt::Display) -> Self {
        Self { reason: "CreateContainerConfigError", message: message.to_string() }
    }

    fn run(message: impl std::fmt::Display) -> Self {
        Self { reason: "RunContainerError", message: message.to_string() }
    }
}

/// A pod's container that is to be started.
#[derive(Debug, Clone)]
pub struct Starter {
    /// Shared parts.
    pub context: Shared,
    /// The pod.
    pub entry: Arc<Entry>,
    /// The container.
    pub container: Arc<Container>,
    /// Folders of the pod's volumes by name.
    pub volumes: Arc<BTreeMap<String, PathBuf>>,
    /// Folder of the pod.
    pub pod_dir: PathBuf,
    /// It shall end by itself.
    pub finite: bool,
}

impl Starter {
    /// Starts the `number`-th run.
    pub async fn start(&self, number: i32) -> Result<Run, Failure> {
        let recipe = recipes::choose(&self.container, &self.context.config);
        if recipe == Recipe::Simulated {
            return Ok(self.simulate());
        }

        let env = self.environment().await?;
        let mounts =
            volumes::mounts(&self.container, &self.volumes, &self.pod_dir).map_err(Failure::config)?;
        let path = self.path();
        let this = self.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let plan = Plan {
                container: &this.container,
                env,
                mounts: &mounts,
                ip: this.entry.ip,
                path: path.clone(),
            };
            let (launch, extra) = this.launch(&recipe, &plan)?;
            Ok::<_, Failure>((launch.clone(), Shell { like: launch, extra, mounts, path }))
        });
        let (launch, shell) = prepared.await.map_err(Failure::run)??;

        let folder = self.pod_dir.join("logs").join(&self.container.name);
        let name = self.container.name.clone();
        let log = self
            .entry
            .runtime(&name, |runtime| {
                runtime.shell = Some(shell);
                runtime.logs.begin(&folder, number)
            })
            .map_err(Failure::run)?;
        let pid_file = self.pod_dir.join(format!("{name}.pid"));
        let run = Run::start(&launch, log.clone(), pid_file).map_err(|error| {
            let message = format!("exec: {}: {error}", launch.program.display());
            log.append(Stream::Err, message.as_bytes());
            log.close();
            Failure::run(message)
        })?;
        self.entry.runtime(&name, |runtime| runtime.run = Some(run.clone()));
        Ok(run)
    }

    fn simulate(&self) -> Run {
        let policy = RestartPolicy::of(&self.entry.pod());
        let completes = self.finite || policy != RestartPolicy::Always;
        let run = Run::simulate(completes.then_some(self.context.config.simulate_delay));
        self.entry.runtime(&self.container.name, |runtime| runtime.run = Some(run.clone()));
        run
    }

    fn launch(&self, recipe: &Recipe, plan: &Plan<'_>) -> Result<(Launch, Vec<(String, String)>), Failure> {
        let program = |path: &Path| {
            if path.is_file() {
                Ok(())
            } else {
                Err(Failure::run(format!("{} does not exist", path.display())))
            }
        };
        match recipe {
            Recipe::Postgres => {
                let Some(postgres) = &self.context.postgres else {
                    return Err(Failure::run("this machine has no PostgreSQL programs"));
                };
                let run_dir = self.run_dir();
                let launch =
                    postgres.prepare(plan, &run_dir).map_err(|error| Failure::run(format!("{error:#}")))?;
                let extra = postgres
                    .client_environment(plan, &run_dir)
                    .map_err(|error| Failure::run(format!("{error:#}")))?;
                Ok((launch, extra))
            }
            Recipe::Odoo(path) => program(path).map(|()| (plan.odoo(path), Vec::new())),
            Recipe::Program(path) => program(path).map(|()| (plan.program(path), Vec::new())),
            Recipe::Command => Ok((plan.command().map_err(Failure::run)?, Vec::new())),
            Recipe::Simulated => Err(Failure::run("a simulated container has no process")),
        }
    }

    /// The variables of the container as they hold on this machine.
    async fn environment(&self) -> Result<Vec<(String, String)>, Failure> {
        let pod = self.entry.pod();
        let references = environment::references(&self.container);
        let namespace = pod.namespace().unwrap_or_default();
        let sources =
            volumes::fetch(&self.context.client, &namespace, &references).await.map_err(Failure::config)?;
        let variables = environment::variables(&pod, &self.container, self.entry.ip, &sources)
            .map_err(Failure::config)?;
        let mounts =
            volumes::mounts(&self.container, &self.volumes, &self.pod_dir).map_err(Failure::config)?;
        let local = |variable: Variable| {
            // PGDATA is a path of the container for the recipe, which looks its place up.
            let keep = !variable.literal || variable.name == "PGDATA";
            let value = if keep { variable.value } else { mounts.text(&variable.value) };
            (variable.name, names::resolve_text(&value, &self.context.services, &self.context.pods))
        };
        let mut all: Vec<(String, String)> = variables.into_iter().map(local).collect();
        if let Some(folder) = mounts.covered(ACCOUNT)
            && !all.iter().any(|(name, _)| name == "KUBECONFIG")
        {
            let file = mounts.scratch().join("kubeconfig");
            let content = account_kubeconfig(&self.context.api_url, &folder, &namespace);
            std::fs::write(&file, content.to_string()).map_err(Failure::config)?;
            all.push(("KUBECONFIG".to_owned(), file.display().to_string()));
        }
        Ok(all)
    }

    fn path(&self) -> Vec<PathBuf> {
        let postgres = self.context.postgres.as_ref().map(|postgres| postgres.bin.clone());
        std::iter::once(self.context.config.program_dir()).chain(postgres).collect()
    }

    /// A short folder for the sockets of this pod.
    fn run_dir(&self) -> PathBuf {
        let uid = self.entry.pod().uid().unwrap_or_default();
        self.context
            .run_dir
            .join(uid.chars().filter(char::is_ascii_alphanumeric).take(12).collect::<String>())
    }
}
