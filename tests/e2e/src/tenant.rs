//! A tenant that turned against its pool: whoever has the credentials of an instance's database, which its
//! Odoo has, and a shell beside it.

use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};

use crate::databases::{NAMESPACE, place};
use crate::{Customer, Stack, kubectl};

/// Longest wait for a log-in and its statement.
const PATIENCE: Duration = Duration::from_secs(30);

/// The credentials of one instance's database.
#[derive(Debug, Clone)]
pub struct Tenant {
    stack: Stack,
    /// The instance.
    pub instance: String,
    /// Name of the pool.
    pub pool: String,
    /// Name of its database.
    pub database: String,
    /// Name of its role.
    pub role: String,
    address: String,
    password: String,
}

impl Tenant {
    /// Reads what the tenant's own Odoo gets from its Secret.
    pub async fn of(stack: &Stack, admin: &Customer, instance: &str) -> anyhow::Result<Self> {
        let found = place(admin, instance).await?;
        let text = |name: &'static str| found[name].as_str().map(str::to_owned).context(name);
        let secrets = kubectl::objects(stack, "secrets", instance).await?;
        let held = secrets.first().context("the instance has no Secret")?;
        let value = |key: &'static str| decoded(&held["data"][key]).context(key);
        let pool = text("db_server_name")?;
        Ok(Self {
            stack: stack.clone(),
            instance: instance.to_owned(),
            address: address(stack, &pool).await?.to_string(),
            pool,
            database: text("db_name")?,
            role: value("database-user")?,
            password: value("database-password")?,
        })
    }

    /// `psql` with the tenant's password, by TCP and TLS as from its pod.
    fn psql(&self, database: &str) -> Command {
        let pod = format!("{}-0", self.pool);
        let password = format!("PGPASSWORD={}", self.password);
        let mut command = Command::new(&self.stack.kubectl);
        command
            .args(["exec", "-i", "-n", NAMESPACE, &pod, "--", "env", &password, "PGSSLMODE=require"])
            .args(["PGCONNECT_TIMEOUT=10", "psql", "-h", &self.address, "-v", "ON_ERROR_STOP=1", "-qAt"])
            .args(["-U", &self.role, "-d", database])
            .env("KUBECONFIG", &self.stack.kubeconfig)
            .kill_on_drop(true);
        command
    }

    /// What statements say; each of them by itself, so that a refused one stops those after it.
    pub async fn sql_in(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let output = self.psql(database).args(["-c", sql]).stdin(Stdio::null()).output();
        let output = tokio::time::timeout(PATIENCE, output).await.context("no answer of the pool")??;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// In its own database.
    pub async fn sql(&self, sql: &str) -> anyhow::Result<String> {
        self.sql_in(&self.database, sql).await
    }

    /// Fails unless PostgreSQL refuses the statement for want of rights.
    pub async fn is_refused(&self, database: &str, sql: &str) -> anyhow::Result<()> {
        match self.sql_in(database, sql).await {
            Ok(said) => bail!("{sql:?} was allowed: {said}"),
            Err(error) => {
                let text = error.to_string();
                let refused = ["permission denied", "must be owner", "must be superuser", "only roles with"];
                ensure!(refused.iter().any(|word| text.contains(word)), "{sql:?}: {text}");
                Ok(())
            }
        }
    }

    /// Begins statements in a session that stays open until it is dropped or ended by the server.
    pub async fn hold(&self, database: &str, sql: &str) -> anyhow::Result<Held> {
        let mut command = self.psql(database);
        command.args(["-v", "ON_ERROR_STOP=0"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().context("no input")?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?).lines();
        input.write_all(format!("{sql};\n\\echo {BEGUN}\n").as_bytes()).await?;
        let begun = async {
            while let Some(line) = output.next_line().await? {
                if line == BEGUN {
                    return Ok(());
                }
            }
            bail!("the session ended before it began")
        };
        tokio::time::timeout(PATIENCE, begun).await.context("the session does not begin")??;
        Ok(Held { child, input })
    }
}

/// What a held session prints when its statements are through.
const BEGUN: &str = "begun";

/// A session of a tenant that stays open.
#[derive(Debug)]
pub struct Held {
    child: Child,
    input: ChildStdin,
}

impl Held {
    /// Returns when the server has ended the session: a client notices with its next statement.
    pub async fn ended(mut self) -> anyhow::Result<()> {
        while self.child.try_wait()?.is_none() {
            if self.input.write_all(b"SELECT 1;\n").await.is_err() {
                return self.child.wait().await.map(drop).map_err(Into::into);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }
}

/// A socket to a pool, as any pod that may reach it has one.
pub async fn socket(stack: &Stack, pool: &str) -> anyhow::Result<TcpStream> {
    Ok(TcpStream::connect((address(stack, pool).await?, 5432)).await?)
}

async fn address(stack: &Stack, pool: &str) -> anyhow::Result<IpAddr> {
    let pod = format!("{pool}-0");
    let query = ["get", "pod", &pod, "-n", NAMESPACE, "-o", "jsonpath={.status.podIP}"];
    kubectl::run(stack, &query).await?.trim().parse().context("address of the pod")
}

/// The certificates of the authorities that a pool's server is trusted by, as clients get them.
pub async fn authorities(stack: &Stack, pool: &str) -> anyhow::Result<String> {
    let query = ["get", "secret", pool, "-n", NAMESPACE, "-o", "json"];
    let held: Value = serde_json::from_str(&kubectl::run(stack, &query).await?)?;
    decoded(&held["data"]["ca.crt"]).context("no authorities")
}

/// The text of a value of a Secret.
fn decoded(value: &Value) -> Option<String> {
    String::from_utf8(BASE64.decode(value.as_str()?).ok()?).ok()
}
