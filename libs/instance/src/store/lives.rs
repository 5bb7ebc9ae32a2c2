//! A worker that comes back under its old name (worker only): what it held in its former life is free at
//! once, and nobody takes it from one that lives.

use sqlx::PgConnection;
use uuid::Uuid;

/// Takes a worker's name for as long as this session lasts: PostgreSQL gives it back with the end of the
/// process. False: another process has it, or the former one has not ended yet.
pub async fn hold_name(connection: &mut PgConnection, owner: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_lock(hashtextextended('worker:' || $1::text, 0)) AS "held!""#,
        owner,
    )
    .fetch_one(connection)
    .await
}

/// Frees the leases of this name but those of `living` claims. The caller holds the name.
pub async fn free_former(connection: &mut PgConnection, owner: &str, living: &[Uuid]) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE operations SET lease_owner = NULL, lease_until = NULL, lease_token = NULL
         WHERE lease_owner = $1 AND NOT coalesce(lease_token = ANY($2), false)",
        owner,
        living,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
