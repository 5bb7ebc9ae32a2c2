//! Tenants' databases as an operator sees them: by the API of database-service, and by `psql` in a pool's
//! pod.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use test_kit::eventually;

use crate::{Customer, Stack, kubectl};

/// Start of the routes.
pub const BASE: &str = "/database/api/database";
/// Namespace of the pools.
pub const NAMESPACE: &str = "saasodoo";
/// Longest wait for work on a database.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// A server; `None` while it is not answered for.
pub async fn pool(admin: &Customer, name: &str) -> Option<Value> {
    admin.get(&format!("{BASE}/admin/pools/{name}")).await.ok()?.expect(200).ok()
}

/// Where the database of an instance is.
pub async fn place(admin: &Customer, id: &str) -> anyhow::Result<Value> {
    admin.get(&format!("{BASE}/allocations/{id}")).await?.expect(200)
}

/// What statements of the administrator say in a database of a pool.
pub async fn psql(stack: &Stack, pool: &str, database: &str, sql: &str) -> anyhow::Result<String> {
    let pod = format!("{pool}-0");
    let arguments =
        ["exec", "-n", NAMESPACE, &pod, "--", "psql", "-U", "pool_admin", "-d", database, "-Atc", sql];
    Ok(kubectl::run(stack, &arguments).await?.trim().to_owned())
}

/// Drops the database of an instance at once.
pub async fn purge(admin: &Customer, id: &str) -> anyhow::Result<()> {
    let release = json!({"instance_id": id, "mode": "purge", "reason": "the test is over"});
    admin.post(&format!("{BASE}/release"), release).await?.expect(202).map(drop)
}

/// Asks for another password of an instance's database; the task.
pub async fn rotate(admin: &Customer, id: &str) -> anyhow::Result<String> {
    let path = format!("{BASE}/admin/allocations/{id}/rotate");
    let begun = admin.post(&path, json!({"reason": "the test asks for it"})).await?.expect(202)?;
    ensure!(begun["task_id"] == begun["operation_id"], "{begun}");
    Ok(begun["task_id"].as_str().context("task")?.to_owned())
}

/// Waits until a task has succeeded.
pub async fn succeeded(admin: &Customer, task: &str) {
    eventually("the end of the task", PATIENCE, || async {
        let task = admin.get(&format!("{BASE}/admin/tasks/{task}")).await.ok()?.expect(200).ok()?;
        (task["state"] == "succeeded").then_some(())
    })
    .await;
}

/// The one role of an instance's database, which has its rights in it; the database itself is the platform's.
pub async fn owner(stack: &Stack, admin: &Customer, id: &str) -> anyhow::Result<String> {
    let found = place(admin, id).await?;
    let text = |name: &'static str| found[name].as_str().context(name);
    let (pool, user, name) = (text("db_server_name")?, text("db_user")?, text("db_name")?);
    let sql = format!("SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolname LIKE '{name}%'");
    let roles = psql(stack, pool, "postgres", &sql).await?;
    ensure!(roles == user, "{roles} instead of {user}");
    let sql = format!(
        "SELECT pg_get_userbyid(datdba), has_database_privilege('{user}', '{name}', 'CREATE')
         FROM pg_database WHERE datname = '{name}'"
    );
    let owner = psql(stack, pool, "postgres", &sql).await?;
    ensure!(owner == "platform_owner|t", "{owner}: {user} in {name}");
    Ok(user.to_owned())
}

/// A running instance whose database has a table of ours with 500 rows.
#[derive(Debug)]
pub struct Moving {
    /// Its stack.
    pub stack: Stack,
    /// The instance.
    pub id: String,
    admin: Customer,
    owner: Customer,
}

impl Moving {
    /// A new customer with the instance.
    pub async fn new(tag: &str) -> anyhow::Result<Self> {
        let stack = Stack::load()?;
        let admin = Customer::admin(&stack).await?;
        let owner = Customer::sign_up(&stack, tag).await?;
        let body = owner.create_running("Moved").await?;
        let id = body["id"].as_str().context("id")?.to_owned();
        let this = Self { stack, id, admin, owner };
        this.sql("CREATE TABLE written (id serial PRIMARY KEY, text text)").await?;
        this.sql("INSERT INTO written (text) SELECT n::text FROM generate_series(1, 500) n").await?;
        Ok(this)
    }

    /// Where its database is now.
    pub async fn place(&self) -> anyhow::Result<Value> {
        place(&self.admin, &self.id).await
    }

    /// In the database where it is now, as the role that owns it.
    pub async fn sql(&self, sql: &str) -> anyhow::Result<String> {
        let place = self.place().await?;
        self.sql_at(&place, sql).await
    }

    async fn sql_at(&self, place: &Value, sql: &str) -> anyhow::Result<String> {
        let text = |name: &str| place[name].as_str().with_context(|| format!("no {name}: {place}"));
        let pod = format!("{}-0", text("db_server_name")?);
        let role = format!("SET ROLE {}", text("db_user")?);
        let program =
            ["exec", "-n", NAMESPACE, &pod, "--", "psql", "-v", "ON_ERROR_STOP=1", "-U", "pool_admin"];
        let words = ["-d", text("db_name")?, "-qAtc", &role, "-c", sql];
        Ok(kubectl::run(&self.stack, &[&program[..], &words[..]].concat()).await?.trim().to_owned())
    }

    /// Asks for the move; its operation.
    pub async fn begin(&self, target: Value) -> anyhow::Result<String> {
        let mut body = json!({"reason": "the test asks for it"});
        body.as_object_mut().context("object")?.extend(target.as_object().cloned().unwrap_or_default());
        let path = format!("{BASE}/admin/allocations/{}/move", self.id);
        let begun = self.admin.post(&path, body).await?.expect(202)?;
        Ok(begun["operation_id"].as_str().context("operation")?.to_owned())
    }

    /// Waits until the operation has succeeded and the instance runs.
    pub async fn ends(&self, operation: &str) -> anyhow::Result<()> {
        let path = format!("/instance/instances/{}/operations/{operation}", self.id);
        let end = eventually("the end of the move", PATIENCE, || async {
            let body = self.admin.get(&path).await.ok()?.expect(200).ok()?;
            (body["state"] != "queued" && body["state"] != "running").then_some(body)
        })
        .await;
        ensure!(end["state"] == "succeeded", "{end}");
        self.owner.until(&self.id, "running").await.map(drop)
    }

    /// All rows are on another server than `before`, and nobody writes to the former database.
    pub async fn whole(&self, before: &Value, rows: usize) -> anyhow::Result<()> {
        let now = self.place().await?;
        ensure!(now["db_server_name"] != before["db_server_name"], "it is where it was: {now}");
        let count = self.sql("SELECT count(*) FROM written").await?;
        ensure!(count == rows.to_string(), "{count} rows instead of {rows}");
        self.sql("INSERT INTO written (text) VALUES ('after')").await?;
        eventually("the former database is closed", PATIENCE, || async {
            let refused =
                self.sql_at(before, "INSERT INTO written (text) VALUES ('too late')").await.err()?;
            refused.to_string().contains("read-only").then_some(())
        })
        .await;
        Ok(())
    }
}
