-- Our rows as a mirror of a provider that keeps the books.
ALTER TABLE customers
    -- Rises with each snapshot that was applied and each call that the provider answered: a snapshot that was pulled before either is old.
    ADD COLUMN sync_seq              bigint NOT NULL DEFAULT 0,
    -- What the provider owes the customer; empty: our own table of credits says it.
    ADD COLUMN provider_credit_minor numeric(20, 0);
CREATE INDEX customers_synced ON customers (synced_at NULLS FIRST) WHERE provider_account_id IS NOT NULL;
CREATE INDEX customers_provider_account ON customers (provider_account_id);

-- The provider as a whole: since when it does not answer (BIL-34).
CREATE TABLE provider_state (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    away_since timestamptz
);
INSERT INTO provider_state DEFAULT VALUES;

-- What the provider shall be told, written before it is told. Money (payment, credit, write_off) is told until it was heard. The rest is a wish of
-- a customer who waits for the answer: when that is lost, the provider's state says whether it was done, and what was not done is dropped.
CREATE TABLE provider_calls (
    id              uuid PRIMARY KEY,
    customer_id     uuid        NOT NULL REFERENCES customers (id),
    subscription_id uuid REFERENCES subscriptions (id),
    kind            text        NOT NULL CHECK (kind IN ('change', 'undo_change', 'cancel', 'undo_cancel', 'payment', 'credit', 'write_off')),
    -- The same wish is written once.
    key             text UNIQUE,
    -- Payment or invoice.
    subject_id      uuid,
    details         jsonb       NOT NULL DEFAULT '{}',
    state           text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'refused', 'dropped')),
    attempts        integer     NOT NULL DEFAULT 0,
    next_at         timestamptz NOT NULL DEFAULT now(),
    created_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    -- A safe text.
    outcome         text        NOT NULL DEFAULT '',
    CHECK ((state = 'waiting') = (finished_at IS NULL))
);
-- One wish at a time for a subscription.
CREATE UNIQUE INDEX provider_calls_one ON provider_calls (subscription_id)
    WHERE state = 'waiting' AND kind IN ('change', 'undo_change', 'cancel', 'undo_cancel');
CREATE INDEX provider_calls_due ON provider_calls (next_at) WHERE state = 'waiting';
CREATE INDEX provider_calls_customer ON provider_calls (customer_id) WHERE state = 'waiting';
