//! The command line. Everything that can be chosen stands here; nothing else reads the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// A Kubernetes node whose pods are processes of this machine.
///
/// It registers a Node, runs the pods that are bound to it by a recipe chosen from the image name
/// (PostgreSQL, Odoo, our own programs, else simulated), provides volumes, answers `kubectl logs` and
/// `kubectl exec`, routes Ingresses, and makes faults on request. For machines without a container engine;
/// never for production.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Config {
    /// Kubeconfig with administrator rights.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: PathBuf,
    /// Folder for volumes, logs, addresses and pid files. Users that pods run as (`postgres`) must be able to
    /// reach it.
    #[arg(long)]
    pub data_dir: PathBuf,
    /// Name of the Node.
    #[arg(long, default_value = "devnode")]
    pub node_name: String,
    /// Label of the Node, `key=value`; may be repeated.
    #[arg(long = "node-label", value_parser = pair)]
    pub node_labels: Vec<(String, String)>,
    /// Taint of the Node that keeps other pods away, `key=value`, with effect NoSchedule; may be repeated.
    #[arg(long = "node-taint", value_parser = pair)]
    pub node_taints: Vec<(String, String)>,
    /// CPU capacity of the Node.
    #[arg(long, default_value = "10000")]
    pub cpu: String,
    /// Memory capacity of the Node.
    #[arg(long, default_value = "10Ti")]
    pub memory: String,
    /// Ephemeral storage of the Node.
    #[arg(long, default_value = "100Ti")]
    pub ephemeral_storage: String,
    /// Number of pods that the Node takes.
    #[arg(long, default_value = "20000")]
    pub max_pods: String,
    /// Time between heartbeats.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub heartbeat: Duration,

    /// Address of the kubelet API (TLS). Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub kubelet_listen: SocketAddr,
    /// PEM file of the authority whose clients may use the kubelet API; that of the kubeconfig when absent.
    #[arg(long)]
    pub kubelet_client_ca: Option<PathBuf>,
    /// Address of the Ingress listener (plain HTTP). Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub ingress_listen: SocketAddr,
    /// Address of the fault switch (plain HTTP). Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub faults_listen: SocketAddr,
    /// File that receives one JSON object with the chosen ports once everything listens; also printed on
    /// standard output.
    #[arg(long)]
    pub ready_file: Option<PathBuf>,

    /// Storage class whose claims this node serves; made when missing. May be repeated.
    #[arg(long = "storage-class", default_value = "cephfs-quota")]
    pub storage_classes: Vec<String>,
    /// Serves no claims: another node of this kind does.
    #[arg(long)]
    pub no_provisioner: bool,
    /// Second number of the pods' addresses 127.N.0.0/16; a free one of 64 to 127 when absent.
    #[arg(long, value_parser = clap::value_parser!(u8).range(64..=127))]
    pub pod_block: Option<u8>,

    /// Runs no process at all: every pod gets ready, Jobs complete.
    #[arg(long)]
    pub simulate: bool,
    /// How long a simulated container takes to get ready, and a simulated Job to complete.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pub simulate_delay: Duration,
    /// Opens no port for simulated pods; otherwise the ports of their HTTP probes answer 200.
    #[arg(long)]
    pub simulate_silent: bool,

    /// Folder of our own programs: image `…/saasodoo/NAME:TAG` runs `NAME`. The folder of this program when
    /// absent.
    #[arg(long)]
    pub bin_dir: Option<PathBuf>,
    /// Program for an image, `NAME=PATH` with the image's name without tag; may be repeated.
    #[arg(long = "binary", value_parser = pair)]
    pub binaries: Vec<(String, String)>,
    /// Program for Odoo images; `odoo-standin` in the folder of programs when absent.
    #[arg(long)]
    pub odoo: Option<PathBuf>,
    /// Folder of the PostgreSQL programs; the newest under /usr/lib/postgresql when absent.
    #[arg(long)]
    pub postgres_bin: Option<PathBuf>,
    /// PostgreSQL setting, `name=value`, stronger than the pod's own; may be repeated.
    #[arg(long = "postgres-option", value_parser = pair, default_value = "fsync=off")]
    pub postgres_options: Vec<(String, String)>,

    /// Wait before the second restart of a container; doubles with each further one.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub restart_backoff: Duration,
    /// Longest wait before a restart.
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration)]
    pub restart_backoff_max: Duration,
    /// What happens to the API objects when this program is asked to end.
    #[arg(long, value_enum, default_value_t = OnStop::Leave)]
    pub on_stop: OnStop,
    /// Filter of the log on standard error, as in `info,devnode=debug`.
    #[arg(long, default_value = "info")]
    pub log_level: String,
}

/// What happens to the API objects at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnStop {
    /// Node and pods stay as they are; the next start runs the pods again.
    Leave,
    /// The Node and the pods bound to it are deleted.
    Delete,
}

impl Config {
    /// Folder of our own programs.
    pub fn program_dir(&self) -> PathBuf {
        self.bin_dir.clone().unwrap_or_else(|| {
            let own = std::env::current_exe().unwrap_or_default();
            own.parent().map(PathBuf::from).unwrap_or_default()
        })
    }

    /// Program for Odoo images.
    pub fn odoo_program(&self) -> PathBuf {
        self.odoo.clone().unwrap_or_else(|| self.program_dir().join("odoo-standin"))
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected name=value".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Config::command().debug_assert();
    }

    #[test]
    fn every_argument_is_explained() {
        let command = Config::command();
        let silent: Vec<_> =
            command.get_arguments().filter(|argument| argument.get_help().is_none()).collect();
        assert!(silent.is_empty(), "{silent:?}");
    }
}
