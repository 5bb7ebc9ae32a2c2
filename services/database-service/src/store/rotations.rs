//! Table `rotations`.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{decode, readable};
use crate::domain::RotationState;
use crate::secrets::Sealed;

/// A change of one tenant's password.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    /// Id of the operation and of the task.
    pub id: Uuid,
    /// Whose password.
    pub allocation_id: Uuid,
    /// Where both roles are.
    pub server: Uuid,
    /// State.
    pub state: RotationState,
    /// Role of before.
    pub old_user: String,
    /// Role from now on.
    pub new_user: String,
    /// Its password, until the switch.
    pub sealed: Option<Sealed>,
    /// Last change.
    pub updated_at: OffsetDateTime,
}

struct Row {
    id: Uuid,
    allocation_id: Uuid,
    db_server_id: Uuid,
    state: String,
    old_user: String,
    new_user: String,
    key_id: Option<String>,
    sealed: Option<Vec<u8>>,
    updated_at: OffsetDateTime,
}

impl TryFrom<Row> for Rotation {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id,
            allocation_id: row.allocation_id,
            server: row.db_server_id,
            state: row.state.parse().map_err(decode)?,
            old_user: row.old_user,
            new_user: row.new_user,
            sealed: row.key_id.zip(row.sealed).map(|(key_id, bytes)| Sealed { key_id, bytes }),
            updated_at: row.updated_at,
        })
    }
}

/// One rotation.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Rotation>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id, allocation_id, db_server_id, state, old_user, new_user, key_id, sealed, updated_at FROM rotations WHERE id = $1",
        id
    )
    .fetch_optional(conn)
    .await?;
    row.map(Rotation::try_from).transpose()
}

/// The one of an allocation that did not end.
pub async fn open(conn: &mut PgConnection, allocation: Uuid) -> sqlx::Result<Option<Rotation>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id, allocation_id, db_server_id, state, old_user, new_user, key_id, sealed, updated_at FROM rotations
         WHERE allocation_id = $1 AND state IN ('begun', 'ready', 'switched', 'aborting')",
        allocation
    )
    .fetch_optional(conn)
    .await?;
    row.map(Rotation::try_from).transpose()
}

/// Those that nobody touched since `before`.
pub async fn left(conn: &mut PgConnection, before: OffsetDateTime) -> sqlx::Result<Vec<Rotation>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, allocation_id, db_server_id, state, old_user, new_user, key_id, sealed, updated_at FROM rotations
         WHERE state IN ('begun', 'ready', 'switched', 'aborting') AND updated_at < $1 ORDER BY updated_at LIMIT 50",
        before
    )
    .fetch_all(conn)
    .await?;
    Ok(readable("a rotation", rows, |row| row.id))
}

/// Begins one.
pub async fn insert(conn: &mut PgConnection, new: &Rotation, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO rotations (id, allocation_id, db_server_id, state, old_user, new_user, key_id, sealed, created_at, updated_at)
         VALUES ($1, $2, $3, 'begun', $4, $5, $6, $7, $8, $8)",
        new.id,
        new.allocation_id,
        new.server,
        new.old_user,
        new.new_user,
        new.sealed.as_ref().map(|sealed| sealed.key_id.as_str()),
        new.sealed.as_ref().map(|sealed| sealed.bytes.as_slice()),
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One that was left behind goes on under another operation.
pub async fn take_over(
    conn: &mut PgConnection,
    left: Uuid,
    id: Uuid,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE rotations SET id = $2, updated_at = $3, last_error = '' WHERE id = $1",
        left,
        id,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Another state, when it is `from` now.
pub async fn advance(
    conn: &mut PgConnection,
    id: Uuid,
    from: &[RotationState],
    to: RotationState,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let from: Vec<String> = from.iter().map(ToString::to_string).collect();
    let keeps_secret = matches!(to, RotationState::Begun | RotationState::Ready);
    let done = sqlx::query!(
        "UPDATE rotations SET state = $3, updated_at = $4, last_error = '',
             key_id = CASE WHEN $5 THEN key_id END, sealed = CASE WHEN $5 THEN sealed END
         WHERE id = $1 AND state = ANY($2)",
        id,
        &from,
        to.as_str(),
        now,
        keeps_secret,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The database and its roles are gone.
pub async fn end_all(conn: &mut PgConnection, allocation: Uuid, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE rotations SET state = 'aborted', key_id = NULL, sealed = NULL, updated_at = $2
         WHERE allocation_id = $1 AND state IN ('begun', 'ready', 'switched', 'aborting')",
        allocation,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes why it does not go on.
pub async fn note_failure(
    conn: &mut PgConnection,
    id: Uuid,
    text: &str,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!("UPDATE rotations SET last_error = $2, updated_at = $3 WHERE id = $1", id, text, now)
        .execute(conn)
        .await?;
    Ok(())
}

/// The allocation's role from now on, when it is `old` now and the database is where it was.
pub async fn relogin(
    conn: &mut PgConnection,
    rotation: &Rotation,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE allocations SET db_user = $3, updated_at = $4 WHERE id = $1 AND db_user = $2 AND db_server_id = $5 AND state = 'allocated'",
        rotation.allocation_id,
        rotation.old_user,
        rotation.new_user,
        now,
        rotation.server,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
