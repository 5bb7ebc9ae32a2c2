//! A database moves in the whole platform (DBS-33): copied by a job while its instance runs, with what was written meanwhile, although the worker dies
//! on the way; onto a server of its own as well.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::{Customer, Stack, kubectl};
use serde_json::{Value, json};
use test_kit::eventually;

use crate::deaths;

const BASE: &str = "/database/api/database";
const PATIENCE: Duration = Duration::from_mins(3);

/// A running instance whose database has a table of ours.
struct Scene {
    stack: Stack,
    admin: Customer,
    ada: Customer,
    id: String,
}

impl Scene {
    async fn new(name: &str) -> anyhow::Result<Self> {
        let stack = Stack::load()?;
        let admin = Customer::admin(&stack).await?;
        let ada = Customer::sign_up(&stack, name).await?;
        let body = ada.create_running("Moved").await?;
        let id = body["id"].as_str().context("id")?.to_owned();
        let scene = Self { stack, admin, ada, id };
        scene.sql("CREATE TABLE written (id serial PRIMARY KEY, text text); INSERT INTO written (text) SELECT n::text FROM generate_series(1, 500) n").await?;
        Ok(scene)
    }

    async fn place(&self) -> anyhow::Result<Value> {
        self.admin.get(&format!("{BASE}/allocations/{}", self.id)).await?.expect(200)
    }

    /// In the database where it is now, as the role that owns it.
    async fn sql(&self, sql: &str) -> anyhow::Result<String> {
        let place = self.place().await?;
        self.sql_at(&place, sql).await
    }

    async fn sql_at(&self, place: &Value, sql: &str) -> anyhow::Result<String> {
        let text = |name: &str| place[name].as_str().with_context(|| format!("no {name}: {place}"));
        let pod = format!("{}-0", text("db_server_name")?);
        let role = format!("SET ROLE {}", text("db_user")?);
        let program =
            ["exec", "-n", "saasodoo", &pod, "--", "psql", "-v", "ON_ERROR_STOP=1", "-U", "pool_admin"];
        let words = ["-d", text("db_name")?, "-qAtc", &role, "-c", sql];
        Ok(kubectl::run(&self.stack, &[&program[..], &words[..]].concat()).await?.trim().to_owned())
    }

    async fn begin(&self, target: Value) -> anyhow::Result<String> {
        let mut body = json!({"reason": "the test asks for it"});
        body.as_object_mut().context("object")?.extend(target.as_object().cloned().unwrap_or_default());
        let path = format!("{BASE}/admin/allocations/{}/move", self.id);
        let begun = self.admin.post(&path, body).await?.expect(202)?;
        Ok(begun["operation_id"].as_str().context("operation")?.to_owned())
    }

    async fn ends(&self, operation: &str) -> anyhow::Result<()> {
        let path = format!("/instance/instances/{}/operations/{operation}", self.id);
        let end = eventually("the end of the move", PATIENCE, || async {
            let body = self.admin.get(&path).await.ok()?.expect(200).ok()?;
            (body["state"] != "queued" && body["state"] != "running").then_some(body)
        })
        .await;
        ensure!(end["state"] == "succeeded", "{end}");
        self.ada.until(&self.id, "running").await?;
        Ok(())
    }

    /// All rows are on the other server, and nobody writes to the former database.
    async fn whole(&self, before: &Value, rows: usize) -> anyhow::Result<()> {
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

/// DBS-33, REL-06: the worker dies after the first copy, after the last ones and after the switch; what is written in between arrives.
#[tokio::test]
async fn a_worker_that_dies_on_the_way_loses_nothing() -> anyhow::Result<()> {
    let scene = Scene::new("move-deaths").await?;
    let (stack, before) = (&scene.stack, scene.place().await?);
    let begin = async || scene.begin(json!({})).await;
    let meanwhile = async |step: &str| {
        if step != "copy" {
            return Ok(());
        }
        let pods = kubectl::pod_uids(stack, &scene.id).await?;
        ensure!(pods.len() == 1, "the instance is off while its database is copied: {pods:?}");
        scene
            .sql(
                "INSERT INTO written (text) VALUES ('meanwhile'); UPDATE written SET text = 'x' WHERE id = 7",
            )
            .await
            .map(drop)
    };
    let steps = ["copy", "sync", "switch"];
    let operation = deaths::after_each(stack, "move_database", &steps, begin, meanwhile).await?;
    scene.ends(&operation).await?;
    scene.whole(&before, 501).await
}

/// DBS-33, DBS-10: onto a server of its own.
#[tokio::test]
async fn a_database_moves_to_a_server_of_its_own() -> anyhow::Result<()> {
    let scene = Scene::new("move-own").await?;
    let before = scene.place().await?;
    let operation = scene.begin(json!({"dedicated": true})).await?;
    scene.ends(&operation).await?;
    scene.whole(&before, 500).await?;
    let now = scene.place().await?;
    ensure!(now["db_type"] == "dedicated", "{now}");
    Ok(())
}
