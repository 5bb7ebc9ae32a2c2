-- Proof of a month: documents against the journal. Every `difference` must be 0.
--   psql "$PSQL_BILLING" -v from=2026-11-01 -v until=2026-12-01 -f docs/sql/month-end.sql
-- Amounts are minor units; times are billing time in UTC. Invoices that Kill Bill keeps are proved there.
WITH span AS (SELECT :'from'::timestamptz AS a, :'until'::timestamptz AS z),
lines AS (
    SELECT e.at, e.kind, l.account, l.currency, l.amount_minor AS amount
    FROM journal_entries e JOIN journal_lines l ON l.entry_id = e.id, span WHERE e.at < span.z
),
month AS (SELECT lines.* FROM lines, span WHERE at >= span.a),
docs AS (
    SELECT currency, kind, subtotal_minor, tax_minor FROM invoices, span
    WHERE status <> 'draft' AND provider = 'ledger' AND issued_at >= span.a AND issued_at < span.z
),
proof (position, what, currency, documents, journal) AS (
    SELECT 1, 'the whole journal sums to nothing', currency, 0, sum(amount) FROM lines GROUP BY currency
    UNION ALL
    SELECT 2, 'net of the invoices issued = revenue', c.currency,
           coalesce((SELECT sum(subtotal_minor) FROM docs d WHERE d.currency = c.currency
               AND kind <> 'credit_note'), 0),
           coalesce((SELECT -sum(amount) FROM month m WHERE m.currency = c.currency
               AND kind = 'invoice_issued' AND account = 'revenue'), 0)
    FROM (SELECT DISTINCT currency FROM lines) c
    UNION ALL
    SELECT 3, 'tax of the invoices issued = tax', c.currency,
           coalesce((SELECT sum(tax_minor) FROM docs d WHERE d.currency = c.currency
               AND kind <> 'credit_note'), 0),
           coalesce((SELECT -sum(amount) FROM month m WHERE m.currency = c.currency
               AND kind = 'invoice_issued' AND account = 'tax'), 0)
    FROM (SELECT DISTINCT currency FROM lines) c
    UNION ALL
    SELECT 4, 'credit notes = revenue and tax taken back', c.currency,
           coalesce((SELECT sum(subtotal_minor + tax_minor) FROM docs d WHERE d.currency = c.currency
               AND kind = 'credit_note'), 0),
           coalesce((SELECT -sum(amount) FROM month m WHERE m.currency = c.currency
               AND kind = 'credit_note' AND account IN ('revenue', 'tax')), 0)
    FROM (SELECT DISTINCT currency FROM lines) c
    UNION ALL
    SELECT 5, 'payments received through ' || gateway, currency, sum(documents), sum(journal)
    FROM (
        SELECT p.gateway, p.currency, p.amount_minor AS documents, 0 AS journal
            FROM payments p JOIN invoices i ON i.id = p.invoice_id, span
        WHERE i.provider = 'ledger' AND p.state IN ('paid', 'refunded') AND p.settled_at >= span.a
            AND p.settled_at < span.z
        UNION ALL
        SELECT substr(account, 10), currency, 0, amount FROM month WHERE kind = 'payment'
            AND account LIKE 'payments:%'
    ) both_sides
    GROUP BY gateway, currency
    UNION ALL
    SELECT 6, 'refunds paid out', c.currency,
           coalesce((SELECT sum(r.amount_minor) FROM refunds r, span WHERE r.currency = c.currency
               AND r.created_at >= span.a AND r.created_at < span.z), 0),
           coalesce((SELECT -sum(amount) FROM month m WHERE m.currency = c.currency
               AND kind = 'refund' AND account LIKE 'payments:%'), 0)
    FROM (SELECT DISTINCT currency FROM lines) c
    UNION ALL
    -- As of now: balances have no history of their own, the journal does.
    SELECT 7, 'open balances of invoices = receivable (now)', c.currency,
           coalesce((SELECT sum(balance_minor) FROM invoices i WHERE i.currency = c.currency
               AND status <> 'draft' AND provider = 'ledger'), 0),
           coalesce((SELECT sum(amount_minor) FROM journal_lines l WHERE l.currency = c.currency
               AND account = 'receivable'), 0)
    FROM (SELECT DISTINCT currency FROM lines) c
    UNION ALL
    SELECT 8, 'unused credit of customers = credit (now)', c.currency,
           coalesce((SELECT sum(remaining_minor) FROM credits r WHERE r.currency = c.currency), 0),
           coalesce((SELECT -sum(amount_minor) FROM journal_lines l WHERE l.currency = c.currency
               AND account = 'credit'), 0)
    FROM (SELECT DISTINCT currency FROM lines) c
)
SELECT what, currency, documents, journal, documents - journal AS difference FROM proof
    ORDER BY position, what, currency;
