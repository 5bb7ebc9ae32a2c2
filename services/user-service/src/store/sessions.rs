//! Tables `sessions` and `refresh_tokens`.

use runtime::identity::Role;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::sessions::SessionState;
use crate::tokens::TokenHash;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The user signed out.
    Logout,
    /// The user ended it from another session.
    Revoked,
    /// The password changed (USR-13).
    Password,
    /// Too many sessions.
    Limit,
    /// A used refresh token came again (USR-12).
    Reuse,
    /// An administrator ended it.
    Admin,
    /// The account was closed.
    Closed,
}

impl End {
    fn word(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Revoked => "revoked",
            Self::Password => "password",
            Self::Limit => "limit",
            Self::Reuse => "reuse",
            Self::Admin => "admin",
            Self::Closed => "closed",
        }
    }
}

/// A session with what decides about it.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Whose.
    pub user_id: Uuid,
    /// Is it live?
    pub state: SessionState,
    /// Role of its user, now.
    pub role: Role,
}

/// By primary key; the hot path.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Found>> {
    let row = sqlx::query!(
        "SELECT s.user_id, s.expires_at, s.last_used_at, s.ended_at, u.is_active, u.role
         FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1",
        id
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Found {
            user_id: row.user_id,
            role: super::users::parse_role(&row.role)?,
            state: SessionState {
                ended: row.ended_at.is_some(),
                expires_at: row.expires_at,
                last_used_at: row.last_used_at,
                account_usable: row.is_active,
            },
        })
    })
    .transpose()
}

/// Notes a use.
pub async fn touch(connection: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!("UPDATE sessions SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2", id, now)
        .execute(connection)
        .await?;
    Ok(())
}

/// A new session.
#[derive(Debug)]
pub struct NewSession<'a> {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// End of its refresh token.
    pub expires_at: OffsetDateTime,
    /// 30 days instead of 7.
    pub remembered: bool,
    /// Address of the client.
    pub ip: &'a str,
    /// Program of the client.
    pub user_agent: &'a str,
}

/// Adds a session.
pub async fn insert(
    connection: &mut PgConnection,
    session: &NewSession<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO sessions (id, user_id, created_at, last_used_at, expires_at, remembered, ip, user_agent)
         VALUES ($1, $2, $3, $3, $4, $5, $6, $7)",
        session.id,
        session.user_id,
        now,
        session.expires_at,
        session.remembered,
        session.ip,
        session.user_agent
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the oldest live sessions above `limit`.
pub async fn trim(
    connection: &mut PgConnection,
    user: Uuid,
    limit: u32,
    now: OffsetDateTime,
) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE sessions SET ended_at = $3, end_reason = $4 WHERE id IN (
             SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $3
             ORDER BY created_at DESC, id DESC OFFSET $2)",
        user,
        i64::from(limit),
        now,
        End::Limit.word()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// A session as its owner sees it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its id.
    pub id: Uuid,
    /// Begin.
    pub created_at: OffsetDateTime,
    /// Last use, to the minute.
    pub last_used_at: OffsetDateTime,
    /// Address of the client.
    pub ip: String,
    /// Program of the client.
    pub user_agent: String,
    expires_at: OffsetDateTime,
}

/// Live sessions of a user, newest first.
pub async fn list(
    connection: &mut PgConnection,
    user: Uuid,
    now: OffsetDateTime,
    idle: Option<time::Duration>,
) -> sqlx::Result<Vec<Listed>> {
    let mut rows = sqlx::query_as!(
        Listed,
        "SELECT id, created_at, last_used_at, ip, user_agent, expires_at FROM sessions
         WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 ORDER BY created_at DESC, id DESC",
        user,
        now
    )
    .fetch_all(connection)
    .await?;
    rows.retain(|row| {
        SessionState {
            ended: false,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
            account_usable: true,
        }
        .is_live(now, idle)
    });
    Ok(rows)
}

/// Ends one live session of a user; false when there is no such one.
pub async fn end(
    connection: &mut PgConnection,
    user: Uuid,
    id: Uuid,
    why: End,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE sessions SET ended_at = $3, end_reason = $4
         WHERE id = $2 AND user_id = $1 AND ended_at IS NULL AND expires_at > $3",
        user,
        id,
        now,
        why.word()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends all sessions of a user, but the one to keep.
pub async fn end_all(
    connection: &mut PgConnection,
    user: Uuid,
    keep: Option<Uuid>,
    why: End,
    now: OffsetDateTime,
) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE sessions SET ended_at = $3, end_reason = $4
         WHERE user_id = $1 AND id IS DISTINCT FROM $2::uuid AND ended_at IS NULL",
        user,
        keep,
        now,
        why.word()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// A refresh token with its session.
#[derive(Debug, Clone, Copy)]
pub struct Refresh {
    /// The session.
    pub session_id: Uuid,
    /// Its user.
    pub user_id: Uuid,
    /// Was used before.
    pub used: bool,
    /// End of this token.
    pub expires_at: OffsetDateTime,
    /// 30 days instead of 7.
    pub remembered: bool,
    /// Is the session live?
    pub state: SessionState,
    /// Role of the user, now.
    pub role: Role,
}

/// Finds a refresh token and locks it and its session, so that two uses at once are seen as two.
pub async fn lock_refresh(connection: &mut PgConnection, hash: &TokenHash) -> sqlx::Result<Option<Refresh>> {
    let row = sqlx::query!(
        "SELECT r.session_id, r.used_at, r.expires_at AS token_expires_at, s.user_id, s.remembered, s.expires_at, s.last_used_at, s.ended_at,
                u.is_active, u.role
         FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id JOIN users u ON u.id = s.user_id
         WHERE r.token_hash = $1 FOR UPDATE OF r, s",
        hash.as_slice()
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Refresh {
            session_id: row.session_id,
            user_id: row.user_id,
            used: row.used_at.is_some(),
            expires_at: row.token_expires_at,
            remembered: row.remembered,
            role: super::users::parse_role(&row.role)?,
            state: SessionState {
                ended: row.ended_at.is_some(),
                expires_at: row.expires_at,
                last_used_at: row.last_used_at,
                account_usable: row.is_active,
            },
        })
    })
    .transpose()
}

/// Adds a refresh token to a session.
pub async fn insert_refresh(
    connection: &mut PgConnection,
    session: Uuid,
    hash: &TokenHash,
    expires_at: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO refresh_tokens (token_hash, session_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
        hash.as_slice(),
        session,
        now,
        expires_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks a refresh token as used and lets its session live until `expires_at`.
pub async fn rotate(
    connection: &mut PgConnection,
    used: &TokenHash,
    session: Uuid,
    expires_at: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!("UPDATE refresh_tokens SET used_at = $2 WHERE token_hash = $1", used.as_slice(), now)
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "UPDATE sessions SET expires_at = $2, last_used_at = $3 WHERE id = $1",
        session,
        expires_at,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes all sessions of a user.
pub async fn remove_all(connection: &mut PgConnection, user: Uuid) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM sessions WHERE user_id = $1", user).execute(connection).await?;
    Ok(())
}
