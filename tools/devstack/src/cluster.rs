//! The real Kubernetes control plane as processes on loopback: etcd, kube-apiserver, kube-controller-manager
//! and kube-scheduler, with their certificates and the administrator's kubeconfig.
//!
//! Owns the processes, ports and files under its folder. It runs no node (devnode does) and applies no
//! objects. The endpoint controllers stay off, because EndpointSlices refuse the loopback addresses of the
//! local node's pods.

pub(crate) mod account;
pub mod binary;
mod certificates;
mod flags;
mod kubeconfig;

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use self::certificates::Certificates;
use crate::ports;
use crate::process::{self, Process, Spec, StopSignal};

/// How long the API server may take from its start to `/readyz`.
const READY_DEADLINE: Duration = Duration::from_mins(2);
/// How long a part may take to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(8);

/// What a control plane is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder for data, certificates, logs, pid files and the kubeconfig; made when missing. A control plane
    /// that is started again in the same folder has the same objects, certificates and, while they are free,
    /// ports.
    pub dir: PathBuf,
    /// The devcluster program, see [`binary::ensure`].
    pub binary: PathBuf,
    /// Lets etcd sync each write to the disk. Off makes tests faster and risks the data when the machine
    /// crashes.
    pub durable: bool,
    /// How long a node may miss heartbeats before its pods count as unknown (`--node-monitor-grace-period`).
    pub node_grace: Duration,
    /// More flags for the API server, last.
    pub api_server_flags: Vec<String>,
    /// More flags for the controller-manager, last.
    pub controller_manager_flags: Vec<String>,
}

impl Options {
    /// The usual settings for a control plane in `dir`.
    pub fn new(dir: impl Into<PathBuf>, binary: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            binary: binary.into(),
            durable: false,
            node_grace: Duration::from_secs(40),
            api_server_flags: Vec::new(),
            controller_manager_flags: Vec::new(),
        }
    }
}

/// One program of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The store.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
}

impl Part {
    /// All parts, each after those that it needs.
    pub const ALL: [Self; 4] = [Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Scheduler];

    /// Name of the program, of its log and of its pid file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }
}

/// The loopback ports of one control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    etcd_client: u16,
    etcd_peer: u16,
    api_server: u16,
}

impl Ports {
    /// The ports of the last run in this folder, or free ones where another process took them.
    fn choose(file: &Path) -> Result<Self> {
        let mut ports = ports::Ports::load(file);
        Ok(Self {
            etcd_client: ports.choose("etcd_client")?,
            etcd_peer: ports.choose("etcd_peer")?,
            api_server: ports.choose("api_server")?,
        })
    }
}

/// A running control plane. Its processes end when it is dropped, and when this process ends in any way.
#[derive(Debug)]
pub struct ControlPlane {
    options: Options,
    ports: Ports,
    certificates: Certificates,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    running: [Option<Process>; 4],
}

impl ControlPlane {
    /// Starts all parts and waits until the API server is ready.
    pub fn start(options: Options) -> Result<Self> {
        fs::create_dir_all(&options.dir).with_context(|| format!("cannot make {}", options.dir.display()))?;
        let dir = fs::canonicalize(&options.dir)?;
        for folder in ["bin", "log", "run", "etcd"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        let options = Options { dir: dir.clone(), ..options };
        for part in Part::ALL.into_iter().rev() {
            end_leftover(&dir, part)?;
        }

        let certificates = Certificates::ensure(&dir.join("pki"))?;
        let ports = Ports::choose(&dir.join("ports.json"))?;
        let kubeconfig = kubeconfig::write(&dir, ports.api_server, &certificates)?;
        let kubectl = binary::link(&options.binary, &dir.join("bin"), "kubectl")?;
        let mut control_plane =
            Self { options, ports, certificates, kubeconfig, kubectl, running: [const { None }; 4] };
        for part in Part::ALL {
            control_plane.start_part(part)?;
        }
        Ok(control_plane)
    }

    /// The administrator's kubeconfig (mode 600).
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The `kubectl` program of the same release.
    pub fn kubectl(&self) -> &Path {
        &self.kubectl
    }

    /// The address of the API server.
    pub fn api_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api_server)
    }

    /// The certificate authority of the API server, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.certificates.ca
    }

    /// The folder with one log file for each part.
    pub fn log_dir(&self) -> PathBuf {
        self.options.dir.join("log")
    }

    /// The parts that were started and not stopped, with their process ids.
    pub fn processes(&self) -> Vec<(Part, i32)> {
        Part::ALL
            .into_iter()
            .filter_map(|part| Some((part, self.running[part as usize].as_ref()?.pid())))
            .collect()
    }

    /// The parts that ended although nobody stopped them. [`ControlPlane::start_part`] starts them again.
    pub fn ended_parts(&mut self) -> Vec<Part> {
        Part::ALL
            .into_iter()
            .filter(|part| {
                self.running[*part as usize].as_mut().is_some_and(|process| process.ended().is_some())
            })
            .collect()
    }

    /// Takes the API server away at once, with all its open watches; the other parts keep running. Doing it
    /// twice changes nothing.
    pub fn stop_api_server(&mut self) -> Result<()> {
        if let Some(mut process) = self.running[Part::ApiServer as usize].take() {
            process.kill()?;
        }
        Ok(())
    }

    /// Starts the API server on its old port and waits until it is ready.
    pub fn start_api_server(&mut self) -> Result<()> {
        self.start_part(Part::ApiServer)
    }

    /// Lets one part end by itself, and kills it when that takes too long.
    pub fn stop_part(&mut self, part: Part) -> Result<()> {
        if let Some(mut process) = self.running[part as usize].take() {
            process.stop()?;
            let _ = fs::remove_file(pid_file(&self.options.dir, part));
        }
        Ok(())
    }

    /// Starts one part unless it runs; for the API server it waits until it is ready.
    pub fn start_part(&mut self, part: Part) -> Result<()> {
        let logs = self.log_dir();
        let slot = &mut self.running[part as usize];
        if slot.as_mut().is_some_and(|process| process.ended().is_none()) {
            return Ok(());
        }
        // A part that ended by itself leaves its slot first: dropping it tells the reaper.
        *slot = None;

        let flags = match part {
            Part::Etcd => flags::etcd(&self.options, self.ports, &self.certificates),
            Part::ApiServer => flags::api_server(&self.options, self.ports, &self.certificates),
            Part::ControllerManager => {
                flags::controller_manager(&self.options, &self.kubeconfig, &self.certificates)
            }
            Part::Scheduler => flags::scheduler(&self.kubeconfig),
        };
        let spec = Spec::new(part.name(), &self.options.binary, &logs)
            .arg(part.name())
            .args(flags)
            .stop_with(StopSignal::TermGroup, GRACE);
        let process = Process::start(spec)?;
        fs::write(pid_file(&self.options.dir, part), process.pid().to_string())?;
        let process = slot.insert(process);
        if part != Part::ApiServer {
            return Ok(());
        }

        let (kubectl, kubeconfig, port) = (&self.kubectl, &self.kubeconfig, self.ports.api_server);
        process.wait_ready(READY_DEADLINE, || is_ready(kubectl, kubeconfig, port))
    }

    /// Ends all parts, each before those that it needs.
    pub fn stop(mut self) -> Result<()> {
        for part in Part::ALL.into_iter().rev() {
            self.stop_part(part)?;
        }
        Ok(())
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for slot in self.running.iter_mut().rev() {
            *slot = None;
        }
    }
}

fn is_ready(kubectl: &Path, kubeconfig: &Path, port: u16) -> bool {
    // A refused connection is cheaper to find out than by a whole kubectl.
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        && Command::new(kubectl)
            .args(["get", "--raw", "/readyz", "--request-timeout=5s", "--kubeconfig"])
            .arg(kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

fn pid_file(dir: &Path, part: Part) -> PathBuf {
    dir.join("run").join(format!("{}.pid", part.name()))
}

/// Ends the process that an earlier run in the same folder left behind.
fn end_leftover(dir: &Path, part: Part) -> Result<()> {
    let file = pid_file(dir, part);
    let Some(pid) = fs::read_to_string(&file).ok().and_then(|content| content.trim().parse().ok()) else {
        return Ok(());
    };
    // The number may belong to a stranger by now, so its command line decides.
    if is_part(pid, part, dir) {
        process::end(pid, GRACE)?;
    }
    if process::alive(pid) && is_part(pid, part, dir) {
        bail!("{} of an earlier run (process {pid}) does not end", part.name());
    }
    fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
}

fn is_part(pid: i32, part: Part, dir: &Path) -> bool {
    let Ok(command_line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let command_line = String::from_utf8_lossy(&command_line);
    command_line.split('\0').nth(1) == Some(part.name()) && command_line.contains(&*dir.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_second_start_keeps_the_ports() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ports.json");

        let first = Ports::choose(&file).unwrap();
        let second = Ports::choose(&file).unwrap();

        assert_eq!(first, second);
    }

    #[test]
    fn a_port_that_somebody_took_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ports.json");
        let first = Ports::choose(&file).unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first.api_server)).unwrap();

        let second = Ports::choose(&file).unwrap();

        assert_ne!(first.api_server, second.api_server);
    }

    #[test]
    fn a_stranger_with_the_number_of_an_old_part_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        fs::write(pid_file(dir.path(), Part::Etcd), std::process::id().to_string()).unwrap();

        end_leftover(dir.path(), Part::Etcd).unwrap();

        assert!(!pid_file(dir.path(), Part::Etcd).exists());
    }
}
