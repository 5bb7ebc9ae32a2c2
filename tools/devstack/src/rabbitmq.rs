//! A RabbitMQ server of our own: the server's script under its library folder (the distribution's wrapper
//! changes user and folder), an own node name, own data, and the Erlang distribution with its port mapper on
//! loopback. The port mapper is ours too and ends with us.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::{self, Spec, StopSignal};
use crate::secrets::write_private;

/// Virtual host (`RABBITMQ_VHOST`).
pub const VHOST: &str = "saasodoo";
/// User (`RABBITMQ_USER`).
pub const USER: &str = "saasodoo";

/// Name of the Erlang node; each server has a port mapper of its own, so names do not meet.
const NODE: &str = "saasodoo@localhost";

/// Ports of one server.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// AMQP.
    pub amqp: u16,
    /// Erlang distribution.
    pub distribution: u16,
    /// Erlang's port mapper.
    pub mapper: u16,
}

/// The folder of the newest installed server.
pub fn library() -> Result<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir("/usr/lib/rabbitmq/lib")
        .context("RabbitMQ is not installed")?
        .flatten()
        .map(|entry| entry.path())
        .filter(|folder| folder.join("sbin/rabbitmq-server").exists())
        .collect();
    folders.sort();
    folders.pop().context("the RabbitMQ server is not installed")
}

/// Erlang's port mapper in the foreground.
pub fn mapper_spec(logs: &Path, ports: Ports) -> Spec {
    Spec::new("epmd", "epmd", logs).args(["-port", &ports.mapper.to_string(), "-address", "127.0.0.1"])
}

/// Writes settings into `dir` and gives what starts the server.
pub fn spec(dir: &Path, logs: &Path, ports: Ports, password: &str, cookie: &str) -> Result<Spec> {
    let library = library()?;
    let home = dir.join("rabbitmq");
    fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    let cookie_file = home.join(".erlang.cookie");
    write_private(&cookie_file, cookie)?;
    fs::set_permissions(&cookie_file, fs::Permissions::from_mode(0o400))?;
    let settings = home.join("rabbitmq.conf");
    let text = format!(
        "default_vhost = {VHOST}\ndefault_user = {USER}\ndefault_pass = {password}\n\
         default_permissions.configure = .*\ndefault_permissions.read = .*\ndefault_permissions.write = .*\n\
         listeners.tcp.1 = 127.0.0.1:{}\nloopback_users = none\nlog.console = true\nlog.console.level = warning\nlog.file = false\n\
         vm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 50MB\n",
        ports.amqp
    );
    write_private(&settings, &text)?;
    let plugins = home.join("enabled_plugins");
    fs::write(&plugins, "[].\n").with_context(|| format!("write {}", plugins.display()))?;
    let path = |path: &Path| path.display().to_string();
    // Two schedulers that do not spin: the machine has other work. Nobody but us starts the port mapper.
    let erlang = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -start_epmd false -kernel \
        inet_dist_use_interface {127,0,0,1}";
    let mut spec = Spec::new("rabbitmq", library.join("sbin/rabbitmq-server"), logs)
        .env("HOME", path(&home))
        .env("RABBITMQ_NODENAME", NODE)
        .env("RABBITMQ_NODE_PORT", ports.amqp.to_string())
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_DIST_PORT", ports.distribution.to_string())
        .env("ERL_EPMD_PORT", ports.mapper.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_MNESIA_BASE", path(&home))
        .env("RABBITMQ_LOG_BASE", path(&home))
        .env("RABBITMQ_CONFIG_FILE", path(&settings))
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        // The script becomes the server instead of waiting for it.
        .env("RUNNING_UNDER_SYSTEMD", "1")
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", path(&plugins))
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erlang)
        .stop_with(StopSignal::TermGroup, Duration::from_secs(20));
    spec.dir = Some(home);
    Ok(spec)
}

/// Empties every queue of the server that runs in this environment.
pub fn purge(env: &BTreeMap<String, String>) -> Result<()> {
    let expression =
        format!("[rabbit_amqqueue:purge(Queue) || Queue <- rabbit_amqqueue:list(<<\"{VHOST}\">>)], ok.");
    let mut command = Command::new(library()?.join("sbin/rabbitmqctl"));
    command
        .args(["--quiet", "--node", NODE, "eval", &expression])
        .envs(env)
        .env_remove("RUNNING_UNDER_SYSTEMD");
    process::run(&mut command, None).context("empty the queues").map(drop)
}

/// Whether the server begins an AMQP conversation.
pub fn answers(port: u16) -> bool {
    let greet = || -> std::io::Result<u8> {
        let limit = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        let [kind] = first;
        Ok(kind)
    };
    // 1 is a method frame: the server's `start`.
    greet().is_ok_and(|kind| kind == 1)
}
