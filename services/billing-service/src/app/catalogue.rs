//! Brings the tables to the catalogue, and refuses to sell from a broken one (BIL-01).

use anyhow::{Context as _, bail};
use sqlx::PgPool;

use super::App;
use crate::domain::catalogue::Catalogue;
use crate::domain::plan::Plan;
use crate::error::Error;
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
        bail!("plan {plan} has no entitlement: run `billing-service migrate` or correct the catalogue");
    }
    Ok(())
}

/// The plans that are for sale, or all that ever were.
pub async fn list_plans(app: &App, include_unavailable: bool) -> Result<Vec<Plan>, Error> {
    Ok(plans::list(&app.pool, include_unavailable).await?)
}

/// A plan; one that is not for sale only with `include_unavailable`.
pub async fn find_plan(app: &App, name: &str, include_unavailable: bool) -> Result<Plan, Error> {
    plans::find(&app.pool, name, None)
        .await?
        .filter(|plan| plan.active || include_unavailable)
        .ok_or(Error::NotFound("plan"))
}
