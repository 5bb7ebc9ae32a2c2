//! What the watch saw, written to the row, and the end of the waits that it fulfils (worker only). One
//! transaction a fact; notes of what was seen leave the version of the row alone.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{lease, operations};
use crate::domain::{DesiredState, Instance, ParkedFor, ProvisioningStatus, Status};

/// The state of an instance's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// pending, running, failed, not_found.
    pub phase: &'static str,
    /// The pod is ready.
    pub ready: bool,
    /// Restarts of the container.
    pub restarts: i32,
    /// Reason word of the cluster.
    pub reason: String,
    /// Node.
    pub node: String,
    /// Address.
    pub pod_ip: String,
    /// Start of the pod.
    pub started_at: Option<OffsetDateTime>,
}

/// What the row said before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// pending, running, failed, not_found.
    pub phase: String,
    /// The pod was ready.
    pub ready: bool,
    /// Restarts of the container.
    pub restarts: i32,
    /// Reason word.
    pub reason: String,
}

/// Writes what was seen, when it differs from what the row says, and wakes an operation that waited for it.
/// Returns what the row said before; `None`: no row, or nothing new.
pub async fn sighting(
    connection: &mut PgConnection,
    instance_id: Uuid,
    sight: &Sight,
) -> sqlx::Result<Option<Before>> {
    // Whoever decides has the operation first and the instance after it; the other way round is a deadlock.
    operations::lock_running(connection, instance_id).await?;
    let before = sqlx::query_as!(
        Before,
        r#"WITH old AS (
               SELECT id, observed_phase, observed_ready, observed_restarts, observed_reason FROM instances
               WHERE id = $1 AND (observed_phase, observed_ready, observed_restarts, observed_reason, observed_node, observed_pod_ip)
                     IS DISTINCT FROM ($2, $3, $4, $5, $6, $7)
               FOR UPDATE
           )
           UPDATE instances i
           SET observed_phase = $2, observed_ready = $3, observed_restarts = $4, observed_reason = $5, observed_node = $6,
               observed_pod_ip = $7, observed_started_at = $8, observed_at = now()
           FROM old WHERE i.id = old.id
           RETURNING old.observed_phase AS phase, old.observed_ready AS ready, old.observed_restarts AS restarts, old.observed_reason AS reason"#,
        instance_id,
        sight.phase,
        sight.ready,
        sight.restarts,
        sight.reason,
        sight.node,
        sight.pod_ip,
        sight.started_at,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if before.is_some() {
        if sight.phase == "not_found" {
            lease::wake(connection, instance_id, ParkedFor::Gone).await?;
        }
        // A pod that will not get ready ends the wait too: the step decides.
        if sight.ready || sight.phase == "failed" {
            lease::wake(connection, instance_id, ParkedFor::Ready).await?;
        }
    }
    Ok(before)
}

/// Notes an answer of the instance itself.
pub async fn probed(connection: &mut PgConnection, instance_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("UPDATE instances SET last_health_check = now() WHERE id = $1", instance_id)
        .execute(connection)
        .await
        .map(drop)
}

/// The wanted objects of this generation are applied.
pub async fn applied(connection: &mut PgConnection, instance_id: Uuid, generation: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE instances SET observed_generation = $2 WHERE id = $1 AND observed_generation < $2",
        instance_id,
        generation,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Is an operation of the instance queued or running? Then the reconciler keeps away.
pub async fn has_active_operation(connection: &mut PgConnection, instance_id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM operations WHERE instance_id = $1 AND (state IN ('queued', 'running') OR lease_until >= now())) AS "active!""#,
        instance_id,
    )
    .fetch_one(connection)
    .await
}

/// A row that [`reconcilable`] gives, with what tells that it has not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconcilable {
    /// Instance.
    pub id: Uuid,
    /// Of the row.
    pub version: i64,
    /// Also changes when the database of the instance is somewhere else.
    pub updated_at: OffsetDateTime,
}

/// Instances whose objects are kept as wanted by the reconciler: everything that was ever made and is not
/// purged, one page by id.
pub async fn reconcilable(
    connection: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Reconcilable>> {
    sqlx::query_as!(
        Reconcilable,
        "SELECT id, version, updated_at FROM instances
         WHERE id > $1 AND status <> 'purged' AND db_server_id IS NOT NULL ORDER BY id LIMIT $2",
        after,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// All ids that may have objects in the cluster; an object of any other is an orphan.
pub async fn known_instances(connection: &mut PgConnection) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!("SELECT id FROM instances WHERE status <> 'purged'").fetch_all(connection).await
}

/// Instances that the row says have a pod: after a list the watch tells which of them have none.
pub async fn seen_with_pod(connection: &mut PgConnection) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!("SELECT id FROM instances WHERE observed_phase <> 'not_found'")
        .fetch_all(connection)
        .await
}

/// Where an instance's database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocated<'a> {
    /// shared, dedicated.
    pub db_type: &'a str,
    /// Name of the database.
    pub name: &'a str,
    /// Host as seen from a pod.
    pub host: &'a str,
    /// Port.
    pub port: i32,
    /// Row of `db_servers`.
    pub server_id: Uuid,
}

/// Stores where the database is.
pub async fn allocated(
    connection: &mut PgConnection,
    instance_id: Uuid,
    database: &Allocated<'_>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE instances SET db_type = $2, db_name = $3, db_host = $4, db_port = $5, db_server_id = $6, updated_at = now()
         WHERE id = $1 AND (db_type, db_name, db_host, db_port, db_server_id) IS DISTINCT FROM ($2, $3, $4, $5, $6)",
        instance_id,
        database.db_type,
        database.name,
        database.host,
        database.port,
        database.server_id,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// The database was given back: nothing is left of it.
pub async fn deallocated(connection: &mut PgConnection, instance_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE instances SET db_name = NULL, db_host = NULL, db_port = NULL, db_server_id = NULL, updated_at = now() WHERE id = $1",
        instance_id,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// What the end of an operation, or the watch, says about an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conclusion<'a> {
    /// Status from now on.
    pub status: Status,
    /// Desired state from now on.
    pub desired: DesiredState,
    /// How far the first provisioning is from now on.
    pub provisioning: ProvisioningStatus,
    /// Safe reason and text; `None` takes an old failure away.
    pub failure: Option<(&'a str, &'a str)>,
    /// It became ready now.
    pub started: bool,
    /// End of the retention, for an instance that is terminated again.
    pub purge_after: Option<OffsetDateTime>,
    /// The wanted objects of `before.generation` are applied.
    pub applied: bool,
}

/// Writes a conclusion. False: lost race, load and decide again.
pub async fn conclude(
    connection: &mut PgConnection,
    before: &Instance,
    conclusion: &Conclusion<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE instances SET status = $3, desired_state = $4, provisioning_status = $5, error_reason = $6, error_message = $7,
                error_at = CASE WHEN $6::text IS NULL THEN NULL WHEN error_reason IS DISTINCT FROM $6 THEN $8 ELSE error_at END,
                started_at = CASE WHEN $9 THEN $8 ELSE started_at END, purge_after = coalesce($10, purge_after),
                observed_generation = CASE WHEN $11 THEN greatest(observed_generation, $12) ELSE observed_generation END,
                version = version + 1, updated_at = $8
         WHERE id = $1 AND version = $2",
        before.id,
        before.version,
        conclusion.status.as_str(),
        conclusion.desired.as_str(),
        conclusion.provisioning.as_str(),
        conclusion.failure.map(|(reason, _)| reason),
        conclusion.failure.map(|(_, message)| message),
        now,
        conclusion.started,
        conclusion.purge_after,
        conclusion.applied,
        before.generation,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Instances at rest whose status and pod disagree: not ready for longer than `seconds` although they shall
/// run, or ready although they are in `error`. The caller decides (K8S-22).
pub async fn disagreeing(connection: &mut PgConnection, seconds: f64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT i.id FROM instances i
         WHERE i.desired_state = 'running' AND i.provisioning_status = 'completed'
           AND ((i.status = 'error' AND i.observed_ready)
                OR (i.status IN ('running', 'starting', 'restarting') AND NOT i.observed_ready
                    AND (i.observed_phase = 'failed' OR i.observed_at < now() - make_interval(secs => $1))))
           AND NOT EXISTS (SELECT FROM operations o WHERE o.instance_id = i.id AND (o.state IN ('queued', 'running') OR o.lease_until >= now()))
         ORDER BY i.observed_at LIMIT 500",
        seconds,
    )
    .fetch_all(connection)
    .await
}

/// The first claim of a create: it is being made now.
pub async fn provisioning_began(connection: &mut PgConnection, instance_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE instances SET provisioning_status = 'provisioning', version = version + 1, updated_at = now()
         WHERE id = $1 AND provisioning_status = 'pending'",
        instance_id,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// The workload of a create or undelete stands; Odoo is awaited.
pub async fn workload_stands(connection: &mut PgConnection, instance_id: Uuid) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE instances SET status = 'starting', version = version + 1, updated_at = now() WHERE id = $1 AND status = 'creating'",
        instance_id,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Locks the row of an instance that is at rest and unchanged since `version`, until the transaction ends: no
/// decision is made meanwhile.
pub async fn lock_at_rest(
    connection: &mut PgConnection,
    instance_id: Uuid,
    version: i64,
) -> sqlx::Result<bool> {
    let locked = sqlx::query_scalar!(
        "SELECT id FROM instances WHERE id = $1 AND version = $2 FOR NO KEY UPDATE",
        instance_id,
        version,
    )
    .fetch_optional(&mut *connection)
    .await?;
    Ok(locked.is_some() && !has_active_operation(connection, instance_id).await?)
}
