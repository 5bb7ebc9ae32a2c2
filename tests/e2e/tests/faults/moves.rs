//! A database moves although the worker dies on the way (DBS-33): copied by a job while its instance runs,
//! with what was written meanwhile.

use anyhow::ensure;
use e2e::databases::Moving;
use e2e::kubectl;
use serde_json::json;

use crate::deaths::{self, Next};

/// DBS-33, REL-06: the worker dies after the first copy, after the last ones and after the switch; what is
/// written in between arrives.
#[tokio::test]
async fn a_worker_that_dies_on_the_way_loses_nothing() -> anyhow::Result<()> {
    let scene = Moving::new("move-deaths").await?;
    let (stack, before) = (&scene.stack, scene.place().await?);
    let begin = async || scene.begin(json!({})).await;
    let meanwhile = async |step: &str| {
        if step != "copy" {
            return Ok(());
        }
        let pods = kubectl::pod_uids(stack, &scene.id).await?;
        ensure!(pods.len() == 1, "the instance is off while its database is copied: {pods:?}");
        scene.sql("INSERT INTO written (text) VALUES ('meanwhile')").await?;
        scene.sql("UPDATE written SET text = 'x' WHERE id = 7").await.map(drop)
    };
    let steps = ["copy", "sync", "switch"];
    let operation =
        deaths::after_each(stack, Next::Another, "move_database", &steps, begin, meanwhile).await?;
    scene.ends(&operation).await?;
    scene.whole(&before, 501).await
}
