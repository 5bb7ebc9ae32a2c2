//! Table `allocations`. The number of tenants of a server follows by trigger (DBS-23).

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::decode;
use crate::domain::allocation::Allocation;
use crate::domain::names::{ExternalId, TenantName};
use crate::domain::placement::PlanTier;

struct Row {
    id: Uuid,
    instance_id: String,
    customer_id: String,
    db_server_id: Uuid,
    db_name: String,
    db_user: String,
    plan_tier: String,
    state: String,
    purging: bool,
    allocated_at: Option<OffsetDateTime>,
    purge_after: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
}

impl TryFrom<Row> for Allocation {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id,
            instance_id: row.instance_id,
            customer_id: row.customer_id,
            db_server_id: row.db_server_id,
            db_name: row.db_name,
            db_user: row.db_user,
            plan_tier: row.plan_tier.parse().map_err(decode)?,
            state: row.state.parse().map_err(decode)?,
            purging: row.purging,
            allocated_at: row.allocated_at,
            purge_after: row.purge_after,
            created_at: row.created_at,
        })
    }
}

/// The rows of `allocations` that a condition names: the columns stand here once.
macro_rules! select_allocations {
    ($condition:literal, $($argument:expr),+) => {
        sqlx::query_as!(
            Row,
            "SELECT id, instance_id, customer_id, db_server_id, db_name, db_user, plan_tier, state, purging,
                 allocated_at, purge_after, created_at
             FROM allocations WHERE " + $condition,
            $($argument),+
        )
    };
}

/// One allocation.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Allocation>> {
    let row = select_allocations!("id = $1", id).fetch_optional(connection).await?;
    row.map(Allocation::try_from).transpose()
}

/// The allocation of an instance.
pub async fn find_by_instance(
    connection: &mut PgConnection,
    instance: &ExternalId,
) -> sqlx::Result<Option<Allocation>> {
    let row = select_allocations!("instance_id = $1", instance.as_str()).fetch_optional(connection).await?;
    row.map(Allocation::try_from).transpose()
}

/// What a server holds, oldest first; purged ones left out.
pub async fn on_server(connection: &mut PgConnection, server: Uuid) -> sqlx::Result<Vec<Allocation>> {
    let rows = select_allocations!("db_server_id = $1 AND state <> 'purged' ORDER BY created_at, id", server)
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(Allocation::try_from).collect()
}

/// A slot to take.
#[derive(Debug, Clone)]
pub struct Slot<'a> {
    /// For whom.
    pub instance: &'a ExternalId,
    /// Of whom.
    pub customer: &'a ExternalId,
    /// Where.
    pub server: Uuid,
    /// Names on the server.
    pub name: &'a TenantName,
    /// Tier.
    pub tier: PlanTier,
}

/// Takes a slot in state `allocating`; `None` when the instance got an allocation meanwhile. A purged one
/// gives its row up for the new one.
pub async fn insert(
    connection: &mut PgConnection,
    slot: &Slot<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query!(
        "DELETE FROM allocations WHERE instance_id = $1 AND state = 'purged'",
        slot.instance.as_str()
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query_scalar!(
        "INSERT INTO allocations (id, instance_id, customer_id, db_server_id, db_name, db_user, plan_tier, state, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $5, $6, 'allocating', $7, $7) ON CONFLICT (instance_id) DO NOTHING RETURNING id",
        Uuid::now_v7(),
        slot.instance.as_str(),
        slot.customer.as_str(),
        slot.server,
        slot.name.as_str(),
        slot.tier.as_str(),
        now,
    )
    .fetch_optional(connection)
    .await
}

/// Waits until nobody else works on this tenant's role and database; holds until the end of the transaction.
pub async fn lock_work(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))::text", id.to_string())
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// Fails when the session that holds such a lock is lost, and the lock with it.
pub async fn still_works(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(r#"SELECT 1 AS "one!""#).fetch_one(connection).await?;
    Ok(())
}

/// Role and database are there.
pub async fn mark_allocated(
    connection: &mut PgConnection,
    id: Uuid,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE allocations SET state = 'allocated', allocated_at = coalesce(allocated_at, $2), updated_at = $2, last_error = ''
         WHERE id = $1 AND state = 'allocating'",
        id,
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes why it does not go on; the sweep tries again later.
pub async fn note_failure(
    connection: &mut PgConnection,
    id: Uuid,
    text: &str,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!("UPDATE allocations SET last_error = $2, updated_at = $3 WHERE id = $1", id, text, now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives a slot back whose database was never made by us.
pub async fn delete_unmade(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    let done = sqlx::query!("DELETE FROM allocations WHERE id = $1 AND state = 'allocating'", id)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Soft release: kept until `purge_after`.
pub async fn mark_released(
    connection: &mut PgConnection,
    id: Uuid,
    purge_after: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE allocations SET state = 'released', released_at = $3, purge_after = $2, updated_at = $3
         WHERE id = $1 AND state IN ('allocating', 'allocated')",
        id,
        purge_after,
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// From here on the database may be gone: no way back.
pub async fn mark_purging(connection: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE allocations SET state = 'released', purging = true, released_at = coalesce(released_at, $2),
             purge_after = coalesce(purge_after, $2), updated_at = $2
         WHERE id = $1 AND state <> 'purged'",
        id,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Role and database are gone; the slot is free.
pub async fn mark_purged(connection: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE allocations SET state = 'purged', purged_at = $2, updated_at = $2, last_error = '' WHERE id = $1 AND state = 'released' AND purging",
        id,
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A softly released one is live again, finished or not.
pub async fn mark_reclaimed(
    connection: &mut PgConnection,
    id: Uuid,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE allocations SET state = CASE WHEN allocated_at IS NULL THEN 'allocating' ELSE 'allocated' END,
             released_at = NULL, purge_after = NULL, updated_at = $2
         WHERE id = $1 AND state = 'released' AND NOT purging",
        id,
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Work that began before `before` and did not end: (id, purging).
pub async fn unfinished(
    connection: &mut PgConnection,
    before: OffsetDateTime,
) -> sqlx::Result<Vec<(Uuid, bool)>> {
    let rows = sqlx::query!(
        "SELECT id, purging FROM allocations WHERE (state = 'allocating' OR (purging AND state <> 'purged')) AND updated_at < $1
         ORDER BY updated_at LIMIT 100",
        before
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.purging)).collect())
}

/// Where an allocation is now.
pub async fn server_of(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!("SELECT db_server_id FROM allocations WHERE id = $1", id)
        .fetch_optional(connection)
        .await
}
