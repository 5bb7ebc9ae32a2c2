//! Credit of customers.

use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::money::{Currency, Money};

/// Gives a credit. `None`: the same wish was granted before.
pub async fn give(
    connection: &mut PgConnection,
    customer: Uuid,
    amount: Money,
    reason: &str,
    actor: &str,
    key: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Uuid>> {
    let id = Uuid::now_v7();
    let done = sqlx::query!(
        "INSERT INTO credits (id, customer_id, amount_minor, remaining_minor, currency, reason, actor, key, created_at)
         VALUES ($1, $2, $3::bigint, $3::bigint, $4, $5, $6, $7, $8) ON CONFLICT (key) DO NOTHING",
        id,
        customer,
        amount.minor(),
        amount.currency().to_string(),
        reason,
        actor,
        key,
        now,
    )
    .execute(connection)
    .await?;
    Ok((done.rows_affected() == 1).then_some(id))
}

/// The credit that a key gave: its id and how much it was.
pub async fn find_by_key(db: impl PgExecutor<'_>, key: &str) -> sqlx::Result<Option<(Uuid, Money)>> {
    let row = sqlx::query!(
        r#"SELECT id, amount_minor::bigint AS "amount!", currency AS "currency!" FROM credits WHERE key = $1"#,
        key
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| Ok((row.id, Money::new(row.amount, row.currency.parse().map_err(super::corrupt)?))))
        .transpose()
}

/// What is left of a customer's credit in a currency: as the provider says when it keeps the books, with what
/// it was not told of yet. A sum that no amount can hold is shown as the largest one.
pub async fn left(db: impl PgExecutor<'_>, customer: Uuid, currency: &str) -> sqlx::Result<i64> {
    let sum = sqlx::query_scalar!(
        r#"SELECT coalesce(
               (SELECT provider_credit_minor
                       + coalesce((SELECT sum((details ->> 'amount_minor')::numeric) FROM provider_calls
                                   WHERE customer_id = $1 AND kind = 'credit' AND state = 'waiting'), 0)
                FROM customers WHERE id = $1),
               (SELECT sum(remaining_minor) FROM credits
                WHERE customer_id = $1 AND currency = $2 AND remaining_minor > 0), 0)::text AS "sum!""#,
        customer,
        currency,
    )
    .fetch_one(db)
    .await?;
    let sum: i128 = sum.parse().map_err(super::corrupt)?;
    Ok(i64::try_from(sum).unwrap_or(i64::MAX))
}

/// Keeps a customer's credit from others until the transaction ends.
pub async fn lock(connection: &mut PgConnection, customer: Uuid, currency: Currency) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT id FROM credits WHERE customer_id = $1 AND currency = $2 AND remaining_minor > 0
         ORDER BY created_at, id FOR UPDATE",
        customer,
        currency.as_str(),
    )
    .fetch_all(connection)
    .await
    .map(drop)
}

/// Customers who have credit in a currency in which they also owe something.
pub async fn idle(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<(Uuid, Currency)>> {
    let rows = sqlx::query!(
        r#"SELECT customer_id, currency AS "currency!" FROM (
               SELECT DISTINCT c.customer_id, c.currency FROM credits c
               WHERE c.remaining_minor > 0 AND EXISTS (
                   SELECT FROM invoices i WHERE i.customer_id = c.customer_id AND i.currency = c.currency
                       AND i.status = 'open' AND i.claim = 'debt' AND i.balance_minor > 0
                       AND i.provider = 'ledger')) idle
           ORDER BY random() LIMIT $1"#,
        limit,
    )
    .fetch_all(db)
    .await?;
    // Money of a currency that is none (any more) waits for a person, and keeps nobody else's from being used.
    Ok(rows.into_iter().filter_map(|row| Some((row.customer_id, row.currency.parse().ok()?))).collect())
}

/// Takes up to `wanted` from the customer's credit, oldest first; the rows are kept from others until the
/// transaction ends. How much it was.
pub async fn take(connection: &mut PgConnection, customer: Uuid, wanted: Money) -> sqlx::Result<Money> {
    let rows = sqlx::query!(
        r#"SELECT id, remaining_minor::bigint AS "remaining!" FROM credits
           WHERE customer_id = $1 AND currency = $2 AND remaining_minor > 0 ORDER BY created_at, id FOR UPDATE"#,
        customer,
        wanted.currency().to_string(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut open = wanted.minor();
    for row in rows {
        let part = open.min(row.remaining);
        if part <= 0 {
            break;
        }
        sqlx::query!(
            "UPDATE credits SET remaining_minor = remaining_minor - $2::bigint WHERE id = $1",
            row.id,
            part
        )
        .execute(&mut *connection)
        .await?;
        open -= part;
    }
    Ok(Money::new(wanted.minor() - open, wanted.currency()))
}

/// Takes up to `wanted` from the credit that `key` gave. How much it was.
pub async fn take_one(connection: &mut PgConnection, key: &str, wanted: Money) -> sqlx::Result<Money> {
    let row = sqlx::query!(
        r#"SELECT id, remaining_minor::bigint AS "remaining!" FROM credits WHERE key = $1 FOR UPDATE"#,
        key
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(Money::zero(wanted.currency())) };
    let part = row.remaining.min(wanted.minor());
    sqlx::query!(
        "UPDATE credits SET remaining_minor = remaining_minor - $2::bigint WHERE id = $1",
        row.id,
        part
    )
    .execute(connection)
    .await?;
    Ok(Money::new(part, wanted.currency()))
}
