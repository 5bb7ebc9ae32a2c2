//! Claiming operations, keeping and giving up leases, fenced saves (worker only).
//!
//! Every claim has a token of its own. Every save names the operation, its lease and the state `running`: a
//! worker that lost its lease, or whose operation was pre-empted, changes no row and learns so from `false`,
//! also when it claimed the same operation again meanwhile.

use std::sync::Arc;

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{OperationKind, OperationState, ParkedFor, Step};

/// One claim of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The operation.
    pub id: Uuid,
    /// Name of the worker.
    pub owner: Arc<str>,
    /// This claim: a later one has another token, also one of the same worker.
    pub token: Uuid,
}

/// An operation that this worker holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// Identifier.
    pub id: Uuid,
    /// By which it is held.
    pub lease: Lease,
    /// Its instance.
    pub instance_id: Uuid,
    /// What it does.
    pub kind: OperationKind,
    /// All steps as they stand.
    pub steps: Vec<Step>,
    /// Claims that were no end of a wait: 1 for the first.
    pub attempts: i32,
    /// When it must have ended.
    pub deadline: OffsetDateTime,
    /// The customer wants it to end.
    pub cancel_requested: bool,
    /// Set: its aim is given up, and what it made is being taken back.
    pub giving_up: Option<GivingUp>,
    /// What the action carried.
    pub parameters: serde_json::Value,
    /// Request that caused it.
    pub request_id: String,
    /// Trace that caused it.
    pub trace: serde_json::Value,
    /// Nobody had claimed it before.
    pub first_claim: bool,
    /// The claim ended a wait.
    pub resumed: bool,
    /// The database's time of the claim, by which the deadline is measured.
    pub claimed_at: OffsetDateTime,
}

/// A claimed row that this release cannot read. It was parked: another release may know it, and no other
/// operation waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The operation.
    pub id: Uuid,
    /// What is wrong with it.
    pub why: String,
}

/// What a look at the queue gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    /// These are held now.
    pub operations: Vec<Claimed>,
    /// These are not.
    pub unreadable: Vec<Unreadable>,
}

/// Why an operation gives its aim up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivingUp {
    /// Reason word.
    pub reason: String,
    /// Safe text.
    pub message: String,
}

/// A database value that is not what the schema promises.
fn corrupt(what: &'static str, error: impl std::fmt::Display) -> sqlx::Error {
    sqlx::Error::Decode(format!("operations.{what}: {error}").into())
}

struct Row {
    id: Uuid,
    instance_id: Uuid,
    kind: String,
    steps: serde_json::Value,
    attempts: i32,
    deadline: OffsetDateTime,
    cancel_requested: bool,
    error_reason: Option<String>,
    error_message: Option<String>,
    parameters: serde_json::Value,
    request_id: String,
    trace: serde_json::Value,
    first_claim: bool,
    resumed: bool,
    token: Uuid,
    claimed_at: OffsetDateTime,
}

impl Row {
    fn claimed(self, lease: Lease) -> sqlx::Result<Claimed> {
        let row = self;
        Ok(Claimed {
            id: row.id,
            lease,
            instance_id: row.instance_id,
            kind: row.kind.parse().map_err(|error| corrupt("kind", error))?,
            steps: serde_json::from_value(row.steps).map_err(|error| corrupt("steps", error))?,
            attempts: row.attempts,
            deadline: row.deadline,
            cancel_requested: row.cancel_requested,
            giving_up: row
                .error_reason
                .map(|reason| GivingUp { reason, message: row.error_message.unwrap_or_default() }),
            parameters: row.parameters,
            request_id: row.request_id,
            trace: row.trace,
            first_claim: row.first_claim,
            resumed: row.resumed,
            claimed_at: row.claimed_at,
        })
    }
}

/// How long an operation rests that this release does not know: another one may run beside it.
pub const FOR_RELEASE: std::time::Duration = std::time::Duration::from_secs(30);

/// Who looks at the queue.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// Name of the worker.
    pub owner: &'a Arc<str>,
    /// Kinds that it can do: a newer release may have queued others.
    pub kinds: &'a [String],
    /// Operations that it still runs, whatever their leases say.
    pub in_hand: &'a [Uuid],
}

/// Claims up to `limit` operations that are due and free. A customer with fewer running ones goes first, then
/// age (REL-14). An operation waits while another one of its instance is still held by a worker. What the
/// claimant has in hand is left alone, and so is what it cannot do. A row that it cannot read is set aside
/// and stops nobody else's.
///
/// Each part is computed once and the rows to lock are found by their key, whatever the planner believes of
/// the table's size: during a burst its statistics are those of an empty table. Four times the limit are
/// looked at, for those that another worker locks at this moment.
pub async fn claim(
    connection: &mut PgConnection,
    claimant: Claimant<'_>,
    lease_seconds: f64,
    limit: i64,
) -> sqlx::Result<Claims> {
    let Claimant { owner, kinds, in_hand } = claimant;
    let rows = sqlx::query_as!(
        Row,
        r#"WITH held AS MATERIALIZED (
               SELECT o.instance_id, i.customer_id FROM operations o JOIN instances i ON i.id = o.instance_id
               WHERE o.lease_owner IS NOT NULL AND o.lease_until >= now()
           ), busy AS MATERIALIZED (
               SELECT customer_id, count(*) AS running FROM held GROUP BY customer_id
           ), due AS MATERIALIZED (
               SELECT o.id, i.customer_id, o.created_at
               FROM operations o JOIN instances i ON i.id = o.instance_id
               WHERE o.state IN ('queued', 'running') AND o.not_before <= now()
                 AND o.kind = ANY($4) AND NOT (o.id = ANY($5))
                 AND (o.lease_until IS NULL OR o.lease_until < now())
                 AND NOT EXISTS (SELECT FROM held WHERE held.instance_id = o.instance_id)
           ), candidates AS MATERIALIZED (
               SELECT due.id, due.created_at,
                      row_number() OVER (PARTITION BY due.customer_id ORDER BY due.created_at, due.id)
                      + coalesce(busy.running, 0) AS turn
               FROM due LEFT JOIN busy ON busy.customer_id = due.customer_id
               ORDER BY turn, due.created_at
               LIMIT 4 * $3::bigint
           ), chosen AS (
               SELECT o.id, o.started_at IS NULL AS first_claim, o.parked_for IS NOT NULL AS resumed
               FROM operations o JOIN candidates ON candidates.id = o.id
               WHERE o.id = ANY (ARRAY(SELECT id FROM candidates))
                 AND o.state IN ('queued', 'running') AND o.not_before <= now()
                 AND (o.lease_until IS NULL OR o.lease_until < now())
               ORDER BY candidates.turn, candidates.created_at
               LIMIT $3
               FOR UPDATE OF o SKIP LOCKED
           )
           UPDATE operations o
           SET state = 'running', lease_owner = $1, lease_token = gen_random_uuid(),
               lease_until = now() + make_interval(secs => $2),
               attempts = o.attempts + CASE WHEN chosen.resumed THEN 0 ELSE 1 END,
               parked_for = NULL, started_at = coalesce(o.started_at, now())
           FROM chosen WHERE o.id = chosen.id
           RETURNING o.id, o.instance_id, o.kind, o.steps, o.attempts, o.deadline, o.cancel_requested,
                     o.error_reason, o.error_message, o.parameters, o.request_id, o.trace,
                     chosen.first_claim AS "first_claim!", chosen.resumed AS "resumed!",
                     o.lease_token AS "token!", now() AS "claimed_at!""#,
        owner.as_ref(),
        lease_seconds,
        limit,
        kinds,
        in_hand,
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut claims = Claims::default();
    for row in rows {
        let lease = Lease { id: row.id, owner: Arc::clone(owner), token: row.token };
        match row.claimed(lease.clone()) {
            Ok(operation) => claims.operations.push(operation),
            Err(error) => {
                let why = error.to_string();
                set_aside(connection, &lease, &why).await?;
                claims.unreadable.push(Unreadable { id: lease.id, why });
            }
        }
    }
    Ok(claims)
}

/// Is it the row that cannot be read, and not the database that is away?
pub fn is_unreadable(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })
}

/// Gives a lease up for a release that can read the rows of the operation.
pub async fn set_aside(connection: &mut PgConnection, lease: &Lease, why: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE operations SET lease_owner = NULL, lease_until = NULL, lease_token = NULL,
                parked_for = 'release', not_before = now() + make_interval(secs => $3), internal_error = $4
         WHERE id = $1 AND lease_token = $2",
        lease.id,
        lease.token,
        FOR_RELEASE.as_secs_f64(),
        why,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Seconds until the next operation is due that the claimant can do and nobody holds; `None`: there is none.
/// One whose instance is held by the worker of another operation is due when that lease ends, at the latest.
pub async fn next_due(connection: &mut PgConnection, claimant: Claimant<'_>) -> sqlx::Result<Option<f64>> {
    sqlx::query_scalar!(
        r#"SELECT extract(epoch FROM min(greatest(o.not_before, o.lease_until, (
                      SELECT max(held.lease_until) FROM operations held
                      WHERE held.instance_id = o.instance_id AND held.lease_owner IS NOT NULL))) - now())::float8
           FROM operations o
           WHERE o.state IN ('queued', 'running') AND o.kind = ANY($1) AND NOT (o.id = ANY($2))"#,
        claimant.kinds,
        claimant.in_hand,
    )
    .fetch_one(connection)
    .await
}

/// A lease that was renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// The operation.
    pub id: Uuid,
    /// The claim.
    pub token: Uuid,
    /// False: it ended meanwhile (pre-empted); its worker lets go as soon as it can.
    pub active: bool,
    /// The customer wants it to end.
    pub cancel_requested: bool,
}

/// Renews leases by their tokens. What does not come back is lost. An operation that was pre-empted keeps its
/// lease until its worker lets go, so that the next one of the instance waits for it.
pub async fn renew(
    connection: &mut PgConnection,
    owner: &str,
    tokens: &[Uuid],
    lease_seconds: f64,
) -> sqlx::Result<Vec<Renewed>> {
    sqlx::query_as!(
        Renewed,
        r#"UPDATE operations SET lease_until = now() + make_interval(secs => $3)
           WHERE lease_token = ANY($2) AND lease_owner = $1
           RETURNING id, lease_token AS "token!", state = 'running' AS "active!", cancel_requested"#,
        owner,
        tokens,
        lease_seconds,
    )
    .fetch_all(connection)
    .await
}

/// Gives a lease up without any other change: the operation may be claimed at once.
pub async fn release(connection: &mut PgConnection, lease: &Lease) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE operations SET lease_owner = NULL, lease_until = NULL, lease_token = NULL
         WHERE id = $2 AND lease_owner = $1 AND lease_token = $3",
        lease.owner.as_ref(),
        lease.id,
        lease.token,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives leases up by their tokens: their worker stops.
pub async fn release_all(connection: &mut PgConnection, owner: &str, tokens: &[Uuid]) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE operations SET lease_owner = NULL, lease_until = NULL, lease_token = NULL
         WHERE lease_owner = $1 AND lease_token = ANY($2)",
        owner,
        tokens,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// The steps as they shall be stored.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// All steps.
    pub steps: &'a [Step],
    /// Name of the step now; empty after the last.
    pub step: &'a str,
}

impl Progress<'_> {
    fn json(&self) -> sqlx::Result<serde_json::Value> {
        serde_json::to_value(self.steps).map_err(|error| sqlx::Error::Encode(error.into()))
    }

    fn percent(&self) -> i16 {
        i16::from(crate::domain::progress(self.steps))
    }
}

/// Stores where the operation is. `false`: the lease is lost.
pub async fn save(
    connection: &mut PgConnection,
    lease: &Lease,
    progress: Progress<'_>,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE operations SET steps = $3, step = $4, progress = $5
         WHERE id = $2 AND lease_owner = $1 AND lease_token = $6 AND state = 'running'",
        lease.owner.as_ref(),
        lease.id,
        progress.json()?,
        progress.step,
        progress.percent(),
        lease.token,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores where it is and gives the lease up until `seconds` from now: a wait (`parked_for`), or the pause
/// before another try.
pub async fn park(
    connection: &mut PgConnection,
    lease: &Lease,
    progress: Progress<'_>,
    parked_for: Option<ParkedFor>,
    seconds: f64,
    internal_error: Option<&str>,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE operations SET steps = $3, step = $4, progress = $5, parked_for = $6,
                not_before = now() + make_interval(secs => $7),
                lease_owner = NULL, lease_until = NULL, lease_token = NULL,
                internal_error = coalesce($8, internal_error)
         WHERE id = $2 AND lease_owner = $1 AND lease_token = $9 AND state = 'running'",
        lease.owner.as_ref(),
        lease.id,
        progress.json()?,
        progress.step,
        progress.percent(),
        parked_for.map(ParkedFor::as_str),
        seconds,
        internal_error,
        lease.token,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The operation gives its aim up; from now on what it made is taken back. Durable, so that another worker
/// goes on with it.
pub async fn give_up(
    connection: &mut PgConnection,
    lease: &Lease,
    progress: Progress<'_>,
    why: &GivingUp,
    internal_error: &str,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE operations SET steps = $3, step = $4, error_reason = $5, error_message = $6, internal_error = $7
         WHERE id = $2 AND lease_owner = $1 AND lease_token = $8 AND state = 'running'",
        lease.owner.as_ref(),
        lease.id,
        progress.json()?,
        progress.step,
        why.reason,
        why.message,
        internal_error,
        lease.token,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends the operation. The caller changes the instance in the same transaction (INS-20).
pub async fn finish(
    connection: &mut PgConnection,
    lease: &Lease,
    progress: Progress<'_>,
    state: OperationState,
) -> sqlx::Result<bool> {
    let percent = if state == OperationState::Succeeded { 100 } else { progress.percent() };
    let done = sqlx::query!(
        "UPDATE operations SET steps = $3, step = '', progress = $4, state = $5, finished_at = now(), parked_for = NULL,
                lease_owner = NULL, lease_until = NULL, lease_token = NULL
         WHERE id = $2 AND lease_owner = $1 AND lease_token = $6 AND state = 'running'",
        lease.owner.as_ref(),
        lease.id,
        progress.json()?,
        percent,
        state.as_str(),
        lease.token,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends the wait of an instance's operation, if it waits for this.
pub async fn wake(
    connection: &mut PgConnection,
    instance_id: Uuid,
    waits_for: ParkedFor,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE operations SET not_before = now()
         WHERE instance_id = $1 AND state = 'running' AND parked_for = $2 AND not_before > now()",
        instance_id,
        waits_for.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Ends every wait for room on a database server.
pub async fn wake_waiting_for_pool(connection: &mut PgConnection) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE operations SET not_before = now() WHERE state = 'running' AND parked_for = 'pool' AND not_before > now()",
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// The reaper (INS-33): what is past its deadline and not held becomes due, so that whoever claims it ends
/// it. One that this release does not know is left alone. Returns how many.
pub async fn wake_overdue(connection: &mut PgConnection) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE operations SET not_before = now()
         WHERE state IN ('queued', 'running') AND deadline <= now() AND error_reason IS NULL AND not_before > now()
           AND parked_for IS DISTINCT FROM 'release'
           AND (lease_until IS NULL OR lease_until < now())",
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Queued and running operations.
pub async fn queue_depth(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM operations WHERE state IN ('queued', 'running')"#)
        .fetch_one(connection)
        .await
}
