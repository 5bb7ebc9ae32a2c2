//! Wires the parts together, tells the chosen ports, and ends them in order.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config as ClientConfig};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::addresses::Addresses;
use crate::config::{Config, OnStop};
use crate::context::Context;
use crate::events::Events;
use crate::faults::{Faults, server};
use crate::ingress::Proxy;
use crate::names::Services;
use crate::pods::registry::Registry;
use crate::probes::Prober;
use crate::recipes::postgres::Postgres;
use crate::volumes::provisioner::Provisioner;
use crate::{kubelet_api, node, pods, process};

/// How long processes may take to end when this program does.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Runs until it is asked to end, or a part of it ends by mistake.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let data_dir = prepare_folder(&config.data_dir)?;
    let kubeconfig = Kubeconfig::read_from(&config.kubeconfig)
        .with_context(|| format!("cannot read {}", config.kubeconfig.display()))?;
    let mut client_config =
        ClientConfig::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    client_config.connect_timeout = Some(Duration::from_secs(5));
    let tls = kubelet_api::tls(&config, client_config.root_cert.as_deref())?;
    let api_url = client_config.cluster_url.to_string();
    let client = Client::try_from(client_config)?;

    let kubelet =
        TcpListener::bind(config.kubelet_listen).await.context("cannot listen for the kubelet API")?;
    let ingress = TcpListener::bind(config.ingress_listen).await.context("cannot listen for Ingresses")?;
    let faults =
        TcpListener::bind(config.faults_listen).await.context("cannot listen for the fault switch")?;
    let ports = (kubelet.local_addr()?.port(), ingress.local_addr()?.port(), faults.local_addr()?.port());

    end_leftovers(&data_dir.join("pods"));
    let mut tasks: JoinSet<&'static str> = JoinSet::new();
    let (services, follow_services) = Services::follow(client.clone());
    tasks.spawn(async {
        follow_services.await;
        "services"
    });
    let context = Arc::new(Context {
        addresses: Addresses::open(&data_dir.join("addresses.json"), config.pod_block)?,
        faults: Faults::default(),
        events: if config.simulate {
            Events::silent()
        } else {
            Events::start(client.clone(), &config.node_name)
        },
        pods: Registry::default(),
        services,
        prober: Prober::default(),
        postgres: find_postgres(&config, &data_dir),
        pods_dir: data_dir.join("pods"),
        run_dir: data_dir.join("s"),
        stopping: CancellationToken::new(),
        client: client.clone(),
        api_url,
        config,
    });
    if !context.config.no_provisioner {
        let classes = &context.config.storage_classes;
        let provisioner =
            Provisioner::new(client.clone(), &context.config.node_name, classes, data_dir.join("volumes"));
        provisioner.ensure_classes().await.context("cannot make the storage classes")?;
        tasks.spawn(async {
            provisioner.run().await;
            "provisioner"
        });
    }
    let registered = node::register(&client, &context.config, ports.0).await?;
    let workers = TaskTracker::new();
    spawn(&mut tasks, "heartbeat", node::heartbeat(context.clone(), registered, ports.0));
    spawn(&mut tasks, "pods", pods::follow(context.clone(), workers.clone()));
    let proxy = Proxy::new(context.clone());
    spawn(&mut tasks, "ingresses", proxy.clone().follow());
    spawn(&mut tasks, "ingress listener", async { log_error(proxy.serve(ingress).await) });
    let api = kubelet_api::serve(context.clone(), kubelet, tls);
    spawn(&mut tasks, "kubelet API", async { log_error(api.await) });
    let switch = server::router(context.clone(), ports.1);
    spawn(&mut tasks, "fault switch", async {
        log_error(axum::serve(faults, switch).await.map_err(Into::into));
    });

    tell(&context.config, ports)?;
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        task = tasks.join_next() => task,
    };
    tasks.abort_all();
    stop_processes(&context).await;
    if context.config.on_stop == OnStop::Delete {
        node::unregister(&client, &context.config).await?;
    }
    match ended {
        None => Ok(()),
        Some(Ok(name)) => bail!("the task `{name}` ended by mistake"),
        Some(Err(error)) => bail!("a task failed: {error}"),
    }
}

fn spawn(
    tasks: &mut JoinSet<&'static str>,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    tasks.spawn(async move {
        task.await;
        name
    });
}

fn log_error(result: anyhow::Result<()>) {
    if let Err(error) = result {
        tracing::error!(error = format!("{error:#}"), "a listener failed");
    }
}

fn find_postgres(config: &Config, data_dir: &Path) -> Option<Postgres> {
    let templates = data_dir.join("templates");
    match Postgres::find(config.postgres_bin.as_deref(), &config.postgres_options, templates) {
        Ok(postgres) => Some(postgres),
        Err(error) => {
            tracing::warn!(
                error = format!("{error:#}"),
                "no PostgreSQL on this machine: its pods will not start"
            );
            None
        }
    }
}

/// Folders that other users can pass, so that `postgres` reaches its own; what is in them is for their
/// owners.
fn prepare_folder(dir: &Path) -> anyhow::Result<std::path::PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let dir = fs::canonicalize(dir)?;
    for folder in [dir.clone(), dir.join("pods"), dir.join("s"), dir.join("volumes")] {
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711))?;
    }
    Ok(dir)
}

/// Ends what an earlier run of this program left running in the same folder.
fn end_leftovers(pods_dir: &Path) {
    let pods = fs::read_dir(pods_dir).into_iter().flatten().flatten();
    let files = pods.flat_map(|pod| fs::read_dir(pod.path()).into_iter().flatten().flatten());
    let pid_files =
        files.map(|file| file.path()).filter(|file| file.extension().is_some_and(|kind| kind == "pid"));
    let ended = pid_files.filter(|file| process::end_leftover(file)).count();
    if ended > 0 {
        tracing::info!(ended, "processes of an earlier run ended");
    }
}

fn tell(config: &Config, (kubelet, ingress, faults): (u16, u16, u16)) -> anyhow::Result<()> {
    let ready = json!({
        "node": config.node_name,
        "kubelet": kubelet,
        "ingress": ingress,
        "faults": faults,
        "pid": std::process::id(),
    });
    writeln!(std::io::stdout(), "{ready}")?;
    if let Some(file) = &config.ready_file {
        let part = file.with_extension("part");
        fs::write(&part, ready.to_string())
            .and_then(|()| fs::rename(&part, file))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    tracing::info!(kubelet, ingress, faults, "node is ready");
    Ok(())
}

/// Ends all processes of pods and leaves the objects alone: the next start runs them again.
async fn stop_processes(context: &Context) {
    context.stopping.cancel();
    let runs = context.pods.all().iter().flat_map(|entry| entry.runs()).collect::<Vec<_>>();
    futures::future::join_all(runs.iter().map(|run| run.end(STOP_GRACE))).await;
}
