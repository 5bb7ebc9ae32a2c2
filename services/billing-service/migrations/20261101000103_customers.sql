-- Billing account of a customer: one each, made by the event of the registration or by the first order (BIL-07).
CREATE TABLE customers (
    -- The customer's id in user-service; also the provider's account key.
    id                  uuid PRIMARY KEY,
    currency            char(3)     NOT NULL DEFAULT 'USD',
    -- The provider's own name of the account; empty until it was made there.
    provider_account_id text,
    -- Hash of the normalised address, for the trial rule (BIL-09); never the address.
    email_hash          bytea CHECK (length(email_hash) = 32),
    created_at          timestamptz NOT NULL DEFAULT now(),
    closed_at           timestamptz
);
