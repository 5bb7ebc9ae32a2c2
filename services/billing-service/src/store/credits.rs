//! Credit of customers.

use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::money::Money;

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

/// What is left of a customer's credit in a currency: as the provider says when it keeps the books, with what it was not told of yet.
pub async fn left(db: impl PgExecutor<'_>, customer: Uuid, currency: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(
               (SELECT provider_credit_minor + coalesce((SELECT sum((details ->> 'amount_minor')::bigint) FROM provider_calls
                                                         WHERE customer_id = $1 AND kind = 'credit' AND state = 'waiting'), 0)
                FROM customers WHERE id = $1),
               (SELECT sum(remaining_minor) FROM credits WHERE customer_id = $1 AND currency = $2 AND remaining_minor > 0), 0)::bigint AS "sum!""#,
        customer,
        currency,
    )
    .fetch_one(db)
    .await
}

/// Takes up to `wanted` from the customer's credit, oldest first; the rows are kept from others until the transaction ends. How much it was.
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
