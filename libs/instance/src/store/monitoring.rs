//! The monitoring row: wishes of operators, report of the leader (MON-01…06).

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// What operators want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// Null: nobody has said.
    pub enabled: Option<bool>,
    /// Grows with each wish for a fresh watch.
    pub restarts_wanted: i64,
    /// A wish to compare now.
    pub reconcile_task: Option<Uuid>,
    /// Only this instance.
    pub reconcile_instance: Option<Uuid>,
    /// Generation of the last leader that reported.
    pub leader_generation: i64,
}

/// Reads the wishes.
pub async fn wishes(connection: &mut PgConnection) -> sqlx::Result<Wishes> {
    sqlx::query_as!(
        Wishes,
        "SELECT enabled, restarts_wanted, reconcile_task, reconcile_instance, leader_generation FROM monitoring",
    )
    .fetch_one(connection)
    .await
}

/// A worker leads now: returns its generation. `start` is written when nobody has said whether to watch
/// (MON-06).
pub async fn take_over(connection: &mut PgConnection, leader: &str, start: bool) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "UPDATE monitoring SET leader = $1, leader_generation = leader_generation + 1, enabled = coalesce(enabled, $2),
                watch_connected = false, reported_at = now()
         RETURNING leader_generation",
        leader,
        start,
    )
    .fetch_one(connection)
    .await
}

/// How the watch is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Every watch is connected.
    pub watch_connected: bool,
    /// Last event of any watch.
    pub last_event_at: Option<OffsetDateTime>,
    /// Last full list.
    pub last_relist_at: Option<OffsetDateTime>,
    /// Of the last event.
    pub resource_version: String,
    /// Since this worker leads.
    pub reconnects: i64,
    /// Instances with a Deployment.
    pub instances_tracked: i64,
    /// Operations that are queued or running.
    pub queue_depth: i64,
}

/// Writes the report of a leader. `false`: another one leads by now.
pub async fn report(connection: &mut PgConnection, generation: i64, report: &Report) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE monitoring SET watch_connected = $2, last_event_at = coalesce($3, last_event_at), last_relist_at = coalesce($4, last_relist_at),
                resource_version = $5, reconnects = $6, instances_tracked = $7, queue_depth = $8, reported_at = now()
         WHERE leader_generation = $1",
        generation,
        report.watch_connected,
        report.last_event_at,
        report.last_relist_at,
        report.resource_version,
        report.reconnects,
        report.instances_tracked,
        report.queue_depth,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Is this leader still the last one that took over (REL-05)?
pub async fn leads(connection: &mut PgConnection, generation: i64) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"SELECT leader_generation = $1 AS "leads!" FROM monitoring FOR SHARE"#, generation)
        .fetch_one(connection)
        .await
}

/// A wished comparison is done.
pub async fn reconciled(connection: &mut PgConnection, task: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE monitoring SET reconcile_task = NULL, reconcile_instance = NULL, reconcile_finished_at = now() WHERE reconcile_task = $1",
        task,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Tells the leader, whichever worker it is, that a pool should be looked at.
pub async fn notify_pools(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SELECT pg_notify('pools', '')").execute(connection).await.map(drop)
}
