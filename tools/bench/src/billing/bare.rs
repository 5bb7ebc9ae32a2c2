//! The baseline: what an order writes, and the rows that it must read for it, in one transaction and with
//! nothing else.

use sqlx::postgres::PgPool;
use uuid::Uuid;

/// The same rows as a paid order of a new customer.
pub async fn order(books: &PgPool) -> anyhow::Result<()> {
    let [customer, instance, order, subscription, invoice, entry] = std::array::from_fn(|_| Uuid::now_v7());
    let mut tx = books.begin().await?;
    sqlx::query(
        "INSERT INTO customers (id, provider_account_id) VALUES ($1, $1::uuid::text) ON CONFLICT \
        (id) DO NOTHING",
    )
    .bind(customer)
    .execute(&mut *tx)
    .await?;
    let (version,): (i64,) = sqlx::query_as(
        "SELECT version FROM plans p JOIN plan_entitlements e ON e.plan_name = p.name WHERE p.name = \
         'basic-monthly' ORDER BY version DESC LIMIT 1",
    )
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO orders (id, instance_id, customer_id, subscription_id, plan_name, entitlement_version, trial, settings, state, next_check_at)
         VALUES ($1, $2, $3, $4, 'basic-monthly', $5, false, '{\"name\": \"Shop\"}', 'subscribed', now() + interval '15 minutes')",
    )
    .bind(order)
    .bind(instance)
    .bind(customer)
    .bind(subscription)
    .bind(version)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO subscriptions (id, order_id, customer_id, instance_id, plan_name, entitlement_version, billing_period, price_minor, currency, status,
             anchor_day, current_period_start, current_period_end, provider, provider_id, next_due_at)
         VALUES ($1, $2, $3, $4, 'basic-monthly', $5, 'monthly', 900, 'USD', 'active', 1, now(), now() + interval '1 month', 'ledger', $1::uuid::text,
                 now() + interval '1 year')",
    )
    .bind(subscription)
    .bind(order)
    .bind(customer)
    .bind(instance)
    .bind(version)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO invoices (id, issuer, customer_id, subscription_id, kind, key, currency, subtotal_minor, total_minor, balance_minor, buyer, provider,
             provider_id)
         VALUES ($1, 'INV', $2, $3, 'first', 'first:' || $3::uuid, 'USD', 900, 900, 900, '{}', 'ledger', $1::uuid::text)",
    )
    .bind(invoice)
    .bind(customer)
    .bind(subscription)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO invoice_lines (invoice_id, position, kind, description, unit_minor, amount_minor, period_start, period_end)
         VALUES ($1, 0, 'plan', 'basic-monthly (monthly)', 900, 900, now(), now() + interval '1 month')",
    )
    .bind(invoice)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "WITH next AS (INSERT INTO invoice_numbers (issuer, last) VALUES ('INV', 1)
                       ON CONFLICT (issuer) DO UPDATE SET last = invoice_numbers.last + 1 RETURNING last)
         UPDATE invoices SET status = 'open', issued_at = now(), due_at = now(), sequence = next.last, number = 'INV-' || lpad(next.last::text, 6, '0')
         FROM next WHERE id = $1",
    )
    .bind(invoice)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO journal_entries (id, at, kind, customer_id, invoice_id, key) VALUES ($1, now(), \
         'invoice_issued', $2, $3, 'invoice:' || $3::uuid)",
    )
    .bind(entry)
    .bind(customer)
    .bind(invoice)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO journal_lines (entry_id, position, account, amount_minor, currency)
         VALUES ($1, 0, 'receivable', 900, 'USD'), ($1, 1, 'revenue', -900, 'USD')",
    )
    .bind(entry)
    .execute(&mut *tx)
    .await?;
    for topic in ["billing.subscription.created.v1", "billing.invoice.issued.v1"] {
        // Marked as sent: the relay is no part of the baseline.
        sqlx::query("INSERT INTO outbox (id, topic, aggregate_id, payload, headers, sent_at) VALUES ($1, \
            $2, $3, $4, '{}', now())")
            .bind(Uuid::now_v7())
            .bind(topic)
            .bind(subscription)
            .bind(serde_json::json!({"customer_id": customer, "subscription_id": subscription, "instance_id": instance, "invoice_id": invoice}))
            .execute(&mut *tx)
            .await?;
    }
    sqlx::query("SELECT id FROM credits WHERE customer_id = $1 AND remaining_minor > 0 FOR UPDATE")
        .bind(customer)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}
