-- The books: double entry. An entry is a fact about money; its lines sum to nothing in each currency; neither ever changes.
CREATE TABLE journal_entries (
    id          uuid PRIMARY KEY,
    -- Billing time.
    at          timestamptz NOT NULL,
    -- invoice_issued, payment, refund, credit_given, credit_used, void, write_off, dispute
    kind        text        NOT NULL,
    customer_id uuid        NOT NULL REFERENCES customers (id),
    invoice_id  uuid REFERENCES invoices (id),
    payment_id  uuid REFERENCES payments (id),
    -- The same fact is booked once.
    key         text        NOT NULL UNIQUE,
    memo        text        NOT NULL DEFAULT '',
    written_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX journal_entries_customer ON journal_entries (customer_id, at);

CREATE TABLE journal_lines (
    entry_id     uuid           NOT NULL REFERENCES journal_entries (id),
    position     integer        NOT NULL,
    -- receivable, revenue, tax, payments:<gateway>, credit, write_off, goodwill
    account      text           NOT NULL CHECK (account ~ '^[a-z_]+(:[a-z_]+)?$'),
    -- Debit positive, credit negative.
    amount_minor numeric(20, 0) NOT NULL CHECK (amount_minor <> 0),
    currency     char(3)        NOT NULL,
    PRIMARY KEY (entry_id, position)
);
CREATE INDEX journal_lines_account ON journal_lines (account, currency);

CREATE FUNCTION journal_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    entry uuid := CASE WHEN TG_TABLE_NAME = 'journal_entries' THEN (to_jsonb(NEW) ->> 'id')::uuid ELSE (to_jsonb(NEW) ->> 'entry_id')::uuid END;
BEGIN
    IF (SELECT count(*) FROM journal_lines WHERE entry_id = entry) < 2
       OR EXISTS (SELECT FROM journal_lines WHERE entry_id = entry GROUP BY currency HAVING sum(amount_minor) <> 0) THEN
        RAISE EXCEPTION 'journal entry % is not balanced', entry USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER journal_entries_balanced AFTER INSERT ON journal_entries DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION journal_balanced();
CREATE CONSTRAINT TRIGGER journal_lines_balanced AFTER INSERT ON journal_lines DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION journal_balanced();

CREATE FUNCTION journal_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is immutable' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER journal_entries_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON journal_entries FOR EACH STATEMENT EXECUTE FUNCTION journal_immutable();
CREATE TRIGGER journal_lines_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON journal_lines FOR EACH STATEMENT EXECUTE FUNCTION journal_immutable();
