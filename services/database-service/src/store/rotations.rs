//! Table `rotations`.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{decode, readable};
use crate::domain::rotation::{RotationChange, RotationState};
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

/// The rows of `rotations` that a condition names: the columns stand here once.
macro_rules! select_rotations {
    ($condition:literal, $($argument:expr),+) => {
        sqlx::query_as!(
            Row,
            "SELECT id, allocation_id, db_server_id, state, old_user, new_user, key_id, sealed, updated_at
             FROM rotations WHERE " + $condition,
            $($argument),+
        )
    };
}

/// One rotation.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Rotation>> {
    let row = select_rotations!("id = $1", id).fetch_optional(connection).await?;
    row.map(Rotation::try_from).transpose()
}

/// The one of an allocation that did not end.
pub async fn open(connection: &mut PgConnection, allocation: Uuid) -> sqlx::Result<Option<Rotation>> {
    let row = select_rotations!(
        "allocation_id = $1 AND state IN ('begun', 'ready', 'switched', 'aborting')",
        allocation
    )
    .fetch_optional(connection)
    .await?;
    row.map(Rotation::try_from).transpose()
}

/// Those that nobody touched since `before`.
pub async fn left(connection: &mut PgConnection, before: OffsetDateTime) -> sqlx::Result<Vec<Rotation>> {
    let rows = select_rotations!("state IN ('begun', 'ready', 'switched', 'aborting') AND updated_at < $1 ORDER BY updated_at LIMIT 50", before)
    .fetch_all(connection)
    .await?;
    Ok(readable("a rotation", rows, |row| row.id))
}

/// Begins one.
pub async fn insert(connection: &mut PgConnection, new: &Rotation, now: OffsetDateTime) -> sqlx::Result<()> {
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
    .execute(connection)
    .await?;
    Ok(())
}

/// One that was left behind goes on under another operation.
pub async fn take_over(
    connection: &mut PgConnection,
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
    .execute(connection)
    .await?;
    Ok(())
}

/// The next state, when it is where the change begins. False: somebody else was faster.
pub async fn advance(
    connection: &mut PgConnection,
    id: Uuid,
    change: RotationChange,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE rotations SET state = $3, updated_at = $4, last_error = '',
             key_id = CASE WHEN $5 THEN key_id END, sealed = CASE WHEN $5 THEN sealed END
         WHERE id = $1 AND state = $2",
        id,
        change.from().as_str(),
        change.to().as_str(),
        now,
        change.keeps_secret(),
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The database and its roles are gone.
pub async fn end_all(
    connection: &mut PgConnection,
    allocation: Uuid,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE rotations SET state = 'aborted', key_id = NULL, sealed = NULL, updated_at = $2
         WHERE allocation_id = $1 AND state IN ('begun', 'ready', 'switched', 'aborting')",
        allocation,
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
    sqlx::query!("UPDATE rotations SET last_error = $2, updated_at = $3 WHERE id = $1", id, text, now)
        .execute(connection)
        .await?;
    Ok(())
}

/// The allocation's role from now on, when it is `old` now and the database is where it was.
pub async fn relogin(
    connection: &mut PgConnection,
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
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
