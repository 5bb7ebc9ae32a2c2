//! Table `moves`. A slot that a move holds counts by trigger (DBS-23, DBS-33).

use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{decode, readable};
use crate::domain::MoveState;
use crate::domain::estimate::Measured;
use crate::domain::placement::PlanTier;
use crate::domain::trace::{Compared, Trace};
use crate::secrets::Sealed;

/// A move of one tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    /// Id of the operation.
    pub id: Uuid,
    /// Whose database.
    pub allocation_id: Uuid,
    /// From.
    pub source: Uuid,
    /// To.
    pub target: Uuid,
    /// Tier afterwards.
    pub plan_tier: PlanTier,
    /// State.
    pub state: MoveState,
    /// Where it holds a slot besides the allocation's.
    pub holds: Option<Uuid>,
    /// Password of the role on the target.
    pub sealed: Option<Sealed>,
    /// Size of the source at the beginning.
    pub size_bytes: i64,
    /// Logins to the source are off.
    pub closed: bool,
    /// End of the source.
    pub drop_after: Option<OffsetDateTime>,
    /// Why it does not go on.
    pub last_error: String,
}

struct Row {
    id: Uuid,
    allocation_id: Uuid,
    source_server_id: Uuid,
    target_server_id: Uuid,
    plan_tier: String,
    state: String,
    holds_server_id: Option<Uuid>,
    key_id: Option<String>,
    sealed: Option<Vec<u8>>,
    size_bytes: i64,
    closed_at: Option<OffsetDateTime>,
    drop_after: Option<OffsetDateTime>,
    last_error: String,
}

impl TryFrom<Row> for Move {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id,
            allocation_id: row.allocation_id,
            source: row.source_server_id,
            target: row.target_server_id,
            plan_tier: row.plan_tier.parse().map_err(decode)?,
            state: row.state.parse().map_err(decode)?,
            holds: row.holds_server_id,
            sealed: row.key_id.zip(row.sealed).map(|(key_id, bytes)| Sealed { key_id, bytes }),
            size_bytes: row.size_bytes,
            closed: row.closed_at.is_some(),
            drop_after: row.drop_after,
            last_error: row.last_error,
        })
    }
}

/// The rows of `moves` that a condition names: the columns stand here once.
macro_rules! select_moves {
    ($condition:literal, $($argument:expr),+) => {
        sqlx::query_as!(
            Row,
            "SELECT id, allocation_id, source_server_id, target_server_id, plan_tier, state, holds_server_id,
                 key_id, sealed, size_bytes, closed_at, drop_after, last_error
             FROM moves WHERE " + $condition,
            $($argument),+
        )
    };
}

/// One move.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Move>> {
    let row = select_moves!("id = $1", id).fetch_optional(connection).await?;
    row.map(Move::try_from).transpose()
}

/// What is known of a copy.
#[derive(Debug)]
pub struct Copied {
    /// Which copy.
    pub number: i32,
    /// What the source looked like when the copy was begun, or brought up to it.
    pub trace: Option<Trace>,
    /// Tables that were the same at both ends; absent: nobody looked.
    pub compared: Option<Compared>,
}

struct CopiedRow {
    copies: i32,
    trace: Option<Json<Trace>>,
    compared: Option<Json<Compared>>,
}

/// What is known of a copy.
pub async fn copied(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Copied> {
    let row = sqlx::query_as!(
        CopiedRow,
        r#"SELECT copies, trace AS "trace: Json<Trace>", compared AS "compared: Json<Compared>" FROM moves WHERE id = $1"#,
        id
    )
    .fetch_one(connection)
    .await?;
    Ok(Copied {
        number: row.copies,
        trace: row.trace.map(|json| json.0),
        compared: row.compared.map(|json| json.0),
    })
}

/// A copy begins from nothing. Its number.
pub async fn begin_copy(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<i32> {
    sqlx::query_scalar!(
        "UPDATE moves SET copies = copies + 1, trace = NULL, compared = NULL, closed_to_copies = false
         WHERE id = $1 RETURNING copies",
        id
    )
    .fetch_one(connection)
    .await
}

/// What the source looked like when the copy began.
pub async fn note_trace(connection: &mut PgConnection, id: Uuid, trace: &Trace) -> sqlx::Result<()> {
    sqlx::query!("UPDATE moves SET trace = $2 WHERE id = $1 AND state = 'copying'", id, Json(trace) as _)
        .execute(connection)
        .await?;
    Ok(())
}

/// These tables were the same at both ends.
pub async fn note_compared(
    connection: &mut PgConnection,
    id: Uuid,
    copy: i32,
    compared: &Compared,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE moves SET compared = $3 WHERE id = $1 AND copies = $2 AND state = 'copying'",
        id,
        copy,
        Json(compared) as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The copy has all that the source had at `trace`.
pub async fn note_synced(
    connection: &mut PgConnection,
    id: Uuid,
    copy: i32,
    trace: &Trace,
    compared: &Compared,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE moves SET trace = $3, compared = $4 WHERE id = $1 AND copies = $2 AND state = 'copying'",
        id,
        copy,
        Json(trace) as _,
        Json(compared) as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// May tables of this copy be written?
pub async fn is_open_to_copies(connection: &mut PgConnection, id: Uuid, copy: i32) -> sqlx::Result<bool> {
    let open = sqlx::query_scalar!(
        r#"SELECT state = 'copying' AND copies = $2 AND NOT closed_to_copies AS "open!" FROM moves WHERE id = $1"#,
        id,
        copy
    );
    Ok(open.fetch_optional(connection).await?.unwrap_or(false))
}

/// No table of the copy may be written any more.
pub async fn close_to_copies(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("UPDATE moves SET closed_to_copies = true WHERE id = $1", id).execute(connection).await?;
    Ok(())
}

/// Moves of an allocation that something is left of: a copy, or a kept source.
pub async fn of_allocation(connection: &mut PgConnection, allocation: Uuid) -> sqlx::Result<Vec<Move>> {
    let rows = select_moves!(
        "allocation_id = $1 AND state NOT IN ('aborted', 'dropped') ORDER BY created_at",
        allocation
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Move::try_from).collect()
}

/// What the sweep has to go on with: sources to close or to drop, copies to drop.
pub async fn unfinished(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    touched_before: OffsetDateTime,
) -> sqlx::Result<Vec<Move>> {
    let rows = select_moves!("updated_at < $2 AND (state = 'aborting' OR (state = 'switched' AND (closed_at IS NULL OR drop_after <= $1)))
         ORDER BY updated_at LIMIT 50", now,
        touched_before)
    .fetch_all(connection)
    .await?;
    Ok(readable("a move", rows, |row| row.id))
}

/// Takes a slot on the target.
pub async fn insert(connection: &mut PgConnection, new: &Move, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO moves (id, allocation_id, source_server_id, target_server_id, plan_tier, state, holds_server_id, key_id, sealed, size_bytes, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, 'reserved', $4, $6, $7, $8, $9, $9)",
        new.id,
        new.allocation_id,
        new.source,
        new.target,
        new.plan_tier.as_str(),
        new.sealed.as_ref().map(|sealed| sealed.key_id.as_str()),
        new.sealed.as_ref().map(|sealed| sealed.bytes.as_slice()),
        new.size_bytes,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Another state, when it is `from` now.
pub async fn advance(
    connection: &mut PgConnection,
    id: Uuid,
    from: &[MoveState],
    to: MoveState,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let from: Vec<String> = from.iter().map(ToString::to_string).collect();
    let done = sqlx::query!(
        "UPDATE moves SET state = $3, updated_at = $4, last_error = '',
             trace = CASE WHEN $3 = 'aborted' THEN NULL ELSE trace END,
             compared = CASE WHEN $3 = 'aborted' THEN NULL ELSE compared END
         WHERE id = $1 AND state = ANY($2)",
        id,
        &from,
        to.as_str(),
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The copy with this number is what its source is. False: it is being made anew, or the move has ended. A
/// copy has its trace only when its database was made, so that one which is about to be emptied is never
/// verified.
pub async fn verified(
    connection: &mut PgConnection,
    id: Uuid,
    copy: i32,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE moves SET state = 'verified', updated_at = $3, last_error = ''
         WHERE id = $1 AND state = 'copying' AND copies = $2 AND trace IS NOT NULL",
        id,
        copy,
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Moves of an allocation that are not switched yet lose their aim. Their ids.
pub async fn give_up_all(
    connection: &mut PgConnection,
    allocation: Uuid,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "UPDATE moves SET state = 'aborting', updated_at = $2
         WHERE allocation_id = $1 AND state IN ('reserved', 'copying', 'verified', 'aborting') RETURNING id",
        allocation,
        now
    )
    .fetch_all(connection)
    .await
}

/// Where it holds a slot; `None`: nowhere.
pub async fn hold(connection: &mut PgConnection, id: Uuid, server: Option<Uuid>) -> sqlx::Result<()> {
    sqlx::query!("UPDATE moves SET holds_server_id = $2 WHERE id = $1", id, server)
        .execute(connection)
        .await?;
    Ok(())
}

/// The copy is the database from now on; the password moved to the allocation, and what the tables of the
/// tenant are called is of no use any more.
pub async fn mark_switched(
    connection: &mut PgConnection,
    id: Uuid,
    drop_after: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE moves SET state = 'switched', key_id = NULL, sealed = NULL, trace = NULL, compared = NULL,
             switched_at = $3, drop_after = $2, updated_at = $3
         WHERE id = $1 AND state = 'verified'",
        id,
        drop_after,
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Nobody logs in to the source any more.
pub async fn mark_closed(connection: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE moves SET closed_at = coalesce(closed_at, $2), updated_at = $2, last_error = '' WHERE id = $1",
        id,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes why it does not go on.
pub async fn note_failure(
    connection: &mut PgConnection,
    id: Uuid,
    text: &str,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!("UPDATE moves SET last_error = $2, updated_at = $3 WHERE id = $1", id, text, now)
        .execute(connection)
        .await?;
    Ok(())
}

/// How long the instance of a switched move was off.
pub async fn note_off(connection: &mut PgConnection, id: Uuid, seconds: i32) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE moves SET off_seconds = $2 WHERE id = $1 AND switched_at IS NOT NULL",
        id,
        seconds
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What the last moves took.
pub async fn measured(connection: &mut PgConnection) -> sqlx::Result<Vec<Measured>> {
    sqlx::query_as!(
        Measured,
        r#"SELECT size_bytes AS bytes, off_seconds::bigint AS "seconds!" FROM moves WHERE off_seconds IS NOT NULL
           ORDER BY switched_at DESC LIMIT 30"#
    )
    .fetch_all(connection)
    .await
}

/// The allocation is on the target, with the tier of the move.
pub async fn relocate(
    connection: &mut PgConnection,
    moved: &Move,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE allocations SET db_server_id = $2, db_user = db_name, plan_tier = $3, updated_at = $4
         WHERE id = $1 AND db_server_id = $5 AND state = 'allocated'",
        moved.allocation_id,
        moved.target,
        moved.plan_tier.as_str(),
        now,
        moved.source,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The shared pool that shall take a moved tenant, locked: as for a new one, but another than `except`.
pub async fn lock_other_with_room(connection: &mut PgConnection, except: Uuid) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "SELECT id FROM db_servers
         WHERE id <> $1 AND server_type = 'shared' AND status = 'active' AND current_instances < max_instances
           AND allocation_strategy = 'automatic' AND health_status = 'healthy'
         ORDER BY priority, current_instances::float8 / max_instances, created_at, id LIMIT 1 FOR UPDATE",
        except
    )
    .fetch_optional(connection)
    .await
}
