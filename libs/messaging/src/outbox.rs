//! Announcing an event in the transaction of the change (REL-02).

use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

/// Adds an event to the outbox. `aggregate` is the thing that it is about. Returns the message id.
///
/// The trace of the present span travels with the row. Nothing is published before the transaction commits.
pub async fn enqueue<T: Serialize + Sync>(
    connection: &mut PgConnection,
    topic: &str,
    aggregate: Uuid,
    payload: &T,
) -> sqlx::Result<Uuid> {
    let id = Uuid::now_v7();
    let payload = serde_json::to_value(payload).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let headers = serde_json::to_value(telemetry::context::headers())
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query("INSERT INTO outbox (id, topic, aggregate_id, payload, headers) VALUES ($1, $2, $3, $4, $5)")
        .bind(id)
        .bind(topic)
        .bind(aggregate)
        .bind(payload)
        .bind(headers)
        .execute(connection)
        .await?;
    Ok(id)
}
