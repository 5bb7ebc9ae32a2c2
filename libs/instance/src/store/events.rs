//! The timeline of an instance (INS-34). Texts are safe for the owner.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Scope;

/// Who or what caused an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Us, without anybody asking: worker, sweeps, nodes.
    Platform,
    /// An operator or administrator; which one stands in the audit log.
    Operator,
    /// What runs inside of the instance.
    Tenant,
    /// The owner's wish.
    Customer,
    /// The subscription.
    Billing,
}

impl Cause {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Operator => "operator",
            Self::Tenant => "tenant",
            Self::Customer => "customer",
            Self::Billing => "billing",
        }
    }
}

/// Lines of one kind that an instance has at most: one whose pod crashes for ever keeps the newest of them.
const MOST_OF_A_KIND: i64 = 200;

/// A line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineEvent {
    /// Identifier.
    pub id: Uuid,
    /// When.
    pub at: OffsetDateTime,
    /// What, as a word.
    pub kind: String,
    /// platform, operator, tenant, customer, billing.
    pub cause: String,
    /// For people.
    pub message: String,
}

/// Adds a line. The oldest of its kind go when there are too many.
pub async fn add(
    connection: &mut PgConnection,
    instance: Uuid,
    kind: &str,
    cause: Cause,
    message: &str,
    operation: Option<Uuid>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO instance_events (id, instance_id, at, type, cause, message, operation_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        Uuid::now_v7(),
        instance,
        now,
        kind,
        cause.as_str(),
        message,
        operation,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "DELETE FROM instance_events WHERE id IN (
             SELECT id FROM instance_events WHERE instance_id = $1 AND type = $2
             ORDER BY at DESC, id DESC OFFSET $3)",
        instance,
        kind,
        MOST_OF_A_KIND,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// A page of the timeline, newest first, and the number of all lines.
pub async fn list(
    connection: &mut PgConnection,
    instance: Uuid,
    scope: Scope,
    limit: i64,
    offset: i64,
) -> sqlx::Result<(Vec<TimelineEvent>, u64)> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM instance_events e JOIN instances i ON i.id = e.instance_id
           WHERE e.instance_id = $1 AND ($2::uuid IS NULL OR i.customer_id = $2)"#,
        instance,
        scope.customer(),
    )
    .fetch_one(&mut *connection)
    .await?;
    let events = sqlx::query_as!(
        TimelineEvent,
        r#"SELECT e.id, e.at, e.type AS kind, e.cause, e.message FROM instance_events e JOIN instances i ON i.id = e.instance_id
           WHERE e.instance_id = $1 AND ($2::uuid IS NULL OR i.customer_id = $2)
           ORDER BY e.at DESC, e.id DESC LIMIT $3 OFFSET $4"#,
        instance,
        scope.customer(),
        limit,
        offset,
    )
    .fetch_all(connection)
    .await?;
    Ok((events, u64::try_from(total).unwrap_or(0)))
}
