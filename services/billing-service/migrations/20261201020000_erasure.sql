-- Persons who were erased: since when. The books stay, and what they say of a person gets less.
ALTER TABLE customers ADD COLUMN erased_at timestamptz;
CREATE INDEX customers_erased ON customers (erased_at) WHERE erased_at IS NOT NULL;

-- An issued invoice says for ever what it said, but for its balance; of an erased buyer it may say less.
CREATE OR REPLACE FUNCTION invoices_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moves text[] := ARRAY['status', 'balance_minor', 'paid_at', 'closed_reason'];
BEGIN
    IF OLD.status = 'draft' THEN
        RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.buyer IS DISTINCT FROM OLD.buyer AND NEW.buyer <@ OLD.buyer
       AND EXISTS (SELECT FROM customers WHERE id = OLD.customer_id AND erased_at IS NOT NULL) THEN
        moves := moves || ARRAY['buyer'];
    END IF;
    IF TG_OP = 'DELETE' OR NEW.status = 'draft'
       OR (OLD.status IN ('paid', 'void', 'written_off') AND NEW.status = 'open' AND OLD.status <> 'paid')
       OR to_jsonb(NEW) - moves IS DISTINCT FROM to_jsonb(OLD) - moves THEN
        RAISE EXCEPTION 'an issued invoice is immutable' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;

-- The look at all who were erased, which finds what no fact told. Real time.
INSERT INTO schedule (name, due_at) VALUES ('erasure', now());
