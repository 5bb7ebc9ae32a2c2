//! All SQL of the queue.

mod erasure;
mod history;
mod retention;
mod story;

use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use story::note;

pub use erasure::erase;
pub use history::{
    Detail, Event, Filter, Summary, depth, detail, last_sent, list, oldest_waiting_seconds, requeue,
};
pub use retention::RETENTION;

/// A mail to be queued.
#[derive(Debug, Clone)]
pub struct NewEmail {
    /// Id of the row.
    pub id: Uuid,
    /// Event id, or a caller's key.
    pub dedupe_key: String,
    /// Registry name.
    pub template_name: &'static str,
    /// Whose account.
    pub customer_id: Uuid,
    /// Subject line.
    pub subject: String,
    /// Variables that history may show.
    pub variables: Value,
    /// Variables that it must not.
    pub secret_variables: Option<Value>,
    /// The customer may have switched it off.
    pub switchable: bool,
    /// A sample for an operator.
    pub test: bool,
    /// Lower goes first.
    pub priority: i16,
    /// `Message-ID`.
    pub message_id: String,
}

/// Adds a mail, once per key, template and customer (NTF-09). The id of the row that is there now.
pub async fn enqueue(connection: &mut PgConnection, mail: &NewEmail) -> sqlx::Result<Uuid> {
    let inserted = sqlx::query_scalar!(
        "INSERT INTO emails (id, dedupe_key, template_name, customer_id, subject, variables, secret_variables, switchable, test, priority, message_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (dedupe_key, template_name, customer_id) DO NOTHING RETURNING id",
        mail.id,
        mail.dedupe_key,
        mail.template_name,
        mail.customer_id,
        mail.subject,
        mail.variables,
        mail.secret_variables,
        mail.switchable,
        mail.test,
        mail.priority,
        mail.message_id,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(id) = inserted {
        note(connection, id, "queued", "").await?;
        return Ok(id);
    }
    sqlx::query_scalar!(
        "SELECT id FROM emails WHERE dedupe_key = $1 AND template_name = $2 AND customer_id = $3",
        mail.dedupe_key,
        mail.template_name,
        mail.customer_id,
    )
    .fetch_one(connection)
    .await
}

/// A mail that this process may send until its lease ends.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Row.
    pub id: Uuid,
    /// Proves the lease.
    pub lease_token: Uuid,
    /// Registry name.
    pub template_name: String,
    /// Whose account.
    pub customer_id: Uuid,
    /// All variables, secret ones too.
    pub variables: Value,
    /// The customer may have switched it off.
    pub switchable: bool,
    /// A sample for an operator.
    pub test: bool,
    /// Number of this attempt, from 1.
    pub attempts: i32,
    /// `Message-ID`.
    pub message_id: String,
    /// When the mail was ordered.
    pub created_at: OffsetDateTime,
}

/// How many mails the mail server gets in a time, over all replicas (NTF-12).
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// In any 60 seconds.
    pub per_minute: i64,
    /// In any 60 minutes.
    pub per_hour: i64,
}

impl Rate {
    /// What is left for mails of any kind, and for those that are no security mails: a fifth is kept for
    /// links that somebody waits for.
    fn left(self, minute: i64, hour: i64) -> (i64, i64) {
        let all = (self.per_minute - minute).min(self.per_hour - hour);
        let others =
            (self.per_minute - self.per_minute / 5 - minute).min(self.per_hour - self.per_hour / 5 - hour);
        (all, others)
    }
}

/// Serialises the claims of all replicas, so that their counts are exact.
const CLAIM_LOCK: i64 = 0x6d61_696c;

/// Takes at most `wanted` due mails, security mails first, within the rate. Mails of a sender that died are
/// due again when its lease ended.
///
/// The rate counts what went to the mail server ([`settle`]) and what may be on its way there now. A mail
/// that had to wait for something else costs nothing.
pub async fn claim(
    pool: &PgPool,
    wanted: i64,
    rate: Rate,
    lease: std::time::Duration,
) -> sqlx::Result<Vec<Claimed>> {
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", CLAIM_LOCK).execute(&mut *tx).await?;
    // One statement, one snapshot: a mail is on its way or in the log, never both and never neither.
    let used = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE at > clock_timestamp() - interval '1 minute') AS "minute!", count(*) AS "hour!",
                  (SELECT count(*) FROM emails WHERE status = 'sending' AND lease_until >= clock_timestamp()) AS "going!"
           FROM send_log WHERE at > clock_timestamp() - interval '1 hour'"#
    )
    .fetch_one(&mut *tx)
    .await?;
    let (all, others) = rate.left(used.minute + used.going, used.hour + used.going);
    let mut claimed = take(&mut tx, true, wanted.min(all), lease).await?;
    let taken = i64::try_from(claimed.len()).unwrap_or(wanted);
    claimed.extend(take(&mut tx, false, (wanted - taken).min(others - taken), lease).await?);
    tx.commit().await?;
    Ok(claimed)
}

/// Takes due mails that are security mails, or those that are none.
async fn take(
    connection: &mut PgConnection,
    security: bool,
    most: i64,
    lease: std::time::Duration,
) -> sqlx::Result<Vec<Claimed>> {
    if most <= 0 {
        return Ok(Vec::new());
    }
    sqlx::query_as!(
        Claimed,
        r#"UPDATE emails SET status = 'sending', attempts = attempts + 1, lease_token = $2,
                  lease_until = clock_timestamp() + make_interval(secs => $3)
           WHERE id IN (
               SELECT id FROM emails
               WHERE ((status = 'queued' AND next_attempt_at <= clock_timestamp())
                   OR (status = 'sending' AND lease_until < clock_timestamp()))
                 AND (priority = 0) = $4
               ORDER BY priority, next_attempt_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)
           RETURNING id, lease_token AS "lease_token!", template_name, customer_id,
                     variables || coalesce(secret_variables, '{}'::jsonb) AS "variables!", switchable, test, attempts, message_id, created_at"#,
        most,
        Uuid::now_v7(),
        lease.as_secs_f64(),
        security,
    )
    .fetch_all(connection)
    .await
}

/// How an attempt ended, as the row shall say it.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// The server took it.
    Sent {
        /// Address that it went to.
        recipient: &'a str,
    },
    /// Again after a pause; the attempt counts.
    Deferred {
        /// Seconds.
        pause: f64,
        /// Why.
        error: &'a str,
    },
    /// Again after a pause; the attempt does not count, because the mail server was not asked.
    Postponed {
        /// Seconds.
        pause: f64,
        /// Why.
        error: &'a str,
    },
    /// Given up.
    Failed {
        /// Why.
        error: &'a str,
    },
    /// Not to be sent.
    Cancelled {
        /// Why.
        error: &'a str,
    },
}

/// Writes the outcome, if the lease is still ours. `false`: another sender has taken over. `served`: the mail
/// server had the mail, so that it counts for the rate.
pub async fn settle(pool: &PgPool, mail: &Claimed, outcome: Outcome<'_>, served: bool) -> sqlx::Result<bool> {
    let mut tx = pool.begin().await?;
    if served {
        sqlx::query!("INSERT INTO send_log (at) VALUES (clock_timestamp())").execute(&mut *tx).await?;
    }
    let (status, uncounted, pause, error, recipient) = match outcome {
        Outcome::Sent { recipient } => ("sent", 0, 0.0, None, Some(recipient)),
        Outcome::Deferred { pause, error } => ("queued", 0, pause, Some(error), None),
        Outcome::Postponed { pause, error } => ("queued", 1, pause, Some(error), None),
        Outcome::Failed { error } => ("failed", 0, 0.0, Some(error), None),
        Outcome::Cancelled { error } => ("cancelled", 0, 0.0, Some(error), None),
    };
    let kind = match outcome {
        Outcome::Deferred { .. } => "deferred",
        Outcome::Postponed { .. } => "postponed",
        Outcome::Sent { .. } | Outcome::Failed { .. } | Outcome::Cancelled { .. } => status,
    };
    let ours = sqlx::query!(
        "UPDATE emails SET status = $3, attempts = attempts - $4, next_attempt_at = clock_timestamp() + make_interval(secs => $5),
                last_error = $6, recipient = coalesce($7, recipient), lease_token = NULL, lease_until = NULL,
                sent_at = CASE WHEN $3 = 'sent' THEN clock_timestamp() END,
                secret_variables = CASE WHEN $3 IN ('sent', 'cancelled') THEN NULL ELSE secret_variables END
         WHERE id = $1 AND status = 'sending' AND lease_token = $2",
        mail.id,
        mail.lease_token,
        status,
        uncounted,
        pause,
        error,
        recipient,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected()
        == 1;
    if !ours {
        // The log stays: the mail server had the mail.
        tx.commit().await?;
        return Ok(false);
    }
    note(&mut tx, mail.id, kind, error.unwrap_or_default()).await?;
    tx.commit().await?;
    Ok(true)
}

/// Remembers the address as soon as it is known, for the history.
pub async fn remember_recipient(pool: &PgPool, mail: &Claimed, recipient: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE emails SET recipient = $3 WHERE id = $1 AND lease_token = $2 AND recipient IS DISTINCT FROM $3",
        mail.id,
        mail.lease_token,
        recipient,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Clears the secrets of mails that failed a day ago (NTF-10).
pub async fn clear_secrets(pool: &PgPool) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE emails SET secret_variables = NULL
         WHERE status = 'failed' AND secret_variables IS NOT NULL AND next_attempt_at < clock_timestamp() - interval '1 day'"
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Was a mail with this key ordered within a day?
pub async fn was_told(connection: &mut PgConnection, customer: Uuid, key: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM emails
               WHERE dedupe_key = $1 AND customer_id = $2 AND created_at > now() - interval '1 day') AS "told!""#,
        key,
        customer,
    )
    .fetch_one(connection)
    .await
}
