-- Discounts and tax in a first form (BIL-36).
CREATE TABLE coupons (
    code           text PRIMARY KEY CHECK (code ~ '^[A-Z0-9_-]{3,40}$'),
    -- Hundredths of a percent, or an amount.
    percent_bp     integer CHECK (percent_bp BETWEEN 1 AND 10000),
    amount_minor   numeric(20, 0) CHECK (amount_minor > 0),
    currency       char(3),
    -- For how many invoices of a subscription; empty: all.
    invoices       integer CHECK (invoices > 0),
    max_uses       integer CHECK (max_uses > 0),
    uses           integer        NOT NULL DEFAULT 0,
    active         boolean        NOT NULL DEFAULT true,
    expires_at     timestamptz,
    created_at     timestamptz    NOT NULL DEFAULT now(),
    CHECK ((percent_bp IS NULL) <> (amount_minor IS NULL)),
    CHECK ((amount_minor IS NULL) = (currency IS NULL))
);
CREATE TABLE tax_rates (
    country    text PRIMARY KEY CHECK (country ~ '^[A-Z]{2}$'),
    name       text    NOT NULL,
    -- Hundredths of a percent.
    rate_bp    integer NOT NULL CHECK (rate_bp BETWEEN 0 AND 10000),
    -- A buyer with a tax id owes the tax itself.
    reverse_charge boolean NOT NULL DEFAULT false
);
-- Work on demand: reconciliation.
CREATE TABLE tasks (
    id          uuid PRIMARY KEY,
    kind        text        NOT NULL,
    customer_id uuid,
    state       text        NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'done', 'failed')),
    actor       text        NOT NULL,
    outcome     jsonb       NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
