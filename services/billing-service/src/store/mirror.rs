//! Rows that follow a provider which keeps the books.

use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use super::invoices;
use crate::domain::invoice::{Claim, Invoice, InvoiceKind, Line};
use crate::domain::money::Money;

/// Keeper of mirrored rows, as they say it.
pub const EXTERNAL_PROVIDER: &str = "killbill";

/// How often the rows of a customer were brought to the provider's state, and the database's time; a look
/// that began earlier is old.
pub async fn sequence(
    db: impl PgExecutor<'_>,
    customer: Uuid,
) -> sqlx::Result<Option<(i64, OffsetDateTime)>> {
    let row = sqlx::query!(
        r#"SELECT sync_seq, clock_timestamp() AS "now!" FROM customers WHERE id = $1"#,
        customer
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.sync_seq, row.now)))
}

/// When the last pull began whose state was applied as a whole, by the database's clock.
pub async fn pulled_at(db: impl PgExecutor<'_>, customer: Uuid) -> sqlx::Result<Option<OffsetDateTime>> {
    let found = sqlx::query_scalar!("SELECT pulled_at FROM customers WHERE id = $1", customer);
    Ok(found.fetch_optional(db).await?.flatten())
}

/// The same, with the customer's mirror kept from others until the transaction ends.
pub async fn lock(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!("SELECT sync_seq FROM customers WHERE id = $1 FOR NO KEY UPDATE", customer)
        .fetch_optional(connection)
        .await
}

/// The rows are the provider's state now. One that is not whole yet is looked at again with the next round.
pub async fn synced(
    connection: &mut PgConnection,
    customer: Uuid,
    account: Option<&str>,
    credit: Option<Money>,
    whole: bool,
    began_at: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE customers SET sync_seq = sync_seq + 1, stale_since = NULL, synced_at = CASE WHEN $4 THEN now() END,
                pulled_at = CASE WHEN $4 THEN $5 ELSE pulled_at END,
                provider_account_id = coalesce($2, provider_account_id), provider_credit_minor = coalesce($3::bigint, provider_credit_minor)
         WHERE id = $1",
        customer,
        account,
        credit.map(Money::minor),
        whole,
        began_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The provider could not be read.
pub async fn stale(db: impl PgExecutor<'_>, customer: Uuid) -> sqlx::Result<()> {
    sqlx::query!("UPDATE customers SET stale_since = now() WHERE id = $1 AND stale_since IS NULL", customer)
        .execute(db)
        .await?;
    Ok(())
}

/// The provider does not answer.
pub async fn set_away(db: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query!("UPDATE provider_state SET away_since = now() WHERE away_since IS NULL")
        .execute(db)
        .await
        .map(drop)
}

/// The provider answers. `true`: it did not before, and everybody who was not compared since is compared with
/// the next rounds.
pub async fn set_back(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"WITH back AS (SELECT away_since FROM provider_state WHERE away_since IS NOT NULL FOR UPDATE),
             due AS (UPDATE customers SET synced_at = NULL FROM back WHERE synced_at <= back.away_since),
             cleared AS (UPDATE provider_state SET away_since = NULL WHERE away_since IS NOT NULL)
           SELECT EXISTS (SELECT FROM back) AS "back!""#
    )
    .fetch_one(db)
    .await
}

/// Since when the provider does not answer.
pub async fn away_since(db: impl PgExecutor<'_>) -> sqlx::Result<Option<OffsetDateTime>> {
    sqlx::query_scalar!("SELECT away_since FROM provider_state").fetch_one(db).await
}

/// Customers whose rows must be compared: never, not within a day, or not within five minutes while something
/// is pending (BIL-33).
pub async fn due(
    db: impl PgExecutor<'_>,
    billing_now: OffsetDateTime,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT c.id FROM customers c
         WHERE c.provider_account_id IS NOT NULL AND (
             c.synced_at IS NULL OR c.stale_since IS NOT NULL OR c.synced_at < now() - interval '24 hours'
             OR (c.synced_at < now() - interval '5 minutes' AND (
                 EXISTS (SELECT FROM invoices i WHERE i.customer_id = c.id AND i.status = 'open')
                 OR EXISTS (SELECT FROM subscriptions s WHERE s.customer_id = c.id AND s.status <> 'ended'
                            AND (s.status IN ('pending', 'past_due', 'suspended') OR s.pending_plan_name IS NOT NULL OR s.current_period_end <= $1)))))
         ORDER BY c.synced_at NULLS FIRST, c.id LIMIT $2",
        billing_now,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Everybody, or one, is compared with the next rounds.
pub async fn make_due(db: impl PgExecutor<'_>, customer: Option<Uuid>) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE customers SET synced_at = NULL WHERE provider_account_id IS NOT NULL AND ($1::uuid IS NULL OR id = $1)",
        customer
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Is an order of a customer on its way to the provider?
pub async fn is_ordering(db: impl PgExecutor<'_>, customer: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM orders WHERE customer_id = $1 AND state = 'placed') AS "is!""#,
        customer
    )
    .fetch_one(db)
    .await
}

/// The customer with this account at the provider.
pub async fn customer_of_account(db: impl PgExecutor<'_>, account: &str) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!("SELECT id FROM customers WHERE provider_account_id = $1", account)
        .fetch_optional(db)
        .await
}

/// Subscriptions of a customer, all locked in the order of their ids.
pub async fn lock_subscriptions(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT id FROM subscriptions WHERE customer_id = $1 ORDER BY id FOR UPDATE",
        customer
    )
    .fetch_all(connection)
    .await
}

/// State of the order that made, or will make, a subscription, and whether the provider must still be told of
/// its end.
pub async fn order_of(
    db: impl PgExecutor<'_>,
    subscription: Uuid,
    customer: Uuid,
) -> sqlx::Result<Option<(Uuid, String, bool)>> {
    let row = sqlx::query!(
        "SELECT id, state, provider_cancel_due FROM orders WHERE subscription_id = $1 AND customer_id = $2",
        subscription,
        customer,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.id, row.state, row.provider_cancel_due)))
}

/// Our row of an invoice of the provider.
pub async fn invoice(connection: &mut PgConnection, provider_id: &str) -> sqlx::Result<Option<Invoice>> {
    let id = sqlx::query_scalar!(
        "SELECT id FROM invoices WHERE provider = $1 AND provider_id = $2 FOR UPDATE",
        EXTERNAL_PROVIDER,
        provider_id
    )
    .fetch_optional(&mut *connection)
    .await?;
    match id {
        Some(id) => invoices::find(connection, id).await,
        None => Ok(None),
    }
}

/// Has the subscription an invoice already?
pub async fn has_invoice(db: impl PgExecutor<'_>, subscription: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM invoices WHERE subscription_id = $1) AS "exists!""#,
        subscription
    )
    .fetch_one(db)
    .await
}

/// The newest invoice of an upgrade.
pub async fn newest_upgrade(db: &sqlx::PgPool, subscription: Uuid) -> sqlx::Result<Option<Invoice>> {
    let id = sqlx::query_scalar!(
        "SELECT id FROM invoices WHERE subscription_id = $1 AND kind = 'upgrade' ORDER BY created_at DESC, id DESC LIMIT 1",
        subscription
    )
    .fetch_optional(db)
    .await?;
    match id {
        Some(id) => invoices::find(db, id).await,
        None => Ok(None),
    }
}

/// An invoice of the provider.
#[derive(Debug, Clone)]
pub struct NewMirror<'a> {
    /// The provider's own id.
    pub provider_id: &'a str,
    /// As the provider prints it.
    pub number: &'a str,
    /// Whose.
    pub customer_id: Uuid,
    /// About which subscription.
    pub subscription_id: Option<Uuid>,
    /// The invoice that it corrects.
    pub corrects_id: Option<Uuid>,
    /// Why.
    pub kind: InvoiceKind,
    /// Is it owed, or offered?
    pub claim: Claim,
    /// Its lines.
    pub lines: &'a [Line],
    /// Without tax.
    pub subtotal: Money,
    /// Tax.
    pub tax: Money,
    /// Both.
    pub total: Money,
    /// When it was issued.
    pub issued_at: OffsetDateTime,
    /// When it is due.
    pub due_at: OffsetDateTime,
    /// Now.
    pub created_at: OffsetDateTime,
}

/// Writes it with its lines, open with all of it to pay; from then on it is as immutable as one of ours.
pub async fn insert_invoice(
    connection: &mut PgConnection,
    new: &NewMirror<'_>,
    buyer: &serde_json::Value,
) -> sqlx::Result<Uuid> {
    let id = Uuid::now_v7();
    sqlx::query!(
        "INSERT INTO invoices (id, issuer, number, customer_id, subscription_id, kind, key, currency, subtotal_minor, tax_minor, total_minor, balance_minor,
             buyer, corrects_id, provider, provider_id, created_at, claim)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::bigint, $10::bigint, $11::bigint, $11::bigint, $12, $15, $2, $13, $14, $16)",
        id,
        EXTERNAL_PROVIDER,
        new.number,
        new.customer_id,
        new.subscription_id,
        new.kind.as_str(),
        format!("{EXTERNAL_PROVIDER}:{}", new.provider_id),
        new.total.currency().to_string(),
        new.subtotal.minor(),
        new.tax.minor(),
        new.total.minor(),
        buyer,
        new.provider_id,
        new.created_at,
        new.corrects_id,
        new.claim.as_str(),
    )
    .execute(&mut *connection)
    .await?;
    invoices::insert_lines(connection, id, new.lines).await?;
    sqlx::query!(
        "UPDATE invoices SET status = 'open', issued_at = $2, due_at = $3 WHERE id = $1",
        id,
        new.issued_at,
        new.due_at,
    )
    .execute(connection)
    .await?;
    Ok(id)
}

/// Open invoices of a subscription that nobody owes.
pub async fn offers(db: impl PgExecutor<'_>, subscription: Uuid) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT id FROM invoices
         WHERE subscription_id = $1 AND provider = $2 AND status = 'open' AND claim = 'offer' ORDER BY id",
        subscription,
        EXTERNAL_PROVIDER,
    )
    .fetch_all(db)
    .await
}

/// How many credit notes correct an invoice.
pub async fn credit_notes(db: impl PgExecutor<'_>, invoice: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM invoices WHERE corrects_id = $1 AND kind = 'credit_note'"#,
        invoice
    )
    .fetch_one(db)
    .await
}

/// What the provider gave back of a payment.
pub async fn set_refunded(
    connection: &mut PgConnection,
    payment: Uuid,
    refunded: Money,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE payments SET refunded_minor = $2::bigint, state = CASE WHEN amount_minor = $2::bigint THEN 'refunded' ELSE state END, updated_at = $3
         WHERE id = $1 AND state IN ('paid', 'refunded', 'disputed') AND refunded_minor < $2::bigint",
        payment,
        refunded.minor(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
