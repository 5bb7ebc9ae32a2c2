//! What is left of a person after their account was erased: nothing that tells who it was. Rows stay for the
//! accounts, under an identifier that belongs to nobody any more.

use sqlx::PgConnection;
use uuid::Uuid;

/// Erases a customer from all tables; again is no error, and finds what was written since. How many rows
/// changed.
pub async fn erase(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<u64> {
    let mut changed = 0;
    // Locks in the one order of all: operations, then instances.
    changed += operations(connection, customer).await?;
    changed += instances(connection, customer).await?;
    changed += history(connection, customer).await?;
    changed += requests(connection, customer).await?;
    changed += announced(connection, customer).await?;
    Ok(changed)
}

/// What was asked for and what went wrong, in words. One that is not done yet is erased after its end.
async fn operations(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        r#"UPDATE operations o SET parameters = o.parameters - 'reason', error_message = NULL, internal_error = NULL,
               trace = '{}', steps = coalesce((SELECT jsonb_agg(jsonb_set(s.item, '{detail}', '""'))
                                               FROM jsonb_array_elements(o.steps) AS s (item)), '[]')
           FROM instances i
           WHERE i.id = o.instance_id AND i.customer_id = $1 AND o.state NOT IN ('queued', 'running')
             AND (o.parameters ? 'reason' OR o.error_message IS NOT NULL OR o.internal_error IS NOT NULL
                  OR o.trace <> '{}' OR jsonb_path_exists(o.steps, '$[*].detail ? (@ != "")'))"#,
        customer,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// The host name stays until the purge: it is the way to objects that are still there.
async fn instances(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<u64> {
    let texts = sqlx::query!(
        "UPDATE instances SET name = 'erased', description = '', admin_email = '', labels = '{}',
             display_database_name = '', suspended_reason = NULL, error_message = NULL,
             version = version + 1, updated_at = CASE WHEN status = 'purged' THEN updated_at ELSE now() END
         WHERE customer_id = $1
           AND (name <> 'erased' OR description <> '' OR admin_email <> '' OR labels <> '{}'
                OR display_database_name <> '' OR suspended_reason IS NOT NULL OR error_message IS NOT NULL)",
        customer,
    )
    .execute(&mut *connection)
    .await?;
    let hosts = sqlx::query!(
        "UPDATE instances SET subdomain = 'erased-' || replace(id::text, '-', ''), external_url = '',
             version = version + 1
         WHERE customer_id = $1 AND status = 'purged' AND external_url <> ''",
        customer,
    )
    .execute(&mut *connection)
    .await?;
    let words = sqlx::query!(
        "UPDATE purge_consents c SET reason = '' FROM instances i
         WHERE i.id = c.instance_id AND i.customer_id = $1 AND c.reason <> ''",
        customer,
    )
    .execute(&mut *connection)
    .await?;
    // Whoever is erased wants nothing kept.
    let consents = sqlx::query!(
        "INSERT INTO purge_consents (instance_id, given_by, role, reason)
         SELECT id, 'user-service', 'service', '' FROM instances
         WHERE customer_id = $1 AND status = 'terminated' ON CONFLICT (instance_id) DO NOTHING",
        customer,
    )
    .execute(connection)
    .await?;
    Ok([texts, hosts, words, consents].iter().map(sqlx::postgres::PgQueryResult::rows_affected).sum())
}

/// The timeline keeps what happened and when; the audit log who did it, by identifier.
async fn history(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<u64> {
    let events = sqlx::query!(
        "UPDATE instance_events e SET message = replace(e.type, '_', ' ') FROM instances i
         WHERE i.id = e.instance_id AND i.customer_id = $1 AND e.message <> replace(e.type, '_', ' ')",
        customer,
    )
    .execute(&mut *connection)
    .await?;
    let audit = sqlx::query!(
        "UPDATE audit_log a SET reason = 'erased', details = '{}',
             client_ip = CASE WHEN a.actor = $1::text THEN '' ELSE a.client_ip END
         WHERE (a.actor = $1::text OR a.instance_id IN (SELECT id FROM instances WHERE customer_id = $2))
           AND (a.reason <> 'erased' OR a.details <> '{}' OR a.actor = $1::text AND a.client_ip <> '')",
        customer.to_string(),
        customer,
    )
    .execute(connection)
    .await?;
    Ok(events.rows_affected() + audit.rows_affected())
}

/// Keys that the customer chose, claims, and what waits to be followed.
async fn requests(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<u64> {
    let keys = sqlx::query!("DELETE FROM idempotency_keys WHERE customer_id = $1", customer)
        .execute(&mut *connection)
        .await?;
    let claims = sqlx::query!("DELETE FROM create_claims WHERE customer_id = $1", customer)
        .execute(&mut *connection)
        .await?;
    let news = sqlx::query!(
        "UPDATE billing_news n SET reason = NULL FROM instances i
         WHERE i.id = n.instance_id AND i.customer_id = $1 AND n.reason IS NOT NULL",
        customer,
    )
    .execute(connection)
    .await?;
    Ok(keys.rows_affected() + claims.rows_affected() + news.rows_affected())
}

/// What was announced is known to the others, who erase their own; what was not yet goes without the person.
async fn announced(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<u64> {
    let sent = sqlx::query!(
        "DELETE FROM outbox WHERE payload ->> 'customer_id' = $1 AND sent_at IS NOT NULL",
        customer.to_string(),
    )
    .execute(&mut *connection)
    .await?;
    let unsent = sqlx::query!(
        r#"UPDATE outbox SET payload = payload || '{"name": "erased", "admin_email": "", "external_url": "", "reason": null}'
           WHERE payload ->> 'customer_id' = $1 AND payload ? 'admin_email' AND payload ->> 'admin_email' <> ''"#,
        customer.to_string(),
    )
    .execute(connection)
    .await?;
    Ok(sent.rows_affected() + unsent.rows_affected())
}
