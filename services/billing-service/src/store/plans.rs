//! Plans and their entitlements.

use sqlx::{PgConnection, PgExecutor};

use super::{corrupt, number, readable};
use crate::domain::catalogue::{Catalogue, CataloguePlan, DbType};
use crate::domain::money::Money;
use crate::domain::plan::Plan;

/// One start at a time applies the catalogue.
const CATALOGUE_LOCK: i64 = 0x6361_7461;

/// Brings the tables to the catalogue: plans are updated, a changed entitlement gets a new version, plans
/// that left are taken off sale. Unless `forced`, a catalogue that was applied before is left alone. `true`:
/// something was written.
pub async fn apply(connection: &mut PgConnection, catalogue: &Catalogue, forced: bool) -> sqlx::Result<bool> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", CATALOGUE_LOCK).execute(&mut *connection).await?;
    let applied =
        sqlx::query_scalar!("SELECT digest FROM catalogue_state").fetch_optional(&mut *connection).await?;
    if !forced && applied.as_deref() == Some(catalogue.digest.as_str()) {
        return Ok(false);
    }
    for (position, plan) in catalogue.plans.iter().enumerate() {
        upsert(connection, plan, number(position)?).await?;
        entitle(connection, plan).await?;
    }
    let names: Vec<String> = catalogue.plans.iter().map(|plan| plan.name.clone()).collect();
    sqlx::query!(
        "UPDATE plans SET active = false, updated_at = now() WHERE active AND name <> ALL($1)",
        &names
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO catalogue_state (digest) VALUES ($1)
         ON CONFLICT (only_row) DO UPDATE SET digest = excluded.digest, applied_at = now()",
        catalogue.digest,
    )
    .execute(connection)
    .await?;
    Ok(true)
}

async fn upsert(connection: &mut PgConnection, plan: &CataloguePlan, position: i32) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO plans (name, product, tier, billing_period, description, price_minor, currency, trial_days, active, position)
         VALUES ($1, $2, $3, $4, $5, $6::bigint, $7, $8, true, $9)
         ON CONFLICT (name) DO UPDATE SET product = excluded.product, tier = excluded.tier, billing_period = excluded.billing_period,
             description = excluded.description, price_minor = excluded.price_minor, currency = excluded.currency,
             trial_days = excluded.trial_days, active = true, position = excluded.position, updated_at = now()",
        plan.name,
        plan.product,
        plan.tier.as_str(),
        plan.billing_period.as_str(),
        plan.description,
        plan.price.minor(),
        plan.price.currency().to_string(),
        i32::from(plan.trial_days),
        position,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds a version when the newest one says something else.
async fn entitle(connection: &mut PgConnection, plan: &CataloguePlan) -> sqlx::Result<()> {
    let gives = &plan.entitlement;
    sqlx::query!(
        "INSERT INTO plan_entitlements (plan_name, version, cpu_millis, memory_mib, storage_mib, db_type, db_tier, backup_schedule, backups_keep, max_users_note)
         SELECT $1::text, coalesce((SELECT max(version) FROM plan_entitlements WHERE plan_name = $1), 0) + 1,
                $2::integer, $3::bigint, $4::bigint, $5::text, $6::text, $7::text, $8::integer, $9::text
         WHERE NOT EXISTS (
             SELECT FROM plan_entitlements
             WHERE plan_name = $1 AND version = (SELECT max(version) FROM plan_entitlements WHERE plan_name = $1)
               AND (cpu_millis, memory_mib, storage_mib, db_type, db_tier, backup_schedule, backups_keep, max_users_note)
                 = ($2::integer, $3::bigint, $4::bigint, $5::text, $6::text, $7::text, $8::integer, $9::text))",
        plan.name,
        number::<i32, _>(gives.cpu_millis)?,
        i64::from(gives.memory_mib),
        i64::from(gives.storage_mib),
        gives.db_type.as_str(),
        gives.db_tier,
        gives.backup_schedule,
        number::<i32, _>(gives.backups_keep)?,
        gives.max_users_note,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Plans for sale that give nothing (BIL-01).
pub async fn without_entitlement(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "SELECT name FROM plans p WHERE active AND NOT EXISTS (SELECT FROM plan_entitlements e WHERE e.plan_name = p.name) ORDER BY position"
    )
    .fetch_all(db)
    .await
}

struct Row {
    name: String,
    product: String,
    tier: String,
    billing_period: String,
    description: String,
    price_minor: i64,
    currency: String,
    trial_days: i32,
    active: bool,
    version: i64,
    cpu_millis: i32,
    memory_mib: i64,
    storage_mib: i64,
    db_type: String,
    db_tier: String,
    backup_schedule: String,
    backups_keep: i32,
}

impl TryFrom<Row> for Plan {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            tier: row.tier.parse().map_err(corrupt)?,
            billing_period: row.billing_period.parse().map_err(corrupt)?,
            price: Money::new(row.price_minor, row.currency.parse().map_err(corrupt)?),
            trial_days: number(row.trial_days)?,
            cpu_millis: number(row.cpu_millis)?,
            memory_mib: number(row.memory_mib)?,
            storage_mib: number(row.storage_mib)?,
            db_type: if row.db_type == "dedicated" { DbType::Dedicated } else { DbType::Shared },
            backups_keep: number(row.backups_keep)?,
            name: row.name,
            product: row.product,
            description: row.description,
            active: row.active,
            entitlement_version: row.version,
            db_tier: row.db_tier,
            backup_schedule: row.backup_schedule,
        })
    }
}

/// Plans in the order of the catalogue, with what they give now.
pub async fn list(db: impl PgExecutor<'_>, include_unavailable: bool) -> sqlx::Result<Vec<Plan>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT p.name, product, tier, billing_period, description, price_minor::bigint AS "price_minor!", currency AS "currency!", trial_days, active,
                  e.version, cpu_millis, memory_mib, storage_mib, db_type, db_tier, backup_schedule, backups_keep
           FROM plans p JOIN LATERAL (SELECT * FROM plan_entitlements WHERE plan_name = p.name ORDER BY version DESC LIMIT 1) e ON true
           WHERE active OR $1 ORDER BY active DESC, position, name"#,
        include_unavailable,
    )
    .fetch_all(db)
    .await?;
    readable("plans", rows)
}

/// A plan with a version of what it gives; the newest when `version` is `None`.
pub async fn find(db: impl PgExecutor<'_>, name: &str, version: Option<i64>) -> sqlx::Result<Option<Plan>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT p.name, product, tier, billing_period, description, price_minor::bigint AS "price_minor!", currency AS "currency!", trial_days, active,
                  e.version, cpu_millis, memory_mib, storage_mib, db_type, db_tier, backup_schedule, backups_keep
           FROM plans p JOIN LATERAL (
               SELECT * FROM plan_entitlements WHERE plan_name = p.name AND ($2::bigint IS NULL OR version = $2) ORDER BY version DESC LIMIT 1) e ON true
           WHERE p.name = $1"#,
        name,
        version,
    )
    .fetch_optional(db)
    .await?;
    row.map(Plan::try_from).transpose()
}
