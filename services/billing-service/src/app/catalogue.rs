//! Brings the tables to the catalogue, and refuses to sell from a broken one (BIL-01).

use anyhow::{Context as _, bail};
use sqlx::PgPool;

use crate::domain::catalogue::Catalogue;
use crate::store::plans;

/// Applies the catalogue when it is another than the last one, or always with `forced`.
pub async fn apply_catalogue(pool: &PgPool, catalogue: &Catalogue, forced: bool) -> anyhow::Result<()> {
    let mut tx = pool.begin().await.context("cannot apply the catalogue")?;
    if plans::apply(&mut tx, catalogue, forced).await.context("cannot apply the catalogue")? {
        tx.commit().await.context("cannot apply the catalogue")?;
        tracing::info!(plans = catalogue.plans.len(), "catalogue applied");
    }
    Ok(())
}

/// Fails with the name of the first plan that is for sale and gives nothing.
pub async fn check_catalogue(pool: &PgPool) -> anyhow::Result<()> {
    let broken = plans::without_entitlement(pool).await.context("cannot read the plans")?;
    if let Some(plan) = broken.first() {
        bail!("plan {plan} has no entitlement: run `billing-service migrate` or mend the catalogue");
    }
    Ok(())
}
