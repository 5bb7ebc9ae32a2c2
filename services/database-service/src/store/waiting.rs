//! Table `waiting`: who asked and found no room.

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::domain::names::ExternalId;
use crate::domain::pool::ServerType;

/// Notes that a request waits; `false` when another customer waits under this id.
pub async fn note(
    connection: &mut PgConnection,
    instance: &ExternalId,
    customer: &ExternalId,
    server_type: ServerType,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO waiting (instance_id, customer_id, server_type, since, last_asked_at) VALUES ($1, $2, $3, $4, $4)
         ON CONFLICT (instance_id) DO UPDATE SET last_asked_at = $4, server_type = $3 WHERE waiting.customer_id = $2",
        instance.as_str(),
        customer.as_str(),
        server_type.as_str(),
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Nobody waits for it any more.
pub async fn remove(connection: &mut PgConnection, instance: &ExternalId) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM waiting WHERE instance_id = $1", instance.as_str()).execute(connection).await?;
    Ok(())
}

/// Forgets requests that stopped asking before `before`.
pub async fn forget(connection: &mut PgConnection, before: OffsetDateTime) -> sqlx::Result<u64> {
    let done =
        sqlx::query!("DELETE FROM waiting WHERE last_asked_at < $1", before).execute(connection).await?;
    Ok(done.rows_affected())
}
