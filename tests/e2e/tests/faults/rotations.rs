//! A password changes in the whole platform although the worker dies after each step of `rotate_password`,
//! after the effect and before the record (DBS-32).

use anyhow::{Context as _, ensure};
use e2e::{Customer, Stack, databases};

use crate::deaths::{self, Next};

/// REL-06, DBS-32
#[tokio::test]
async fn a_worker_that_dies_after_each_step_ends_it_all_the_same() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let admin = Customer::admin(&stack).await?;
    let ada = Customer::sign_up(&stack, "rotate-deaths").await?;
    let body = ada.create_running("Rotated").await?;
    let id = body["id"].as_str().context("id")?;
    let before = databases::owner(&stack, &admin, id).await?;

    let steps = ["credential", "switch", "stop", "gone", "retire", "workload", "ready"];
    let begin = async || databases::rotate(&admin, id).await;
    let task =
        deaths::after_each(&stack, Next::Restarted, "rotate_password", &steps, begin, async |_| Ok(()))
            .await?;

    databases::succeeded(&admin, &task).await;
    ada.until(id, "running").await?;
    ensure!(databases::owner(&stack, &admin, id).await? != before, "another role");
    Ok(())
}
