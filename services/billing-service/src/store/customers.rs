//! Billing accounts and the trials that were granted.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::domain::account::Account;
use crate::domain::details::AccountChange;
use crate::domain::people::Profile;
use crate::domain::trial::{EmailHash, Facts};

/// Opens the account when it is not there (BIL-07). A hash that is known now is kept.
pub async fn open(db: impl PgExecutor<'_>, customer: Uuid, hash: Option<EmailHash>) -> sqlx::Result<()> {
    // An account that is complete is not locked: orders of one customer must not wait for each other here.
    sqlx::query!(
        "WITH opened AS (
             INSERT INTO customers (id, email_hash) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING RETURNING id
         )
         UPDATE customers SET email_hash = $2
         WHERE id = $1 AND email_hash IS NULL AND $2::bytea IS NOT NULL",
        customer,
        hash.map(|hash| hash.0.to_vec()),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Is it known who the customer is?
pub async fn is_known(db: impl PgExecutor<'_>, customer: Uuid) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!(
        r#"SELECT person <> '' OR registered_country <> '' AS "known!" FROM customers WHERE id = $1"#,
        customer
    );
    Ok(found.fetch_optional(db).await?.unwrap_or(false))
}

/// Keeps who the customer is, as the account says it now.
pub async fn know(db: impl PgExecutor<'_>, customer: Uuid, profile: &Profile) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE customers SET person = $2, registered_country = $3 WHERE id = $1 AND erased_at IS NULL",
        customer,
        profile.person,
        profile.country,
    )
    .execute(db)
    .await
    .map(drop)
}

/// The stored hash of the customer's address.
pub async fn email_hash(db: impl PgExecutor<'_>, customer: Uuid) -> sqlx::Result<Option<EmailHash>> {
    let stored = sqlx::query_scalar!("SELECT email_hash FROM customers WHERE id = $1", customer)
        .fetch_optional(db)
        .await?
        .flatten();
    Ok(stored.and_then(|bytes| bytes.try_into().ok()).map(EmailHash))
}

/// What the trial rule must know.
pub async fn trial_facts(db: impl PgExecutor<'_>, customer: Uuid, hash: EmailHash) -> sqlx::Result<Facts> {
    sqlx::query_as!(
        Facts,
        r#"SELECT EXISTS (SELECT FROM trial_grants WHERE customer_id = $1 OR email_hash = $2) AS "granted_before!",
                  EXISTS (SELECT FROM subscriptions WHERE customer_id = $1 AND status NOT IN ('ended', 'trialing')) AS "has_paid!""#,
        customer,
        &hash.0[..],
    )
    .fetch_one(db)
    .await
}

/// Grants the trial, unless customer or address had one: two orders at once wait for each other here
/// (BIL-09).
pub async fn grant_trial(
    connection: &mut PgConnection,
    subscription: Uuid,
    customer: Uuid,
    hash: EmailHash,
    plan: &str,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO trial_grants (subscription_id, customer_id, email_hash, plan_name) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        subscription,
        customer,
        &hash.0[..],
        plan,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives a trial back whose instance never came to be.
pub async fn return_trial(connection: &mut PgConnection, subscription: Uuid) -> sqlx::Result<bool> {
    let done = sqlx::query!("DELETE FROM trial_grants WHERE subscription_id = $1", subscription)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// The provider's id of the account.
pub async fn provider_account(db: impl PgExecutor<'_>, customer: Uuid) -> sqlx::Result<Option<String>> {
    let found = sqlx::query_scalar!("SELECT provider_account_id FROM customers WHERE id = $1", customer)
        .fetch_optional(db)
        .await?;
    Ok(found.flatten())
}

/// Remembers the provider's id of the account.
pub async fn set_provider_account(
    db: impl PgExecutor<'_>,
    customer: Uuid,
    account: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE customers SET provider_account_id = $2 WHERE id = $1 AND provider_account_id IS NULL",
        customer,
        account,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Accounts that the provider does not have yet.
pub async fn without_provider_account(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT id FROM customers WHERE provider_account_id IS NULL AND closed_at IS NULL ORDER BY created_at LIMIT $1",
        limit
    )
    .fetch_all(db)
    .await
}

/// The customer closed the account (USR-20); the books stay.
pub async fn close(db: impl PgExecutor<'_>, customer: Uuid, at: time::OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!("UPDATE customers SET closed_at = $2 WHERE id = $1 AND closed_at IS NULL", customer, at)
        .execute(db)
        .await?;
    Ok(())
}

/// Who buys, as an invoice says it.
pub async fn buyer(db: impl PgExecutor<'_>, customer: Uuid) -> sqlx::Result<serde_json::Value> {
    sqlx::query_scalar!(
        r#"SELECT jsonb_build_object('company', company, 'tax_id', tax_id, 'billing_email', billing_email, 'address', address,
                      'country', coalesce(nullif(country, ''), registered_country), 'person', person) AS "buyer!"
           FROM customers WHERE id = $1"#,
        customer,
    )
    .fetch_one(db)
    .await
}

/// The account, if there is one.
pub async fn account(db: impl PgExecutor<'_>, customer: Uuid) -> sqlx::Result<Option<Account>> {
    sqlx::query_as!(
        Account,
        r#"SELECT id, company, tax_id, billing_email, address, country, currency AS "currency!", stale_since, created_at FROM customers WHERE id = $1"#,
        customer,
    )
    .fetch_optional(db)
    .await
}

/// Changes what is given.
pub async fn update_account(
    db: impl PgExecutor<'_>,
    customer: Uuid,
    details: &AccountChange,
) -> sqlx::Result<()> {
    let address = details.address.as_ref().map(|address| {
        serde_json::json!({
            "street": address.street,
            "city": address.city,
            "postal_code": address.postal_code,
            "region": address.region,
        })
    });
    sqlx::query!(
        "UPDATE customers SET company = coalesce($2, company), tax_id = coalesce($3, tax_id),
             billing_email = coalesce($4, billing_email), address = coalesce($5, address), country = coalesce($6, country)
         WHERE id = $1 AND erased_at IS NULL",
        customer,
        details.company,
        details.tax_id,
        details.billing_email,
        address,
        details.country,
    )
    .execute(db)
    .await?;
    Ok(())
}
