//! Tables `mail_requests` and `mail_tokens`.

use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::domain::sessions::{RESET_LIFE, VERIFICATION_LIFE};
use crate::tokens::TokenHash;

/// Requests of one kind that a person can cause within an hour; nobody's mailbox is flooded through us.
const PER_HOUR: i64 = 5;

/// What a mail is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Proves an address.
    Verification,
    /// Sets a new password.
    PasswordReset,
}

impl Kind {
    /// The word in SQL.
    pub fn word(self) -> &'static str {
        match self {
            Self::Verification => "verification",
            Self::PasswordReset => "password_reset",
        }
    }

    /// Life of its tokens, and how long we try to send it.
    pub fn life(self) -> Duration {
        match self {
            Self::Verification => VERIFICATION_LIFE,
            Self::PasswordReset => RESET_LIFE,
        }
    }
}

/// Asks for a mail. Nothing happens while one of the kind waits to be sent, or after too many in an hour;
/// `forced` asks anyway.
pub async fn request(
    connection: &mut PgConnection,
    user: Uuid,
    kind: Kind,
    forced: bool,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO mail_requests (id, user_id, kind, created_at, expires_at, next_try)
         SELECT $1::uuid, $2::uuid, $3::text, $4::timestamptz, $5::timestamptz, $4::timestamptz
         WHERE $6 OR (
             NOT EXISTS (SELECT FROM mail_requests WHERE user_id = $2 AND kind = $3 AND state = 'pending' AND expires_at > $4)
             AND (SELECT count(*) FROM mail_requests WHERE user_id = $2 AND kind = $3 AND created_at > $4 - interval '1 hour') < $7)",
        Uuid::now_v7(),
        user,
        kind.word(),
        now,
        now + kind.life(),
        forced,
        PER_HOUR
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A mail to send now.
#[derive(Debug, Clone)]
pub struct Due {
    /// The request; also the key that makes a repetition harmless.
    pub id: Uuid,
    /// To whom.
    pub user_id: Uuid,
    /// What for.
    pub kind: Kind,
    /// Tries so far, with this one.
    pub attempts: i32,
    /// Tries end here.
    pub expires_at: OffsetDateTime,
    /// Is the mail of use still?
    pub of_use: bool,
}

/// Claims up to `limit` mails: nobody else takes them before `lease` is over.
pub async fn claim(
    connection: &mut PgConnection,
    limit: i64,
    lease: Duration,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<Due>> {
    let rows = sqlx::query!(
        r#"WITH due AS (
               SELECT id FROM mail_requests WHERE state = 'pending' AND next_try <= $1 ORDER BY next_try LIMIT $2 FOR UPDATE SKIP LOCKED)
           UPDATE mail_requests m SET attempts = attempts + 1, next_try = $3
           FROM due, users u WHERE m.id = due.id AND u.id = m.user_id
           RETURNING m.id, m.user_id, m.kind, m.attempts, m.expires_at,
               (u.is_active AND (m.kind <> 'verification' OR u.verified_at IS NULL)) AS "of_use!""#,
        now,
        limit,
        now + lease
    )
    .fetch_all(connection)
    .await?;
    let due = rows.into_iter().map(|row| Due {
        id: row.id,
        user_id: row.user_id,
        kind: if row.kind == Kind::Verification.word() { Kind::Verification } else { Kind::PasswordReset },
        attempts: row.attempts,
        expires_at: row.expires_at,
        of_use: row.of_use,
    });
    Ok(due.collect())
}

/// Adds a token to a request; false when the request was dropped meanwhile, and nothing is to be sent.
pub async fn add_token(
    connection: &mut PgConnection,
    request: Uuid,
    hash: &TokenHash,
    expires_at: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO mail_tokens (token_hash, mail_request_id, created_at, expires_at)
         SELECT $1::bytea, id, $3::timestamptz, $4::timestamptz FROM mail_requests
         WHERE id = $2 AND state = 'pending' FOR SHARE",
        hash.as_slice(),
        request,
        now,
        expires_at
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// notification-service has it.
pub async fn mark_sent(connection: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE mail_requests SET state = 'sent', sent_at = $2 WHERE id = $1 AND state = 'pending'",
        id,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// It is of no use any more (`dropped`), or could not be sent in time (`expired`).
pub async fn give_up(connection: &mut PgConnection, id: Uuid, expired: bool) -> sqlx::Result<()> {
    let state = if expired { "expired" } else { "dropped" };
    sqlx::query!("UPDATE mail_requests SET state = $2 WHERE id = $1 AND state = 'pending'", id, state)
        .execute(connection)
        .await?;
    Ok(())
}

/// Tries again at `next_try`.
pub async fn retry_at(connection: &mut PgConnection, id: Uuid, next_try: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!("UPDATE mail_requests SET next_try = $2 WHERE id = $1 AND state = 'pending'", id, next_try)
        .execute(connection)
        .await?;
    Ok(())
}

/// Mails that wait to be sent.
pub async fn pending(connection: &mut PgConnection) -> sqlx::Result<i64> {
    let count = sqlx::query_scalar!("SELECT count(*) FROM mail_requests WHERE state = 'pending'")
        .fetch_one(connection)
        .await?;
    Ok(count.unwrap_or(0))
}

/// A token that came back from a mail.
#[derive(Debug, Clone, Copy)]
pub struct Returned {
    /// Its request.
    pub request_id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// Was used before.
    pub used: bool,
    /// Its end.
    pub expires_at: OffsetDateTime,
    /// Does it belong to the newest request of its kind?
    pub newest: bool,
}

/// Finds a token of this kind. Whoever acts on it locks its account first and then looks again.
pub async fn find_token(
    connection: &mut PgConnection,
    kind: Kind,
    hash: &TokenHash,
) -> sqlx::Result<Option<Returned>> {
    sqlx::query_as!(
        Returned,
        r#"SELECT m.id AS request_id, m.user_id, t.used_at IS NOT NULL AS "used!", t.expires_at,
                  NOT EXISTS (SELECT FROM mail_requests n WHERE n.user_id = m.user_id AND n.kind = m.kind
                              AND (n.created_at, n.id) > (m.created_at, m.id)) AS "newest!"
           FROM mail_tokens t JOIN mail_requests m ON m.id = t.mail_request_id
           WHERE t.token_hash = $1 AND m.kind = $2"#,
        hash.as_slice(),
        kind.word()
    )
    .fetch_optional(connection)
    .await
}

/// Marks every token of the kind as used: which of the mails was opened does not matter.
pub async fn use_up(
    connection: &mut PgConnection,
    user: Uuid,
    kind: Kind,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE mail_tokens SET used_at = $3 WHERE used_at IS NULL
         AND mail_request_id IN (SELECT id FROM mail_requests WHERE user_id = $1 AND kind = $2)",
        user,
        kind.word(),
        now
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE mail_requests SET state = 'dropped' WHERE user_id = $1 AND kind = $2 AND state = 'pending'",
        user,
        kind.word()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes every link of the kind worthless, sent or not. The requests stay: they count for the limit of an
/// hour.
pub async fn void(connection: &mut PgConnection, user: Uuid, kind: Kind) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE mail_requests SET state = 'dropped' WHERE user_id = $1 AND kind = $2 AND state = 'pending'",
        user,
        kind.word()
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "DELETE FROM mail_tokens
         WHERE mail_request_id IN (SELECT id FROM mail_requests WHERE user_id = $1 AND kind = $2)",
        user,
        kind.word()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes all requests of a user.
pub async fn remove_all(connection: &mut PgConnection, user: Uuid) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM mail_requests WHERE user_id = $1", user).execute(connection).await?;
    Ok(())
}
