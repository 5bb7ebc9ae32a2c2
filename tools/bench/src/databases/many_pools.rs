//! Many pools with many databases: real servers in pods, made by the platform as customers would have it make
//! them.

use anyhow::Context as _;
use e2e::Customer;
use reqwest::Method;
use serde_json::{Value, json};

use super::{BASE, allocate, own_pool};
use crate::clock::many;
use crate::figures::say;

/// Makes what is missing of so many pools and databases.
pub async fn fill(admin: &Customer, pools: usize, tenants: usize, concurrency: usize) -> anyhow::Result<()> {
    let there = list(admin).await?;
    // Whatever is there keeps what it has: the new ones are filled evenly.
    for pool in &there {
        let body = json!({"status": "maintenance", "reason": "others are filled"});
        let path = format!("{BASE}/admin/pools/{}", pool["id"].as_str().context("id")?);
        admin.send(Method::PATCH, &path, Some(body)).await?.expect(200)?;
    }
    let (missing, needed) = (
        pools.saturating_sub(there.len()).max(1),
        tenants.saturating_sub(usize::try_from(self::tenants(admin).await?)?),
    );
    let slots = u32::try_from(needed.div_ceil(missing).max(1))?;
    say(&format!("{missing} pools of {slots} databases"));
    for _ in 0..missing {
        own_pool(admin, slots).await?;
    }
    many(needed, concurrency, || allocate(admin)).await?;
    for pool in &there {
        let body = json!({"status": "active", "reason": "others were filled"});
        let path = format!("{BASE}/admin/pools/{}", pool["id"].as_str().context("id")?);
        admin.send(Method::PATCH, &path, Some(body)).await?.expect(200)?;
    }
    Ok(())
}

/// Databases on all pools.
pub async fn tenants(admin: &Customer) -> anyhow::Result<u32> {
    let used = |pool: &Value| pool["current_instances"].as_u64().unwrap_or(0);
    Ok(u32::try_from(list(admin).await?.iter().map(used).sum::<u64>())?)
}

/// Pools that serve.
async fn list(admin: &Customer) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for status in ["active", "full"] {
        let path = format!("{BASE}/admin/pools?status={status}&page_size=100");
        let body = admin.get(&path).await?.expect(200)?;
        found.extend(body["pools"].as_array().cloned().unwrap_or_default());
    }
    Ok(found)
}
