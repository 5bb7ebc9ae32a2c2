//! The baseline: `CREATE ROLE` and `CREATE DATABASE` on the same server, by its administrator, over connections that are kept.

use std::collections::BTreeMap;

use anyhow::Context as _;
use e2e::Stack;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use uuid::Uuid;

use crate::provision::client;

/// A pool's server as its administrator reaches it.
pub struct Server(PgPool);

impl Server {
    /// With the password from the pool's Secret and the address that the platform shows.
    pub async fn connect(stack: &Stack, pool: &Value) -> anyhow::Result<Self> {
        let text = |name: &str| pool[name].as_str().with_context(|| format!("the pool has no {name}"));
        let (name, namespace) = (text("name")?, text("namespace")?);
        let secrets: Api<Secret> = Api::namespaced(client(stack).await?, namespace);
        let data: BTreeMap<_, _> = secrets.get(name).await?.data.unwrap_or_default();
        let password = data.get("password").context("the Secret has no password")?;
        let port = pool["port"].as_u64().and_then(|port| u16::try_from(port).ok()).context("port")?;
        let options = PgConnectOptions::new_without_pgpass()
            .host(text("host")?)
            .port(port)
            .username(text("admin_user")?)
            .password(std::str::from_utf8(&password.0)?)
            .ssl_mode(PgSslMode::Prefer)
            .database("postgres");
        Ok(Self(PgPoolOptions::new().max_connections(8).connect_with(options).await?))
    }

    /// Both statements, with a name that nobody has.
    pub async fn make(&self) -> anyhow::Result<()> {
        let name = format!("bare_{}", Uuid::now_v7().simple());
        let mut connection = self.0.acquire().await?;
        for statement in [
            format!(
                "CREATE ROLE {name} LOGIN PASSWORD 'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU='"
            ),
            format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' OWNER {name}"),
        ] {
            // The name is made of hexadecimal digits here.
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *connection).await?;
        }
        Ok(())
    }
}
