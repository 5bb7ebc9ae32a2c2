-- What an open invoice is: a debt moves the ladder and blocks changes, an offer is owed by nobody until it is paid.
-- The decision is stored with the document that carries it out, so that no query has to guess it from the kind.
ALTER TABLE invoices
    ADD COLUMN claim text NOT NULL DEFAULT 'debt' CHECK (claim IN ('debt', 'offer'));

ALTER TABLE invoices DISABLE TRIGGER invoices_immutable;
UPDATE invoices i SET claim = 'offer'
FROM subscriptions s
WHERE s.id = i.subscription_id AND i.provider = 'ledger'
  AND (s.pending_invoice_id = i.id OR (i.kind = 'first' AND s.status = 'pending'));
ALTER TABLE invoices ENABLE TRIGGER invoices_immutable;

CREATE INDEX invoices_debts ON invoices (subscription_id, due_at) WHERE status = 'open' AND claim = 'debt';

-- A printed number names one document. Numbers of a provider are unique by its own id.
CREATE UNIQUE INDEX invoices_number ON invoices (number) WHERE provider = 'ledger' AND number IS NOT NULL;
