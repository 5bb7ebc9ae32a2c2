//! Counts and lists of ids: quota, work of the sweeps, look-ups of other services.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::Action;
use crate::store::word;

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

/// What a new instance of a customer must fit into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Live instances, and those that other calls are just ordering.
    pub live: i64,
    /// Terminated ones whose data is still kept.
    pub kept: i64,
    /// The host name has an owner, or another call has claimed it.
    pub taken: bool,
}

/// Looks whether there is room. The claim of `own` is no hindrance to itself; it is nil where there is none.
pub async fn room(
    connection: &mut PgConnection,
    customer: Uuid,
    subdomain: &str,
    own: Uuid,
) -> sqlx::Result<Room> {
    sqlx::query_as!(
        Room,
        r#"SELECT (SELECT count(*) FROM instances WHERE customer_id = $1 AND status NOT IN ('terminated', 'purged'))
                  + (SELECT count(*) FROM create_claims
                     WHERE customer_id = $1 AND instance_id <> $3 AND expires_at > now()) AS "live!",
               (SELECT count(*) FROM instances WHERE customer_id = $1 AND status = 'terminated'
                   AND provisioning_status = 'completed') AS "kept!",
               EXISTS (SELECT 1 FROM instances WHERE subdomain = $2 AND status <> 'purged')
                   OR EXISTS (SELECT 1 FROM create_claims
                              WHERE subdomain = $2 AND instance_id <> $3 AND expires_at > now()) AS "taken!""#,
        customer,
        subdomain,
        own,
    )
    .fetch_one(connection)
    .await
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

/// Work of the sweeps: an action that is due for an instance, without anybody asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The instance.
    pub id: Uuid,
    /// What its row asks for.
    pub action: Action,
}

/// What is due after an id, in the order of the ids, at most `limit`. Every state that is wanted stays
/// wanted: what failed is due again, after a rest that doubles from a minute to an hour with each failure of
/// the last day.
///
/// - purge: terminated, the retention has passed, and somebody said that the data may go without a backup;
/// - terminate: shall be terminated, and is not;
/// - suspend: held, but not suspended;
/// - unsuspend: suspended, or a suspension failed, but nobody holds it any more;
/// - retry: the way back from a termination failed.
pub async fn due(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Due>> {
    let rows = sqlx::query!(
        r#"SELECT i.id, wanted.action AS "action!" FROM instances i
           CROSS JOIN LATERAL (SELECT CASE
               WHEN i.status = 'terminated' THEN CASE
                   WHEN i.purge_after <= $1 AND (i.provisioning_status <> 'completed'
                       OR EXISTS (SELECT FROM purge_consents c WHERE c.instance_id = i.id)) THEN 'purge' END
               WHEN (i.status = 'suspended' OR i.status = 'error' AND i.desired_state = 'suspended')
                   AND NOT i.billing_hold AND NOT i.operator_hold THEN 'unsuspend'
               WHEN i.status = 'error' AND i.desired_state = 'terminated' THEN 'terminate'
               WHEN i.provisioning_status = 'completed' AND (i.billing_hold OR i.operator_hold)
                   AND (i.status = 'error' OR i.status IN ('running', 'stopped') AND i.desired_state <> 'suspended')
                   THEN 'suspend'
               WHEN i.status = 'error' AND i.desired_state = 'running' AND 'undelete' = (
                   SELECT CASE WHEN o.state = 'failed' THEN o.kind END FROM operations o WHERE o.instance_id = i.id
                   ORDER BY o.created_at DESC, o.id DESC LIMIT 1) THEN 'retry' END AS action) wanted
           CROSS JOIN LATERAL (
               SELECT count(*) AS failures, max(f.finished_at) AS last_at FROM operations f
               WHERE f.instance_id = i.id AND f.state = 'failed' AND f.finished_at > $1::timestamptz - interval '1 day'
                 AND f.kind = CASE wanted.action WHEN 'retry' THEN 'undelete' ELSE wanted.action END) failed
           WHERE i.id > $2 AND wanted.action IS NOT NULL
             AND (i.status IN ('terminated', 'suspended', 'error') OR i.billing_hold OR i.operator_hold)
             AND (failed.last_at IS NULL OR failed.last_at + least(
                     interval '1 hour', interval '1 minute' * power(2, least(failed.failures, 10) - 1)) <= $1)
             AND NOT EXISTS (SELECT 1 FROM operations o WHERE o.instance_id = i.id AND o.state IN ('queued', 'running'))
           ORDER BY i.id LIMIT $3"#,
        now,
        after,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| Ok(Due { id: row.id, action: word("instances", "action", row.id, &row.action)? }))
        .collect()
}

/// An instance that a subscription pays for, as it was when billing is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribed {
    /// The instance.
    pub id: Uuid,
    /// What pays for it.
    pub subscription_id: Uuid,
    /// Whoever has followed a newer answer of billing meanwhile has changed it.
    pub version: i64,
}

/// Instances that wait for a payment, the newest first: the round over all live ones comes to the others.
pub async fn unpaid(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Subscribed>> {
    sqlx::query_as!(
        Subscribed,
        r#"SELECT id, subscription_id AS "subscription_id!", version FROM instances
           WHERE status = 'pending_payment' AND subscription_id IS NOT NULL ORDER BY created_at DESC LIMIT $1"#,
        limit,
    )
    .fetch_all(connection)
    .await
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

/// Live instances with their subscriptions after an id, in the order of the ids: pages for sweeps.
pub async fn live_after(
    connection: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Subscribed>> {
    sqlx::query_as!(
        Subscribed,
        r#"SELECT id, subscription_id AS "subscription_id!", version FROM instances
           WHERE id > $1 AND status NOT IN ('terminated', 'purged') AND subscription_id IS NOT NULL ORDER BY id LIMIT $2"#,
        after,
        limit,
    )
    .fetch_all(connection)
    .await
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
