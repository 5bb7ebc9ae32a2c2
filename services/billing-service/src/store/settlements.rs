//! What happened to the balance of an invoice since it was issued.

use sqlx::PgConnection;

use super::corrupt;
use crate::domain::document::Settlement;
use crate::domain::invoice::Invoice;
use crate::domain::money::Money;

/// In order: from the journal when the books are ours, else the payments that the other keeper told us.
pub async fn of_invoice(connection: &mut PgConnection, invoice: &Invoice) -> sqlx::Result<Vec<Settlement>> {
    let currency = invoice.currency();
    if invoice.provider != "ledger" {
        let rows = sqlx::query!(
            r#"SELECT coalesce(settled_at, created_at) AS "at!", method, reference, amount_minor::bigint AS "amount!", currency AS "currency!"
               FROM payments WHERE invoice_id = $1 AND state IN ('paid', 'refunded') ORDER BY 1, id"#,
            invoice.id,
        )
        .fetch_all(connection)
        .await?;
        return rows
            .into_iter()
            .map(|row| {
                Ok(Settlement {
                    at: row.at,
                    kind: "payment".into(),
                    method: Some(row.method),
                    reference: Some(row.reference),
                    change: Money::new(-row.amount, row.currency.parse().map_err(corrupt)?),
                })
            })
            .collect();
    }
    let rows = sqlx::query!(
        r#"SELECT e.at, e.kind, p.method AS "method?", p.reference AS "reference?", sum(l.amount_minor)::bigint AS "change!"
           FROM journal_entries e JOIN journal_lines l ON l.entry_id = e.id LEFT JOIN payments p ON p.id = e.payment_id
           WHERE e.invoice_id = $1 AND l.account = 'receivable' AND e.kind NOT IN ('invoice_issued', 'credit_note')
           GROUP BY e.id, p.id HAVING sum(l.amount_minor) <> 0 ORDER BY e.at, e.id"#,
        invoice.id,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Settlement {
            at: row.at,
            kind: row.kind,
            method: row.method,
            reference: row.reference,
            change: Money::new(row.change, currency),
        })
        .collect())
}
