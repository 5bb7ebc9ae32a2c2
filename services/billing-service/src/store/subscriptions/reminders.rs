//! Which reminders of a subscription were sent, and which comes next.

use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

/// Trial reminders that were sent.
pub async fn reminders(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!("SELECT kind FROM subscription_reminders WHERE subscription_id = $1", id)
        .fetch_all(db)
        .await
}

/// The first moment after `now` and up to `until` at which somebody is to be told that a trial ends.
pub async fn next_reminder(
    db: impl PgExecutor<'_>,
    days: &[u16],
    now: OffsetDateTime,
    until: OffsetDateTime,
) -> sqlx::Result<Option<OffsetDateTime>> {
    let days: Vec<i32> = days.iter().map(|days| i32::from(*days)).collect();
    sqlx::query_scalar!(
        "SELECT min(s.trial_ends_at - make_interval(days => d.days)) FROM subscriptions s CROSS JOIN unnest($1::int[]) AS d (days)
         WHERE s.status <> 'ended' AND s.trial_ends_at = s.current_period_end AND s.trial_ends_at > $2
           AND s.trial_ends_at - make_interval(days => d.days) > $2 AND s.trial_ends_at - make_interval(days => d.days) <= $3
           AND NOT EXISTS (SELECT FROM subscription_reminders r WHERE r.subscription_id = s.id AND r.kind = 'trial-' || d.days)",
        &days,
        now,
        until,
    )
    .fetch_one(db)
    .await
}

/// Remembers a reminder. `false`: it was sent before.
pub async fn remind(
    connection: &mut PgConnection,
    id: Uuid,
    kind: &str,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO subscription_reminders (subscription_id, kind, sent_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        id,
        kind,
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets the trial reminders whose day before this end of the trial is still to come: they are sent again
/// then.
pub async fn forget_reminders(
    connection: &mut PgConnection,
    id: Uuid,
    end: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM subscription_reminders
         WHERE subscription_id = $1 AND kind ~ '^trial-[0-9]+$'
             AND $2::timestamptz - make_interval(days => split_part(kind, '-', 2)::int) > $3",
        id,
        end,
        now,
    )
    .execute(connection)
    .await
    .map(drop)
}
