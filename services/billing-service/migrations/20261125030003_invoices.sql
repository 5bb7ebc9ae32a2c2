-- Numbers of invoices: taken by an UPDATE in the transaction that issues, so that there is no gap (BIL-17).
CREATE TABLE invoice_numbers (
    issuer text PRIMARY KEY,
    last   bigint NOT NULL DEFAULT 0 CHECK (last >= 0)
);

-- Documents over the journal. Written as a draft with its lines, then issued; after that only state and balance move.
CREATE TABLE invoices (
    id              uuid PRIMARY KEY,
    issuer          text           NOT NULL,
    sequence        bigint,
    -- As printed; of the provider when it keeps the books.
    number          text,
    customer_id     uuid           NOT NULL REFERENCES customers (id),
    subscription_id uuid REFERENCES subscriptions (id),
    -- first, recurring, upgrade, manual, credit_note
    kind            text           NOT NULL CHECK (kind IN ('first', 'recurring', 'upgrade', 'manual', 'credit_note')),
    -- The same document is written once, whoever asks how often.
    key             text           NOT NULL UNIQUE,
    status          text           NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'open', 'paid', 'void', 'written_off')),
    currency        char(3)        NOT NULL,
    subtotal_minor  numeric(20, 0) NOT NULL DEFAULT 0,
    tax_minor       numeric(20, 0) NOT NULL DEFAULT 0,
    total_minor     numeric(20, 0) NOT NULL DEFAULT 0,
    -- What is left to pay.
    balance_minor   numeric(20, 0) NOT NULL DEFAULT 0,
    -- Buyer as it was then, tax note and rate.
    buyer           jsonb          NOT NULL DEFAULT '{}',
    note            text           NOT NULL DEFAULT '',
    -- The invoice that a credit note corrects.
    corrects_id     uuid REFERENCES invoices (id),
    issued_at       timestamptz,
    due_at          timestamptz,
    paid_at         timestamptz,
    closed_reason   text,
    provider        text           NOT NULL CHECK (provider IN ('ledger', 'killbill')),
    provider_id     text           NOT NULL,
    created_at      timestamptz    NOT NULL DEFAULT now(),
    UNIQUE (issuer, sequence),
    UNIQUE (provider, provider_id),
    CHECK (total_minor = subtotal_minor + tax_minor),
    CHECK (status = 'draft' OR (issued_at IS NOT NULL AND due_at IS NOT NULL AND number IS NOT NULL)),
    CHECK (status <> 'paid' OR balance_minor = 0)
);
CREATE INDEX invoices_customer ON invoices (customer_id, issued_at DESC);
CREATE INDEX invoices_subscription ON invoices (subscription_id, issued_at DESC);
CREATE INDEX invoices_open ON invoices (subscription_id, due_at) WHERE status = 'open';

CREATE TABLE invoice_lines (
    invoice_id   uuid           NOT NULL REFERENCES invoices (id),
    position     integer        NOT NULL,
    -- plan, proration, discount, credit, tax
    kind         text           NOT NULL CHECK (kind IN ('plan', 'proration', 'discount', 'credit', 'tax', 'manual')),
    description  text           NOT NULL,
    quantity     integer        NOT NULL DEFAULT 1,
    unit_minor   numeric(20, 0) NOT NULL,
    amount_minor numeric(20, 0) NOT NULL,
    period_start timestamptz,
    period_end   timestamptz,
    PRIMARY KEY (invoice_id, position)
);

CREATE FUNCTION invoices_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'draft' THEN
        RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    IF TG_OP = 'DELETE' OR NEW.status = 'draft'
       OR (OLD.status IN ('paid', 'void', 'written_off') AND NEW.status = 'open' AND OLD.status <> 'paid')
       OR to_jsonb(NEW) - ARRAY['status', 'balance_minor', 'paid_at', 'closed_reason']
          IS DISTINCT FROM to_jsonb(OLD) - ARRAY['status', 'balance_minor', 'paid_at', 'closed_reason'] THEN
        RAISE EXCEPTION 'an issued invoice is immutable' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER invoices_immutable BEFORE UPDATE OR DELETE ON invoices FOR EACH ROW EXECUTE FUNCTION invoices_immutable();

CREATE FUNCTION invoice_lines_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of_invoice uuid := CASE WHEN TG_OP = 'DELETE' THEN OLD.invoice_id ELSE NEW.invoice_id END;
BEGIN
    IF NOT EXISTS (SELECT FROM invoices WHERE id = of_invoice AND status = 'draft') THEN
        RAISE EXCEPTION 'an issued invoice is immutable' USING ERRCODE = 'check_violation';
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER invoice_lines_immutable BEFORE INSERT OR UPDATE OR DELETE ON invoice_lines FOR EACH ROW EXECUTE FUNCTION invoice_lines_immutable();
