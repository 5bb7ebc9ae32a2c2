//! The baseline: `CREATE ROLE` and `CREATE DATABASE` on the same server, by its administrator, over
//! connections that are kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use e2e::Stack;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::Value;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode};
use uuid::Uuid;

use crate::provision::client;

/// A pool's server as its administrator reaches it.
pub struct Server {
    pool: PgPool,
    options: PgConnectOptions,
    environment: [(&'static str, String); 4],
}

impl Server {
    /// With the password from the pool's Secret and the address that the platform shows.
    pub async fn connect(stack: &Stack, pool: &Value) -> anyhow::Result<Self> {
        let text = |name: &str| pool[name].as_str().with_context(|| format!("the pool has no {name}"));
        let (name, namespace) = (text("name")?, text("namespace")?);
        let secrets: Api<Secret> = Api::namespaced(client(stack).await?, namespace);
        let data: BTreeMap<_, _> = secrets.get(name).await?.data.unwrap_or_default();
        let password = data.get("password").context("the Secret has no password")?;
        let port = pool["port"].as_u64().and_then(|port| u16::try_from(port).ok()).context("port")?;
        let password = std::str::from_utf8(&password.0)?;
        let options = PgConnectOptions::new_without_pgpass()
            .host(text("host")?)
            .port(port)
            .username(text("admin_user")?)
            .password(password)
            .ssl_mode(PgSslMode::Prefer)
            .database("postgres");
        let environment = [
            ("PGHOST", text("host")?.to_owned()),
            ("PGPORT", port.to_string()),
            ("PGUSER", text("admin_user")?.to_owned()),
            ("PGPASSWORD", password.to_owned()),
        ];
        let pool = PgPoolOptions::new().max_connections(8).connect_with(options.clone()).await?;
        Ok(Self { pool, options, environment })
    }

    /// A table of so many MiB in a tenant's database, as the tenant's own. Text that hardly compresses, in
    /// rows of a KiB.
    pub async fn fill(&self, database: &str, role: &str, mebibytes: u32) -> anyhow::Result<()> {
        let mut session = PgConnection::connect_with(&self.options.clone().database(database)).await?;
        // Names of databases and roles are ours: letters, digits and underscores.
        for statement in [
            "SET statement_timeout = 0".to_owned(),
            "CREATE TABLE bench (id bigint PRIMARY KEY, body text)".to_owned(),
            format!("ALTER TABLE bench OWNER TO {role}"),
            format!(
                "INSERT INTO bench SELECT n, (SELECT string_agg(md5(i::text || n::text), '') FROM generate_series(1, 30) i)
                 FROM generate_series(1, {mebibytes} * 1024) n"
            ),
            "CHECKPOINT".to_owned(),
        ] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut session).await?;
        }
        session.close().await?;
        Ok(())
    }

    /// Writes a row into a small table ten times a second, with the credentials of the instance, until its
    /// session is ended; gives their number.
    pub async fn work(
        &self,
        stack: &Stack,
        namespace: &str,
        instance: &str,
    ) -> anyhow::Result<tokio::task::JoinHandle<u32>> {
        let secrets: Api<Secret> = Api::namespaced(client(stack).await?, namespace);
        let data = secrets.get(&format!("odoo-{instance}")).await?.data.unwrap_or_default();
        let text = |key: &str| -> anyhow::Result<&str> {
            let value = data.get(key).with_context(|| format!("the Secret has no {key}"))?;
            Ok(std::str::from_utf8(&value.0)?)
        };
        let options = self
            .options
            .clone()
            .username(text("database-user")?)
            .password(text("database-password")?)
            .database(text("database-name")?);
        let mut session = PgConnection::connect_with(&options).await?;
        sqlx::raw_sql("CREATE TABLE activity (id bigserial PRIMARY KEY, at timestamptz DEFAULT now())")
            .execute(&mut session)
            .await?;
        Ok(tokio::spawn(async move {
            let mut written = 0;
            while sqlx::query("INSERT INTO activity DEFAULT VALUES").execute(&mut session).await.is_ok() {
                written += 1;
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            written
        }))
    }

    /// Dump and restore into a database that is made for it, by the programs and arguments of a move's job.
    pub fn copy_to(&self, database: &str, other: &Self, folder: &Path) -> anyhow::Result<()> {
        let copy = format!("bare_{}", Uuid::now_v7().simple());
        let dump = folder.join("dump").display().to_string();
        let run = |program: &str, server: &Self, arguments: &[&str]| {
            let done = Command::new(binaries().join(program))
                .args(arguments)
                .envs(server.environment.iter().map(|(name, value)| (*name, value.as_str())))
                .status()?;
            anyhow::ensure!(done.success(), "{program} failed");
            anyhow::Ok(())
        };
        run(
            "pg_dump",
            self,
            &[
                "-w",
                "-Fd",
                "-j4",
                "-Z1",
                "--no-owner",
                "--no-privileges",
                "--no-comments",
                "-f",
                &dump,
                database,
            ],
        )?;
        run("createdb", other, &["-w", "-T", "template0", &copy])?;
        run(
            "pg_restore",
            other,
            &["-w", "-j4", "--no-owner", "--no-privileges", "--no-comments", "-e", "-d", &copy, &dump],
        )
    }

    /// Both statements, with a name that nobody has.
    pub async fn make(&self) -> anyhow::Result<()> {
        let name = format!("bare_{}", Uuid::now_v7().simple());
        let mut connection = self.pool.acquire().await?;
        for statement in [
            format!(
                "CREATE ROLE {name} LOGIN PASSWORD \
                 'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU='"
            ),
            format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' OWNER {name}"),
        ] {
            // The name is made of hexadecimal digits here.
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

/// Folder of the newest installed server.
fn binaries() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("pg_dump").exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from("/usr/bin"))
}
