//! Writes of `instances`: insert, and saves that name the version that they were decided on.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{BillingStatus, Change, DesiredState, Holds, Instance, OperationKind, Status};
use crate::store::{consents, json};

/// Inserts a new instance. False: its host name is taken (the transaction goes on).
pub async fn insert(connection: &mut PgConnection, instance: &Instance) -> sqlx::Result<bool> {
    let labels = json(&instance.labels)?;
    let inserted = sqlx::query!(
        r#"INSERT INTO instances (id, customer_id, subscription_id, plan, plan_tier, db_tier, name, description, odoo_version, instance_type,
               status, desired_state, billing_status, provisioning_status, cpu_millis, memory_mib, storage_mib, subdomain, admin_email,
               demo_data, display_database_name, db_type, deployment_name, service_name, internal_url, external_url, labels,
               credentials_until, created_at, updated_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,
               $27, $28, $29, $29)
           ON CONFLICT (subdomain) WHERE status <> 'purged' DO NOTHING"#,
        instance.id,
        instance.customer_id,
        instance.subscription_id,
        instance.plan,
        instance.plan_tier,
        instance.db_tier,
        instance.name,
        instance.description,
        instance.odoo_version,
        instance.instance_type,
        instance.status.as_str(),
        instance.desired_state.as_str(),
        instance.billing_status.as_str(),
        instance.provisioning_status.as_str(),
        i32::try_from(instance.limits.cpu_millis).map_err(|error| sqlx::Error::Encode(error.into()))?,
        i64::try_from(instance.limits.memory_mib).map_err(|error| sqlx::Error::Encode(error.into()))?,
        i64::try_from(instance.limits.storage_mib).map_err(|error| sqlx::Error::Encode(error.into()))?,
        instance.subdomain,
        instance.admin_email,
        instance.demo_data,
        instance.display_database_name,
        instance.db_type,
        instance.deployment_name,
        instance.service_name,
        instance.internal_url,
        instance.external_url,
        labels,
        instance.credentials_until,
        instance.created_at,
    )
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// What a decision writes besides the [`Change`].
#[derive(Debug, Clone, Default)]
pub struct RowUpdate {
    /// New text for `suspended_reason`; `None` leaves it.
    pub suspended_reason: Option<String>,
    /// New end of the retention.
    pub purge_after: Option<OffsetDateTime>,
    /// New value of the restart annotation.
    pub restarted_at: Option<OffsetDateTime>,
    /// New standing of the subscription.
    pub billing_status: Option<BillingStatus>,
}

/// Saves a decision on the version that it was made on. False: somebody was faster; load and decide again.
pub async fn save_change(
    connection: &mut PgConnection,
    before: &Instance,
    change: &Change,
    update: &RowUpdate,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    // Only what leads to other objects counts as a new generation; a purge has none left to want.
    let grows = !matches!(change.kind, OperationKind::Purge | OperationKind::ApplyResources);
    let keeps_retention = change.desired == DesiredState::Terminated;
    let saved = sqlx::query!(
        r#"UPDATE instances SET status = $3, desired_state = $4, desired_before_suspend = $5, billing_hold = $6, operator_hold = $7,
               suspended_reason = CASE WHEN $6 OR $7 THEN coalesce($8, suspended_reason) END,
               purge_after = CASE WHEN $9 THEN coalesce($10, purge_after) END,
               restarted_at = coalesce($11, restarted_at), billing_status = coalesce($12, billing_status),
               provisioning_status = CASE WHEN $13 = 'create' THEN 'pending' ELSE provisioning_status END,
               generation = generation + CASE WHEN $14 THEN 1 ELSE 0 END, version = version + 1, updated_at = $15
           WHERE id = $1 AND version = $2"#,
        before.id,
        before.version,
        change.status.as_str(),
        change.desired.as_str(),
        change.desired_before_suspend.map(DesiredState::as_str),
        change.holds.billing,
        change.holds.operator,
        update.suspended_reason,
        keeps_retention,
        update.purge_after,
        update.restarted_at,
        update.billing_status.map(BillingStatus::as_str),
        change.kind.as_str(),
        grows,
        now,
    )
    .execute(&mut *connection)
    .await?;
    // A word that the data may go is given for one end, and not for a later one.
    let comes_back =
        before.desired_state == DesiredState::Terminated && change.desired != DesiredState::Terminated;
    if comes_back || change.kind == OperationKind::Undelete {
        consents::withdraw(connection, before.id).await?;
    }
    Ok(saved.rows_affected() == 1)
}

/// Saves holds and billing's standing alone. False: lost race.
pub async fn save_holds(
    connection: &mut PgConnection,
    before: &Instance,
    holds: Holds,
    update: &RowUpdate,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let saved = sqlx::query!(
        r#"UPDATE instances SET billing_hold = $3, operator_hold = $4, suspended_reason = CASE WHEN $3 OR $4 THEN coalesce($5, suspended_reason) END,
               billing_status = coalesce($6, billing_status), version = version + 1, updated_at = $7
           WHERE id = $1 AND version = $2"#,
        before.id,
        before.version,
        holds.billing,
        holds.operator,
        update.suspended_reason,
        update.billing_status.map(BillingStatus::as_str),
        now,
    )
    .execute(connection)
    .await?;
    Ok(saved.rows_affected() == 1)
}

/// Puts an instance back to where it stood before an operation that was taken back. False: lost race.
pub async fn take_back(
    connection: &mut PgConnection,
    before: &Instance,
    status: Status,
    desired: DesiredState,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let saved = sqlx::query!(
        r#"UPDATE instances SET status = $3, desired_state = $4, generation = generation + 1, version = version + 1, updated_at = $5
           WHERE id = $1 AND version = $2"#,
        before.id,
        before.version,
        status.as_str(),
        desired.as_str(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(saved.rows_affected() == 1)
}

/// Saves what the owner may edit (INS-17). `status` differs when the new limits are rolled out. False: lost
/// race.
pub async fn save_edit(
    connection: &mut PgConnection,
    before: &Instance,
    edited: &Instance,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let labels = json(&edited.labels)?;
    // The display name stands in an annotation of the objects.
    let grows = before.limits != edited.limits || before.name != edited.name;
    let saved = sqlx::query!(
        r#"UPDATE instances SET name = $3, description = $4, admin_email = $5, labels = $6, cpu_millis = $7, memory_mib = $8, storage_mib = $9,
               status = $10, generation = generation + CASE WHEN $11 THEN 1 ELSE 0 END, version = version + 1, updated_at = $12
           WHERE id = $1 AND version = $2"#,
        before.id,
        before.version,
        edited.name,
        edited.description,
        edited.admin_email,
        labels,
        i32::try_from(edited.limits.cpu_millis).map_err(|error| sqlx::Error::Encode(error.into()))?,
        i64::try_from(edited.limits.memory_mib).map_err(|error| sqlx::Error::Encode(error.into()))?,
        i64::try_from(edited.limits.storage_mib).map_err(|error| sqlx::Error::Encode(error.into()))?,
        edited.status.as_str(),
        grows,
        now,
    )
    .execute(connection)
    .await?;
    Ok(saved.rows_affected() == 1)
}

/// Saves the plan that the subscription has now, with its limits (BIL-21, INS-29). False: lost race.
pub async fn save_plan(
    connection: &mut PgConnection,
    before: &Instance,
    after: &Instance,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    // A move of the database leads to another Secret, and so to another pod.
    let grows = before.limits != after.limits || after.status == Status::Maintenance;
    let saved = sqlx::query!(
        r#"UPDATE instances SET plan = $3, plan_tier = $4, cpu_millis = $5, memory_mib = $6, storage_mib = $7, status = $8,
               generation = generation + CASE WHEN $9 THEN 1 ELSE 0 END, version = version + 1, updated_at = $10, db_tier = $11
           WHERE id = $1 AND version = $2"#,
        before.id,
        before.version,
        after.plan,
        after.plan_tier,
        i32::try_from(after.limits.cpu_millis).map_err(|error| sqlx::Error::Encode(error.into()))?,
        i64::try_from(after.limits.memory_mib).map_err(|error| sqlx::Error::Encode(error.into()))?,
        i64::try_from(after.limits.storage_mib).map_err(|error| sqlx::Error::Encode(error.into()))?,
        after.status.as_str(),
        grows,
        now,
        after.db_tier,
    )
    .execute(connection)
    .await?;
    Ok(saved.rows_affected() == 1)
}

/// A terminated instance has another subscription with its plan (BIL-25). With `waits` it waits for the
/// payment, and what the retention was stays written until then. False: lost race.
pub async fn save_reactivation(
    connection: &mut PgConnection,
    before: &Instance,
    after: &Instance,
    waits: bool,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let saved = sqlx::query!(
        r#"UPDATE instances SET subscription_id = $3, plan = $4, plan_tier = $5, db_tier = $6, cpu_millis = $7, memory_mib = $8, storage_mib = $9,
               billing_status = $10, billing_hold = false, suspended_reason = NULL,
               status = CASE WHEN $11 THEN 'pending_payment' ELSE status END, version = version + 1, updated_at = $12
           WHERE id = $1 AND version = $2 AND status = 'terminated'"#,
        before.id,
        before.version,
        after.subscription_id,
        after.plan,
        after.plan_tier,
        after.db_tier,
        i32::try_from(after.limits.cpu_millis).map_err(|error| sqlx::Error::Encode(error.into()))?,
        i64::try_from(after.limits.memory_mib).map_err(|error| sqlx::Error::Encode(error.into()))?,
        i64::try_from(after.limits.storage_mib).map_err(|error| sqlx::Error::Encode(error.into()))?,
        after.billing_status.as_str(),
        waits,
        now,
    )
    .execute(connection)
    .await?;
    Ok(saved.rows_affected() == 1)
}

/// Marks the first credentials as shown, unless they are already. The version stays: nothing that anybody
/// decides on has changed.
pub async fn mark_revealed(
    connection: &mut PgConnection,
    id: Uuid,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let marked = sqlx::query!(
        "UPDATE instances SET credentials_revealed_at = $2 WHERE id = $1 AND credentials_revealed_at IS NULL",
        id,
        now,
    )
    .execute(connection)
    .await?;
    Ok(marked.rows_affected() == 1)
}
