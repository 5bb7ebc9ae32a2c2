//! A database moves in the whole platform (DBS-33). Deaths on the way are among the faults.

use anyhow::ensure;
use e2e::databases::Moving;
use serde_json::json;

/// DBS-33, DBS-10: onto a server of its own.
#[tokio::test]
async fn a_database_moves_to_a_server_of_its_own() -> anyhow::Result<()> {
    let scene = Moving::new("move-own").await?;
    let before = scene.place().await?;
    let operation = scene.begin(json!({"dedicated": true})).await?;
    scene.ends(&operation).await?;
    scene.whole(&before, 500).await?;
    let now = scene.place().await?;
    ensure!(now["db_type"] == "dedicated", "{now}");
    Ok(())
}
