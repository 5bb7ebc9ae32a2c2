//! Accounts that were closed (USR-20). An account may have been asked for just before it was closed: whoever
//! orders for it looks here too, in the transaction of the order's row.

use sqlx::PgConnection;
use uuid::Uuid;

/// Notes it. The caller holds the customer's lock: what was ordered before is there, and nothing is ordered
/// after.
pub async fn note(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO closed_customers (customer_id, closed_at) VALUES ($1, now())
         ON CONFLICT (customer_id) DO UPDATE SET closed_at = excluded.closed_at",
        customer,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Was it closed just now? What user-service said of the account may be older than that. One that was closed
/// long ago and is active again was opened again.
pub async fn is_closing(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM closed_customers
                          WHERE customer_id = $1 AND closed_at > now() - interval '5 minutes') AS "closing!""#,
        customer,
    )
    .fetch_one(connection)
    .await
}
