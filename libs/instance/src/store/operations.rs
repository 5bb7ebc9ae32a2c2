//! Rows of `operations` as the API writes and reads them. Claiming, leases and steps are the worker's
//! (`lease`).

use contracts::events::{OperationRequested, topics};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Scope, inconsistent, json, readable, word};
use crate::domain::{Active, Failure, Operation, OperationKind, OperationState, Status, Step};
use crate::domain::{DesiredState, Instance};

const TABLE: &str = "operations";

/// A row as the macros read it.
struct Row {
    id: Uuid,
    instance_id: Uuid,
    kind: String,
    state: String,
    step: String,
    steps: serde_json::Value,
    progress: i16,
    attempts: i32,
    deadline: OffsetDateTime,
    cancel_requested: bool,
    status_before: Option<String>,
    desired_before: Option<String>,
    error_reason: Option<String>,
    error_message: Option<String>,
    requested_by: String,
    parameters: serde_json::Value,
    revision: i64,
    created_at: OffsetDateTime,
    started_at: Option<OffsetDateTime>,
    finished_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for Operation {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let id = row.id;
        let status_before: Option<Status> =
            row.status_before.as_deref().map(|text| word(TABLE, "status_before", id, text)).transpose()?;
        let desired_before: Option<DesiredState> =
            row.desired_before.as_deref().map(|text| word(TABLE, "desired_before", id, text)).transpose()?;
        let error = row.error_reason.map(|reason| Failure {
            reason,
            message: row.error_message.unwrap_or_default(),
            at: row.finished_at,
        });
        Ok(Self {
            id,
            instance_id: row.instance_id,
            kind: word(TABLE, "kind", id, &row.kind)?,
            state: word(TABLE, "state", id, &row.state)?,
            step: row.step,
            steps: serde_json::from_value(row.steps)
                .map_err(|error| inconsistent(TABLE, "steps", id, &error))?,
            progress: u8::try_from(row.progress)
                .map_err(|error| inconsistent(TABLE, "progress", id, &error))?,
            attempts: row.attempts,
            deadline: row.deadline,
            cancel_requested: row.cancel_requested,
            status_before,
            desired_before,
            error,
            requested_by: row.requested_by,
            parameters: row.parameters,
            revision: row.revision,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// A new operation; the steps and the deadline follow from the kind.
#[derive(Debug, Clone)]
pub struct NewOperation {
    /// What it does.
    pub kind: OperationKind,
    /// Customer id or service name.
    pub requested_by: String,
    /// What the action carried.
    pub parameters: serde_json::Value,
    /// `X-Request-Id`.
    pub request_id: String,
    /// False when it pre-empted another: then the instance cannot go back to where it stood.
    pub can_be_taken_back: bool,
}

/// Inserts a queued operation and announces it to the workers. `before` is the instance before the decision;
/// the steps are returned with it.
pub async fn insert(
    connection: &mut PgConnection,
    before: &Instance,
    new: NewOperation,
) -> sqlx::Result<Operation> {
    let NewOperation { kind, requested_by, parameters, request_id, can_be_taken_back } = new;
    let steps: Vec<Step> = kind.fresh_steps();
    let limit = kind.time_limit();
    // Workers measure deadlines by the database's time, so that no process's clock ends an operation early.
    let now =
        sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(&mut *connection).await?;
    let operation = Operation {
        id: Uuid::now_v7(),
        instance_id: before.id,
        kind,
        state: OperationState::Queued,
        step: String::new(),
        steps,
        progress: 0,
        attempts: 0,
        deadline: now.saturating_add(limit),
        cancel_requested: false,
        status_before: can_be_taken_back.then_some(before.status),
        desired_before: can_be_taken_back.then_some(before.desired_state),
        error: None,
        requested_by,
        parameters,
        revision: 1,
        created_at: now,
        started_at: None,
        finished_at: None,
    };
    let steps = json(&operation.steps)?;
    let trace = json(&telemetry::context::headers())?;
    sqlx::query!(
        r#"INSERT INTO operations (id, instance_id, kind, steps, not_before, deadline, status_before, desired_before, requested_by, parameters,
               request_id, trace, created_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $5)"#,
        operation.id,
        operation.instance_id,
        kind.as_str(),
        steps,
        now,
        operation.deadline,
        operation.status_before.map(Status::as_str),
        operation.desired_before.map(DesiredState::as_str),
        operation.requested_by,
        operation.parameters,
        request_id,
        trace,
    )
    .execute(&mut *connection)
    .await?;
    let request = OperationRequested {
        operation_id: operation.id,
        instance_id: before.id,
        kind: kind.as_str().to_owned(),
    };
    messaging::outbox::enqueue(connection, topics::OPERATION_REQUESTED, before.id, &request).await?;
    Ok(operation)
}

/// The queued or running operation of an instance.
pub async fn active(connection: &mut PgConnection, instance: Uuid) -> sqlx::Result<Option<Active>> {
    let row = sqlx::query!(
        "SELECT id, kind FROM operations WHERE instance_id = $1 AND state IN ('queued', 'running')",
        instance,
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| Ok(Active { id: row.id, kind: word(TABLE, "kind", row.id, &row.kind)? })).transpose()
}

/// Locks the running operation of an instance, until the transaction ends. Locks are taken in one order
/// everywhere: the operation, then its instance.
pub async fn lock_running(connection: &mut PgConnection, instance: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT id FROM operations WHERE instance_id = $1 AND state = 'running' FOR UPDATE",
        instance
    )
    .fetch_optional(connection)
    .await
    .map(drop)
}

/// Ends an active operation because another takes its place. Its lease stays: the next one waits until its
/// worker has let go.
pub async fn preempt(connection: &mut PgConnection, id: Uuid, by: OperationKind) -> sqlx::Result<bool> {
    let ended = sqlx::query!(
        r#"UPDATE operations SET state = 'cancelled', finished_at = now(), parked_for = NULL,
               error_reason = 'superseded', error_message = 'ended because ' || $2::text || ' was asked for'
           WHERE id = $1 AND state IN ('queued', 'running')"#,
        id,
        by.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// One operation of an instance.
pub async fn find(
    connection: &mut PgConnection,
    instance: Uuid,
    id: Uuid,
    scope: Scope,
) -> sqlx::Result<Option<Operation>> {
    sqlx::query_as!(
        Row,
        r#"SELECT o.id, o.instance_id, o.kind, o.state, o.step, o.steps, o.progress, o.attempts, o.deadline, o.cancel_requested, o.status_before,
               o.desired_before, o.error_reason, o.error_message, o.requested_by, o.parameters, o.revision, o.created_at, o.started_at, o.finished_at
           FROM operations o JOIN instances i ON i.id = o.instance_id
           WHERE o.id = $1 AND o.instance_id = $2 AND ($3::uuid IS NULL OR i.customer_id = $3)"#,
        id,
        instance,
        scope.customer(),
    )
    .fetch_optional(connection)
    .await?
    .map(Operation::try_from)
    .transpose()
}

/// A page of an instance's operations, newest first, and their number. The caller has checked the owner; the
/// WHERE checks again.
pub async fn list(
    connection: &mut PgConnection,
    instance: Uuid,
    scope: Scope,
    limit: i64,
    offset: i64,
) -> sqlx::Result<(Vec<Operation>, u64)> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM operations o JOIN instances i ON i.id = o.instance_id
           WHERE o.instance_id = $1 AND ($2::uuid IS NULL OR i.customer_id = $2)"#,
        instance,
        scope.customer(),
    )
    .fetch_one(&mut *connection)
    .await?;
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT o.id, o.instance_id, o.kind, o.state, o.step, o.steps, o.progress, o.attempts, o.deadline, o.cancel_requested, o.status_before,
               o.desired_before, o.error_reason, o.error_message, o.requested_by, o.parameters, o.revision, o.created_at, o.started_at, o.finished_at
           FROM operations o JOIN instances i ON i.id = o.instance_id
           WHERE o.instance_id = $1 AND ($2::uuid IS NULL OR i.customer_id = $2)
           ORDER BY o.created_at DESC, o.id DESC LIMIT $3 OFFSET $4"#,
        instance,
        scope.customer(),
        limit,
        offset,
    )
    .fetch_all(connection)
    .await?;
    Ok((readable(rows), u64::try_from(total).unwrap_or(0)))
}

/// The newest operation of an instance: its kind and how it ended.
pub async fn newest(
    connection: &mut PgConnection,
    instance: Uuid,
) -> sqlx::Result<Option<(OperationKind, OperationState)>> {
    let row = sqlx::query!(
        "SELECT id, kind, state FROM operations WHERE instance_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1",
        instance,
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| Ok((word(TABLE, "kind", row.id, &row.kind)?, word(TABLE, "state", row.id, &row.state)?)))
        .transpose()
}

/// The first create of an instance: what a repeated create answers with.
pub async fn first(connection: &mut PgConnection, instance: Uuid) -> sqlx::Result<Option<Operation>> {
    sqlx::query_as!(
        Row,
        r#"SELECT id, instance_id, kind, state, step, steps, progress, attempts, deadline, cancel_requested, status_before, desired_before,
               error_reason, error_message, requested_by, parameters, revision, created_at, started_at, finished_at
           FROM operations WHERE instance_id = $1 AND kind = 'create' ORDER BY created_at, id LIMIT 1"#,
        instance,
    )
    .fetch_optional(connection)
    .await?
    .map(Operation::try_from)
    .transpose()
}

/// Asks the worker to end an operation at its next step border and to undo it. False: it has ended, or
/// somebody was faster.
pub async fn request_cancel(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    let asked = sqlx::query!(
        r#"UPDATE operations SET cancel_requested = true, not_before = now()
           WHERE id = $1 AND state IN ('queued', 'running') AND NOT cancel_requested"#,
        id,
    )
    .execute(connection)
    .await?;
    Ok(asked.rows_affected() == 1)
}

/// Ends a queued operation that no worker has touched. False: a worker was faster.
pub async fn take_back(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    let ended = sqlx::query!(
        r#"UPDATE operations SET state = 'cancelled', cancel_requested = true, finished_at = now()
           WHERE id = $1 AND state = 'queued' AND attempts = 0"#,
        id,
    )
    .execute(connection)
    .await?;
    Ok(ended.rows_affected() == 1)
}
