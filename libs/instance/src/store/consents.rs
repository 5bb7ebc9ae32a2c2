//! Who said that the data of an instance may go although there is no backup of it (INS-26).

use sqlx::PgConnection;
use uuid::Uuid;

/// A word that was given.
#[derive(Debug, Clone)]
pub struct Consent<'a> {
    /// Whose data.
    pub instance: Uuid,
    /// User id or service name.
    pub given_by: &'a str,
    /// Role word, or `service`.
    pub role: &'a str,
    /// Why.
    pub reason: &'a str,
    /// `X-Request-Id`.
    pub request_id: &'a str,
}

/// Keeps a word; the first one stays. False: there was one.
pub async fn give(connection: &mut PgConnection, consent: &Consent<'_>) -> sqlx::Result<bool> {
    let given = sqlx::query!(
        "INSERT INTO purge_consents (instance_id, given_by, role, reason, request_id)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (instance_id) DO NOTHING",
        consent.instance,
        consent.given_by,
        consent.role,
        consent.reason,
        consent.request_id,
    )
    .execute(connection)
    .await?;
    Ok(given.rows_affected() == 1)
}

/// The instance comes back: the word was about its former end.
pub async fn withdraw(connection: &mut PgConnection, instance: Uuid) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM purge_consents WHERE instance_id = $1", instance)
        .execute(connection)
        .await
        .map(drop)
}

/// Is there a word, or nothing that it would be needed for?
pub async fn may_purge(connection: &mut PgConnection, instance: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT NOT i.provisioning_status = 'completed'
                  OR EXISTS (SELECT FROM purge_consents c WHERE c.instance_id = i.id) AS "may!"
           FROM instances i WHERE i.id = $1"#,
        instance,
    )
    .fetch_optional(connection)
    .await
    .map(|may| may.unwrap_or(false))
}

/// Those of `instances` whose data stays because nobody has said that it may go.
pub async fn among(connection: &mut PgConnection, instances: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT i.id FROM instances i
         WHERE i.id = ANY($1) AND i.provisioning_status = 'completed'
           AND NOT EXISTS (SELECT FROM purge_consents c WHERE c.instance_id = i.id)
         ORDER BY i.purge_after",
        instances,
    )
    .fetch_all(connection)
    .await
}

/// How many instances there are whose retention has passed and whose data stays.
pub async fn awaiting(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM instances i
           WHERE i.status = 'terminated' AND i.purge_after <= now() AND i.provisioning_status = 'completed'
             AND NOT EXISTS (SELECT FROM purge_consents c WHERE c.instance_id = i.id)"#,
    )
    .fetch_one(connection)
    .await
}

/// Instances whose retention has passed and whose data stays because nobody has said that it may go, if the
/// timeline does not say so yet.
pub async fn untold(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT i.id FROM instances i
         WHERE i.status = 'terminated' AND i.purge_after <= now() AND i.provisioning_status = 'completed'
           AND NOT EXISTS (SELECT FROM purge_consents c WHERE c.instance_id = i.id)
           AND NOT EXISTS (SELECT FROM instance_events e WHERE e.instance_id = i.id
                           AND e.type = 'purge_awaits_consent' AND e.at >= i.purge_after)
         ORDER BY i.id LIMIT $1 FOR NO KEY UPDATE OF i SKIP LOCKED",
        limit,
    )
    .fetch_all(connection)
    .await
}
