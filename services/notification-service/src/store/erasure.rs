//! Erases what mails hold of persons.

use sqlx::PgConnection;
use uuid::Uuid;

/// Erases recipients, words and variables of all mails to these accounts, and what mail servers answered; mails
/// that were not sent are cancelled, also those on their way, whose lease is no good any more. How many rows
/// held anything.
pub async fn erase(connection: &mut PgConnection, customers: &[Uuid]) -> sqlx::Result<u64> {
    let erased = sqlx::query_scalar!(
        r#"WITH erased AS (
               UPDATE emails SET recipient = NULL, subject = '', variables = '{}', secret_variables = NULL,
                      last_error = NULL, lease_token = NULL, lease_until = NULL,
                      status = CASE WHEN status = 'sent' THEN status ELSE 'cancelled' END
               WHERE customer_id = ANY($1)
                 AND (recipient IS NOT NULL OR subject <> '' OR variables <> '{}' OR last_error IS NOT NULL
                   OR secret_variables IS NOT NULL OR status NOT IN ('sent', 'cancelled'))
               RETURNING id),
           silenced AS (
               UPDATE email_events SET detail = '' FROM erased
               WHERE email_id = erased.id AND detail <> '')
           SELECT count(*) AS "count!" FROM erased"#,
        customers,
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(erased).unwrap_or(0))
}
