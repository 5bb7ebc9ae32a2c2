//! A PostgreSQL server of our own: its data folder, its start, and the roles and databases of the services
//! (INF-07).

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::unistd::{User, geteuid};
use sha2::{Digest as _, Sha256};

use crate::process::{self, Spec, StopSignal};
use crate::secrets::{Secrets, write_private};
use crate::services::{self, Database};

/// Name of the superuser (`POSTGRES_USER`).
pub const SUPERUSER: &str = "odoo_user";

/// Where a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Superuser.
    pub user: String,
}

/// A server to be.
#[derive(Debug)]
pub struct Server {
    /// Folder with `initdb`, `postgres` and `psql`.
    programs: PathBuf,
    /// Our own folder around the data.
    home: PathBuf,
    /// User that the server runs as, when we are root.
    user: Option<(u32, u32)>,
    port: u16,
    durable: bool,
}

/// The newest installed server's folder of programs.
pub fn programs() -> Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .context("PostgreSQL is not installed")?
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().map(|(_, folder)| folder).context("the PostgreSQL server is not installed")
}

/// The user that servers of PostgreSQL run as: `postgres` when we are root, else ourselves.
fn server_user() -> Result<Option<(u32, u32)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres").context("look up the user postgres")?;
    let user = user.context("there is no user postgres")?;
    Ok(Some((user.uid.as_raw(), user.gid.as_raw())))
}

/// A folder `name` that servers of PostgreSQL can use: inside `dir`, or, when their user cannot get there,
/// beneath `/var/tmp` under a name that follows from `dir`.
pub fn reachable_folder(dir: &Path, name: &str) -> Result<PathBuf> {
    Ok(match server_user()? {
        Some(user) if !reachable(dir, user) => outside(dir).join(name),
        _ => dir.join(name),
    })
}

/// The folder beneath `/var/tmp` that belongs to `dir`.
pub fn outside(dir: &Path) -> PathBuf {
    let hash = hex::encode(Sha256::digest(dir.as_os_str().as_encoded_bytes()));
    PathBuf::from(format!("/var/tmp/saasodoo-{}", hash.get(..12).unwrap_or_default()))
}

/// Whether every folder on the way lets this user pass.
fn reachable(dir: &Path, (uid, gid): (u32, u32)) -> bool {
    dir.ancestors().all(|folder| {
        fs::metadata(folder).is_ok_and(|meta| {
            let bit = if meta.uid() == uid {
                0o100
            } else if meta.gid() == gid {
                0o010
            } else {
                0o001
            };
            meta.permissions().mode() & bit != 0
        })
    })
}

impl Server {
    /// A server with its data in (or for) `dir`. Without `durable` it does not wait for the disk: for tests
    /// only.
    pub fn new(dir: &Path, port: u16, durable: bool) -> Result<Self> {
        Ok(Self {
            programs: programs()?,
            home: reachable_folder(dir, "postgres")?,
            user: server_user()?,
            port,
            durable,
        })
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        if let Some((uid, gid)) = self.user {
            use std::os::unix::process::CommandExt as _;
            command.uid(uid).gid(gid);
        }
        command.current_dir("/");
        command
    }

    /// Makes the data folder unless it is there.
    pub fn initialise(&self, password: &str) -> Result<()> {
        if self.data().join("PG_VERSION").exists() {
            return Ok(());
        }
        // What an interrupted first start left is no database.
        drop(fs::remove_dir_all(&self.home));
        fs::create_dir_all(&self.home).with_context(|| format!("create {}", self.home.display()))?;
        fs::set_permissions(&self.home, fs::Permissions::from_mode(0o700))?;
        let secret = self.home.join("initial-password");
        write_private(&secret, password)?;
        if let Some((uid, gid)) = self.user {
            for path in [&self.home, &secret] {
                chown(path, Some(uid), Some(gid)).with_context(|| format!("give {} away", path.display()))?;
            }
        }
        let partial = self.home.join("data.part");
        let mut command = self.command("initdb");
        command
            .args([
                "--username",
                SUPERUSER,
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ])
            .arg("--pwfile")
            .arg(&secret)
            .arg("--pgdata")
            .arg(&partial);
        process::run(&mut command, None).context("make the database cluster")?;
        fs::remove_file(&secret).context("remove the initial password")?;
        fs::rename(&partial, self.data()).context("put the database cluster in place")
    }

    /// What starts it.
    pub fn spec(&self, logs: &Path) -> Spec {
        let mut settings = vec![
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=400",
            "shared_buffers=128MB",
            "max_wal_size=512MB",
            "log_line_prefix=%m [%p] %q%u@%d ",
        ];
        if !self.durable {
            settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"]);
            // In the data folder, which goes with the run. In POSIX shared memory, the default, a server that
            // is killed leaves its segments until the machine starts again: nothing of it is started later.
            settings.push("dynamic_shared_memory_type=mmap");
        }
        let mut spec = Spec::new("postgres", self.programs.join("postgres"), logs)
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .args(settings.into_iter().flat_map(|setting| ["-c", setting]))
            .stop_with(StopSignal::IntLeader, Duration::from_secs(20));
        spec.user = self.user;
        spec.dir = Some(PathBuf::from("/"));
        spec
    }

    /// Where it answers.
    pub fn address(&self) -> Address {
        Address { host: "127.0.0.1".to_owned(), port: self.port, user: SUPERUSER.to_owned() }
    }

    /// Whether it takes connections.
    pub fn answers(&self) -> bool {
        let mut command = Command::new(self.programs.join("pg_isready"));
        command.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        process::run(&mut command, None).is_ok()
    }
}

/// The script that makes roles and databases; running it again changes nothing but passwords.
fn bootstrap_script(secrets: &Secrets) -> Result<String> {
    let mut databases: Vec<_> = services::ALL.iter().filter_map(|service| service.database).collect();
    databases.sort_by_key(|database| database.name);
    databases.dedup();
    let statements = databases.into_iter().map(|Database { name, role }| {
        let password = secrets.role(role)?.replace('\'', "''");
        Ok(format!(
            "SELECT 'CREATE ROLE {role} LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') \\gexec\n\
             ALTER ROLE {role} LOGIN PASSWORD '{password}';\n\
             SELECT 'CREATE DATABASE {name} OWNER {role}' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \\gexec\n\
             REVOKE ALL ON DATABASE {name} FROM PUBLIC;\n"
        ))
    });
    Ok(format!("SET client_min_messages = warning;\n{}", statements.collect::<Result<String>>()?))
}

/// Runs a script as the superuser.
pub fn run_script(address: &Address, password: &str, database: &str, script: &str) -> Result<String> {
    let program = programs().map_or_else(|_| PathBuf::from("psql"), |folder| folder.join("psql"));
    let mut command = Command::new(program);
    command
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", database])
        .args(["-h", &address.host, "-p", &address.port.to_string(), "-U", &address.user])
        .env("PGPASSWORD", password)
        .env("PGCONNECT_TIMEOUT", "10");
    process::run(&mut command, Some(script))
}

/// Makes the services' roles and databases on a server (ours or a given one).
pub fn bootstrap(address: &Address, password: &str, secrets: &Secrets) -> Result<()> {
    run_script(address, password, "postgres", &bootstrap_script(secrets)?)
        .context("make roles and databases")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_behind_a_closed_one_is_not_reachable() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let nobody = (65_534, 65_534);
        assert!(!reachable(&inner, nobody));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o711)).unwrap();
        assert!(reachable(&inner, nobody));
    }

    /// INF-07
    #[test]
    fn each_database_is_made_once_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::load_or_generate(&folder.path().join("secrets.json")).unwrap();
        let script = bootstrap_script(&secrets).unwrap();
        assert_eq!(script.matches("CREATE DATABASE").count(), 5);
        assert!(script.contains("CREATE DATABASE communication OWNER notification_service"));
        assert_eq!(script.matches("CREATE DATABASE instance OWNER").count(), 1);
    }
}
