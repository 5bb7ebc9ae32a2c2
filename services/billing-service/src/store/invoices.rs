//! Invoices and their lines.

use std::collections::HashMap;

use runtime::page::Page;
use sqlx::{PgConnection, PgExecutor, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{corrupt, number, readable};
use crate::domain::invoice::{Invoice, InvoiceFilter, InvoiceStatus, Line, NewInvoice, Totals};
use crate::domain::money::{Currency, Money};

struct Row {
    id: Uuid,
    number: Option<String>,
    customer_id: Uuid,
    subscription_id: Option<Uuid>,
    kind: String,
    status: String,
    currency: String,
    subtotal: i64,
    tax: i64,
    total: i64,
    balance: i64,
    buyer: serde_json::Value,
    note: String,
    corrects_id: Option<Uuid>,
    issued_at: Option<OffsetDateTime>,
    due_at: Option<OffsetDateTime>,
    paid_at: Option<OffsetDateTime>,
    provider: String,
    provider_id: String,
}

impl TryFrom<Row> for Invoice {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        let currency: Currency = row.currency.parse().map_err(corrupt)?;
        let money = |minor| Money::new(minor, currency);
        Ok(Self {
            kind: row.kind.parse().map_err(corrupt)?,
            status: row.status.parse().map_err(corrupt)?,
            subtotal: money(row.subtotal),
            tax: money(row.tax),
            total: money(row.total),
            balance: money(row.balance),
            id: row.id,
            number: row.number.unwrap_or_default(),
            customer_id: row.customer_id,
            subscription_id: row.subscription_id,
            buyer: row.buyer,
            note: row.note,
            corrects_id: row.corrects_id,
            issued_at: row.issued_at,
            due_at: row.due_at,
            paid_at: row.paid_at,
            provider: row.provider,
            provider_id: row.provider_id,
        })
    }
}

/// Issues an invoice of the ledger with its lines: draft, lines, then the next number, all in the caller's
/// transaction. `None`: a document with this key was issued before. Every issue of an issuer waits here for
/// the one before it: that is what leaves no gap (BIL-17).
pub async fn issue(
    connection: &mut PgConnection,
    issuer: &str,
    new: &NewInvoice,
    totals: Totals,
    buyer: &serde_json::Value,
) -> sqlx::Result<Option<Uuid>> {
    let id = Uuid::now_v7();
    let done = sqlx::query!(
        "INSERT INTO invoices (id, issuer, customer_id, subscription_id, kind, key, currency, subtotal_minor, tax_minor,
             total_minor, balance_minor, buyer, note, corrects_id, provider, provider_id, created_at, claim)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8::bigint, $9::bigint, $10::bigint, $10::bigint, $11, $12, $13,
             'ledger', $14, $15, $16)
         ON CONFLICT (key) DO NOTHING",
        id,
        issuer,
        new.customer_id,
        new.subscription_id,
        new.kind.as_str(),
        new.key,
        new.currency.to_string(),
        totals.subtotal.minor(),
        totals.tax.minor(),
        totals.total.minor(),
        buyer,
        new.note,
        new.corrects_id,
        id.to_string(),
        new.issued_at,
        new.claim.as_str(),
    )
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    insert_lines(connection, id, &new.lines).await?;
    sqlx::query!(
        "WITH next AS (INSERT INTO invoice_numbers (issuer, last) VALUES ($2, 1)
                       ON CONFLICT (issuer) DO UPDATE SET last = invoice_numbers.last + 1 RETURNING last)
         UPDATE invoices SET status = 'open', issued_at = $3, due_at = $4, sequence = next.last,
             number = $2 || '-' || lpad(next.last::text, greatest(6, length(next.last::text)), '0')
         FROM next WHERE id = $1",
        id,
        issuer,
        new.issued_at,
        new.due_at,
    )
    .execute(connection)
    .await?;
    Ok(Some(id))
}

/// Lines of a draft, in order.
pub async fn insert_lines(connection: &mut PgConnection, invoice: Uuid, lines: &[Line]) -> sqlx::Result<()> {
    for (position, line) in lines.iter().enumerate() {
        sqlx::query!(
            "INSERT INTO invoice_lines (invoice_id, position, kind, description, quantity, unit_minor, amount_minor, period_start, period_end)
             VALUES ($1, $2, $3, $4, $5, $6::bigint, $7::bigint, $8, $9)",
            invoice,
            number::<i32, _>(position)?,
            line.kind.as_str(),
            line.description,
            line.quantity,
            line.unit.minor(),
            line.amount.minor(),
            line.period.map(|(start, _)| start),
            line.period.map(|(_, end)| end),
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// By its id.
pub async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Invoice>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT id, number, customer_id, subscription_id, kind, status, currency AS "currency!", subtotal_minor::bigint AS "subtotal!",
                  tax_minor::bigint AS "tax!", total_minor::bigint AS "total!", balance_minor::bigint AS "balance!", buyer, note, corrects_id,
                  issued_at, due_at, paid_at, provider, provider_id
           FROM invoices WHERE id = $1"#,
        id,
    )
    .fetch_optional(db)
    .await?;
    row.map(Invoice::try_from).transpose()
}

/// By the key that it was issued with.
pub async fn find_by_key(db: impl PgExecutor<'_>, key: &str) -> sqlx::Result<Option<Invoice>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT id, number, customer_id, subscription_id, kind, status, currency AS "currency!", subtotal_minor::bigint AS "subtotal!",
                  tax_minor::bigint AS "tax!", total_minor::bigint AS "total!", balance_minor::bigint AS "balance!", buyer, note, corrects_id,
                  issued_at, due_at, paid_at, provider, provider_id
           FROM invoices WHERE key = $1"#,
        key,
    )
    .fetch_optional(db)
    .await?;
    row.map(Invoice::try_from).transpose()
}

/// As it stands, kept from others until the transaction ends. Lock its subscription before it.
pub async fn lock(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Invoice>> {
    sqlx::query!("SELECT id FROM invoices WHERE id = $1 FOR UPDATE", id)
        .fetch_optional(&mut *connection)
        .await?;
    find(connection, id).await
}

/// Lines in order.
pub async fn lines(db: impl PgExecutor<'_>, invoice: Uuid, currency: Currency) -> sqlx::Result<Vec<Line>> {
    let rows = sqlx::query!(
        r#"SELECT kind, description, quantity, unit_minor::bigint AS "unit!", amount_minor::bigint AS "amount!", period_start, period_end
           FROM invoice_lines WHERE invoice_id = $1 ORDER BY position"#,
        invoice,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Line {
                kind: row.kind.parse().map_err(corrupt)?,
                description: row.description,
                quantity: row.quantity,
                unit: Money::new(row.unit, currency),
                amount: Money::new(row.amount, currency),
                period: row.period_start.zip(row.period_end),
            })
        })
        .collect()
}

/// Newest first, and the number of all. Drafts are nobody's business.
pub async fn list(pool: &PgPool, filter: &InvoiceFilter, page: Page) -> sqlx::Result<(Vec<Invoice>, i64)> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT id, number, customer_id, subscription_id, kind, status, currency AS "currency!", subtotal_minor::bigint AS "subtotal!",
                  tax_minor::bigint AS "tax!", total_minor::bigint AS "total!", balance_minor::bigint AS "balance!", buyer, note, corrects_id,
                  issued_at, due_at, paid_at, provider, provider_id
           FROM invoices
           WHERE status <> 'draft' AND ($1::uuid IS NULL OR customer_id = $1) AND ($2::uuid IS NULL OR subscription_id = $2)
             AND ($3::text IS NULL OR status = $3) AND ($4::timestamptz IS NULL OR (status = 'open' AND due_at < $4))
           ORDER BY issued_at DESC, id DESC LIMIT $5 OFFSET $6"#,
        filter.customer_id,
        filter.subscription_id,
        filter.status,
        filter.overdue_at,
        page.limit(),
        page.offset(),
    )
    .fetch_all(pool)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM invoices
           WHERE status <> 'draft' AND ($1::uuid IS NULL OR customer_id = $1) AND ($2::uuid IS NULL OR subscription_id = $2)
             AND ($3::text IS NULL OR status = $3) AND ($4::timestamptz IS NULL OR (status = 'open' AND due_at < $4))"#,
        filter.customer_id,
        filter.subscription_id,
        filter.status,
        filter.overdue_at,
    )
    .fetch_one(pool)
    .await?;
    Ok((readable("invoices", rows)?, total))
}

/// Sets what is left to pay; nothing left: paid.
pub async fn set_balance(
    connection: &mut PgConnection,
    id: Uuid,
    balance: Money,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE invoices SET balance_minor = $2::bigint, status = CASE WHEN $2::bigint = 0 THEN 'paid' ELSE 'open' END,
                paid_at = CASE WHEN $2::bigint = 0 THEN $3::timestamptz END
         WHERE id = $1 AND status IN ('open', 'paid')",
        id,
        balance.minor(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Closes an open invoice without payment. `false`: it was not open.
pub async fn close(
    connection: &mut PgConnection,
    id: Uuid,
    status: InvoiceStatus,
    reason: &str,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE invoices SET status = $2, balance_minor = 0, closed_reason = $3 WHERE id = $1 AND status = 'open'",
        id,
        status.as_str(),
        reason,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Due date of the oldest debt of a subscription.
pub async fn oldest_due(db: impl PgExecutor<'_>, subscription: Uuid) -> sqlx::Result<Option<OffsetDateTime>> {
    sqlx::query_scalar!(
        "SELECT min(due_at) FROM invoices
         WHERE subscription_id = $1 AND status = 'open' AND claim = 'debt' AND balance_minor > 0",
        subscription,
    )
    .fetch_one(db)
    .await
}

/// Due dates of the oldest debts of many subscriptions; those that owe nothing are left out.
pub async fn oldest_dues(
    db: impl PgExecutor<'_>,
    subscriptions: &[Uuid],
) -> sqlx::Result<HashMap<Uuid, OffsetDateTime>> {
    let rows = sqlx::query!(
        r#"SELECT subscription_id AS "id!", min(due_at) AS "due!" FROM invoices
           WHERE subscription_id = ANY($1) AND status = 'open' AND claim = 'debt' AND balance_minor > 0
           GROUP BY subscription_id"#,
        subscriptions,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.due)).collect())
}

/// Debts of a customer, by currency: how many, and what is left to pay of them. Offers are owed by nobody.
pub async fn outstanding(db: impl PgExecutor<'_>, customer: Uuid) -> sqlx::Result<Vec<(i64, Money)>> {
    let rows = sqlx::query!(
        r#"SELECT currency AS "currency!", count(*) AS "count!", sum(balance_minor)::text AS "sum!" FROM invoices
           WHERE customer_id = $1 AND status = 'open' AND claim = 'debt' AND balance_minor > 0
           GROUP BY currency ORDER BY currency"#,
        customer,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            // A sum that no amount can hold is shown as the largest one.
            let sum: i128 = row.sum.parse().map_err(corrupt)?;
            let minor = i64::try_from(sum).unwrap_or(i64::MAX);
            Ok((row.count, Money::new(minor, row.currency.parse().map_err(corrupt)?)))
        })
        .collect()
}

/// Open debts of a customer in a currency, oldest first: what a credit pays.
pub async fn debts(db: impl PgExecutor<'_>, customer: Uuid, currency: Currency) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT id FROM invoices
         WHERE customer_id = $1 AND currency = $2 AND status = 'open' AND claim = 'debt' AND balance_minor > 0
             AND provider = 'ledger'
         ORDER BY due_at, issued_at, id",
        customer,
        currency.as_str(),
    )
    .fetch_all(db)
    .await
}

/// The oldest debt of a subscription.
pub async fn oldest_debt(db: impl PgExecutor<'_>, subscription: Uuid) -> sqlx::Result<Option<Invoice>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT id, number, customer_id, subscription_id, kind, status, currency AS "currency!", subtotal_minor::bigint AS "subtotal!",
                  tax_minor::bigint AS "tax!", total_minor::bigint AS "total!", balance_minor::bigint AS "balance!", buyer, note, corrects_id,
                  issued_at, due_at, paid_at, provider, provider_id
           FROM invoices WHERE subscription_id = $1 AND status = 'open' AND claim = 'debt' AND balance_minor > 0
           ORDER BY due_at LIMIT 1"#,
        subscription,
    )
    .fetch_optional(db)
    .await?;
    row.map(Invoice::try_from).transpose()
}

/// How much of an invoice its credit notes took back.
pub async fn credited(db: impl PgExecutor<'_>, invoice: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(-sum(total_minor), 0)::bigint AS "sum!" FROM invoices WHERE corrects_id = $1 AND kind = 'credit_note'"#,
        invoice,
    )
    .fetch_one(db)
    .await
}

/// The same with the tax in it.
pub async fn noted(db: impl PgExecutor<'_>, invoice: &Invoice) -> sqlx::Result<Totals> {
    let row = sqlx::query!(
        r#"SELECT coalesce(-sum(total_minor), 0)::bigint AS "total!", coalesce(-sum(tax_minor), 0)::bigint AS "tax!"
           FROM invoices WHERE corrects_id = $1 AND kind = 'credit_note'"#,
        invoice.id,
    )
    .fetch_one(db)
    .await?;
    let money = |minor| Money::new(minor, invoice.currency());
    Ok(Totals { subtotal: money(row.total - row.tax), tax: money(row.tax), total: money(row.total) })
}

/// How much of an invoice its credit notes of `since` and later took back.
pub async fn credited_since(
    db: impl PgExecutor<'_>,
    invoice: Uuid,
    since: OffsetDateTime,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(-sum(total_minor), 0)::bigint AS "sum!" FROM invoices
           WHERE corrects_id = $1 AND kind = 'credit_note' AND issued_at >= $2"#,
        invoice,
        since,
    )
    .fetch_one(db)
    .await
}

/// What charged the present period of a subscription, newest first: its upgrades and the invoice that began
/// it. An offer that nobody paid charged nothing.
pub async fn charges(db: impl PgExecutor<'_>, subscription: Uuid) -> sqlx::Result<Vec<Invoice>> {
    let rows = sqlx::query_as!(
        Row,
        r#"WITH charged AS (
               SELECT * FROM invoices
               WHERE subscription_id = $1 AND status <> 'draft'
                   AND (kind IN ('first', 'recurring') OR (kind = 'upgrade' AND status <> 'void'))
                   AND (claim = 'debt' OR status = 'paid'))
           SELECT id, number, customer_id, subscription_id, kind, status, currency AS "currency!",
                  subtotal_minor::bigint AS "subtotal!", tax_minor::bigint AS "tax!", total_minor::bigint AS "total!",
                  balance_minor::bigint AS "balance!", buyer, note, corrects_id, issued_at, due_at, paid_at, provider,
                  provider_id
           FROM charged
           WHERE kind = 'upgrade' AND issued_at >= coalesce(
                     (SELECT max(issued_at) FROM charged WHERE kind IN ('first', 'recurring')), '-infinity')
              OR id = (SELECT id FROM charged WHERE kind IN ('first', 'recurring')
                       ORDER BY issued_at DESC, sequence DESC, id DESC LIMIT 1)
           ORDER BY issued_at DESC, (kind = 'upgrade') DESC, sequence DESC, id DESC"#,
        subscription,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(Invoice::try_from).collect()
}
