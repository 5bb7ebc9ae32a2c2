//! What a fresh machine lacks: Debian packages for the servers that are not given. It says what and why
//! first; no package starts a service or makes a database cluster.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use devstack::given::Given;
use devstack::progress::Progress;
use devstack::{postgres, process, rabbitmq};
use nix::unistd::geteuid;

use crate::workspace::target;

/// Keeps packages from starting services while they are installed.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const CLUSTER_SETTINGS: &str = "/etc/postgresql-common/createcluster.conf";

/// Installs the servers that are neither given nor there.
pub fn servers(given: &Given, progress: &Progress) -> Result<()> {
    let wanted = [
        (
            given.postgres.is_none() && postgres::programs().is_err(),
            "postgresql",
            "the databases of services and instances",
        ),
        (given.redis.is_none() && !in_path("redis-server"), "redis-server", "rate limits and login throttle"),
        (
            given.rabbitmq.is_none() && rabbitmq::library().is_err(),
            "rabbitmq-server",
            "messages between the services",
        ),
    ];
    let missing: Vec<_> = wanted.into_iter().filter(|(missing, ..)| *missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    progress.line("These Debian packages are missing and will be installed; none of them starts a service:");
    for (_, package, why) in &missing {
        progress.line(&format!("  {package:<18} {why}"));
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    if !in_path("apt-get") {
        bail!(
            "this is no Debian: install {} yourself, or name servers in the environment",
            packages.join(", ")
        );
    }
    let log = target()?.join("packages.log");
    progress.stage("packages", || {
        let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        install(&packages, &file).with_context(|| format!("see {}", log.display()))
    })
}

/// What the package manager writes, some hundred lines, goes to `log`.
fn install(packages: &[&str], log: &File) -> Result<()> {
    let policy_made = !Path::new(POLICY).exists();
    if policy_made {
        write_as_root(POLICY, "#!/bin/sh\nexit 101\n")?;
        run(as_root("chmod")?.args(["755", POLICY]), log)?;
    }
    let outcome = install_without_starting(packages, log);
    if policy_made {
        run(as_root("rm")?.args(["-f", POLICY]), log)?;
    }
    outcome
}

fn install_without_starting(packages: &[&str], log: &File) -> Result<()> {
    run(as_root("apt-get")?.args(["-q", "update"]), log)?;
    let get = |packages: &[&str]| -> Result<()> {
        let options =
            ["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "install", "-y", "--no-install-recommends"];
        run(as_root("env")?.args(options).args(packages), log)
    };
    if packages.contains(&"postgresql") {
        // Its settings must say so before the server's package makes a cluster.
        get(&["postgresql-common"])?;
        let settings = std::fs::read_to_string(CLUSTER_SETTINGS).unwrap_or_default();
        if !settings.lines().any(|line| line.trim_start().starts_with("create_main_cluster")) {
            write_as_root(CLUSTER_SETTINGS, &format!("{settings}\ncreate_main_cluster = false\n"))?;
        }
    }
    get(packages)
}

/// Runs in our own process group, so that sudo can ask for a password: it does that on the terminal itself.
fn run(command: &mut Command, log: &File) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    let mut child = process::spawn(command).with_context(|| format!("start {name}"))?;
    let status = child.wait().with_context(|| format!("wait for {name}"))?;
    if !status.success() {
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        bail!("`{name} {}` failed", args.join(" "));
    }
    Ok(())
}

fn as_root(program: &str) -> Result<Command> {
    if geteuid().is_root() {
        return Ok(Command::new(program));
    }
    if !in_path("sudo") {
        bail!("packages can be installed by root only, and there is no sudo");
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

fn write_as_root(path: &str, text: &str) -> Result<()> {
    process::run(as_root("tee")?.arg(path), Some(text)).with_context(|| format!("write {path}")).map(drop)
}

/// Whether a program can be called by its name.
#[expect(clippy::disallowed_methods, reason = "the search path is told by the environment alone")]
pub fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|folder| folder.join(program).is_file())
}

/// Fails with advice when Go is needed and absent.
pub fn go(layout: &devstack::layout::Layout) -> Result<()> {
    let built = devstack::cluster::binary::path(&layout.devcluster(), &layout.cache)?;
    if !built.exists() && !in_path("go") {
        bail!(
            "Go is needed once, to build the Kubernetes control plane: install it from https://go.dev/dl, \
             or set KUBECONFIG"
        );
    }
    Ok(())
}
