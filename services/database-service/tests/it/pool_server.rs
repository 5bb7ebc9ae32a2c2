//! A PostgreSQL server process of a test, as a pool's pod would run it: administrator `pool_admin`, passwords
//! by SCRAM.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

/// A certificate, its key, and what it is checked against, in PEM.
pub struct Tls {
    pub certificate: String,
    pub key: String,
    pub authorities: String,
}

impl Tls {
    /// From an authority that no service knows.
    pub fn of_a_stranger() -> Self {
        use database_service::certificates;
        let now = runtime::clock::now();
        let authority = certificates::authority(now).expect("authority");
        let made = certificates::server(&authority, &["localhost".to_owned()], now).expect("certificate");
        Self {
            certificate: made.certificate,
            key: made.key.expose_secret().to_owned(),
            authorities: authority.certificate,
        }
    }
}

/// A running server; it ends with this value.
pub struct PoolServer {
    // Before its folder: a volume goes before the place where it was.
    volume: Option<Volume>,
    folder: TempDir,
    process: Option<Child>,
    port: u16,
    password: SecretString,
}

impl PoolServer {
    /// Makes a cluster whose administrator has this password, and starts it with these lines of
    /// configuration.
    pub async fn start(password: &SecretString, config: &str) -> Self {
        let mut this = Self::made_in(place(), None, config);
        this.resume().await;
        this.adopt(password).await;
        this
    }

    /// The same, reached by TLS alone with this certificate and key.
    pub async fn start_with_tls(password: &SecretString, config: &str, tls: &Tls) -> Self {
        let mut this = Self::made_in(place(), None, config);
        this.speak_tls(tls);
        this.resume().await;
        this.adopt(password).await;
        this
    }

    fn speak_tls(&self, tls: &Tls) {
        let rules = self.data("pg_hba.conf");
        let plain = std::fs::read_to_string(&rules).expect("access rules");
        std::fs::write(&rules, plain.replace("\nhost ", "\nhostssl ")).expect("access rules");
        let settings = "ssl = on\nssl_cert_file = 'tls.crt'\nssl_key_file = 'tls.key'\n";
        let file = self.data("postgresql.conf");
        let existing = std::fs::read_to_string(&file).expect("configuration");
        std::fs::write(&file, [existing.as_str(), settings].concat()).expect("configuration");
        self.place_certificate(tls);
    }

    /// Other files, as a changed Secret brings them; the server reads them when it is told to.
    pub fn place_certificate(&self, tls: &Tls) {
        for (name, content) in [("tls.crt", &tls.certificate), ("tls.key", &tls.key)] {
            let file = self.data(name);
            std::fs::write(&file, content).expect("certificate");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("permissions");
            if let Some((uid, gid)) = owner() {
                std::os::unix::fs::chown(&file, Some(uid), Some(gid)).expect("owner");
            }
        }
    }

    fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join("data").join(name)
    }

    /// The same with a volume of so many MiB, which needs the rights of root: nothing without them.
    pub async fn start_on_volume(
        mebibytes: u32,
        password: &SecretString,
        config: &str,
        tls: &Tls,
    ) -> Option<Self> {
        let folder = place();
        let volume = Volume::mount(folder.path(), mebibytes)?;
        let mut this = Self::made_in(folder, Some(volume), config);
        this.speak_tls(tls);
        this.resume().await;
        this.adopt(password).await;
        Some(this)
    }

    /// A cluster that is not started; its administrator has the template's password still.
    fn made_in(folder: TempDir, volume: Option<Volume>, config: &str) -> Self {
        let copied = Command::new("cp").arg("-a").arg(template()).arg(folder.path().join("data")).status();
        assert!(copied.expect("cp").success(), "the template could not be copied");
        let config = config
            .lines()
            // The test's machine has other memory than a pod.
            .filter(|line| !["shared_buffers", "listen_addresses"].iter().any(|name| line.starts_with(name)))
            .collect::<Vec<_>>()
            .join("\n");
        let file = folder.path().join("data/postgresql.conf");
        let fixed = format!(
            "\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nshared_buffers = '32MB'\nfsync = off\n\
             dynamic_shared_memory_type = mmap\n",
            folder.path().display()
        );
        let existing = std::fs::read_to_string(&file).expect("configuration");
        std::fs::write(&file, [existing.as_str(), "\n", &config, &fixed].concat()).expect("configuration");
        Self {
            volume,
            folder,
            process: None,
            port: free_port(),
            password: SecretString::from(TEMPLATE_PASSWORD),
        }
    }

    /// Starts the process of a stopped server at the same address.
    pub async fn resume(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("log")).expect("log");
        let process = command("postgres")
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-p", &self.port.to_string()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("postgres");
        self.process = Some(process);
        test_kit::eventually("the server answers", Duration::from_secs(30), || async {
            self.try_connect("pool_admin", self.password.expose_secret(), "postgres").await.ok()
        })
        .await;
    }

    /// The server stands for another row: other password, other certificate.
    pub async fn stand_for(&mut self, password: &SecretString, tls: &Tls) {
        self.adopt(password).await;
        self.place_certificate(tls);
        self.read_certificate(tls).await;
    }

    /// Tells the server to read its files, until it serves this certificate's authority.
    pub async fn read_certificate(&self, tls: &Tls) {
        sqlx::query("SELECT pg_reload_conf()").execute(&mut self.admin().await).await.expect("reload");
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username("pool_admin")
            .password(self.password.expose_secret())
            .database("postgres")
            .ssl_mode(PgSslMode::VerifyCa)
            .ssl_root_cert_from_pem(tls.authorities.clone().into_bytes());
        test_kit::eventually("the server serves the certificate", Duration::from_secs(10), || async {
            PgConnection::connect_with(&options).await.ok()
        })
        .await;
    }

    /// The administrator gets another password.
    pub async fn adopt(&mut self, password: &SecretString) {
        let verifier = database_service::secrets::scram_verifier(password).expect("verifier");
        let statement = format!("ALTER ROLE pool_admin PASSWORD '{verifier}'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut self.admin().await)
            .await
            .expect("password");
        self.password = password.clone();
    }

    /// The administrator got this password from the service.
    pub fn trust(&mut self, password: &SecretString) {
        self.password = password.clone();
    }

    /// Ends the process, as a lost pod would.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let id = i32::try_from(process.id()).expect("process id");
            // Immediate shutdown: it cleans its shared memory up.
            kill(Pid::from_raw(id), Signal::SIGQUIT).expect("signal");
            process.wait().expect("end of the server");
        }
    }

    /// The machine stops in the middle of everything: nothing is closed, nobody answers.
    pub fn pause(&self) {
        self.signal_all(Signal::SIGSTOP);
    }

    /// It goes on where it was.
    pub fn go_on(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    /// To the server and all its sessions.
    fn signal_all(&self, signal: Signal) {
        let Some(process) = &self.process else { return };
        let server = i32::try_from(process.id()).expect("process id");
        // The server first: it makes no session then that is left out.
        for id in std::iter::once(server).chain(children(server)) {
            // A session may end meanwhile.
            kill(Pid::from_raw(id), signal).ok();
        }
    }

    /// Fills the volume up to so many KiB with a file, which its removal takes back.
    pub fn fill_volume(&self, leave: usize) -> PathBuf {
        let volume = self.volume.as_ref().expect("a volume of its own");
        let ballast = volume.0.join("ballast");
        let told = Command::new("df").args(["--output=avail", "-k"]).arg(&volume.0).output().expect("df");
        let told = String::from_utf8(told.stdout).expect("text");
        let free: usize = told.lines().last().and_then(|line| line.trim().parse().ok()).expect("a number");
        std::fs::write(&ballast, vec![1; (free - leave) * 1024]).expect("ballast");
        ballast
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        let mut text = String::new();
        let mut file = std::fs::File::open(self.folder.path().join("log")).expect("log");
        file.read_to_string(&mut text).expect("log");
        text
    }

    /// A session of the administrator in database `postgres`.
    pub async fn admin(&self) -> PgConnection {
        self.admin_in("postgres").await
    }

    /// The same in another database. By the socket in its folder: what a test looks up needs no TLS, whose
    /// handshake takes longer than the answer.
    pub async fn admin_in(&self, database: &str) -> PgConnection {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(self.folder.path())
            .port(self.port)
            .username("pool_admin")
            .password(self.password.expose_secret())
            .database(database);
        PgConnection::connect_with(&options).await.expect("administrator")
    }

    /// A session of anybody.
    pub async fn try_connect(
        &self,
        user: &str,
        password: &str,
        database: &str,
    ) -> sqlx::Result<PgConnection> {
        self.connect_by(PgSslMode::Prefer, user, password, database).await
    }

    /// The same with or without TLS.
    pub async fn connect_by(
        &self,
        mode: PgSslMode,
        user: &str,
        password: &str,
        database: &str,
    ) -> sqlx::Result<PgConnection> {
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(user)
            .password(password)
            .ssl_mode(mode)
            .database(database);
        PgConnection::connect_with(&options).await
    }
}

impl Drop for PoolServer {
    fn drop(&mut self) {
        self.go_on();
        self.stop();
    }
}

/// Processes that this one started.
fn children(parent: i32) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    all.filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // Behind the name, which may hold anything: state and parent.
        let mut words = stat.rsplit_once(") ")?.1.split(' ').skip(1);
        let is_child = words.next()?.parse() == Ok(parent);
        is_child.then(|| entry.file_name().to_str()?.parse().ok()).flatten()
    })
    .collect()
}

/// Of the administrator of a cluster that was copied and not started yet.
const TEMPLATE_PASSWORD: &str = "of-the-template";

/// A cluster that every test copies, made by the first one of a run: `initdb` takes several times as long as
/// a copy.
fn template() -> PathBuf {
    let root = PathBuf::from(test_kit::environment::scratch());
    let ready = root.join("pool-template");
    let lock = std::fs::File::create(root.join("pool-template.lock")).expect("lock");
    lock.lock().expect("lock");
    if ready.exists() {
        return ready;
    }
    let secret = root.join("pool-template.password");
    std::fs::write(&secret, TEMPLATE_PASSWORD).expect("password file");
    let partial = root.join("pool-template.part");
    let made = command("initdb")
        .arg("--pgdata")
        .arg(&partial)
        .args([
            "--username=pool_admin",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ])
        .arg("--pwfile")
        .arg(&secret)
        .stdout(Stdio::null())
        .status()
        .expect("initdb");
    assert!(made.success(), "initdb failed");
    std::fs::rename(&partial, &ready).expect("the template");
    ready
}

fn place() -> TempDir {
    let root = test_kit::environment::scratch();
    let folder = tempfile::Builder::new().prefix("pool").tempdir_in(root).expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("permissions");
    folder
}

/// A mounted file system in memory; it goes with this value.
struct Volume(PathBuf);

impl Volume {
    fn mount(folder: &Path, mebibytes: u32) -> Option<Self> {
        let options = format!("size={mebibytes}m,mode=0777");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).status();
        done.is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// A program of PostgreSQL, run as `postgres` when we are root.
fn command(program: &str) -> Command {
    let mut command = Command::new(binaries().join(program));
    if let Some((uid, gid)) = owner() {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/tmp");
    command
}

/// User and group of the server when we are root.
fn owner() -> Option<(u32, u32)> {
    nix::unistd::geteuid().is_root().then(|| {
        let user = User::from_name("postgres").expect("users").expect("user postgres");
        (user.uid.as_raw(), user.gid.as_raw())
    })
}

/// Folder of the newest installed server.
pub fn binaries() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from("/usr/bin"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address").port()
}
