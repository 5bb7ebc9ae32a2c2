-- One trial for a customer and for an address, for life (BIL-09). A grant is taken back only when its instance never came to be.
CREATE TABLE trial_grants (
    subscription_id uuid PRIMARY KEY,
    customer_id     uuid        NOT NULL UNIQUE REFERENCES customers (id),
    email_hash      bytea       NOT NULL UNIQUE CHECK (length(email_hash) = 32),
    plan_name       text        NOT NULL,
    granted_at      timestamptz NOT NULL DEFAULT now()
);
