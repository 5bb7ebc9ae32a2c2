//! The operators' side of the row `monitoring`: read it, wish something (MON-01, -03, -04, -05). The leader's
//! side is `monitoring`.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// The row as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitoring {
    /// Null: nobody has said, and no worker has led yet.
    pub enabled: Option<bool>,
    /// Name of the leader.
    pub leader: String,
    /// Its watch has a connection.
    pub watch_connected: bool,
    /// Last event of the watch.
    pub last_event_at: Option<OffsetDateTime>,
    /// Last full list.
    pub last_relist_at: Option<OffsetDateTime>,
    /// Where the watch would resume.
    pub resource_version: String,
    /// Reconnections of this leader.
    pub reconnects: i64,
    /// Instances with objects.
    pub instances_tracked: i64,
    /// Active operations.
    pub queue_depth: i64,
    /// Last report.
    pub reported_at: Option<OffsetDateTime>,
}

/// Reads the row.
pub async fn read(connection: &mut PgConnection) -> sqlx::Result<Monitoring> {
    sqlx::query_as!(
        Monitoring,
        r#"SELECT enabled, leader, watch_connected, last_event_at, last_relist_at, resource_version, reconnects, instances_tracked, queue_depth,
               reported_at
           FROM monitoring"#
    )
    .fetch_one(connection)
    .await
}

/// Switches monitoring on or off. False: it was so already.
pub async fn switch(
    connection: &mut PgConnection,
    enabled: bool,
    actor: &str,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let switched = sqlx::query!(
        "UPDATE monitoring SET enabled = $1, changed_by = $2, reason = $3, changed_at = $4 WHERE enabled IS DISTINCT FROM $1",
        enabled,
        actor,
        reason,
        now,
    )
    .execute(connection)
    .await?;
    Ok(switched.rows_affected() == 1)
}

/// Wishes a fresh watch, and monitoring on.
pub async fn restart(
    connection: &mut PgConnection,
    actor: &str,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE monitoring SET enabled = true, restarts_wanted = restarts_wanted + 1, changed_by = $1, reason = $2, changed_at = $3",
        actor,
        reason,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Wishes a comparison of everything, or of one instance, with the cluster. A wish that waits is widened to
/// everything.
pub async fn request_reconcile(
    connection: &mut PgConnection,
    task: Uuid,
    instance: Option<Uuid>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"UPDATE monitoring SET reconcile_instance = CASE WHEN reconcile_task IS NULL OR reconcile_instance = $2 THEN $2 END,
               reconcile_task = $1, reconcile_requested_at = $3, reconcile_finished_at = NULL"#,
        task,
        instance,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
