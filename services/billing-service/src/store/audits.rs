//! The audit's questions to the books, and what it found.

use sqlx::{PgConnection, PgExecutor, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::number;
use crate::domain::audit::{Finding, FindingKind, LiveSubscription};

/// Rows of one kind at most; the first ones are enough to see what is wrong.
pub const MOST: i64 = 1000;

/// Takes the scheduled run when it is due, and keeps it from the other replicas until `until`. `false`: it is
/// not due, or somebody has it.
pub async fn claim(
    db: impl PgExecutor<'_>,
    name: &str,
    now: OffsetDateTime,
    until: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done =
        sqlx::query!("UPDATE schedule SET due_at = $3 WHERE name = $1 AND due_at <= $2", name, now, until)
            .execute(db)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// The next scheduled run is due then.
pub async fn set_due(db: impl PgExecutor<'_>, name: &str, at: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!("UPDATE schedule SET due_at = $2 WHERE name = $1", name, at).execute(db).await.map(drop)
}

/// A run begins.
pub async fn begin(db: impl PgExecutor<'_>, cause: &str, now: OffsetDateTime) -> sqlx::Result<Uuid> {
    let id = Uuid::now_v7();
    sqlx::query!("INSERT INTO audit_runs (id, cause, started_at) VALUES ($1, $2, $3)", id, cause, now)
        .execute(db)
        .await?;
    Ok(id)
}

/// It could not be finished.
pub async fn fail(db: impl PgExecutor<'_>, id: Uuid, reason: &str, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE audit_runs SET state = 'failed', reason = $2, finished_at = $3 WHERE id = $1",
        id,
        reason,
        now
    )
    .execute(db)
    .await
    .map(drop)
}

/// It ended: counts and findings are there together. Runs older than a quarter go.
pub async fn finish(
    connection: &mut PgConnection,
    id: Uuid,
    counts: serde_json::Value,
    findings: &[Finding],
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    for (position, finding) in findings.iter().enumerate() {
        sqlx::query!(
            "INSERT INTO audit_findings (run_id, position, kind, subject_id, customer_id, detail) VALUES ($1, $2, $3, $4, $5, $6)",
            id,
            number::<i32, _>(position)?,
            finding.kind.as_str(),
            finding.subject_id,
            finding.customer_id,
            finding.detail,
        )
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query!(
        "UPDATE audit_runs SET state = 'done', counts = $2, finished_at = $3 WHERE id = $1",
        id,
        counts,
        now
    )
    .execute(connection)
    .await
    .map(drop)
}

/// When the last run that was not given up ended: every replica tells the same.
pub async fn last(db: impl PgExecutor<'_>) -> sqlx::Result<Option<OffsetDateTime>> {
    sqlx::query_scalar!(
        r#"SELECT finished_at AS "finished_at!" FROM audit_runs WHERE state = 'done' ORDER BY finished_at DESC LIMIT 1"#
    )
    .fetch_optional(db)
    .await
}

/// Everything that the books alone can tell, as of one moment.
pub async fn books(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let mut tx = pool.begin().await?;
    super::read_one_moment(&mut tx).await?;
    let mut found = unbalanced(&mut tx).await?;
    found.extend(totals(&mut tx).await?);
    found.extend(balances(&mut tx).await?);
    found.extend(payments(&mut tx).await?);
    found.extend(credits(&mut tx).await?);
    found.extend(numbers(&mut tx).await?);
    tx.rollback().await?;
    Ok(found)
}

async fn unbalanced(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    let rows = sqlx::query!(
        r#"SELECT e.id, e.customer_id, e.kind || ' ' || e.key AS "detail!" FROM journal_entries e
           WHERE e.id IN (SELECT entry_id FROM journal_lines GROUP BY entry_id, currency HAVING sum(amount_minor) <> 0)
              OR NOT EXISTS (SELECT FROM journal_lines l WHERE l.entry_id = e.id)
           ORDER BY e.id LIMIT $1"#,
        MOST,
    )
    .fetch_all(connection)
    .await?;
    let finding = |id, customer, detail| Finding {
        kind: FindingKind::JournalUnbalanced,
        subject_id: Some(id),
        customer_id: Some(customer),
        scope: String::new(),
        detail,
    };
    Ok(rows.into_iter().map(|row| finding(row.id, row.customer_id, row.detail)).collect())
}

/// Documents of our own books against their lines and their entry.
async fn totals(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    let rows = sqlx::query!(
        r#"SELECT i.id, i.customer_id,
                  format('%s: total %s, lines %s, journal %s; tax %s, lines %s, journal %s, taken back %s of %s', i.number,
                         i.total_minor, coalesce(l.total, 0), coalesce(j.total, 0), i.tax_minor, coalesce(l.tax, 0),
                         coalesce(j.tax, 0), coalesce(n.tax, 0), coalesce(n.total, 0)) AS "detail!"
           FROM invoices i
           LEFT JOIN (SELECT invoice_id, sum(amount_minor) AS total, coalesce(sum(amount_minor) FILTER (WHERE kind = 'tax'), 0) AS tax
                      FROM invoice_lines GROUP BY invoice_id) l ON l.invoice_id = i.id
           LEFT JOIN (SELECT e.invoice_id, coalesce(sum(amount_minor) FILTER (WHERE account = 'receivable'), 0) AS total,
                             coalesce(-sum(amount_minor) FILTER (WHERE account = 'tax'), 0) AS tax
                      FROM journal_entries e JOIN journal_lines jl ON jl.entry_id = e.id
                      WHERE e.kind IN ('invoice_issued', 'credit_note') GROUP BY e.invoice_id) j ON j.invoice_id = i.id
           LEFT JOIN (SELECT corrects_id, -sum(total_minor) AS total, -sum(tax_minor) AS tax FROM invoices
                      WHERE kind = 'credit_note' AND status <> 'draft' GROUP BY corrects_id) n ON n.corrects_id = i.id
           WHERE i.status <> 'draft' AND i.provider = 'ledger'
             AND (i.total_minor <> coalesce(l.total, 0) OR i.tax_minor <> coalesce(l.tax, 0)
                  OR i.total_minor <> coalesce(j.total, 0) OR i.tax_minor <> coalesce(j.tax, 0)
                  -- The tax that notes took back is their share of the invoice's, up to one rounding.
                  OR 2 * abs(i.tax_minor * n.total - n.tax * i.total_minor) > abs(i.total_minor))
           ORDER BY i.id LIMIT $1"#,
        MOST,
    )
    .fetch_all(connection)
    .await?;
    let finding = |id, customer, detail| Finding {
        kind: FindingKind::TotalDiffers,
        subject_id: Some(id),
        customer_id: Some(customer),
        scope: String::new(),
        detail,
    };
    Ok(rows.into_iter().map(|row| finding(row.id, row.customer_id, row.detail)).collect())
}

/// What is left to pay against the receivable of the books.
async fn balances(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    let rows = sqlx::query!(
        r#"SELECT coalesce(i.id, j.invoice_id) AS "id!", i.customer_id AS "customer_id?",
                  format('%s: balance %s, journal %s', i.number, coalesce(i.balance_minor, 0), coalesce(j.amount, 0)) AS "detail!"
           FROM (SELECT e.invoice_id, sum(amount_minor) AS amount FROM journal_lines l JOIN journal_entries e ON e.id = l.entry_id
                 WHERE account = 'receivable' AND e.invoice_id IS NOT NULL GROUP BY e.invoice_id) j
           FULL JOIN (SELECT id, customer_id, number, balance_minor FROM invoices WHERE status <> 'draft' AND provider = 'ledger') i
                ON j.invoice_id = i.id
           WHERE coalesce(j.amount, 0) <> coalesce(i.balance_minor, 0)
           ORDER BY 1 LIMIT $1"#,
        MOST,
    )
    .fetch_all(connection)
    .await?;
    let finding = |id, customer_id, detail| Finding {
        kind: FindingKind::BalanceDiffers,
        subject_id: Some(id),
        customer_id,
        scope: String::new(),
        detail,
    };
    Ok(rows.into_iter().map(|row| finding(row.id, row.customer_id, row.detail)).collect())
}

/// Money that arrived, less what was given back, against the gateways' accounts. Disputes are looked into by
/// hand.
async fn payments(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    let rows = sqlx::query!(
        r#"SELECT p.id, p.customer_id, format('%s %s: %s, journal %s', p.gateway, p.reference, e.expected, coalesce(j.amount, 0)) AS "detail!"
           FROM payments p JOIN invoices i ON i.id = p.invoice_id
           CROSS JOIN LATERAL (SELECT CASE WHEN p.state IN ('paid', 'refunded') THEN p.amount_minor - p.refunded_minor ELSE 0 END AS expected) e
           LEFT JOIN (SELECT payment_id, sum(amount_minor) AS amount FROM journal_entries je JOIN journal_lines l ON l.entry_id = je.id
                      WHERE l.account LIKE 'payments:%' AND payment_id IS NOT NULL GROUP BY payment_id) j ON j.payment_id = p.id
           WHERE i.provider = 'ledger' AND p.state <> 'disputed' AND e.expected <> coalesce(j.amount, 0)
           ORDER BY p.id LIMIT $1"#,
        MOST,
    )
    .fetch_all(connection)
    .await?;
    let finding = |id, customer, detail| Finding {
        kind: FindingKind::PaymentDiffers,
        subject_id: Some(id),
        customer_id: Some(customer),
        scope: String::new(),
        detail,
    };
    Ok(rows.into_iter().map(|row| finding(row.id, row.customer_id, row.detail)).collect())
}

async fn credits(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    let rows = sqlx::query!(
        r#"SELECT coalesce(c.customer_id, j.customer_id) AS "customer_id!", coalesce(c.currency, j.currency)::text AS "scope!",
                  format('%s: credit %s, journal %s', coalesce(c.currency, j.currency), coalesce(c.amount, 0), coalesce(j.amount, 0)) AS "detail!"
           FROM (SELECT customer_id, currency, sum(remaining_minor) AS amount FROM credits GROUP BY 1, 2) c
           FULL JOIN (SELECT e.customer_id, l.currency, -sum(amount_minor) AS amount FROM journal_lines l JOIN journal_entries e ON e.id = l.entry_id
                      WHERE l.account = 'credit' GROUP BY 1, 2) j ON j.customer_id = c.customer_id AND j.currency = c.currency
           WHERE coalesce(c.amount, 0) <> coalesce(j.amount, 0)
           ORDER BY 1 LIMIT $1"#,
        MOST,
    )
    .fetch_all(connection)
    .await?;
    let finding = |customer, scope, detail| Finding {
        kind: FindingKind::CreditDiffers,
        subject_id: None,
        customer_id: Some(customer),
        scope,
        detail,
    };
    Ok(rows.into_iter().map(|row| finding(row.customer_id, row.scope, row.detail)).collect())
}

async fn numbers(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    let rows = sqlx::query!(
        r#"SELECT n.issuer AS scope, format('%s: %s numbers were taken, %s are there', n.issuer, n.last, count(i.sequence)) AS "detail!"
           FROM invoice_numbers n LEFT JOIN invoices i ON i.issuer = n.issuer GROUP BY n.issuer, n.last HAVING n.last <> count(i.sequence)
           ORDER BY n.issuer LIMIT $1"#,
        MOST,
    )
    .fetch_all(connection)
    .await?;
    let finding = |scope, detail| Finding {
        kind: FindingKind::NumberMissing,
        subject_id: None,
        customer_id: None,
        scope,
        detail,
    };
    Ok(rows.into_iter().map(|row| finding(row.scope, row.detail)).collect())
}

/// Subscriptions that pay for an instance, after an id, in the order of the ids. One that has just ended
/// still counts: its instance is being taken down.
pub async fn paying(
    db: impl PgExecutor<'_>,
    after: Uuid,
    ended_after: OffsetDateTime,
    limit: i64,
) -> sqlx::Result<Vec<LiveSubscription>> {
    let rows = sqlx::query!(
        r#"SELECT s.id, s.customer_id, s.instance_id, (s.status NOT IN ('ended', 'pending') AND o.confirmed_at IS NOT NULL) AS "must_have!"
           FROM subscriptions s JOIN orders o ON o.id = s.order_id
           WHERE s.id > $1 AND (s.status <> 'ended' OR s.ended_at > $2) ORDER BY s.id LIMIT $3"#,
        after,
        ended_after,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| LiveSubscription {
            id: row.id,
            customer_id: row.customer_id,
            instance_id: row.instance_id,
            must_have: row.must_have,
        })
        .collect())
}
