//! The books. Rows are written and never touched again.

use sqlx::PgConnection;
use uuid::Uuid;

use super::number;
use crate::domain::journal::{Entry, WRITE_OFF};

/// Posts an entry. `false`: the same fact was booked before, or it is about nothing.
pub async fn post(connection: &mut PgConnection, entry: &Entry) -> sqlx::Result<bool> {
    if entry.lines().is_empty() {
        return Ok(false);
    }
    let id = Uuid::now_v7();
    let done = sqlx::query!(
        "INSERT INTO journal_entries (id, at, kind, customer_id, invoice_id, payment_id, key, memo) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (key) DO NOTHING",
        id,
        entry.at,
        entry.kind,
        entry.customer_id,
        entry.invoice_id,
        entry.payment_id,
        entry.key,
        entry.memo,
    )
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let mut positions = Vec::new();
    let mut accounts = Vec::new();
    let mut amounts = Vec::new();
    let mut currencies = Vec::new();
    for (position, (account, amount)) in entry.lines().iter().enumerate() {
        positions.push(number::<i32, _>(position)?);
        accounts.push(account.clone());
        amounts.push(amount.minor());
        currencies.push(amount.currency().to_string());
    }
    sqlx::query!(
        "INSERT INTO journal_lines (entry_id, position, account, amount_minor, currency)
         SELECT $1, position, account, amount, currency FROM unnest($2::int[], $3::text[], $4::bigint[], $5::text[]) AS l (position, account, amount, currency)",
        id,
        &positions,
        &accounts,
        &amounts,
        &currencies,
    )
    .execute(connection)
    .await?;
    Ok(true)
}

/// Entries whose lines do not sum to nothing; there are none, by a trigger. The audit proves it.
pub async fn unbalanced(db: impl sqlx::PgExecutor<'_>) -> sqlx::Result<i64> {
    unbalanced_of(db, None).await
}

/// The same for one customer; none: for all.
pub async fn unbalanced_of(db: impl sqlx::PgExecutor<'_>, customer: Option<Uuid>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM
               (SELECT entry_id FROM journal_lines
                WHERE $1::uuid IS NULL OR entry_id IN (SELECT id FROM journal_entries WHERE customer_id = $1)
                GROUP BY entry_id, currency HAVING sum(amount_minor) <> 0) AS bad"#,
        customer,
    )
    .fetch_one(db)
    .await
}

/// How much of an invoice was written off.
pub async fn written_off(db: impl sqlx::PgExecutor<'_>, invoice: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(sum(amount_minor), 0)::bigint AS "sum!" FROM journal_lines l JOIN journal_entries e ON e.id = l.entry_id
           WHERE e.invoice_id = $1 AND l.account = $2"#,
        invoice,
        WRITE_OFF,
    )
    .fetch_one(db)
    .await
}

/// Customers whose receivable in the books is not the sum of what their invoices say is left to pay. Only of
/// a ledger that keeps the books.
pub async fn receivable_differences(db: impl sqlx::PgExecutor<'_>) -> sqlx::Result<i64> {
    receivable_differences_of(db, None).await
}

/// The same for one customer; none: for all.
pub async fn receivable_differences_of(
    db: impl sqlx::PgExecutor<'_>,
    customer: Option<Uuid>,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM
               (SELECT invoice_id, sum(amount_minor) AS amount FROM journal_lines l JOIN journal_entries e ON e.id = l.entry_id
                WHERE account = 'receivable' AND invoice_id IS NOT NULL AND ($1::uuid IS NULL OR customer_id = $1) GROUP BY invoice_id) AS books
               FULL JOIN (SELECT id, balance_minor FROM invoices
                          WHERE status <> 'draft' AND provider = 'ledger' AND ($1::uuid IS NULL OR customer_id = $1)) AS documents
                 ON books.invoice_id = documents.id
           WHERE coalesce(books.amount, 0) <> coalesce(documents.balance_minor, 0)"#,
        customer,
    )
    .fetch_one(db)
    .await
}
