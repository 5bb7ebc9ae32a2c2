//! Counts and lists of ids: quota, work of the sweeps, look-ups of other services.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// Lets one create of a customer decide at a time, until the transaction ends (INS-13).
pub async fn lock_customer(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('customer:' || $1::text, 0))",
        customer.to_string()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Live instances of a customer, and whether a host name is taken.
pub async fn room(
    connection: &mut PgConnection,
    customer: Uuid,
    subdomain: &str,
) -> sqlx::Result<(i64, bool)> {
    let room = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM instances WHERE customer_id = $1 AND status NOT IN ('terminated', 'purged')) AS "live!",
               EXISTS (SELECT 1 FROM instances WHERE subdomain = $2 AND status <> 'purged') AS "taken!""#,
        customer,
        subdomain,
    )
    .fetch_one(connection)
    .await?;
    Ok((room.live, room.taken))
}

/// Live instances by customer; customers without any are missing.
pub async fn count_live(connection: &mut PgConnection, customers: &[Uuid]) -> sqlx::Result<Vec<(Uuid, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT customer_id, count(*) AS "count!" FROM instances
           WHERE customer_id = ANY($1) AND status NOT IN ('terminated', 'purged') GROUP BY customer_id"#,
        customers,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.customer_id, row.count)).collect())
}

/// Ids of a customer's live instances.
pub async fn live_of(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT id FROM instances WHERE customer_id = $1 AND status NOT IN ('terminated', 'purged') ORDER BY created_at",
        customer,
    )
    .fetch_all(connection)
    .await
}

/// Work of the sweeps: which action is due for which instance, without anybody asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Terminated, and the retention has passed. After a failure it rests for an hour.
    pub purge: Vec<Uuid>,
    /// Held, but not suspended, and at rest.
    pub suspend: Vec<Uuid>,
    /// Suspended, but nobody holds it any more, and at rest.
    pub unsuspend: Vec<Uuid>,
}

/// What is due now, at most `limit` of each.
pub async fn due(connection: &mut PgConnection, now: OffsetDateTime, limit: i64) -> sqlx::Result<Due> {
    let rows = sqlx::query!(
        r#"WITH resting AS (
               SELECT i.* FROM instances i
               WHERE NOT EXISTS (SELECT 1 FROM operations o WHERE o.instance_id = i.id AND o.state IN ('queued', 'running')))
           (SELECT id AS "id!", 'purge' AS "what!" FROM resting WHERE status = 'terminated' AND purge_after <= $1
               AND NOT EXISTS (SELECT 1 FROM operations f WHERE f.instance_id = resting.id AND f.kind = 'purge' AND f.state = 'failed'
                   AND f.finished_at > $1::timestamptz - interval '1 hour')
               ORDER BY purge_after LIMIT $2)
           UNION ALL
           (SELECT id, 'suspend' FROM resting WHERE (billing_hold OR operator_hold) AND desired_state <> 'suspended'
               AND status IN ('running', 'stopped', 'error') AND provisioning_status = 'completed' LIMIT $2)
           UNION ALL
           (SELECT id, 'unsuspend' FROM resting WHERE NOT billing_hold AND NOT operator_hold AND status = 'suspended' LIMIT $2)"#,
        now,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let of = |what: &str| rows.iter().filter(|row| row.what == what).map(|row| row.id).collect();
    Ok(Due { purge: of("purge"), suspend: of("suspend"), unsuspend: of("unsuspend") })
}

/// Instances that wait for a payment, with their subscriptions, oldest first.
pub async fn unpaid(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<(Uuid, Uuid)>> {
    let rows = sqlx::query!(
        r#"SELECT id, subscription_id AS "subscription_id!" FROM instances
           WHERE status = 'pending_payment' AND subscription_id IS NOT NULL ORDER BY created_at LIMIT $1"#,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.subscription_id)).collect())
}

/// Terminated instances whose retention has passed, oldest first (dry run of a purge).
pub async fn expired(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT id FROM instances WHERE status = 'terminated' AND purge_after <= $1 ORDER BY purge_after LIMIT $2",
        now,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// Live instances with their subscriptions after an id, in the order of the ids: pages for sweeps and audits (BIL-37).
pub async fn live_after(
    connection: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<(Uuid, Uuid)>> {
    let rows = sqlx::query!(
        r#"SELECT id, subscription_id AS "subscription_id!" FROM instances
           WHERE id > $1 AND status NOT IN ('terminated', 'purged') AND subscription_id IS NOT NULL ORDER BY id LIMIT $2"#,
        after,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.subscription_id)).collect())
}

/// A live instance, as billing's audit looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// The instance.
    pub id: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// What pays for it.
    pub subscription_id: Option<Uuid>,
}

/// Live instances after an id, in the order of the ids, those that nobody pays for among them (BIL-37).
pub async fn live_page(connection: &mut PgConnection, after: Uuid, limit: i64) -> sqlx::Result<Vec<Live>> {
    sqlx::query_as!(
        Live,
        "SELECT id, customer_id, subscription_id FROM instances
         WHERE id > $1 AND status NOT IN ('terminated', 'purged') ORDER BY id LIMIT $2",
        after,
        limit,
    )
    .fetch_all(connection)
    .await
}
