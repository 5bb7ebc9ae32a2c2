//! What billing forgets of a person (USR-20). The books stay as long as the law asks: number, dates, amounts,
//! and name, address and tax number of the buyer for ten years from the issue. The hash of the address stays
//! with the trial that it had, so that there is one for each address; nobody can read the address from it.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// One each, with the customer's id as `$1`; done twice they change nothing more. A reason that is one word
/// of ours, such as `offer_expired`, says nothing of a person and stays.
const FORGET: [&str; 12] = [
    // First: the guard of the invoices asks for it.
    "UPDATE customers SET company = '', tax_id = '', billing_email = '', address = '{}', country = '',
         registered_country = '', person = '', email_hash = NULL, erased_at = coalesce(erased_at, now())
     WHERE id = $1",
    "UPDATE orders SET settings = '{}' WHERE customer_id = $1 AND settings <> '{}'",
    "UPDATE subscriptions SET cancel_reason = '' WHERE customer_id = $1 AND cancel_reason <> ''",
    "UPDATE invoices SET buyer = buyer - 'billing_email' WHERE customer_id = $1 AND buyer ? 'billing_email'",
    "UPDATE invoices SET closed_reason = '' WHERE customer_id = $1 AND closed_reason !~ '^[a-z_]*$'",
    "UPDATE payments SET reason = '', redirect_url = '' WHERE customer_id = $1 AND state <> 'pending'
         AND (redirect_url <> '' OR reason !~ '^[a-z_]*$')",
    "UPDATE refunds r SET reason = '' FROM payments p
     WHERE p.id = r.payment_id AND p.customer_id = $1 AND r.reason !~ '^[a-z_]*$'",
    "UPDATE credits SET reason = '' WHERE customer_id = $1 AND key LIKE 'admin:%' AND reason <> ''",
    "UPDATE provider_calls SET details = details - 'reason' WHERE customer_id = $1 AND details ? 'reason'",
    "UPDATE webhook_inbox SET body = '' WHERE customer_id = $1 AND state <> 'new' AND body <> ''",
    "UPDATE audit_log SET reason = '', details = '{}'
     WHERE customer_id = $1 AND (reason <> '' OR details <> '{}')",
    "UPDATE findings SET acknowledge_reason = '' WHERE customer_id = $1 AND acknowledge_reason <> ''",
];
/// What was announced already. An event that waits for the broker goes with the next look.
const FORGET_SENT: &str = "DELETE FROM outbox
     WHERE sent_at IS NOT NULL AND (aggregate_id = $1 OR payload ->> 'customer_id' = $1::text)";

/// Forgets a person, in the transaction of the caller.
pub async fn forget(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<()> {
    for statement in FORGET.into_iter().chain([FORGET_SENT]) {
        sqlx::query(statement).bind(customer).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Which of these persons must be looked at: those who are not forgotten yet, and those of the last week, of
/// whom something may have been on its way.
pub async fn open(db: impl PgExecutor<'_>, erased: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "SELECT id FROM customers
         WHERE id = ANY($1) AND (erased_at IS NULL OR erased_at > now() - interval '7 days')",
    )
    .bind(erased)
    .fetch_all(db)
    .await
}

/// Takes the name off invoices whose time is over: of those that were erased, `limit` at once. How many.
pub async fn forget_buyers(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "UPDATE invoices SET buyer = buyer - ARRAY['company', 'tax_id', 'address', 'person', 'billing_email']
         WHERE id IN (
             SELECT i.id FROM customers c JOIN invoices i ON i.customer_id = c.id
             WHERE c.erased_at IS NOT NULL AND i.issued_at < now() - interval '10 years'
               AND i.buyer ?| ARRAY['company', 'tax_id', 'address', 'person', 'billing_email']
             LIMIT $1)",
    )
    .bind(limit)
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}
