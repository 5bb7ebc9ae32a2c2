-- What a create claims before it orders: the host name, and the Idempotency-Key when there is one (INS-10, INS-12).
-- Whoever loses the race for either has ordered nothing. The row goes with the end of its create; what a dead
-- process left behind ends by itself.
CREATE TABLE create_claims (
    instance_id  uuid PRIMARY KEY,
    -- The call that holds the claim: another one that takes an ended claim over has another token.
    token        uuid        NOT NULL,
    customer_id  uuid        NOT NULL,
    subdomain    text        NOT NULL UNIQUE,
    key          text        CHECK (char_length(key) <= 200),
    request_hash bytea       NOT NULL,
    expires_at   timestamptz NOT NULL
);
CREATE UNIQUE INDEX create_claims_key ON create_claims (customer_id, key) WHERE key IS NOT NULL;
-- Closed accounts: a create that asked for the account before it was closed is refused all the same. Kept for a day.
CREATE TABLE closed_customers (
    customer_id uuid PRIMARY KEY,
    closed_at   timestamptz NOT NULL
);
-- Facts of billing that wait to be followed. They are heard in the transaction of their inbox row; billing is asked
-- afterwards, so that no transaction waits for another service.
CREATE TABLE billing_news (
    instance_id     uuid        NOT NULL,
    subscription_id uuid        NOT NULL,
    reason          text,
    -- Grows with each fact: what was heard while the former one was followed is not forgotten with it.
    revision        bigint      NOT NULL DEFAULT 1,
    attempts        integer     NOT NULL DEFAULT 0,
    not_before      timestamptz NOT NULL,
    PRIMARY KEY (instance_id, subscription_id)
);
CREATE INDEX billing_news_due ON billing_news (not_before);
