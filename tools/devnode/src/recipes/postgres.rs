//! A PostgreSQL server with the programs of this machine, as the official image would run it: a new data
//! folder gets the user, the password and the database of the environment, an old one is used as it is.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};

use super::Plan;
use crate::process::Launch;

/// Where the image keeps its data when `PGDATA` does not say.
const DEFAULT_DATA: &str = "/var/lib/postgresql/data";
/// Longest path of a socket is 108 bytes; the name of the socket takes some.
const LONGEST_SOCKET_DIR: usize = 80;

/// The programs and this machine's settings.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// Folder of the programs.
    pub bin: PathBuf,
    /// Settings that are stronger than the pod's.
    pub options: Vec<(String, String)>,
    /// Folder of prepared data folders, to be copied: `initdb` takes long.
    pub templates: PathBuf,
    /// User and group of the server when this process is root.
    pub user: Option<(u32, u32)>,
}

impl Postgres {
    /// Finds the programs: the given folder, or the newest release of this machine.
    pub fn find(
        given: Option<&Path>,
        options: &[(String, String)],
        templates: PathBuf,
    ) -> anyhow::Result<Self> {
        let bin = match given {
            Some(bin) => bin.to_owned(),
            None => newest(Path::new("/usr/lib/postgresql")).unwrap_or_else(|| "/usr/bin".into()),
        };
        let user = if Uid::effective().is_root() {
            let user = User::from_name("postgres")?.context("user `postgres` does not exist")?;
            Some((user.uid.as_raw(), user.gid.as_raw()))
        } else {
            None
        };
        Ok(Self { bin, options: options.to_vec(), templates, user })
    }

    /// Prepares the data folder and says how to start the server. Blocks for up to a second or two.
    ///
    /// `run_dir` is a short folder of this pod for the socket.
    pub fn prepare(&self, plan: &Plan<'_>, run_dir: &Path) -> anyhow::Result<Launch> {
        let data = plan.mounts.place(plan.variable("PGDATA").unwrap_or(DEFAULT_DATA));
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let socket_dir = self.socket_dir(run_dir)?;
        if !data.join("PG_VERSION").exists() {
            self.initialise(plan, &data)?;
        }
        remove_stale_lock(&data);

        let mut args: Vec<String> = vec!["-D".to_owned(), data.display().to_string()];
        args.extend(self.own_arguments(plan, &socket_dir)?);
        let mut env = plan.environment();
        env.retain(|(name, _)| !name.starts_with("POSTGRES_PASSWORD"));
        Ok(Launch {
            program: self.bin.join("postgres"),
            args: args.into_iter().map(OsString::from).collect(),
            env,
            dir: data,
            user: self.user,
            stop_signal: Signal::SIGINT,
        })
    }

    /// What a command in the pod needs to reach the server: the socket trusts it, as in the image.
    pub fn client_environment(
        &self,
        plan: &Plan<'_>,
        run_dir: &Path,
    ) -> anyhow::Result<Vec<(String, String)>> {
        let user = plan.variable("POSTGRES_USER").unwrap_or("postgres");
        Ok(vec![
            ("PGHOST".to_owned(), self.socket_dir(run_dir)?.display().to_string()),
            ("PGPORT".to_owned(), "5432".to_owned()),
            ("PGUSER".to_owned(), user.to_owned()),
        ])
    }

    fn socket_dir(&self, run_dir: &Path) -> anyhow::Result<PathBuf> {
        let dir = if run_dir.as_os_str().len() <= LONGEST_SOCKET_DIR {
            run_dir.to_owned()
        } else {
            let name = run_dir.file_name().unwrap_or_default();
            std::env::temp_dir().join("saasodoo-devnode").join(name)
        };
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        self.own(&dir)?;
        Ok(dir)
    }

    fn own_arguments(&self, plan: &Plan<'_>, socket_dir: &Path) -> anyhow::Result<Vec<String>> {
        let mut given = plan.words(plan.container.args.as_deref());
        if given.first().is_some_and(|first| first == "postgres") {
            given.remove(0);
        }
        for word in &mut given {
            if let Some(file) = word.strip_prefix("config_file=") {
                let file = self.local_copy(plan, Path::new(file))?;
                *word = format!("config_file={}", file.display());
            }
        }
        let address = plan.ip.to_string();
        let socket_dir = socket_dir.display().to_string();
        // In the data folder: a server that is killed would leave segments of POSIX shared memory for ever.
        let in_files = "mmap".to_owned();
        let fixed = [
            ("listen_addresses", &address),
            ("unix_socket_directories", &socket_dir),
            ("dynamic_shared_memory_type", &in_files),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| format!("{name}={value}"));
        let options = self.options.iter().map(|(name, value)| format!("{name}={value}"));
        let settings = fixed.chain(["port=5432".to_owned()]).chain(options);
        given.extend(settings.flat_map(|setting| ["-c".to_owned(), setting]));
        Ok(given)
    }

    /// A copy of a configuration file in which the paths of the container are those of this machine.
    fn local_copy(&self, plan: &Plan<'_>, file: &Path) -> anyhow::Result<PathBuf> {
        let content = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let copy = plan.mounts.scratch().join("postgresql.conf");
        fs::write(&copy, plan.mounts.text(&content))?;
        self.own(&copy)?;
        Ok(copy)
    }

    fn initialise(&self, plan: &Plan<'_>, data: &Path) -> anyhow::Result<()> {
        let user = plan.variable("POSTGRES_USER").unwrap_or("postgres");
        let password = plan.variable("POSTGRES_PASSWORD").unwrap_or_default();
        let trust = plan.variable("POSTGRES_HOST_AUTH_METHOD") == Some("trust");
        if password.is_empty() && !trust {
            bail!("database is uninitialized and superuser password is not specified: set POSTGRES_PASSWORD");
        }
        let template = self.template(user)?;

        // Complete or not there: the version file, which says that there is a database, comes last.
        let part = data.join(".devnode-part");
        let _ = fs::remove_dir_all(&part);
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&template).arg(&part), None)?;
        let method = if trust { "trust" } else { "scram-sha-256" };
        fs::write(part.join("pg_hba.conf"), access_rules(method))?;
        self.own(&part.join("pg_hba.conf"))?;
        let statements = first_statements(user, password, plan.variable("POSTGRES_DB").unwrap_or(user));
        let mut single = self.command("postgres");
        single.args(["--single", "-D"]).arg(&part).args(["-c", "fsync=off", "template1"]);
        run(&mut single, Some(&statements))?;
        for entry in fs::read_dir(&part)? {
            let entry = entry?;
            if entry.file_name() != "PG_VERSION" {
                fs::rename(entry.path(), data.join(entry.file_name()))?;
            }
        }
        fs::set_permissions(data, fs::Permissions::from_mode(0o700))?;
        self.own(data)?;
        fs::rename(part.join("PG_VERSION"), data.join("PG_VERSION"))?;
        fs::remove_dir(&part)?;
        Ok(())
    }

    /// A fresh data folder whose superuser is `user`, made once.
    fn template(&self, user: &str) -> anyhow::Result<PathBuf> {
        if !user.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-'))
        {
            bail!("POSTGRES_USER {user:?} is not a name that this node accepts");
        }
        fs::create_dir_all(&self.templates)?;
        fs::set_permissions(&self.templates, fs::Permissions::from_mode(0o711))?;
        let version = self.bin.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let template = self.templates.join(format!("{version}-{user}"));
        let lock = fs::File::create(template.with_extension("lock"))?;
        lock.lock()?;
        if template.exists() {
            return Ok(template);
        }
        let part = template.with_extension("part");
        let _ = fs::remove_dir_all(&part);
        fs::create_dir(&part)?;
        self.own(&part)?;
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(&part).args([
            "-U",
            user,
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "-A",
            "trust",
        ]);
        run(&mut initdb, None)?;
        fs::rename(&part, &template)?;
        Ok(template)
    }

    fn command(&self, program: &str) -> Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(self.bin.join(program));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").current_dir("/");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn own(&self, path: &Path) -> anyhow::Result<()> {
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).with_context(|| format!("cannot own {}", path.display()))?;
        }
        Ok(())
    }
}

/// Removes the lock file of a server that is gone. Its number may belong to another server of this machine by
/// now, which would keep this one from starting; the working directory tells them apart.
fn remove_stale_lock(data: &Path) {
    let lock = data.join("postmaster.pid");
    let Ok(content) = fs::read_to_string(&lock) else { return };
    let pid = content.lines().next().unwrap_or_default().trim();
    let home = fs::read_link(format!("/proc/{pid}/cwd"));
    if home.map_or(true, |home| home != data) {
        let _ = fs::remove_file(lock);
    }
}

fn newest(root: &Path) -> Option<PathBuf> {
    let releases = fs::read_dir(root).ok()?.flatten();
    releases
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("initdb").exists())
        .max()
        .map(|(_, bin)| bin)
}

/// Sockets are trusted as in the image; every address needs the password, also loopback, where all pods live.
fn access_rules(method: &str) -> String {
    format!("local all all trust\nhost all all all {method}\nhost replication all all {method}\n")
}

/// Statements for a server in single-user mode: one a line.
fn first_statements(user: &str, password: &str, database: &str) -> String {
    let mut lines = Vec::new();
    if !password.is_empty() {
        let password = password.replace('\'', "''");
        lines.push(format!("ALTER ROLE \"{user}\" PASSWORD '{password}'\n"));
    }
    if !["postgres", "template0", "template1"].contains(&database) {
        lines.push(format!("CREATE DATABASE \"{}\"\n", database.replace('"', "\"\"")));
    }
    lines.concat()
}

fn run(command: &mut Command, input: Option<&str>) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(input.unwrap_or_default().as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{name} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_names_are_quoted() {
        let statements = first_statements("admin", "it's", "shop");

        assert_eq!(statements, "ALTER ROLE \"admin\" PASSWORD 'it''s'\nCREATE DATABASE \"shop\"\n");
    }

    #[test]
    fn the_database_postgres_is_there_already() {
        assert_eq!(first_statements("postgres", "", "postgres"), "");
    }

    #[test]
    fn loopback_needs_a_password() {
        assert!(access_rules("scram-sha-256").lines().skip(1).all(|line| line.ends_with("scram-sha-256")));
    }
}
